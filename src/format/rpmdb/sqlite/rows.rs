//! The rows of an index table, renumbered and sorted, as they are written.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::contents::{Packages, Sum, bytes_of};
use super::pages::Pages;
use super::record::Value;
use super::refused;
use super::scan::{Scan, columns, number};
use super::schema::Table;
use super::tree::Tree;
use crate::format::bytes::Order;
use crate::format::rpmdb::{INSTALLTID_INDEX, database_order, key_order};
use crate::format::{Failure, Malformed};

/// The rows of one table in their order, by new hnum, idx and key, and what they sum up to.
pub(super) struct Rows {
    pub(super) sum: Sum,
    /// The keys, one behind the other.
    keys: Vec<u8>,
    rows: Vec<Row>,
    /// The numbers of rows by key, from 0.
    by_key: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Row {
    hnum: u32,
    idx: u32,
    /// TEXT, not BLOB: the classes sort in this order.
    text: bool,
    start: usize,
    length: usize,
}

impl Rows {
    /// Those of `table`, summed up as [`Packages::sum`] does, with no install time later than
    /// `epoch`.
    ///
    /// # Errors
    ///
    /// As that does.
    pub(super) fn read(
        db: &Connection,
        packages: &Packages,
        table: &str,
        epoch: u32,
    ) -> Result<Self, Failure> {
        let (mut keys, mut rows) = (Vec::new(), Vec::new());
        let sum = packages.sum_and(db, table, &mut |hnum, idx, key| {
            let bytes = bytes_of(key).unwrap_or_default();
            let text = matches!(key, ValueRef::Text(_));
            rows.push(Row { hnum, idx, text, start: keys.len(), length: bytes.len() });
            keys.extend_from_slice(bytes);
        })?;
        if u32::try_from(rows.len()).is_err() {
            return Err(refused(format!("index {table} has too many rows")).into());
        }
        let mut read = Rows { sum, keys, rows, by_key: Vec::new() };
        if table == INSTALLTID_INDEX {
            read.clamp(packages, epoch);
        }
        read.sort(packages);
        Ok(read)
    }

    /// Those of the table whose root is page `root`, read without SQLite: `by_key` is the root of
    /// the index of its keys, if there is one.
    ///
    /// # Errors
    ///
    /// Where any of them is not in the order in which it would be written.
    pub(super) fn in_order(db: &[u8], root: u32, by_key: Option<u32>) -> Result<Self, Malformed> {
        let disorder = || refused("not in normal order");
        let mut read =
            Rows { sum: Sum::default(), keys: Vec::new(), rows: Vec::new(), by_key: Vec::new() };
        let Rows { keys, rows, .. } = &mut read;
        Scan::new(db)?.rows(root, 0, &mut |n, record| {
            let [Some((kind, bytes)), Some(hnum), Some(idx)] = columns(record) else {
                return Err(disorder());
            };
            let row = Row {
                hnum: number(hnum),
                idx: number(idx),
                text: !kind.is_multiple_of(2),
                start: keys.len(),
                length: bytes.len(),
            };
            keys.extend_from_slice(bytes);
            let before = |last: &Row| by_number(keys, last) <= by_number(keys, &row);
            if kind < 12 || n != rows.len() as i64 + 1 || !rows.last().is_none_or(before) {
                return Err(disorder());
            }
            rows.push(row);
            Ok(())
        })?;
        if let Some(root) = by_key {
            read.by_key = keys_in_order(db, root, read.rows.len())?;
        }
        Ok(read)
    }

