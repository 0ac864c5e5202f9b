//! ndb, the rpm database of SUSE: `Packages.db` and `Index.db`.
//!
//! Two databases with the same packages differ in generations, the order of slots, blobs and keys,
//! gaps, and the page size of the host that built `Index.db`. [`canonical`] writes both afresh. The
//! two belong together: rpm trusts an `Index.db` of its own generation blindly, and only a process
//! that may write there rebuilds one that is missing or of another generation.

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
    /// `Index.db`, or `None` if there must be none: see the notes.
    pub index: Option<Vec<u8>>,
    /// What could not be kept, one lower-case phrase each.
    pub notes: Vec<String>,
}

/// Which of the two files cannot be put into normal form, and why.
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
/// Packages are numbered from 1 in canonical order, and the index is renumbered with them. An
/// index that is missing, of another generation, or that does not cover every package is not
/// made up: the result has none, and a note says so. Refuses files that it does not wholly
/// understand.
pub fn canonical(packages: &[u8], index: Option<&[u8]>, epoch: u32) -> Result<Canonical, Refused> {
    let mut old = Files::open(packages, index)?;
    let numbers = Numbers::of(&old.packages, epoch).map_err(Refused::of(PACKAGES))?;
    let after = numbers.applied();
    // The index first: its tables take more than they end as, and the packages take the most.
    // The generation is the one that `packages::write` gives.
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
        let why = Malformed::at(0, "the rewritten database does not hold what the old one held");
        return Err(Refused { file: PACKAGES, why });
    }
    Ok(Canonical { packages, index, notes: old.no_index.into_iter().collect() })
}

/// Writes a table as the packages' new numbers want it; the digest of what it held.
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

/// A `Packages.db` and what is to be trusted of the `Index.db` beside it, whose tables are read
/// when they are needed.
struct Files<'a> {
    packages: Vec<Package<'a>>,
    tables: BTreeMap<u32, Table<'a>>,
    /// Why there are no tables, if there are none.
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

/// What the files of a database hold.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// Packages and index rows.
    pub logical: Logical<'a>,
    /// The names in [`Logical::indexes`] by tag number.
    pub tables: BTreeMap<u32, String>,
    /// Why `Index.db` is not part of it, if it is not.
    pub no_index: Option<String>,
}

/// Reads a `Packages.db` and the `Index.db` beside it.
///
/// The index is left out if it is missing, of another generation, or lacks a package.
///
/// # Errors
///
/// On files that cannot be parsed, as [`packages::read`] and [`index::read`] do, headers included.
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

/// Why rpm would not trust an index, as [`read`] says it, judged from the slot pages alone: `head`
/// is the beginning of `Packages.db`, at least those. `None` if it would, or if a file cannot be
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
        "{INDEX} {why} and is left out: until rpm runs as root on it, users without write access \
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
