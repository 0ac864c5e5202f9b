//! What a database holds, read row by row, and sums of it that do not depend on any order.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{refused, sql};
use crate::format::bytes::Order;
use crate::format::rpmdb::header::{Header, tag};
use crate::format::rpmdb::{EachPackage, INSTALLTID_INDEX, SortKey, key_order, renumber};
use crate::format::{Failure, Malformed};

/// The table of packages.
pub(super) const PACKAGES: &str = "Packages";

/// The packages of a database, as far as they must be known while its rows are read.
pub(super) struct Packages {
    by_hnum: BTreeMap<u32, PackageNumber>,
    sum: Sum,
}

/// What is kept of a package.
struct PackageNumber {
    key: SortKey,
    tid: Option<u32>,
    /// The new number, once there is one.
    number: u32,
}

/// What must be the same before and after, by table.
pub(super) type Sums = BTreeMap<String, Sum>;

/// A sum over the rows of a table that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    sum: u64,
    xor: u64,
}

impl Sum {
    fn add(&mut self, row: impl Hash) {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        let hash = hasher.finish();
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
        self.xor ^= hash.rotate_left((hash & 63) as u32);
    }

    fn merge(&mut self, other: Sum) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
        self.xor ^= other.xor;
    }
}

impl Packages {
    /// Reads them; install times that `epoch` lowers do not show in the sums.
    pub(super) fn read(db: &Connection, epoch: u32) -> Result<Self, Failure> {
        Self::read_where(db, "", epoch)
    }

    /// Those that the SQL clause `which` selects.
    pub(super) fn read_where(db: &Connection, which: &str, epoch: u32) -> Result<Self, Failure> {
        let mut packages = Packages { by_hnum: BTreeMap::new(), sum: Sum::default() };
        each_blob_where(db, which, &mut |hnum, blob| {
            let header = Header::parse(blob)?;
            let key = SortKey::of_header(&header, epoch)?;
            let tid = header.get(tag::INSTALLTID).and_then(|v| v.u32());
            packages.sum.add(&key);
            packages.by_hnum.insert(hnum, PackageNumber { key, tid, number: 0 });
            Ok(())
        })?;
        Ok(packages)
    }

    /// These and others of the same database.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.by_hnum.extend(others.by_hnum);
        self.sum.merge(others.sum);
        self
    }

    /// The new number of a package, by its old one: from 1 in canonical order; 0 without it.
    pub(super) fn number(&self, hnum: u32) -> u32 {
        self.by_hnum.get(&hnum).map_or(0, |known| known.number)
    }

    /// Its INSTALLTID in seconds, 0 without one.
    pub(super) fn tid(&self, hnum: u32) -> u32 {
        self.by_hnum.get(&hnum).and_then(|known| known.tid).unwrap_or(0)
    }

    /// Old numbers in the order of the new ones.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut order: Vec<_> = self.by_hnum.iter().map(|(&old, k)| (k.number, old)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, old)| old).collect()
    }

    /// Numbers them.
    pub(super) fn renumbered(mut self) -> Self {
        let keys = self.by_hnum.iter().map(|(&hnum, known)| (hnum, &known.key)).collect();
        for (old, new) in renumber(keys) {
            self.by_hnum.entry(old).and_modify(|known| known.number = new);
        }
        self
    }

    /// The sum over the packages.
    pub(super) fn whole(&self) -> Sum {
        self.sum
    }

    /// Number of packages.
    pub(super) fn len(&self) -> usize {
        self.by_hnum.len()
    }

    /// The sum over the rows of one table.
    pub(super) fn sum(&self, db: &Connection, table: &str) -> Result<Sum, Failure> {
        self.sum_and(db, table, &mut |_, _, _| {})
    }

    /// The same; `then` is called with every row (hnum, idx, key) that is sound.
    pub(super) fn sum_and(
        &self,
        db: &Connection,
        table: &str,
        then: &mut dyn FnMut(u32, u32, ValueRef<'_>),
    ) -> Result<Sum, Failure> {
        let mut sum = Sum::default();
        each_row(db, table, &mut |hnum, idx, value| {
            let what = || {
                format!(
                    "index {table} has a row for hnum {hnum}, which has no package \
                     (`rpmdb --rebuilddb` makes the indexes anew)"
                )
            };
            let package = self.by_hnum.get(&hnum).ok_or_else(|| refused(what()))?;
            let class = matches!(value, ValueRef::Text(_));
            let key =
                bytes_of(value).ok_or_else(|| refused("an index key is not text or bytes"))?;
            if table == INSTALLTID_INDEX {
                let order = package.tid.and_then(|tid| key_order(key, tid, Order::Little));
                if order.is_none() || class {
                    let what = format!("{table} key of hnum {hnum} is not its package's");
                    return Err(refused(what).into());
                }
                sum.add((package.key.content(), idx));
            } else {
                sum.add((package.key.content(), idx, class, key));
            }
            then(hnum, idx, value);
            Ok(())
        })?;
        Ok(sum)
    }
}

/// The bytes of a TEXT or BLOB value.
pub(super) fn bytes_of(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    }
}

/// Calls `each` for every package by hnum.
pub(super) fn each_blob(db: &Connection, each: &mut EachPackage<'_>) -> Result<(), Failure> {
    each_blob_where(db, "", each)
}

fn each_blob_where(
    db: &Connection,
    which: &str,
    each: &mut EachPackage<'_>,
) -> Result<(), Failure> {
    let query = format!("SELECT hnum, blob FROM Packages {which} ORDER BY hnum");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let hnum: u32 = row.get(0).map_err(sql)?;
        let ValueRef::Blob(blob) = row.get_ref(1).map_err(sql)? else {
            return Err(no_blob(hnum).into());
        };
        each(hnum, blob).map_err(|e| in_package(hnum, e))?;
    }
    Ok(())
}

/// The error of a package that is stored as something else than bytes.
pub(super) fn no_blob(hnum: u32) -> Malformed {
    refused(format!("package of hnum {hnum} is no blob"))
}

/// What is wrong, with the package that it is in.
pub(super) fn in_package(hnum: u32, e: Malformed) -> Malformed {
    Malformed { what: format!("hnum {hnum}: {}", e.what), ..e }
}

/// Calls `each` for every row (hnum, idx, key) of an index table.
pub(super) fn each_row(
    db: &Connection,
    table: &str,
    each: &mut dyn FnMut(u32, u32, ValueRef<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let query = format!("SELECT hnum, idx, key FROM \"{table}\"");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (hnum, idx) = (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
        each(hnum, idx, row.get_ref(2).map_err(sql)?)?;
    }
    Ok(())
}