    /// Whether each row of the table `table` has its package, of those that are numbered from 1 and
    /// have these INSTALLTIDs, and each key that is an install time its package's.
    pub(super) fn fit(&self, table: &str, tids: &[u32]) -> bool {
        self.rows.iter().all(|row| {
            let tid = (row.hnum as usize).checked_sub(1).and_then(|place| tids.get(place));
            let time = |tid| key_order(key(&self.keys, row), tid, Order::Little);
            tid.is_some_and(|&tid| table != INSTALLTID_INDEX || !row.text && time(tid).is_some())
        })
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Lets the keys that are install times follow their packages' headers, each in its own byte
    /// order: that of the database where it could be in both.
    fn clamp(&mut self, packages: &Packages, epoch: u32) {
        let tid = |row: &Row| packages.tid(row.hnum);
        let order = database_order(self.rows.iter().map(|row| (key(&self.keys, row), tid(row))));
        for row in &self.rows {
            let bytes = &mut self.keys[row.start..row.start + row.length];
            let mine = key_order(bytes, tid(row), order).unwrap_or(order);
            bytes.copy_from_slice(&mine.put32(tid(row).min(epoch)));
        }
    }

    fn sort(&mut self, packages: &Packages) {
        for row in &mut self.rows {
            row.hnum = packages.number(row.hnum);
        }
        let keys = &self.keys;
        // SQLite stored most of them by hnum, in pieces: a sort that finds pieces is the fastest.
        self.rows.sort_by(|a, b| by_number(keys, a).cmp(&by_number(keys, b)));
        let rows = &self.rows;
        // The first bytes of a key decide nearly always.
        let first = |row: &Row| {
            let mut first = [0; 8];
            let key = key(keys, row);
            let length = key.len().min(8);
            first[..length].copy_from_slice(&key[..length]);
            (!row.text, u64::from_be_bytes(first))
        };
        let mut order: Vec<_> = (0u32..).zip(rows).map(|(n, row)| (first(row), n)).collect();
        order.sort_unstable_by(|a, b| {
            let whole = |n: u32| (by_key(keys, &rows[n as usize]), n);
            a.0.cmp(&b.0).then_with(|| whole(a.1).cmp(&whole(b.1)))
        });
        self.by_key = order.into_iter().map(|(_, n)| n).collect();
    }

    /// Writes the table; its root page.
    pub(super) fn write(&self, pages: &mut Pages) -> Result<u32, Failure> {
        let mut tree = Tree::table(pages)?;
        for (n, row) in (1..).zip(&self.rows) {
            tree.row(n, &[self.value(row), Value::Integer(row.hnum), Value::Integer(row.idx)])?;
        }
        Ok(tree.end_table()?)
    }

    /// Writes the index of the column `key`; its root page.
    pub(super) fn write_keys(&self, pages: &mut Pages) -> Result<u32, Failure> {
        let mut tree = Tree::index(pages)?;
        for &n in &self.by_key {
            tree.record(&[self.value(&self.rows[n as usize]), Value::Integer(n + 1)])?;
        }
        Ok(tree.end_index()?)
    }

    /// Writes the index of the column `hnum`, which the rows are sorted by; its root page.
    pub(super) fn write_hnums(&self, pages: &mut Pages) -> Result<u32, Failure> {
        let mut tree = Tree::index(pages)?;
        for (n, row) in (1..).zip(&self.rows) {
            tree.record(&[Value::Integer(row.hnum), Value::Integer(n)])?;
        }
        Ok(tree.end_index()?)
    }

    fn value(&self, row: &Row) -> Value<'_> {
        let key = key(&self.keys, row);
        if row.text { Value::Text(key) } else { Value::Blob(key) }
    }
}

fn key<'k>(keys: &'k [u8], row: &Row) -> &'k [u8] {
    &keys[row.start..row.start + row.length]
}

/// What SQLite sorts a key by: text before bytes, then byte by byte.
fn by_key<'k>(keys: &'k [u8], row: &Row) -> (bool, &'k [u8]) {
    (!row.text, key(keys, row))
}

/// What the rows of a table are sorted by.
fn by_number<'k>(keys: &'k [u8], row: &Row) -> (u32, u32, bool, &'k [u8]) {
    let (class, key) = by_key(keys, row);
    (row.hnum, row.idx, class, key)
}

/// The numbers of `rows` rows, from 0, as the index of their keys has them. Fails where a number is
/// missing, or one of a row that does not exist or is out of order. That each is beside its key is
/// seen when the index is written from them.
fn keys_in_order(db: &[u8], root: u32, rows: usize) -> Result<Vec<u32>, Malformed> {
    let disorder = || refused("not in normal order");
    let mut numbers = Vec::with_capacity(rows);
    let (mut class, mut last) = (false, Vec::new());
    Scan::new(db)?.records(root, &mut |record| {
        let [Some((kind, key)), Some(row)] = columns(record) else { return Err(disorder()) };
        let row = number(row).checked_sub(1).filter(|&row| (row as usize) < rows);
        let row = row.ok_or_else(disorder)?;
        let blob = kind.is_multiple_of(2);
        if let Some(&before) = numbers.last()
            && (class, &last[..], before) >= (blob, key, row)
        {
            return Err(disorder());
        }
        class = blob;
        last.clear();
        last.extend_from_slice(key);
        numbers.push(row);
        Ok(())
    })?;
    if numbers.len() != rows {
        return Err(disorder());
    }
    Ok(numbers)
}

/// The tables of a schema and the rows of each.
pub(super) type Tables<'s> = Vec<(&'s Table, Rows)>;
