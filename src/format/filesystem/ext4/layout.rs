//! What every byte of the metadata is for: fields of the superblocks, descriptors, maps, inodes.

use std::io;
use std::ops::Range;

use super::super::{FileSystem as _, Use, le16, le64};
use super::{Ext4, SUPERBLOCK};

/// Fields that vary from one making of a file system to the next: place, length, name.
const FIELDS: &[(u64, u64, &str)] = &[
    (0x2c, 4, "time of the last mount"),
    (0x30, 4, "time of the last write"),
    (0x34, 2, "number of mounts"),
    (0x40, 4, "time of the last check"),
    (0x68, 16, "UUID"),
    (0x78, 16, "label"),
    (0x88, 64, "last place of mounting"),
    (0xd0, 16, "UUID of the journal"),
    (0xec, 16, "salt of directory hashes"),
    (0x108, 4, "time of making"),
    (0x178, 8, "kilobytes written"),
    (0x270, 4, "seed of checksums"),
    (0x274, 6, "high bits of times"),
    (0x3fc, 4, "checksum"),
];

/// Fields of an inode that vary so.
const INODE: &[(u64, u64, &str)] = &[
    (0x08, 4, "access times"),
    (0x0c, 4, "change times"),
    (0x10, 4, "modification times"),
    (0x64, 4, "generations of inodes"),
    (0x7c, 2, "checksums of inodes"),
    (0x82, 2, "checksums of inodes"),
    (0x84, 4, "change times"),
    (0x88, 4, "modification times"),
    (0x8c, 4, "access times"),
    (0x90, 8, "creation times"),
];
const JOURNAL: u64 = 8;

impl Ext4 {
    /// The metadata's places, in order.
    pub(super) fn layout(&self) -> io::Result<Vec<(Range<u64>, Use)>> {
        let mut out = Vec::new();
        let table = (self.groups * self.descriptor as u64).next_multiple_of(self.block);
        for group in 0..self.groups {
            let start = (self.first + group * self.blocks_per_group) * self.block;
            let superblock = if group == 0 { SUPERBLOCK } else { start };
            if self.has_copy(group) {
                divided(superblock, 1024, FIELDS.iter(), "superblock", &mut out);
                let descriptors = superblock.next_multiple_of(self.block).max(start + self.block);
                let end = descriptors + table;
                out.push((descriptors..end, Use::Metadata("group descriptors")));
                let reserved = end + self.reserved * self.block;
                out.push((end..reserved, Use::Metadata("room for group descriptors")));
            }
            let descriptor = self.group(group)?;
            for (at, length, what) in [
                (self.number(&descriptor, 0), self.block, "map of blocks"),
                (self.number(&descriptor, 4), self.block, "map of inodes"),
            ] {
                out.push((at..at.saturating_add(length), Use::Metadata(what)));
            }
            self.inodes(self.number(&descriptor, 8), &mut out)?;
        }
        if self.has_journal {
            let ranges = self.extents(JOURNAL)?;
            out.extend(ranges.into_iter().map(|range| (range, Use::Metadata("journal"))));
        }
        out.sort_by_key(|(range, _)| (range.start, range.end));
        out.dedup_by(|next, before| next.0.start < before.0.end);
        Ok(out)
    }

    /// The inodes of a group's table that are in use, field by field.
    fn inodes(&self, table: u64, out: &mut Vec<(Range<u64>, Use)>) -> io::Result<()> {
        let size = self.inode_size as u64;
        for n in 0..self.per_group {
            let at = table.saturating_add(n * size);
            // Of an inode that was never used nothing is looked up.
            if self.disk.bytes(at, 128)?.iter().all(|byte| *byte == 0) {
                out.push((at..at + size, Use::Metadata("inodes")));
                continue;
            }
            let known = INODE.iter().filter(|(place, length, _)| place + length <= size);
            divided(at, size, known, "inodes", out);
        }
        Ok(())
    }

    /// Whether a group has a copy of the superblock.
    fn has_copy(&self, group: u64) -> bool {
        let power = |base: u64| {
            let mut n = base;
            while n < group {
                n = n.saturating_mul(base);
            }
            n == group
        };
        group <= 1 || !self.sparse || power(3) || power(5) || power(7)
    }

    /// Whether a block is in use, by its group's map.
    pub(super) fn is_used(&self, block: u64) -> io::Result<bool> {
        let n = block.saturating_sub(self.first);
        let descriptor = self.group(n / self.blocks_per_group)?;
        // A map that was never written: only metadata is in use.
        if le16(&descriptor, 0x12) & 2 != 0 {
            return Ok(false);
        }
        let map = self.number(&descriptor, 0);
        let bit = n % self.blocks_per_group;
        let bytes = self.disk.bytes(map + bit / 64 * 8, 8)?;
        Ok(le64(&bytes, 0) >> (bit % 64) & 1 == 1)
    }
}

/// The fields of a structure of `size` bytes at `at`, and what is between them.
fn divided<'f>(
    at: u64,
    size: u64,
    fields: impl Iterator<Item = &'f (u64, u64, &'static str)>,
    rest: &'static str,
    out: &mut Vec<(Range<u64>, Use)>,
) {
    let mut add = |range: Range<u64>, what| {
        if !range.is_empty() {
            out.push((range, what));
        }
    };
    let mut from = 0;
    for (place, length, name) in fields {
        add(at + from..at + place, Use::Metadata(rest));
        add(at + place..at + place + length, Use::Field(name));
        from = place + length;
    }
    add(at + from..at + size, Use::Metadata(rest));
}
