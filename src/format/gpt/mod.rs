//! GPT partition tables (UEFI specification 2.10, chapter 5): both headers, both arrays of entries,
//! and the names of types in the Discoverable Partitions Specification.
//!
//! A header counts only if its checksum is right, and an entry only up to the end of the disk. If
//! one copy is damaged, the other is read, and the damage is reported.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::Malformed;
use super::filesystem::{le32, le64};

/// The most bytes of all entries: 1,024 partitions of 128 bytes, eight times what tools make.
const ENTRIES_MAX: u64 = 1024 * 128;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER: usize = 92;
const ENTRY: usize = 128;
/// Sector sizes of real disks.
const SECTORS: [u64; 2] = [512, 4096];

/// A GUID as on the disk: its first three fields are little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for (place, byte) in ORDER.into_iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[byte])?;
        }
        Ok(())
    }
}

impl Guid {
    /// The name of a partition's type (`root-x86-64-verity`, `esp`), as in `systemd-id128 show`.
    pub fn type_name(&self) -> Option<&'static str> {
        let guid = self.to_string();
        let rows = include_str!("types.tsv").lines().filter_map(|line| line.split_once('\t'));
        rows.filter(|(known, _)| *known == guid).map(|(_, name)| name).next()
    }
}

/// The role of a partition: data, its hash tree, or the signature of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A file system, or anything else.
    Data,
    /// The hash tree of a data partition (dm-verity).
    Verity,
    /// The signature of the root hash, as JSON.
    Signature,
}

/// One entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its place in the table, counted from 1 as tools do.
    pub number: u32,
    /// Type.
    pub kind: Guid,
    /// Unique id.
    pub id: Guid,
    /// Its bytes on the disk.
    pub bytes: Range<u64>,
    /// Attribute bits.
    pub attributes: u64,
    /// Label, up to 36 UTF-16 units.
    pub label: String,
}

impl Partition {
    /// Its role, by its type.
    pub fn role(&self) -> Role {
        match self.kind.type_name() {
            Some(name) if name.ends_with("-verity-sig") => Role::Signature,
            Some(name) if name.ends_with("-verity") => Role::Verity,
            _ => Role::Data,
        }
    }
}

/// `2 (root-x86-64-verity, label root_1)`.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.type_name() {
            Some(name) => write!(f, "{} ({name}", self.number)?,
            None => write!(f, "{} (type {}", self.number, self.kind)?,
        }
        match &*self.label {
            "" => f.write_str(")"),
            label => write!(f, ", label {label})"),
        }
    }
}

/// A partition table, from the first intact one of its two copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Bytes of a sector.
    pub sector: u64,
    /// The disk's id.
    pub disk: Guid,
    /// Entries in use, in their order.
    pub partitions: Vec<Partition>,
    /// What is wrong with the first copy, at the beginning of the disk, otherwise with the second.
    pub damage: Option<Malformed>,
}

/// A header and its entries.
struct TableCopy {
    own: u64,
    other: u64,
    disk: Guid,
    usable: Range<u64>,
    entries: Vec<u8>,
    entry_size: usize,
}

/// Whether `head`, the first 4,104 bytes of a disk or fewer, has the signature of a table.
pub fn is_gpt(head: &[u8]) -> bool {
    SECTORS.iter().any(|at| {
        let at = *at as usize;
        head.get(at..at + SIGNATURE.len()) == Some(SIGNATURE)
    })
}

/// Reads the table of a disk of `len` bytes.
///
/// # Errors
///
/// With [`Malformed`] inside if neither copy is valid.
pub fn read<R: Read + Seek>(disk: &mut R, len: u64) -> io::Result<Table> {
    let mut first = None;
    for sector in SECTORS {
        let wrong = match copy(disk, len, sector, 1) {
            Ok(primary) => {
                let backup = copy(disk, len, sector, primary.other);
                let damage = match backup {
                    Ok(backup) => differ(&primary, &backup, sector),
                    Err(e) => Some(malformed(e)?),
                };
                return table(&primary, len, sector, damage);
            }
            Err(e) => malformed(e)?,
        };
        if let Some(last) = (len / sector).checked_sub(1)
            && last > 1
        {
            match copy(disk, len, sector, last) {
                Ok(backup) => return table(&backup, len, sector, Some(wrong)),
                Err(e) => drop(malformed(e)?),
            }
        }
        first.get_or_insert(wrong);
    }
    Err(invalid(first.unwrap_or_else(|| Malformed::at(0, "no partition table"))))
}

