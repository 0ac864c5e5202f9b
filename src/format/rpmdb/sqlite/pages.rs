//! The pages of an SQLite database that is being written
//! (<https://sqlite.org/fileformat2.html>): what no cell uses is zero.

use super::record::{Value, push_varint, record};
use crate::format::Malformed;
use crate::format::rpmdb::scrub::local_payload;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Bytes of the database header on page 1.
pub(super) const HEADER: usize = 100;
/// The page that holds the byte of file locks is never used.
const LOCK_PAGE: u32 = (1 << 30) / PAGE as u32 + 1;
/// What the header says about the library that wrote the file: the oldest one that reads it.
pub(super) const LIBRARY_VERSION: u32 = 3_007_000;

/// Kinds of b-tree pages, as their first byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    IndexInterior = 2,
    TableInterior = 5,
    IndexLeaf = 10,
    TableLeaf = 13,
}

impl Kind {
    /// Bytes of a page's head; that of an interior page ends with its rightmost child.
    pub(super) fn head(self) -> usize {
        if matches!(self, Kind::IndexInterior | Kind::TableInterior) { 12 } else { 8 }
    }
}

/// A database that grows at its end.
pub(super) struct Pages {
    bytes: Vec<u8>,
    /// The cell that is about to be put into a page.
    pub(super) cell: Vec<u8>,
    payload: Vec<u8>,
}

/// A b-tree page that is being filled: pointers grow from its head, cells from its end.
pub(super) struct Page {
    pub(super) number: u32,
    kind: Kind,
    /// Where the page lies in the file, and where in it its head begins.
    place: usize,
    begin: usize,
    cells: usize,
    /// Where in the page the cells begin.
    content: usize,
}

impl Page {
    /// Bytes that are left between pointers and cells.
    pub(super) fn room(&self) -> usize {
        self.content - (self.begin + self.kind.head() + 2 * self.cells)
    }
}

impl Pages {
    /// Page 1 alone, and room for `size` bytes; they may become more.
    pub(super) fn with_capacity(size: usize) -> Self {
        let mut bytes = Vec::with_capacity(size.max(PAGE));
        bytes.resize(PAGE, 0);
        Pages { bytes, cell: Vec::new(), payload: Vec::new() }
    }

    /// A new b-tree page.
    ///
    /// # Errors
    ///
    /// If no number is left for it.
    pub(super) fn begin(&mut self, kind: Kind) -> Result<Page, Malformed> {
        let number = self.allocate()?;
        Ok(self.empty(number, 0, kind))
    }

    /// Page 1, behind whose header a b-tree page begins.
    pub(super) fn first(&mut self, kind: Kind) -> Page {
        self.empty(1, HEADER, kind)
    }

    fn empty(&mut self, number: u32, begin: usize, kind: Kind) -> Page {
        let place = (number as usize - 1) * PAGE;
        self.bytes[place + begin] = kind as u8;
        let page = Page { number, kind, place, begin, cells: 0, content: PAGE };
        self.count(&page);
        page
    }

    /// A new page of zeros.
    fn allocate(&mut self) -> Result<u32, Malformed> {
        loop {
            let number = u32::try_from(self.bytes.len() / PAGE + 1)
                .map_err(|_| Malformed::at(self.bytes.len(), "database would be too large"))?;
            self.bytes.resize(self.bytes.len() + PAGE, 0);
            if number != LOCK_PAGE {
                return Ok(number);
            }
        }
    }

    /// The number of cells and where they begin, as the head says.
    fn count(&mut self, page: &Page) {
        let head = &mut self.bytes[page.place + page.begin..][..8];
        head[3..5].copy_from_slice(&(page.cells as u16).to_be_bytes());
        head[5..7].copy_from_slice(&(page.content as u16).to_be_bytes());
    }

