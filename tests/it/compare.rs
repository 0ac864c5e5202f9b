//! The one door for comparing two subjects: every kind is recognised from a bare path, and `check`
//! and `nightly` say the same of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::check::copy;
use crate::repo::{commit, init, output, reprofix, run, scratch};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn check(a: &Path, b: &Path, more: &[&str]) -> (i32, String, String) {
    let subjects = [a.to_str().unwrap(), b.to_str().unwrap()];
    reprofix(&[&["check", subjects[0], subjects[1]], more].concat())
}

/// What `nightly compare` records of the same two: whether they are good, by its exit code.
#[cfg(feature = "nightly")]
fn nightly(dir: &Path, a: &Path, b: &Path) -> i32 {
    let config = dir.join("nightly.toml");
    fs::write(&config, format!("history = '{}'\n", dir.join("h.sqlite").display())).unwrap();
    let [config, a, b] = [&*config, a, b].map(|p| p.to_str().unwrap());
    let arguments = ["nightly", "compare", "--nightly", config, "--stream=s", a, b, "--json", "-"];
    let (code, out, err) = reprofix(&arguments);
    assert!(code < 2, "{err}");
    let report = serde_json::from_str(&out).unwrap();
    assert_eq!(crate::schema::violations("reprofix-nightly-1", &report), Vec::<String>::new());
    code
}

/// A layout is known by its index and blobs; the file `oci-layout` may be missing.
#[test]
fn a_layout_without_its_marker_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let layout = |name: &str, from: &str| {
        let to = dir.path().join(name);
        copy(&fixture("oci").join(from), &to);
        fs::remove_file(to.join("oci-layout")).unwrap();
        to
    };
    let (a, b) = (layout("a", "single-rebuild-a"), layout("b", "single-rebuild-b"));
    let (code, said, err) = check(&a, &b, &[]);
    assert!(code < 2, "{err}");
    let prefixed = [&a, &b].map(|path| format!("oci:{}", path.display()));
    let with = reprofix(&["check", &prefixed[0], &prefixed[1]]);
    let without_names = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((code, without_names(&said)), (with.0, without_names(&with.1)));
    #[cfg(feature = "nightly")]
    assert_eq!(nightly(dir.path(), &a, &b), code);
}

#[test]
#[cfg(feature = "nightly")]
fn two_databases_compare_at_night_too() {
    let dir = tempfile::tempdir().unwrap();
    let databases: Vec<PathBuf> = ["a", "b"]
        .iter()
        .map(|side| {
            let root = dir.path().join(side);
            fs::create_dir_all(root.join("db")).unwrap();
            let root = root.to_str().unwrap();
            run(
                "rpm",
                &["--root", root, "--dbpath=/db", "--define=_db_backend sqlite", "--initdb"],
            );
            Path::new(root).join("db/rpmdb.sqlite")
        })
        .collect();
    let (a, b) = (&databases[0], &databases[1]);
    let package = fixture("rpmdb/rpms/t-pkg03-1.0-1.noarch.rpm");
    assert_eq!(check(a, a, &[]).0, 0);
    let root = dir.path().join("b");
    let args = ["--root", root.to_str().unwrap(), "--dbpath=/db", "--define=_db_backend sqlite"];
    let more = ["-i", "--justdb", "--nodeps", "--nosignature", package.to_str().unwrap()];
    run("rpm", &[&args[..], &more].concat());
    let (code, said, err) = check(a, b, &[]);
    assert_eq!(code, 1, "{err}");
    assert!(said.contains("t-pkg03"), "{said}");
    // The package comparison is in the other forms, too.
    let (html, markdown) = (dir.path().join("r.html"), dir.path().join("r.md"));
    let forms = [("html", &html), ("markdown", &markdown)];
    let forms = forms.map(|(form, file)| format!("--{form}={}", file.display()));
    assert_eq!(check(a, b, &[&forms[0], &forms[1]]).0, 1);
    let html = fs::read_to_string(html).unwrap();
    let section = html.split("<h2 id=\"packages\">").nth(1).unwrap();
    assert!(section.split("</pre>").next().unwrap().contains("t-pkg03"), "{section}");
    let markdown = fs::read_to_string(markdown).unwrap();
    let section = markdown.split("<summary>Packages (").nth(1).unwrap();
    assert!(section.split("</details>").next().unwrap().contains("t-pkg03"), "{section}");
    assert_eq!(nightly(dir.path(), a, b), 1);
    assert_eq!(nightly(dir.path(), a, a), 0);
}

