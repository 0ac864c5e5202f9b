//! Berkeley DB files as pages: the metadata page, page headers, and values on overflow pages.
//!
//! Follows the on-disk format of Berkeley DB 4.6 to 5.3 (hash and btree version 9), in which
//! every distribution with this backend writes. A file is in the byte order of the host that made
//! it; its magic number says which.
//!
//! A page header is 26 bytes: log sequence number (8), page number, previous and next page
//! (4 each), entries and first used byte (2 each), level and type (1 each). The number of pages,
//! not any field in them, bounds everything that is read.

use std::borrow::Cow;

use crate::format::Malformed;
use crate::format::bytes::{Order, slice};
use crate::format::rpmdb::blob::Blob;

/// Size of a page header: items and their index begin here.
pub(super) const HEADER: usize = 26;
/// What a log sequence number says in a file without a log: file 0, offset 1.
const NOT_LOGGED: [u32; 2] = [0, 1];
const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;
const VERSION: u32 = 9;

/// Page types.
pub(super) mod kind {
    pub(in super::super) const HASH_UNSORTED: u8 = 2;
    pub(in super::super) const INTERNAL: u8 = 3;
    pub(in super::super) const LEAF: u8 = 5;
    pub(in super::super) const OVERFLOW: u8 = 7;
    pub(in super::super) const HASH_META: u8 = 8;
    pub(in super::super) const BTREE_META: u8 = 9;
    pub(in super::super) const HASH: u8 = 13;
}

/// How a file finds its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Linear hashing.
    Hash,
    /// A B+ tree.
    Btree,
}

/// What two files with the same records may differ in by configuration; it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How records are found.
    pub access: Access,
    /// The byte order.
    pub order: Order,
    /// Bytes a page.
    pub page_size: usize,
    /// Hash only: wanted records a bucket, 0 for the library's choice.
    pub fill: u32,
}

/// A file whose metadata page was checked.
pub(super) struct File<'a> {
    bytes: &'a [u8],
    pub(super) shape: Shape,
    /// Number of pages, the metadata page included.
    pub(super) pages: u32,
}

/// Whether `bytes` begin as a Berkeley DB hash or btree file of either byte order.
pub fn recognise(bytes: &[u8]) -> bool {
    access(bytes).is_some()
}

fn access(bytes: &[u8]) -> Option<(Access, Order)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| match order.u32(bytes, 12).ok()? {
        HASH_MAGIC => Some((Access::Hash, order)),
        BTREE_MAGIC => Some((Access::Btree, order)),
        _ => None,
    })
}

