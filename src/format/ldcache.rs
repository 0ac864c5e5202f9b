//! `ld.so.cache`: library files by name.
//!
//! Follows glibc's `sysdeps/generic/dl-cache.h`. Since glibc 2.32 the file has only the "new"
//! format; before, an old table (`ld.so-1.7.0`) came first. Numbers are in the byte order of the
//! architecture, which newer files state in their flags.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const OLD: &[u8] = b"ld.so-1.7.0";
const NEW: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: u64 = 48;
const ENTRY: u64 = 24;
const EXTENSION: u32 = 0xEAA4_2174;
/// The tag of the section that names the generating program.
const GENERATOR: u32 = 0;

/// The libraries by name, flags and hardware capability, each with its path, in the order in which
/// the loader looks; and the generator.
///
/// # Errors
/// [`Malformed`] if the file is truncated, or not of this format.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let start = start(bytes)?;
    let file = Mapped { bytes: &bytes[start..], order: Order::Little };
    let flags = file.slice(28, 1, "header")?[0];
    let file = Mapped { order: if flags & 3 == 3 { Order::Big } else { Order::Little }, ..file };
    let count = file.count(20, ENTRY, "libraries")?;
    let strings = u64::from(file.u32(24, "header")?);
    file.slice(HEADER + count * ENTRY, strings, "string table")?;
    for at in (0..count).map(|n| HEADER + n * ENTRY) {
        let string = |field| {
            let offset = u64::from(file.u32(at + field, "library")?);
            file.text(offset, "library's name")
        };
        let (flags, hwcap) = (file.u32(at, "library")?, file.u64(at + 16, "library")?);
        let name = match hwcap {
            0 => format!("{} ({flags:#x})", string(4)?),
            _ => format!("{} ({flags:#x}, hwcap {hwcap:#x})", string(4)?),
        };
        facts.text("libraries", name, string(8)?);
    }
    extensions(file, &mut facts)?;
    facts.finish()
}

/// The start of the new format.
fn start(bytes: &[u8]) -> Result<usize, Malformed> {
    if bytes.starts_with(NEW) {
        return Ok(0);
    }
    if !bytes.starts_with(OLD) {
        return Err(Malformed::at(0, "not a cache of ldconfig"));
    }
    // The old table is followed by its strings, which are those of the new one's.
    let count = Mapped { bytes, order: Order::Little }.count(12, 12, "libraries")?;
    let after = (16 + count * 12).next_multiple_of(8) as usize;
    match bytes.get(after..).is_some_and(|rest| rest.starts_with(NEW)) {
        true => Ok(after),
        false => Err(Malformed::at(after, "an old cache without the new format in it")),
    }
}

fn extensions(file: Mapped<'_>, facts: &mut Facts) -> Result<(), Malformed> {
    let at = u64::from(file.u32(32, "header")?);
    if at == 0 {
        return Ok(());
    }
    if file.u32(at, "extension")? != EXTENSION {
        return Err(Malformed::at(at, "the extension's magic is wrong"));
    }
    let count = file.count(at + 4, 16, "extension sections")?;
    for section in (0..count).map(|n| at + 8 + n * 16) {
        let field = |n: u64| file.u32(section + 4 * n, "extension section");
        let data = file.slice(field(2)?, field(3)?, "extension section")?;
        if field(0)? == GENERATOR {
            facts.text("header", "generator", String::from_utf8_lossy(data));
        }
    }
    Ok(())
}
