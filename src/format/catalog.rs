//! systemd's message catalog database (`journalctl --update-catalog`).
//!
//! Follows `src/libsystemd/sd-journal/catalog.c`: little-endian, a header, items sorted by message
//! id and language, strings.

use super::Malformed;
use super::facts::{Facts, Image};

const SIGNATURE: &[u8] = b"RHHHKSLP";

/// The messages by id and language.
///
/// # Errors
/// [`Malformed`] if an item or its text is out of bounds.
pub fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    if !bytes.starts_with(SIGNATURE) {
        return Err(Malformed::at(0, "not a catalog database of systemd"));
    }
    let image = Image { bytes, big: false };
    let (header, count) = (image.u64(16, "header")?, image.u64(24, "header")?);
    let size = image.u64(32, "header")?;
    let table = count.checked_mul(size).and_then(|len| len.checked_add(header));
    let strings = table
        .filter(|end| *end <= bytes.len() as u64 && size > 24)
        .ok_or_else(|| Malformed::at(24, format!("{count} messages do not fit the file")))?;
    for at in (0..count).map(|n| header + n * size) {
        let id: String =
            image.slice(at, 16, "message id")?.iter().map(|b| format!("{b:02x}")).collect();
        let language = image.text(at + 16, "language")?;
        let offset = image.u64(at + size - 8, "message")?;
        let at = strings.saturating_add(offset);
        facts.opaque("messages", format!("{id} {language}").trim_end(), image.cstr(at, "message")?);
    }
    facts.finish()
}
