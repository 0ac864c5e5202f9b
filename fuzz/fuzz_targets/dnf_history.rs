//! A history of dnf: what is accepted has a normal form that is its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprofix::disk::PrivateDir;
use reprofix::format::rpmdb::history::{Cookies, canonical};
use reprofix::format::rpmdb::sqlite::Files;

fuzz_target!(|db: &[u8]| {
    let cookies = Cookies::default();
    let files = |db| Files { db, ..Files::default() };
    if let Ok(new) = canonical(&files(db), 1_600_000_000, &cookies, &PrivateDir) {
        let again = canonical(&files(&new.bytes), 1_600_000_000, &cookies, &PrivateDir).expect("is a history");
        assert!(again.bytes == new.bytes, "the normal form has another normal form");
    }
});
