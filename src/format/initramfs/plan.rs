//! What the entries of an archive become: metadata, order, hard links.
//!
//! **Hard links.** dracut runs `hardlink`, which links equal files only if their mtimes agree to
//! the second, before it clamps times: whether two equal files are linked depends on when the
//! second turned (dracut 2703; dracut-ng 108 clamps first, but not where it packs with 3cpio). One
//! form for both is needed, and it cannot be "always linked": the kernel writes a later file of
//! the same name *into the inode that is there*, so whatever is unpacked over the image at boot
//! (`rpm-ostree initramfs-etc`, systemd-stub, coreos-installer) would change other names too. So
//! in images made by dracut *files are taken apart*, each name with its own content: what an
//! overlay does is then what it says. Links stay as they are where another archive of the image
//! has one of their names (what the image unpacks to depends on them), in images of other makers,
//! and where the copies would be more than [`SPLIT_MAX`].
//!
//! **Order.** Names are sorted, but for those whose order means something ([`place`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::kernel::Rootfs;
use super::{Archive, Compress, DIRECTORY, Earlier, Entry, Image, REGULAR, SYMLINK};
use crate::format::Malformed;
use crate::format::cpio::Header;

/// What is done to the entries of an image.
pub struct Rules<'a> {
    /// The time that no time in the image exceeds: seconds since 1970-01-01 UTC.
    pub epoch: u32,
    /// Whether members are compressed again even if their archives are canonical: then the same
    /// archives make the same image whatever compressed them before.
    pub always_repack: bool,
    /// What the archive with the system is compressed with.
    pub compress: Compress,
    /// Images that an earlier compose left: a member of theirs that unpacks to what is to be
    /// compressed stays compressed.
    pub earlier: &'a [Earlier],
    /// What is done to the files in it.
    pub inside: &'a dyn MemberRules,
}

/// What is done to the files in an image: the same as to files outside.
pub trait MemberRules {
    /// Whether the content of this regular file is needed to judge it; no I/O.
    fn wants(&self, entry: &Entry) -> bool;

    /// What becomes of a file that was wanted.
    ///
    /// An error is one of reading or writing, of scratch space too.
    fn judge(&self, entry: &Entry, content: Vec<u8>) -> io::Result<MemberVerdict>;
}

/// What becomes of a file in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberVerdict {
    /// It stays.
    Keep,
    /// It gets this content.
    Replace(Vec<u8>),
    /// It goes. Directories stay even when they become empty.
    Remove,
}

/// Leaves every file as it is.
pub struct KeepMembers;

impl MemberRules for KeepMembers {
    fn wants(&self, _: &Entry) -> bool {
        false
    }
    fn judge(&self, _: &Entry, _: Vec<u8>) -> io::Result<MemberVerdict> {
        Ok(MemberVerdict::Keep)
    }
}

/// An entry as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned<'a> {
    pub(super) name: &'a [u8],
    pub(super) header: Header,
    /// Where its content stands in the spool.
    pub(super) data: u64,
    /// SHA-256 of its content, if it has any.
    pub(super) digest: [u8; 32],
}

/// The content of a file after [`MemberRules`] had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) data: u64,
    pub(super) size: u32,
    pub(super) digest: [u8; 32],
    /// The sum of its bytes, if the archive carries it.
    pub(super) check: u32,
}

