//! The image's bytes: where everything is, and what is written there.

use super::attrs::Attr;
use super::inode::{Dirent, Inode, Kind};
use super::{BLOCK, CHUNKED, DIRENT, INLINE, PLAIN, SLOT, SUPERBLOCK, Version};

/// What is written, and what all inodes have in common.
pub(super) struct Writer<'t> {
    pub(super) version: Version,
    pub(super) inodes: Vec<Inode<'t>>,
    pub(super) shared: Vec<Attr>,
    /// The earliest time of all: an inode of that time may be compact.
    pub(super) time: (u64, u32),
}

/// Where everything is, in bytes from the image's beginning.
pub(super) struct Places {
    pub(super) inodes: Vec<u64>,
    pub(super) inodes_end: u64,
    pub(super) shared: Vec<u64>,
    pub(super) blocks: Vec<u64>,
    pub(super) end: u64,
}

/// How an inode's content is stored.
pub(super) struct Layout {
    pub(super) layout: u16,
    /// Bytes right behind the attributes.
    pub(super) inline: u64,
    /// Blocks elsewhere.
    pub(super) blocks: u64,
}

impl Writer<'_> {
    pub(super) fn is_compact(&self, inode: &Inode<'_>) -> bool {
        let short = |number: u32| number <= u32::from(u16::MAX);
        self.version == Version::V1
            && (inode.meta.seconds as u64, inode.meta.nanoseconds) == self.time
            && short(inode.links)
            && short(inode.meta.uid)
            && short(inode.meta.gid)
            && inode.kind.size() <= u64::from(u32::MAX)
    }

    /// Bytes of an inode before its content.
    pub(super) fn head(&self, inode: &Inode<'_>) -> u64 {
        let header = if self.is_compact(inode) { 32 } else { 64 };
        header + inode.attrs.size()
    }

    pub(super) fn layout(&self, inode: &Inode<'_>) -> Layout {
        let size = inode.kind.size();
        match &inode.kind {
            Kind::Directory(listing) => {
                let blocks = listing.blocks.len() as u64;
                let layout = if listing.inline.is_empty() { PLAIN } else { INLINE };
                Layout { layout, inline: size - blocks * BLOCK, blocks }
            }
            Kind::File(_) if size > 0 => Layout { layout: INLINE, inline: size, blocks: 0 },
            // One chunk, of which nothing is in this image.
            Kind::External(_) => Layout { layout: CHUNKED, inline: 4, blocks: 0 },
            Kind::Symlink(_) if self.version == Version::V1 && self.head(inode) + size >= BLOCK => {
                Layout { layout: PLAIN, inline: 0, blocks: 1 }
            }
            Kind::Symlink(_) => Layout { layout: INLINE, inline: size, blocks: 0 },
            Kind::File(_) | Kind::Special(..) | Kind::Whiteout => {
                Layout { layout: PLAIN, inline: 0, blocks: 0 }
            }
        }
    }

    pub(super) fn places(&self) -> Places {
        let mut at = SUPERBLOCK + 128;
        let mut inodes = Vec::with_capacity(self.inodes.len());
        for inode in &self.inodes {
            at = self.begin(inode, at.next_multiple_of(SLOT));
            inodes.push(at);
            at = (at + self.head(inode) + self.layout(inode).inline).next_multiple_of(SLOT);
        }
        let inodes_end = at;
        let mut shared = Vec::with_capacity(self.shared.len());
        for attr in &self.shared {
            shared.push(at);
            at += attr.size();
        }
        at = at.next_multiple_of(BLOCK);
        let mut blocks = Vec::with_capacity(self.inodes.len());
        for inode in &self.inodes {
            blocks.push(at);
            at += self.layout(inode).blocks * BLOCK;
        }
        Places { inodes, inodes_end, shared, blocks, end: at }
    }

    /// Where an inode begins, at `at` or later: what is inline must not cross into another block.
    pub(super) fn begin(&self, inode: &Inode<'_>, at: u64) -> u64 {
        let (head, size) = (self.head(inode), inode.kind.size());
        let Layout { layout, inline, blocks } = self.layout(inode);
        let symlink = matches!(inode.kind, Kind::Symlink(_));
        match self.version {
            Version::V2 if layout == INLINE => {
                let (last, end) = (at + head - 1, at + head + size % BLOCK);
                match last / BLOCK == end / BLOCK {
                    true => at,
                    false => (at + BLOCK - last % BLOCK).next_multiple_of(SLOT),
                }
            }
            Version::V2 => at,
            // A link begins in a block of its own rather than be cut, also where its target is not
            // behind it any more.
            Version::V1 if symlink && blocks > 0 => {
                match at / BLOCK == (at + head + size - 1) / BLOCK {
                    true => at,
                    false => at.next_multiple_of(BLOCK),
                }
            }
            Version::V1 if symlink => match at % BLOCK + head + inline > BLOCK {
                true => at.next_multiple_of(BLOCK),
                false => at,
            },
            Version::V1 => {
                let content = at + head;
                let room = content.next_multiple_of(BLOCK) - content;
                match room > 0 && room < inline {
                    true => at + room.next_multiple_of(SLOT),
                    false => at,
                }
            }
        }
    }

    pub(super) fn write(&self, places: &Places, acl: bool) -> Vec<u8> {
        let mut out = ImageBuffer(Vec::with_capacity(places.end as usize));
        self.write_header(&mut out, acl);
        self.write_superblock(&mut out, places);
        for (number, inode) in self.inodes.iter().enumerate() {
            out.to(places.inodes[number]);
            self.write_inode(&mut out, number, inode, places);
        }
        out.to(places.inodes_end);
        for attr in &self.shared {
            attr.write(&mut out);
        }
        for (inode, at) in self.inodes.iter().zip(&places.blocks) {
            out.to(*at);
            write_blocks(&mut out, inode, self.layout(inode).blocks, places);
        }
        out.to(places.end);
        out.0
    }

    pub(super) fn write_header(&self, out: &mut ImageBuffer, acl: bool) {
        let version = match self.version {
            Version::V1 => 1,
            Version::V2 => 2,
        };
        for word in [0xd078_629a, 1, u32::from(acl), version] {
            out.u32(word);
        }
        out.to(SUPERBLOCK);
    }

    pub(super) fn write_superblock(&self, out: &mut ImageBuffer, places: &Places) {
        let (time, attrs) = match self.version {
            Version::V1 => (self.time, (places.inodes_end / BLOCK) as u32),
            Version::V2 => ((0, 0), 0),
        };
        out.u32(0xe0f5_e1e2);
        out.u32(0);
        // Times, and filters of attribute names.
        out.u32(2 | 4);
        out.put(&[BLOCK.trailing_zeros() as u8, 0]);
        out.u16((places.inodes[0] / SLOT) as u16);
        out.u64(self.inodes.len() as u64);
        out.u64(time.0);
        out.u32(time.1);
        out.u32((places.end / BLOCK) as u32);
        out.u32(0);
        out.u32(attrs);
        out.to(SUPERBLOCK + 128);
    }

    pub(super) fn write_inode(
        &self,
        out: &mut ImageBuffer,
        number: usize,
        inode: &Inode<'_>,
        places: &Places,
    ) {
        let compact = self.is_compact(inode);
        let Layout { layout, blocks, .. } = self.layout(inode);
        let block = (places.blocks[number] / BLOCK) as u32;
        let value = match inode.kind {
            Kind::External(size) => self.chunk_bits(size),
            Kind::Special(_, device) => device,
            _ if blocks > 0 => block,
            _ => 0,
        };
        let serial = match self.version {
            Version::V1 => number as u32,
            Version::V2 => (places.inodes[number] / SLOT) as u32,
        };
        let meta = inode.meta;
        out.u16(layout | u16::from(!compact));
        out.u16(inode.attrs.count());
        out.u16(inode.kind.format_bits() | self.mode(inode));
        if compact {
            out.u16(inode.links as u16);
            out.u32(inode.kind.size() as u32);
            out.u32(0);
            out.u32(value);
            out.u32(serial);
            out.u16(meta.uid as u16);
            out.u16(meta.gid as u16);
            out.u32(0);
        } else {
            out.u16(0);
            out.u64(inode.kind.size());
            out.u32(value);
            out.u32(serial);
            out.u32(meta.uid);
            out.u32(meta.gid);
            out.u64(meta.seconds as u64);
            out.u32(if self.version == Version::V1 { meta.nanoseconds } else { 0 });
            out.u32(inode.links);
            out.put(&[0; 16]);
        }
        inode.attrs.write(out, |place| self.reference(places, place));
        match &inode.kind {
            Kind::Directory(listing) => write_entries(out, &listing.inline, places),
            Kind::File(bytes) => out.put(bytes),
            Kind::External(_) => out.u32(u32::MAX),
            Kind::Symlink(target) if blocks == 0 => out.put(target),
            Kind::Symlink(_) | Kind::Special(..) | Kind::Whiteout => {}
        }
    }

    /// The whiteouts in the root have a mode of their own.
    pub(super) fn mode(&self, inode: &Inode<'_>) -> u16 {
        let stub = std::ptr::eq(inode.meta, self.inodes[0].meta);
        match inode.kind {
            Kind::Special(..) if stub => 0o644,
            _ => inode.meta.mode,
        }
    }

    /// How a shared attribute is named: its place in words of four bytes, from where V1 and V2 each
    /// begin to count.
    pub(super) fn reference(&self, places: &Places, shared: usize) -> u32 {
        let from = match self.version {
            Version::V1 => places.inodes_end / BLOCK * BLOCK,
            Version::V2 => 0,
        };
        ((places.shared[shared] - from) / 4) as u32
    }

    /// The chunk's size as a power of two, counted from one block.
    pub(super) fn chunk_bits(&self, size: u64) -> u32 {
        match self.version {
            Version::V1 => size.next_power_of_two().max(BLOCK).ilog2() - BLOCK.ilog2(),
            Version::V2 => 31,
        }
    }
}

