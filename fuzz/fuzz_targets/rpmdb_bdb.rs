//! A Berkeley DB file, as any table and as that of packages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reprofix::format::rpmdb::bdb;

fuzz_target!(|file: &[u8]| {
    if let Ok((shape, mut records)) = bdb::records(file) {
        records.sort_by(|a, b| a.0.cmp(&b.0));
        records.dedup_by(|a, b| a.0 == b.0);
        if let Ok(new) = bdb::write(shape, &records, &[0; 20]) {
            let (again, mut found) = bdb::records(&new).expect("was written");
            found.sort_by(|a, b| a.0.cmp(&b.0));
            assert!(again == shape && found == records);
        }
    }
    let packages = [(bdb::PACKAGES.to_owned(), file)].into();
    if let Ok(new) = bdb::canonical(&packages, 1_600_000_000) {
        let files = new.iter().map(|(name, bytes)| (name.clone(), &bytes[..])).collect();
        assert!(bdb::canonical(&files, 1_600_000_000).expect("is a database") == new);
    }
});
