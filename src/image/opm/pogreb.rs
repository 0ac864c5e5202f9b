//! The pogreb.v1 cache format (opm 1.41 and later): an embedded key-value database.
//!
//! Its digest is FNV-1a-64 over every document of the catalog and then over every key and value of
//! the database in byte order. Only the database's segments are read: all else in it can be made
//! from them. A segment is a 512-byte header and records: key length (16 bits), value length
//! (31 bits, the top bit marking a deletion), key, value, CRC-32 of all that; little endian.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use fnv::FnvHasher;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::document::{GoVersion, documents, go_json};
use super::tree::Directory;
use crate::format::Malformed;
use crate::format::bytes::{Order::Little, slice};
use crate::tree::Kind;

/// First bytes of a segment, its version included.
pub(super) const MAGIC: &[u8] = b"pogreb\x0e\xfd\x02\0\0\0";
/// Bytes of a segment's header.
pub(super) const HEADER: usize = 512;
/// Bytes of all segments together.
const SEGMENT_BYTES: u64 = 1 << 30;
/// Bytes of one `.indexignore`.
const IGNORE_BYTES: u64 = 1 << 20;

/// Keys and values of a database, sorted.
pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The digest of `configs` and of the database whose segments are in `db`, sixteen hex digits,
/// as an opm built with `go` computes it.
pub fn digest(
    configs: &Directory<'_>,
    db: &Directory<'_>,
    go: GoVersion,
) -> anyhow::Result<String> {
    let mut hasher = FnvHasher::default();
    catalog(configs, go, |document| hasher.write(document))?;
    for (key, value) in &records(db)? {
        hasher.write(key);
        hasher.write(value);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Gives `each` the bytes that opm hashes of every document, in the order of its walk.
fn catalog(
    configs: &Directory<'_>,
    go: GoVersion,
    mut each: impl FnMut(&[u8]),
) -> anyhow::Result<()> {
    let ignored = ignored(configs)?;
    for (path, item) in configs.iter() {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let skip = path.is_empty() || path.ends_with(b".indexignore");
        if skip || item.kind != Kind::File || is_ignored(&ignored, &shown) {
            continue;
        }
        documents(item.open()?, |document| {
            let mut out = Vec::new();
            go_json(&document, go, &mut out);
            out.push(b'\n');
            each(&out);
            Ok(())
        })
        .with_context(|| format!("reading {shown} of the catalog"))?;
    }
    Ok(())
}

/// `.indexignore` files, each with the directory it is in; the deepest come last.
fn ignored(configs: &Directory<'_>) -> anyhow::Result<Vec<(String, Gitignore)>> {
    let mut all = Vec::new();
    for (path, item) in configs.iter() {
        let path = String::from_utf8_lossy(&path).into_owned();
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name != ".indexignore" || item.kind != Kind::File {
            continue;
        }
        let text = item.read(IGNORE_BYTES).with_context(|| format!("reading {path}"))?;
        let mut builder = GitignoreBuilder::new(Path::new("/").join(dir));
        for line in String::from_utf8_lossy(&text).lines() {
            builder.add_line(None, line).with_context(|| format!("reading {path}"))?;
        }
        all.push((dir.to_owned(), builder.build()?));
    }
    all.sort_by_key(|(dir, _)| dir.matches('/').count() + usize::from(!dir.is_empty()));
    Ok(all)
}

fn is_ignored(ignores: &[(String, Gitignore)], path: &str) -> bool {
    let above = |dir: &str| dir.is_empty() || path.starts_with(&format!("{dir}/"));
    let verdicts = ignores.iter().rev().filter(|(dir, _)| above(dir));
    let absolute = Path::new("/").join(path);
    let decided = verdicts
        .map(|(_, ignore)| ignore.matched_path_or_any_parents(&absolute, false))
        .find(|verdict| !verdict.is_none());
    decided.is_some_and(|verdict| verdict.is_ignore())
}

/// The records of all segments in `db`, in the order of their sequence numbers.
pub fn records(db: &Directory<'_>) -> anyhow::Result<Records> {
    let mut segments = Vec::new();
    for (path, item) in db.iter() {
        let name = String::from_utf8_lossy(&path).into_owned();
        let sequence = name.strip_suffix(".psg").map(|n| n.rsplit('-').next().unwrap_or_default());
        let Some(sequence) = sequence.filter(|_| item.kind == Kind::File) else { continue };
        let sequence: u64 = sequence.parse().with_context(|| format!("{name}: no sequence"))?;
        segments.push((sequence, name, item));
    }
    segments.sort_by_key(|(sequence, name, _)| (*sequence, name.clone()));
    let total: u64 = segments.iter().map(|(_, _, item)| item.size).sum();
    ensure!(total <= SEGMENT_BYTES, "a database of {total} bytes; more than 1 GiB is refused");
    let mut all = Records::new();
    for (_, name, item) in segments {
        let bytes = item.read(SEGMENT_BYTES)?;
        segment(&bytes, &mut all).with_context(|| format!("reading {name}"))?;
    }
    Ok(all)
}

/// Applies one segment's records to `all`.
pub fn segment(bytes: &[u8], all: &mut Records) -> Result<(), Malformed> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return Err(Malformed::at(0, "not a pogreb segment of version 2"));
    }
    let mut at = HEADER;
    while at < bytes.len() {
        let cut = |_| Malformed::at(at, "record is truncated");
        let key_length = usize::from(Little.u16(bytes, at).map_err(cut)?);
        let length = Little.u32(bytes, at + 2).map_err(cut)?;
        let value_length = (length & 0x7fff_ffff) as usize;
        let end = 6 + key_length + value_length;
        let record = slice(bytes, at, end).map_err(cut)?;
        let stored = Little.u32(bytes, at + end).map_err(cut)?;
        let mut crc = flate2::Crc::new();
        crc.update(record);
        if crc.sum() != stored {
            return Err(Malformed::at(at, "record's checksum does not match"));
        }
        let (key, value) = record[6..].split_at(key_length);
        match length >> 31 {
            0 => all.insert(key.to_vec(), value.to_vec()),
            _ => all.remove(key),
        };
        at += end + 4;
    }
    Ok(())
}

