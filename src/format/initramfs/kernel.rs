//! What the kernel makes of an image: a model of its `init/initramfs.c`, over entries alone.
//!
//! The kernel unpacks one archive after another into one file system. A file whose name is there
//! already is written *into the inode that is there*, whatever other names that has; a name whose
//! directory is not there is dropped without a message; what is no file and has content is
//! skipped. So order and hard links decide what the tree is, and a new order is right only if it
//! leads to the same tree. `tests/e2e/initramfs` holds this model to real kernels.
//!
//! Names are those that [`plan::verify`](super::plan::verify) accepts: none leads through a
//! symbolic link.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use super::plan::Planned;
use super::{DIRECTORY, REGULAR, SYMLINK};
use crate::format::cpio::Header;

/// An inode that the kernel made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds since 1970-01-01 UTC; `None` where it is the time of the boot.
    pub mtime: Option<u32>,
    /// Of a device node: major, minor.
    pub rdev: [u32; 2],
    /// SHA-256 of the content or target, if there is any.
    pub content: Option<[u8; 32]>,
}

impl Inode {
    fn kind(&self) -> u32 {
        self.mode & 0o170_000
    }
}

/// An entry as the kernel comes to it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The path, without `./` before and a slash behind it.
    pub name: &'a [u8],
    /// Its header.
    pub header: Header,
    /// SHA-256 of its content.
    pub digest: [u8; 32],
}

impl<'a> From<&Planned<'a>> for Found<'a> {
    fn from(Planned { name, header, digest, .. }: &Planned<'a>) -> Self {
        Found { name, header: *header, digest: *digest }
    }
}

/// The root file system after some archives.
#[derive(Debug)]
pub struct Rootfs<'a> {
    names: BTreeMap<&'a [u8], usize>,
    inodes: Vec<Inode>,
    /// The first name of each inode number of the archive that is being unpacked.
    linked: BTreeMap<(u32, [u32; 2], u32), &'a [u8]>,
    /// Times of directories, set when all is unpacked: those of the first archive that has them.
    times: BTreeMap<&'a [u8], u32>,
}

impl<'a> Rootfs<'a> {
    /// The file system with which every kernel begins (`usr/default_cpio_list`).
    fn new() -> Self {
        let mut root = Rootfs {
            names: BTreeMap::new(),
            inodes: Vec::new(),
            linked: BTreeMap::new(),
            times: BTreeMap::new(),
        };
        for (name, mode) in [(&b"."[..], 0o755), (b"dev", 0o755), (b"root", 0o700)] {
            root.make(name, DIRECTORY | mode, [0; 2]);
        }
        root.make(b"dev/console", 0o020_600, [5, 1]);
        root
    }

