//! `rpmdb.sqlite`: any history of one package set becomes one file.
//!
//! The canonical file is built anew by SQLite in private files, out of the old one and its
//! write-ahead log or journal: packages in canonical order numbered from 1, index rows by
//! package, schema in rpm's order, no statistics; then the header's counters are fixed and
//! [`scrub`](super::scrub) removes what SQLite's versions leave behind. The result is compared with the source,
//! row by row, before it is given out.
//!
//! Two things are done at a time wherever they do not need one another: the source is checked
//! while its packages are read, and summed up while the new database is built.
//!
//! Memory: the result and, per package, a sort key; the databases themselves stay in files.

mod build;
mod contents;
mod schema;
mod work;

use super::{EachPackage, Logical, Package, Row};
use crate::format::Malformed;
use build::build;
use contents::{bytes_of, each_blob, each_row};
use schema::Schema;

pub(super) use schema::only_utf8;
pub(super) use work::{Work, check, roots};

/// A database and the files beside it that SQLite would read with it; absent ones are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// `rpmdb.sqlite`.
    pub db: &'a [u8],
    /// `rpmdb.sqlite-wal`.
    pub wal: &'a [u8],
    /// `rpmdb.sqlite-journal`.
    pub journal: &'a [u8],
}

/// The canonical form of a database.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The file.
    pub bytes: Vec<u8>,
    /// The source with its log or journal applied, when it had one: where a writer must pass
    /// through so that no moment leaves the canonical file beside a log of the old one.
    pub recovered: Option<Vec<u8>>,
    /// Packages.
    pub packages: usize,
    /// Index rows.
    pub rows: u64,
}

/// The canonical form of `files`, with no install time later than `epoch` (seconds).
///
/// Fails with the reason on anything that is not an intact rpm database: a file that is empty,
/// truncated or damaged, tables, views or triggers that rpm does not make, index rows without
/// their package, install-time keys that are not their package's, headers that cannot be parsed.
/// Also where no private file can be written (`TMPDIR`, `/tmp`, `/var/tmp`, `/dev/shm`, `/run`).
pub fn canonical(files: &Files<'_>, epoch: u32) -> Result<Canonical, Malformed> {
    let mut work = Work::open(files)?;
    let schema = Schema::read(&work.db, "old")?;
    let old = work.old_packages(epoch)?;
    let (sums, ()) = work.beside(
        |source, name| old.sums(source, name, &schema),
        |db| build(db, &schema, &old, epoch).map_err(sql),
    )?;
    let recovered = work.recovered(files)?;
    let roots = roots(&work.db).map_err(sql)?;
    let bytes = work.finish(&roots)?;
    if work.new_sums(&schema, old.len(), epoch)? != sums {
        return Err(refused("the rewritten database would not hold the same rows"));
    }
    let rows = sums.values().map(|sum| sum.rows).sum();
    Ok(Canonical { bytes, recovered, packages: old.len(), rows })
}

/// Whether [`canonical`] understands `files`, at a third of its price. Fails as it does.
pub fn understood(files: &Files<'_>) -> Result<(), Malformed> {
    let mut work = Work::open(files)?;
    let schema = Schema::read(&work.db, "old")?;
    work.old_packages(0)?.sums(&work.db, "old", &schema).map(drop)
}

/// The whole contents of `files`, in memory. Fails as [`canonical`] does, but accepts index rows
/// without a package.
pub fn read(files: &Files<'_>) -> Result<Logical<'static>, Malformed> {
    let work = Work::open(files)?;
    let schema = Schema::read(&work.db, "old")?;
    let mut logical = Logical::default();
    each_blob(&work.db, "old", &mut |hnum, blob| {
        logical.packages.push(Package { hnum, blob: blob.to_vec().into() });
        Ok(())
    })?;
    for table in &schema.indexes {
        let rows = logical.indexes.entry(table.name.clone()).or_default();
        each_row(&work.db, "old", &table.name, &mut |hnum, idx, key| {
            let key = bytes_of(key).ok_or_else(|| refused("an index key is not text or bytes"))?;
            rows.push(Row { hnum, idx, key: key.to_vec().into() });
            Ok(())
        })?;
    }
    Ok(logical)
}

/// Calls `each` with the hnum and header blob of every package of `files`, one at a time, by
/// hnum. Fails as [`read`] does, or as `each` does.
pub fn packages(files: &Files<'_>, each: &mut EachPackage<'_>) -> Result<(), Malformed> {
    let work = Work::open(files)?;
    Schema::read(&work.db, "old")?;
    each_blob(&work.db, "old", each)
}

/// A refusal whose place in the file is not known.
pub(super) fn refused(what: impl Into<String>) -> Malformed {
    Malformed::at(0u64, what)
}

pub(super) fn sql(error: rusqlite::Error) -> Malformed {
    refused(format!("SQLite: {error}"))
}