/// The trees of an image that are not looked into: names below a symbolic link, which the order of
/// entries leads elsewhere, and names that occur twice in an archive, which no generator makes.
pub(super) fn verify(image: &Image) -> Result<(), Malformed> {
    let symlinks: BTreeSet<&[u8]> =
        image.entries().filter(|e| e.kind() == SYMLINK).map(|e| &e.name[..]).collect();
    for entry in image.entries() {
        let slashes = entry.name.iter().enumerate().filter(|(_, b)| **b == b'/');
        for (at, _) in slashes {
            if symlinks.contains(&entry.name[..at]) {
                let name = String::from_utf8_lossy(&entry.name);
                return Err(Malformed::at(0, format!("{name} is below a symbolic link")));
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
    verify_ends(image)
}

/// Hard links of an archive that does not end with a trailer: the kernel would link names of the
/// next archive to them.
fn verify_ends(image: &Image) -> Result<(), Malformed> {
    let links =
        |a: &&Archive| a.entries.iter().any(|e| e.header.nlink > 1 && e.kind() != DIRECTORY);
    let mut archives = image.segments.iter().flat_map(|s| &s.archives).rev();
    let last = archives.next();
    match archives.find(|a| !a.ended && links(a)).filter(|_| last.is_some()) {
        Some(_) => {
            Err(Malformed::at(0, "an archive with hard links has no trailer, and another follows"))
        }
        None => Ok(()),
    }
}

/// Most bytes that taking links apart may add to what an image unpacks to.
const SPLIT_MAX: u64 = 64 << 20;

/// Which links of an image are taken apart.
pub(super) struct SplitLinks<'a> {
    /// Whether any are.
    made_by_dracut: bool,
    /// Names that more than one archive has: their links stay.
    elsewhere: BTreeSet<&'a [u8]>,
}

impl<'a> SplitLinks<'a> {
    pub(super) fn of(image: &'a Image, epoch: u32) -> Self {
        let mut seen = BTreeSet::new();
        let elsewhere = image.entries().filter(|e| !seen.insert(&e.name[..]));
        let elsewhere = elsewhere.map(|e| &e.name[..]).collect();
        SplitLinks {
            made_by_dracut: by_dracut(image) && copies(image, epoch) <= SPLIT_MAX,
            elsewhere,
        }
    }

    fn splits(&self, archive: &Archive, group: &Group) -> bool {
        let entry = |n: &usize| &archive.entries[*n];
        self.made_by_dracut
            && group
                .members
                .iter()
                .all(|n| entry(n).kind() == REGULAR && !self.elsewhere.contains(&entry(n).name[..]))
    }

    /// The groups with those taken apart that are to be.
    fn split(&self, archive: &Archive, groups: Vec<Group>) -> Vec<Group> {
        let mut out = Vec::new();
        for group in groups {
            match self.splits(archive, &group) {
                false => out.push(group),
                true => out.extend(
                    group.members.iter().map(|n| Group { members: vec![*n], body: group.body }),
                ),
            }
        }
        out
    }
}

/// Whether dracut made this image: it installs its own library, in one of the archives.
fn by_dracut(image: &Image) -> bool {
    image.entries().any(is_dracut)
}

fn is_dracut(entry: &Entry) -> bool {
    [&b"usr/lib/dracut"[..], b"lib/dracut"].contains(&&entry.name[..])
}

/// The segment with the system, which is what a compose asks to be compressed: dracut's own, or else
/// the last with a file that the kernel does not look for before it unpacks anything (microcode,
/// ACPI tables). rpm-ostree's member with devices alone is not it.
pub(super) fn system(image: &Image) -> Option<usize> {
    let early = |e: &Entry| e.name == b"early_cpio" || e.name.starts_with(b"kernel/");
    let file = |e: &Entry| e.kind() == REGULAR && !early(e);
    let last = |wanted: &dyn Fn(&Entry) -> bool| {
        image.segments.iter().rposition(|s| s.archives.iter().flat_map(|a| &a.entries).any(wanted))
    };
    last(&is_dracut).or_else(|| last(&file))
}

/// Bytes of files that equal another one, linked or not: the same for two builds of one image.
fn copies(image: &Image, epoch: u32) -> u64 {
    let mut seen = BTreeSet::new();
    let archives = image.segments.iter().flat_map(|s| &s.archives);
    // An archive whose links contradict one another is refused elsewhere.
    let groups =
        archives.flat_map(|a| groups(a).unwrap_or_default().into_iter().map(move |g| (a, g)));
    let mut total = 0_u64;
    for (archive, group) in groups {
        let Some((first, body)) = group.members.first().zip(group.body) else { continue };
        let Header { mode, uid, gid, mtime, .. } = archive.entries[*first].header;
        let new = seen.insert((body.digest, mode, uid, gid, mtime.min(epoch)));
        let more = group.members.len() as u64 - u64::from(new);
        total = total.saturating_add(more.saturating_mul(body.size.into()));
    }
    total
}

/// Tables that the kernel loads in the order in which they stand.
const ACPI: &[u8] = b"kernel/firmware/acpi/";

/// File systems that are mounted where they are, if an image begins with them: at byte 124.
const LIVE: [&[u8]; 2] = [b"root.squashfs", b"root.erofs"];

/// Where an entry goes. Bytewise, "." is first and a directory comes before what is in it; ACPI
/// tables keep their order, and a live system's root file system its place at the very front.
fn place(archive: &Archive, n: usize) -> (bool, &[u8], usize) {
    let name = &archive.entries[n].name[..];
    let front = n == 0 && LIVE.contains(&name);
    match name.starts_with(ACPI) {
        true => (!front, ACPI, n),
        false => (!front, name, 0),
    }
}

/// # Errors
///
/// If the kernel would not unpack the archives `after` to what it unpacks `before` to.
pub(super) fn same_tree<'a: 'b, 'b>(
    before: &'b [Vec<Planned<'a>>],
    after: impl IntoIterator<Item = &'b Vec<Planned<'a>>>,
) -> Result<(), Malformed> {
    let Some((name, what)) = Rootfs::of(before).difference(&Rootfs::of(after)) else {
        return Ok(());
    };
    let name = String::from_utf8_lossy(&name);
    let what = format!("in canonical order the image would unpack to another tree: {name} {what}");
    Err(Malformed::at(0, what))
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
    order.sort_by_key(|n| place(archive, *n));
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

/// The entries of `archive` as they are to be written: `groups` renumbered in the order of their
/// first names, content with the last.
pub(super) fn entries<'a>(
    archive: &'a Archive,
    groups: Vec<Group>,
    apart: &SplitLinks<'_>,
    epoch: u32,
) -> Vec<Planned<'a>> {
    let mut groups = apart.split(archive, groups);
    groups.sort_by_key(|g| g.members.first().map(|n| place(archive, *n)));
    let last = |group: &Group, n| group.members.last() == Some(&n);
    in_order(archive, &groups, epoch, last, |n| place(archive, n))
}

