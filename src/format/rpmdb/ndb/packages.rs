//! `Packages.db`: the header blobs of an ndb database.
//!
//! All numbers are 32-bit little-endian on every host. Page 0 starts with a 32-byte header (magic
//! `RpmP`, version 0, generation, number of slot pages, next package index); 16-byte slots follow
//! to the end of the last slot page (magic `Slot`, package index, first block, blocks; first block
//! 0 = free). Blocks are 16 bytes. A blob is a 16-byte head (`BlbS`, package index, generation or
//! time, length), the header, zeroes up to the tail, and a 12-byte tail (Adler-32 of all before
//! it, length, `BlbE`) that ends with the last block.

use std::collections::{BTreeMap, BTreeSet};

use adler2::adler32_slice;

use crate::format::Malformed;
use crate::format::bytes::{Order::Little, slice};
use crate::format::rpmdb::blob::Blob;

const MAGIC: &[u8; 4] = b"RpmP";
const SLOT: &[u8; 4] = b"Slot";
const HEAD: &[u8; 4] = b"BlbS";
const TAIL: &[u8; 4] = b"BlbE";
const PAGE: usize = 4096;
const BLOCK: usize = 16;
const HEADER_SIZE: usize = 32;
const HEAD_SIZE: usize = 16;
const TAIL_SIZE: usize = 12;

/// What a `Packages.db` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages<'a> {
    /// Counts the writes; `Index.db` repeats it to say which state it indexes.
    pub generation: u32,
    /// Header blob by package index (hnum).
    pub blobs: BTreeMap<u32, &'a [u8]>,
}

/// Reads a `Packages.db`, checking every slot, both ends of every blob and its Adler-32.
///
/// # Errors
///
/// On truncation, slots that overlap or lead outside the file, a package index used twice, and on
/// files of another version or byte order.
pub fn read(bytes: &[u8]) -> Result<Packages<'_>, Malformed> {
    let magic = slice(bytes, 0, 4)?;
    if magic.iter().rev().eq(MAGIC) {
        return Err(Malformed::at(0, "ndb package database in big-endian byte order"));
    }
    if magic != MAGIC {
        return Err(Malformed::at(0, "not an ndb package database: no RpmP magic"));
    }
    let version = Little.u32(bytes, 4)?;
    if version != 0 {
        return Err(Malformed::at(4, format!("ndb version {version}, only 0 is known")));
    }
    if !bytes.len().is_multiple_of(BLOCK) {
        return Err(Malformed::at(bytes.len(), "length is not a multiple of 16: truncated"));
    }
    let slot_end = slot_area(bytes)?;
    let slots = filled(bytes, slot_end)?;
    // Where blobs lie is judged before any of them is read, which takes long.
    let mut extents = Vec::with_capacity(slots.len());
    for (at, slot) in &slots {
        if slot.start() < slot_end {
            return Err(Malformed::at(*at, "slot leads into the slot pages"));
        }
        extents.push((slot.start(), slot.start() + slot.whole(bytes)?.len(), *at));
    }
    extents.sort_unstable();
    if let Some(pair) = extents.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        return Err(Malformed::at(pair[1].2, "slots overlap"));
    }
    let mut blobs = BTreeMap::new();
    for (at, slot) in slots {
        if blobs.insert(slot.pkgidx, slot.blob(bytes)?).is_some() {
            return Err(Malformed::at(at, format!("package {} has two slots", slot.pkgidx)));
        }
    }
    Ok(Packages { generation: Little.u32(bytes, 8)?, blobs })
}

/// Generation and package indexes, from the slot pages at the beginning of the file alone.
///
/// # Errors
///
/// As [`read`] does on them.
pub(super) fn slots(head: &[u8]) -> Result<(u32, BTreeSet<u32>), Malformed> {
    let slots = filled(head, slot_area(head)?)?;
    Ok((Little.u32(head, 8)?, slots.iter().map(|(_, slot)| slot.pkgidx).collect()))
}

