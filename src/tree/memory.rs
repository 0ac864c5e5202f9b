//! A tree in memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Entry, Kind, Time, Tree};

/// What is at one path of a [`Memory`], owned by root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// The content of a file, the target of a link.
    pub data: Vec<u8>,
    /// When it was modified; `None` in a tree without times.
    pub mtime: Option<Time>,
}

impl Node {
    /// A node with the usual mode of its kind: 0755 for a directory, 0777 for a link, 0644 for
    /// anything else.
    pub fn new(kind: Kind, data: impl Into<Vec<u8>>) -> Self {
        let mode = match kind {
            Kind::Dir => 0o755,
            Kind::Symlink => 0o777,
            Kind::File | Kind::Other => 0o644,
        };
        Node { kind, mode, data: data.into(), mtime: None }
    }

    fn entry(&self, path: &Path) -> Entry {
        let format = match self.kind {
            Kind::File => 0o100_000,
            Kind::Dir => 0o040_000,
            Kind::Symlink => 0o120_000,
            Kind::Other => 0o010_000,
        };
        Entry {
            path: path.to_owned(),
            kind: self.kind,
            mode: format | self.mode,
            uid: 0,
            gid: 0,
            size: self.data.len() as u64,
            mtime: self.mtime,
            inode: None,
        }
    }
}

/// A tree in memory: its nodes by path, including the root (the empty path).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(pub BTreeMap<PathBuf, Node>);

/// The tree with nothing in it, not even a root: the surroundings of a lone file.
pub static NOTHING: Memory = Memory::empty();

impl Memory {
    /// A tree with nothing in it, not even a root.
    pub const fn empty() -> Self {
        Memory(BTreeMap::new())
    }

    /// A tree of one file.
    pub fn of_file(path: impl Into<PathBuf>, data: impl Into<Vec<u8>>) -> Self {
        let mut tree = Self::empty();
        tree.add(path, data);
        tree
    }

    /// Adds a directory, and those above it.
    pub fn add_dir(&mut self, path: impl AsRef<Path>) {
        for dir in path.as_ref().ancestors() {
            self.0.entry(dir.to_owned()).or_insert_with(|| Node::new(Kind::Dir, ""));
        }
    }

    /// Adds a file, and the directories above it.
    pub fn add(&mut self, path: impl Into<PathBuf>, data: impl Into<Vec<u8>>) {
        self.insert(path.into(), Node::new(Kind::File, data));
    }

    /// Adds a symbolic link, and the directories above it.
    pub fn add_link(&mut self, path: impl Into<PathBuf>, target: &str) {
        self.insert(path.into(), Node::new(Kind::Symlink, target));
    }

    fn insert(&mut self, path: PathBuf, node: Node) {
        self.add_dir(path.parent().unwrap_or(Path::new("")));
        self.0.insert(path, node);
    }

    /// Removes `path`, a directory only if nothing is below it.
    pub fn remove(&mut self, path: &Path) {
        if !self.from(path).nth(1).is_some_and(|below| below.starts_with(path)) {
            self.0.remove(path);
        }
    }

    /// All entries, sorted by path.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(|(path, node)| node.entry(path)).collect()
    }

    /// The paths from this one on.
    fn from(&self, path: &Path) -> impl Iterator<Item = &PathBuf> {
        let range = (Bound::Included(path), Bound::Unbounded);
        self.0.range::<Path, _>(range).map(|(path, _)| path)
    }

    fn node(&self, path: &Path, kind: Kind) -> Option<&Node> {
        self.0.get(path).filter(|node| node.kind == kind)
    }
}

impl Tree for Memory {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self.0.get(path).map(|node| node.entry(path)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let below = self.from(path).take_while(|below| below.starts_with(path));
        let names =
            below.filter(|below| below.parent() == Some(path)).filter_map(|p| p.file_name());
        Ok(names.map(OsStr::to_owned).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.node(path, Kind::File).map(|node| node.data.clone()))
    }

    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        Ok(self.node(path, Kind::File).map(|node| sink(&node.data)).is_some())
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let link = self.node(path, Kind::Symlink);
        Ok(link.map(|node| OsStr::from_bytes(&node.data).into()))
    }

    fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }
}
