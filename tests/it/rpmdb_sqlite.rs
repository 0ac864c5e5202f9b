//! `rpmdb.sqlite` over databases that rpm wrote.

use std::fs;
use std::path::{Path, PathBuf};

use reprofix::format::Malformed;
use reprofix::format::rpmdb::dump::{self, Times};
use reprofix::format::rpmdb::sqlite::{Canonical, Files, canonical, read};
use sha2::{Digest, Sha256};

const EPOCH: u32 = 1_700_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name)
}

fn db(name: &str) -> Vec<u8> {
    fs::read(fixture(name).join("rpmdb.sqlite")).unwrap()
}

fn alone(db: &[u8]) -> Files<'_> {
    Files { db, ..Files::default() }
}

fn canon(db: &[u8]) -> Result<Canonical, Malformed> {
    canonical(&alone(db), EPOCH)
}

fn text(db: &[u8]) -> String {
    dump::text(&read(&alone(db)).unwrap(), Times::Blanked).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    dump::hex(&Sha256::digest(bytes))
}

#[test]
fn two_histories_of_one_set_become_one_file() {
    let [one, rev] = ["sqlite/one", "sqlite/rev"].map(|name| canon(&db(name)).unwrap());
    assert_eq!(one.packages, 20);
    assert_eq!(hex(&one.bytes), hex(&rev.bytes));
}

#[test]
fn golden_hashes_survive_upgrades_of_sqlite() {
    let golden = [
        ("sqlite/one", "df522c726c7c9fd16eecb4c2a46411675cacdb2c12bcdfdba5f19b192978c64a"),
        (
            "real/sqlite/cbl-mariner-2",
            "7da0d808a02939ce4d7546a7249b17f04d144a16122fc171f1ffa029829cee97",
        ),
        (
            "real/sqlite/fedora-44",
            "845eb44170fe67686111468bc3424fd02efe046b4f8bad2d02f10ff0a7b42242",
        ),
    ];
    let found = golden.map(|(name, _)| (name, hex(&canon(&db(name)).unwrap().bytes)));
    assert_eq!(found.each_ref().map(|(name, hash)| (*name, hash.as_str())), golden);
}

#[test]
fn contents_stay_and_a_second_run_changes_nothing() {
    for name in ["sqlite/one", "sqlite/rev", "real/sqlite/cbl-mariner-2", "real/sqlite/fedora-44"] {
        let before = db(name);
        let after = canon(&before).unwrap();
        assert_eq!(text(&before), text(&after.bytes), "{name}");
        assert_eq!(canon(&after.bytes).unwrap().bytes, after.bytes, "{name}");
    }
}

#[test]
fn what_is_not_an_rpm_database_is_refused_with_the_reason() {
    let refused = [
        ("real/sqlite/orphan-rows", "which has no package"),
        ("real/sqlite/broken-schema", "rpm makes no such"),
    ];
    for (name, reason) in refused {
        let error = canon(&db(name)).unwrap_err().to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
    assert!(canon(&[]).unwrap_err().to_string().contains("empty"));
    assert!(canon(&[0; 8192]).unwrap_err().to_string().contains("no SQLite database header"));
}
