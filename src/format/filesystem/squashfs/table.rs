//! Tables of squashfs: rows in blocks of metadata, whose places are listed; and attributes.

use std::io;

use super::super::{invalid, le16, le32, le64};
use super::{METADATA, NONE, Squashfs};

/// A block of metadata that is stored as it is.
const STORED: u16 = 1 << 15;
const OUT_OF_LINE: u16 = 0x100;
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
/// Bytes of a value, at most: the kernel's own limit.
const VALUE_MAX: u32 = 65_536;

/// A table of rows of one width.
pub(super) struct Table {
    /// Where the places of its blocks are listed.
    pub(super) place: u64,
    pub(super) count: u64,
    pub(super) width: usize,
}

/// The table of attributes, and where their names and values begin.
pub(super) struct Attributes {
    table: Table,
    values: u64,
}

impl Squashfs {
    /// `count` bytes of metadata, from `offset` of the block at `base + block` on.
    pub(super) fn metadata(
        &self,
        base: u64,
        block: u64,
        offset: usize,
        count: usize,
    ) -> io::Result<Vec<u8>> {
        let mut at = base.saturating_add(block);
        let (mut skip, mut out) = (offset, Vec::new());
        while out.len() < count {
            let found = self.metadata.get(at, || self.unpack(at))?;
            let (bytes, next) = &*found;
            if bytes.is_empty() {
                return Err(invalid(at, "squashfs: an empty block of metadata"));
            }
            let piece = bytes.get(skip..).unwrap_or_default();
            out.extend_from_slice(&piece[..piece.len().min(count - out.len())]);
            skip = skip.saturating_sub(bytes.len());
            at = *next;
        }
        Ok(out)
    }

    /// The block of metadata at `at`, and where the next one begins.
    fn unpack(&self, at: u64) -> io::Result<(Vec<u8>, u64)> {
        let word = le16(&self.disk.bytes(at, 2)?, 0);
        let length = usize::from(word & !STORED);
        let bytes = self.disk.bytes(at + 2, length)?;
        let out = match word & STORED {
            0 => self.packing.unpack(&bytes, METADATA)?,
            _ => Some(bytes).filter(|bytes| bytes.len() <= METADATA),
        };
        let out = out.ok_or_else(|| invalid(at, "squashfs: a block of metadata is damaged"))?;
        Ok((out, at + 2 + length as u64))
    }

    /// A row of a table.
    pub(super) fn row(&self, table: &Table, n: u64) -> io::Result<Vec<u8>> {
        if n >= table.count {
            let what = format!("squashfs: row {n} of a table of {}", table.count);
            return Err(invalid(table.place.min(self.disk.size()), what));
        }
        let rows = (METADATA / table.width) as u64;
        let list = table.place.saturating_add(n / rows * 8);
        let block = le64(&self.disk.bytes(list, 8)?, 0);
        self.metadata(block, 0, (n % rows) as usize * table.width, table.width)
    }

    /// The table of attributes whose head is at `place`.
    pub(super) fn attributes(&self, place: u64) -> io::Result<Attributes> {
        let head = self.disk.bytes(place, 16)?;
        let count = u64::from(le32(&head, 8));
        let table = Table { place: place + 16, count, width: 16 };
        Ok(Attributes { table, values: le64(&head, 0) })
    }

    /// The attributes that a row of their table lists.
    pub(super) fn attributes_of(&self, row: u32) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(all) = self.attributes.as_ref().filter(|_| row != NONE) else {
            return Ok(Vec::new());
        };
        let row = self.row(&all.table, u64::from(row))?;
        let (reference, count) = (le64(&row, 0), le32(&row, 8));
        let mut at = Place { base: all.values, reference, skip: 0 };
        let mut out = Vec::new();
        for _ in 0..count {
            let head = at.take(self, 4)?;
            let kind = le16(&head, 0);
            let prefix = PREFIXES.get(usize::from(kind & 0xff)).copied();
            let prefix =
                prefix.ok_or_else(|| invalid(at.block(), "squashfs: unknown attribute"))?;
            let name = at.take(self, usize::from(le16(&head, 2)))?;
            let mut value = at.value(self)?;
            if kind & OUT_OF_LINE != 0 {
                let reference = le64(&value, 0);
                value = Place { base: all.values, reference, skip: 0 }.value(self)?;
            }
            out.push(([prefix, &name].concat(), value));
        }
        Ok(out)
    }
}

/// A place in the names and values of attributes.
struct Place {
    base: u64,
    reference: u64,
    skip: usize,
}

impl Place {
    fn block(&self) -> u64 {
        self.base.saturating_add(self.reference >> 16)
    }

    fn take(&mut self, fs: &Squashfs, count: usize) -> io::Result<Vec<u8>> {
        let offset = (self.reference & 0xffff) as usize + self.skip;
        self.skip += count;
        fs.metadata(self.base, self.reference >> 16, offset, count)
    }

    fn value(&mut self, fs: &Squashfs) -> io::Result<Vec<u8>> {
        let length = le32(&self.take(fs, 4)?, 0);
        if length > VALUE_MAX {
            return Err(invalid(self.block(), "squashfs: an attribute is too long"));
        }
        self.take(fs, length as usize)
    }
}
