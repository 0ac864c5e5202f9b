//! Berkeley DB databases: the fixtures that rpm wrote, and Berkeley DB's and rpm's own tools.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::format::rpmdb::bdb;
use reprofix::format::rpmdb::dump::{self, Times};

const EPOCH: u32 = 1_700_000_000;

type Files = BTreeMap<String, Vec<u8>>;

fn fixture(name: &str) -> Files {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name);
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let file =
        |e: fs::DirEntry| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap());
    entries.map(file).collect()
}

fn borrowed(files: &Files) -> BTreeMap<String, &[u8]> {
    files.iter().map(|(name, bytes)| (name.clone(), &bytes[..])).collect()
}

fn canonical(files: &Files) -> Files {
    bdb::canonical(&borrowed(files), EPOCH).unwrap()
}

fn text(files: &Files) -> String {
    dump::text(&bdb::read(&borrowed(files)).unwrap().logical, Times::Blanked).unwrap()
}

fn save(files: &Files) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[test]
fn two_histories_of_one_set_become_one() {
    let (one, rev) = (fixture("bdb/one"), fixture("bdb/rev"));
    assert_eq!(one.len(), 19);
    assert_ne!(one, rev);
    let (a, b) = (canonical(&one), canonical(&rev));
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name}");
    }
    assert_eq!(text(&one), text(&a));
}

#[test]
fn the_normal_form_of_a_normal_form_is_itself() {
    for name in ["bdb/one", "bdb/rev", "real/bdb/empty", "real/bdb/libuuid", "real/bdb/ubi7-tzdata"]
    {
        let old = fixture(name);
        let new = canonical(&old);
        assert!(canonical(&new) == new, "{name}");
        assert_eq!(text(&old), text(&new), "{name}");
    }
}

/// Berkeley DB's own checker finds nothing wrong with a file.
fn verify(path: PathBuf) {
    let out = Command::new("db5.3_verify").arg(&path).output().expect("db5.3-util is installed");
    assert!(out.status.success(), "{path:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn berkeley_db_verifies_what_is_written() {
    for name in ["bdb/one", "real/bdb/empty", "real/bdb/libuuid", "real/bdb/ubi7-tzdata"] {
        let new = canonical(&fixture(name));
        let dir = save(&new);
        new.keys().for_each(|name| verify(dir.path().join(name)));
    }
}