impl<'a> File<'a> {
    /// Checks the metadata page.
    ///
    /// # Errors
    ///
    /// On files of another kind or version, on features that rpm does not use (encryption,
    /// checksums, partitions, duplicates, sub-databases), and if the file is shorter than it says.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Malformed> {
        slice(bytes, 0, 512)?;
        let (access, order) = access(bytes)
            .ok_or_else(|| Malformed::at(12, "not a Berkeley DB hash or btree file"))?;
        let word = |at| order.u32(bytes, at);
        let version = word(16)?;
        if version != VERSION {
            return Err(Malformed::at(16, format!("Berkeley DB format {version}, not {VERSION}")));
        }
        let page_size = word(20)? as usize;
        if !page_size.is_power_of_two() || !(512..=32768).contains(&page_size) {
            return Err(Malformed::at(20, format!("page size {page_size}")));
        }
        let meta = match access {
            Access::Hash => kind::HASH_META,
            Access::Btree => kind::BTREE_META,
        };
        if bytes[25] != meta || word(8)? != 0 {
            return Err(Malformed::at(8, "page 0 is not the metadata page of the file"));
        }
        let extras =
            [(24, bytes[24].into()), (26, bytes[26].into()), (36, word(36)?), (48, word(48)?)];
        if let Some((at, value)) = extras.into_iter().find(|(_, value)| *value != 0) {
            let what = format!("Berkeley DB feature {value:#x} that rpm does not use");
            return Err(Malformed::at(at, what));
        }
        if access == Access::Btree && word(76)? != 2 {
            return Err(Malformed::at(76, "btree with another minimum of keys a page than 2"));
        }
        let pages = word(32)?.checked_add(1);
        let fits = |pages: &u32| *pages as u64 * page_size as u64 <= bytes.len() as u64;
        let pages = pages.filter(fits).ok_or_else(|| {
            Malformed::at(32, format!("last page is {}: file is truncated", word(32).unwrap_or(0)))
        })?;
        let fill = if access == Access::Hash { word(84)? } else { 0 };
        Ok(File { bytes, shape: Shape { access, order, page_size, fill }, pages })
    }

    /// A 32-bit field of the metadata page.
    pub(super) fn meta(&self, at: usize) -> Result<u32, Malformed> {
        self.shape.order.u32(self.bytes, at)
    }

    /// Page `number`, which may be visited once: `visited` remembers.
    pub(super) fn page(&self, number: u32, visited: &mut Visited) -> Result<Page<'a>, Malformed> {
        let start = number as usize * self.shape.page_size;
        if number == 0 || number >= self.pages {
            return Err(Malformed::at(self.bytes.len(), format!("there is no page {number}")));
        }
        visited.mark(number, start)?;
        let page = Page {
            bytes: slice(self.bytes, start, self.shape.page_size)?,
            order: self.shape.order,
            start,
        };
        if page.word(8)? != number {
            return Err(page.wrong(8, format!("page {number} bears another number")));
        }
        Ok(page)
    }

    /// Whether page `number` is there and was never written: all zero.
    pub(super) fn never_written(&self, number: u32) -> bool {
        let start = number as usize * self.shape.page_size;
        let page = slice(self.bytes, start, self.shape.page_size);
        number < self.pages && page.is_ok_and(|page| page.iter().all(|&byte| byte == 0))
    }

    /// The value of `len` bytes that starts on overflow page `first`, a piece a page.
    pub(super) fn overflow(
        &self,
        first: u32,
        len: u32,
        visited: &mut Visited,
    ) -> Result<Blob<'a>, Malformed> {
        let mut pieces = Vec::new();
        let (mut found, mut next) = (0, first);
        while found < len as usize {
            let page = self.page(next, visited)?;
            if page.kind() != kind::OVERFLOW {
                return Err(page.wrong(25, "not an overflow page".into()));
            }
            let used: usize = page.half(22)?.into();
            if used == 0 {
                return Err(page.wrong(22, "empty overflow page".into()));
            }
            pieces.push(page.slice(HEADER, used)?);
            found += used;
            next = page.next()?;
        }
        if found != len as usize || next != 0 {
            let at = first as usize * self.shape.page_size;
            return Err(Malformed::at(at, format!("overflow pages do not hold {len} bytes")));
        }
        Ok(pieces.into_iter().collect())
    }
}

/// Which pages were read: none is part of two structures.
pub(super) struct Visited(Vec<bool>);

impl Visited {
    pub(super) fn new(file: &File<'_>) -> Self {
        Visited(vec![false; file.pages as usize])
    }

    fn mark(&mut self, number: u32, at: usize) -> Result<(), Malformed> {
        match self.0.get_mut(number as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => return Err(Malformed::at(at, format!("page {number} is used twice"))),
        }
        Ok(())
    }
}

/// One page of a file.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    order: Order,
    start: usize,
}

impl<'a> Page<'a> {
    pub(super) fn kind(&self) -> u8 {
        self.bytes[25]
    }

    pub(super) fn level(&self) -> u8 {
        self.bytes[24]
    }

    pub(super) fn entries(&self) -> Result<usize, Malformed> {
        self.half(20).map(usize::from)
    }

    pub(super) fn prev(&self) -> Result<u32, Malformed> {
        self.word(12)
    }

    pub(super) fn next(&self) -> Result<u32, Malformed> {
        self.word(16)
    }

    /// Where item `index` of the page begins: behind the index, within the page.
    pub(super) fn item(&self, index: usize) -> Result<usize, Malformed> {
        let at = usize::from(self.half(HEADER + 2 * index)?);
        if at < HEADER + 2 * self.entries()? || at >= self.bytes.len() {
            return Err(self.wrong(HEADER + 2 * index, format!("item {index} is misplaced")));
        }
        Ok(at)
    }

    /// `len` bytes of the page.
    pub(super) fn slice(&self, at: usize, len: usize) -> Result<&'a [u8], Malformed> {
        slice(self.bytes, at, len).map_err(|_| self.wrong(at, "item leads over the page".into()))
    }

    pub(super) fn byte(&self, at: usize) -> Result<u8, Malformed> {
        self.slice(at, 1).map(|byte| byte[0])
    }

    pub(super) fn half(&self, at: usize) -> Result<u16, Malformed> {
        self.slice(at, 2).and_then(|raw| self.order.u16(raw, 0))
    }

    pub(super) fn word(&self, at: usize) -> Result<u32, Malformed> {
        self.slice(at, 4).and_then(|raw| self.order.u32(raw, 0))
    }

    /// Trouble at byte `at` of the page.
    pub(super) fn wrong(&self, at: usize, what: String) -> Malformed {
        Malformed::at(self.start + at, what)
    }
}

