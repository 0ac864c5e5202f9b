//! FAT12, FAT16 and FAT32 with long names (Microsoft's "FAT: General Overview of On-Disk Format").
//!
//! It has neither owners nor modes: everything is root's, directories 0755 and files 0644.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::Blocks;
use super::{DIRECTORY_MAX, FileSystem, Inode, Use, invalid, le16, le32};
use crate::format::dos_time::DosTime;
use crate::format::time::Time;

const ENTRY: u64 = 32;
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 8;
const LONG: u8 = 0x0f;
const DELETED: u8 = 0xe5;
/// The handle of the root directory, which has no entry.
const ROOT: u64 = 0;

/// A FAT file system.
pub struct Vfat {
    disk: Arc<dyn Blocks>,
    sector: u64,
    cluster: u64,
    /// Where the first table is, and how many bytes of a number it has in halves.
    table: u64,
    width: Width,
    /// The root directory of FAT12 and FAT16: a place of its own.
    fixed_root: Range<u64>,
    root_cluster: u32,
    data: u64,
    clusters: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// An entry of a directory: its place, what it says, and its name.
struct Entry {
    at: u64,
    bytes: Vec<u8>,
    name: Vec<u8>,
}

/// Whether a sector of 512 bytes can be the first of a FAT file system.
pub fn is_boot_sector(head: &[u8]) -> bool {
    let sector = le16(head, 11);
    let cluster = head.get(13).copied().unwrap_or_default();
    matches!(head.first(), Some(0xeb | 0xe9))
        && matches!(sector, 512 | 1024 | 2048 | 4096)
        && cluster.is_power_of_two()
        && le16(head, 14) > 0
        && matches!(head.get(16), Some(1 | 2))
        && head.get(21).is_some_and(|media| *media >= 0xf0)
}

impl Vfat {
    /// Reads the boot sector.
    ///
    /// # Errors
    ///
    /// If it is not a FAT file system.
    pub fn open(disk: Arc<dyn Blocks>) -> io::Result<Self> {
        let head = disk.bytes(0, 512)?;
        if !is_boot_sector(&head) {
            return Err(invalid(0, "no boot sector of vfat"));
        }
        let sector = u64::from(le16(&head, 11));
        let cluster = sector * u64::from(head[13]);
        let either = |short: usize, long: usize| match le16(&head, short) {
            0 => u64::from(le32(&head, long)),
            short => u64::from(short),
        };
        let (sectors, per_table) = (either(19, 32), either(22, 36));
        let table = u64::from(le16(&head, 14)) * sector;
        let roots = table + u64::from(head[16]) * per_table * sector;
        let data = roots + (u64::from(le16(&head, 17)) * ENTRY).next_multiple_of(sector);
        let end = sectors * sector;
        if end > disk.size() || data >= end {
            return Err(invalid(disk.size(), format!("vfat: cut off, it has {sectors} sectors")));
        }
        let clusters = ((end - data) / cluster) as u32;
        let width = match clusters {
            _ if le16(&head, 22) == 0 => Width::ThirtyTwo,
            0..4085 => Width::Twelve,
            _ => Width::Sixteen,
        };
        Ok(Vfat {
            sector,
            cluster,
            table,
            width,
            fixed_root: roots..data,
            root_cluster: if width == Width::ThirtyTwo { le32(&head, 44) } else { 0 },
            data,
            clusters,
            disk,
        })
    }

    /// The cluster after `cluster`; `None` at the end of a file.
    fn next(&self, cluster: u32) -> io::Result<Option<u32>> {
        let n = u64::from(cluster);
        let (next, end) = match self.width {
            Width::Twelve => {
                let pair = le16(&self.disk.bytes(self.table + n + n / 2, 2)?, 0);
                let next = if n % 2 == 1 { pair >> 4 } else { pair & 0xfff };
                (u32::from(next), 0xff8)
            }
            Width::Sixteen => {
                (u32::from(le16(&self.disk.bytes(self.table + 2 * n, 2)?, 0)), 0xfff8)
            }
            Width::ThirtyTwo => {
                let next = le32(&self.disk.bytes(self.table + 4 * n, 4)?, 0);
                (next & 0x0fff_ffff, 0x0fff_fff8)
            }
        };
        Ok((next < end).then_some(next))
    }

