//! `rpmdb.sqlite`: what is accepted has a normal form that is its own, and its packages are found
//! without SQLite too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprofix::disk::PrivateDir;
use reprofix::format::rpmdb::sqlite::{Files, canonical, packages, read};

fuzz_target!(|db: &[u8]| {
    let files = |db| Files { db, ..Files::default() };
    let read = read(&files(db), &PrivateDir);
    let mut scanned = Vec::new();
    let found = packages(&files(db), &PrivateDir, &mut |hnum, blob| {
        scanned.push((hnum, blob.to_vec()));
        Ok(())
    });
    if let Ok(new) = canonical(&files(db), 1_600_000_000, &PrivateDir) {
        let again = canonical(&files(&new.bytes), 1_600_000_000, &PrivateDir).expect("is a database");
        assert!(again.bytes == new.bytes, "the normal form has another normal form");
        found.expect("is a database");
        let read = read.expect("is a database").packages.into_iter();
        let read: Vec<_> = read.map(|p| (p.hnum, p.blob.whole().to_vec())).collect();
        assert!(scanned == read, "SQLite finds other packages");
    }
});