/// A key and its value.
pub type Record<'a> = (Cow<'a, [u8]>, Blob<'a>);

/// A file being written: whole pages, all bytes zero until set.
pub(super) struct NewFile {
    pub(super) bytes: Vec<u8>,
    pub(super) shape: Shape,
}

impl NewFile {
    /// A file that has its metadata page, still empty.
    pub(super) fn new(shape: Shape) -> Self {
        NewFile { bytes: vec![0; shape.page_size], shape }
    }

    /// Appends a page and gives its number.
    ///
    /// # Errors
    ///
    /// Where 32-bit page numbers end.
    pub(super) fn page(&mut self) -> Result<u32, Malformed> {
        let number = self.bytes.len() / self.shape.page_size;
        let too_big = |_| Malformed::at(self.bytes.len(), "database outgrows 32-bit page numbers");
        let number = u32::try_from(number).map_err(too_big)?;
        self.bytes.resize(self.bytes.len() + self.shape.page_size, 0);
        Ok(number)
    }

    pub(super) fn put(&mut self, page: u32, at: usize, bytes: &[u8]) {
        let at = page as usize * self.shape.page_size + at;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn put16(&mut self, page: u32, at: usize, value: usize) {
        // Page sizes end at 32768, and so does all that is counted within a page.
        self.put(page, at, &self.shape.order.put16(value as u16));
    }

    pub(super) fn put32(&mut self, page: u32, at: usize, value: u32) {
        self.put(page, at, &self.shape.order.put32(value));
    }

    /// The header of a page, with no entries.
    pub(super) fn header(&mut self, page: u32, level: u8, kind: u8) {
        self.put32(page, 0, NOT_LOGGED[0]);
        self.put32(page, 4, NOT_LOGGED[1]);
        self.put32(page, 8, page);
        self.put16(page, 22, self.shape.page_size);
        self.put(page, 24, &[level, kind]);
    }

    /// The neighbours of a page.
    pub(super) fn link(&mut self, page: u32, prev: u32, next: u32) {
        self.put32(page, 12, prev);
        self.put32(page, 16, next);
    }

    /// Fills a page with items from its end towards its start, the index in front.
    pub(super) fn items<'i>(&mut self, page: u32, items: impl Iterator<Item = &'i [u8]>) {
        let (mut at, mut count) = (self.shape.page_size, 0);
        for item in items {
            at -= item.len();
            self.put(page, at, item);
            self.put16(page, HEADER + 2 * count, at);
            count += 1;
        }
        self.put16(page, 20, count);
        self.put16(page, 22, at);
    }

    /// Puts a value on overflow pages of its own and gives the first.
    pub(super) fn overflow(&mut self, value: &[u8]) -> Result<u32, Malformed> {
        let first = self.bytes.len() / self.shape.page_size;
        let mut prev = 0;
        for chunk in value.chunks(self.shape.page_size - HEADER) {
            let page = self.page()?;
            self.header(page, 0, kind::OVERFLOW);
            self.link(page, prev, 0);
            if prev != 0 {
                self.put32(prev, 16, page);
            }
            self.put16(page, 20, 1);
            self.put16(page, 22, chunk.len());
            self.put(page, HEADER, chunk);
            prev = page;
        }
        Ok(first as u32)
    }

    /// The fields of the metadata page that all files have.
    pub(super) fn finish(&mut self, uid: &[u8; 20]) {
        let (magic, kind) = match self.shape.access {
            Access::Hash => (HASH_MAGIC, kind::HASH_META),
            Access::Btree => (BTREE_MAGIC, kind::BTREE_META),
        };
        let last = self.bytes.len() / self.shape.page_size - 1;
        let words = [NOT_LOGGED[0], NOT_LOGGED[1], 0, magic, VERSION, self.shape.page_size as u32];
        for (at, word) in (0..).step_by(4).zip(words) {
            self.put32(0, at, word);
        }
        self.put(0, 25, &[kind]);
        self.put32(0, 32, last as u32);
        self.put(0, 52, uid);
    }
}
