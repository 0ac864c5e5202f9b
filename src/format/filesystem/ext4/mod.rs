//! ext2, ext3 and ext4 (the kernel's Documentation/filesystems/ext4): extents and indirect blocks,
//! inline data, attributes in inodes and in blocks.
//!
//! A journal that must be replayed is refused: what is on the disk is not what a mount shows then.

mod attributes;
mod extents;
mod layout;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::{
    DIRECTORY_MAX, FileSystem, Inode, TARGET_MAX, Use, invalid, le16, le32, refused, whole, zeros,
};
use crate::format::time::Time;

pub(super) const SUPERBLOCK: u64 = 1024;
const ROOT: u64 = 2;

/// Features without which nothing can be read rightly, by bit.
const FEATURES: [(u32, &str); 17] = [
    (0x1, "compression"),
    (0x2, ""),
    (0x4, "a journal that must be replayed (run e2fsck -p on a copy)"),
    (0x8, "being a journal of another device"),
    (0x10, "groups of metadata (meta_bg)"),
    (0x40, ""),
    (0x80, ""),
    (0x100, ""),
    (0x200, ""),
    (0x400, ""),
    (0x1000, "data in directories (dirdata)"),
    (0x2000, ""),
    (0x4000, ""),
    (0x8000, ""),
    (0x1_0000, "encryption"),
    (0x2_0000, ""),
    (0x80_0000, "an unknown feature"),
];

const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
const ENCRYPTED: u32 = 0x800;

/// An ext2, ext3 or ext4 file system.
pub struct Ext4 {
    disk: Arc<dyn Blocks>,
    block: u64,
    blocks: u64,
    first: u64,
    groups: u64,
    per_group: u64,
    blocks_per_group: u64,
    inode_size: usize,
    descriptor: usize,
    has_long_numbers: bool,
    reserved: u64,
    sparse: bool,
    has_journal: bool,
}

/// An inode as it is stored.
struct Stored {
    bytes: Vec<u8>,
    at: u64,
    inode: Inode,
    flags: u32,
}

impl Ext4 {
    /// Reads the superblock.
    ///
    /// # Errors
    ///
    /// If it is not ext4, or has a feature that is not known.
    pub fn open(disk: Arc<dyn Blocks>) -> io::Result<Self> {
        let head = disk.bytes(SUPERBLOCK, 1024)?;
        if le16(&head, 0x38) != 0xef53 {
            return Err(invalid(SUPERBLOCK, "no superblock of ext4"));
        }
        let features = le32(&head, 0x60);
        for bit in (0..32).map(|bit| 1 << bit).filter(|bit| features & bit != 0) {
            match FEATURES.iter().find(|(known, _)| *known == bit) {
                Some((_, "")) => {}
                Some((_, what)) => return Err(refused(format!("ext4: {what} is not read"))),
                None => return Err(refused(format!("ext4: unknown feature {bit:#x}"))),
            }
        }
        let wrong = |at: u64, what: &str| invalid(SUPERBLOCK + at, format!("ext4: {what}"));
        let log = le32(&head, 0x18);
        if log > 6 {
            return Err(wrong(0x18, "impossible block size"));
        }
        let is_old = le32(&head, 0x4c) == 0;
        let has_long_numbers = features & 0x80 != 0;
        let high = if has_long_numbers { u64::from(le32(&head, 0x150)) << 32 } else { 0 };
        let ext4 = Ext4 {
            block: 1024 << log,
            blocks: u64::from(le32(&head, 4)) | high,
            first: u64::from(le32(&head, 0x14)),
            groups: 0,
            per_group: u64::from(le32(&head, 0x28)),
            blocks_per_group: u64::from(le32(&head, 0x20)),
            inode_size: if is_old { 128 } else { usize::from(le16(&head, 0x58)) },
            descriptor: if has_long_numbers { usize::from(le16(&head, 0xfe)) } else { 32 },
            has_long_numbers,
            reserved: u64::from(le16(&head, 0xce)),
            sparse: le32(&head, 0x64) & 1 != 0,
            has_journal: le32(&head, 0x5c) & 4 != 0,
            disk,
        };
        let fits = |size: usize| size.is_power_of_two() && size as u64 <= ext4.block;
        if ext4.per_group == 0 || ext4.blocks_per_group == 0 || ext4.first >= ext4.blocks {
            return Err(wrong(0x20, "impossible groups"));
        }
        if !(fits(ext4.inode_size) && ext4.inode_size >= 128) {
            return Err(wrong(0x58, "impossible size of inodes"));
        }
        if !(fits(ext4.descriptor) && ext4.descriptor >= 32) {
            return Err(wrong(0xfe, "impossible size of group descriptors"));
        }
        if ext4.blocks.checked_mul(ext4.block).is_none_or(|end| end > ext4.disk.size()) {
            let what = format!("ext4: cut off, it has {} blocks", ext4.blocks);
            return Err(invalid(ext4.disk.size(), what));
        }
        let groups = (ext4.blocks - ext4.first).div_ceil(ext4.blocks_per_group);
        Ok(Ext4 { groups, ..ext4 })
    }

