//! Zip archives: their layout, and the places of times and owners.
//!
//! Follows PKWARE's APPNOTE 6.3.10, including zip64, and Info-ZIP's extra fields. Limits: as many
//! entries as the directory has room for, and no overlapping entries (so that an archive's stored
//! content is never larger than its file); content is never unpacked.

mod canonical;
mod extra;

pub(crate) use canonical::{Order, Rules, canonical};

use super::Malformed;
use super::bytes::{Cursor, Order::Little};

/// The magic at the start of an archive, unless something precedes it, or it is empty.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";
const LOCAL: u32 = 0x0403_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END: u32 = 0x0605_4B50;
const END64: u32 = 0x0606_4B50;
const LOCATOR64: u32 = 0x0706_4B50;
const DESCRIPTOR: u32 = 0x0807_4B50;
/// Bytes of the fixed part of each record.
const LOCAL_LEN: usize = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const LOCATOR64_LEN: usize = 20;
const END64_LEN: usize = 56;

/// Flag bit 0: the content is encrypted, and the time may be part of the key's check.
const ENCRYPTED: u16 = 1;
/// Flag bit 3: sizes follow the content.
const STREAMED: u16 = 1 << 3;
/// Flag bit 13: the local header is masked.
const MASKED: u16 = 1 << 13;

/// An archive's directory and the places of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive<'a> {
    bytes: &'a [u8],
    /// The entries in the order of the directory.
    pub entries: Vec<Entry<'a>>,
    /// The start and end of the directory.
    central: (usize, usize),
    /// Bytes before the archive that offsets do not count.
    base: usize,
    zip64: bool,
    /// The archive's comment.
    pub comment: &'a [u8],
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// The name, which ends with a slash for a directory.
    pub name: &'a [u8],
    /// General purpose flags.
    pub flags: u16,
    /// 0 stored, 8 deflated.
    pub method: u16,
    /// CRC-32 of the content.
    pub crc: u32,
    /// Bytes of content.
    pub size: u64,
    /// Date and time in the directory.
    pub modified: super::dos_time::DosTime,
    /// The attributes: Unix modes in the upper half.
    pub attributes: u32,
    /// The content as stored.
    pub packed: &'a [u8],
    /// The extra fields, in the directory and before the content.
    extras: [&'a [u8]; 2],
    /// The start and end of the directory's header.
    central: (usize, usize),
    /// The starts of the local header and of the content.
    local: (usize, usize),
    /// The end of the content and the descriptor after it.
    end: usize,
}

impl Entry<'_> {
    /// The extra fields, in the directory and before the content.
    pub(crate) fn extras(&self) -> [&[u8]; 2] {
        self.extras
    }

    /// Whether the content is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.flags & (ENCRYPTED | MASKED) != 0
    }
}

/// Whether `bytes` start or end like an archive (a program may precede it).
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || find_end(bytes).is_ok()
}

/// Reads an archive's directory and the header before each entry.
///
/// # Errors
/// [`Malformed`] if the archive is truncated, split over disks, or inconsistent.
pub(crate) fn parse(bytes: &[u8]) -> Result<Archive<'_>, Malformed> {
    let end_at = find_end(bytes)?;
    let end = End::read(bytes, end_at)?;
    let mut cursor = Cursor::new(Little, &bytes[..end.central.1]);
    cursor.take(end.central.0, "directory")?;
    let mut entries = Vec::new();
    while cursor.offset() < end.central.1 {
        entries.push(entry(bytes, &mut cursor, &end)?);
    }
    if entries.len() as u64 != end.count {
        return Err(Malformed::at(end.central.0, "directory has another number of entries"));
    }
    check_overlap(&entries)?;
    let comment = &bytes[end_at + END_LEN..];
    Ok(Archive { bytes, entries, central: end.central, base: end.base, zip64: end.zip64, comment })
}

/// Entries with a signature of the archive's bytes, including headers: of NuGet and MSIX.
const SIGNATURES: [&[u8]; 2] = [b".signature.p7s", b"AppxSignature.p7x"];
/// The end of the block before the directory with which Android signs an archive's bytes.
const APK_SIGNATURE: &[u8] = b"APK Sig Block 42";

