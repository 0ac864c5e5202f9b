//! rpm databases: what every backend holds, apart from how it stores it.
//!
//! A database is a set of packages, each a [`header`] blob under a number (the *hnum*, given in
//! order of installation), and index tables whose rows point from a key to a place in a package.
//! The canonical order of packages, the numbers that follow from it and the equality of two
//! databases "but for install times and hnum" are defined here once, for all backends.

pub mod bdb;
pub mod bytes;
pub mod diff;
pub mod dump;
pub mod header;
pub mod history;
pub mod ndb;
pub mod scrub;
pub mod sqlite;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::format::Malformed;
use header::{Header, tag};

/// The index whose keys are install times: INSTALLTID as four bytes in the writing host's order.
pub const INSTALLTID_INDEX: &str = "Installtid";

/// What is called with the hnum and the header blob of each package of a database.
pub type EachPackage<'f> = dyn FnMut(u32, &[u8]) -> Result<(), Malformed> + 'f;

/// A database's contents, however they are stored.
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
    /// The number that index rows refer to it by.
    pub hnum: u32,
    /// The header blob.
    pub blob: Cow<'a, [u8]>,
}

/// One row of an index table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row<'a> {
    /// The package that holds the key.
    pub hnum: u32,
    /// Which element of the indexed tag the key is.
    pub idx: u32,
    /// The key, as stored.
    pub key: Cow<'a, [u8]>,
}

/// What the canonical order of packages sorts by: total but for packages that are the same to
/// the last byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortKey {
    name: Vec<u8>,
    epoch: i64,
    version: Vec<u8>,
    release: Vec<u8>,
    arch: Vec<u8>,
    sha256: Vec<u8>,
    sha1: Vec<u8>,
    sigmd5: Vec<u8>,
    content: [u8; 32],
    times: Vec<u32>,
}

impl SortKey {
    /// The key of a package with this header blob, as if its install times were clamped to
    /// `epoch`. Fails as [`Header::parse`] and [`Header::times`] do.
    pub fn of(blob: &[u8], epoch: u32) -> Result<Self, Malformed> {
        let header = Header::parse(blob)?;
        let text = |tag| header.string(tag).to_vec();
        let times = header.times()?;
        let clamped = |place: &Range<usize>| header.u32_at(place.start).unwrap_or(0).min(epoch);
        Ok(SortKey {
            name: text(tag::NAME),
            epoch: header.get(tag::EPOCH).and_then(|v| v.u32()).map_or(-1, i64::from),
            version: text(tag::VERSION),
            release: text(tag::RELEASE),
            arch: text(tag::ARCH),
            sha256: text(tag::SHA256HEADER),
            sha1: text(tag::SHA1HEADER),
            sigmd5: header.get(tag::SIGMD5).map_or_else(Vec::new, |v| v.bytes.to_vec()),
            content: content(blob, &times),
            times: times.iter().map(clamped).collect(),
        })
    }

    /// SHA-256 of the header blob with its install times blanked: what the package is, whenever
    /// it was installed.
    pub fn content(&self) -> &[u8; 32] {
        &self.content
    }
}

/// SHA-256 of `blob` with the bytes at `times` taken as zero.
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

/// Old hnum → new hnum: 1 to N in the order of the keys. `packages` are (hnum, key) pairs with
/// each hnum once. Packages that are equal to the last byte keep the order of their old numbers.
pub fn renumber<K: Ord>(mut packages: Vec<(u32, K)>) -> BTreeMap<u32, u32> {
    packages.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
    (1..).zip(packages).map(|(new, (old, _))| (old, new)).collect()
}

/// Byte orders that an [`INSTALLTID_INDEX`] key may be stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Endian {
    /// The four bytes of `value` in this order.
    pub fn bytes(self, value: u32) -> [u8; 4] {
        match self {
            Endian::Little => value.to_le_bytes(),
            Endian::Big => value.to_be_bytes(),
        }
    }

    /// The order in which `key` says `tid`; `preferred` if both do, `None` if neither.
    pub fn of_key(key: &[u8], tid: u32, preferred: Endian) -> Option<Self> {
        let all = [preferred, Endian::Little, Endian::Big];
        all.into_iter().find(|e| e.bytes(tid) == key)
    }

    /// The order of a whole database: of its (key, tid) pairs the first whose bytes are not the
    /// same in both orders tells. Little-endian if none does.
    pub fn of_database<'k>(mut keys: impl Iterator<Item = (&'k [u8], u32)>) -> Self {
        let tells = |(key, tid): &(&[u8], u32)| tid.swap_bytes() != *tid && key.len() == 4;
        let order =
            keys.find(tells).and_then(|(key, tid)| Endian::of_key(key, tid, Endian::Little));
        order.unwrap_or(Endian::Little)
    }
}

/// INSTALLTID of a header blob, if it has one.
pub fn install_tid(blob: &[u8]) -> Result<Option<u32>, Malformed> {
    Ok(Header::parse(blob)?.get(tag::INSTALLTID).and_then(|v| v.u32()))
}