fn invalid(what: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Extracts what is wrong with an input; read errors stay errors.
fn malformed(error: io::Error) -> io::Result<Malformed> {
    error.downcast::<Malformed>()
}

/// Reads `size` bytes at `at`, which must be on the disk.
fn bytes<R: Read + Seek>(
    disk: &mut R,
    len: u64,
    at: Option<u64>,
    size: usize,
) -> io::Result<Vec<u8>> {
    let outside =
        || invalid(Malformed::at(len, "partition table is cut off, or points behind the end"));
    let at = at.ok_or_else(outside)?;
    if at.checked_add(size as u64).is_none_or(|end| end > len) {
        return Err(outside());
    }
    let mut out = vec![0; size];
    disk.seek(SeekFrom::Start(at))?;
    disk.read_exact(&mut out)?;
    Ok(out)
}

fn guid(bytes: &[u8], at: usize) -> Guid {
    let mut guid = [0; 16];
    guid[..8].copy_from_slice(&le64(bytes, at).to_le_bytes());
    guid[8..].copy_from_slice(&le64(bytes, at + 8).to_le_bytes());
    Guid(guid)
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Reads the copy whose header is in sector `sector`.
fn copy<R: Read + Seek>(disk: &mut R, len: u64, sector: u64, at: u64) -> io::Result<TableCopy> {
    let offset = at.checked_mul(sector);
    let header = bytes(disk, len, offset, sector as usize)?;
    let wrong = |place: u64, what: &str| {
        let offset = offset.unwrap_or_default() + place;
        invalid(Malformed::at(offset, format!("partition table: {what}")))
    };
    if header[..8] != *SIGNATURE {
        return Err(wrong(0, "no signature"));
    }
    let size = le32(&header, 12) as usize;
    if !(HEADER..=header.len()).contains(&size) {
        return Err(wrong(12, "impossible length of the header"));
    }
    let mut summed = header[..size].to_vec();
    summed[16..20].fill(0);
    if crc32(&summed) != le32(&header, 16) {
        return Err(wrong(16, "checksum of the header is wrong"));
    }
    if le64(&header, 24) != at {
        return Err(wrong(24, "the header names another place for itself"));
    }
    let (count, entry_size) = (u64::from(le32(&header, 80)), u64::from(le32(&header, 84)));
    let total = count * entry_size;
    let is_size = entry_size >= ENTRY as u64 && (entry_size / ENTRY as u64).is_power_of_two();
    if !is_size || !entry_size.is_multiple_of(ENTRY as u64) || total > ENTRIES_MAX {
        return Err(wrong(80, "impossible number or size of entries"));
    }
    let place = le64(&header, 72).checked_mul(sector);
    let entries = bytes(disk, len, place, total as usize)?;
    if crc32(&entries) != le32(&header, 88) {
        return Err(wrong(88, "checksum of the entries is wrong"));
    }
    Ok(TableCopy {
        own: at,
        other: le64(&header, 32),
        disk: guid(&header, 56),
        usable: le64(&header, 40)..le64(&header, 48).saturating_add(1),
        entries,
        entry_size: entry_size as usize,
    })
}

/// In what two intact copies disagree.
fn differ(primary: &TableCopy, backup: &TableCopy, sector: u64) -> Option<Malformed> {
    let same = (primary.disk, &primary.usable, &primary.entries)
        == (backup.disk, &backup.usable, &backup.entries)
        && backup.other == primary.own;
    let at = primary.other.saturating_mul(sector);
    (!same).then(|| Malformed::at(at, "partition table: the second copy says otherwise"))
}

fn table(copy: &TableCopy, len: u64, sector: u64, damage: Option<Malformed>) -> io::Result<Table> {
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(copy.entries.chunks_exact(copy.entry_size)) {
        if guid(entry, 0) != Guid::default() {
            partitions.push(partition(number, entry, copy, len, sector)?);
        }
    }
    let mut places: Vec<&Partition> = partitions.iter().collect();
    places.sort_by_key(|p| p.bytes.start);
    if let Some(pair) = places.windows(2).find(|pair| pair[1].bytes.start < pair[0].bytes.end) {
        let what = format!("partitions {} and {} overlap", pair[0].number, pair[1].number);
        return Err(invalid(Malformed::at(pair[1].bytes.start, what)));
    }
    Ok(Table { sector, disk: copy.disk, partitions, damage })
}

fn partition(
    number: u32,
    entry: &[u8],
    copy: &TableCopy,
    len: u64,
    sector: u64,
) -> io::Result<Partition> {
    let (first, last) = (le64(entry, 32), le64(entry, 40));
    let end = last.checked_add(1).filter(|end| first < *end && copy.usable.contains(&first));
    let end = end.filter(|end| *end <= copy.usable.end).and_then(|end| end.checked_mul(sector));
    let Some(end) = end.filter(|end| *end <= len) else {
        let what = format!("partition {number} is not within the disk");
        return Err(invalid(Malformed::at(first.saturating_mul(sector), what)));
    };
    let units = entry[56..ENTRY].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let label: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    Ok(Partition {
        number,
        kind: guid(entry, 0),
        id: guid(entry, 16),
        bytes: first * sector..end,
        attributes: le64(entry, 48),
        label: String::from_utf16_lossy(&label),
    })
}
