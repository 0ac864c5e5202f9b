//! A model of how the kernel unpacks an image (`init/initramfs.c`), from its entries alone.
//!
//! The kernel unpacks one archive after another into one file system. A file whose name already
//! exists is written *into the existing inode*, whatever other names that has; a name whose
//! directory does not exist is dropped without a message; an entry with content that is not a file
//! is skipped. So order and hard links determine the tree, and a new order is right only if it
//! leads to the same tree. `tests/e2e/initramfs` compares this model with real kernels.
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
    /// Seconds since 1970-01-01 UTC; `None` if it is the time of booting.
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

/// An entry as the kernel reads it.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The path, without a leading `./` and a trailing slash.
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
    /// The first name of each inode number in the present archive.
    linked: BTreeMap<(u32, [u32; 2], u32), &'a [u8]>,
    /// Times of directories, which are set after unpacking: those of the first archive that has
    /// them.
    times: BTreeMap<&'a [u8], u32>,
}

impl<'a> Rootfs<'a> {
    /// The initial file system of every kernel (`usr/default_cpio_list`).
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

    /// The result of unpacking these archives, each of which ends with a trailer.
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

    /// Sets owner and time of an existing inode, and calls `more` for it.
    fn set(&mut self, name: &[u8], entry: &Found<'_>, more: impl FnOnce(&mut Inode)) {
        let header = &entry.header;
        if let Some(inode) = self.inode(name) {
            inode.owner = (header.uid, header.gid);
            inode.mtime = Some(header.mtime);
            more(inode);
        }
    }

    /// Removes an existing entry of another type; a directory only if it is empty.
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

    /// Whether the name could be created.
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

    /// Opens or creates a regular file; returns whether that worked.
    fn opens(&mut self, name: &'a [u8], mode: u32) -> bool {
        self.make(name, mode, [0; 2]) || self.inode(name).is_some_and(|i| i.kind() == REGULAR)
    }

    /// Links the name to the first one of its inode number in this archive; returns whether that
    /// worked, or `None` if this is the first.
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

    /// Each path with its inode and the number of its names, sorted.
    pub fn tree(&self) -> impl Iterator<Item = (&'a [u8], &Inode, usize)> {
        let mut links = vec![0; self.inodes.len()];
        self.names.values().for_each(|n| links[*n] += 1);
        self.names.iter().map(move |(name, n)| (*name, &self.inodes[*n], links[*n]))
    }

    /// The first path at which `after` differs, and how. Missing links in `after` do not count;
    /// additional ones do.
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
                return Some((name.to_vec(), "would change"));
            }
            if was.insert(*n, *m).is_some_and(|other| other != *m) {
                return Some((name.to_vec(), "would become a hard link"));
            }
        }
        None
    }
}
