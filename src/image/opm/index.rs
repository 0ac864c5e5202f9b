//! A whole pogreb database, written the same way every time.
//!
//! pogreb finds keys by a hash index: main and overflow files of buckets (31 slots and the offset
//! of an overflow bucket, 512 bytes each), addressed by linear hashing over murmur3 with a seed
//! that pogreb draws at random. Here the seed is 0 and the records are in byte order of their
//! keys, so one set of records has one form. Small facts (seed, numbers of keys and buckets) are
//! in files of Go's gob encoding. Follows the files that pogreb 0.10 writes.

use super::pogreb::{HEADER, MAGIC, Records, write_segment};
use crate::format::Malformed;

/// Slots of a bucket.
const SLOTS: usize = 31;
/// Bytes of a bucket.
const BUCKET: usize = 512;
/// Bytes of a slot: hash, segment, key size, value size, offset.
const SLOT: usize = 16;

/// gob's descriptions of the three structures, as Go's encoder writes them.
const DB_META: &[u8] =
    b"\x20\x7f\x03\x01\x01\x06dbMeta\x01\xff\x80\0\x01\x01\x01\x08HashSeed\x01\x06\0\0\0";
const SEGMENT_META: &[u8] =
    b"\x64\xff\x81\x03\x01\x01\x0bsegmentMeta\x01\xff\x82\0\x01\x05\x01\x04Full\
    \x01\x02\0\x01\x0aPutRecords\x01\x06\0\x01\x0dDeleteRecords\x01\x06\0\x01\x0bDeletedKeys\
    \x01\x06\0\x01\x0cDeletedBytes\x01\x06\0\0\0";
const INDEX_META: &[u8] =
    b"\x6a\xff\x83\x03\x01\x01\x09indexMeta\x01\xff\x84\0\x01\x05\x01\x05Level\
    \x01\x06\0\x01\x07NumKeys\x01\x06\0\x01\x0aNumBuckets\x01\x06\0\x01\x10SplitBucketIndex\
    \x01\x06\0\x01\x13FreeOverflowBuckets\x01\xff\x86\0\0\0\x15\xff\x85\x02\x01\x01\x07[]int64\
    \x01\xff\x86\0\x01\x04\0\0";

/// The files of a database that holds `records`, by name, sorted.
///
/// # Errors
///
/// If a key or value is too long for the format, or all together are.
pub fn database(records: &Records) -> Result<Vec<(&'static str, Vec<u8>)>, Malformed> {
    let segment = write_segment(records)?;
    if u32::try_from(segment.len()).is_err() {
        return Err(Malformed::at(segment.len(), "records of more than 4 GiB"));
    }
    let shape = Shape::of(records.len());
    let (main, overflow) = buckets(records, &shape, 0);
    let keys = records.len() as u64;
    let segment_meta = gob(SEGMENT_META, b"\xff\x82", &[0, keys, 0, 0, 0]);
    let numbers = [shape.level.into(), keys, shape.buckets as u64, shape.split as u64, 0];
    Ok(vec![
        ("00000-1.psg", segment),
        ("00000-1.psg.pmt", segment_meta),
        ("db.pmt", gob(DB_META, b"\xff\x80", &[0])),
        ("index.pmt", gob(INDEX_META, b"\xff\x84", &numbers)),
        ("main.pix", main),
        ("overflow.pix", overflow),
    ])
}

/// The state of linear hashing after a number of keys.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    level: u8,
    buckets: usize,
    split: usize,
}

impl Shape {
    /// pogreb splits a bucket whenever more than 0.7 of all slots are taken.
    fn of(keys: usize) -> Self {
        let mut shape = Shape { level: 0, buckets: 1, split: 0 };
        while keys * 10 > shape.buckets * SLOTS * 7 {
            shape.buckets += 1;
            shape.split += 1;
            if shape.split == 1 << shape.level {
                shape.level += 1;
                shape.split = 0;
            }
        }
        shape
    }

