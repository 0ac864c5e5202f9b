//! An image: refused, or its canonical form unpacks to the same names and is its own.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use reprofix::env::SourceDateEpoch;
use reprofix::plugins::default_context;
use reprofix::plugins::initramfs::{form, unpack};

fuzz_target!(|input: &[u8]| {
    let cx = default_context(SourceDateEpoch::new(1_600_000_000));
    let Ok((canonical, outcome)) = form(Cursor::new(input), &cx) else { return };
    let Some(canonical) = canonical else { return };
    let canonical = canonical.bytes().expect("was written");
    let names = |bytes: &[u8]| {
        let image = unpack(&mut Cursor::new(bytes), &cx).expect("was read").image;
        let mut names: Vec<_> = image.entries().map(|e| e.name.clone()).collect();
        names.retain(|n| !outcome.inside.contains(n));
        names.sort();
        names
    };
    assert!(names(input) == names(&canonical));
    assert!(!form(Cursor::new(&canonical), &cx).expect("was written").1.changed);
});
