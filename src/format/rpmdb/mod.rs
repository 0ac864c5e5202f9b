//! rpm databases: the contents, independent of the backend.
//!
//! A database is a set of packages, each a [`header`] blob under a number (the *hnum*, assigned in
//! order of installation), and index tables whose rows point from a key to a place in a package.
//! The canonical order of packages, the numbers that follow from it and the equality of two
//! databases "except for install times and hnum" are defined here once, for all backends.

pub mod bdb;
pub mod blob;
pub mod diff;
pub mod dump;
pub mod header;
pub mod history;
pub mod ndb;
pub(crate) mod scrub;
pub mod sqlite;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::format::Malformed;
use crate::format::bytes::Order;
use blob::Blob;
use header::{Header, tag};

/// The index whose keys are install times: INSTALLTID as four bytes in the byte order of the
/// writing host.
pub const INSTALLTID_INDEX: &str = "Installtid";

/// A callback with the hnum and the header blob of each package of a database.
pub type EachPackage<'f> = dyn FnMut(u32, &[u8]) -> Result<(), Malformed> + 'f;

/// The contents of a database of any backend.
#[derive(Clone, Debug, Default)]
pub struct Logical<'a> {
    /// The packages, in any order.
    pub packages: Vec<Package<'a>>,
    /// The rows of each index table, by the table's name, in any order.
    pub indexes: BTreeMap<String, Vec<Row<'a>>>,
}

/// One package: its number and its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package<'a> {
    /// The number by which index rows refer to it.
    pub hnum: u32,
    /// The header blob.
    pub blob: Blob<'a>,
}

/// One row of an index table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row<'a> {
    /// The package with the key.
    pub hnum: u32,
    /// The index of the key among the elements of the tag.
    pub idx: u32,
    /// The key, as stored.
    pub key: Cow<'a, [u8]>,
}

/// The sort key of the canonical order of packages, equal only for identical packages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey {
    identity: Identity,
    content: [u8; 32],
    times: Vec<u32>,
}

/// The part of a [`SortKey`] that distinguishes nearly all packages without hashing them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Identity {
    name: Vec<u8>,
    epoch: i64,
    version: Vec<u8>,
    release: Vec<u8>,
    arch: Vec<u8>,
    sha256: Vec<u8>,
    sha1: Vec<u8>,
    sigmd5: Vec<u8>,
}

impl Identity {
    fn of(header: &Header<'_>) -> Self {
        let text = |tag| header.string(tag).to_vec();
        Identity {
            name: text(tag::NAME),
            epoch: header.get(tag::EPOCH).and_then(|v| v.u32()).map_or(-1, i64::from),
            version: text(tag::VERSION),
            release: text(tag::RELEASE),
            arch: text(tag::ARCH),
            sha256: text(tag::SHA256HEADER),
            sha1: text(tag::SHA1HEADER),
            sigmd5: header.get(tag::SIGMD5).map_or_else(Vec::new, |v| v.bytes.to_vec()),
        }
    }
}

impl SortKey {
    /// The key of a package with this header blob, as if its install times were clamped to `epoch`.
    ///
    /// # Errors
    ///
    /// Those of [`Header::parse`] and [`Header::times`].
    pub fn of(blob: &[u8], epoch: u32) -> Result<Self, Malformed> {
        Self::of_header(&Header::parse(blob)?, epoch)
    }

    fn of_header(header: &Header<'_>, epoch: u32) -> Result<Self, Malformed> {
        let times = header.times()?;
        let clamped = |place: &Range<usize>| header.u32_at(place.start).unwrap_or(0).min(epoch);
        Ok(SortKey {
            identity: Identity::of(header),
            content: content(header.blob(), &times),
            times: times.iter().map(clamped).collect(),
        })
    }

    /// SHA-256 of the header blob without its install times, which identifies the package.
    pub fn content(&self) -> &[u8; 32] {
        &self.content
    }
}

