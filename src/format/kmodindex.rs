//! depmod's indexes: `modules.*.bin`, a trie, and the text files beside them.
//!
//! Follows kmod's `libkmod/libkmod-index.c`: big-endian, a root offset whose upper bits say which
//! parts a node has.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const MAGIC: u32 = 0xB007_F457;
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;
const OFFSET: u32 = 0x0FFF_FFFF;
/// The most bytes of a key.
const KEY: usize = 4096;

/// The facts of an index of either form.
///
/// # Errors
/// [`Malformed`] for a binary index with an offset that leaves the file, or whose keys do not end,
/// and for text that ends within a line.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let file = Mapped { bytes, order: Order::Big };
    if bytes.first() != Some(&MAGIC.to_be_bytes()[0]) {
        if !matches!(bytes.last(), None | Some(b'\n' | 0)) {
            return Err(Malformed::at(bytes.len(), "the last line has no newline"));
        }
        lines(bytes, &mut facts);
        return facts.finish();
    }
    if file.u32(0, "header")? != MAGIC || file.u32(4, "header")? >> 16 != 2 {
        return Err(Malformed::at(0, "not a kmod index of version 2"));
    }
    let mut left = bytes.len();
    node(file, file.u32(8, "root")?, &mut Vec::new(), &mut left, &mut facts)?;
    facts.finish()
}

/// Adds lines by their first word (`modules.dep`, `.softdep`) or their first two (`alias X
/// module`), and records that end in NUL (`modules.builtin.modinfo`).
fn lines(bytes: &[u8], facts: &mut Facts) {
    for line in bytes.split(|b| matches!(b, b'\n' | 0)).filter(|l| !l.is_empty()) {
        let line = String::from_utf8_lossy(line);
        let words = if line.starts_with("alias ") { 2 } else { 1 };
        let ends = line.match_indices([' ', '=']).map(|(at, _)| at);
        let cut = ends.take(words).last().unwrap_or(line.len());
        let (name, value) = line.split_at(cut);
        facts.text("entries", name, value.trim_start());
    }
}

fn node(
    file: Mapped<'_>,
    offset: u32,
    key: &mut Vec<u8>,
    left: &mut usize,
    facts: &mut Facts,
) -> Result<(), Malformed> {
    let mut at = u64::from(offset & OFFSET);
    let start = key.len();
    if offset & PREFIX != 0 {
        let prefix = file.cstr(at, "prefix")?;
        key.extend(prefix);
        at += prefix.len() as u64 + 1;
    }
    *left = left
        .checked_sub(1)
        .filter(|_| key.len() <= KEY)
        .ok_or_else(|| Malformed::at(at, "the index's keys do not end"))?;
    let mut below = Vec::new();
    if offset & CHILDREN != 0 {
        let range = file.slice(at, 2, "node")?;
        let (first, last) = (range[0], range[1]);
        at += 2;
        let slots = file.slice(at, 4 * (first..=last).count(), "children")?;
        for (letter, slot) in (first..=last).zip(slots.chunks_exact(4)) {
            let offset = slot.iter().fold(0, |n, b| n << 8 | u32::from(*b));
            if offset != 0 {
                below.push((letter, offset));
            }
        }
        at += slots.len() as u64;
    }
    if offset & VALUES != 0 {
        values(file, at, &String::from_utf8_lossy(key), facts)?;
    }
    for (letter, offset) in below {
        key.push(letter);
        node(file, offset, key, left, facts)?;
        key.pop();
    }
    key.truncate(start);
    Ok(())
}

fn values(file: Mapped<'_>, mut at: u64, key: &str, facts: &mut Facts) -> Result<(), Malformed> {
    let count = file.count(at, 5, "values")?;
    at += 4;
    for _ in 0..count {
        let value = file.cstr(at + 4, "value")?;
        let priority = file.u32(at, "value")?;
        facts.text("entries", key, format!("{} ({priority})", String::from_utf8_lossy(value)));
        at += 4 + value.len() as u64 + 1;
    }
    Ok(())
}