pub(super) fn write_blocks(out: &mut ImageBuffer, inode: &Inode<'_>, blocks: u64, places: &Places) {
    match &inode.kind {
        Kind::Directory(listing) => {
            for block in &listing.blocks {
                write_entries(out, block, places);
                out.align(BLOCK);
            }
        }
        Kind::Symlink(target) if blocks > 0 => out.put(target),
        _ => {}
    }
}

/// Entries: all their heads, then all their names.
pub(super) fn write_entries(out: &mut ImageBuffer, entries: &[Dirent<'_>], places: &Places) {
    let mut name = DIRENT * entries.len() as u64;
    for entry in entries {
        out.u64(places.inodes[entry.inode] / SLOT);
        out.u16(name as u16);
        out.put(&[entry.file_type, 0]);
        name += entry.name.len() as u64;
    }
    for entry in entries {
        out.put(entry.name);
    }
}

/// The image as far as it is written; numbers are little-endian.
pub(super) struct ImageBuffer(Vec<u8>);

impl ImageBuffer {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.put(&number.to_le_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.put(&number.to_le_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    /// Zeros up to a place.
    pub(super) fn to(&mut self, place: u64) {
        self.0.resize(place as usize, 0);
    }

    pub(super) fn align(&mut self, to: u64) {
        self.to((self.0.len() as u64).next_multiple_of(to));
    }
}
