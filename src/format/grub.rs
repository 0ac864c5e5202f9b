//! GRUB's standalone images: a PE file whose section `mods` contains modules and a memory disk, a
//! tar archive by `grub-mkstandalone`.
//!
//! Follows GRUB's include/grub/kernel.h: a header with the offset of the first object and the size of
//! all, and objects with a type and a size each.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::ops::Range;

use super::bytes::{Mapped, Order};
use super::{Malformed, pe, tar};

/// The section of modules.
const SECTION: &str = "mods";
/// The magic of that section.
const MAGIC: &[u8] = b"mimg";
/// The type of a memory disk; the others are modules, a configuration, a prefix, keys.
const DISK: u32 = 1;

/// Whether two images differ only in the times and the order of files in their memory disk.
///
/// # Errors
/// [`Malformed`] if one of them is not an image with a memory disk.
pub(crate) fn is_same_but_for_disk(a: &[u8], b: &[u8]) -> Result<bool, Malformed> {
    let [x, y] = [disk(a)?, disk(b)?];
    Ok(x == y && a[x.start..x.end] != b[x.start..x.end] && {
        let rest = |bytes: &[u8]| [bytes[..x.start].to_vec(), bytes[x.end..].to_vec()];
        rest(a) == rest(b) && files(&a[x.clone()], x.start)? == files(&b[x.clone()], x.start)?
    })
}

/// The range of the memory disk.
fn disk(bytes: &[u8]) -> Result<Range<usize>, Malformed> {
    let bad = |why: &str| Malformed::at(0, why);
    let image = pe::read(&mut Cursor::new(bytes)).map_err(|e| bad(&e.to_string()))?;
    let section = image.and_then(|image| image.section(SECTION));
    let section = section.ok_or_else(|| bad("not a GRUB image"))?;
    let end = section.end;
    let image = Mapped { bytes, order: Order::Little };
    if image.slice(section.start, MAGIC.len(), "modules")? != MAGIC {
        return Err(Malformed::at(section.start, "no GRUB modules"));
    }
    let mut at = section.start.saturating_add(image.u64(section.start + 8, "modules")?);
    let last = section.start.saturating_add(image.u64(section.start + 16, "modules")?).min(end);
    while at < last {
        let (kind, size) =
            (image.u32(at, "an object")?, u64::from(image.u32(at + 4, "an object")?));
        if size < 8 {
            return Err(Malformed::at(at, "an object is shorter than its header"));
        }
        if kind == DISK {
            image.slice(at, size, "the memory disk")?;
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            return Ok(place(at + 8)..place(at + size));
        }
        at += size;
    }
    Err(Malformed::at(section.start, "no memory disk"))
}

/// The files of the disk, which begins at `start`, by name.
fn files(disk: &[u8], start: usize) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Malformed> {
    let mut reader = tar::Reader::new(Cursor::new(disk));
    let bad = |e: std::io::Error| Malformed::at(start, format!("the memory disk: {e}"));
    let mut files = BTreeMap::new();
    while let Some(member) = reader.next_member().map_err(bad)? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(bad)?;
        files.insert(member.path.to_vec(), content);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of grub-mkstandalone 2.06 (Debian 12), made two seconds apart from the same
    /// files.
    fn images() -> [Vec<u8>; 2] {
        let archive = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/grub-standalone.tar.xz");
        ["a.efi", "b.efi"].map(|name| {
            let tar = std::process::Command::new("tar").args(["-xJOf", archive, name]).output();
            tar.expect("runs").stdout
        })
    }

    #[test]
    fn times_in_the_memory_disk_are_told_from_other_code() {
        let [a, b] = images();
        assert_ne!(a, b);
        assert_eq!(is_same_but_for_disk(&a, &b), Ok(true));
        assert_eq!(is_same_but_for_disk(&a, &a), Ok(false));
        let mut code = b.clone();
        code[0x2000] ^= 1;
        assert_eq!(is_same_but_for_disk(&a, &code), Ok(false));
        // A byte of a file in the disk.
        let mut file = b.clone();
        let at = disk(&b).expect("has one").start + 512;
        file[at] ^= 1;
        assert_eq!(is_same_but_for_disk(&a, &file), Ok(false));
    }

    #[test]
    fn what_is_cut_is_refused() {
        let [a, _] = images();
        for end in (0..a.len() - 4096).step_by(997) {
            assert!(is_same_but_for_disk(&a[..end], &a).is_err(), "cut at {end}");
        }
    }
}