/// Whether a signature in the archive covers its bytes, so that no time may change.
pub(crate) fn is_sealed(bytes: &[u8]) -> bool {
    parse(bytes).is_ok_and(|archive| {
        bytes[..archive.central.0].ends_with(APK_SIGNATURE)
            || archive.entries.iter().any(|entry| SIGNATURES.contains(&entry.name))
    })
}

/// The offset of the end record: the last place from which its comment reaches the end of the file.
fn find_end(bytes: &[u8]) -> Result<usize, Malformed> {
    let missing = || Malformed::at(bytes.len(), "the directory at the end is missing");
    let last = bytes.len().checked_sub(END_LEN).ok_or_else(missing)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let fits = |at: &usize| {
        let len = Little.u16(bytes, at + 20).map_or(0, usize::from);
        bytes[*at..].starts_with(&END.to_le_bytes()) && at + END_LEN + len == bytes.len()
    };
    let marks = memchr::memrchr_iter(END.to_le_bytes()[0], &bytes[first..=last]);
    marks.map(|at| first + at).find(fits).ok_or_else(missing)
}

/// The content of the end records.
struct End {
    central: (usize, usize),
    base: usize,
    count: u64,
    zip64: bool,
}

impl End {
    fn read(bytes: &[u8], at: usize) -> Result<End, Malformed> {
        let mut cursor = Cursor::new(Little, &bytes[at..]);
        let what = "end record";
        cursor.take(4, what)?;
        let disks = cursor.u32(what)?;
        let (here, count) = (cursor.u16(what)?, cursor.u16(what)?);
        let (size, offset) = (cursor.u32(what)?, cursor.u32(what)?);
        let zip64 = at
            .checked_sub(LOCATOR64_LEN)
            .filter(|l| bytes[*l..].starts_with(&LOCATOR64.to_le_bytes()));
        let wide = [u32::from(count) == 0xFFFF, size == u32::MAX, offset == u32::MAX];
        let (end, size, offset, count) = match zip64 {
            Some(locator) => Self::read64(bytes, locator)?,
            None if wide.contains(&true) => {
                return Err(Malformed::at(at, "zip64 end record is missing"));
            }
            None => (at, size.into(), offset.into(), count.into()),
        };
        if zip64.is_none() && (disks != 0 || u64::from(here) != count) {
            return Err(Malformed::at(at + 4, "archive is split over disks"));
        }
        let bad = || Malformed::at(at + 12, "directory does not end before its end record");
        let start = usize::try_from(size).ok().and_then(|s| end.checked_sub(s)).ok_or_else(bad)?;
        let base = usize::try_from(offset).ok().and_then(|o| start.checked_sub(o));
        let base = base.ok_or_else(bad)?;
        Ok(End { central: (start, end), base, count, zip64: zip64.is_some() })
    }

    /// The end of the directory, its size and offset, and the number of entries.
    fn read64(bytes: &[u8], locator: usize) -> Result<(usize, u64, u64, u64), Malformed> {
        let what = "zip64 end record";
        // Its offset in the locator does not count what precedes the archive: it ends here.
        let at = locator
            .checked_sub(END64_LEN)
            .filter(|at| bytes[*at..].starts_with(&END64.to_le_bytes()));
        let at = at.ok_or_else(|| Malformed::at(locator, "zip64 end record is missing"))?;
        let mut cursor = Cursor::new(Little, &bytes[at..]);
        cursor.take(24, what)?;
        let (here, count) = (cursor.u64(what)?, cursor.u64(what)?);
        if here != count {
            return Err(Malformed::at(at + 24, "archive is split over disks"));
        }
        Ok((at, cursor.u64(what)?, cursor.u64(what)?, count))
    }
}

