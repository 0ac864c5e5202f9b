//! Zeroes every unused byte of an SQLite database.
//!
//! SQLite leaves old bytes in the gaps of its pages, which differ between versions. This walks the
//! b-trees (<https://sqlite.org/fileformat2.html>, section 1.6) and keeps exactly the bytes that a
//! header, a cell pointer, a live cell, a freeblock's header or an overflow payload uses.

use std::ops::Range;

use crate::format::Malformed;
use crate::format::bytes::Order::Big;

/// Bytes of the database header on page 1.
pub(super) const FILE_HEADER: usize = 100;
/// The byte for file locks, whose page is never used.
const LOCK_BYTE: usize = 1 << 30;
/// The most levels of a b-tree; SQLite's own limit is 20.
pub(super) const MAX_DEPTH: usize = 20;

/// Zeroes the unused bytes of `db`, a database without free pages whose b-trees begin at the pages
/// `roots` (with or without that of the schema, 1). Returns how many bytes were not zero.
///
/// # Errors
///
/// If a page is not a b-tree page, is reached twice or not at all, or has cells outside of it; `db`
/// is then partly scrubbed.
pub(crate) fn scrub(db: &mut [u8], roots: &[u32]) -> Result<u64, Malformed> {
    let mut walk = Walk::new(db)?;
    walk.tree(1, 0)?;
    for &root in roots.iter().filter(|&&root| root != 1) {
        walk.tree(root, 0)?;
    }
    walk.rest()?;
    Ok(walk.zeroed)
}

/// A walk over all pages.
struct Walk<'a> {
    db: &'a mut [u8],
    page: usize,
    usable: usize,
    seen: Vec<bool>,
    zeroed: u64,
}

/// What one b-tree page points to.
#[derive(Default)]
struct Links {
    children: Vec<u32>,
    /// First overflow page and bytes of payload in the chain.
    overflow: Vec<(u32, usize)>,
    /// The used bytes of the page.
    live: Vec<Range<usize>>,
}

impl<'a> Walk<'a> {
    fn new(db: &'a mut [u8]) -> Result<Self, Malformed> {
        let page = page_size(db)?;
        let reserved = usize::from(db[20]);
        let whole = db.len().is_multiple_of(page);
        if !whole || page - reserved < 480 {
            return Err(Malformed::at(16u64, "database is not a whole number of pages"));
        }
        let seen = vec![false; db.len() / page];
        Ok(Walk { usable: page - reserved, seen, db, page, zeroed: 0 })
    }

    /// Marks page `number` as reached; fails if it was already or does not exist.
    fn reach(&mut self, number: u32) -> Result<Range<usize>, Malformed> {
        let index = (number as usize).wrapping_sub(1);
        let start = index.saturating_mul(self.page);
        match self.seen.get_mut(index) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => return Err(Malformed::at(start, format!("page {number} is used twice"))),
            None => return Err(Malformed::at(start, format!("page {number} does not exist"))),
        }
        Ok(start..start + self.page)
    }

    /// Scrubs the b-tree whose root is page `number`.
    fn tree(&mut self, number: u32, depth: usize) -> Result<(), Malformed> {
        let place = self.reach(number)?;
        if depth > MAX_DEPTH {
            return Err(Malformed::at(place.start, "b-tree is too deep"));
        }
        let page = &self.db[place.clone()];
        let links = links(page, number == 1, self.usable).ok_or_else(|| {
            Malformed::at(place.start, format!("page {number} is not a b-tree page"))
        })?;
        self.zero(place.start, links.live)?;
        for (first, bytes) in links.overflow {
            self.chain(first, bytes)?;
        }
        links.children.into_iter().try_for_each(|child| self.tree(child, depth + 1))
    }

    /// Scrubs an overflow chain with `bytes` of payload.
    fn chain(&mut self, mut number: u32, mut bytes: usize) -> Result<(), Malformed> {
        while bytes > 0 {
            let place = self.reach(number)?;
            let held = bytes.min(self.usable - 4);
            bytes -= held;
            number = Big.u32(self.db, place.start).unwrap_or(0);
            self.zero(place.start, std::iter::once(0..4 + held).collect())?;
            if bytes == 0 && number != 0 {
                return Err(Malformed::at(place.start, "overflow chain is too long"));
            }
        }
        Ok(())
    }

    /// Zeroes the bytes of the page at byte `start` that are not in `live`.
    fn zero(&mut self, start: usize, mut live: Vec<Range<usize>>) -> Result<(), Malformed> {
        live.sort_by_key(|r| r.start);
        live.push(self.page..self.page);
        let mut at = 0;
        for range in live {
            if range.start < at || range.end > self.page {
                return Err(Malformed::at(start + range.start, "cells overlap"));
            }
            let gap = &mut self.db[start + at..start + range.start];
            self.zeroed += gap.iter().filter(|&&b| b != 0).count() as u64;
            gap.fill(0);
            at = range.end;
        }
        Ok(())
    }

    /// Checks that only the page of the lock byte was not reached.
    fn rest(&mut self) -> Result<(), Malformed> {
        let lock = LOCK_BYTE / self.page;
        if let Some(index) = (0..self.seen.len()).find(|&n| !self.seen[n] && n != lock) {
            let what = format!("page {} belongs to no b-tree", index + 1);
            return Err(Malformed::at(index * self.page, what));
        }
        match self.seen.get(lock) {
            Some(false) => self.zero(lock * self.page, Vec::new()),
            _ => Ok(()),
        }
    }
}

