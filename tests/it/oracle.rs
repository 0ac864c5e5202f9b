//! `check` against an oracle that shares no code with it, over random changes of every kind of
//! subject that is a tree: a sample here, all of it by `tests/e2e/tree-oracle`.

use std::path::Path;
use std::process::Command;

/// Changes of each kind; REPROFIX_TREE_CHANGES sets another number.
const CHANGES: &str = "20";

fn agrees(kind: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/tree-oracle");
    let count = std::env::var("REPROFIX_TREE_CHANGES").unwrap_or_else(|_| CHANGES.to_owned());
    let out = Command::new("python3")
        .arg(script)
        .args(["--count", &count, "--program", env!("CARGO_BIN_EXE_reprofix"), kind])
        .env_remove("SOURCE_DATE_EPOCH")
        .output()
        .unwrap_or_else(|e| panic!("python3: {e}; install it"));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("check and the oracle agree"), "{said}");
}

#[test]
fn directories() {
    agrees("dirs");
}

#[test]
fn commits() {
    agrees("commits");
}

#[test]
fn builds_of_coreos_assembler() {
    agrees("cosa");
}

#[test]
fn rpm_databases() {
    agrees("rpmdb");
}
