//! Vim's compiled word lists (`.spl`) and their suggestions (`.sug`): the time that links them.
//!
//! Follows the description in Vim's `spellfile.c`: a word list is a list of sections, one of which
//! has that time; suggestions begin with it. Numbers are big-endian.

use super::Malformed;
use super::bytes::{Mapped, Order};

const WORDS: &[u8] = b"VIMspell2";
const SUGGESTIONS: &[u8] = b"VIMsug\x01";
/// The section with the time.
const SUGGESTED: u8 = 11;
const END: u8 = 255;
/// The end of a word in a tree of words; such bytes are not letters.
const END_OF_WORD: u8 = 0;
const SHARED: u8 = 1;
const FLAGS: u8 = 2;
const MORE_FLAGS: u8 = 3;
/// A flag of a word after which another byte follows.
const REGION: u8 = 0x01;
const AFFIX: u8 = 0x20;

/// The file with its time clamped to `latest`. Both files of a pair have the same time, before and
/// after.
///
/// # Errors
/// [`Malformed`] if it is neither kind of file, or a section leaves it.
pub(crate) fn clamped(bytes: &[u8], latest: u32) -> Result<Vec<u8>, Malformed> {
    let file = Mapped { bytes, order: Order::Big };
    let Some(at) = place(file)? else { return Ok(bytes.to_vec()) };
    let time = file.u64(at, "time")?.min(latest.into());
    let mut out = bytes.to_vec();
    // `u64` above has checked that it is in the file.
    out[at as usize..at as usize + 8].copy_from_slice(&time.to_be_bytes());
    Ok(out)
}

/// The place of the time; `None` for a word list without suggestions. Everything after it must be
/// complete.
fn place(file: Mapped<'_>) -> Result<Option<u64>, Malformed> {
    if file.bytes.starts_with(SUGGESTIONS) {
        let at = SUGGESTIONS.len() as u64;
        let table = tree(file, at + 8, false)?;
        lines(file, table)?;
        return Ok(Some(at));
    }
    if !file.bytes.starts_with(WORDS) {
        return Err(Malformed::at(0, "neither a word list nor suggestions of Vim"));
    }
    let (mut at, mut time) = (WORDS.len() as u64, None);
    loop {
        match file.slice(at, 1usize, "section")?[0] {
            END => break,
            SUGGESTED => time = Some(at + 6),
            _ => {}
        }
        at += 6 + u64::from(file.u32(at + 2, "section")?);
    }
    // Words, case-folded words, prefixes.
    let folded = tree(file, at + 1, false)?;
    let prefixes = tree(file, folded, false)?;
    end(file, tree(file, prefixes, true)?)?;
    Ok(time)
}

/// The end of the tree of words at `at`. A node has a number of possible next bytes; the nodes of
/// those that are letters follow one by one.
fn tree(file: Mapped<'_>, at: u64, prefixes: bool) -> Result<u64, Malformed> {
    let byte = |at: u64| Ok::<u8, Malformed>(file.slice(at, 1usize, "tree")?[0]);
    let mut nodes = u64::from(file.u32(at, "tree")? > 0);
    let mut at = at + 4;
    while nodes > 0 {
        nodes -= 1;
        let siblings = byte(at)?;
        at += 1;
        for _ in 0..siblings {
            let letter = byte(at)?;
            at += 1;
            at += match letter {
                SHARED => 4,
                END_OF_WORD if !prefixes => 0,
                // An affix and a condition, after optional flags.
                END_OF_WORD => 3,
                FLAGS | MORE_FLAGS if prefixes => 4,
                FLAGS | MORE_FLAGS => {
                    let flags = byte(at)?;
                    let bits = u64::from(flags & REGION != 0) + u64::from(flags & AFFIX != 0);
                    1 + u64::from(letter == MORE_FLAGS) + bits
                }
                _ => {
                    nodes += 1;
                    0
                }
            };
        }
    }
    Ok(at)
}

/// Checks a table of suggestions: a number, then as many texts that end with a zero.
fn lines(file: Mapped<'_>, at: u64) -> Result<(), Malformed> {
    let count = file.u32(at, "table of suggestions")?;
    let mut at = at + 4;
    for _ in 0..count {
        let rest = file.bytes.get(at as usize..).unwrap_or_default();
        let length = memchr::memchr(0, rest)
            .ok_or_else(|| Malformed::at(at, "the table of suggestions ends early"))?;
        at += length as u64 + 1;
    }
    end(file, at)
}

/// Checks the end: Vim writes one more zero, to notice a full disk.
fn end(file: Mapped<'_>, at: u64) -> Result<(), Malformed> {
    match file.bytes.get(at as usize..) {
        Some([0]) => Ok(()),
        _ => Err(Malformed::at(at, "the file does not end with its last table")),
    }
}
