//! What errors say to do: about the command line, about subjects, about the configuration.

use std::fs;
use std::process::Command;

use super::programs;

/// Runs a line in a directory that has a root, a file and nothing else; gives what it said.
fn error(line: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("makes");
    fs::create_dir_all(dir.path().join("root/usr")).expect("makes");
    fs::write(dir.path().join("a.img"), "x").expect("writes");
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    let out = command.args(line).current_dir(dir.path()).env("SOURCE_DATE_EPOCH", "1").output();
    let out = out.expect("runs");
    assert_eq!(out.status.code(), Some(2), "{line:?}");
    assert!(out.stdout.is_empty(), "{line:?}");
    String::from_utf8(out.stderr).expect("text")
}

#[test]
fn an_image_in_a_registry_is_copied_first() {
    for name in ["quay.io/fedora/fedora-bootc:41", "docker://quay.io/a/b", "localhost:5000/a"] {
        let url =
            if name.starts_with("docker:") { name.into() } else { format!("docker://{name}") };
        let wanted = format!("skopeo copy --all {url} oci:LAYOUT:TAG");
        for line in
            [&["check", name, "root"][..], &["oci", "verify", name], &["composefs", "digest", name]]
        {
            let said = error(line);
            assert!(said.contains(&wanted), "{line:?}: {said}");
            assert!(!said.contains("damaged"), "{line:?}: {said}");
        }
    }
    // Something that is not there and not named like one is not called an image.
    assert!(!error(&["check", "some/where", "root"]).contains("skopeo copy"));
}

#[test]
fn fix_says_what_to_do_with_what_is_no_root() {
    assert!(error(&["fix", "a.img"]).contains("reprofix initramfs rewrite"));
    assert!(error(&["fix", "oci:image"]).contains("reprofix oci normalize"));
    assert!(error(&["fix", "quay.io/a/b"]).contains("reprofix oci normalize"));
    assert!(error(&["fix", "ostree:repo"]).contains("before the commit"));
    assert!(error(&["fix", "dir:root"]).contains("without dir:"));
}

#[test]
fn a_wrong_order_of_arguments_gets_the_right_one() {
    for (line, wanted) in [
        (&["root", "fix"][..], "reprofix fix root"),
        (&["--json", "-", "check", "root"], "reprofix check --json - root"),
        (&["root"], "`reprofix check root`"),
        (&["oci:image"], "`reprofix check oci:image`"),
        (&["fix", "root", "root"], "`reprofix check A B`"),
        (&["history", "14"], "`reprofix history show 14`"),
        (&["record", "root"], "--workdir DIR"),
        (&["explain", "pychache"], "did you mean pycache?"),
    ] {
        let said = error(line);
        assert!(said.contains(wanted), "{line:?}: {said}");
    }
}

#[test]
fn the_usage_of_record_shows_its_two_forms() {
    let said = error(&["record"]);
    for form in ["reprofix record --workdir <DIR>", "reprofix record --meta <FILE> --repo <DIR>"] {
        assert!(said.contains(form), "{said}");
    }
    assert!(!said.contains("--quiet"), "{said}");
}

#[test]
fn a_wrong_type_in_the_configuration_is_named_by_line_and_key() {
    let dir = tempfile::tempdir().expect("makes");
    fs::create_dir_all(dir.path().join("root/usr")).expect("makes");
    let file = dir.path().join("reprofix.toml");
    for (text, wanted) in [
        ("# why\nskip = \"mtime\"\n", "line 2, skip: it is the string \"mtime\"; write a list"),
        ("\n\nkeep = [\"a\", 1]\n", "line 3, keep: it is the "),
        (
            "[plugins]\npycache = \"remove\"\n",
            "line 2, pycache: it is the string \"remove\"; write a table",
        ),
        (
            "[plugins.xattrs]\nenabled = \"yes\"\n",
            "line 2, enabled: it is the string \"yes\"; write true or false",
        ),
        (
            "# why\n[plugins]\nxattrs = { enabled = 1 }\n",
            "line 3, xattrs: it is the integer `1`; write true or false",
        ),
        ("skip = [\"mtime\"\n", "line 1, skip: unclosed array"),
    ] {
        fs::write(&file, text).expect("writes");
        let out = Command::new(env!("CARGO_BIN_EXE_reprofix"))
            .args(["config", "root"])
            .current_dir(dir.path())
            .env("SOURCE_DATE_EPOCH", "1")
            .output()
            .expect("runs");
        let said = String::from_utf8(out.stderr).expect("text");
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(said.contains(wanted), "{text}: {said}");
    }
}

/// What another user owns, and we are not root: the error says how to become it.
#[test]
fn a_tree_of_roots_names_sudo_and_unshare() {
    if !is_root() {
        return eprintln!("skipped: only root makes a tree of root's");
    }
    let dir = tempfile::tempdir().expect("makes");
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("usr/secret")).expect("makes");
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("sets");
    fs::set_permissions(root.join("usr/secret"), fs::Permissions::from_mode(0o700)).expect("sets");
    let program = programs::copy_in(dir.path());
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(user).arg(&program).args(["fix", "--source-date-epoch=1"]).arg(&root);
    let out = command.output().expect("setpriv runs");
    let said = String::from_utf8(out.stderr).expect("text");
    assert_eq!(out.status.code(), Some(2), "{said}");
    for wanted in ["Permission denied", "sudo", "buildah unshare reprofix"] {
        assert!(said.contains(wanted), "{said}");
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}
