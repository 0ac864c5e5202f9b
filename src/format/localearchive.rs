//! `locale-archive`: glibc's locales in one file.
//!
//! Follows `locale/locarchive.h` of glibc: a header of fourteen numbers in the byte order of the
//! architecture, a hash table of names, records with the place of each category.

use sha2::{Digest, Sha256};

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const MAGIC: u32 = 0xDE02_0109;
/// Categories in a record (`__LC_LAST`).
const CATEGORIES: u64 = 13;

/// The locales by name with a digest of their data, and the order of their records.
///
/// # Errors
/// [`Malformed`] if an offset leaves the file.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let file = [Order::Little, Order::Big].map(|order| Mapped { bytes, order });
    let magic = |file: &Mapped<'_>| file.u32(0, "header").ok() == Some(MAGIC);
    let file =
        *file.iter().find(|i| magic(i)).ok_or_else(|| Malformed::at(0, "not a locale archive"))?;
    let field = |n: u64| file.u32(4 * n, "header").map(u64::from);
    let (names, size) = (field(2)?, field(4)?);
    file.slice(names, size.saturating_mul(12), "table of names")?;
    let mut locales = Vec::new();
    for at in (0..size).map(|n| names + n * 12) {
        let (name, record) = (file.u32(at + 4, "name")?, file.u32(at + 8, "name")?);
        if name != 0 {
            locales.push((u64::from(record), file.text(name.into(), "locale's name")?));
        }
    }
    // The order of the records is that in which locales were added.
    locales.sort();
    // Locales share categories, so more than the file is hashed, up to a limit.
    let mut left = bytes.len() as u64 * 64;
    for (record, name) in locales {
        facts.opaque("locales", name, &digest(file, record, &mut left)?);
    }
    facts.finish()
}

fn digest(file: Mapped<'_>, record: u64, left: &mut u64) -> Result<Vec<u8>, Malformed> {
    let mut sha = Sha256::new();
    for at in (0..CATEGORIES).map(|n| record + 4 + n * 8) {
        let (start, len) = (file.u32(at, "record")?, file.u32(at + 4, "record")?);
        *left = left
            .checked_sub(len.into())
            .ok_or_else(|| Malformed::at(record, "the locales are more than 64 times the file"))?;
        sha.update(len.to_be_bytes());
        sha.update(file.slice(u64::from(start), u64::from(len), "category")?);
    }
    Ok(sha.finalize()[..8].to_vec())
}
