//! Compressed data of EROFS (linux/fs/erofs/zmap.c): full and compact indexes, big clusters, tails
//! that are inline or fragments of one packed inode; LZ4, LZMA, DEFLATE and Zstandard.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::{DIRECTORY_MAX, invalid, le16, le32, le64, refused, whole};
use super::{Erofs, FileSystem as _, PACKED_COMPACT, Stored};
use crate::format::compress::lz4_block;

/// Bytes of one cluster before and after compression, at most: the format's own limit.
const CLUSTER_MAX: u64 = 1 << 20;
/// One extent, at most; deduplicated data may be shorter than its cluster, never longer than this.
const EXTENT_MAX: u64 = 16 << 20;

const COMPACT_IN_2: u16 = 1;
const BIG: u16 = 2 | 4;
const INLINE_TAIL: u16 = 8;
const INTERLACED: u16 = 0x10;
const FRAGMENT_TAIL: u16 = 0x20;
/// The bit of a distance that makes it a number of blocks.
const BLOCKS: u32 = 1 << 11;

/// The inode that the tails of many files are in, unpacked.
pub(super) type Cache = Mutex<Option<Arc<Vec<u8>>>>;

/// What begins in one logical cluster.
#[derive(Clone, Copy, Debug)]
enum Cluster {
    /// Nothing; where a number of blocks is given, it is that of the extent before.
    Within(Option<u32>),
    /// An extent, at this byte of the cluster, in these blocks.
    Begins { how: How, offset: u64, block: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Plain,
    Packed(u8),
}

/// A stretch of a file and the cluster that it is packed in.
struct Extent {
    how: How,
    start: u64,
    block: u32,
    blocks: u32,
}

/// The header before the indexes.
struct Map {
    advice: u16,
    algorithms: u8,
    bits: u32,
    tail: u32,
    /// Where the indexes begin.
    start: u64,
}

impl Erofs {
    /// Hands on the content of a compressed file.
    pub(super) fn unpack(&self, stored: &Stored, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let size = stored.inode.size;
        if size == 0 {
            return Ok(());
        }
        let at = stored.end.next_multiple_of(8);
        let head = self.disk.bytes(at, 8)?;
        if head[7] & 0x80 != 0 {
            return self.fragment(le64(&head, 0) ^ 1 << 63, size, at, sink);
        }
        let map = Map {
            advice: le16(&head, 4),
            algorithms: head[6],
            bits: self.block.ilog2() + u32::from(head[7] & 0xf),
            tail: le32(&head, 0),
            start: at + 8,
        };
        if map.bits > 20 {
            return Err(invalid(at + 7, "erofs: impossible size of a logical cluster"));
        }
        let (extents, end) = self.extents_of(stored, &map)?;
        for (n, extent) in extents.iter().enumerate() {
            let next = extents.get(n + 1).map_or(size, |next| next.start);
            let len = next.saturating_sub(extent.start);
            let is_last = n + 1 == extents.len();
            if is_last && map.advice & FRAGMENT_TAIL != 0 {
                // Only full indexes have the upper half of the place, as a block.
                let is_full = stored.layout == super::PACKED_FULL;
                let high = if is_full { u64::from(extent.block) << 32 } else { 0 };
                let from = u64::from(map.tail) | high;
                self.fragment(from, len, at, sink)?;
                continue;
            }
            let inline = is_last && map.advice & INLINE_TAIL != 0;
            let (place, packed) = match inline {
                true => (end, u64::from(map.tail >> 16)),
                false => {
                    let blocks = u64::from(extent.blocks);
                    (u64::from(extent.block) * self.block, blocks * self.block)
                }
            };
            self.extent(extent, [place, packed, len], map.advice, sink)?;
        }
        Ok(())
    }

    /// Every extent of a file in order, and where the indexes end.
    fn extents_of(&self, stored: &Stored, map: &Map) -> io::Result<(Vec<Extent>, u64)> {
        let is_compact = stored.layout == PACKED_COMPACT;
        let count = stored.inode.size.div_ceil(1 << map.bits);
        let mut extents: Vec<Extent> = Vec::new();
        let mut end = map.start;
        for n in 0..count {
            let (cluster, after) = match is_compact {
                true => self.compact(map, n, count)?,
                false => self.full(map, n)?,
            };
            end = after;
            match cluster {
                Cluster::Begins { how, offset, block } => {
                    extents.push(Extent { how, start: (n << map.bits) + offset, block, blocks: 1 });
                }
                Cluster::Within(blocks) => {
                    let last = extents.last_mut().zip(blocks);
                    last.into_iter().for_each(|(extent, blocks)| extent.blocks = blocks);
                }
            }
        }
        // A last one may begin where the file ends, to say so.
        extents.retain(|extent| extent.start != stored.inode.size);
        let ordered = extents.windows(2).all(|pair| pair[0].start < pair[1].start);
        let whole = extents.first().is_some_and(|first| first.start == 0);
        let within = extents.last().is_some_and(|last| last.start <= stored.inode.size);
        if !(ordered && whole && within) {
            return Err(invalid(map.start, "erofs: the extents of a file are not in order"));
        }
        Ok((extents, end))
    }

