//! The normal form of an archive: clamped times, no owners, and sorted names if possible.

use std::collections::{BTreeMap, BTreeSet};

use super::extra;
use super::{Archive, CENTRAL_LEN, END_LEN, Entry, LOCAL_LEN, parse};
use crate::format::Malformed;
use crate::format::dos_time::DosTime;
use crate::format::strictly_newer;

/// The largest distance of a zip time, which has no zone, from UTC: twelve hours in the far west,
/// and up to two seconds since it is even.
const WESTMOST: i64 = 12 * 3600 + 2;
/// Offsets of date and time in the headers.
const LOCAL_TIME: usize = 10;
const CENTRAL_TIME: usize = 12;
/// Offset of an entry's offset in its directory header, and of the directory's in the end record.
const CENTRAL_OFFSET: usize = 42;

/// The parameters of the normal form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The latest time, in seconds since 1970.
    pub epoch: i64,
    /// The order of the entries.
    pub order: Order,
}

/// The order of the entries of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Unchanged: in this kind of archive the order may matter.
    Kept,
    /// By name.
    Sorted,
    /// By name, after the manifest and its signatures, which a streaming reader needs first.
    Jar,
}

/// The archive's normal form; `None` if it needs no change.
///
/// - Times later than the epoch become the epoch. A time without a zone is taken as later where it
///   could be, in the westmost zone. Where an extra field has the time in UTC, the date and time
///   follow it.
/// - Times of access and creation become that of modification, owners become 0.
/// - Entries are sorted, in the file and in the directory, if each is right after the one before
///   and no name occurs twice. Otherwise, and in zip64 archives, they stay in place.
///
/// No length changes; contents, comments and attributes stay.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn canonical(bytes: &[u8], rules: &Rules) -> Result<Option<Vec<u8>>, Malformed> {
    let archive = parse(bytes)?;
    let mut out = bytes.to_vec();
    for (entry, limit) in archive.entries.iter().zip(limits(&archive, rules.epoch)) {
        times(&mut out, entry, limit);
    }
    let order = order(&archive, rules.order);
    if let Some(order) = order {
        out = arrange(&archive, &out, &order);
    }
    Ok((out != bytes).then_some(out))
}

/// The latest time of each entry: the epoch, or earlier for a source that must stay older than its
/// compiled file.
fn limits(archive: &Archive<'_>, epoch: i64) -> Vec<i64> {
    let mut limits = vec![epoch; archive.entries.len()];
    let compiled: Vec<_> =
        archive.entries.iter().map(|entry| strictly_newer::of_source(entry.name)).collect();
    if compiled.iter().all(Option::is_none) {
        return limits;
    }
    let places: BTreeMap<&[u8], usize> =
        archive.entries.iter().enumerate().map(|(n, entry)| (entry.name, n)).collect();
    for (source, name) in compiled.iter().enumerate() {
        let Some(compiled) = name.as_ref().and_then(|name| places.get(&name[..])) else { continue };
        let [source_entry, entry] = [source, *compiled].map(|n| &archive.entries[n]);
        let (before, after) = (written(source_entry), clamped(entry, epoch).1);
        if before < written(entry) && clamped(source_entry, epoch).1 >= after {
            limits[source] = after - strictly_newer::APART;
        }
    }
    limits
}

/// The time of an entry for a reader in UTC.
fn written(entry: &Entry<'_>) -> i64 {
    in_utc(entry).unwrap_or_else(|| entry.modified.to_unix())
}

fn in_utc(entry: &Entry<'_>) -> Option<i64> {
    let [central, local] = entry.extras();
    extra::modified(local).or_else(|| extra::modified(central))
}

/// The date and time that an entry gets, and the same as seconds since 1970.
fn clamped(entry: &Entry<'_>, limit: i64) -> (DosTime, i64) {
    let dos = entry.modified.to_unix();
    match in_utc(entry) {
        Some(time) => (DosTime::from_unix(time.min(limit)), time.min(limit)),
        None if dos > limit - WESTMOST => (DosTime::from_unix(limit), limit),
        None => (entry.modified, dos),
    }
}

