//! EROFS (linux/fs/erofs/erofs_fs.h): compact and extended inodes; plain, inline and chunk-based data,
//! attributes with their long prefixes. Compressed data is in `packed`.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::{
    DIRECTORY_MAX, FileSystem, Inode, TARGET_MAX, Use, copy, invalid, le16, le32, le64, refused,
    whole, zeros,
};
use crate::format::composefs::PREFIXES;
use crate::format::time::Time;

mod packed;

/// The magic, at byte 1024.
pub const MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const SUPERBLOCK: u64 = 1024;
const SLOT: u64 = 32;
/// Features that change how anything is read, those that this reader knows: padding of LZ4, big
/// clusters, chunks, a second algorithm or a table of devices, packed tails, fragments, prefixes.
const KNOWN: u32 = 0x7f;
const WIDE: u32 = 0x80;
const FRAGMENTS: u32 = 0x20;
const MARKED_PREFIX: u8 = 0x80;

/// Layouts of an inode's content.
const PLAIN: u16 = 0;
const PACKED_FULL: u16 = 1;
const INLINE: u16 = 2;
const PACKED_COMPACT: u16 = 3;
const CHUNKED: u16 = 4;

/// An EROFS image.
pub struct Erofs {
    disk: Arc<dyn Blocks>,
    block: u64,
    root: u64,
    time: Time,
    inodes: u64,
    attributes: u64,
    fragments: Option<u64>,
    prefixes: Vec<Vec<u8>>,
    packed: packed::Cache,
}

/// An inode as it is stored.
struct Stored {
    inode: Inode,
    layout: u16,
    /// Where its content is, by its layout.
    place: u32,
    /// Where it ends, and its attributes begin.
    attributes: u64,
    /// Where they end, and what is inline begins.
    end: u64,
}

impl Erofs {
    /// Reads the superblock.
    ///
    /// # Errors
    ///
    /// If it is not EROFS, or has a feature that is not known.
    pub fn open(disk: Arc<dyn Blocks>) -> io::Result<Self> {
        let head = disk.bytes(SUPERBLOCK, 128)?;
        if head[..4] != MAGIC {
            return Err(invalid(SUPERBLOCK, "no superblock of erofs"));
        }
        let features = le32(&head, 80);
        if features & WIDE != 0 {
            return Err(refused("erofs: block numbers of 48 bits are not read"));
        }
        if features & !KNOWN != 0 {
            return Err(refused(format!("erofs: unknown features {:#x}", features & !KNOWN)));
        }
        let bits = head[12];
        if !(9..=16).contains(&bits) || head[90] != 0 {
            return Err(invalid(SUPERBLOCK + 12, "erofs: impossible block size"));
        }
        let block = 1 << bits;
        let fragments = le64(&head, 96);
        let mut erofs = Erofs {
            block,
            root: u64::from(le16(&head, 14)),
            time: Time { sec: le64(&head, 24) as i64, nsec: nanoseconds(le32(&head, 32)) },
            inodes: u64::from(le32(&head, 40)) * block,
            attributes: u64::from(le32(&head, 44)) * block,
            fragments: (features & FRAGMENTS != 0 && fragments != 0).then_some(fragments),
            prefixes: Vec::new(),
            packed: packed::Cache::default(),
            disk,
        };
        erofs.prefixes = erofs.long_prefixes(head[91], u64::from(le32(&head, 92)) * 4)?;
        Ok(erofs)
    }

    /// The table of long starts of attribute names: in the inode of fragments where there is one.
    fn long_prefixes(&self, count: u8, start: u64) -> io::Result<Vec<Vec<u8>>> {
        let table = match self.fragments.filter(|_| count > 0) {
            Some(handle) => {
                let size = self.stored(handle)?.inode.size;
                let read = |sink: &mut dyn FnMut(&[u8])| self.stream(handle, sink);
                whole(size, DIRECTORY_MAX, start, read)?.split_off((start.min(size)) as usize)
            }
            None => Vec::new(),
        };
        let (mut at, mut prefixes) = (0, Vec::new());
        for _ in 0..count {
            let piece = |at: u64, len: usize| match self.fragments {
                Some(_) => {
                    let from = usize::try_from(at).unwrap_or(usize::MAX);
                    let found = table.get(from..).and_then(|rest| rest.get(..len));
                    found.map(<[u8]>::to_vec).ok_or_else(|| invalid(start, "erofs: prefixes end"))
                }
                None => self.disk.bytes(start + at, len),
            };
            let size = usize::from(le16(&piece(at, 2)?, 0));
            let entry = piece(at + 2, size)?;
            let (base, rest) = entry
                .split_first()
                .ok_or_else(|| invalid(start + at, "erofs: an empty prefix of attribute names"))?;
            prefixes.push([self.short_prefix(*base, start + at)?, rest].concat());
            at += (2 + size as u64).next_multiple_of(4);
        }
        Ok(prefixes)
    }