/// Single files are told by the readers that look into trees.
#[test]
fn two_single_files_are_compared_by_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let says = |a: &Path, b: &Path, part: &str| {
        let (code, said, err) = check(a, b, &["--source-date-epoch=1"]);
        assert_eq!(code, 1, "{err}");
        assert!(said.contains(part), "{part:?} in {said}");
    };
    let rpm = |name: &str| fixture("rpmdb/rpms").join(name);
    says(
        &rpm("t-pkg03-1.0-1.noarch.rpm"),
        &rpm("t-pkg06-1.0-1.noarch.rpm"),
        "rpm: NAME t-pkg03 → t-pkg06",
    );
    let program = fs::read("/bin/true").unwrap();
    let mut other = program.clone();
    let at = other.len() / 2;
    other[at] ^= 1;
    says(&file("tool", &program), &file("tool.new", &other), "ELF: section ");
    let jar = |name: &str, time: &str| {
        let inner = dir.path().join("inner");
        fs::write(&inner, "x").unwrap();
        run("touch", &["-d", time, inner.to_str().unwrap()]);
        let path = dir.path().join(name);
        let program = ["-m", "zipfile", "-c", path.to_str().unwrap(), inner.to_str().unwrap()];
        run("python3", &program);
        path
    };
    let jars = ["2001-01-02", "2002-01-02"].map(|day| jar(&format!("{day}.jar"), day));
    says(&jars[0], &jars[1], "fixable: jar");
    let image = |name: &str, time: &str| {
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("etc")).unwrap();
        run("touch", &["-d", time, tree.join("etc").to_str().unwrap()]);
        let path = dir.path().join(name);
        let script = "cd \"$1\" && find . | cpio --quiet -o -H newc | gzip -n > \"$2\"";
        let [tree, path_text] = [&tree, &path].map(|p| p.to_str().unwrap());
        run("sh", &["-c", script, "sh", tree, path_text]);
        path
    };
    let images = ["2001-01-02", "2002-01-02"].map(|day| image(&format!("{day}.img"), day));
    says(&images[0], &images[1], "etc: ");
    assert_eq!(check(&images[0], &images[0], &[]).0, 0);
    let (code, _, err) = reprofix(&["check", "docker://quay.io/a/b:1", "docker://quay.io/a/b:2"]);
    assert_eq!(code, 2);
    assert!(err.contains("skopeo copy --all docker://quay.io/a/b:1 oci:LAYOUT:TAG"), "{err}");
}

/// What is mounted in a root is none of it: neither another file system nor a bound file.
#[test]
fn what_is_mounted_in_a_directory_is_none_of_it() {
    let (dir, a) = scratch();
    let b = dir.path().join("b");
    for name in ["mnt", "proc"] {
        fs::create_dir_all(a.join(name)).unwrap();
    }
    fs::write(a.join("bound"), "").unwrap();
    copy(&a, &b);
    let exe = env!("CARGO_BIN_EXE_reprofix");
    let script = "set -e; mount -t tmpfs none \"$1/mnt\"; mkfifo \"$1/mnt/p\"; \
                  mount -t proc none \"$1/proc\"; mount --bind /etc/hostname \"$1/bound\"; \
                  rm -r \"$2/mnt\" \"$2/proc\" \"$2/bound\"; exec \"$3\" check \"$1\" \"$2\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c", script, "sh"]).args([&a, &b]).arg(exe);
    let out = unshare.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if said.contains("ermi") && out.stdout.is_empty() {
        eprintln!("SKIPPED: this environment may not mount: {said}");
        return;
    }
    assert_eq!(out.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&out.stdout));
    assert!(said.contains("A: left out, since they are mounts: /bound, /mnt, /proc"), "{said}");
}

/// Two directories are not hashed, unless that is asked for; names of one inode are the same.
#[test]
fn two_directories_are_hashed_on_request() {
    let (dir, tree) = scratch();
    let repo = dir.path().join("repo");
    init(&repo, "archive");
    commit(&repo, "main", &tree);
    let (b, linked) = (dir.path().join("b"), dir.path().join("linked"));
    copy(&tree, &b);
    run("cp", &["-al", tree.to_str().unwrap(), linked.to_str().unwrap()]);
    assert_eq!(check(&tree, &linked, &[]).0, 0);
    fs::write(b.join("usr/bin/su"), "#!/bin/sh\nexit 1\n").unwrap();
    for wanted in [None, Some(crate::repo::shown_checksum(&repo, "main"))] {
        let more: &[&str] = if wanted.is_some() { &["--checksums"] } else { &[] };
        let (code, out, err) = check(&tree, &b, &[&["--json=-"], more].concat());
        assert_eq!(code, 1, "{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["a"]["content_checksum"].as_str(), wanted.as_deref());
        let rows = report["differences"].as_array().unwrap();
        let paths: Vec<_> = rows.iter().map(|row| row["path"].as_str().unwrap()).collect();
        assert_eq!(paths, ["usr/bin/su"], "{more:?}");
    }
}

/// A commit and a directory of one tree are the same through the door, too.
#[test]
fn subjects_of_two_kinds_compare() {
    let (dir, tree) = scratch();
    let repo = dir.path().join("repo");
    init(&repo, "archive");
    commit(&repo, "main", &tree);
    let (code, out, err) = check(&repo, &tree, &["--json=-"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["a"]["content_checksum"], report["b"]["content_checksum"]);
    let platform = output(
        env!("CARGO_BIN_EXE_reprofix"),
        &["check", repo.to_str().unwrap(), tree.to_str().unwrap(), "--platform=linux/amd64"],
    );
    assert_eq!(platform.status.code(), Some(2));
}