/// The page size that the header states.
pub(crate) fn page_size(db: &[u8]) -> Result<usize, Malformed> {
    if !db.starts_with(b"SQLite format 3\0") || db.len() < FILE_HEADER {
        return Err(Malformed::at(0u64, "not an SQLite database header"));
    }
    match usize::from(Big.u16(db, 16)?) {
        1 => Ok(65_536),
        size if size >= 512 && size.is_power_of_two() => Ok(size),
        size => Err(Malformed::at(16u64, format!("page size {size}"))),
    }
}

/// The used bytes and the links of a b-tree page; `None` if it is malformed.
fn links(page: &[u8], first: bool, usable: usize) -> Option<Links> {
    let header = if first { FILE_HEADER } else { 0 };
    let kind = *page.get(header)?;
    let (interior, table) = match kind {
        2 => (true, false),
        5 => (true, true),
        10 => (false, false),
        13 => (false, true),
        _ => return None,
    };
    let pointers = header + if interior { 12 } else { 8 };
    let cells = usize::from(Big.u16(page, header + 3).ok()?);
    let mut links = Links::default();
    links.live.push(0..pointers.checked_add(2 * cells)?);
    if interior {
        links.children.push(Big.u32(page, header + 8).ok()?);
    }
    for n in 0..cells {
        let at = usize::from(Big.u16(page, pointers + 2 * n).ok()?);
        let end = cell(page, at, interior, table, usable, &mut links)?;
        links.live.push(at..end);
    }
    let mut block = usize::from(Big.u16(page, header + 1).ok()?);
    while block != 0 {
        links.live.push(block..block.checked_add(4)?);
        let next = usize::from(Big.u16(page, block).ok()?);
        if next != 0 && next <= block {
            return None;
        }
        block = next;
    }
    Some(links)
}

/// Returns the end of the cell at `at`, and adds its links.
fn cell(
    page: &[u8],
    at: usize,
    interior: bool,
    table: bool,
    usable: usize,
    links: &mut Links,
) -> Option<usize> {
    let mut end = at;
    if interior {
        links.children.push(Big.u32(page, at).ok()?);
        end += 4;
    }
    let mut payload = 0;
    if !(interior && table) {
        payload = usize::try_from(varint(page, &mut end)?).ok()?;
    }
    if table {
        varint(page, &mut end)?;
    }
    let local = local_payload(payload, table, usable);
    end = end.checked_add(local)?;
    if local < payload {
        links.overflow.push((Big.u32(page, end).ok()?, payload - local));
        end += 4;
    }
    (end <= usable).then_some(end)
}

/// How much of a payload is in the cell itself (section 1.6, "P", "X", "M", "K").
pub(super) fn local_payload(payload: usize, table: bool, usable: usize) -> usize {
    let most = if table { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if payload <= most {
        return payload;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let local = least + (payload - least) % (usable - 4);
    if local <= most { local } else { least }
}

/// A variable-length integer of one to nine bytes; moves `at` past it.
pub(super) fn varint(page: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for n in 0..9 {
        let byte = *page.get(*at)?;
        *at += 1;
        if n == 8 {
            return Some((value << 8) | u64::from(byte));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            break;
        }
    }
    Some(value)
}
