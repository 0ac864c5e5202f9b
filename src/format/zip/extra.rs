//! The extra fields of a header that hold times, owners and wide sizes.
//!
//! A field is an identifier, a length, and that many bytes; what does not parse so is padding (as
//! zipalign writes it) and stays.

/// Sizes and offset of more than 32 bits.
const ZIP64: u16 = 0x0001;
/// NTFS: three times in units of 100 ns since 1601.
const NTFS: u16 = 0x000A;
/// PKWARE's Unix: time of access, of modification, uid, gid, and what a link or device needs.
const UNIX_PK: u16 = 0x000D;
/// Info-ZIP's first Unix field: time of access, of modification, and in the local header uid, gid.
const UNIX_1: u16 = 0x5855;
/// Info-ZIP's extended timestamp: flags, then times in seconds since 1970, in the directory only
/// the first.
const TIMESTAMP: u16 = 0x5455;
/// Info-ZIP's second Unix field: uid and gid in two bytes each.
const UNIX_2: u16 = 0x7855;
/// Info-ZIP's third Unix field: version 1, then uid and gid with their lengths.
const UNIX_3: u16 = 0x7875;

/// Seconds from 1601 to 1970.
const NTFS_EPOCH: u64 = 11_644_473_600;
const NTFS_UNIT: u64 = 10_000_000;

/// The fields: identifier, where its data begins, where it ends.
fn fields(extra: &[u8]) -> impl Iterator<Item = (u16, usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = extra.get(at..at + 4)?;
        let id = u16::from_le_bytes([head[0], head[1]]);
        let start = at + 4;
        let end = start + usize::from(u16::from_le_bytes([head[2], head[3]]));
        at = end;
        (end <= extra.len()).then_some((id, start, end))
    })
}

/// Sizes and offset of an entry in 64 bits.
pub(super) struct Zip64 {
    pub(super) size: u64,
    pub(super) packed: u64,
    pub(super) offset: u64,
}

impl Zip64 {
    /// From the 32-bit fields of a directory entry and, where those are all ones, its zip64 field,
    /// in this order; `None` if that is too short.
    pub(super) fn of(extra: &[u8], size: u32, packed: u32, offset: u32) -> Option<Zip64> {
        let field = fields(extra).find(|(id, ..)| *id == ZIP64);
        let mut wide = field.map_or(&[][..], |(_, start, end)| &extra[start..end]);
        let mut take = |narrow: u32| -> Option<u64> {
            if narrow != u32::MAX {
                return Some(narrow.into());
            }
            let (value, rest) = wide.split_first_chunk::<8>()?;
            wide = rest;
            Some(u64::from_le_bytes(*value))
        };
        Some(Zip64 { size: take(size)?, packed: take(packed)?, offset: take(offset)? })
    }
}

/// The time of modification in seconds since 1970, UTC, from the first field that has one.
pub(super) fn modified(extra: &[u8]) -> Option<i64> {
    fields(extra).find_map(|(id, start, end)| {
        let data = &extra[start..end];
        match id {
            TIMESTAMP if data.first()? & 1 != 0 => seconds(data, 1),
            UNIX_1 | UNIX_PK => seconds(data, 4),
            NTFS => {
                let at = ntfs_times(data)?;
                let raw = u64::from_le_bytes(data[at..at + 8].try_into().ok()?);
                i64::try_from(raw / NTFS_UNIT).ok()?.checked_sub(NTFS_EPOCH.cast_signed())
            }
            _ => None,
        }
    })
}

/// Puts every time in the fields at `modified` (seconds since 1970, UTC) and every owner at 0.
/// Lengths stay.
pub(super) fn normalise(extra: &mut [u8], modified: i64) {
    let narrow = modified.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    let all: Vec<_> = fields(extra).collect();
    for (id, start, end) in all {
        let data = &mut extra[start..end];
        match id {
            TIMESTAMP if !data.is_empty() => set_seconds(&mut data[1..], narrow),
            UNIX_1 | UNIX_PK => {
                let times = data.len().min(8);
                set_seconds(&mut data[..times], narrow);
                let owners = data.len().min(12);
                data[times..owners].fill(0);
            }
            UNIX_2 => data.fill(0),
            UNIX_3 => zero_owners(data),
            NTFS => set_ntfs(data, modified),
            _ => {}
        }
    }
}

fn seconds(data: &[u8], at: usize) -> Option<i64> {
    let raw = data.get(at..)?.first_chunk::<4>()?;
    Some(i32::from_le_bytes(*raw).into())
}

fn set_seconds(data: &mut [u8], value: i32) {
    for place in data.chunks_exact_mut(4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// Where, behind four reserved bytes, the attribute with the three times has its data.
fn ntfs_times(data: &[u8]) -> Option<usize> {
    let attributes = data.get(4..)?;
    let (_, start, end) = fields(attributes).find(|(tag, ..)| *tag == 1)?;
    (end - start >= 24).then_some(4 + start)
}

/// Keeps the part below a second where the whole seconds do not change: what is not clamped stays.
fn set_ntfs(data: &mut [u8], modified: i64) {
    let Some(at) = ntfs_times(data) else { return };
    let Ok(old) = <[u8; 8]>::try_from(&data[at..at + 8]) else { return };
    let old = u64::from_le_bytes(old);
    let whole = modified.max(-NTFS_EPOCH.cast_signed()) + NTFS_EPOCH.cast_signed();
    let whole = whole.unsigned_abs();
    let new = if old / NTFS_UNIT == whole { old } else { whole.saturating_mul(NTFS_UNIT) };
    for place in data[at..at + 24].chunks_exact_mut(8) {
        place.copy_from_slice(&new.to_le_bytes());
    }
}

/// Version, length of uid, uid, length of gid, gid.
fn zero_owners(data: &mut [u8]) {
    let mut at = 1;
    while let Some(len) = data.get(at).map(|l| usize::from(*l)) {
        let end = (at + 1 + len).min(data.len());
        data[at + 1..end].fill(0);
        at = end;
    }
}
