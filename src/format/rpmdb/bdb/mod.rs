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

use super::{Logical, Package, Row};
use crate::format::Malformed;
use crate::format::rpmdb::bytes::Order;

pub use page::{Access, Record, Shape, recognise};
use page::{File, Out};

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
    let Contents { mut logical, shapes } = read(files)?;
    let before = logical.digest().map_err(&refused)?;
    logical.canonicalise(epoch).map_err(&refused)?;
    let mut out = BTreeMap::new();
    for (name, shape) in &shapes {
        let records = match name.as_str() {
            PACKAGES => package_records(&logical.packages, shape.order),
            _ => index_records(logical.indexes.get(name).map_or(&[], Vec::as_slice), shape.order),
        };
        let bytes = write(*shape, &records, &file_id(name, epoch)).map_err(Refused::of(name))?;
        out.insert(name.clone(), bytes);
    }
    // What follows holds as much again.
    drop(logical);
    let again = out.iter().map(|(name, bytes)| (name.clone(), &bytes[..])).collect();
    if read(&again)?.logical.digest().map_err(&refused)? != before {
        let what = "the rewritten database does not hold what the old one held";
        return Err(refused(Malformed::at(0, what)));
    }
    Ok(out)
}

/// Reads the files of a database by name: [`PACKAGES`], and every other as an index.
///
/// Fails on a file that is not a hash or btree file of version 9 in either byte order, is
/// damaged, uses what rpm does not, or has records of another form than rpm's.
pub fn read<'a>(files: &BTreeMap<String, &'a [u8]>) -> Result<Contents<'a>, Refused> {
    let mut contents = Contents { logical: Logical::default(), shapes: BTreeMap::new() };
    for (name, bytes) in files {
        let refused = Refused::of(name);
        let (shape, records) = records(bytes).map_err(&refused)?;
        if name == PACKAGES {
            contents.logical.packages = packages(records, shape.order).map_err(&refused)?;
        } else {
            let rows = rows(&records, shape.order).map_err(&refused)?;
            contents.logical.indexes.insert(name.clone(), rows);
        }
        contents.shapes.insert(name.clone(), shape);
    }
    Ok(contents)
}

/// The records of one file. Fails as [`read`] does.
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
/// Values that need pages of their own are laid out in the order of `records`. `uid` identifies
/// the file in an environment's cache. Keys must differ. Fails on hash keys longer than a quarter
/// page, and on files that 32 bits cannot number the pages of.
pub fn write(shape: Shape, records: &[Record<'_>], uid: &[u8; 20]) -> Result<Vec<u8>, Malformed> {
    let mut out = Out::new(shape);
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

/// The packages among the records of [`PACKAGES`]: all but number 0.
fn packages<'a>(records: Vec<Record<'a>>, order: Order) -> Result<Vec<Package<'a>>, Malformed> {
    let mut packages = Vec::with_capacity(records.len());
    for (key, blob) in records {
        if key.len() != 4 {
            let what = format!("package number of {} bytes", key.len());
            return Err(Malformed::at(0, what));
        }
        match order.u32(&key, 0)? {
            0 if blob.len() == 4 => {}
            0 => return Err(Malformed::at(0, "record 0 is not the last package number")),
            hnum => packages.push(Package { hnum, blob }),
        }
    }
    Ok(packages)
}

/// The rows of an index.
fn rows<'a>(records: &[Record<'a>], order: Order) -> Result<Vec<Row<'a>>, Malformed> {
    let mut rows = Vec::new();
    for (key, value) in records {
        if !value.len().is_multiple_of(8) {
            let what = format!("index value of {} bytes, not pairs of numbers", value.len());
            return Err(Malformed::at(0, what));
        }
        for pair in value.chunks_exact(8) {
            let (hnum, idx) = (order.u32(pair, 0)?, order.u32(pair, 4)?);
            rows.push(Row { hnum, idx, key: key.clone() });
        }
    }
    Ok(rows)
}

/// The records of [`PACKAGES`]. An empty database has none, as rpm leaves a new one.
fn package_records<'a>(packages: &'a [Package<'_>], order: Order) -> Vec<Record<'a>> {
    let number = |hnum: u32| Cow::Owned(order.put32(hnum).to_vec());
    let last = packages.last().map(|package| (number(0), number(package.hnum)));
    let blobs = packages.iter().map(|p| (number(p.hnum), Cow::Borrowed(&*p.blob)));
    last.into_iter().chain(blobs).collect()
}

/// The records of an index, by key, each with its rows in order.
fn index_records<'a>(rows: &'a [Row<'_>], order: Order) -> Vec<Record<'a>> {
    let mut rows: Vec<_> = rows.iter().map(|row| (&*row.key, row.hnum, row.idx)).collect();
    rows.sort_unstable();
    let same_key = rows.chunk_by(|a, b| a.0 == b.0);
    let record = |rows: &[(&'a [u8], u32, u32)]| {
        let numbers = rows.iter().flat_map(|row| [row.1, row.2]);
        let value = numbers.flat_map(|number| order.put32(number)).collect();
        (Cow::Borrowed(rows[0].0), Cow::Owned(value))
    };
    same_key.map(record).collect()
}
