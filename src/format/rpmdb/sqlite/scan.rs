//! The packages of a database without SQLite, for whoever only wants to know what they are: no copy
//! of the file, and no page of it in a cache. Whatever is to be written anew is read by SQLite.
//!
//! Follows <https://sqlite.org/fileformat2.html>, sections 1.6, 2.1 and 2.6.

use super::contents::{PACKAGES, in_package, no_blob};
use super::refused;
use crate::format::Malformed;
use crate::format::bytes::Order::Big;
use crate::format::rpmdb::EachPackage;
use crate::format::rpmdb::scrub::{FILE_HEADER, MAX_DEPTH, local_payload, page_size, varint};

/// Called with a row's number and its record.
type EachRow<'c> = dyn FnMut(i64, &[u8]) -> Result<(), Malformed> + 'c;

/// Calls `each` for every package of `db`, which has no log, by hnum.
///
/// # Errors
///
/// Where a page that leads to them is no page of a table, or used twice, where there is no table of
/// packages, or as `each` does.
pub(super) fn packages(db: &[u8], each: &mut EachPackage<'_>) -> Result<(), Malformed> {
    let mut root = None;
    objects(db, &mut |object| {
        if (object.kind, object.name) == (b"table", PACKAGES.as_bytes()) {
            root = Some(object.root);
        }
        Ok(())
    })?;
    let root = root.ok_or_else(|| refused(format!("it has no table {PACKAGES}")))?;
    blobs(db, root, each)
}

/// Calls `each` for every package of the table whose root is page `root`.
pub(super) fn blobs(db: &[u8], root: u32, each: &mut EachPackage<'_>) -> Result<(), Malformed> {
    Scan::new(db)?.rows(root, 0, &mut |number, record| {
        let hnum = u32::try_from(number).map_err(|_| refused(format!("hnum {number}")))?;
        match columns(record) {
            // Even types from twelve on are blobs.
            [Some(_), Some((kind, blob))] if kind >= 12 && kind.is_multiple_of(2) => {
                each(hnum, blob).map_err(|e| in_package(hnum, e))
            }
            _ => Err(no_blob(hnum)),
        }
    })
}

/// A row of the schema.
pub(super) struct Object<'a> {
    pub(super) kind: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) table: &'a [u8],
    pub(super) root: u32,
    /// Empty where the row has none.
    pub(super) sql: &'a [u8],
}

/// Calls `each` for every row of the schema of `db`.
pub(super) fn objects(
    db: &[u8],
    each: &mut dyn FnMut(Object<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    // SQLite itself looks at two bits of that number.
    if !Big.u32(db, 56).is_ok_and(|encoding| encoding & 3 <= 1) {
        return Err(Malformed::at(56u64, "its text is not in UTF-8"));
    }
    Scan::new(db)?.rows(1, 0, &mut |_, record| {
        let [Some((_, kind)), Some((_, name)), Some((_, table)), Some(root), sql] = columns(record)
        else {
            return Err(refused("a row of the schema is no record"));
        };
        let sql = sql.map_or(&[][..], |(_, sql)| sql);
        each(Object { kind, name, table, root: number(root), sql })
    })
}

/// The number that a column holds; what no number of rpm is comes out as another one.
pub(super) fn number((kind, bytes): Column<'_>) -> u32 {
    // The number 1 has a type of its own, and no bytes.
    bytes.iter().fold(u32::from(kind == 9), |n, b| n << 8 | u32::from(*b))
}

/// A column of a record: its serial type and its bytes.
type Column<'r> = (u64, &'r [u8]);

/// The first `N` columns of a record; those that it does not have are `None`. More are not looked
/// at: a header can claim a column for each byte of a file.
pub(super) fn columns<const N: usize>(record: &[u8]) -> [Option<Column<'_>>; N] {
    let mut found = [None; N];
    let mut at = 0;
    let header = varint(record, &mut at).and_then(|header| usize::try_from(header).ok());
    let Some((types, mut rest)) = header.and_then(|header| record.split_at_checked(header)) else {
        return found;
    };
    for column in &mut found {
        let Some(kind) = varint(types, &mut at) else { break };
        let length = match kind {
            0 | 8 | 9 => 0,
            5 => 6,
            6 | 7 => 8,
            1..=4 => kind,
            10 | 11 => break,
            _ => (kind - 12) / 2,
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((bytes, after)) = rest.split_at_checked(length) else { break };
        *column = Some((kind, bytes));
        rest = after;
    }
    found
}

/// A walk over the pages of one b-tree.
pub(super) struct Scan<'a> {
    db: &'a [u8],
    page: usize,
    usable: usize,
    /// Pages that may still be read: there are no more.
    left: usize,
}

