//! Berkeley DB, the rpm database of EL 5 to 8 and SLES up to 12: `Packages` and a file an index.
//!
//! Two databases with the same packages differ in hnum and times as everywhere, and in how the
//! records came to lie on pages: splits, free pages, garbage between items and a file id that
//! holds inode, device and time. So [`canonical`] writes every file afresh, from its records
//! alone, in the byte order, page size and access method that it had.
//!
//! `Packages` maps hnum to header blob, and 0 to the last hnum given. An index maps a key to an
//! array of (hnum, index in the tag) pairs. All these numbers are in the byte order of the file.

mod btree;
mod hash;
mod page;

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Logical, Numbers, Package, Row};
use crate::format::Malformed;
use crate::format::bytes::Order;

pub use page::{Access, Record, Shape, recognise};
use page::{File, NewFile};

/// The name of the file with the headers.
pub const PACKAGES: &str = "Packages";

/// A file that cannot be put into normal form, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {why}")]
pub struct Refused {
    /// The name of the file.
    pub file: String,
    /// Where and what.
    pub why: Malformed,
}

impl Refused {
    fn of(file: &str) -> impl Fn(Malformed) -> Refused {
        move |why| Refused { file: file.to_owned(), why }
    }
}

/// What the files of a database hold.
#[derive(Clone, Debug)]
pub struct Contents<'a> {
    /// Packages and index rows; tables are named as their files.
    pub logical: Logical<'a>,
    /// How each file is built.
    pub shapes: BTreeMap<String, Shape>,
}

/// The normal form of every file of a database, by name: times clamped to `epoch` (seconds since
/// 1970), packages numbered from 1 in canonical order, indexes renumbered with them.
///
/// Which files there are stays as it is: indexes that are missing are not made up. Refuses files
/// that [`read`] refuses, and indexes that contradict `Packages`.
pub fn canonical(
    files: &BTreeMap<String, &[u8]>,
    epoch: u32,
) -> Result<BTreeMap<String, Vec<u8>>, Refused> {
    let refused = Refused::of(PACKAGES);
    let main = files.get(PACKAGES).copied().unwrap_or_default();
    let (shape, mut packages) = read_packages(main).map_err(&refused)?;
    let numbers = Numbers::of(&packages, epoch).map_err(&refused)?;
    let after = numbers.applied();
    // The indexes first: they take more than they end as, and the packages take the most.
    let mut new = BTreeMap::new();
    for (name, bytes) in files.iter().filter(|(name, _)| *name != PACKAGES) {
        let index = index(name, bytes, [&numbers, &after]).map_err(Refused::of(name))?;
        new.insert(name.clone(), index);
    }
    numbers.apply(&mut packages);
    let records = package_records(packages, shape.order);
    let main = write(shape, &records, &file_id(PACKAGES, epoch)).map_err(&refused)?;
    drop(records);
    let again = read_packages(&main).and_then(|(_, again)| Numbers::of(&again, epoch));
    if again.map_err(&refused)? != after {
        return Err(refused(other_contents()));
    }
    new.insert(PACKAGES.to_owned(), main);
    Ok(new)
}

/// The normal form of one index; `numbers` are those of the packages as they are, and as they will
/// be written.
fn index(name: &str, bytes: &[u8], numbers: [&Numbers; 2]) -> Result<Vec<u8>, Malformed> {
    let [before, after] = numbers;
    let (shape, mut rows) = read_index(bytes)?;
    let sum = before.digest_of_rows(name, &rows)?;
    before.apply_to_rows(name, &mut rows)?;
    let records = index_records(&rows, shape.order);
    let new = write(shape, &records, &file_id(name, before.epoch()))?;
    drop(records);
    drop(rows);
    let (_, again) = read_index(&new)?;
    match after.digest_of_rows(name, &again)? == sum {
        true => Ok(new),
        false => Err(other_contents()),
    }
}

fn other_contents() -> Malformed {
    Malformed::at(0, "the rewritten file does not hold what the old one held")
}

/// Reads the files of a database by name: [`PACKAGES`], and every other as an index.
///
/// # Errors
///
/// On a file that is not a hash or btree file of version 9 in either byte order, is damaged, uses
/// what rpm does not, or has records of another form than rpm's.
pub fn read<'a>(files: &BTreeMap<String, &'a [u8]>) -> Result<Contents<'a>, Refused> {
    let mut contents = Contents { logical: Logical::default(), shapes: BTreeMap::new() };
    for (name, bytes) in files {
        let refused = Refused::of(name);
        let shape = if name == PACKAGES {
            let (shape, packages) = read_packages(bytes).map_err(refused)?;
            contents.logical.packages = packages;
            shape
        } else {
            let (shape, rows) = read_index(bytes).map_err(refused)?;
            contents.logical.indexes.insert(name.clone(), rows);
            shape
        };
        contents.shapes.insert(name.clone(), shape);
    }
    Ok(contents)
}

