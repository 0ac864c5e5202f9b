//! What the entries of an archive become: metadata, order, hard links.
//!
//! **Hard links.** dracut runs `hardlink`, which links equal files only if their mtimes agree to
//! the second, before it clamps times: whether two equal files are linked depends on when the
//! second turned (dracut 2703, fixed in dracut-ng 108 by clamping first). So here, in archives
//! made by dracut, *equal files are always linked*, after clamping, by `hardlink`'s own rule: not
//! empty, same content, mode, owner, group and time. This is what dracut means to make; splitting
//! every group instead would multiply what is unpacked into memory at boot. Archives of other
//! generators keep the links that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::{Archive, DIRECTORY, Entry, Image, REGULAR, SYMLINK};
use crate::format::Malformed;
use crate::format::cpio::Header;

/// What is done to the entries of an image.
pub struct Rules<'a> {
    /// The time that no time in the image exceeds: seconds since 1970-01-01 UTC.
    pub epoch: u32,
    /// Whether members are compressed again even if their archives are canonical: then the same
    /// archives make the same image whatever compressed them before.
    pub always_repack: bool,
    /// What is done to the files in it.
    pub inside: &'a dyn Inside,
}

/// What is done to the files in an image: the same as to files outside.
pub trait Inside {
    /// Whether the content of this regular file is needed to judge it; no I/O.
    fn wants(&self, entry: &Entry) -> bool;

    /// What becomes of a file that was wanted.
    ///
    /// An error is one of reading or writing, of scratch space too.
    fn judge(&self, entry: &Entry, content: Vec<u8>) -> io::Result<Inner>;
}

/// What becomes of a file in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inner {
    /// It stays.
    Keep,
    /// It gets this content.
    Replace(Vec<u8>),
    /// It goes. Directories stay even when they become empty.
    Remove,
}

/// Leaves every file as it is.
pub struct NothingInside;

impl Inside for NothingInside {
    fn wants(&self, _: &Entry) -> bool {
        false
    }
    fn judge(&self, _: &Entry, _: Vec<u8>) -> io::Result<Inner> {
        Ok(Inner::Keep)
    }
}

/// An entry as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned<'a> {
    pub(super) name: &'a [u8],
    pub(super) header: Header,
    /// Where its content stands in the spool.
    pub(super) data: u64,
}

/// The content of a file after [`Inside`] had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) data: u64,
    pub(super) size: u32,
    pub(super) digest: [u8; 32],
    /// The sum of its bytes, if the archive carries it.
    pub(super) check: u32,
}

/// The trees of an image that cannot be sorted without changing what they unpack to, or that no
/// generator makes: names that occur twice in an archive, and names below something that is no
/// directory (through a symbolic link, the order of entries decides where a file lands).
pub(super) fn verify(image: &Image) -> Result<(), Malformed> {
    let plain: BTreeSet<&[u8]> =
        image.entries().filter(|e| e.kind() != DIRECTORY).map(|e| &e.name[..]).collect();
    for entry in image.entries() {
        let slashes = entry.name.iter().enumerate().filter(|(_, b)| **b == b'/');
        for (at, _) in slashes {
            if plain.contains(&entry.name[..at]) {
                let name = String::from_utf8_lossy(&entry.name);
                return Err(Malformed::at(0, format!("{name} lies below what is no directory")));
            }
        }
    }
    for archive in image.segments.iter().flat_map(|s| &s.archives) {
        let mut seen = BTreeSet::new();
        if let Some(twice) = archive.entries.iter().find(|e| !seen.insert(&e.name)) {
            let name = String::from_utf8_lossy(&twice.name);
            return Err(Malformed::at(0, format!("{name} occurs twice in an archive")));
        }
    }
    Ok(())
}

/// One inode of an archive: the entries that name it, by index into the archive.
pub(super) struct Group {
    /// In canonical order.
    pub(super) members: Vec<usize>,
    /// The content of a regular file that is not empty.
    pub(super) body: Option<Body>,
}

/// The inodes of an archive, each with its names in canonical order. Names are unique.
pub(super) fn groups(archive: &Archive) -> Result<Vec<Group>, Malformed> {
    let mut order: Vec<usize> = (0..archive.entries.len()).collect();
    // Bytewise, "." is first and a directory comes before what is in it.
    order.sort_by_key(|n| &archive.entries[*n].name);
    let mut linked: BTreeMap<(u32, [u32; 2], u32), usize> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for n in order {
        let entry = &archive.entries[n];
        let header = &entry.header;
        let links = header.nlink > 1 && ![DIRECTORY, SYMLINK].contains(&entry.kind());
        let key = (header.ino, header.dev, entry.kind());
        match linked.get(&key).filter(|_| links) {
            Some(group) => join(archive, &mut groups[*group], n)?,
            None => {
                if links {
                    linked.insert(key, groups.len());
                }
                groups.push(Group { members: vec![n], body: body(entry) });
            }
        }
    }
    Ok(groups)
}

