//! ndb, the rpm database of SUSE: `Packages.db` and `Index.db`.
//!
//! Two databases with the same packages differ in generations, the order of slots, blobs and keys,
//! gaps, and the page size of the host that built `Index.db`. [`canonical`] rewrites both. The two
//! belong together: rpm blindly trusts an `Index.db` of the same generation, and only a process
//! with write access rebuilds a missing one or one of another generation.

pub mod index;
pub mod packages;

use std::collections::{BTreeMap, BTreeSet};

use super::header::{self, Header, tag};
use super::{Logical, Numbers, Package, Row};
use crate::format::Malformed;
use index::{Index, Table};

/// The normal form of an ndb database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// `Packages.db`.
    pub packages: Vec<u8>,
    /// `Index.db`, or `None` if it must not exist: see the notes.
    pub index: Option<Vec<u8>>,
    /// Notes on what could not be kept, one lower-case phrase each.
    pub notes: Vec<String>,
}

/// The file that cannot be put into normal form, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct Refused {
    /// `Packages.db` or `Index.db`.
    pub file: &'static str,
    /// Where and what.
    pub why: Malformed,
}

impl Refused {
    fn of(file: &'static str) -> impl Fn(Malformed) -> Refused {
        move |why| Refused { file, why }
    }
}

const PACKAGES: &str = "Packages.db";
const INDEX: &str = "Index.db";

/// The normal form of a `Packages.db` and the `Index.db` beside it, times clamped to `epoch`
/// (seconds since 1970).
///
/// Packages are numbered from 1 in canonical order, and the index is renumbered with them. An index
/// that is missing, of another generation, or does not cover every package is not created: the
/// result has none, and a note says so. Files that are not fully understood are refused.
pub fn canonical(packages: &[u8], index: Option<&[u8]>, epoch: u32) -> Result<Canonical, Refused> {
    let mut old = Files::open(packages, index)?;
    let numbers = Numbers::of(&old.packages, epoch).map_err(Refused::of(PACKAGES))?;
    let after = numbers.applied();
    // The index comes first: its tables take more memory than the result, and the packages take the
    // most. The generation is the one from `packages::write`.
    let mut writer = index::Writer::new(old.packages.len() as u32 + 1, old.tables.len());
    let mut sums = Vec::new();
    for (&tag, table) in &old.tables {
        sums.push(write_table(&mut writer, tag, table, &numbers).map_err(Refused::of(INDEX))?);
    }
    let index = old.no_index.is_none().then(|| writer.finish());
    numbers.apply(&mut old.packages);
    let blobs: Vec<_> = old.packages.drain(..).map(|package| package.blob).collect();
    let packages = packages::write(&blobs).map_err(Refused::of(PACKAGES))?;
    drop(blobs);
    let new = Files::open(&packages, index.as_deref())?;
    let same = Numbers::of(&new.packages, epoch).map_err(Refused::of(PACKAGES))? == after;
    if !same || sums_of(&new.tables, &after).map_err(Refused::of(INDEX))? != sums {
        let why = Malformed::at(
            0,
            "the rewritten database does not have the same content as the old one",
        );
        return Err(Refused { file: PACKAGES, why });
    }
    Ok(Canonical { packages, index, notes: old.no_index.into_iter().collect() })
}

/// Writes a table with the packages' new numbers; returns the digest of its content.
fn write_table(
    writer: &mut index::Writer,
    tag: u32,
    table: &Table<'_>,
    numbers: &Numbers,
) -> Result<[u8; 32], Malformed> {
    let (mut rows, name) = (table.rows()?, table_name(tag));
    let sum = numbers.digest_of_rows(&name, &rows)?;
    numbers.apply_to_rows(&name, &mut rows)?;
    writer.push(tag, &rows)?;
    Ok(sum)
}

/// The digest of each table.
fn sums_of(
    tables: &BTreeMap<u32, Table<'_>>,
    numbers: &Numbers,
) -> Result<Vec<[u8; 32]>, Malformed> {
    let sum = |(&tag, table): (&u32, &Table<'_>)| {
        numbers.digest_of_rows(&table_name(tag), &table.rows()?)
    };
    tables.iter().map(sum).collect()
}

/// A `Packages.db` and the `Index.db` beside it as far as it is valid, whose tables are read when
/// needed.
struct Files<'a> {
    packages: Vec<Package<'a>>,
    tables: BTreeMap<u32, Table<'a>>,
    /// Why there are no tables, if so.
    no_index: Option<String>,
}