    fn bucket(&self, hash: u32) -> usize {
        let low = hash as usize & ((1 << self.level) - 1);
        if low < self.split { hash as usize & ((2 << self.level) - 1) } else { low }
    }
}

/// The main and the overflow file.
fn buckets(records: &Records, shape: &Shape, seed: u32) -> (Vec<u8>, Vec<u8>) {
    let mut all: Vec<Vec<[u8; SLOT]>> = vec![Vec::new(); shape.buckets];
    let mut offset = HEADER;
    for (key, value) in records {
        let hash = murmur3(key, seed);
        let mut slot = [0; SLOT];
        slot[..4].copy_from_slice(&hash.to_le_bytes());
        slot[6..8].copy_from_slice(&(key.len() as u16).to_le_bytes());
        slot[8..12].copy_from_slice(&(value.len() as u32).to_le_bytes());
        slot[12..].copy_from_slice(&(offset as u32).to_le_bytes());
        all[shape.bucket(hash)].push(slot);
        // Two lengths and a checksum.
        offset += 6 + key.len() + value.len() + 4;
    }
    let mut header = MAGIC.to_vec();
    header.resize(HEADER, 0);
    let (mut main, mut overflow) = (header.clone(), header);
    for slots in all {
        let chunks: Vec<_> = slots.chunks(SLOTS).collect();
        let next = if chunks.len() > 1 { overflow.len() } else { 0 };
        main.extend(bucket(chunks.first().copied().unwrap_or_default(), next));
        for (i, chunk) in chunks.iter().enumerate().skip(1) {
            let next = if i + 1 < chunks.len() { overflow.len() + BUCKET } else { 0 };
            overflow.extend(bucket(chunk, next));
        }
    }
    (main, overflow)
}

fn bucket(slots: &[[u8; SLOT]], next: usize) -> [u8; BUCKET] {
    let mut out = [0; BUCKET];
    for (place, slot) in out.chunks_exact_mut(SLOT).zip(slots) {
        place.copy_from_slice(slot);
    }
    out[SLOTS * SLOT..SLOTS * SLOT + 8].copy_from_slice(&(next as u64).to_le_bytes());
    out
}

/// A file with one gob value: `description`, then the structure `id` of unsigned `fields`, those
/// that are 0 left out.
fn gob(description: &[u8], id: &[u8], fields: &[u64]) -> Vec<u8> {
    let mut value = id.to_vec();
    let mut skipped = 1;
    for &field in fields {
        if field == 0 {
            skipped += 1;
            continue;
        }
        value.push(skipped);
        value.extend(unsigned(field));
        skipped = 1;
    }
    value.push(0);
    let mut out = MAGIC.to_vec();
    out.resize(HEADER, 0);
    out.extend(description);
    out.extend(unsigned(value.len() as u64));
    out.extend(value);
    out
}

/// gob's unsigned integers: one byte up to 127, otherwise the negated number of bytes and the bytes,
/// highest first.
fn unsigned(number: u64) -> Vec<u8> {
    if number < 128 {
        return vec![number as u8];
    }
    let bytes = number.to_be_bytes();
    let bytes = &bytes[number.leading_zeros() as usize / 8..];
    [&[(bytes.len() as u8).wrapping_neg()], bytes].concat()
}