fn body(entry: &Entry) -> Option<Body> {
    let Header { size, check, .. } = entry.header;
    let has = size > 0 && matches!(entry.kind(), REGULAR | SYMLINK);
    has.then_some(Body { data: entry.data, size, digest: entry.digest, check })
}

/// Adds a name to an inode. Its metadata are the inode's; its content is with one of its names, or
/// the same with several.
fn join(archive: &Archive, group: &mut Group, n: usize) -> Result<(), Malformed> {
    let (entry, first) = (&archive.entries[n], &archive.entries[group.members[0]]);
    let meta = |h: &Header| (h.mode, h.uid, h.gid, h.mtime, h.rdev);
    let new = body(entry);
    let contents_differ = matches!((group.body, new), (Some(a), Some(b)) if a.digest != b.digest);
    if meta(&entry.header) != meta(&first.header) || contents_differ {
        let name = String::from_utf8_lossy(&entry.name);
        return Err(Malformed::at(0, format!("hard links differ ({name})")));
    }
    group.body = group.body.or(new);
    group.members.push(n);
    Ok(())
}

/// Whether dracut made this archive: it installs its own library.
fn by_dracut(archive: &Archive) -> bool {
    let own = |e: &Entry| [&b"usr/lib/dracut"[..], b"lib/dracut"].contains(&&e.name[..]);
    archive.entries.iter().any(own)
}

/// The entries of `archive` as they are to be written: `groups` renumbered in the order of their
/// first names, content with the last.
pub(super) fn entries<'a>(
    archive: &'a Archive,
    mut groups: Vec<Group>,
    epoch: u32,
) -> Vec<Planned<'a>> {
    if by_dracut(archive) {
        groups = link_equal(archive, groups, epoch);
    }
    groups.sort_by_key(|g| g.members.first().map(|n| &archive.entries[*n].name));
    let mut planned: Vec<Planned<'a>> = Vec::new();
    for (group, ino) in groups.iter().zip(1..) {
        for (left, n) in (0..group.members.len()).rev().zip(&group.members) {
            let body = group.body.filter(|_| left == 0);
            planned.push(write_as(archive, *n, ino, group.members.len(), body, epoch));
        }
    }
    planned.sort_by_key(|p| p.name);
    planned
}

fn write_as<'a>(
    archive: &'a Archive,
    n: usize,
    ino: u32,
    names: usize,
    body: Option<Body>,
    epoch: u32,
) -> Planned<'a> {
    let entry = &archive.entries[n];
    let device = matches!(entry.kind(), 0o020_000 | 0o060_000);
    let header = Header {
        crc: archive.crc,
        ino,
        // File systems disagree on a directory's links; only files' are looked at.
        nlink: if entry.kind() == DIRECTORY { 2 } else { u32::try_from(names).unwrap_or(u32::MAX) },
        mtime: entry.header.mtime.min(epoch),
        size: body.map_or(0, |b| b.size),
        dev: [0; 2],
        rdev: if device { entry.header.rdev } else { [0; 2] },
        check: body.filter(|_| archive.crc).map_or(0, |b| b.check),
        ..entry.header
    };
    Planned { name: &entry.name, header, data: body.map_or(0, |b| b.data) }
}

/// Joins the inodes of equal regular files.
fn link_equal(archive: &Archive, groups: Vec<Group>, epoch: u32) -> Vec<Group> {
    let mut by_content = BTreeMap::new();
    let mut out: Vec<Group> = Vec::new();
    for group in groups {
        let entry = &archive.entries[group.members[0]];
        let Header { mode, uid, gid, mtime, .. } = entry.header;
        let Some(body) = group.body.filter(|_| entry.kind() == REGULAR) else {
            out.push(group);
            continue;
        };
        let key = (body.digest, mode, uid, gid, mtime.min(epoch));
        let at = *by_content.entry(key).or_insert(out.len());
        match out.get_mut(at) {
            Some(first) => {
                first.members.extend(group.members);
                first.members.sort_by_key(|n| &archive.entries[*n].name);
            }
            None => out.push(group),
        }
    }
    out
}