/// Bytes of the slot pages, as the first bytes of a file say.
pub fn slot_bytes(head: &[u8]) -> usize {
    Little.u32(head, 12).map_or(0, |pages| (pages as usize).saturating_mul(PAGE))
}

/// Where the slot pages end, in bytes.
fn slot_area(bytes: &[u8]) -> Result<usize, Malformed> {
    let pages = Little.u32(bytes, 12)? as usize;
    let end = pages.checked_mul(PAGE).filter(|end| (PAGE..=bytes.len()).contains(end));
    end.ok_or_else(|| Malformed::at(12, format!("{pages} slot pages do not fit the file")))
}

#[derive(Clone, Copy)]
struct Slot {
    pkgidx: u32,
    first: u32,
    blocks: u32,
}

impl Slot {
    /// The slot at `at`, or `None` if it is free.
    fn read(bytes: &[u8], at: usize) -> Result<Option<Self>, Malformed> {
        if slice(bytes, at, 4)? != SLOT {
            return Err(Malformed::at(at, "no Slot magic"));
        }
        let number = |offset| Little.u32(bytes, at + offset);
        let slot = Slot { pkgidx: number(4)?, first: number(8)?, blocks: number(12)? };
        match slot {
            Slot { first: 0, .. } => Ok(None),
            Slot { pkgidx: 0, .. } => Err(Malformed::at(at, "slot of package 0")),
            slot => Ok(Some(slot)),
        }
    }

    /// Where its blob begins.
    fn start(self) -> usize {
        self.first as usize * BLOCK
    }

    fn wrong(self, what: &str) -> Malformed {
        Malformed::at(self.start(), format!("package {}: {what}", self.pkgidx))
    }

    /// Its blob with head and tail.
    fn whole(self, bytes: &[u8]) -> Result<&[u8], Malformed> {
        let outside = |_| self.wrong("blob leads outside the file");
        slice(bytes, self.start(), self.blocks as usize * BLOCK).map_err(outside)
    }

    /// The header in its blob.
    fn blob(self, bytes: &[u8]) -> Result<&[u8], Malformed> {
        let whole = self.whole(bytes)?;
        if !whole.starts_with(HEAD) || !whole.ends_with(TAIL) {
            return Err(self.wrong("blob without head or tail"));
        }
        let len = Little.u32(whole, 12)? as usize;
        if blob_size(len) != whole.len() {
            return Err(self.wrong("length of blob and slot do not match"));
        }
        let tail = whole.len() - TAIL_SIZE;
        if Little.u32(whole, 4)? != self.pkgidx || Little.u32(whole, tail + 4)? as usize != len {
            return Err(self.wrong("blob head, tail and slot contradict each other"));
        }
        if Little.u32(whole, tail)? != adler32_slice(&whole[..tail]) {
            return Err(self.wrong("Adler-32 of blob is wrong"));
        }
        Ok(&whole[HEAD_SIZE..HEAD_SIZE + len])
    }
}

/// The slots that are not free, each with its place.
fn filled(bytes: &[u8], slot_end: usize) -> Result<Vec<(usize, Slot)>, Malformed> {
    let all = (HEADER_SIZE..slot_end).step_by(BLOCK);
    let slots = all.map(|at| Slot::read(bytes, at).map(|slot| Some((at, slot?))));
    slots.filter_map(Result::transpose).collect()
}

