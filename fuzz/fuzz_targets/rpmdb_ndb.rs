//! `Packages.db` and `Index.db`, each alone, and both where the input holds both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprofix::format::rpmdb::ndb;

fuzz_target!(|input: &[u8]| {
    // The second file begins at the magic of an index on a page boundary.
    let index = input.chunks(4096).position(|page| page.starts_with(b"RpmX")).unwrap_or(usize::MAX);
    let (packages, index) = input.split_at(index.saturating_mul(4096).min(input.len()));
    if let Ok(found) = ndb::index::read(index) {
        let new = ndb::index::write(&found).expect("was read");
        let again = ndb::index::read(&new).expect("is an index");
        assert!(ndb::index::write(&again).expect("was read") == new);
    }
    let index = (!index.is_empty()).then_some(index);
    if let Ok(new) = ndb::canonical(packages, index, 1_600_000_000) {
        let again = ndb::canonical(&new.packages, new.index.as_deref(), 1_600_000_000);
        let again = again.expect("is a database");
        assert!(again.packages == new.packages && again.index == new.index);
    }
});