/// MurmurHash3, x86, 32 bits (public domain algorithm by Austin Appleby).
fn murmur3(key: &[u8], seed: u32) -> u32 {
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = seed;
    let mut blocks = key.chunks_exact(4);
    for block in &mut blocks {
        let k = block.iter().rev().fold(0, |k, &b| k << 8 | u32::from(b));
        hash = (hash ^ scramble(k)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let rest = blocks.remainder().iter().rev().fold(0, |k, &b| k << 8 | u32::from(b));
    hash ^= scramble(rest);
    hash ^= key.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::image::opm::pogreb::segment;

    /// The databases that real opm made: with their own seed and order, we write their files.
    #[test]
    fn files_of_real_databases_come_out() {
        for name in ["pogreb-cat1", "pogreb-cat2", "pogreb-cat4-custom-a"] {
            let dir = tempfile::tempdir().unwrap();
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/opm");
            let mut tar = Command::new("tar");
            tar.arg("-xpf").arg(root.join(format!("{name}.tar"))).arg("-C").arg(dir.path());
            assert!(tar.status().unwrap().success());
            let read = |file: &str| {
                std::fs::read(dir.path().join("cache-dir/pogreb.v1/db").join(file)).unwrap()
            };
            let mut records = Records::new();
            segment(&read("00000-1.psg"), &mut records).unwrap();
            let seed = read("db.pmt");
            let seed = u32::from_be_bytes(seed[seed.len() - 5..seed.len() - 1].try_into().unwrap());
            let ours = database(&records).unwrap();
            let ours = |file: &str| &ours.iter().find(|(n, _)| *n == file).unwrap().1;
            for file in ["index.pmt", "overflow.pix"] {
                assert_eq!(*ours(file), read(file), "{name} {file}");
            }
            // A key that was put twice leaves a dead record, which the real file counts.
            if ours("00000-1.psg").len() == read("00000-1.psg").len() {
                assert_eq!(*ours("00000-1.psg.pmt"), read("00000-1.psg.pmt"), "{name}");
            }
            // Hashes and sizes are those of the real index; offsets follow the order of records.
            let slots = |main: &[u8]| {
                let slots = main[HEADER..HEADER + SLOTS * SLOT].chunks(SLOT);
                let mut all: Vec<_> = slots.map(|s| s[..12].to_vec()).collect();
                all.sort();
                all
            };
            let shape = Shape::of(records.len());
            assert_eq!(
                slots(&buckets(&records, &shape, seed).0),
                slots(&read("main.pix")),
                "{name}"
            );
            let meta = gob(DB_META, b"\xff\x80", &[seed.into()]);
            assert_eq!(meta, read("db.pmt"), "{name}");
        }
    }

    /// Every key is found the way pogreb looks for it, overflow buckets included.
    #[test]
    fn every_key_is_found_through_the_index() {
        for keys in [0, 1, 21, 22, 44, 1000, 20_000_usize] {
            let entry = |i: usize| (format!("key/{i}").into_bytes(), vec![b'v'; i % 50]);
            let records: Records = (0..keys).map(entry).collect();
            let files = database(&records).unwrap();
            let file = |name: &str| &files.iter().find(|(n, _)| *n == name).unwrap().1;
            let (segment, main) = (file("00000-1.psg"), file("main.pix"));
            let shape = Shape::of(keys);
            assert_eq!(main.len(), HEADER + shape.buckets * BUCKET);
            for (key, value) in &records {
                let hash = murmur3(key, 0);
                let mut bucket = &main[HEADER + shape.bucket(hash) * BUCKET..][..BUCKET];
                let found = loop {
                    let slots = bucket[..SLOTS * SLOT].chunks(SLOT);
                    let mut same = slots.filter(|s| s[..4] == hash.to_le_bytes());
                    let offset = same.find_map(|s| {
                        let at = u32::from_le_bytes(s[12..].try_into().unwrap()) as usize;
                        (segment[at + 6..].starts_with(key)).then_some(at)
                    });
                    if let Some(at) = offset {
                        break &segment[at + 6 + key.len()..][..value.len()];
                    }
                    let next = u64::from_le_bytes(bucket[496..504].try_into().unwrap()) as usize;
                    assert_ne!(next, 0, "{keys}: a key is not in its bucket");
                    bucket = &file("overflow.pix")[next..][..BUCKET];
                };
                assert_eq!(found, value);
            }
        }
    }

    #[test]
    fn murmur3_has_its_published_values() {
        for (text, seed, want) in [
            ("", 0, 0),
            ("", 1, 0x514e_28b7),
            ("test", 0, 0xba6b_d213),
            ("Hello, world!", 0x9747_b28c, 0x2488_4cba),
        ] {
            assert_eq!(murmur3(text.as_bytes(), seed), want, "{text}");
        }
    }
}