    /// The places of a file's clusters in order, until they cover `size` bytes.
    fn chain(&self, first: u32, size: Option<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let (mut next, mut count) = ((first != 0).then_some(first), 0_u64);
        let most = size.map_or(u64::from(self.clusters), |size| size.div_ceil(self.cluster));
        while let Some(cluster) = next.filter(|_| count < most || size.is_none()) {
            count += 1;
            if cluster < 2 || cluster - 2 >= self.clusters || count > u64::from(self.clusters) {
                return Err(invalid(self.table, "vfat: a file's chain of clusters is damaged"));
            }
            let at = self.data + u64::from(cluster - 2) * self.cluster;
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end += self.cluster,
                _ => ranges.push(at..at + self.cluster),
            }
            next = self.next(cluster)?;
        }
        Ok(ranges)
    }

    /// The first cluster that an entry names; the upper half is FAT32's alone.
    fn first(&self, entry: &[u8]) -> u32 {
        let high = if self.width == Width::ThirtyTwo { u32::from(le16(entry, 20)) } else { 0 };
        high << 16 | u32::from(le16(entry, 26))
    }

    /// The places of a directory.
    fn directory(&self, handle: u64) -> io::Result<Vec<Range<u64>>> {
        match handle {
            ROOT if self.width != Width::ThirtyTwo => Ok(vec![self.fixed_root.clone()]),
            ROOT => self.chain(self.root_cluster, None),
            at => self.chain(self.first(&self.disk.bytes(at, 32)?), None),
        }
    }

    /// Every entry of a directory that is a file or a directory, with its long name.
    fn listed(&self, handle: u64) -> io::Result<Vec<Entry>> {
        let ranges = self.directory(handle)?;
        if ranges.iter().map(|range| range.end - range.start).sum::<u64>() > DIRECTORY_MAX {
            return Err(invalid(self.table, "vfat: a directory is too long"));
        }
        let (mut out, mut long) = (Vec::new(), Vec::new());
        for at in ranges.into_iter().flat_map(|range| range.step_by(ENTRY as usize)) {
            let bytes = self.disk.bytes(at, ENTRY as usize)?;
            match (bytes[0], bytes[11]) {
                (0, _) => break,
                (DELETED, _) => long.clear(),
                (_, LONG) => long.push(bytes),
                (_, kind) if kind & LABEL != 0 => long.clear(),
                _ => {
                    let name = long_name(&long, &bytes).unwrap_or_else(|| short_name(&bytes));
                    long.clear();
                    if name != b"." && name != b".." {
                        out.push(Entry { at, bytes, name });
                    }
                }
            }
        }
        Ok(out)
    }
}