/// Sets the times of one entry, in both of its headers.
fn times(out: &mut [u8], entry: &Entry<'_>, epoch: i64) {
    let central_extra = {
        let at = entry.central.0 + CENTRAL_LEN + entry.name.len();
        let len =
            usize::from(u16::from_le_bytes([out[entry.central.0 + 30], out[entry.central.0 + 31]]));
        at..at + len
    };
    let local_extra = entry.local.0 + LOCAL_LEN + entry.name.len()..entry.local.1;
    let (dos, time) = clamped(entry, epoch);
    // Extra fields without a time of modification may have others, which get the limit.
    let modified = in_utc(entry).map_or(epoch, |_| time);
    for at in [entry.local.0 + LOCAL_TIME, entry.central.0 + CENTRAL_TIME] {
        out[at..at + 2].copy_from_slice(&dos.time.to_le_bytes());
        out[at + 2..at + 4].copy_from_slice(&dos.date.to_le_bytes());
    }
    extra::normalise(&mut out[local_extra], modified);
    extra::normalise(&mut out[central_extra], modified);
}

/// The new order of the entries, as indices; `None` if they must stay.
fn order(archive: &Archive<'_>, order: Order) -> Option<Vec<usize>> {
    let entries = &archive.entries;
    let names: BTreeSet<_> = entries.iter().map(|e| e.name).collect();
    if order == Order::Kept || names.len() != entries.len() || !is_tight(archive) {
        return None;
    }
    let mut sorted: Vec<_> = (0..entries.len()).collect();
    // OpenDocument and EPUB are identified by this entry, which must be the first.
    let first = |n: usize| n == 0 && entries[n].name == b"mimetype";
    sorted.sort_by_key(|n| {
        let name = entries[*n].name;
        let rank = if order == Order::Jar { jar_rank(name) } else { 0 };
        (!first(*n), rank, name)
    });
    let by_place = |a: &usize, b: &usize| entries[*a].local.0 < entries[*b].local.0;
    let is_so = sorted.is_sorted() && sorted.is_sorted_by(by_place);
    (!is_so).then_some(sorted)
}

/// The rank of entries that `JarInputStream` reads before the classes, which come first.
fn jar_rank(name: &[u8]) -> u8 {
    let Some(rest) = name.strip_prefix(b"META-INF/") else { return 4 };
    let upper = rest.to_ascii_uppercase();
    let signs = [&b".SF"[..], b".RSA", b".DSA", b".EC"].iter().any(|e| upper.ends_with(e))
        || upper.starts_with(b"SIG-");
    match &upper[..] {
        b"" => 0,
        b"MANIFEST.MF" => 1,
        rest if signs && !rest.contains(&b'/') => 2,
        b"INDEX.LIST" => 3,
        _ => 4,
    }
}

/// Whether the entries fill the file from its start to the directory, and the directory is
/// followed by the end record.
fn is_tight(archive: &Archive<'_>) -> bool {
    let mut places: Vec<_> = archive.entries.iter().map(|e| (e.local.0, e.end)).collect();
    places.sort_unstable();
    let mut end = 0;
    let filled = places.iter().all(|place| {
        let follows = place.0 == end;
        end = place.1;
        follows
    });
    let narrow = archive.entries.iter().all(|e| {
        let at = e.central.0 + CENTRAL_OFFSET;
        archive.bytes[at..at + 4] == (e.local.0 as u32).to_le_bytes()
    });
    archive.base == 0 && !archive.zip64 && narrow && filled && end == archive.central.0
}

/// The archive with its entries in another order; `bytes` has the headers.
fn arrange(archive: &Archive<'_>, bytes: &[u8], order: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut directory = Vec::with_capacity(archive.central.1 - archive.central.0);
    for entry in order.iter().map(|n| &archive.entries[*n]) {
        // The archive has no zip64 record, so every offset is below 2^32.
        let offset = (out.len() as u32).to_le_bytes();
        let header = directory.len();
        directory.extend(&bytes[entry.central.0..entry.central.1]);
        directory[header + CENTRAL_OFFSET..header + CENTRAL_OFFSET + 4].copy_from_slice(&offset);
        out.extend(&bytes[entry.local.0..entry.end]);
    }
    out.extend(directory);
    debug_assert_eq!(out.len(), archive.central.1);
    out.extend(&bytes[archive.central.1..]);
    debug_assert!(out.len() >= END_LEN);
    out
}
