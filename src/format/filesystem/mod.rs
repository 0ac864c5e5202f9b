//! File systems inside disk images, read without the kernel: one trait, one reader a format.
//!
//! A reader believes no length, place or count before it is checked against the image, and holds no
//! more than a block or two of it. What a reader does not know (a feature, a compression) it refuses by
//! name.

pub mod blocks;
pub mod erofs;
pub mod ext4;
pub mod squashfs;
#[cfg(test)]
mod tests;
pub mod vfat;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Malformed;
use super::time::Time;
use blocks::Blocks;

/// Bytes that are handed on at a time.
const PIECE: u64 = 128 << 10;
/// Bytes of a symbolic link's target, at most: the kernel's own limit.
pub const TARGET_MAX: u64 = 4096;
/// Bytes of a directory, at most: four million names of 255 bytes are more, but no tool makes such.
const DIRECTORY_MAX: u64 = 256 << 20;

/// What an inode says beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number: names of one number are hard links.
    pub number: u64,
    /// `st_mode` whole: type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Names of it.
    pub links: u32,
    /// Number of a device node, as the kernel's `new_encode_dev` has it.
    pub device: u32,
}

impl Inode {
    /// Whether it is of the type whose `S_IFMT` bits these are.
    fn is(&self, format: u32) -> bool {
        self.mode & 0o170_000 == format
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.is(0o040_000)
    }

    /// Whether it is a regular file or a symbolic link: what has content.
    pub fn has_content(&self) -> bool {
        self.is(0o100_000) || self.is(0o120_000)
    }
}

/// What bytes of a file system are for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// An identifier, a time or a checksum: the field's name.
    Field(&'static str),
    /// Inodes, directories, tables and maps.
    Metadata(&'static str),
    /// Contents and metadata that are packed together.
    Packed,
    /// Nothing: free blocks and what is behind the end.
    Free,
}

/// A file system. Handles of inodes are the format's own: a number or a place.
pub trait FileSystem: Send + Sync {
    /// What it is called: `erofs`.
    fn name(&self) -> &'static str;

    /// The root directory's handle.
    fn root(&self) -> u64;

    /// What the inode says beside its content.
    fn inode(&self, handle: u64) -> io::Result<Inode>;

    /// Names and handles in a directory, as they are stored, without `.` and `..`.
    fn entries(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, u64)>>;

    /// The content of a regular file, or the target of a symbolic link, piece by piece.
    fn stream(&self, handle: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()>;

    /// Extended attributes, in the format's own order.
    fn xattrs(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// What the bytes of the metadata are for: ranges in order that do not overlap.
    fn uses(&self) -> io::Result<Vec<(Range<u64>, Use)>>;

    /// What a byte is for that is in no such range and in no extent, and where that ends.
    fn other(&self, at: u64) -> io::Result<(Use, u64)>;

    /// The blocks of an inode's content on the disk.
    fn extents(&self, _handle: u64) -> io::Result<Vec<Range<u64>>> {
        Ok(Vec::new())
    }
}

/// Opens the file system that begins at the first byte; `None` where no reader knows it.
///
/// # Errors
///
/// If one knows it and cannot read it; the error names the feature, or the place.
pub fn open(blocks: &Arc<dyn Blocks>) -> io::Result<Option<Box<dyn FileSystem>>> {
    let disk = || Arc::clone(blocks);
    Ok(match name(blocks.as_ref())? {
        Some("erofs") => Some(Box::new(erofs::Erofs::open(disk())?)),
        Some("squashfs") => Some(Box::new(squashfs::Squashfs::open(disk())?)),
        Some("ext4") => Some(Box::new(ext4::Ext4::open(disk())?)),
        Some("vfat") => Some(Box::new(vfat::Vfat::open(disk())?)),
        _ => None,
    })
}

/// Which format begins at the first byte, by its magic, whether a reader knows it or not; `None` where
/// no magic is known.
pub fn name(blocks: &dyn Blocks) -> io::Result<Option<&'static str>> {
    let head = blocks.head(65_536 + 512)?;
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    Ok(match () {
        () if has(0, b"hsqs") => Some("squashfs"),
        () if has(1024, &erofs::MAGIC) => Some("erofs"),
        () if has(1024 + 0x38, &[0x53, 0xef]) => Some("ext4"),
        () if has(0, b"XFSB") => Some("xfs"),
        () if has(65_536 + 64, b"_BHRfS_M") => Some("btrfs"),
        () if has(0, b"LUKS\xba\xbe") => Some("LUKS"),
        () if has(32_769, b"CD001") => Some("iso9660"),
        () if has(4086, b"SWAPSPACE2") => Some("swap"),
        () if has(510, &[0x55, 0xaa]) && vfat::is_boot_sector(&head) => Some("vfat"),
        () => None,
    })
}

/// Trouble at a byte of the image, as an error of reading.
fn invalid(at: u64, what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed::at(at, what))
}

/// Something that a reader does not know, by name.
fn refused(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.into())
}

/// The whole of an inode's content, which is a directory's, at most `most` bytes.
fn whole(
    size: u64,
    most: u64,
    at: u64,
    read: impl FnOnce(&mut dyn FnMut(&[u8])) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    if size > most {
        return Err(invalid(at, format!("{size} bytes where at most {most} make sense")));
    }
    let mut out = Vec::new();
    read(&mut |piece| out.extend_from_slice(piece))?;
    Ok(out)
}

/// Hands on `len` bytes of the image from `at`.
fn copy(blocks: &dyn Blocks, at: u64, len: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let piece = blocks.bytes(at + done, (len - done).min(PIECE) as usize)?;
        sink(&piece);
        done += piece.len() as u64;
    }
    Ok(())
}

/// Hands on `len` zeros.
fn zeros(len: u64, sink: &mut dyn FnMut(&[u8])) {
    static ZEROS: [u8; 4096] = [0; 4096];
    let mut left = len;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64) as usize;
        sink(&ZEROS[..piece]);
        left -= piece as u64;
    }
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    le64(bytes, at) as u16
}

pub(in crate::format) fn le32(bytes: &[u8], at: usize) -> u32 {
    le64(bytes, at) as u32
}

/// The number at `at`, and zeros where the input ends.
pub(in crate::format) fn le64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    let found = bytes.get(at..).unwrap_or_default();
    let got = found.len().min(8);
    number[..got].copy_from_slice(&found[..got]);
    u64::from_le_bytes(number)
}