impl<'a> Files<'a> {
    fn open(packages: &'a [u8], index: Option<&'a [u8]>) -> Result<Self, Refused> {
        let file = packages::read(packages).map_err(Refused::of(PACKAGES))?;
        let blobs = file.blobs.into_iter();
        let packages = blobs.map(|(hnum, blob)| Package { hnum, blob: blob.into() }).collect();
        let mut files = Files { packages, tables: BTreeMap::new(), no_index: None };
        let Some(index) = index else {
            files.no_index = Some(without_index("is missing"));
            return Ok(files);
        };
        let index = index::read(index).map_err(Refused::of(INDEX))?;
        if index.usergeneration != file.generation {
            files.no_index = Some(stale(index.usergeneration, file.generation));
        } else if !covers(&index, &files.packages)? {
            files.no_index = Some(without_index(LACKS));
        } else {
            files.tables = index.tables;
        }
        Ok(files)
    }
}

/// The contents of the files of a database.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// Packages and index rows.
    pub logical: Logical<'a>,
    /// The names in [`Logical::indexes`] by tag number.
    pub tables: BTreeMap<u32, String>,
    /// Why `Index.db` is not part of it, if so.
    pub no_index: Option<String>,
}

/// Reads a `Packages.db` and the `Index.db` beside it.
///
/// The index is omitted if it is missing, of another generation, or lacks a package.
///
/// # Errors
///
/// Those of [`packages::read`] and [`index::read`], and if a header cannot be parsed.
pub fn read<'a>(packages: &'a [u8], index: Option<&'a [u8]>) -> Result<Contents<'a>, Refused> {
    let Files { packages, tables, no_index } = Files::open(packages, index)?;
    let logical = Logical { packages, ..Logical::default() };
    let mut contents = Contents { logical, tables: BTreeMap::new(), no_index };
    for (tag, table) in tables {
        let (name, rows) = (table_name(tag), table.rows().map_err(Refused::of(INDEX))?);
        contents.tables.insert(tag, name.clone());
        contents.logical.indexes.insert(name, rows);
    }
    Ok(contents)
}

/// Why rpm would not trust an index, as in [`read`], judged by the slot pages alone: `head` is the
/// beginning of `Packages.db` with at least these. `None` if it would, or if a file cannot be
/// parsed.
pub fn index_trouble(head: &[u8], index: Option<&[u8]>) -> Option<String> {
    let Some(index) = index else { return Some(without_index("is missing")) };
    let (generation, packages) = packages::slots(head).ok()?;
    let index = index::read(index).ok()?;
    if index.usergeneration != generation {
        return Some(stale(index.usergeneration, generation));
    }
    let named: BTreeSet<u32> = names(&index).ok()?.iter().map(|row| row.hnum).collect();
    (!packages.is_subset(&named)).then(|| without_index(LACKS))
}

const LACKS: &str = "does not list every package";

fn stale(is: u32, wants: u32) -> String {
    without_index(&format!("is stale (of generation {is}, not {wants})"))
}

/// The rows of the index of names.
fn names<'a>(index: &Index<'a>) -> Result<Vec<Row<'a>>, Malformed> {
    index.tables.get(&tag::NAME).map_or(Ok(Vec::new()), Table::rows)
}

/// Whether the index of names lists every package.
fn covers(index: &Index<'_>, packages: &[Package<'_>]) -> Result<bool, Refused> {
    let rows = names(index).map_err(Refused::of(INDEX))?;
    let names: BTreeMap<u32, &[u8]> = rows.iter().map(|row| (row.hnum, &*row.key)).collect();
    for package in packages {
        let blob = package.blob.whole();
        let header = Header::parse(&blob).map_err(Refused::of(PACKAGES))?;
        if names.get(&package.hnum) != Some(&header.string(tag::NAME)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of a tag's table: `Basenames` for BASENAMES, as the other backends call it.
fn table_name(number: u32) -> String {
    let Some(name) = header::tag_name(number) else { return format!("Tag{number}") };
    let (first, rest) = name.split_at(1);
    format!("{first}{}", rest.to_lowercase())
}

fn without_index(why: &str) -> String {
    format!(
        "{INDEX} {why} and is omitted: until rpm runs as root on it, users without write access \
         cannot query; run `rpm -q rpm` in the tree before, so that the index is made and kept"
    )
}

#[cfg(test)]
mod tests {
    use super::super::INSTALLTID_INDEX;
    use super::*;

    #[test]
    fn tables_are_named_as_in_the_other_backends() {
        let names = [1000, 1117, 1128, 261, 269, 5067, 99_999].map(table_name);
        let known = ["Name", "Basenames", INSTALLTID_INDEX, "Sigmd5", "Sha1header"];
        assert_eq!(names[..5], known);
        assert_eq!(names[6], "Tag99999");
    }
}
