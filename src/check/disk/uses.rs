//! What each byte of a partition is for.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::role;
use crate::format::filesystem::{FileSystem, Use};
use crate::format::gpt::Role;
use crate::source::disk::{Disk, Part};

/// What a byte is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// An identifier, a time or a checksum of a file system.
    Field(&'static str),
    /// Another part of its metadata.
    Metadata(&'static str),
    /// Content of the path.
    Content(PathBuf),
    /// Content and metadata of a file system that packs both.
    Packed,
    /// Free.
    Free,
    /// A hash, a signature, or encrypted.
    Sealed,
    /// Something that is not read.
    Unknown,
}

/// What the bytes of one partition are for; read when the first is asked.
pub(super) struct Uses<'a> {
    disk: &'a Disk,
    part: &'a Part,
    known: Option<Vec<(Range<u64>, Is)>>,
}

impl<'a> Uses<'a> {
    pub(super) fn of(disk: &'a Disk, part: &'a Part) -> Self {
        Uses { disk, part, known: None }
    }

    /// What the byte at `at` is, and where that ends.
    pub(super) fn at(&mut self, at: u64) -> io::Result<(Is, u64)> {
        if role(self.part) != Role::Data || self.part.format == Some("LUKS") {
            return Ok((Is::Sealed, u64::MAX));
        }
        let Some(filesystem) = self.part.filesystem.as_deref() else {
            return Ok((Is::Unknown, u64::MAX));
        };
        let known = match &mut self.known {
            Some(known) => known,
            unknown => unknown.insert(read(self.disk, self.part, filesystem)?),
        };
        let n = known.partition_point(|(range, _)| range.end <= at);
        let (start, found) = match known.get(n) {
            Some((range, found)) if range.contains(&at) => return Ok((found.clone(), range.end)),
            Some((range, _)) => (range.start, filesystem.other(at)?),
            None => (u64::MAX, filesystem.other(at)?),
        };
        let (found, end) = found;
        Ok((is(found), end.min(start)))
    }
}

fn is(found: Use) -> Is {
    match found {
        Use::Field(name) => Is::Field(name),
        Use::Metadata(name) => Is::Metadata(name),
        Use::Packed => Is::Packed,
        Use::Free => Is::Free,
    }
}

/// The ranges of a file system that are known, in order.
fn read(
    disk: &Disk,
    part: &Part,
    filesystem: &dyn FileSystem,
) -> io::Result<Vec<(Range<u64>, Is)>> {
    let mut known: Vec<_> =
        filesystem.uses()?.into_iter().map(|(range, found)| (range, is(found))).collect();
    for (path, node) in &disk.nodes {
        let Some((n, handle)) = node.at else { continue };
        if !std::ptr::eq(&disk.parts[n], part) {
            continue;
        }
        let mut left = node.inode.size;
        for range in filesystem.extents(handle)? {
            if node.inode.is_dir() {
                known.push((range, Is::Metadata("directories")));
                continue;
            }
            // Behind a file's end its last block is slack.
            let end = range.start + left.min(range.end - range.start);
            left -= end - range.start;
            known.push((range.start..end, Is::Content(path.clone())));
            known.push((end..range.end, Is::Free));
        }
    }
    known.retain(|(range, _)| !range.is_empty());
    known.sort_by_key(|(range, _)| (range.start, range.end));
    known.dedup_by(|next, before| next.0.start < before.0.end);
    Ok(known)
}