    fn short_prefix(&self, index: u8, at: u64) -> io::Result<&'static [u8]> {
        let known = PREFIXES.get(usize::from(index)).copied();
        known.ok_or_else(|| invalid(at, format!("erofs: unknown prefix {index} of a name")))
    }

    fn place(&self, handle: u64) -> io::Result<u64> {
        let place = handle.checked_mul(SLOT).and_then(|at| at.checked_add(self.inodes));
        place.ok_or_else(|| invalid(self.disk.size(), format!("erofs: no inode {handle}")))
    }

    fn stored(&self, handle: u64) -> io::Result<Stored> {
        let at = self.place(handle)?;
        let short = self.disk.bytes(at, 32)?;
        let format = le16(&short, 0);
        let (layout, is_long) = (format >> 1 & 7, format & 1 == 1);
        let bytes = if is_long { self.disk.bytes(at, 64)? } else { short };
        let inode = match is_long {
            true => Inode {
                number: handle,
                mode: u32::from(le16(&bytes, 4)),
                uid: le32(&bytes, 24),
                gid: le32(&bytes, 28),
                size: le64(&bytes, 8),
                mtime: Time { sec: le64(&bytes, 32) as i64, nsec: nanoseconds(le32(&bytes, 40)) },
                links: le32(&bytes, 44),
                device: le32(&bytes, 16),
            },
            false => Inode {
                number: handle,
                mode: u32::from(le16(&bytes, 4)),
                uid: u32::from(le16(&bytes, 24)),
                gid: u32::from(le16(&bytes, 26)),
                size: u64::from(le32(&bytes, 8)),
                mtime: self.time,
                links: u32::from(le16(&bytes, 6)),
                device: le32(&bytes, 16),
            },
        };
        let attributes = at + bytes.len() as u64;
        let words = u64::from(le16(&bytes, 2));
        let end = attributes + if words == 0 { 0 } else { 12 + 4 * (words - 1) };
        Ok(Stored { inode, layout, place: le32(&bytes, 16), attributes, end })
    }

    fn content(&self, stored: &Stored, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let size = stored.inode.size;
        let start = u64::from(stored.place) * self.block;
        match stored.layout {
            PLAIN => copy(&*self.disk, start, size, sink),
            INLINE => {
                let tail = size % self.block;
                copy(&*self.disk, start, size - tail, sink)?;
                if stored.end / self.block != (stored.end + tail.max(1) - 1) / self.block {
                    return Err(invalid(stored.end, "erofs: inline data crosses a block"));
                }
                copy(&*self.disk, stored.end, tail, sink)
            }
            CHUNKED => self.chunks(stored, &mut |at, len| match at {
                Some(at) => copy(&*self.disk, at, len, sink),
                None => {
                    zeros(len, sink);
                    Ok(())
                }
            }),
            PACKED_FULL | PACKED_COMPACT => self.unpack(stored, sink),
            other => Err(invalid(stored.attributes, format!("erofs: unknown layout {other}"))),
        }
    }

    /// The chunks of a file: the place of each, or `None` for a hole, and its length.
    fn chunks(
        &self,
        stored: &Stored,
        each: &mut dyn FnMut(Option<u64>, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let bits = stored.place & 0x1f;
        let width: u64 = if stored.place & 0x20 != 0 { 8 } else { 4 };
        let chunk = self.block << bits;
        let table = stored.end.next_multiple_of(width);
        let (mut done, mut entry) = (0, table);
        while done < stored.inode.size {
            let bytes = self.disk.bytes(entry, width as usize)?;
            if width == 8 && le16(&bytes, 2) != 0 {
                return Err(refused("erofs: data on another device is not read"));
            }
            let block = le32(&bytes, if width == 8 { 4 } else { 0 });
            let at = (block != u32::MAX).then(|| u64::from(block) * self.block);
            let len = chunk.min(stored.inode.size - done);
            each(at, len)?;
            done += len;
            entry += width;
        }
        Ok(())
    }

    fn attribute(&self, at: u64, out: &mut Vec<(Vec<u8>, Vec<u8>)>) -> io::Result<u64> {
        let head = self.disk.bytes(at, 4)?;
        let (name, index) = (usize::from(head[0]), head[1]);
        let value = usize::from(le16(&head, 2));
        let bytes = self.disk.bytes(at + 4, name + value)?;
        let prefix = match index & MARKED_PREFIX {
            0 => self.short_prefix(index, at)?,
            _ => self
                .prefixes
                .get(usize::from(index & !MARKED_PREFIX))
                .ok_or_else(|| invalid(at, "erofs: an attribute without its prefix"))?,
        };
        out.push(([prefix, &bytes[..name]].concat(), bytes[name..].to_vec()));
        Ok(at + (4 + name as u64 + value as u64).next_multiple_of(4))
    }
}