    /// Puts the cell into `page`, if there is room.
    pub(super) fn put(&mut self, page: &mut Page) -> bool {
        if self.cell.len() + 2 > page.room() {
            return false;
        }
        page.content -= self.cell.len();
        self.bytes[page.place + page.content..][..self.cell.len()].copy_from_slice(&self.cell);
        let pointer = page.place + page.begin + page.kind.head() + 2 * page.cells;
        self.bytes[pointer..][..2].copy_from_slice(&(page.content as u16).to_be_bytes());
        page.cells += 1;
        self.count(page);
        true
    }

    /// Takes the last cell, of `length` bytes, out of `page` again.
    pub(super) fn take_back(&mut self, page: &mut Page, length: usize) {
        page.cells -= 1;
        self.bytes[page.place + page.content..][..length].fill(0);
        page.content += length;
        let pointer = page.place + page.begin + page.kind.head() + 2 * page.cells;
        self.bytes[pointer..][..2].fill(0);
        self.count(page);
    }

    /// The rightmost child of an interior page.
    pub(super) fn set_right(&mut self, page: &Page, child: u32) {
        self.bytes[page.place + page.begin + 8..][..4].copy_from_slice(&child.to_be_bytes());
    }

    /// Makes the cell of a table's row.
    ///
    /// # Errors
    ///
    /// As [`Pages::begin`] does.
    pub(super) fn row(&mut self, number: u32, values: &[Value<'_>]) -> Result<(), Malformed> {
        self.begin_cell(values);
        push_varint(&mut self.cell, number.into());
        self.spill(true)
    }

    /// Makes the cell of an index's record.
    ///
    /// # Errors
    ///
    /// As [`Pages::begin`] does.
    pub(super) fn record(&mut self, values: &[Value<'_>]) -> Result<(), Malformed> {
        self.begin_cell(values);
        self.spill(false)
    }

    fn begin_cell(&mut self, values: &[Value<'_>]) {
        self.payload.clear();
        record(&mut self.payload, values);
        self.cell.clear();
        push_varint(&mut self.cell, self.payload.len() as u64);
    }

    /// Adds the payload to the cell; what is too long for it goes to a chain of overflow pages.
    fn spill(&mut self, table: bool) -> Result<(), Malformed> {
        let payload = std::mem::take(&mut self.payload);
        let (local, rest) = payload.split_at(local_payload(payload.len(), table, PAGE));
        self.cell.extend_from_slice(local);
        let mut last = None;
        for piece in rest.chunks(PAGE - 4) {
            let number = self.allocate()?;
            match last {
                None => self.cell.extend_from_slice(&number.to_be_bytes()),
                Some(at) => self.bytes[at..][..4].copy_from_slice(&number.to_be_bytes()),
            }
            let place = (number as usize - 1) * PAGE;
            self.bytes[place + 4..][..piece.len()].copy_from_slice(piece);
            last = Some(place);
        }
        self.payload = payload;
        Ok(())
    }

    /// The file, whose header says: no write-ahead log, one change, one schema, UTF-8.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let pages = (self.bytes.len() / PAGE) as u32;
        let header = &mut self.bytes[..HEADER];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        header[16..18].copy_from_slice(&(PAGE as u16).to_be_bytes());
        // Versions of the format; no bytes reserved; fractions of payload, which are fixed.
        header[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
        // Changes, pages, changes of the schema, its format, encoding, changes again, library.
        for (at, value) in
            [(24, 1), (28, pages), (40, 1), (44, 4), (56, 1), (92, 1), (96, LIBRARY_VERSION)]
        {
            header[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_with_the_byte_of_locks_is_never_used() {
        // As many pages as there are before it; memory that is not touched is none.
        let bytes = vec![0; (LOCK_PAGE as usize - 2) * PAGE];
        let mut pages = Pages { bytes, cell: Vec::new(), payload: Vec::new() };
        let numbers = [0; 2].map(|_| pages.begin(Kind::TableLeaf).unwrap().number);
        assert_eq!(numbers, [LOCK_PAGE - 1, LOCK_PAGE + 1]);
        assert_eq!(LOCK_PAGE as usize, (1 << 30) / PAGE + 1);
    }
}
