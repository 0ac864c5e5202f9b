//! What a database holds, read row by row, and sums of it that do not depend on any order.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::schema::Schema;
use super::{refused, sql};
use crate::format::Malformed;
use crate::format::rpmdb::header::{Header, tag};
use crate::format::rpmdb::{EachPackage, Endian, INSTALLTID_INDEX, SortKey};

/// The table of packages.
pub(super) const PACKAGES: &str = "Packages";

/// The packages of a database, as far as they must be known while its rows are read.
pub(super) struct Packages {
    pub(super) by_hnum: BTreeMap<u32, Known>,
    sum: Sum,
}

/// What is kept of a package.
pub(super) struct Known {
    pub(super) key: SortKey,
    pub(super) tid: Option<u32>,
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
    /// Reads those of database `name`; install times that `epoch` lowers do not show in the sums.
    pub(super) fn read(db: &Connection, name: &str, epoch: u32) -> Result<Self, Malformed> {
        Self::read_where(db, name, "", epoch)
    }

    /// Those that the SQL clause `which` selects.
    pub(super) fn read_where(
        db: &Connection,
        name: &str,
        which: &str,
        epoch: u32,
    ) -> Result<Self, Malformed> {
        let mut packages = Packages { by_hnum: BTreeMap::new(), sum: Sum::default() };
        each_blob_where(db, name, which, &mut |hnum, blob| {
            let header = Header::parse(blob)?;
            let key = SortKey::of_header(&header, epoch)?;
            let tid = header.get(tag::INSTALLTID).and_then(|v| v.u32());
            packages.sum.add(&key);
            packages.by_hnum.insert(hnum, Known { key, tid });
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

    /// The sum over the packages.
    pub(super) fn whole(&self) -> Sum {
        self.sum
    }

    /// Number of packages.
    pub(super) fn len(&self) -> usize {
        self.by_hnum.len()
    }

    /// The sums over the packages and the rows of every table of database `name`.
    pub(super) fn sums(
        &self,
        db: &Connection,
        name: &str,
        schema: &Schema,
    ) -> Result<Sums, Malformed> {
        let sum = |table: &str| Ok((table.to_owned(), self.sum(db, name, table)?));
        let tables = schema.indexes.iter().map(|table| sum(&table.name));
        let packages = Ok((PACKAGES.to_owned(), self.sum));
        tables.chain([packages]).collect()
    }

    /// The sum over the rows of one table.
    pub(super) fn sum(&self, db: &Connection, name: &str, table: &str) -> Result<Sum, Malformed> {
        let mut sum = Sum::default();
        each_row(db, name, table, &mut |hnum, idx, key| {
            let what = || {
                format!(
                    "index {table} has a row for hnum {hnum}, which has no package \
                     (`rpmdb --rebuilddb` makes the indexes anew)"
                )
            };
            let package = self.by_hnum.get(&hnum).ok_or_else(|| refused(what()))?;
            let class = matches!(key, ValueRef::Text(_));
            let key = bytes_of(key).ok_or_else(|| refused("an index key is not text or bytes"))?;
            if table == INSTALLTID_INDEX {
                let order = package.tid.and_then(|tid| Endian::of_key(key, tid, Endian::Little));
                if order.is_none() || class {
                    let what = format!("{table} key of hnum {hnum} is not its package's");
                    return Err(refused(what));
                }
                sum.add((package.key.content(), idx));
            } else {
                sum.add((package.key.content(), idx, class, key));
            }
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

/// Calls `each` for every package of database `name` by hnum.
pub(super) fn each_blob(
    db: &Connection,
    name: &str,
    each: &mut EachPackage<'_>,
) -> Result<(), Malformed> {
    each_blob_where(db, name, "", each)
}

fn each_blob_where(
    db: &Connection,
    name: &str,
    which: &str,
    each: &mut EachPackage<'_>,
) -> Result<(), Malformed> {
    let query = format!("SELECT hnum, blob FROM {name}.Packages {which} ORDER BY hnum");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let hnum: u32 = row.get(0).map_err(sql)?;
        let ValueRef::Blob(blob) = row.get_ref(1).map_err(sql)? else {
            return Err(refused(format!("package of hnum {hnum} is no blob")));
        };
        let context = |e: Malformed| Malformed { what: format!("hnum {hnum}: {}", e.what), ..e };
        each(hnum, blob).map_err(context)?;
    }
    Ok(())
}

/// Calls `each` for every row (hnum, idx, key) of an index table of database `name`.
pub(super) fn each_row(
    db: &Connection,
    name: &str,
    table: &str,
    each: &mut dyn FnMut(u32, u32, ValueRef<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let query = format!("SELECT hnum, idx, key FROM {name}.\"{table}\"");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (hnum, idx) = (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
        each(hnum, idx, row.get_ref(2).map_err(sql)?)?;
    }
    Ok(())
}
