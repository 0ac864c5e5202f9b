//! Squashfs 4.0 (linux/fs/squashfs/squashfs_fs.h), with every compression that mksquashfs has.

mod inode;
mod packing;
mod table;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::{
    DIRECTORY_MAX, FileSystem, Inode, TARGET_MAX, Use, invalid, le16, le32, le64, refused, zeros,
};
use inode::{Content, Found};
use packing::{Cache, Packing};

/// Bytes of a block of metadata.
const METADATA: usize = 8192;
/// The value of a place that means that there is nothing.
const NOTHING: u64 = u64::MAX;
const NONE: u32 = u32::MAX;
/// A block of data that is stored as it is.
const STORED: u32 = 1 << 24;

/// A squashfs image.
pub struct Squashfs {
    disk: Arc<dyn Blocks>,
    packing: Packing,
    block: u32,
    root: u64,
    ids: table::Table,
    fragments: table::Table,
    attributes: Option<table::Attributes>,
    inodes: u64,
    directories: u64,
    metadata: Cache,
    tails: Cache,
}

impl Squashfs {
    /// Reads the superblock.
    ///
    /// # Errors
    ///
    /// If it is not squashfs 4.0.
    pub fn open(disk: Arc<dyn Blocks>) -> io::Result<Self> {
        let head = disk.bytes(0, 96)?;
        if &head[..4] != b"hsqs" {
            return Err(invalid(0, "no superblock of squashfs"));
        }
        if (le16(&head, 28), le16(&head, 30)) != (4, 0) {
            return Err(refused(format!("squashfs: version {} is not read", le16(&head, 28))));
        }
        let block = le32(&head, 12);
        if !(4096..=1 << 20).contains(&block) || !block.is_power_of_two() {
            return Err(invalid(12, "squashfs: impossible block size"));
        }
        let end = le64(&head, 40);
        if end > disk.size() {
            return Err(invalid(disk.size(), format!("squashfs: cut off, it has {end} bytes")));
        }
        let table = |at: usize, count: u64, width: usize| table::Table {
            place: le64(&head, at),
            count,
            width,
        };
        let mut squashfs = Squashfs {
            packing: Packing::of(le16(&head, 20))?,
            block,
            root: le64(&head, 32),
            ids: table(48, u64::from(le16(&head, 26)), 4),
            fragments: table(80, u64::from(le32(&head, 16)), 16),
            attributes: None,
            inodes: le64(&head, 64),
            directories: le64(&head, 72),
            metadata: Cache::new(512),
            tails: Cache::new(8),
            disk,
        };
        if le64(&head, 56) != NOTHING {
            squashfs.attributes = Some(squashfs.attributes(le64(&head, 56))?);
        }
        Ok(squashfs)
    }

    fn id(&self, index: u16) -> io::Result<u32> {
        self.row(&self.ids, u64::from(index)).map(|row| le32(&row, 0))
    }

    /// A block of data, or of the ends of files.
    fn data(&self, at: u64, word: u32) -> io::Result<Vec<u8>> {
        let stored = (word & !STORED) as usize;
        if stored > self.block as usize {
            return Err(invalid(at, "squashfs: a block of data is too long"));
        }
        let bytes = self.disk.bytes(at, stored)?;
        if word & STORED != 0 {
            return Ok(bytes);
        }
        let out = self.packing.unpack(&bytes, self.block as usize)?;
        out.ok_or_else(|| invalid(at, "squashfs: a block of data is damaged"))
    }

    /// The end of a file: `len` bytes at `offset` of a fragment block.
    fn tail(&self, fragment: u32, offset: u32, len: usize) -> io::Result<Vec<u8>> {
        let row = self.row(&self.fragments, u64::from(fragment))?;
        let (at, word) = (le64(&row, 0), le32(&row, 8));
        let block = self.tails.get(at, || self.data(at, word).map(|bytes| (bytes, 0)))?;
        let from = offset as usize;
        let found = block.0.get(from..from.saturating_add(len)).map(<[u8]>::to_vec);
        found.ok_or_else(|| invalid(at, "squashfs: a file's end is not in its fragment"))
    }

    fn found(&self, handle: u64) -> io::Result<Found> {
        inode::read(self, handle)
    }
}

impl FileSystem for Squashfs {
    fn name(&self) -> &'static str {
        "squashfs"
    }

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        self.found(handle).map(|found| found.inode)
    }

    fn entries(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let Content::Directory { block, offset } = self.found(handle)?.content else {
            return Ok(Vec::new());
        };
        let size = self.inode(handle)?.size;
        if size > DIRECTORY_MAX {
            return Err(invalid(self.directories, "squashfs: a directory is too long"));
        }
        // The listing's length counts `.` and `..`, which are not stored.
        let bytes =
            self.metadata(self.directories, block, offset, size.saturating_sub(3) as usize)?;
        let wrong = || invalid(self.directories + block, "squashfs: a directory is damaged");
        let (mut entries, mut rest) = (Vec::new(), &*bytes);
        while !rest.is_empty() {
            let (head, mut after) = rest.split_at_checked(12).ok_or_else(wrong)?;
            let start = u64::from(le32(head, 4)) << 16;
            for _ in 0..=le32(head, 0).min(255) {
                let (row, names) = after.split_at_checked(8).ok_or_else(wrong)?;
                let length = usize::from(le16(row, 6)) + 1;
                let (name, next) = names.split_at_checked(length).ok_or_else(wrong)?;
                entries.push((name.to_vec(), start | u64::from(le16(row, 0))));
                after = next;
            }
            rest = after;
        }
        Ok(entries)
    }

    fn stream(&self, handle: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let found = self.found(handle)?;
        let (start, fragment, sizes) = match &found.content {
            Content::Target(_) if found.inode.size > TARGET_MAX => {
                return Err(invalid(self.inodes, "squashfs: a link's target is too long"));
            }
            Content::Target(target) => {
                sink(target);
                return Ok(());
            }
            Content::File { start, fragment, sizes } => (*start, *fragment, sizes),
            Content::Directory { .. } | Content::Nothing => return Ok(()),
        };
        let (mut at, mut left) = (start, found.inode.size);
        for word in sizes.chunks_exact(4).map(|word| le32(word, 0)) {
            let len = left.min(u64::from(self.block));
            match word {
                0 => zeros(len, sink),
                word => {
                    let bytes = self.data(at, word)?;
                    let wanted = bytes.get(..len as usize);
                    let short = || invalid(at, "squashfs: a block of data is too short");
                    sink(wanted.ok_or_else(short)?);
                    at = at.saturating_add(u64::from(word & !STORED));
                }
            }
            left -= len;
        }
        if let Some((fragment, offset)) = fragment {
            sink(&self.tail(fragment, offset, left as usize)?);
        }
        Ok(())
    }

    fn xattrs(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.attributes_of(self.found(handle)?.attributes)
    }

    fn uses(&self) -> io::Result<Vec<(Range<u64>, Use)>> {
        Ok(vec![(8..12, Use::Field("time of the superblock"))])
    }

    fn other(&self, _: u64) -> io::Result<(Use, u64)> {
        Ok((Use::Packed, u64::MAX))
    }
}
