//! `rpmdb.sqlite`: any history of one package set becomes one file.
//!
//! The old database and its write-ahead log or journal are read by SQLite from private copies; the
//! canonical file is written here, page by page: packages in canonical order numbered from 1,
//! index rows by package, schema in rpm's order, no statistics. Then SQLite reads what was written:
//! its indexes must be sound, and it must hold what the source holds, row by row. A file that is in
//! canonical form already is recognised without any of this, by writing it anew from what it holds.
//!
//! SQLite is no part of what the file looks like: its versions lay pages out differently and leave
//! different bytes in gaps. Two things are done at a time wherever they do not need one another.
//!
//! Memory: the result and the rows of the index tables; the databases themselves stay in files.

mod build;
mod contents;
mod pages;
mod proven;
mod record;
mod rows;
mod scan;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
mod work;

use std::io;

use super::{EachPackage, Logical, Package, Row};
use crate::format::{Failure, Malformed, Scratch};
use build::finish;
use contents::{PACKAGES, Sums, bytes_of, each_blob, each_row};
use pages::Pages;
use proven::proven;
use schema::Schema;

pub(super) use schema::only_utf8;
pub(super) use work::{Draft, Proof, Source, check, surely};

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
/// # Errors
///
/// With the reason on anything that is not an intact rpm database: a file that is empty, truncated
/// or damaged, tables, views or triggers that rpm does not make, index rows without their package,
/// install-time keys that are not their package's, headers that cannot be parsed. With the
/// system's error where no private file can be written in `scratch`.
pub fn canonical(
    files: &Files<'_>,
    epoch: u32,
    scratch: &dyn Scratch,
) -> Result<Canonical, Failure> {
    let alone = files.wal.is_empty() && files.journal.is_empty();
    match alone.then(|| proven(files.db, epoch)).flatten() {
        Some(already) => Ok(already),
        None => surely(files, scratch, || made_canonical(files, epoch, scratch)),
    }
}

fn made_canonical(
    files: &Files<'_>,
    epoch: u32,
    scratch: &dyn Scratch,
) -> Result<Canonical, Failure> {
    let mut old = Source::open(files, scratch)?;
    let schema = Schema::read(&old.db)?;
    let packages = old.packages(epoch)?.renumbered();
    let mut pages = Pages::with_capacity(files.db.len());
    let (root, tables) = old.contents(&schema, &packages, epoch, &mut pages)?;
    let recovered = old.recovered(files)?;
    drop(old);
    let sums = tables.iter().map(|(table, rows)| (table.name.clone(), rows.sum));
    let sums: Sums = sums.chain([(PACKAGES.to_owned(), packages.whole())]).collect();
    let count = packages.len();
    let bytes = finish(pages, (root, count as u32), &schema, tables)?;
    if Proof::of(&bytes, scratch)?.sums(&schema, count, epoch)? != sums {
        return Err(refused("the rewritten database would not hold the same rows").into());
    }
    let rows = sums.values().map(|sum| sum.rows).sum();
    Ok(Canonical { bytes, recovered, packages: count, rows })
}

/// Whether [`canonical`] understands `files`, at a third of its price.
///
/// # Errors
///
/// As it does.
pub fn understood(files: &Files<'_>, scratch: &dyn Scratch) -> Result<(), Failure> {
    surely(files, scratch, || {
        let mut old = Source::open(files, scratch)?;
        let schema = Schema::read(&old.db)?;
        let packages = old.packages(0)?;
        schema.indexes.iter().try_for_each(|table| packages.sum(&old.db, &table.name).map(drop))
    })
}

/// The whole contents of `files`, in memory.
///
/// # Errors
///
/// As [`canonical`] does, but accepts index rows without a package.
pub fn read(files: &Files<'_>, scratch: &dyn Scratch) -> Result<Logical<'static>, Failure> {
    surely(files, scratch, || read_whole(files, scratch))
}

fn read_whole(files: &Files<'_>, scratch: &dyn Scratch) -> Result<Logical<'static>, Failure> {
    let old = Source::open(files, scratch)?;
    let schema = Schema::read(&old.db)?;
    let mut logical = Logical::default();
    each_blob(&old.db, &mut |hnum, blob| {
        logical.packages.push(Package { hnum, blob: blob.to_vec().into() });
        Ok(())
    })?;
    for table in &schema.indexes {
        let rows = logical.indexes.entry(table.name.clone()).or_default();
        each_row(&old.db, &table.name, &mut |hnum, idx, key| {
            let key = bytes_of(key).ok_or_else(|| refused("an index key is not text or bytes"))?;
            rows.push(Row { hnum, idx, key: key.to_vec().into() });
            Ok(())
        })?;
    }
    Ok(logical)
}

/// Calls `each` with the hnum and header blob of every package of `files`, one at a time, by hnum.
///
/// # Errors
///
/// As [`read`] does, or as `each` does; of a database without a log or journal nothing but the way
/// to its packages is looked at.
pub fn packages(
    files: &Files<'_>,
    scratch: &dyn Scratch,
    each: &mut EachPackage<'_>,
) -> Result<(), Failure> {
    if files.wal.is_empty() && files.journal.is_empty() {
        return Ok(scan::packages(files.db, each)?);
    }
    let old = Source::open(files, scratch)?;
    Schema::read(&old.db)?;
    each_blob(&old.db, each)
}

/// A refusal whose place in the file is not known.
pub(super) fn refused(what: impl Into<String>) -> Malformed {
    Malformed::at(0u64, what)
}

/// What SQLite says of a database, or of the machine.
pub(super) fn sql(error: rusqlite::Error) -> Failure {
    match error.sqlite_error().is_some_and(|failure| is_of_machine(failure.extended_code)) {
        true => io::Error::other(format!("SQLite on a private file: {error}")).into(),
        false => refused(format!("SQLite: {error}")).into(),
    }
}

/// Whether a result code is about the machine, not about the bytes of a database.
fn is_of_machine(code: i32) -> bool {
    use rusqlite::ffi;
    // A database that ends too early is read too far.
    code != ffi::SQLITE_IOERR_SHORT_READ
        && [
            ffi::SQLITE_PERM,
            ffi::SQLITE_NOMEM,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_FULL,
            ffi::SQLITE_CANTOPEN,
        ]
        .contains(&(code & 0xff))
}