impl FileSystem for Vfat {
    fn name(&self) -> &'static str {
        "vfat"
    }

    fn root(&self) -> u64 {
        ROOT
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        let inode = |number, mode, size, mtime| Inode {
            number,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime,
            links: 1,
            device: 0,
        };
        if handle == ROOT {
            return Ok(inode(ROOT, 0o040_755, 0, Time { sec: 0, nsec: 0 }));
        }
        let bytes = self.disk.bytes(handle, ENTRY as usize)?;
        Ok(match bytes[11] & DIRECTORY {
            0 => inode(handle, 0o100_644, u64::from(le32(&bytes, 28)), time(&bytes)),
            // Two entries of one cluster are one directory.
            _ => inode(u64::from(self.first(&bytes)) | 1 << 63, 0o040_755, 0, time(&bytes)),
        })
    }

    fn entries(&self, handle: u64) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let listed = self.listed(handle)?;
        Ok(listed.into_iter().map(|entry| (entry.name, entry.at)).collect())
    }

    fn stream(&self, handle: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut left = self.inode(handle)?.size;
        for range in self.extents(handle)? {
            let len = left.min(range.end - range.start);
            super::copy(&*self.disk, range.start, len, sink)?;
            left -= len;
        }
        match left {
            0 => Ok(()),
            _ => Err(invalid(handle, "vfat: a file is longer than its clusters")),
        }
    }

    fn xattrs(&self, _: u64) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn uses(&self) -> io::Result<Vec<(Range<u64>, Use)>> {
        let (serial, label) = if self.width == Width::ThirtyTwo { (67, 71) } else { (39, 43) };
        let mut out = vec![
            (0..serial, Use::Metadata("boot sector")),
            (serial..serial + 4, Use::Field("serial number")),
            (label..label + 11, Use::Field("label")),
            (label + 11..self.sector, Use::Metadata("boot sector")),
            (self.sector..self.table, Use::Metadata("reserved sectors")),
            (self.table..self.fixed_root.start, Use::Metadata("tables of clusters")),
        ];
        let mut todo = vec![ROOT];
        let mut entries = Vec::new();
        while let Some(handle) = todo.pop() {
            if entries.len() > self.clusters as usize {
                return Err(invalid(self.table, "vfat: directories lead to one another"));
            }
            let places = self.directory(handle)?;
            entries.extend(places);
            let dirs = self.listed(handle)?.into_iter().filter(|e| e.bytes[11] & DIRECTORY != 0);
            todo.extend(dirs.map(|entry| entry.at));
        }
        for at in entries.into_iter().flat_map(|range| range.step_by(ENTRY as usize)) {
            out.extend(entry_uses(at, &self.disk.bytes(at, ENTRY as usize)?));
        }
        out.retain(|(range, _)| !range.is_empty());
        out.sort_by_key(|(range, _)| range.start);
        Ok(out)
    }

    fn other(&self, at: u64) -> io::Result<(Use, u64)> {
        let Some(offset) = at.checked_sub(self.data) else {
            return Ok((Use::Metadata("directory entries"), self.data));
        };
        let n = offset / self.cluster;
        let end = self.data + (n + 1) * self.cluster;
        Ok(match n < u64::from(self.clusters) && self.next(n as u32 + 2)? != Some(0) {
            true => (Use::Metadata("clusters of no file"), end),
            false => (Use::Free, end),
        })
    }

    fn extents(&self, handle: u64) -> io::Result<Vec<Range<u64>>> {
        if handle == ROOT {
            return Ok(Vec::new());
        }
        let bytes = self.disk.bytes(handle, ENTRY as usize)?;
        match bytes[11] & DIRECTORY {
            0 => self.chain(self.first(&bytes), Some(u64::from(le32(&bytes, 28)))),
            // Entry by entry, they are among the uses.
            _ => Ok(Vec::new()),
        }
    }
}

/// What the bytes of a directory's entry are for.
fn entry_uses(at: u64, bytes: &[u8]) -> Vec<(Range<u64>, Use)> {
    match (bytes[0], bytes[11]) {
        (0 | DELETED, _) => vec![(at..at + ENTRY, Use::Free)],
        (_, LONG) => vec![(at..at + ENTRY, Use::Metadata("directory entries"))],
        _ => vec![
            (at..at + 13, Use::Metadata("directory entries")),
            (at + 13..at + 20, Use::Field("times of creation and access")),
            (at + 20..at + 22, Use::Metadata("directory entries")),
            (at + 22..at + 26, Use::Field("time of modification")),
            (at + 26..at + ENTRY, Use::Metadata("directory entries")),
        ],
    }
}

fn time(entry: &[u8]) -> Time {
    let time = DosTime { date: le16(entry, 24), time: le16(entry, 22) };
    Time { sec: time.to_unix(), nsec: 0 }
}

/// The name of eight and three characters, in the case that its flags say.
fn short_name(entry: &[u8]) -> Vec<u8> {
    let part = |range: Range<usize>, is_lower: bool| {
        let part = entry[range].trim_ascii_end();
        if is_lower { part.to_ascii_lowercase() } else { part.to_vec() }
    };
    let (mut name, end) = (part(0..8, entry[12] & 8 != 0), part(8..11, entry[12] & 16 != 0));
    if name.first() == Some(&5) {
        name[0] = DELETED;
    }
    if !end.is_empty() {
        name.push(b'.');
        name.extend(end);
    }
    name
}

/// The long name in the entries before a short one, if they are its own: their checksum says.
fn long_name(long: &[Vec<u8>], short: &[u8]) -> Option<Vec<u8>> {
    let sum = short[..11].iter().fold(0_u8, |sum, b| sum.rotate_right(1).wrapping_add(*b));
    let mut units = Vec::new();
    for (n, entry) in (1..).zip(long.iter().rev()) {
        if entry[13] != sum || entry[0] & 0x3f != n {
            return None;
        }
        let places = [1..11, 14..26, 28..32];
        let bytes = places.into_iter().flat_map(|range| entry[range].to_vec());
        let bytes: Vec<u8> = bytes.collect();
        units.extend(bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])));
    }
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    (end > 0).then(|| String::from_utf16_lossy(&units[..end]).into_bytes())
}