/// SHA-256 of `blob` with zeros at `times`.
fn content(blob: &[u8], times: &[Range<usize>]) -> [u8; 32] {
    let mut sorted: Vec<_> = times.iter().collect();
    sorted.sort_by_key(|place| place.start);
    let mut hash = Sha256::new();
    let mut at = 0;
    for place in sorted {
        hash.update(blob.get(at..place.start).unwrap_or_default());
        hash.update([0; 4]);
        at = place.end;
    }
    hash.update(blob.get(at..).unwrap_or_default());
    hash.finalize().into()
}

/// Maps old hnum to new hnum: 1 to N in the order of the keys. `packages` are (hnum, key) pairs
/// with each hnum once. Identical packages keep the order of their old numbers.
pub fn renumber<K: Ord>(mut packages: Vec<(u32, K)>) -> BTreeMap<u32, u32> {
    packages.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
    (1..).zip(packages).map(|(new, (old, _))| (old, new)).collect()
}

/// The order in which `key`, of the [`INSTALLTID_INDEX`], says `tid`; `preferred` if both do,
/// `None` if neither.
fn key_order(key: &[u8], tid: u32, preferred: Order) -> Option<Order> {
    let all = [preferred, Order::Little, Order::Big];
    all.into_iter().find(|order| order.put32(tid) == key)
}

/// The byte order of a whole database: that of the first (key, tid) pair whose bytes differ between
/// the orders, otherwise little-endian.
fn database_order<'k>(mut keys: impl Iterator<Item = (&'k [u8], u32)>) -> Order {
    let tells = |(key, tid): &(&[u8], u32)| tid.swap_bytes() != *tid && key.len() == 4;
    let order = keys.find(tells).and_then(|(key, tid)| key_order(key, tid, Order::Little));
    order.unwrap_or(Order::Little)
}

/// The new numbers and times of the packages of a database, for packages and rows.
///
/// It processes rows table by table, so that no two tables need to be in memory at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    packages: BTreeMap<u32, PackageChange>,
    epoch: u32,
    digest: [u8; 32],
}

/// The changes of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PackageChange {
    /// Its new number.
    hnum: u32,
    /// The old INSTALLTID.
    tid: Option<u32>,
    /// The offsets in its blob of times later than the epoch.
    late: Vec<usize>,
}