/// One segment that holds `records` in byte order.
pub fn write_segment(records: &Records) -> Result<Vec<u8>, Malformed> {
    let mut out = MAGIC.to_vec();
    out.resize(HEADER, 0);
    for (key, value) in records {
        let start = out.len();
        let too_long = |_| Malformed::at(start, "key or value is too long");
        let key_length = u16::try_from(key.len()).map_err(too_long)?;
        let value_length = i32::try_from(value.len()).map_err(too_long)?;
        out.extend(key_length.to_le_bytes());
        out.extend(value_length.to_le_bytes());
        out.extend(key);
        out.extend(value);
        let mut crc = flate2::Crc::new();
        crc.update(&out[start..]);
        out.extend(crc.sum().to_le_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Memory;

    #[test]
    fn segments_are_read_back_and_later_records_win() {
        let records = Records::from([(b"b".to_vec(), b"2".to_vec()), (b"a".to_vec(), Vec::new())]);
        let bytes = write_segment(&records).unwrap();
        let mut read = Records::from([(b"a".to_vec(), b"old".to_vec())]);
        segment(&bytes, &mut read).unwrap();
        assert_eq!(read, records);
        for end in HEADER + 1..bytes.len() {
            let outcome = segment(&bytes[..end], &mut Records::new());
            // The first record ends after a key of one byte and no value.
            assert_eq!(outcome.is_ok(), end == HEADER + 11, "{end}");
        }
        let mut flipped = bytes.clone();
        flipped[HEADER + 7] ^= 1;
        let error = segment(&flipped, &mut read).unwrap_err();
        assert_eq!(error.to_string(), "record's checksum does not match at byte 512");
    }

    #[test]
    fn ignore_files_work_per_directory() {
        let mut tree = Memory::empty();
        tree.add(".indexignore", "*.txt\n/top\n");
        tree.add("a/.indexignore", "!keep.txt\n");
        let configs = Directory::of(&tree, Path::new("")).unwrap().unwrap();
        let ignores = ignored(&configs).unwrap();
        let hidden = |path| is_ignored(&ignores, path);
        assert!(hidden("x.txt") && hidden("a/x.txt") && hidden("top") && hidden("top/a.json"));
        assert!(!hidden("a/keep.txt") && !hidden("a/top") && !hidden("a/b.json"));
    }
}
