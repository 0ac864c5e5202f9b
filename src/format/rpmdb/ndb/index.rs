//! `Index.db`: the indexes of an ndb database.
//!
//! Two formats in one another, all numbers 32-bit little-endian. Outside, a store of blobs by tag:
//! a 32-byte header (magic `RpmX`, version 0, generation, slot pages, page size, user generation),
//! then 16-byte slots (magic `Slo`, subtag, tag, first page, pages). A blob of subtag 0 is the
//! index of a tag; of subtag 1, what an interrupted rebuild of it left behind.
//!
//! Inside, one hash table an index: a 64-byte header (magic `RpmI`, version 0, generation, slots,
//! used slots, deleted slots, hash mask, end of keys, bytes of deleted keys), 8 bytes a slot (key
//! offset with extra hash bits in the mask, data), 4 bytes of overflow a slot, and the keys, each
//! behind its length in 1, 3 or 7 bytes. Slots are found by the hash of the key modulo the number
//! of slots, then 7, 8, 9, … slots onward.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::format::Malformed;
use crate::format::bytes::{Order::Little, slice};
use crate::format::rpmdb::Row;

const MAGIC: &[u8; 4] = b"RpmX";
const SLOT: &[u8; 3] = b"Slo";
const TABLE: &[u8; 4] = b"RpmI";
const HEADER_SIZE: usize = 32;
const SLOT_SIZE: usize = 16;
const TABLE_HEADER: usize = 64;
/// The page size that is written: that of the commonest hosts.
const PAGE: usize = 4096;
/// Free room after the keys, as rpm leaves it when it rebuilds a table.
const KEY_ROOM: usize = 4096;
/// Slots looked at for each pair, on average, beyond which the keys are an attack.
const PROBES: usize = 256;
/// A slot whose entry was deleted.
const DELETED: u32 = u32::MAX;

/// What an `Index.db` holds.
#[derive(Clone, Debug)]
pub struct Index<'a> {
    /// The generation of the `Packages.db` that it indexes.
    pub usergeneration: u32,
    /// Each table by rpm tag number.
    pub tables: BTreeMap<u32, Table<'a>>,
}

/// One index, not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    tag: u32,
    blob: &'a [u8],
    /// Where the blob begins in the file.
    start: usize,
}

/// Reads an `Index.db` of any page size, but not what its tables hold.
///
/// # Errors
///
/// On truncation, overlapping tables, and on files of another version or byte order.
pub fn read(bytes: &[u8]) -> Result<Index<'_>, Malformed> {
    let magic = slice(bytes, 0, 4)?;
    if magic.iter().rev().eq(MAGIC) {
        return Err(Malformed::at(0, "ndb index in big-endian byte order"));
    }
    if magic != MAGIC {
        return Err(Malformed::at(0, "not an ndb index: no RpmX magic"));
    }
    let version = Little.u32(bytes, 4)?;
    if version != 0 {
        return Err(Malformed::at(4, format!("ndb index version {version}, only 0 is known")));
    }
    let page = Little.u32(bytes, 16)? as usize;
    if !page.is_power_of_two() || page < 512 || !bytes.len().is_multiple_of(page) {
        return Err(Malformed::at(16, format!("page size {page} does not divide the file")));
    }
    let pages = Little.u32(bytes, 12)? as usize;
    let slot_end = pages.checked_mul(page).filter(|end| (page..=bytes.len()).contains(end));
    let slot_end =
        slot_end.ok_or_else(|| Malformed::at(12, format!("{pages} slot pages do not fit")))?;

    let mut tables = BTreeMap::new();
    let mut extents = Vec::new();
    for at in (HEADER_SIZE..slot_end).step_by(SLOT_SIZE) {
        if slice(bytes, at, 3)? != SLOT {
            return Err(Malformed::at(at, "no Slo magic"));
        }
        let number = |offset| Little.u32(bytes, at + offset);
        let (subtag, tag) = (bytes[at + 3], number(4)?);
        let (first, pages) = (number(8)? as usize, number(12)? as usize);
        if first == 0 || subtag != 0 {
            continue;
        }
        let (start, size) = (first.saturating_mul(page), pages.saturating_mul(page));
        if start < slot_end {
            return Err(Malformed::at(at, format!("index of tag {tag} is empty or misplaced")));
        }
        let blob = slice(bytes, start, size)
            .map_err(|_| Malformed::at(at, format!("index of tag {tag} leads outside the file")))?;
        if tables.insert(tag, Table { tag, blob, start }).is_some() {
            return Err(Malformed::at(at, format!("tag {tag} has two indexes")));
        }
        extents.push((start, start + size, at));
    }
    extents.sort_unstable();
    if let Some(pair) = extents.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        return Err(Malformed::at(pair[1].2, "indexes overlap"));
    }
    Ok(Index { usergeneration: Little.u32(bytes, 20)?, tables })
}