/// A fresh `Packages.db` with `blobs` as packages 1, 2, 3, …: slots and blobs contiguous in that
/// order, blob i of generation i, the file's generation and next index one more than the last.
///
/// # Errors
///
/// If the file would outgrow what 32-bit block numbers reach.
pub fn write(blobs: &[Blob<'_>]) -> Result<Vec<u8>, Malformed> {
    let slots = (blobs.len() * BLOCK + HEADER_SIZE).div_ceil(PAGE) * PAGE;
    let total: usize = blobs.iter().map(|blob| blob_size(blob.len())).sum();
    let too_big = |_| Malformed::at(u32::MAX, "database outgrows 32-bit block numbers");
    u32::try_from((slots + total) / BLOCK).map_err(too_big)?;
    let next = u32::try_from(blobs.len() + 1).map_err(too_big)?;

    let mut out = Vec::with_capacity(slots + total);
    out.extend_from_slice(MAGIC);
    // Version, generation, slot pages, next index, three unused words.
    for word in [0, next, (slots / PAGE) as u32, next, 0, 0, 0] {
        out.extend_from_slice(&u32::to_le_bytes(word));
    }
    let mut first = (slots / BLOCK) as u32;
    for (pkgidx, blob) in (1..).zip(blobs) {
        let blocks = (blob_size(blob.len()) / BLOCK) as u32;
        push_slot(&mut out, [pkgidx, first, blocks]);
        first += blocks;
    }
    while out.len() < slots {
        push_slot(&mut out, [0, 0, 0]);
    }
    for (pkgidx, blob) in (1..).zip(blobs) {
        push_blob(&mut out, pkgidx, blob);
    }
    Ok(out)
}

fn push_slot(out: &mut Vec<u8>, words: [u32; 3]) {
    out.extend_from_slice(SLOT);
    words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn push_blob(out: &mut Vec<u8>, pkgidx: u32, blob: &Blob<'_>) {
    let start = out.len();
    let len = blob.len() as u32;
    out.extend_from_slice(HEAD);
    [pkgidx, pkgidx, len].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    blob.pieces().for_each(|piece| out.extend_from_slice(piece));
    out.resize(start + blob_size(blob.len()) - TAIL_SIZE, 0);
    let sum = adler32_slice(&out[start..]);
    [sum, len].iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    out.extend_from_slice(TAIL);
}

/// Bytes that a blob with a header of `len` bytes takes.
fn blob_size(len: usize) -> usize {
    (HEAD_SIZE + len + TAIL_SIZE).next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 2, 253, 254, 255, 510, 511, 645] {
            let blobs: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; 1 + i * 7 % 100]).collect();
            let pieces: Vec<Blob<'_>> = blobs.iter().map(|blob| blob[..].into()).collect();
            let file = write(&pieces).unwrap();
            assert_eq!(Little.u32(&file, 12).unwrap() as usize, (count + 2).div_ceil(256));
            let packages = read(&file).unwrap();
            assert_eq!(packages.generation as usize, count + 1);
            let found: Vec<_> = packages.blobs.values().map(|b| b.to_vec()).collect();
            assert_eq!(found, blobs);
        }
    }

    #[test]
    fn bad_files_are_refused() {
        let good = write(&[b"first"[..].into(), b"other"[..].into()]).unwrap();
        let with = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            read(&file).unwrap_err().to_string()
        };
        assert_eq!(with(0, b"PmpR"), "ndb package database in big-endian byte order at byte 0");
        assert_eq!(with(4, &[1]), "ndb version 1, only 0 is known at byte 4");
        assert_eq!(with(12, &[9]), "9 slot pages do not fit the file at byte 12");
        assert_eq!(with(12, &[0]), "0 slot pages do not fit the file at byte 12");
        assert_eq!(
            with(36, &[2]),
            "package 2: blob head, tail and slot contradict each other at byte 4096"
        );
        assert_eq!(with(40, &[1, 0]), "slot leads into the slot pages at byte 32");
        assert_eq!(with(40, &[0, 9]), "package 1: blob leads outside the file at byte 36864");
        assert_eq!(with(44, &[9]), "package 1: blob leads outside the file at byte 4096");
        assert_eq!(with(4112, b"F"), "package 1: Adler-32 of blob is wrong at byte 4096");
        assert_eq!(with(4080, b"s"), "no Slot magic at byte 4080");
    }
}
