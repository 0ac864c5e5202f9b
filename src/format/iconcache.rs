//! `icon-theme.cache`, which `gtk-update-icon-cache` writes.
//!
//! Follows GTK's `docs/iconcache.txt`: big-endian, a list of directories, and a hash table of icon
//! names with the directories of each.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const NONE: u32 = u32::MAX;

/// The directories in their order, and the images of each icon in the order of the file.
///
/// # Errors
/// [`Malformed`] if an offset leaves the file or a chain does not end.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let file = Mapped { bytes, order: Order::Big };
    if (file.u16(0, "header")?, file.u16(2, "header")?) != (1, 0) {
        return Err(Malformed::at(0, "not an icon cache of version 1.0"));
    }
    // Strings are padded to a multiple of four, and nothing else is at the end.
    if !bytes.len().is_multiple_of(4) {
        return Err(Malformed::at(bytes.len(), "the last string's padding is truncated"));
    }
    let (hash, list) = (file.u32(4, "header")?.into(), file.u32(8, "header")?.into());
    let mut dirs = Vec::new();
    for n in 0..file.count(list, 4, "directories")? {
        let at = file.u32(list + 4 + n * 4, "directories")?.into();
        dirs.push(file.text(at, "directory")?);
    }
    let buckets = file.count(hash, 4, "buckets")?;
    // A cyclic chain would never end.
    let mut left = bytes.len();
    for bucket in 0..buckets {
        let mut at = file.u32(hash + 4 + bucket * 4, "bucket")?;
        while at != NONE {
            left = left.checked_sub(12).ok_or_else(|| Malformed::at(at, "a chain has no end"))?;
            icon(file, at.into(), &dirs, &mut facts)?;
            at = file.u32(at.into(), "icon")?;
        }
    }
    for dir in dirs {
        facts.text("directories", dir, "");
    }
    facts.finish()
}

fn icon(file: Mapped<'_>, at: u64, dirs: &[String], facts: &mut Facts) -> Result<(), Malformed> {
    let name = file.text(file.u32(at + 4, "icon")?.into(), "icon's name")?;
    let list = u64::from(file.u32(at + 8, "icon")?);
    for n in 0..file.count(list, 8, "images")? {
        let at = list + 4 + n * 8;
        let dir = usize::from(file.u16(at, "image")?);
        let dir = dirs.get(dir).ok_or_else(|| Malformed::at(at, "no such directory"))?;
        let flags = file.u16(at + 2, "image")?;
        facts.text("icons", name.clone(), format!("{dir} ({flags:#x})"));
    }
    Ok(())
}
