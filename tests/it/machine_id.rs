//! Plugin `machine-id` in `check`: names of two builds are paired, and what only follows an image or
//! an id is told from what differs.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::repo::reprofix;

const IDS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What kernel-install leaves with the machine id as its token, as systemd 262 does.
fn build(root: &Path, id: &str, kernel: &str) {
    put(&root.join("etc/machine-id"), &format!("{id}\n"));
    put(&root.join("etc/kernel/entry-token"), &format!("{id}\n"));
    put(&root.join("etc/kernel/cmdline"), &format!("root=LABEL=x systemd.machine_id={id}\n"));
    put(&root.join(format!("boot/{id}/6.1.0/linux")), kernel);
    put(&root.join(format!("boot/{id}/6.1.0/initrd")), "initrd\n");
    put(
        &root.join(format!("boot/loader/entries/{id}-6.1.0.conf")),
        &format!(
            "title      Debian\nversion    6.1.0\nmachine-id {id}\nsort-key   debian\n\
             options    root=LABEL=x quiet systemd.machine_id={id}\n\
             linux      /{id}/6.1.0/linux\ninitrd     /{id}/6.1.0/initrd\n"
        ),
    );
}

fn check(dir: &Path) -> Value {
    let [a, b] = ["a", "b"].map(|side| format!("dir:{}", dir.join(side).display()));
    let (code, out, err) = reprofix(&["check", &a, &b, "--json=-", "--source-date-epoch=1"]);
    assert_eq!(code, 1, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn causes(report: &Value) -> Vec<(String, String)> {
    let rows = report["differences"].as_array().unwrap().iter();
    rows.map(|row| {
        let cause = &row["cause"];
        let who = cause["plugin"].as_str().or(cause["plugins"][0].as_str()).unwrap_or("-");
        let path = row["path"].as_str().unwrap();
        (
            path.trim_start_matches('/').to_owned(),
            format!("{} {who}", cause["kind"].as_str().unwrap()),
        )
    })
    .collect()
}

#[test]
fn names_of_two_builds_are_paired_in_check() {
    let base = tempfile::tempdir().unwrap();
    for (side, id) in ["a", "b"].into_iter().zip(IDS) {
        build(&base.path().join(side), id, "kernel\n");
    }
    let found = causes(&check(base.path()));
    assert!(found.len() >= 11, "{found:?}");
    for (path, cause) in &found {
        assert_ne!(cause, "unexplained -", "{path}");
        let of_name = path.starts_with("boot/0") || path.starts_with("boot/f");
        match path.split('/').count() {
            2 if of_name => assert_eq!(cause, "known machine-id", "{path}"),
            _ if path.starts_with("boot/") => assert_eq!(cause, "cascade -", "{path}"),
            _ => assert!(cause.starts_with("fixed "), "{path}: {cause}"),
        }
    }
}

#[test]
fn a_kernel_that_differs_is_not_explained_by_the_id() {
    let base = tempfile::tempdir().unwrap();
    for (n, side) in ["a", "b"].into_iter().enumerate() {
        build(&base.path().join(side), IDS[n], &format!("kernel {n}\n"));
    }
    let found = causes(&check(base.path()));
    let open: Vec<_> = found.iter().filter(|(_, cause)| cause == "unexplained -").collect();
    assert_eq!(open.len(), 2, "{found:?}");
    assert!(open.iter().all(|(path, _)| path.ends_with("6.1.0/linux")), "{open:?}");
}

#[test]
fn a_root_hash_in_a_command_line_follows_an_image() {
    let base = tempfile::tempdir().unwrap();
    for (side, hash) in [("a", "aa11"), ("b", "bb22")] {
        let root = base.path().join(side);
        put(&root.join("etc/kernel/cmdline"), &format!("quiet usrhash={hash} ro\n"));
    }
    let report = check(base.path());
    assert_eq!(causes(&report), [("etc/kernel/cmdline".to_owned(), "known machine-id".to_owned())]);
    let said = report["differences"][0]["cause"]["lines"][0].as_str().unwrap();
    assert_eq!(said, "usrhash= differs: it follows the image whose root hash it names");
    // What differs beside it is no image's.
    put(&base.path().join("b/etc/kernel/cmdline"), "quiet usrhash=bb22 rw\n");
    assert_eq!(causes(&check(base.path()))[0].1, "unexplained -");
}

#[test]
fn attributes_of_a_partition_are_named_with_the_remedy() {
    let base = tempfile::tempdir().unwrap();
    for (side, label) in [("a", "usr_1"), ("b", "usr_2")] {
        let file = base.path().join(side).join("usr/bin/x");
        put(&file, "x");
        crate::repo::xattr(file.parent().unwrap(), "user.validatefs.gpt_label", label.as_bytes());
    }
    let report = check(base.path());
    assert_eq!(causes(&report), [("usr/bin".to_owned(), "known generated".to_owned())]);
    let said = report["differences"][0]["cause"]["lines"][0].as_str().unwrap();
    assert!(said.ends_with("AddValidateFS=no omits them"), "{said}");
}

/// One finding for all names, with the way out; what is safe goes.
#[test]
fn fix_removes_what_is_safe_and_reports_the_names_once() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("root");
    build(&root, IDS[0], "kernel\n");
    let (code, out, err) =
        reprofix(&["fix", root.to_str().unwrap(), "--json=-", "--source-date-epoch=1"]);
    assert_eq!(code, 0, "{err}");
    let entry = fs::read_to_string(root.join(format!("boot/loader/entries/{}-6.1.0.conf", IDS[0])));
    let entry = entry.unwrap();
    assert!(!entry.contains("machine-id") && !entry.contains("machine_id="), "{entry}");
    assert!(entry.contains(&format!("linux      /{}/6.1.0/linux", IDS[0])), "{entry}");
    assert_eq!(fs::read_to_string(root.join("etc/kernel/cmdline")).unwrap(), "root=LABEL=x\n");
    assert!(!root.join("etc/kernel/entry-token").exists());
    let report: Value = serde_json::from_str(&out).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(text.matches("--entry-token=os-id").count(), 1, "{text}");
}