    /// The full index of cluster `n`, and where it ends.
    fn full(&self, map: &Map, n: u64) -> io::Result<(Cluster, u64)> {
        let at = map.start + 8 + 8 * n;
        let index = self.disk.bytes(at, 8)?;
        let kind = (le16(&index, 0) & 3) as u8;
        let low = match kind {
            2 => u32::from(le16(&index, 4)),
            _ => u32::from(le16(&index, 2)),
        };
        Ok((cluster(map, kind, low, le32(&index, 4)), at + 8))
    }

    /// The compact index of cluster `n` of `count`, and where its pack ends.
    fn compact(&self, map: &Map, n: u64, count: u64) -> io::Result<(Cluster, u64)> {
        let first = ((32 - map.start % 32) / 4) & 7;
        let dense = match map.advice & COMPACT_IN_2 {
            0 => 0,
            _ => count.saturating_sub(first) / 16 * 16,
        };
        let (mut at, mut left, mut shift) = (map.start, n, 2);
        if n >= first {
            at += first * 4;
            left -= first;
            match left < dense {
                true => shift = 1,
                false => {
                    at += dense * 2;
                    left -= dense;
                }
            }
        }
        at += left << shift;
        if map.bits > 14 || (shift == 1 && map.bits > 12) {
            return Err(invalid(at, "erofs: impossible compact indexes"));
        }
        let items: u64 = if shift == 2 { 2 } else { 16 };
        let length = items << shift;
        let (start, item) = (at - at % length, (at % length) >> shift);
        let pack = self.disk.bytes(start, length as usize)?;
        let pack = Pack {
            low: map.bits.max(12),
            width: ((length - 4) * 8 / items) as u32,
            base: le32(&pack, length as usize - 4),
            bytes: pack,
        };
        let (low, kind) = pack.item(item);
        let block = match kind {
            2 => 0,
            _ => pack.base.wrapping_add(pack.blocks_before(item, map.advice & BIG != 0)),
        };
        Ok((cluster(map, kind, low, block), start + length))
    }

    /// Hands on `len` bytes of a cluster of `packed` bytes at `place`.
    fn extent(
        &self,
        extent: &Extent,
        [place, packed, len]: [u64; 3],
        advice: u16,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        if packed > CLUSTER_MAX || len > EXTENT_MAX {
            return Err(invalid(place, "erofs: a cluster is larger than the format allows"));
        }
        let bytes = self.disk.bytes(place, packed as usize)?;
        let wrong = |what: &str| invalid(place, format!("erofs: {what}"));
        let out = match extent.how {
            How::Plain => {
                let skip = if advice & INTERLACED != 0 { extent.start % self.block } else { 0 };
                let short = || wrong("data that is not compressed is cut off");
                let mut turned = bytes;
                let skip = (skip as usize).min(turned.len());
                turned.rotate_left(skip);
                turned.get(..len as usize).ok_or_else(short)?.to_vec()
            }
            How::Packed(algorithm) => {
                let padding = bytes.iter().take(self.block as usize).take_while(|b| **b == 0);
                let input = &bytes[padding.count()..];
                unpacked(algorithm, input, len as usize)?
                    .ok_or_else(|| wrong("compressed data is damaged"))?
            }
        };
        sink(&out);
        Ok(())
    }

