//! QEMU's qcow2 images, versions 2 and 3 (docs/interop/qcow2.rst), read as the disk that a machine
//! sees; compressed clusters with zlib and Zstandard.
//!
//! An image that needs another file (a backing file, external data), that is encrypted, or that was not
//! closed cleanly is refused by name.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Malformed;
use super::filesystem::blocks::Blocks;

const MAGIC: &[u8; 4] = b"QFI\xfb";
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
/// Bytes of the first table, at most: QEMU's own limit.
const TABLE_MAX: u64 = 32 << 20;
/// Clusters that are kept unpacked, and tables that are kept.
const KEPT: usize = 64;

/// Features that an image may have and that are not read, by their bit.
const REFUSED: [(u64, &str); 4] = [
    (2, "it is marked corrupt: run qemu-img check"),
    (4, "its data is in another file"),
    (16, "extended tables (extended_l2) are not read"),
    (!31, "it has an unknown feature"),
];

/// A disk in a qcow2 image.
pub struct Qcow2 {
    image: Arc<dyn Blocks>,
    size: u64,
    bits: u32,
    /// Where the tables of the second level are.
    tables: Vec<u64>,
    zstd: bool,
    has_zeros: bool,
    known: Kept,
    unpacked: Kept,
}

/// Clusters by their places.
type Kept = Mutex<HashMap<u64, Arc<Vec<u8>>>>;

/// Where a cluster of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cluster {
    Zeros,
    At(u64),
    Packed { at: u64, length: u64 },
}

/// Whether an image begins so.
pub fn is_qcow2(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

fn wrong(at: u64, what: impl Into<String>) -> io::Error {
    let what = format!("qcow2: {}", what.into());
    io::Error::new(io::ErrorKind::InvalidData, Malformed::at(at, what))
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("qcow2: {what}"))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    let found = bytes.get(at..).unwrap_or_default();
    let got = found.len().min(8);
    number[..got].copy_from_slice(&found[..got]);
    u64::from_be_bytes(number)
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    (be64(bytes, at) >> 32) as u32
}

impl Qcow2 {
    /// Reads the header and the first table.
    ///
    /// # Errors
    ///
    /// If it is damaged, or needs what is not read.
    pub fn open(image: Arc<dyn Blocks>) -> io::Result<Self> {
        let mut head = image.bytes(0, 72)?;
        if !is_qcow2(&head) {
            return Err(wrong(0, "no header"));
        }
        let version = be32(&head, 4);
        match version {
            2 => head.resize(112, 0),
            3 => head = image.bytes(0, 112)?,
            other => return Err(refused(&format!("version {other} is not read"))),
        }
        if be64(&head, 8) != 0 {
            return Err(refused("it has a backing file: run qemu-img convert"));
        }
        if be32(&head, 32) != 0 {
            return Err(refused("it is encrypted"));
        }
        let features = be64(&head, 72);
        if let Some((_, what)) = REFUSED.iter().find(|(bits, _)| features & bits != 0) {
            return Err(refused(what));
        }
        let (bits, size, count) = (be32(&head, 20), be64(&head, 24), u64::from(be32(&head, 36)));
        if !(9..=21).contains(&bits) {
            return Err(wrong(20, "impossible size of clusters"));
        }
        let needed = size.div_ceil(1 << bits).div_ceil(1 << (bits - 3));
        if count < needed || count * 8 > TABLE_MAX {
            return Err(wrong(36, "impossible length of the first table"));
        }
        let zstd = features & 8 != 0 && be32(&head, 100) > 104 && head[104] == 1;
        let table = image.bytes(be64(&head, 40), count as usize * 8)?;
        let tables = table.chunks_exact(8).map(|entry| be64(entry, 0) & OFFSET).collect();
        Ok(Qcow2 {
            image,
            size,
            bits,
            tables,
            zstd,
            has_zeros: version == 3,
            known: Kept::default(),
            unpacked: Kept::default(),
        })
    }

    fn kept(
        kept: &Kept,
        at: u64,
        make: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Arc<Vec<u8>>> {
        let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&at) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(make()?);
        let mut known = lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(at, Arc::clone(&made));
        Ok(made)
    }

    /// Where cluster `n` of the disk is.
    fn cluster(&self, n: u64) -> io::Result<Cluster> {
        let per_table = self.bits - 3;
        let table = self.tables.get((n >> per_table) as usize).copied().unwrap_or_default();
        if table == 0 {
            return Ok(Cluster::Zeros);
        }
        let length = 1_usize << self.bits;
        let entries = Self::kept(&self.known, table, || self.image.bytes(table, length))?;
        let entry = be64(&entries, (n & ((1 << per_table) - 1)) as usize * 8);
        if entry & COMPRESSED != 0 {
            let shift = 62 - (self.bits - 8);
            let at = entry & ((1 << shift) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> shift;
            return Ok(Cluster::Packed { at, length: (sectors + 1) * 512 - at % 512 });
        }
        let place = entry & OFFSET;
        match place == 0 || (self.has_zeros && entry & ZERO != 0) {
            true => Ok(Cluster::Zeros),
            false => Ok(Cluster::At(place)),
        }
    }

    /// A compressed cluster. Its length is counted in sectors, so the image may end before.
    fn unpack(&self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.image.size().saturating_sub(at)).min(2 << self.bits);
        let packed = self.image.bytes(at, length as usize)?;
        let reader: Box<dyn io::Read + '_> = match self.zstd {
            true => {
                let mut reader = zstd::Decoder::with_buffer(&*packed)?;
                reader.window_log_max(23)?;
                Box::new(reader)
            }
            false => Box::new(flate2::read::DeflateDecoder::new(&*packed)),
        };
        let mut out = Vec::new();
        let got = reader.take(1 << self.bits).read_to_end(&mut out);
        match got.is_ok_and(|got| got == 1 << self.bits) {
            true => Ok(out),
            false => Err(wrong(at, "a compressed cluster is damaged")),
        }
    }
}

impl Blocks for Qcow2 {
    fn size(&self) -> u64 {
        self.size
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let within = at & ((1 << self.bits) - 1);
            let count = rest.len().min(((1 << self.bits) - within) as usize);
            let (piece, after) = rest.split_at_mut(count);
            match self.cluster(at >> self.bits)? {
                Cluster::Zeros => piece.fill(0),
                Cluster::At(place) => {
                    let bytes = self.image.bytes(place.saturating_add(within), count)?;
                    piece.copy_from_slice(&bytes);
                }
                Cluster::Packed { at, length } => {
                    let whole = Self::kept(&self.unpacked, at, || self.unpack(at, length))?;
                    piece.copy_from_slice(&whole[within as usize..within as usize + count]);
                }
            }
            (at, rest) = (at + count as u64, after);
        }
        Ok(())
    }

    fn data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let (last, per_table) = (self.size.div_ceil(1 << self.bits), self.bits - 3);
        let mut n = at >> self.bits;
        while n < last && self.cluster(n)? == Cluster::Zeros {
            let table = self.tables.get((n >> per_table) as usize).copied().unwrap_or_default();
            // A table that is missing is a hole as a whole.
            n = if table == 0 { ((n >> per_table) + 1) << per_table } else { n + 1 };
        }
        if n >= last {
            return Ok(None);
        }
        let start = n;
        while n < last && self.cluster(n)? != Cluster::Zeros {
            n += 1;
        }
        Ok(Some((start << self.bits).max(at)..(n << self.bits).min(self.size)))
    }
}