impl Numbers {
    /// Numbers these packages from 1 in canonical order, with times clamped to `epoch`.
    ///
    /// # Errors
    ///
    /// If a header cannot be parsed, or an hnum occurs twice.
    pub fn of(packages: &[Package<'_>], epoch: u32) -> Result<Self, Malformed> {
        let mut keys = Vec::with_capacity(packages.len());
        let mut futures = BTreeMap::new();
        for package in packages {
            let blob = package.blob.whole();
            let header = Header::parse(&blob)?;
            keys.push((package.hnum, SortKey::of_header(&header, epoch)?));
            let tid = header.get(tag::INSTALLTID).and_then(|v| v.u32());
            let mut late = header.times()?.into_iter().map(|place| place.start).collect::<Vec<_>>();
            late.retain(|&at| header.u32_at(at).is_some_and(|time| time > epoch));
            if futures.insert(package.hnum, PackageChange { hnum: 0, tid, late }).is_some() {
                return Err(Malformed::at(0u64, "two packages have the same hnum"));
            }
        }
        keys.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        let mut hash = Sha256::new();
        for (hnum, (old, key)) in (1..).zip(&keys) {
            hash.update(key.content());
            futures.entry(*old).and_modify(|future| future.hnum = hnum);
        }
        Ok(Numbers { packages: futures, epoch, digest: hash.finalize().into() })
    }

    /// The latest time, in seconds since 1970.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The numbers of the packages as they will be written. With them tables can be written and
    /// compared before the packages are, while there is more memory.
    pub fn applied(&self) -> Self {
        let stays = |future: &PackageChange| {
            let tid = future.tid.map(|tid| tid.min(self.epoch));
            (future.hnum, PackageChange { hnum: future.hnum, tid, late: Vec::new() })
        };
        Numbers { packages: self.packages.values().map(stays).collect(), ..*self }
    }

    /// Numbers, clamps and sorts the packages from which this was made.
    pub fn apply(&self, packages: &mut [Package<'_>]) {
        for package in packages.iter_mut() {
            let Some(future) = self.packages.get(&package.hnum) else { continue };
            for &at in &future.late {
                package.blob.put(at, &self.epoch.to_be_bytes());
            }
            package.hnum = future.hnum;
        }
        packages.sort_unstable_by_key(|package| package.hnum);
    }

    /// Numbers and sorts the rows of a table; the keys of [`INSTALLTID_INDEX`] follow the clamped
    /// headers, each in its own byte order.
    ///
    /// # Errors
    ///
    /// If a row's package is missing, or an install-time key is not its package's; `rows` are then
    /// partly changed.
    pub fn apply_to_rows(&self, table: &str, rows: &mut [Row<'_>]) -> Result<(), Malformed> {
        if table == INSTALLTID_INDEX {
            let tid = |row: &Row<'_>| self.packages.get(&row.hnum)?.tid;
            let keys = rows.iter().filter_map(|row| Some((&*row.key, tid(row)?)));
            let order = database_order(keys);
            for row in rows.iter_mut() {
                row.key = Cow::Owned(self.time_key(row, order)?.to_vec());
            }
        }
        for row in rows.iter_mut() {
            row.hnum = self.number(table, row.hnum)?;
        }
        rows.sort_unstable();
        Ok(())
    }

    /// A digest of the rows of a table, with the packages' new numbers and without install times.
    ///
    /// # Errors
    ///
    /// Those of [`Numbers::apply_to_rows`].
    pub fn digest_of_rows(&self, table: &str, rows: &[Row<'_>]) -> Result<[u8; 32], Malformed> {
        let mut sorted = Vec::with_capacity(rows.len());
        for row in rows {
            let key: &[u8] = match table == INSTALLTID_INDEX {
                true => self.time_key(row, Order::Little).map(|_| &[][..])?,
                false => &row.key,
            };
            sorted.push((self.number(table, row.hnum)?, row.idx, key));
        }
        sorted.sort_unstable();
        let mut hash = Sha256::new();
        for (hnum, idx, key) in sorted {
            hash.update(hnum.to_le_bytes());
            hash.update(idx.to_le_bytes());
            feed(&mut hash, key);
        }
        Ok(hash.finalize().into())
    }

    /// The new number of a package, by its old one.
    pub fn get(&self, hnum: u32) -> Option<u32> {
        self.packages.get(&hnum).map(|future| future.hnum)
    }

    fn number(&self, table: &str, hnum: u32) -> Result<u32, Malformed> {
        self.get(hnum).ok_or_else(|| {
            let what = format!("index {table} has a row for hnum {hnum}, which has no package");
            Malformed::at(0u64, what)
        })
    }

    /// The key of an install-time row after clamping, in its old byte order, or that of the
    /// database if both match.
    fn time_key(&self, row: &Row<'_>, order: Order) -> Result<[u8; 4], Malformed> {
        let tid = self.packages.get(&row.hnum).and_then(|future| future.tid);
        let found = tid.and_then(|tid| Some((tid, key_order(&row.key, tid, order)?)));
        let (tid, order) = found.ok_or_else(|| {
            let what = format!("{INSTALLTID_INDEX} key of hnum {} is not its package's", row.hnum);
            Malformed::at(0u64, what)
        })?;
        Ok(order.put32(tid.min(self.epoch)))
    }
}

impl Logical<'_> {
    /// Sorts the packages into canonical order, clamps their install times to `epoch`, numbers
    /// them 1 to N, and renumbers and sorts the rows of every index by (hnum, idx, key).
    ///
    /// # Errors
    ///
    /// Those of [`Numbers::of`] and [`Numbers::apply_to_rows`]; `self` is then partly changed.
    pub fn canonicalise(&mut self, epoch: u32) -> Result<(), Malformed> {
        let numbers = Numbers::of(&self.packages, epoch)?;
        for (table, rows) in &mut self.indexes {
            numbers.apply_to_rows(table, rows)?;
        }
        numbers.apply(&mut self.packages);
        Ok(())
    }
}

/// Hashes bytes and their number.
fn feed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