impl FileSystem for Erofs {
    fn name(&self) -> &'static str {
        "erofs"
    }

    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        self.stored(handle).map(|stored| stored.inode)
    }

    fn entries(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let stored = self.stored(handle)?;
        let read = |sink: &mut dyn FnMut(&[u8])| self.content(&stored, sink);
        let bytes = whole(stored.inode.size, DIRECTORY_MAX, stored.attributes, read)?;
        let mut entries = Vec::new();
        for block in bytes.chunks(self.block as usize) {
            let wrong = || invalid(stored.attributes, "erofs: a directory's names are damaged");
            let first = usize::from(le16(block, 8));
            if first < 12 || first > block.len() || first % 12 != 0 {
                return Err(wrong());
            }
            let rows: Vec<&[u8]> = block[..first].chunks_exact(12).collect();
            for (n, row) in rows.iter().enumerate() {
                let from = usize::from(le16(row, 8));
                let to = rows.get(n + 1).map_or(block.len(), |next| usize::from(le16(next, 8)));
                let name = block.get(from..to).ok_or_else(wrong)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                if name != b"." && name != b".." {
                    entries.push((name.to_vec(), le64(row, 0)));
                }
            }
        }
        Ok(entries)
    }

    fn stream(&self, handle: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let stored = self.stored(handle)?;
        if stored.inode.is(0o120_000) && stored.inode.size > TARGET_MAX {
            return Err(invalid(stored.attributes, "erofs: a link's target is too long"));
        }
        self.content(&stored, sink)
    }

    fn xattrs(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let stored = self.stored(handle)?;
        let mut out = Vec::new();
        if stored.end == stored.attributes {
            return Ok(out);
        }
        let shared = u64::from(self.disk.bytes(stored.attributes, 12)?[4]);
        let mut at = stored.attributes + 12;
        for _ in 0..shared {
            let place = u64::from(le32(&self.disk.bytes(at, 4)?, 0));
            self.attribute(self.attributes + 4 * place, &mut out)?;
            at += 4;
        }
        while at + 4 <= stored.end {
            at = self.attribute(at, &mut out)?;
        }
        Ok(out)
    }

    fn uses(&self) -> io::Result<Vec<(Range<u64>, Use)>> {
        const FIELDS: &[(u64, u64, &str)] = &[
            (4, 4, "checksum"),
            (24, 12, "time of the superblock"),
            (48, 16, "UUID"),
            (64, 16, "label"),
        ];
        let field = |(at, len, name): &(u64, u64, &'static str)| {
            (SUPERBLOCK + at..SUPERBLOCK + at + len, Use::Field(name))
        };
        Ok(FIELDS.iter().map(field).collect())
    }

    fn other(&self, _: u64) -> io::Result<(Use, u64)> {
        Ok((Use::Packed, u64::MAX))
    }
}

fn nanoseconds(number: u32) -> u32 {
    number.min(999_999_999)
}
