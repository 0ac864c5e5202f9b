//! systemd's message catalog database (`journalctl --update-catalog`).
//!
//! Follows `src/libsystemd/sd-journal/catalog.c`: little-endian, a header, items sorted by message
//! id and language, strings.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const SIGNATURE: &[u8] = b"RHHHKSLP";

/// The messages by id and language.
///
/// # Errors
/// [`Malformed`] if an item or its text is out of bounds.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    if !bytes.starts_with(SIGNATURE) {
        return Err(Malformed::at(0, "not a catalog database of systemd"));
    }
    let file = Mapped { bytes, order: Order::Little };
    let (header, count) = (file.u64(16, "header")?, file.u64(24, "header")?);
    let size = file.u64(32, "header")?;
    let table = count.checked_mul(size).and_then(|len| len.checked_add(header));
    let strings = table
        .filter(|end| *end <= bytes.len() as u64 && size > 24)
        .ok_or_else(|| Malformed::at(24, format!("{count} messages do not fit the file")))?;
    for at in (0..count).map(|n| header + n * size) {
        let id: String =
            file.slice(at, 16, "message id")?.iter().map(|b| format!("{b:02x}")).collect();
        let language = file.text(at + 16, "language")?;
        let offset = file.u64(at + size - 8, "message")?;
        let at = strings.saturating_add(offset);
        facts.opaque("messages", format!("{id} {language}").trim_end(), file.cstr(at, "message")?);
    }
    facts.finish()
}