/// The records of one file.
///
/// # Errors
///
/// As [`read`] does.
pub fn records(bytes: &[u8]) -> Result<(Shape, Vec<Record<'_>>), Malformed> {
    let file = File::open(bytes)?;
    let records = match file.shape.access {
        Access::Hash => hash::read(&file)?,
        Access::Btree => btree::read(&file)?,
    };
    Ok((file.shape, records))
}

/// A file of `shape` with these records, in the normal form: a function of its arguments alone.
///
/// Values that need pages of their own are laid out in the order of `records`. `uid` identifies the
/// file in an environment's cache. Keys must differ.
///
/// # Errors
///
/// On hash keys longer than a quarter page, and on files that 32 bits cannot number the pages of.
pub fn write(shape: Shape, records: &[Record<'_>], uid: &[u8; 20]) -> Result<Vec<u8>, Malformed> {
    let mut out = NewFile::new(shape);
    // Not touched before it is used; growing by doubling would copy whole databases.
    let content: usize = records.iter().map(|(key, value)| key.len() + value.len()).sum();
    out.bytes.reserve_exact(content + content / 4 + 64 * shape.page_size);
    match shape.access {
        Access::Hash => hash::write(&mut out, records)?,
        Access::Btree => btree::write(&mut out, records)?,
    }
    out.finish(uid);
    Ok(out.bytes)
}

/// The id of a file: rpm needs it to differ between the files of one database.
fn file_id(name: &str, epoch: u32) -> [u8; 20] {
    let hash = Sha256::new().chain_update(epoch.to_be_bytes()).chain_update(name).finalize();
    let mut id = [0; 20];
    id.copy_from_slice(&hash[..20]);
    id
}

/// The packages that [`PACKAGES`] holds: all records but number 0.
fn read_packages(bytes: &[u8]) -> Result<(Shape, Vec<Package<'_>>), Malformed> {
    let (shape, records) = records(bytes)?;
    let mut packages = Vec::with_capacity(records.len());
    for (key, blob) in records {
        if key.len() != 4 {
            let what = format!("package number of {} bytes", key.len());
            return Err(Malformed::at(0, what));
        }
        match shape.order.u32(&key, 0)? {
            0 if blob.len() == 4 => {}
            0 => return Err(Malformed::at(0, "record 0 is not the last package number")),
            hnum => packages.push(Package { hnum, blob }),
        }
    }
    Ok((shape, packages))
}

/// The rows that an index holds.
fn read_index(bytes: &[u8]) -> Result<(Shape, Vec<Row<'_>>), Malformed> {
    let (shape, records) = records(bytes)?;
    let mut rows = Vec::new();
    for (key, value) in records {
        let value = value.whole();
        if !value.len().is_multiple_of(8) {
            let what = format!("index value of {} bytes, not pairs of numbers", value.len());
            return Err(Malformed::at(0, what));
        }
        for pair in value.chunks_exact(8) {
            let (hnum, idx) = (shape.order.u32(pair, 0)?, shape.order.u32(pair, 4)?);
            rows.push(Row { hnum, idx, key: key.clone() });
        }
    }
    Ok((shape, rows))
}

/// The records of [`PACKAGES`]. An empty database has none, as rpm leaves a new one.
fn package_records(packages: Vec<Package<'_>>, order: Order) -> Vec<Record<'_>> {
    let number = |hnum: u32| Cow::Owned(order.put32(hnum).to_vec());
    let last = packages.last().map(|package| package.hnum);
    let last = last.map(|hnum| (number(0), order.put32(hnum).to_vec().into()));
    last.into_iter().chain(packages.into_iter().map(|p| (number(p.hnum), p.blob))).collect()
}

/// The records of an index, by key, each with its rows in order.
fn index_records<'a>(rows: &'a [Row<'_>], order: Order) -> Vec<Record<'a>> {
    let mut rows: Vec<_> = rows.iter().map(|row| (&*row.key, row.hnum, row.idx)).collect();
    rows.sort_unstable();
    let same_key = rows.chunk_by(|a, b| a.0 == b.0);
    let record = |rows: &[(&'a [u8], u32, u32)]| {
        let numbers = rows.iter().flat_map(|row| [row.1, row.2]);
        let value: Vec<u8> = numbers.flat_map(|number| order.put32(number)).collect();
        (Cow::Borrowed(rows[0].0), value.into())
    };
    same_key.map(record).collect()
}
