//! `rpmdb.sqlite`: what is accepted has a normal form that is its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprofix::format::rpmdb::sqlite::{Files, canonical, read};

fuzz_target!(|db: &[u8]| {
    let files = |db| Files { db, ..Files::default() };
    let _ = read(&files(db));
    if let Ok(new) = canonical(&files(db), 1_600_000_000) {
        let again = canonical(&files(&new.bytes), 1_600_000_000).expect("is a database");
        assert!(again.bytes == new.bytes, "the normal form has another normal form");
    }
});
