//! `Packages.db` and `Index.db`, each alone, and both where the input holds both.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use reprofix::format::rpmdb::ndb;

fuzz_target!(|input: &[u8]| {
    // The second file begins at the magic of an index on a page boundary.
    let index = input.chunks(4096).position(|page| page.starts_with(b"RpmX")).unwrap_or(usize::MAX);
    let (packages, index) = input.split_at(index.saturating_mul(4096).min(input.len()));
    if let Some(new) = rewritten(index) {
        assert!(rewritten(&new).expect("is an index") == new);
    }
    let index = (!index.is_empty()).then_some(index);
    if let Ok(new) = ndb::canonical(packages, index, 1_600_000_000) {
        let again = ndb::canonical(&new.packages, new.index.as_deref(), 1_600_000_000);
        let again = again.expect("is a database");
        assert!(again.packages == new.packages && again.index == new.index);
    }
});

/// The index written afresh, if all of it can be read.
fn rewritten(index: &[u8]) -> Option<Vec<u8>> {
    let index = ndb::index::read(index).ok()?;
    let mut tables = BTreeMap::new();
    for (tag, table) in &index.tables {
        tables.insert(*tag, table.rows().ok()?);
    }
    Some(ndb::index::write(index.usergeneration, &tables).expect("was read"))
}
