//! An initramfs image: archives one after another, plain or compressed, and its canonical form.
//!
//! What the kernel accepts is in its `Documentation/driver-api/early-userspace/buffer-format.rst`:
//! plain cpio archives at multiples of four, compressed members that each hold whole archives, and
//! zeros between them. Bytes after the last of them (a boot configuration) are kept.
//!
//! Memory is bounded: content goes to a *spool*, a seekable file or a cursor that the caller
//! gives, and only the table of entries is held.

mod canonical;
mod earlier;
mod kernel;
mod plan;
mod read;
mod read_ahead;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;

use super::Malformed;
use super::compress::Packing;
use super::cpio::Header;

pub use canonical::{Outcome, Repacked, canonical};
pub use earlier::Earlier;
pub use kernel::{Found, Inode, Rootfs};
pub use plan::{KeepMembers, MemberRules, MemberVerdict, Rules};
pub use read::read;
pub use window::{Window, spooled};

/// What an image may demand; beyond it, it is refused.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all archives, unpacked.
    pub unpacked: u64,
    /// Unpacked bytes for one byte of the image, once more than [`Limits::free`] are unpacked.
    pub ratio: u64,
    /// Unpacked bytes whose ratio is not looked at.
    pub free: u64,
    /// Entries of all archives.
    pub entries: usize,
    /// Bytes of all names.
    pub names: usize,
    /// Bytes at the end that are no archive.
    pub trailing: u64,
}

impl Default for Limits {
    /// 4 GiB unpacked, 100 to 1 beyond 64 MiB, 200,000 entries, 16 MiB of names, 64 KiB at the end: about ten
    /// times what the largest images of distributions have.
    fn default() -> Self {
        Limits {
            unpacked: 4 << 30,
            ratio: 100,
            free: 64 << 20,
            entries: 200_000,
            names: 16 << 20,
            trailing: 64 << 10,
        }
    }
}

/// What the archive with the system is compressed with. Others keep what they have: the kernel reads
/// microcode from a plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// As it was found.
    #[default]
    AsFound,
    /// So, where it was found plain.
    Plain(Packing),
    /// So, whatever it was found with.
    Always(Packing),
}

impl Compress {
    fn over(self, found: Option<Packing>) -> Option<Packing> {
        match self {
            Compress::AsFound => found,
            Compress::Plain(packing) => found.or(Some(packing)),
            Compress::Always(packing) => Some(packing),
        }
    }
}

/// Why an image could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not an image that is fully understood, or it exceeds the limits.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Reading the image, or reading or writing the spool or the output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Entries by path, each with where its content begins in the spool and its length.
pub type Contents<'a> = BTreeMap<&'a [u8], (&'a Entry, u64, u32)>;

/// An image, read; its content is in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The archives as they stand in the image.
    pub segments: Vec<Segment>,
    /// Where in the image the bytes stand that are no archive; empty at its end if there are none.
    pub trailing: Range<u64>,
    /// Bytes in the spool.
    pub spooled: u64,
}

impl Image {
    /// Each regular file's content, by path: where it begins in the spool and its length. Of hard
    /// links, each name has it; of names that occur in several archives, the last counts.
    ///
    /// # Errors
    ///
    /// Where [`canonical`] fails for the same reason.
    pub fn contents(&self) -> Result<Contents<'_>, Malformed> {
        let mut out = BTreeMap::new();
        for archive in self.segments.iter().flat_map(|s| &s.archives) {
            for group in plan::groups(archive)? {
                let (data, size) = group.body.map_or((0, 0), |b| (b.data, b.size));
                for n in group.members {
                    let entry = &archive.entries[n];
                    out.insert(&entry.name[..], (entry, data, size));
                }
            }
        }
        Ok(out)
    }

    /// What the kernel unpacks it to.
    ///
    /// # Errors
    ///
    /// Where [`canonical`] fails, unless that is for a tree that it would change.
    pub fn unpacked(&self) -> Result<Rootfs<'_>, Malformed> {
        plan::verify(self)?;
        let archives = self.segments.iter().flat_map(|s| &s.archives);
        let found = |a| Ok(plan::found(a, &plan::groups(a)?, u32::MAX));
        let found: Vec<_> = archives.map(found).collect::<Result<_, Malformed>>()?;
        Ok(Rootfs::of(&found))
    }

    /// All entries, in the order in which the kernel unpacks them.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.segments.iter().flat_map(|s| &s.archives).flat_map(|a| &a.entries)
    }
}

/// One plain archive, or one compressed member with its archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it stands in the image, without the zeros after it.
    pub range: Range<u64>,
    /// Its compression; `None` for a plain archive.
    pub packing: Option<Packing>,
    /// Where its content stands in the spool.
    pub unpacked: Range<u64>,
    /// The archives in it: one in a plain segment.
    pub archives: Vec<Archive>,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.packing.map_or("cpio", Packing::name))
    }
}

/// One cpio archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// Whether its entries carry checksums (magic 070702).
    pub crc: bool,
    /// Whether it ends with a trailer; without one, the kernel goes on counting inode numbers.
    pub ended: bool,
    /// What the content of its larger files is aligned to by NULs behind their names: 16 or 4096
    /// if its maker did so, else 4.
    pub align: u32,
    /// Its entries in the order in which they stand, without the trailer.
    pub entries: Vec<Entry>,
}

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, without a leading `./`; of a directory, without a slash at the end.
    pub name: Vec<u8>,
    /// Everything the header says.
    pub header: Header,
    /// Where its content begins in the spool; it has `header.size` bytes.
    pub data: u64,
    /// SHA-256 of the content.
    pub digest: [u8; 32],
}

impl Entry {
    /// The bits of the mode that tell the type (`S_IFMT`).
    pub fn kind(&self) -> u32 {
        self.header.mode & 0o170_000
    }
}

/// `S_IFREG`.
pub const REGULAR: u32 = 0o100_000;
/// `S_IFDIR`.
pub const DIRECTORY: u32 = 0o040_000;
/// `S_IFLNK`.
pub const SYMLINK: u32 = 0o120_000;