fn entry<'a>(bytes: &'a [u8], cursor: &mut Cursor<'a>, end: &End) -> Result<Entry<'a>, Malformed> {
    let what = "directory entry";
    let start = cursor.offset();
    if cursor.u32(what)? != CENTRAL {
        return Err(Malformed::at(start, "not a directory entry"));
    }
    cursor.take(4, what)?;
    let (flags, method) = (cursor.u16(what)?, cursor.u16(what)?);
    let (time, date) = (cursor.u16(what)?, cursor.u16(what)?);
    let crc = cursor.u32(what)?;
    let (packed, size) = (cursor.u32(what)?, cursor.u32(what)?);
    let lens = [cursor.u16(what)?, cursor.u16(what)?, cursor.u16(what)?];
    cursor.take(4, what)?;
    let (attributes, offset) = (cursor.u32(what)?, cursor.u32(what)?);
    let name = cursor.take(lens[0].into(), "name")?;
    let extras = cursor.take(lens[1].into(), "extra fields")?;
    cursor.take(lens[2].into(), "comment")?;
    let wide = extra::Zip64::of(extras, size, packed, offset)
        .ok_or_else(|| Malformed::at(start + CENTRAL_LEN, "zip64 field is too short"))?;
    let local_at = usize::try_from(wide.offset).ok().and_then(|o| o.checked_add(end.base));
    let local_at = local_at.filter(|at| *at < end.central.0);
    let local_at =
        local_at.ok_or_else(|| Malformed::at(start + 42, "entry is after the directory"))?;
    let content = local(bytes, local_at, end.central.0, name)?;
    let packed_end = usize::try_from(wide.packed).ok().and_then(|p| content.checked_add(p));
    let packed_end = packed_end.filter(|at| *at <= end.central.0);
    let packed_end =
        packed_end.ok_or_else(|| Malformed::at(local_at, "content reaches into the directory"))?;
    let mut entry = Entry {
        name,
        flags,
        method,
        crc,
        size: wide.size,
        modified: super::dos_time::DosTime { date, time },
        attributes,
        packed: &bytes[content..packed_end],
        extras: [extras, &bytes[local_at + LOCAL_LEN + name.len()..content]],
        central: (start, cursor.offset()),
        local: (local_at, content),
        end: packed_end,
    };
    if flags & STREAMED != 0 {
        entry.end = descriptor_end(&bytes[..end.central.0], &entry);
    }
    Ok(entry)
}

/// Checks the local header at `at`; returns the start of the content.
fn local(bytes: &[u8], at: usize, limit: usize, name: &[u8]) -> Result<usize, Malformed> {
    let what = "local header";
    let mut cursor = Cursor::new(Little, &bytes[..limit]);
    cursor.take(at, what)?;
    if cursor.u32(what)? != LOCAL {
        return Err(Malformed::at(at, "not a local header"));
    }
    cursor.take(LOCAL_LEN - 8, what)?;
    let (name_len, extra_len) = (cursor.u16(what)?, cursor.u16(what)?);
    if cursor.take(name_len.into(), what)? != name {
        return Err(Malformed::at(at + LOCAL_LEN, "name differs from the one in the directory"));
    }
    cursor.take(extra_len.into(), what)?;
    Ok(cursor.offset())
}

/// The end of the descriptor after the content: CRC and two sizes of 4 or 8 bytes, with or without
/// a signature. The end of the content if there is no descriptor.
fn descriptor_end(bytes: &[u8], entry: &Entry<'_>) -> usize {
    let signature = &DESCRIPTOR.to_le_bytes()[..];
    let crc = &entry.crc.to_le_bytes()[..];
    let packed = entry.packed.len() as u64;
    let narrow = [(packed as u32).to_le_bytes(), (entry.size as u32).to_le_bytes()].concat();
    let wide = [packed.to_le_bytes(), entry.size.to_le_bytes()].concat();
    let rest = &bytes[entry.end..];
    [
        [signature, crc, &wide].concat(),
        [signature, crc, &narrow].concat(),
        [crc, &wide].concat(),
        [crc, &narrow].concat(),
    ]
    .iter()
    .find(|d| rest.starts_with(d))
    .map_or(entry.end, |d| entry.end + d.len())
}

fn check_overlap(entries: &[Entry<'_>]) -> Result<(), Malformed> {
    let mut places: Vec<_> = entries.iter().map(|e| (e.local.0, e.end)).collect();
    places.sort_unstable();
    let over = places.windows(2).find(|pair| pair[0].1 > pair[1].0);
    over.map_or(Ok(()), |pair| Err(Malformed::at(pair[1].0, "entries overlap")))
}

#[cfg(test)]
pub(crate) mod tests;
