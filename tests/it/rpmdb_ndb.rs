//! ndb databases: the fixtures that rpm wrote, files made by hand, and rpm itself.

use std::fs;
use std::path::{Path, PathBuf};

use reprofix::format::rpmdb::dump::{self, Times};
use reprofix::format::rpmdb::ndb::{self, Canonical};

const EPOCH: u32 = 1_700_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name)
}

/// `Packages.db` and, if there, `Index.db` of a directory.
fn load(dir: &Path) -> (Vec<u8>, Option<Vec<u8>>) {
    (fs::read(dir.join("Packages.db")).unwrap(), fs::read(dir.join("Index.db")).ok())
}

fn canonical((packages, index): &(Vec<u8>, Option<Vec<u8>>)) -> Canonical {
    ndb::canonical(packages, index.as_deref(), EPOCH).unwrap()
}

fn text((packages, index): &(Vec<u8>, Option<Vec<u8>>)) -> String {
    let contents = ndb::read(packages, index.as_deref()).unwrap();
    dump::text(&contents.logical, Times::Blanked).unwrap()
}

fn refused(packages: &[u8], index: Option<&[u8]>) -> String {
    ndb::canonical(packages, index, EPOCH).unwrap_err().to_string()
}

#[test]
fn two_histories_of_one_set_become_one_pair() {
    let (one, rev) = (load(&fixture("ndb/one")), load(&fixture("ndb/rev")));
    assert_ne!(one, rev);
    let (a, b) = (canonical(&one), canonical(&rev));
    assert!(a.index.is_some() && a.notes.is_empty());
    assert_eq!(a, b);
    assert_eq!(text(&one), text(&(a.packages, a.index)));
}

#[test]
fn the_normal_form_of_a_normal_form_is_itself() {
    for name in ["ndb/one", "ndb/rev", "real/ndb/sle15-bci"] {
        let old = load(&fixture(name));
        let first = canonical(&old);
        let pair = (first.packages.clone(), first.index.clone());
        assert_eq!(canonical(&pair), first, "{name}");
        assert_eq!(text(&old), text(&pair), "{name}");
    }
}

#[test]
fn a_missing_or_stale_index_is_left_out_and_reported() {
    let (packages, index) = load(&fixture("ndb/one"));
    let without = ndb::canonical(&packages, None, EPOCH).unwrap();
    assert_eq!(without.index, None);
    assert!(without.notes[0].starts_with("Index.db is missing and is left out"), "{without:?}");

    let mut stale = index.clone().unwrap();
    stale[20] += 1;
    let found = ndb::canonical(&packages, Some(&stale), EPOCH).unwrap();
    assert_eq!((found.index, found.packages), (None, without.packages));
    assert!(found.notes[0].contains("stale (of generation 22, not 21)"), "{:?}", found.notes);

    // Of the same generation, but for other packages: never renumbered by accident.
    let mut other = packages.clone();
    other[32..48].copy_from_slice(&[b'S', b'l', b'o', b't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let why = refused(&other, index.as_deref());
    assert!(why.contains("which has no package"), "{why}");
}

#[test]
fn an_index_that_misses_a_package_is_left_out() {
    let (packages, index) = load(&fixture("ndb/one"));
    let mut index = index.unwrap();
    // The slot of the index of names: given another tag, names have no index.
    let slot = index.chunks(16).position(|s| s.starts_with(b"Slo\0\xe8\x03\0\0")).unwrap() * 16;
    index[slot + 4] = 0xe9;
    let found = ndb::canonical(&packages, Some(&index), EPOCH).unwrap();
    assert_eq!(found.index, None);
    assert!(found.notes[0].contains("does not list every package"), "{:?}", found.notes);
}

#[test]
fn big_endian_files_are_refused_by_name() {
    let (mut packages, index) = load(&fixture("ndb/one"));
    let mut index = index.unwrap();
    index[..4].reverse();
    let why = refused(&packages, Some(&index));
    assert_eq!(why, "Index.db: ndb index in big-endian byte order at byte 0");
    packages[..4].reverse();
    let why = refused(&packages, None);
    assert_eq!(why, "Packages.db: ndb package database in big-endian byte order at byte 0");
}

#[test]
fn every_prefix_is_refused() {
    let (packages, index) = load(&fixture("ndb/one"));
    let index = index.unwrap();
    refused(&packages[..4096], Some(&index));
    refused(&packages, Some(&index[..4096]));
    for end in 0..packages.len() {
        assert!(ndb::packages::read(&packages[..end]).is_err(), "{end}");
    }
    for end in 0..index.len() {
        assert!(ndb::index::read(&index[..end]).is_err(), "{end}");
    }
}