/// What a cell holds.
struct Cell<'a> {
    /// A row's number; 0 in an index.
    row: i64,
    /// Bytes of its record.
    size: usize,
    /// What of the record is in the cell.
    here: &'a [u8],
    /// The page on which the record goes on.
    rest: Option<u32>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(db: &'a [u8]) -> Result<Self, Malformed> {
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
    pub(super) fn rows(
        &mut self,
        number: u32,
        depth: usize,
        each: &mut EachRow<'_>,
    ) -> Result<(), Malformed> {
        self.tree(number, (5, 13), depth, each)
    }

    /// Calls `each` for the records of the index whose root is page `number`.
    pub(super) fn records(
        &mut self,
        number: u32,
        each: &mut dyn FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.tree(number, (2, 10), 0, &mut |_, record| each(record))
    }

    /// Calls `each` for what the b-tree holds whose root is page `number`, in order; `inner` and
    /// `leaf` are the kinds of its pages. An index has records between its pages too.
    fn tree(
        &mut self,
        number: u32,
        (inner, leaf): (u8, u8),
        depth: usize,
        each: &mut EachRow<'_>,
    ) -> Result<(), Malformed> {
        let (start, page) = self.page(number)?;
        let bad = || Malformed::at(start, format!("page {number} is no page of the b-tree"));
        let number16 = |at| Big.u16(page, at).map(usize::from).map_err(|_| bad());
        let number32 = |at| Big.u32(page, at).map_err(|_| bad());
        let header = if number == 1 { FILE_HEADER } else { 0 };
        let interior = match page[header] {
            kind if kind == inner && depth < MAX_DEPTH => true,
            kind if kind == leaf => false,
            _ => return Err(bad()),
        };
        let table = leaf == 13;
        let cells = number16(header + 3)?;
        let pointers = header + if interior { 12 } else { 8 };
        for n in 0..cells {
            let mut at = number16(pointers + 2 * n)?;
            if interior {
                self.tree(number32(at)?, (inner, leaf), depth + 1, each)?;
                at += 4;
                if table {
                    continue;
                }
            }
            let cell = self.cell(page, at, table).ok_or_else(bad)?;
            match cell.rest {
                None => each(cell.row, cell.here)?,
                Some(next) => each(cell.row, &self.overflow(&cell, next)?)?,
            }
        }
        match interior {
            true => {
                let last = number32(header + 8)?;
                self.tree(last, (inner, leaf), depth + 1, each)
            }
            false => Ok(()),
        }
    }

    /// The cell whose payload begins at byte `at` of a page; `None` if there is none.
    fn cell(&self, page: &'a [u8], mut at: usize, table: bool) -> Option<Cell<'a>> {
        let size = usize::try_from(varint(page, &mut at)?).ok()?;
        let row = if table { varint(page, &mut at)?.cast_signed() } else { 0 };
        let local = local_payload(size, table, self.usable);
        let here = page.get(at..at.checked_add(local)?)?;
        let rest = if local < size { Some(Big.u32(page, at + local).ok()?) } else { None };
        (size <= self.db.len()).then_some(Cell { row, size, here, rest })
    }

    /// The record of a cell of which more is on other pages, from page `next` on.
    fn overflow(&mut self, cell: &Cell<'_>, mut next: u32) -> Result<Vec<u8>, Malformed> {
        let mut whole = Vec::with_capacity(cell.size);
        whole.extend_from_slice(cell.here);
        while whole.len() < cell.size {
            let (_, page) = self.page(next)?;
            next = Big.u32(page, 0).unwrap_or_default();
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
    fn columns_that_nobody_asks_for_are_not_looked_at() {
        // A header of a million columns that are all null.
        let mut record = vec![0xbd, 0x84, 0x43];
        record.resize(1_000_003, 0);
        assert_eq!(columns::<3>(&record), [Some((0, &[][..])); 3]);
        assert_eq!(columns::<2>(&[2, 0]), [Some((0, &[][..])), None]);
        assert_eq!(columns::<1>(&[2, 4, 1]), [None]);
    }
}
