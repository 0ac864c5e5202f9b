//! Hash files: linear hashing, `Packages` in practice.
//!
//! Metadata from byte 72: last bucket, mask above and below it, wanted fill, number of records,
//! hash of a fixed text (to identify the hash function), and 32 *spares*: bucket b begins on page
//! `b + spares[bits of b]`. A bucket is a chain of pages. Items are pairs of key and value, written
//! from the end of the page: a type byte (1 inline, 3 on overflow pages), then the bytes, or three
//! unused bytes, the first overflow page and the length.

use super::page::{File, HEADER, NewFile, Page, Record, Visited, kind};
use crate::format::Malformed;
use crate::format::bytes::Order;
use crate::format::rpmdb::blob::Blob;

const INLINE: u8 = 1;
const OFF_PAGE: u8 = 3;
const SPARES: usize = 96;
/// The hash by [`hash`] of the text that identifies the hash function, including its NUL.
const CHARKEY: u32 = 0x5e68_8dd1;

/// The default hash function of the library: FNV-1 from zero.
fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0, |h: u32, &byte| h.wrapping_mul(16_777_619) ^ u32::from(byte))
}

/// The records of a hash file, in no particular order.
pub(super) fn read<'a>(file: &File<'a>) -> Result<Vec<Record<'a>>, Malformed> {
    if file.meta(92)? != CHARKEY {
        return Err(Malformed::at(92, "hash function is not the library's default"));
    }
    let [last, high, low] = [file.meta(72)?, file.meta(76)?, file.meta(80)?];
    let above = last.checked_add(1).and_then(u32::checked_next_power_of_two);
    if last >= file.pages || above != high.checked_add(1) || low != high >> 1 {
        return Err(Malformed::at(72, "bucket masks contradict the number of buckets"));
    }
    let mut records = Vec::new();
    let mut visited = Visited::new(file);
    for bucket in 0..=last {
        let spare = file.meta(SPARES + 4 * (32 - bucket.leading_zeros() as usize).min(31))?;
        let mut next = bucket.saturating_add(spare);
        let mut prev = 0;
        // The library writes a bucket's page when it gets its first key.
        if file.never_written(next) {
            continue;
        }
        while next != 0 {
            let page = file.page(next, &mut visited)?;
            if page.prev()? != prev {
                return Err(page.wrong(12, "bucket's pages are not chained back".into()));
            }
            let from = records.len();
            pairs(file, page, &mut visited, &mut records)?;
            let place = |key: &[u8]| match hash(key) & high {
                bucket if bucket > last => bucket & low,
                bucket => bucket,
            };
            if records[from..].iter().any(|(key, _)| place(key) != bucket) {
                return Err(page.wrong(0, "key in a bucket that it does not hash to".into()));
            }
            (prev, next) = (next, page.next()?);
        }
    }
    Ok(records)
}

/// Appends the records of a page.
fn pairs<'a>(
    file: &File<'a>,
    page: Page<'a>,
    visited: &mut Visited,
    records: &mut Vec<Record<'a>>,
) -> Result<(), Malformed> {
    if !matches!(page.kind(), kind::HASH | kind::HASH_UNSORTED) {
        return Err(page.wrong(25, format!("bucket leads to a page of type {}", page.kind())));
    }
    let entries = page.entries()?;
    if !entries.is_multiple_of(2) {
        return Err(page.wrong(20, "key without a value".into()));
    }
    let mut end = file.shape.page_size;
    let mut items = Vec::with_capacity(entries.min(file.shape.page_size / 2));
    for index in 0..entries {
        let at = page.item(index)?;
        if at >= end {
            return Err(page.wrong(at, format!("item {index} overlaps another")));
        }
        items.push(value(file, page, at, end, visited)?);
        end = at;
    }
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        records.push((key.into_whole(), value));
    }
    Ok(())
}

