//! ndb, the rpm database of SUSE: `Packages.db` and `Index.db`.
//!
//! Two databases with the same packages differ in generations, the order of slots, blobs and keys,
//! gaps, and the page size of the host that built `Index.db`. [`canonical`] writes both afresh. The
//! two belong together: rpm trusts an `Index.db` of its own generation blindly, and only a process
//! that may write there rebuilds one that is missing or of another generation.

pub mod index;
pub mod packages;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::header::{self, Header, tag};
use super::{Logical, Package};
use crate::format::Malformed;
use index::Index;

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
    let old = read(packages, index)?;
    let before = old.logical.digest().map_err(Refused::of(PACKAGES))?;
    let mut db = old.logical;
    db.renumber(epoch).map_err(Refused::of(INDEX))?;
    let blobs: Vec<&[u8]> = db.packages.iter().map(|package| &*package.blob).collect();
    let clamp = |blob: &mut [u8]| header::clamp_times(blob, epoch).map(drop);
    let packages = packages::write_with(&blobs, &clamp).map_err(Refused::of(PACKAGES))?;
    let index = match old.no_index {
        Some(_) => None,
        None => Some(write_index(&mut db, &old.tables).map_err(Refused::of(INDEX))?),
    };
    let after = read(&packages, index.as_deref())?;
    if after.logical.digest().map_err(Refused::of(PACKAGES))? != before {
        let why = Malformed::at(0, "the rewritten database does not hold what the old one held");
        return Err(Refused { file: PACKAGES, why });
    }
    Ok(Canonical { packages, index, notes: old.no_index.into_iter().collect() })
}

fn write_index(db: &mut Logical<'_>, names: &BTreeMap<u32, String>) -> Result<Vec<u8>, Malformed> {
    // One more than the last package: the generation that `packages::write` gives.
    let usergeneration = db.packages.len() as u32 + 1;
    let table = |(&tag, name)| Some((tag, db.indexes.remove(name)?));
    let tables = names.iter().filter_map(table).collect();
    index::write(&Index { usergeneration, tables })
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
/// The index is left out if it is missing, of another generation, or lacks a package. Fails on
/// files that cannot be parsed, as [`packages::read`] and [`index::read`] do, headers included.
pub fn read<'a>(packages: &'a [u8], index: Option<&'a [u8]>) -> Result<Contents<'a>, Refused> {
    let file = packages::read(packages).map_err(Refused::of(PACKAGES))?;
    let blobs = file.blobs.iter();
    let packages = blobs.map(|(&hnum, &blob)| Package { hnum, blob: Cow::Borrowed(blob) });
    let logical = Logical { packages: packages.collect(), ..Logical::default() };
    let mut contents = Contents { logical, tables: BTreeMap::new(), no_index: None };
    let Some(index) = index else {
        contents.no_index = Some(without_index("is missing"));
        return Ok(contents);
    };
    let index = index::read(index).map_err(Refused::of(INDEX))?;
    let covered = covers(&index, &contents.logical).map_err(Refused::of(PACKAGES))?;
    if index.usergeneration != file.generation {
        contents.no_index = Some(stale(index.usergeneration, file.generation));
    } else if !covered {
        contents.no_index = Some(without_index(LACKS));
    } else {
        contents.tables = index.tables.keys().map(|&tag| (tag, table_name(tag))).collect();
        let named = |(tag, rows)| (table_name(tag), rows);
        contents.logical.indexes = index.tables.into_iter().map(named).collect();
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
    let rows = index.tables.get(&tag::NAME).map_or(&[][..], Vec::as_slice);
    let named: BTreeSet<u32> = rows.iter().map(|row| row.hnum).collect();
    (!packages.is_subset(&named)).then(|| without_index(LACKS))
}

const LACKS: &str = "does not list every package";

fn stale(is: u32, wants: u32) -> String {
    without_index(&format!("is stale (of generation {is}, not {wants})"))
}

/// Whether the index of names lists every package.
fn covers(index: &Index<'_>, db: &Logical<'_>) -> Result<bool, Malformed> {
    let rows = index.tables.get(&tag::NAME).map_or(&[][..], Vec::as_slice);
    let names: BTreeMap<u32, &[u8]> = rows.iter().map(|row| (row.hnum, &*row.key)).collect();
    for package in &db.packages {
        let header = Header::parse(&package.blob)?;
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