    /// What the kernel makes of these archives, each of which ends with a trailer.
    pub fn of<E: Into<Found<'a>>>(
        archives: impl IntoIterator<Item = impl IntoIterator<Item = E>>,
    ) -> Self {
        let mut root = Rootfs::new();
        for archive in archives {
            archive.into_iter().for_each(|entry| root.unpack(&entry.into()));
            root.linked.clear();
        }
        for (name, mtime) in std::mem::take(&mut root.times) {
            if let Some(inode) = root.inode(name) {
                inode.mtime = Some(mtime);
            }
        }
        root
    }

    fn unpack(&mut self, entry: &Found<'a>) {
        let Found { name, header, digest } = entry;
        let kind = header.mode & 0o170_000;
        let has = header.size > 0;
        match kind {
            SYMLINK => {
                self.clear(name, 0);
                if has && self.make(name, header.mode, [0; 2]) {
                    self.set(name, entry, |inode| inode.content = Some(*digest));
                } else {
                    self.set(name, entry, |_| {});
                }
            }
            _ if has && kind != REGULAR => {}
            REGULAR => {
                self.clear(name, kind);
                let joined = self.join(entry);
                if joined == Some(false) || !self.opens(name, header.mode) {
                    return;
                }
                self.set(name, entry, |inode| {
                    inode.mode = header.mode;
                    if has {
                        inode.content = Some(*digest);
                    } else if joined.is_none() {
                        inode.content = None;
                    }
                });
            }
            DIRECTORY => {
                self.clear(name, kind);
                self.make(name, header.mode, [0; 2]);
                self.set(name, entry, |inode| inode.mode = header.mode);
                self.times.entry(name).or_insert(header.mtime);
            }
            0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => {
                self.clear(name, kind);
                if self.join(entry).is_none() {
                    let device = matches!(kind, 0o020_000 | 0o060_000);
                    self.make(name, header.mode, if device { header.rdev } else { [0; 2] });
                    self.set(name, entry, |inode| inode.mode = header.mode);
                }
            }
            _ => self.clear(name, kind),
        }
    }

    fn inode(&mut self, name: &[u8]) -> Option<&mut Inode> {
        let n = *self.names.get(name)?;
        self.inodes.get_mut(n)
    }

    /// Owner and time, and what `more` does, of an inode that is there.
    fn set(&mut self, name: &[u8], entry: &Found<'_>, more: impl FnOnce(&mut Inode)) {
        let header = &entry.header;
        if let Some(inode) = self.inode(name) {
            inode.owner = (header.uid, header.gid);
            inode.mtime = Some(header.mtime);
            more(inode);
        }
    }

    /// Removes what has the name and is of another type; a directory only if it is empty.
    fn clear(&mut self, name: &'a [u8], kind: u32) {
        let Some(old) = self.inode(name).map(|inode| inode.kind()).filter(|old| *old != kind)
        else {
            return;
        };
        let below = [name, b"/"].concat();
        let filled = self
            .names
            .range::<[u8], _>((Included(&below[..]), Unbounded))
            .next()
            .is_some_and(|(n, _)| n.starts_with(&below));
        if old != DIRECTORY || !filled && name != b"." {
            self.names.remove(name);
        }
    }

    /// Whether a name could be made there.
    fn has_room(&self, name: &[u8]) -> bool {
        let parent = match name.iter().rposition(|b| *b == b'/') {
            Some(slash) => &name[..slash],
            None => b".",
        };
        let is_directory = |n: &usize| self.inodes[*n].kind() == DIRECTORY;
        !self.names.contains_key(name)
            && (name == b"." || self.names.get(parent).is_some_and(is_directory))
    }

    fn make(&mut self, name: &'a [u8], mode: u32, rdev: [u32; 2]) -> bool {
        let room = self.has_room(name);
        if room {
            self.names.insert(name, self.inodes.len());
            self.inodes.push(Inode { mode, owner: (0, 0), mtime: None, rdev, content: None });
        }
        room
    }

    /// Whether there is a regular file of the name now.
    fn opens(&mut self, name: &'a [u8], mode: u32) -> bool {
        self.make(name, mode, [0; 2]) || self.inode(name).is_some_and(|i| i.kind() == REGULAR)
    }

    /// Links the name to the first one of its inode number in this archive: whether that worked,
    /// or `None` if this is the first.
    fn join(&mut self, entry: &Found<'a>) -> Option<bool> {
        let header = &entry.header;
        if header.nlink < 2 {
            return None;
        }
        let key = (header.ino, header.dev, header.mode & 0o170_000);
        let Some(first) = self.linked.get(&key).copied() else {
            self.linked.insert(key, entry.name);
            return None;
        };
        self.clear(entry.name, 0);
        let inode = self.names.get(first).copied().filter(|_| self.has_room(entry.name));
        if let Some(n) = inode {
            self.names.insert(entry.name, n);
        }
        Some(inode.is_some())
    }

    /// Each path with its inode and how many names that has, sorted.
    pub fn tree(&self) -> impl Iterator<Item = (&'a [u8], &Inode, usize)> {
        let mut links = vec![0; self.inodes.len()];
        self.names.values().for_each(|n| links[*n] += 1);
        self.names.iter().map(move |(name, n)| (*name, &self.inodes[*n], links[*n]))
    }

    /// The first path at which `after` is another tree, and what of it. Links that `after` lacks
    /// are no difference; links that it has more are one.
    pub fn difference(&self, after: &Self) -> Option<(Vec<u8>, &'static str)> {
        let mut was = BTreeMap::new();
        let gone = |name: &&&[u8]| !after.names.contains_key(**name);
        if let Some(name) = self.names.keys().find(gone) {
            return Some((name.to_vec(), "would be missing"));
        }
        for (name, n) in &after.names {
            let Some(m) = self.names.get(name) else {
                return Some((name.to_vec(), "is dropped by the kernel and would appear"));
            };
            if self.inodes[*m] != after.inodes[*n] {
                return Some((name.to_vec(), "would become another"));
            }
            if was.insert(*n, *m).is_some_and(|other| other != *m) {
                return Some((name.to_vec(), "would become a hard link"));
            }
        }
        None
    }
}
