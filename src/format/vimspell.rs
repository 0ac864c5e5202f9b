//! Vim's compiled word lists (`.spl`) and their suggestions (`.sug`): the time that says which
//! belong together.
//!
//! Follows the description in Vim's `spellfile.c`: a word list is a list of sections, one of which
//! holds that time; suggestions begin with it. Numbers are big-endian.

use super::Malformed;
use super::facts::Image;

const WORDS: &[u8] = b"VIMspell2";
const SUGGESTIONS: &[u8] = b"VIMsug\x01";
/// The section that holds the time, and the one that ends the list of sections.
const SUGGESTED: u8 = 11;
const END: u8 = 255;

/// The file with its time at most `latest`. Both files of a pair hold one time, and come to one.
///
/// # Errors
/// [`Malformed`] if it is neither kind of file, or a section leaves it.
pub fn clamped(bytes: &[u8], latest: u32) -> Result<Vec<u8>, Malformed> {
    let image = Image { bytes, big: true };
    let Some(at) = place(image)? else { return Ok(bytes.to_vec()) };
    let time = image.u64(at, "time")?.min(latest.into());
    let mut out = bytes.to_vec();
    // `u64` above has looked whether it is in the file.
    out[at as usize..at as usize + 8].copy_from_slice(&time.to_be_bytes());
    Ok(out)
}

/// Where the time is; a word list without suggestions has none.
fn place(image: Image<'_>) -> Result<Option<u64>, Malformed> {
    if image.bytes.starts_with(SUGGESTIONS) {
        return Ok(Some(SUGGESTIONS.len() as u64));
    }
    if !image.bytes.starts_with(WORDS) {
        return Err(Malformed::at(0, "neither a word list nor suggestions of Vim"));
    }
    let mut at = WORDS.len() as u64;
    loop {
        match image.slice(at, 1usize, "section")?[0] {
            END => return Ok(None),
            SUGGESTED => return Ok(Some(at + 6)),
            _ => at += 6 + u64::from(image.u32(at + 2, "section")?),
        }
    }
}