impl<'a> Table<'a> {
    /// The rows, in any order.
    ///
    /// # Errors
    ///
    /// On keys that do not hash to where they are filed.
    pub fn rows(&self) -> Result<Vec<Row<'a>>, Malformed> {
        let inside = |e: Malformed| {
            Malformed::at(e.offset + self.start as u64, format!("tag {}: {}", self.tag, e.what))
        };
        rows(self.blob).map_err(inside)
    }
}

/// Reads one hash table.
fn rows(blob: &[u8]) -> Result<Vec<Row<'_>>, Malformed> {
    if slice(blob, 0, 4)? != TABLE || Little.u32(blob, 4)? != 0 {
        return Err(Malformed::at(0, "no RpmI magic of version 0"));
    }
    let slots = Little.u32(blob, 12)? as usize;
    let mask = Little.u32(blob, 24)?;
    let keys_at = slots.saturating_mul(12).saturating_add(TABLE_HEADER);
    if !slots.is_power_of_two() || keys_at >= blob.len() {
        return Err(Malformed::at(12, format!("{slots} slots do not fit the index")));
    }
    let keys = slice(blob, keys_at, Little.u32(blob, 28)? as usize)?;

    let mut rows = Vec::new();
    let mut offsets = BTreeMap::new();
    for slot in 0..slots {
        let at = TABLE_HEADER + slot * 8;
        let (word, data) = (Little.u32(blob, at)?, Little.u32(blob, at + 4)?);
        if word == 0 || word == DELETED {
            continue;
        }
        let offset = word & !mask;
        let key = key(keys, offset as usize).map_err(|e| Malformed::at(at, e.what))?;
        if (word ^ hash(key)) & mask != 0 {
            return Err(Malformed::at(at, "key does not hash to its slot"));
        }
        if *offsets.entry(key).or_insert(offset) != offset {
            return Err(Malformed::at(at, "key is stored twice"));
        }
        let overflow = Little.u32(blob, TABLE_HEADER + slots * 8 + slot * 4)?;
        let (hnum, idx) = decode(data, overflow);
        rows.push(Row { hnum, idx, key: Cow::Borrowed(key) });
    }
    Ok(rows)
}

