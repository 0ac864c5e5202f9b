//! GVariant database files: compiled GSettings schemas, dconf databases, GResource bundles.
//!
//! Follows `gvdb-format.h` of GLib: little-endian unless the signature reads backwards, hash tables
//! of items whose names are chained through parents. A table may hold tables.

use super::Malformed;
use super::facts::{Facts, Image};

const SIGNATURE: &[u8] = b"GVariant";
const SWAPPED: &[u8] = b"raVGtnai";
const ITEM: u64 = 24;
/// Tables within tables, and parents above a name, at most.
const DEPTH: usize = 64;
const NO_PARENT: u32 = u32::MAX;

/// Every key with its value, in the order of the file, names of tables and keys joined by spaces.
///
/// # Errors
/// [`Malformed`] if an offset leaves the file or tables are nested more than 64 deep.
pub fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let big = match bytes.get(..8) {
        Some(head) if head == SIGNATURE => false,
        Some(head) if head == SWAPPED => true,
        _ => return Err(Malformed::at(0, "not a GVariant database")),
    };
    let image = Image { bytes, big };
    if image.u32(8, "header")? != 0 {
        return Err(Malformed::at(8, "unknown version of a GVariant database"));
    }
    let mut left = bytes.len();
    table(image, 16, &mut Vec::new(), &mut left, &mut facts)?;
    facts.finish()
}

/// The range that the pointer at `at` names.
fn range(image: Image<'_>, at: u64) -> Result<(u64, u64), Malformed> {
    let (start, end) = (image.u32(at, "pointer")?, image.u32(at + 4, "pointer")?);
    let len = end.checked_sub(start).ok_or_else(|| Malformed::at(at, "a range ends early"))?;
    image.slice(u64::from(start), u64::from(len), "range")?;
    Ok((start.into(), len.into()))
}

fn table(
    image: Image<'_>,
    pointer: u64,
    above: &mut Vec<String>,
    left: &mut usize,
    facts: &mut Facts,
) -> Result<(), Malformed> {
    if above.len() > DEPTH {
        return Err(Malformed::at(pointer, "tables are nested too deep"));
    }
    let (start, len) = range(image, pointer)?;
    let words = u64::from(image.u32(start, "hash table")? & 0x07FF_FFFF);
    let buckets = u64::from(image.u32(start + 4, "hash table")?);
    let head = 8 + (words + buckets) * 4;
    let items =
        len.checked_sub(head).ok_or_else(|| Malformed::at(start, "a table is too short"))?;
    let first = start + head;
    for n in 0..items / ITEM {
        let at = first + n * ITEM;
        *left = left.checked_sub(ITEM as usize).ok_or_else(|| {
            Malformed::at(at, "tables share items; the file holds more than its size")
        })?;
        let name = name(image, first, items / ITEM, n)?;
        match image.slice(at + 14, 1, "item")? {
            b"H" => {
                above.push(name);
                table(image, at + 16, above, left, facts)?;
                above.pop();
            }
            b"v" => {
                let (start, len) = range(image, at + 16)?;
                above.push(name);
                facts.opaque("keys", above.join(" "), image.slice(start, len, "value")?);
                above.pop();
            }
            // A list of children: what it holds are items of their own.
            _ => {}
        }
    }
    Ok(())
}

/// An item's name: its own part after those of its parents.
fn name(image: Image<'_>, first: u64, items: u64, mut n: u64) -> Result<String, Malformed> {
    let mut parts = Vec::new();
    loop {
        let at = first + n * ITEM;
        let key = (image.u32(at + 8, "key")?, image.u16(at + 12, "key")?);
        parts.push(image.slice(u64::from(key.0), u64::from(key.1), "key")?);
        let parent = image.u32(at + 4, "item")?;
        if parent == NO_PARENT {
            parts.reverse();
            return Ok(String::from_utf8_lossy(&parts.concat()).into_owned());
        }
        n = parent.into();
        if n >= items || parts.len() > DEPTH {
            return Err(Malformed::at(at + 4, "an item's parents do not end"));
        }
    }
}