    /// The descriptor of a group.
    fn group(&self, n: u64) -> io::Result<Vec<u8>> {
        let table = (self.first + 1) * self.block;
        if n >= self.groups {
            return Err(invalid(table, format!("ext4: no group {n}")));
        }
        self.disk.bytes(table + n * self.descriptor as u64, self.descriptor)
    }

    /// A block number of a descriptor, in bytes: its low half at `low`, the high one 32 bytes on.
    fn number(&self, descriptor: &[u8], low: usize) -> u64 {
        let high = match self.has_long_numbers && self.descriptor >= 64 {
            true => u64::from(le32(descriptor, low + 32)) << 32,
            false => 0,
        };
        (u64::from(le32(descriptor, low)) | high).saturating_mul(self.block)
    }

    fn stored(&self, number: u64) -> io::Result<Stored> {
        let n = number.checked_sub(1).ok_or_else(|| invalid(SUPERBLOCK, "ext4: no inode 0"))?;
        let table = self.number(&self.group(n / self.per_group)?, 8);
        let at = table.saturating_add(n % self.per_group * self.inode_size as u64);
        let bytes = self.disk.bytes(at, self.inode_size)?;
        let word = |low: usize, high: usize| {
            u32::from(le16(&bytes, low)) | u32::from(le16(&bytes, high)) << 16
        };
        let mode = u32::from(le16(&bytes, 0));
        let is_device = matches!(mode & 0o170_000, 0o020_000 | 0o060_000);
        let inode = Inode {
            number,
            mode,
            uid: word(2, 0x78),
            gid: word(0x18, 0x7a),
            size: u64::from(le32(&bytes, 4)) | u64::from(le32(&bytes, 0x6c)) << 32,
            mtime: time(&bytes),
            links: u32::from(le16(&bytes, 0x1a)),
            device: match (is_device, le32(&bytes, 0x28)) {
                (false, _) => 0,
                (true, 0) => le32(&bytes, 0x2c),
                (true, old) => old,
            },
        };
        Ok(Stored { flags: le32(&bytes, 0x20), bytes, at, inode })
    }

    fn content(&self, stored: &Stored, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let size = stored.inode.size;
        if stored.flags & ENCRYPTED != 0 {
            return Err(refused("ext4: an encrypted inode is not read"));
        }
        if stored.flags & INLINE != 0 {
            let bytes = self.inline(stored)?;
            let inline = (bytes.len() as u64).min(size);
            sink(&bytes[..inline as usize]);
            // mke2fs -d leaves a file of zeros so, however long it is.
            zeros(size - inline, sink);
            return Ok(());
        }
        // A short target is where the numbers of blocks would be.
        if stored.inode.is(0o120_000) && size < 60 && stored.flags & EXTENTS == 0 {
            sink(&stored.bytes[0x28..0x28 + size as usize]);
            return Ok(());
        }
        let mut done = 0;
        for run in self.runs(stored)? {
            let start = run.logical.saturating_mul(self.block);
            if start < done {
                return Err(invalid(stored.at, "ext4: the extents of a file overlap"));
            }
            zeros(start.min(size) - done, sink);
            done = start.min(size);
            let len = run.count.saturating_mul(self.block).min(size - done);
            match run.block {
                Some(block) => super::copy(&*self.disk, block * self.block, len, sink)?,
                None => zeros(len, sink),
            }
            done += len;
        }
        zeros(size - done, sink);
        Ok(())
    }

