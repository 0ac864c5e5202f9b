//! The header of a fontconfig cache file (`*.cache-7` to `*.cache-11`).
//!
//! The file is a memory image, in the byte order and word size of its architecture: magic,
//! version, size of the file, offsets of the directory's name, of the sub-directories and of the
//! font set, then the modification time of the directory that was scanned, in seconds and
//! nanoseconds. Follows `FcCache` of fontconfig 2.13 and later.

use super::Malformed;
use super::bytes::Order;
use super::time::Time;

const MAGIC: u32 = 0xFC02_FC04;
/// Cache versions with this header: fontconfig 2.13 wrote 7, 2.18 writes 11.
const VERSIONS: std::ops::RangeInclusive<u32> = 7..=11;

/// Where the header of one architecture has its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    order: Order,
    word: usize,
}

/// A cache file's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache<'a> {
    layout: Layout,
    /// The cache format.
    pub version: u32,
    /// The directory that was scanned, as an absolute path.
    pub dir: &'a [u8],
    /// How many sub-directories it had.
    pub subdirs: u32,
    /// The directory's modification time when it was scanned.
    pub scanned: Time,
}

impl Layout {
    /// Tells the layout by the magic and by the field that must equal the file's size.
    fn of(bytes: &[u8]) -> Option<Layout> {
        let size = bytes.len() as u64;
        [(Order::Little, 8), (Order::Little, 4), (Order::Big, 8), (Order::Big, 4)]
            .map(|(order, word)| Layout { order, word })
            .into_iter()
            .find(|l| l.int(bytes, 0) == Some(MAGIC) && l.word(bytes, 8) == Some(size))
    }

    fn int(self, bytes: &[u8], at: usize) -> Option<u32> {
        self.order.u32(bytes, at).ok()
    }

    fn long(self, bytes: &[u8], at: usize) -> Option<u64> {
        self.order.u64(bytes, at).ok()
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        match self.word {
            8 => self.long(bytes, at),
            _ => self.int(bytes, at).map(u64::from),
        }
    }

    /// The offset of the n-th field after magic and version: fields 0 to 5 take one word each.
    fn field(self, n: usize) -> usize {
        8 + n * self.word
    }

    fn seconds(self) -> usize {
        self.field(5)
    }

    /// 64 bits, after the padding that the architecture asks for: both 32-bit layouts end up at
    /// the same place.
    fn nanoseconds(self) -> usize {
        self.field(6)
    }
}

/// Reads the header.
///
/// # Errors
/// [`Malformed`] if magic, version, size or the directory's name do not fit the file.
pub fn parse(bytes: &[u8]) -> Result<Cache<'_>, Malformed> {
    let truncated = || Malformed::at(bytes.len(), "header is truncated");
    let layout = Layout::of(bytes)
        .ok_or_else(|| Malformed::at(0, "no fontconfig cache of this size in any known layout"))?;
    let version = layout.int(bytes, 4).ok_or_else(truncated)?;
    if !VERSIONS.contains(&version) {
        return Err(Malformed::at(4, format!("unknown cache version {version}")));
    }
    let dir_at = layout.word(bytes, layout.field(1)).ok_or_else(truncated)?;
    let dir = string(bytes, dir_at)
        .ok_or_else(|| Malformed::at(layout.field(1), "the directory's name is out of bounds"))?;
    let sec = layout.int(bytes, layout.seconds()).ok_or_else(truncated)?;
    let nsec = layout.long(bytes, layout.nanoseconds()).ok_or_else(truncated)?;
    let nsec = u32::try_from(nsec)
        .ok()
        .filter(|n| *n < 1_000_000_000)
        .ok_or_else(|| Malformed::at(layout.nanoseconds(), "nanoseconds out of range"))?;
    Ok(Cache {
        layout,
        version,
        dir,
        subdirs: layout.int(bytes, layout.field(3)).ok_or_else(truncated)?,
        // A C int, compared with the low 32 bits of the directory's time.
        scanned: Time { sec: i64::from(sec.cast_signed()), nsec },
    })
}

/// The NUL-terminated string at `at`.
fn string(bytes: &[u8], at: u64) -> Option<&[u8]> {
    let tail = bytes.get(usize::try_from(at).ok()?..)?;
    let end = tail.iter().position(|b| *b == 0)?;
    tail[..end].starts_with(b"/").then_some(&tail[..end])
}

impl Cache<'_> {
    /// The file `bytes`, from which this was parsed, with another time of scanning.
    ///
    /// The padding around it becomes zero, as fontconfig has it.
    pub fn with_scanned(&self, bytes: &[u8], scanned: Time) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let Layout { order, .. } = self.layout;
        let sec = i32::try_from(scanned.sec).unwrap_or(i32::MAX);
        let (sec, nsec) = (order.put32(sec.cast_unsigned()), order.put64(scanned.nsec.into()));
        let (sec_at, nsec_at) = (self.layout.seconds(), self.layout.nanoseconds());
        out[sec_at..nsec_at].fill(0);
        out[sec_at..sec_at + 4].copy_from_slice(&sec);
        out[nsec_at..nsec_at + 8].copy_from_slice(&nsec);
        out
    }
}
