//! The packages of a database without SQLite, for whoever only wants to know what they are: no copy
//! of the file, and no page of it in a cache. Whatever is to be written anew is read by SQLite.
//!
//! Follows <https://sqlite.org/fileformat2.html>, sections 1.6, 2.1 and 2.6.

use super::contents::{PACKAGES, in_package, no_blob};
use super::refused;
use crate::format::Malformed;
use crate::format::rpmdb::EachPackage;
use crate::format::rpmdb::scrub::{
    FILE_HEADER, MAX_DEPTH, be16, be32, local_payload, page_size, varint,
};

/// Called with a row's number and its record.
type EachRow<'c> = dyn FnMut(i64, &[u8]) -> Result<(), Malformed> + 'c;

/// Calls `each` for every package of `db`, which has no log, by hnum.
///
/// Fails where a page that leads to them is no page of a table, or used twice, where there is no
/// table of packages, or as `each` does.
pub(super) fn packages(db: &[u8], each: &mut EachPackage<'_>) -> Result<(), Malformed> {
    // SQLite itself looks at two bits of that number.
    if be32(db, 56).is_none_or(|encoding| encoding & 3 > 1) {
        return Err(Malformed::at(56u64, "its text is not in UTF-8"));
    }
    let mut root = None;
    Scan::new(db)?.rows(1, 0, &mut |_, record| {
        let columns =
            columns(record, 4).ok_or_else(|| refused("a row of the schema is no record"))?;
        if let [(_, b"table"), (_, name), _, (_, number), ..] = columns[..]
            && name == PACKAGES.as_bytes()
        {
            root = Some(number.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)));
        }
        Ok(())
    })?;
    let root = root.ok_or_else(|| refused(format!("it has no table {PACKAGES}")))?;
    Scan::new(db)?.rows(root, 0, &mut |number, record| {
        let hnum = u32::try_from(number).map_err(|_| refused(format!("hnum {number}")))?;
        match columns(record, 3).as_deref() {
            // Even types from twelve on are blobs.
            Some([_, (kind, blob)]) if *kind >= 12 && kind.is_multiple_of(2) => {
                each(hnum, blob).map_err(|e| in_package(hnum, e))
            }
            _ => Err(no_blob(hnum)),
        }
    })
}

/// The first columns of a record, `most` at most: the serial type of each and its bytes; `None` if
/// it is none. A header can claim a column for each byte of a file.
fn columns(record: &[u8], most: usize) -> Option<Vec<(u64, &[u8])>> {
    let mut at = 0;
    let header = usize::try_from(varint(record, &mut at)?).ok()?;
    let (types, mut rest) = record.split_at_checked(header)?;
    let mut columns = Vec::with_capacity(most);
    while at < header && columns.len() < most {
        let kind = varint(types, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            5 => 6,
            6 | 7 => 8,
            1..=4 => usize::try_from(kind).ok()?,
            _ => usize::try_from(kind.checked_sub(12)? / 2).ok()?,
        };
        let (bytes, after) = rest.split_at_checked(length)?;
        columns.push((kind, bytes));
        rest = after;
    }
    Some(columns)
}

/// A walk over the pages of one table.
struct Scan<'a> {
    db: &'a [u8],
    page: usize,
    usable: usize,
    /// Pages that may still be read: there are no more.
    left: usize,
}

/// A row as a leaf has it.
struct Cell<'a> {
    row: i64,
    /// Bytes of its record.
    size: usize,
    /// What of the record is in the cell.
    here: &'a [u8],
    /// The page on which the record goes on.
    rest: Option<u32>,
}

impl<'a> Scan<'a> {
    fn new(db: &'a [u8]) -> Result<Self, Malformed> {
        let page = page_size(db)?;
        let usable = page - usize::from(db[20]);
        if !db.len().is_multiple_of(page) {
            return Err(Malformed::at(db.len(), "database is truncated inside a page"));
        }
        if usable < 480 {
            return Err(Malformed::at(20u64, "pages have too little room"));
        }
        Ok(Scan { db, page, usable, left: db.len() / page })
    }

    /// Where page `number` begins, and its bytes.
    fn page(&mut self, number: u32) -> Result<(usize, &'a [u8]), Malformed> {
        let start = (number as usize).wrapping_sub(1).saturating_mul(self.page);
        let page = self.db.get(start..start.saturating_add(self.page));
        let page = page.ok_or_else(|| refused(format!("page {number} does not exist")))?;
        self.left =
            self.left.checked_sub(1).ok_or_else(|| Malformed::at(start, "pages are used twice"))?;
        Ok((start, page))
    }

    /// Calls `each` for the rows of the table whose root is page `number`.
    fn rows(&mut self, number: u32, depth: usize, each: &mut EachRow<'_>) -> Result<(), Malformed> {
        let (start, page) = self.page(number)?;
        let bad = || Malformed::at(start, format!("page {number} is no page of a table"));
        let header = if number == 1 { FILE_HEADER } else { 0 };
        let interior = match page[header] {
            5 if depth < MAX_DEPTH => true,
            13 => false,
            _ => return Err(bad()),
        };
        let cells = usize::from(be16(page, header + 3).ok_or_else(bad)?);
        let pointers = header + if interior { 12 } else { 8 };
        for n in 0..cells {
            let at = usize::from(be16(page, pointers + 2 * n).ok_or_else(bad)?);
            if interior {
                self.rows(be32(page, at).ok_or_else(bad)?, depth + 1, each)?;
                continue;
            }
            let cell = self.cell(page, at).ok_or_else(bad)?;
            match cell.rest {
                None => each(cell.row, cell.here)?,
                Some(next) => each(cell.row, &self.overflow(&cell, next)?)?,
            }
        }
        match interior {
            true => self.rows(be32(page, header + 8).ok_or_else(bad)?, depth + 1, each),
            false => Ok(()),
        }
    }

    /// The cell at byte `at` of a leaf; `None` if there is none.
    fn cell(&self, page: &'a [u8], mut at: usize) -> Option<Cell<'a>> {
        let size = usize::try_from(varint(page, &mut at)?).ok()?;
        let row = varint(page, &mut at)?.cast_signed();
        let local = local_payload(size, true, self.usable);
        let here = page.get(at..at.checked_add(local)?)?;
        let rest = if local < size { Some(be32(page, at + local)?) } else { None };
        (size <= self.db.len()).then_some(Cell { row, size, here, rest })
    }

    /// The record of a cell of which more is on other pages, from page `next` on.
    fn overflow(&mut self, cell: &Cell<'_>, mut next: u32) -> Result<Vec<u8>, Malformed> {
        let mut whole = Vec::with_capacity(cell.size);
        whole.extend_from_slice(cell.here);
        while whole.len() < cell.size {
            let (_, page) = self.page(next)?;
            next = be32(page, 0).unwrap_or_default();
            let held = (cell.size - whole.len()).min(self.usable - 4);
            whole.extend_from_slice(&page[4..4 + held]);
        }
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_nobody_asks_for_take_no_memory() {
        // A header of a million columns that are all null.
        let mut record = vec![0xbd, 0x84, 0x43];
        record.resize(1_000_003, 0);
        let found = columns(&record, 3).expect("a record");
        assert_eq!((found.len(), found.capacity()), (3, 3));
    }
}