/// The entries of `archive` as they stand, with what became of their content: what the kernel
/// would unpack if nothing were sorted.
pub(super) fn found<'a>(archive: &'a Archive, groups: &[Group], epoch: u32) -> Vec<Planned<'a>> {
    // Several names may have the content, and the kernel may drop any of them.
    let has = |n: usize| archive.entries[n].header.size > 0;
    let had = |group: &Group, n| {
        has(n) || !group.members.iter().any(|n| has(*n)) && group.members.last() == Some(&n)
    };
    in_order(archive, groups, epoch, had, |n| n)
}

fn in_order<'a, K: Ord>(
    archive: &'a Archive,
    groups: &[Group],
    epoch: u32,
    has_content: impl Fn(&Group, usize) -> bool,
    key: impl Fn(usize) -> K,
) -> Vec<Planned<'a>> {
    let mut planned = BTreeMap::new();
    for (group, ino) in groups.iter().zip(1..) {
        for n in &group.members {
            let body = group.body.filter(|_| has_content(group, *n));
            planned.insert(key(*n), write_as(archive, *n, ino, group.members.len(), body, epoch));
        }
    }
    planned.into_values().collect()
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
        check: body.filter(|_| archive.crc && entry.kind() == REGULAR).map_or(0, |b| b.check),
        ..entry.header
    };
    let (data, digest) = body.map_or((0, [0; 32]), |b| (b.data, b.digest));
    Planned { name: &entry.name, header, data, digest }
}