    /// Inline data: what is where numbers of blocks would be, and the rest in an attribute.
    fn inline(&self, stored: &Stored) -> io::Result<Vec<u8>> {
        let mut bytes = stored.bytes[0x28..0x28 + 60].to_vec();
        let found = self.attributes(stored)?;
        let rest = found.into_iter().find(|(name, _)| name == b"system.data");
        bytes.extend(rest.map(|(_, value)| value).unwrap_or_default());
        Ok(bytes)
    }

    fn names(&self, mut rest: &[u8], at: u64, out: &mut Vec<(Vec<u8>, u64)>) -> io::Result<()> {
        while rest.len() >= 8 {
            let length = match usize::from(le16(rest, 4)) {
                0 | 0xffff => rest.len(),
                length => length & !3,
            };
            let name = 8 + usize::from(rest[6]);
            if length < 8 || length > rest.len() || (le32(rest, 0) != 0 && name > length) {
                return Err(invalid(at, "ext4: a directory's entries are damaged"));
            }
            let entry = &rest[8..name.min(length)];
            if le32(rest, 0) != 0 && entry != b"." && entry != b".." {
                out.push((entry.to_vec(), u64::from(le32(rest, 0))));
            }
            rest = &rest[length..];
        }
        Ok(())
    }
}

impl FileSystem for Ext4 {
    fn name(&self) -> &'static str {
        "ext4"
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        self.stored(handle).map(|stored| stored.inode)
    }

    fn entries(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let stored = self.stored(handle)?;
        let mut out = Vec::new();
        if stored.flags & INLINE != 0 {
            let bytes = self.inline(&stored)?;
            // The parent's number, and no `.` and `..`; the attribute begins entries anew.
            self.names(&bytes[4..60], stored.at, &mut out)?;
            let end = (stored.inode.size as usize).clamp(60, bytes.len());
            self.names(&bytes[60..end], stored.at, &mut out)?;
            return Ok(out);
        }
        let read = |sink: &mut dyn FnMut(&[u8])| self.content(&stored, sink);
        let bytes = whole(stored.inode.size, DIRECTORY_MAX, stored.at, read)?;
        for block in bytes.chunks(self.block as usize) {
            self.names(block, stored.at, &mut out)?;
        }
        Ok(out)
    }

    fn stream(&self, handle: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let stored = self.stored(handle)?;
        if stored.inode.is(0o120_000) && stored.inode.size > TARGET_MAX {
            return Err(invalid(stored.at, "ext4: a link's target is too long"));
        }
        self.content(&stored, sink)
    }

    fn xattrs(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = self.attributes(&self.stored(handle)?)?;
        found.retain(|(name, _)| name != b"system.data");
        Ok(found)
    }

    fn uses(&self) -> io::Result<Vec<(Range<u64>, Use)>> {
        self.layout()
    }

    fn other(&self, at: u64) -> io::Result<(Use, u64)> {
        let (block, end) = (at / self.block, (at / self.block + 1) * self.block);
        Ok(match block < self.first || (block < self.blocks && self.is_used(block)?) {
            true => (Use::Metadata("blocks of extents and attributes"), end),
            false => (Use::Free, end),
        })
    }

    fn extents(&self, handle: u64) -> io::Result<Vec<Range<u64>>> {
        let stored = self.stored(handle)?;
        let is_short = stored.inode.is(0o120_000) && stored.inode.size < 60;
        if stored.flags & INLINE != 0 || (is_short && stored.flags & EXTENTS == 0) {
            return Ok(Vec::new());
        }
        let runs = self.runs(&stored)?.into_iter();
        let ranges = runs.filter_map(|run| Some((run.block?, run.count)));
        Ok(ranges.map(|(at, n)| at * self.block..(at + n) * self.block).collect())
    }
}

/// The modification time, with the bits beyond 32 where the inode has them.
fn time(bytes: &[u8]) -> Time {
    let seconds = i64::from(le32(bytes, 0x10) as i32);
    let has_more = bytes.len() > 128 && le16(bytes, 0x80) >= 12;
    let more = if has_more { le32(bytes, 0x88) } else { 0 };
    Time { sec: seconds + (i64::from(more & 3) << 32), nsec: (more >> 2).min(999_999_999) }
}