/// The key or value in bytes `at` to `end` of a page.
fn value<'a>(
    file: &File<'a>,
    page: Page<'a>,
    at: usize,
    end: usize,
    visited: &mut Visited,
) -> Result<Blob<'a>, Malformed> {
    match (page.byte(at)?, end - at) {
        (INLINE, size) => Ok(page.slice(at + 1, size - 1)?.into()),
        (OFF_PAGE, 12) => file.overflow(page.word(at + 4)?, page.word(at + 8)?, visited),
        (other, size) => {
            Err(page.wrong(at, format!("item of type {other} and {size} bytes, not rpm's")))
        }
    }
}

/// A key and a value as stored in a page.
type Items = [Vec<u8>; 2];

/// Appends buckets and metadata to `out`: a power of two of buckets that keeps pages half full;
/// values in the order of `records`; keys in the order in which the library searches them.
pub(super) fn write(out: &mut NewFile, records: &[Record<'_>]) -> Result<(), Malformed> {
    let (page_size, order) = (out.shape.page_size, out.shape.order);
    let big = |len: usize| len > page_size / 4;
    let size = |len: usize| 2 + if big(len) { 12 } else { 1 + len };
    let total: usize = records.iter().map(|(key, value)| size(key.len()) + size(value.len())).sum();
    let buckets = (2 * total).div_ceil(page_size).max(2).next_power_of_two();
    for _ in 0..buckets {
        let page = out.page()?;
        out.header(page, 0, kind::HASH);
    }
    let mut content: Vec<Vec<(&[u8], Items)>> = vec![Vec::new(); buckets];
    for (key, value) in records {
        if big(key.len()) {
            // Pages are searched by key, and the order of such keys differs between versions.
            let what = format!("hash key of {} bytes, longer than a quarter page", key.len());
            return Err(Malformed::at(0, what));
        }
        let whole = value.whole();
        let item = match big(whole.len()) {
            true => off_page(order, out.overflow(&whole)?, whole.len()),
            false => [&[INLINE], &whole[..]].concat(),
        };
        let key_item = [&[INLINE], &key[..]].concat();
        content[hash(key) as usize & (buckets - 1)].push((key, [key_item, item]));
    }
    for (first, mut pairs) in (1..).zip(content) {
        // Bytewise, but a prefix comes after the longer key.
        pairs.sort_by(|(a, _), (b, _)| {
            let common = a.len().min(b.len());
            a[..common].cmp(&b[..common]).then(b.len().cmp(&a.len()))
        });
        let pairs = pairs.into_iter().map(|(_, items)| items);
        fill(out, first, pairs)?;
    }
    let last = (buckets - 1) as u32;
    let nelem = records.len() as u32;
    let fields = [last, last, last >> 1, out.shape.fill, nelem, CHARKEY];
    for (at, field) in (72..).step_by(4).zip(fields) {
        out.put32(0, at, field);
    }
    for split in 0..=buckets.ilog2() as usize {
        out.put32(0, SPARES + 4 * split, 1);
    }
    Ok(())
}

fn off_page(order: Order, first: u32, len: usize) -> Vec<u8> {
    [[OFF_PAGE, 0, 0, 0], order.put32(first), order.put32(len as u32)].concat()
}

/// Puts the pairs of a bucket on its page and, if they do not fit, on pages chained to it.
fn fill(
    out: &mut NewFile,
    first: u32,
    pairs: impl Iterator<Item = Items>,
) -> Result<(), Malformed> {
    let mut page = first;
    let mut items: Vec<Vec<u8>> = Vec::new();
    let mut used = HEADER;
    for pair in pairs {
        let size = pair.iter().map(|item| 2 + item.len()).sum::<usize>();
        if used + size > out.shape.page_size {
            out.items(page, items.iter().map(Vec::as_slice));
            let next = out.page()?;
            out.header(next, 0, kind::HASH);
            out.put32(next, 12, page);
            out.put32(page, 16, next);
            (page, used) = (next, HEADER);
            items.clear();
        }
        used += size;
        items.extend(pair);
    }
    out.items(page, items.iter().map(Vec::as_slice));
    Ok(())
}