    /// Hands on `len` bytes of the inode of fragments from `from` on.
    fn fragment(
        &self,
        from: u64,
        len: u64,
        at: u64,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let handle = self.fragments.ok_or_else(|| invalid(at, "erofs: no inode of fragments"))?;
        let mut known = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match &*known {
            Some(bytes) => Arc::clone(bytes),
            None => {
                let stored = self.stored(handle)?;
                // The inode of fragments has no fragments itself: it would never end.
                if self.has_fragments(&stored)? {
                    return Err(invalid(at, "erofs: fragments within fragments"));
                }
                let read = |sink: &mut dyn FnMut(&[u8])| self.stream(handle, sink);
                let bytes = Arc::new(whole(stored.inode.size, DIRECTORY_MAX, at, read)?);
                *known = Some(Arc::clone(&bytes));
                bytes
            }
        };
        drop(known);
        let range = from.checked_add(len).map(|end| from as usize..end as usize);
        let found = range.and_then(|range| bytes.get(range));
        sink(found.ok_or_else(|| invalid(at, "erofs: a fragment is not where it should be"))?);
        Ok(())
    }

    fn has_fragments(&self, stored: &Stored) -> io::Result<bool> {
        if !matches!(stored.layout, super::PACKED_FULL | PACKED_COMPACT) {
            return Ok(false);
        }
        let head = self.disk.bytes(stored.end.next_multiple_of(8), 8)?;
        Ok(head[7] & 0x80 != 0 || le16(&head, 4) & FRAGMENT_TAIL != 0)
    }
}

fn cluster(map: &Map, kind: u8, low: u32, block: u32) -> Cluster {
    let offset = u64::from(low) & ((1 << map.bits) - 1);
    let packed = |algorithm| Cluster::Begins { how: How::Packed(algorithm), offset, block };
    match kind {
        0 => Cluster::Begins { how: How::Plain, offset, block },
        1 => packed(map.algorithms & 0xf),
        2 => Cluster::Within((low & BLOCKS != 0).then_some(low & !BLOCKS)),
        _ => packed(map.algorithms >> 4),
    }
}

/// Several compact indexes, of some bits each, and the block that they count from.
struct Pack {
    bytes: Vec<u8>,
    low: u32,
    width: u32,
    base: u32,
}

impl Pack {
    /// The number of an index, and its type.
    fn item(&self, n: u64) -> (u32, u8) {
        let bit = n as usize * self.width as usize;
        let word = le32(&self.bytes, bit / 8) >> (bit % 8);
        (word & ((1 << self.low) - 1), (word >> self.low & 3) as u8)
    }

    /// The block of an index counted from the pack's own.
    fn blocks_before(&self, item: u64, is_big: bool) -> u32 {
        let (mut i, mut blocks) = (item as i64, u32::from(!is_big));
        while i > 0 {
            i -= 1;
            let (low, kind) = self.item(i as u64);
            match (kind == 2, is_big) {
                (false, _) => blocks += 1,
                (true, false) => {
                    i -= i64::from(low);
                    blocks += u32::from(i >= 0);
                }
                (true, true) if low & BLOCKS != 0 => {
                    i -= 1;
                    blocks += low & !BLOCKS;
                }
                // A distance of one has no place here, and would never end.
                (true, true) => i -= i64::from(low.max(2)) - 2,
            }
        }
        blocks
    }
}

/// The first `len` bytes that `input` unpacks to; `None` if it is damaged.
fn unpacked(algorithm: u8, input: &[u8], len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut out = Vec::new();
    let read = |reader: &mut dyn io::Read, out: &mut Vec<u8>| {
        reader.take(len as u64).read_to_end(out).is_ok_and(|got| got == len)
    };
    let is_whole = match algorithm {
        0 => return Ok(lz4_block(input, len)),
        1 => match lzma(input)? {
            Some(mut reader) => read(&mut reader, &mut out),
            None => false,
        },
        2 => read(&mut flate2::read::DeflateDecoder::new(input), &mut out),
        3 => {
            let mut reader = zstd::Decoder::with_buffer(input)?;
            reader.window_log_max(23)?;
            read(&mut reader, &mut out)
        }
        other => return Err(refused(format!("erofs: compression {other} is not read"))),
    };
    Ok(is_whole.then_some(out))
}

/// MicroLZMA: LZMA whose first byte, always zero, is its properties turned over. An .lzma header makes
/// an ordinary stream of it.
fn lzma(input: &[u8]) -> io::Result<Option<impl io::Read>> {
    const DICTIONARY: u32 = 8 << 20;
    let Some((first, rest)) = input.split_first() else { return Ok(None) };
    let mut stream = vec![!first];
    stream.extend(DICTIONARY.to_le_bytes());
    stream.extend([0xff; 8]);
    stream.push(0);
    stream.extend(rest);
    let decoder = liblzma::stream::Stream::new_lzma_decoder(64 << 20)?;
    Ok(Some(liblzma::bufread::XzDecoder::new_stream(io::Cursor::new(stream), decoder)))
}
