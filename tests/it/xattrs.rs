//! Plugin `xattrs` on a real file system, through the program.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

fn fix(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    command.arg("fix").arg(root).args(["--plugin", "xattrs", "--source-date-epoch", "1"]);
    command.args(more).output().unwrap()
}

fn set(path: &Path, name: &str) {
    let done = Command::new("setfattr").args(["-n", name, "-v", "x"]).arg(path).status().unwrap();
    assert!(done.success(), "{name} on {}: user attributes are needed", path.display());
}

fn names(path: &Path) -> Vec<String> {
    let output = Command::new("getfattr").args(["-h", "-m", "^user"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> =
        text.lines().filter(|l| l.starts_with("user.")).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_builds_own_attributes_go_and_all_others_stay() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("root");
    let storage = root.join("var/lib/containers/storage/layer");
    for dir in ["usr/bin", "var/lib/containers/storage"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let [file, twin, shared, outside] =
        [root.join("usr/bin/a"), root.join("usr/bin/b"), root.join("usr/c"), base.path().join("o")];
    for path in [&file, &shared, &storage] {
        std::fs::write(path, "content").unwrap();
        set(path, "user.overlay.origin");
        set(path, "user.keep");
    }
    std::fs::hard_link(&file, &twin).unwrap();
    std::fs::hard_link(&shared, &outside).unwrap();
    set(&root.join("usr"), "user.overlay.opaque");
    let (inode, time) = (std::fs::metadata(&file).unwrap(), std::fs::metadata(&shared).unwrap());

    let check = fix(&root, &["--check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let done = fix(&root, &["--json", "-"]);
    assert!(done.status.success(), "{done:?}");
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let rows: Vec<_> = report["changes"].as_array().unwrap().iter().map(|c| &c["path"]).collect();
    assert_eq!(rows, ["usr", "usr/bin/a", "usr/c"]);
    let found = crate::schema::violations("reprofix-fix-1", &report);
    assert!(found.is_empty(), "{found:?}");

    assert_eq!(names(&file), ["user.keep"]);
    assert_eq!(names(&twin), ["user.keep"]);
    assert!(names(&root.join("usr")).is_empty());
    // An inode with a name outside keeps its attributes; ours is a new one.
    assert_eq!(names(&shared), ["user.keep"]);
    assert_eq!(names(&outside), ["user.keep", "user.overlay.origin"]);
    assert_eq!(names(&storage), ["user.keep", "user.overlay.origin"]);
    assert_eq!(std::fs::read(&shared).unwrap(), b"content");
    let now = std::fs::metadata(&shared).unwrap();
    assert_eq!((now.mtime_nsec(), now.mode()), (time.mtime_nsec(), time.mode()));
    assert_eq!(std::fs::metadata(&twin).unwrap().ino(), inode.ino());

    assert_eq!(fix(&root, &["--check"]).status.code(), Some(0));
}

/// What overlayfs left on the files of two builds (`tests/fixtures/xattrs/make`).
#[test]
fn two_real_overlays_become_one() {
    let base = tempfile::tempdir().unwrap();
    let made = ["a", "b"].map(|side| {
        let root = base.path().join(side);
        std::fs::create_dir_all(root.join("usr/share/old")).unwrap();
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::write(root.join("usr/bin/one"), "one\n").unwrap();
        let dump = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/xattrs");
        let dump = dump.join(format!("{side}.dump"));
        let mut restore = Command::new("setfattr");
        restore.arg("--restore").arg(dump).current_dir(&root);
        assert!(restore.status().unwrap().success(), "user attributes are needed");
        root
    });
    let dumps = || {
        made.each_ref().map(|root| {
            let mut dump = Command::new("getfattr");
            dump.args(["-R", "-h", "-d", "-m", "^user", "-e", "hex", "usr"]).current_dir(root);
            String::from_utf8(dump.output().unwrap().stdout).unwrap()
        })
    };
    let [a, b] = dumps();
    assert!(a != b && a.contains("user.overlay.origin"), "{a}");
    for root in &made {
        assert!(fix(root, &[]).status.success());
    }
    assert_eq!(dumps(), ["", ""]);
}

#[test]
fn check_explains_what_the_plugin_removes() {
    let base = tempfile::tempdir().unwrap();
    let sides = ["a", "b"].map(|side| base.path().join(side));
    for side in &sides {
        std::fs::create_dir(side).unwrap();
        std::fs::write(side.join("f"), "x").unwrap();
    }
    set(&sides[0].join("f"), "user.overlay.origin");
    let config = base.path().join("c.toml");
    std::fs::write(&config, "source-date-epoch = 1\n[plugins.xattrs]\nenabled = true\n").unwrap();
    let subjects = sides.map(|side| format!("dir:{}", side.display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    command.arg("check").args(subjects).args(["--json", "-", "--config"]).arg(&config);
    let output = command.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let cause = &report["differences"][0]["cause"];
    assert_eq!(cause, &serde_json::json!({"kind": "fixed", "plugins": ["xattrs"]}), "{report:#}");
}