/// The key at `offset` of the key area.
fn key(keys: &[u8], offset: usize) -> Result<&[u8], Malformed> {
    let rest = keys.get(offset..).unwrap_or_default();
    let (head, len) = match rest {
        [255, 255, 255, a, b, c, d, ..] => (7, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [255, a, b, ..] => (3, u16::from_le_bytes([*a, *b]).into()),
        [len, ..] if *len != 255 && *len != 0 => (1, usize::from(*len)),
        _ => return Err(Malformed::at(offset, "slot leads to no key")),
    };
    slice(rest, head, len).map_err(|_| Malformed::at(offset, "key leads outside the key area"))
}

/// The length bytes in front of a key.
fn key_head(len: usize) -> Vec<u8> {
    let wide = (len as u32).to_le_bytes();
    match len {
        1..255 => vec![wide[0]],
        0 | 255..65535 => vec![255, wide[0], wide[1]],
        _ => [&[255; 3], &wide[..]].concat(),
    }
}

/// The (package index, data index) of a slot.
fn decode(data: u32, overflow: u32) -> (u32, u32) {
    match data >> 30 {
        0 => (data & 0x000f_ffff, data >> 20),
        1 => (data & 0x00ff_ffff, data >> 24 & 0x3f),
        _ => (overflow, data & 0x7fff_ffff),
    }
}

/// The data and the overflow word of a (package index, data index) pair.
fn encode((pkgidx, datidx): (u32, u32)) -> (u32, u32) {
    match (pkgidx, datidx) {
        (0..0x10_0000, 0..0x400) => (pkgidx | datidx << 20, 0),
        (0..0x100_0000, 0..0x40) => (pkgidx | datidx << 24 | 1 << 30, 0),
        _ => (datidx | 1 << 31, pkgidx),
    }
}

/// The variant of MurmurHash that ndb files are hashed with.
fn hash(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |h: u32, shift: u32| {
        let h = h.wrapping_mul(M);
        h ^ h >> shift
    };
    let h = key.chunks(4).fold((key.len() as u32).wrapping_mul(M), |h, chunk| {
        let word = chunk.iter().rev().fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        mix(h.wrapping_add(word), 16)
    });
    mix(mix(h, 10), 17)
}

/// A fresh `Index.db` in the making: pages of 4096 bytes, tables by ascending tag without gaps, and
/// in each the keys in bytewise order.
pub struct Writer {
    out: Vec<u8>,
    tables: usize,
}

impl Writer {
    /// Room for so many tables of the `Packages.db` of this generation.
    pub fn new(usergeneration: u32, tables: usize) -> Self {
        let slots = (HEADER_SIZE + tables * SLOT_SIZE).div_ceil(PAGE) * PAGE;
        let mut out = Vec::with_capacity(slots);
        out.extend_from_slice(MAGIC);
        // Version, generation, slot pages, page size, user generation, two unused words.
        push(&mut out, &[0, 1, (slots / PAGE) as u32, PAGE as u32, usergeneration, 0, 0]);
        while out.len() < slots {
            out.extend_from_slice(SLOT);
            out.push(0);
            push(&mut out, &[0, 0, 0]);
        }
        Writer { out, tables: 0 }
    }

    /// Appends a table, of a greater tag than the one before.
    ///
    /// # Errors
    ///
    /// If it outgrows what its 32-bit offsets reach.
    pub fn push(&mut self, tag: u32, rows: &[Row<'_>]) -> Result<(), Malformed> {
        let first = self.out.len();
        push_table(&mut self.out, rows).map_err(|e| Malformed::at(0, format!("tag {tag}: {e}")))?;
        let size = self.out.len() - first;
        let slot = HEADER_SIZE + self.tables * SLOT_SIZE;
        let words = [tag, (first / PAGE) as u32, (size / PAGE) as u32];
        for (at, word) in (slot + 4..).step_by(4).zip(words) {
            put(&mut self.out, at, &word.to_le_bytes());
        }
        self.tables += 1;
        Ok(())
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// A fresh `Index.db` with these tables.
///
/// # Errors
///
/// As [`Writer::push`] does.
pub fn write(
    usergeneration: u32,
    tables: &BTreeMap<u32, Vec<Row<'_>>>,
) -> Result<Vec<u8>, Malformed> {
    let mut writer = Writer::new(usergeneration, tables.len());
    for (tag, rows) in tables {
        writer.push(*tag, rows)?;
    }
    Ok(writer.finish())
}

fn push(out: &mut Vec<u8>, words: &[u32]) {
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

/// Appends a table: its size follows from the number of pairs and the length of the keys alone.
fn push_table(out: &mut Vec<u8>, rows: &[Row<'_>]) -> Result<(), Malformed> {
    let mut rows: Vec<_> = rows.iter().map(|row| (&*row.key, row.hnum, row.idx)).collect();
    rows.sort_unstable();
    rows.dedup();
    let keys = || rows.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same));
    let used = rows.len();
    // Four times the power of two below: between a quarter and half full.
    let slots = 4 << used.max(256).ilog2();
    let keys_at = TABLE_HEADER + slots * 12;
    // Offset 0 means an empty slot, so the first key is at 1.
    let key_end = 1 + keys().map(|(key, _)| key_head(key.len()).len() + key.len()).sum::<usize>();
    let size = (keys_at + key_end + KEY_ROOM).next_multiple_of(PAGE);
    if size > 1 << 30 {
        return Err(Malformed::at(1 << 30, "index outgrows 1 GiB"));
    }
    // Extra hash bits go where no key offset can reach while the key area grows by two chunks.
    let mask = !(((size - keys_at + 8192).next_power_of_two().max(0x1_0000) - 1) as u32);

    let start = out.len();
    out.extend_from_slice(TABLE);
    push(out, &[0, 1, slots as u32, used as u32, 0, mask, key_end as u32]);
    out.resize(start + size, 0);
    let blob = &mut out[start..];
    let mut offset = 1;
    let mut budget = used.saturating_mul(PROBES).saturating_add(1 << 20);
    for (key, same) in keys() {
        let hash = hash(key);
        let mut path = Path { slot: hash as usize, step: 7 };
        for &(_, hnum, idx) in same {
            let slot = path.free(blob, slots, &mut budget)?;
            let (data, overflow) = encode((hnum, idx));
            put(blob, TABLE_HEADER + slot * 8, &(offset as u32 | hash & mask).to_le_bytes());
            put(blob, TABLE_HEADER + slot * 8 + 4, &data.to_le_bytes());
            put(blob, TABLE_HEADER + slots * 8 + slot * 4, &overflow.to_le_bytes());
        }
        let head = key_head(key.len());
        put(blob, keys_at + offset, &head);
        put(blob, keys_at + offset + head.len(), key);
        offset += head.len() + key.len();
    }
    Ok(())
}

fn put(blob: &mut [u8], at: usize, bytes: &[u8]) {
    blob[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Where a key may be filed: its hash modulo the number of slots, then 7, 8, 9, … slots onward.
struct Path {
    slot: usize,
    step: usize,
}

impl Path {
    /// The next empty slot. There is one, since half of them are empty; but keys made to collide
    /// could take for ever to file.
    fn free(&mut self, blob: &[u8], slots: usize, budget: &mut usize) -> Result<usize, Malformed> {
        loop {
            let slot = self.slot & (slots - 1);
            if blob[TABLE_HEADER + slot * 8..][..4] == [0; 4] {
                return Ok(slot);
            }
            *budget =
                budget.checked_sub(1).ok_or_else(|| Malformed::at(0, "index keys all collide"))?;
            self.slot += self.step;
            self.step += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_round_trip() {
        for pkgidx in [1, 0xf_ffff, 0x10_0000, 0xff_ffff, 0x100_0000, u32::MAX] {
            for datidx in [0, 0x3f, 0x40, 0x3ff, 0x400, 0x7fff_ffff] {
                let (data, overflow) = encode((pkgidx, datidx));
                assert_eq!(decode(data, overflow), (pkgidx, datidx));
            }
        }
    }

    fn all<'a>(index: &Index<'a>) -> BTreeMap<u32, Vec<Row<'a>>> {
        index.tables.iter().map(|(tag, table)| (*tag, table.rows().unwrap())).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let long = vec![7; 70_000];
        let keys: Vec<Vec<u8>> = (0..3000).map(|i: u32| i.to_string().into_bytes()).collect();
        let row = |key, hnum, idx| Row { hnum, idx, key: Cow::Borrowed(key) };
        let mut big = Vec::new();
        for (i, key) in (1..).zip(&keys) {
            big.extend([row(&key[..], i, 0), row(key, i, i), row(key, 0x200_0000, 1)]);
        }
        for len in [0, 254, 255, 65534, 65535, 70_000] {
            big.push(row(&long[..len], 1, 1));
        }
        let tables = BTreeMap::from([(1000, big), (1117, Vec::new())]);
        let file = write(42, &tables).unwrap();
        let index = read(&file).unwrap();
        let again = all(&index);
        assert_eq!(write(index.usergeneration, &again).unwrap(), file);
        let sorted = |mut tables: BTreeMap<u32, Vec<Row<'_>>>| {
            tables.values_mut().for_each(|rows| rows.sort());
            format!("{tables:?}")
        };
        assert_eq!(sorted(again), sorted(tables));
    }

    #[test]
    fn many_tables_take_more_slot_pages() {
        let tables = (1..=300).map(|tag| (tag, Vec::new())).collect();
        let file = write(1, &tables).unwrap();
        assert_eq!(Little.u32(&file, 12).unwrap(), 2);
        assert_eq!(all(&read(&file).unwrap()), tables);
    }
}