impl<'a> Logical<'a> {
    /// Sorts the packages into canonical order, clamps their install times to `epoch`, numbers
    /// them 1 to N, and renumbers and sorts the rows of every index by (hnum, idx, key);
    /// [`INSTALLTID_INDEX`] keys follow the clamped header in their own byte order.
    ///
    /// Fails, leaving `self` half done, on a header that cannot be parsed, on an hnum that occurs
    /// twice, on a row whose package is missing, and on an install-time key that is not its
    /// package's.
    pub fn canonicalise(&mut self, epoch: u32) -> Result<(), Malformed> {
        self.renumber(epoch)?;
        for package in &mut self.packages {
            if header::clamp_needed(&package.blob, epoch)? {
                header::clamp_times(package.blob.to_mut(), epoch)?;
            }
        }
        Ok(())
    }

    /// As [`Logical::canonicalise`], but headers keep their times: for a writer that clamps what it
    /// writes, so that no second copy of every header is needed.
    pub fn renumber(&mut self, epoch: u32) -> Result<(), Malformed> {
        let tids = self.tids()?;
        let new = self.numbers(epoch)?;
        for (name, rows) in &mut self.indexes {
            let clamped = name == INSTALLTID_INDEX;
            let order = clamped.then(|| {
                Endian::of_database(
                    rows.iter().filter_map(|r| Some((&*r.key, *tids.get(&r.hnum)?))),
                )
            });
            for row in rows.iter_mut() {
                if let Some(order) = order {
                    row.key = Cow::Owned(clamped_key(&tids, row, order, epoch)?.to_vec());
                }
                row.hnum = *new.get(&row.hnum).ok_or_else(|| orphan(name, row.hnum))?;
            }
            rows.sort_unstable();
        }
        for package in &mut self.packages {
            package.hnum = new.get(&package.hnum).copied().unwrap_or_default();
        }
        self.packages.sort_unstable_by_key(|p| p.hnum);
        Ok(())
    }

    /// New hnum by old, of packages whose times are clamped to `epoch`.
    fn numbers(&self, epoch: u32) -> Result<BTreeMap<u32, u32>, Malformed> {
        let new = renumber(self.keys(epoch)?);
        match new.len() == self.packages.len() {
            true => Ok(new),
            false => Err(Malformed::at(0u64, "two packages have the same hnum")),
        }
    }

    /// Number and key of each package.
    fn keys(&self, epoch: u32) -> Result<Vec<(u32, SortKey)>, Malformed> {
        self.packages.iter().map(|p| Ok((p.hnum, SortKey::of(&p.blob, epoch)?))).collect()
    }

    /// INSTALLTID by hnum.
    fn tids(&self) -> Result<BTreeMap<u32, u32>, Malformed> {
        let mut tids = BTreeMap::new();
        for package in &self.packages {
            if let Some(tid) = install_tid(&package.blob)? {
                tids.insert(package.hnum, tid);
            }
        }
        Ok(tids)
    }

    /// A digest of everything but install times and hnum: two databases with the same digest
    /// hold the same packages and the same index rows. Fails as [`Logical::canonicalise`] does.
    pub fn digest(&self) -> Result<[u8; 32], Malformed> {
        let (tids, mut keys) = (self.tids()?, self.keys(0)?);
        keys.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(&b.0)));
        let mut hash = Sha256::new();
        keys.iter().for_each(|(_, key)| hash.update(key.content()));
        let new = renumber(keys);
        for (name, rows) in &self.indexes {
            let mut sorted = Vec::with_capacity(rows.len());
            for row in rows {
                let key: &[u8] = match name == INSTALLTID_INDEX {
                    true => clamped_key(&tids, row, Endian::Little, 0).map(|_| &[][..])?,
                    false => &row.key,
                };
                let hnum = *new.get(&row.hnum).ok_or_else(|| orphan(name, row.hnum))?;
                sorted.push((hnum, row.idx, key));
            }
            sorted.sort_unstable();
            feed(&mut hash, name.as_bytes());
            for (hnum, idx, key) in sorted {
                hash.update(hnum.to_le_bytes());
                hash.update(idx.to_le_bytes());
                feed(&mut hash, key);
            }
        }
        Ok(hash.finalize().into())
    }
}

/// Hashes bytes and their number.
fn feed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The key of an install-time row after clamping, in the byte order that it had.
fn clamped_key(
    tids: &BTreeMap<u32, u32>,
    row: &Row<'_>,
    order: Endian,
    epoch: u32,
) -> Result<[u8; 4], Malformed> {
    let tid = tids.get(&row.hnum).copied();
    let found = tid.and_then(|tid| Some((tid, Endian::of_key(&row.key, tid, order)?)));
    let (tid, order) = found.ok_or_else(|| {
        let what = format!("{INSTALLTID_INDEX} key of hnum {} is not its package's", row.hnum);
        Malformed::at(0u64, what)
    })?;
    Ok(order.bytes(tid.min(epoch)))
}

fn orphan(index: &str, hnum: u32) -> Malformed {
    Malformed::at(0u64, format!("index {index} has a row for hnum {hnum}, which has no package"))
}
