//! A tree in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use reprofix::tree::{Entry, Inode, Kind, Time, Tree};

/// What stands at a path of a [`MapTree`].
#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(Vec<u8>),
    /// A file with further names: content and inode number.
    Linked(Vec<u8>, u64),
    Symlink(PathBuf),
}

/// A tree in memory; directories exist where something is below them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MapTree(pub(crate) BTreeMap<PathBuf, Node>);

impl MapTree {
    pub(crate) fn with(mut self, path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.into(), Node::File(bytes.into()));
        self
    }

    pub(crate) fn linked(mut self, paths: &[&str], bytes: &[u8], ino: u64) -> Self {
        for path in paths {
            self.0.insert(path.into(), Node::Linked(bytes.to_vec(), ino));
        }
        self
    }

    pub(crate) fn symlink(mut self, path: &str, target: &str) -> Self {
        self.0.insert(path.into(), Node::Symlink(target.into()));
        self
    }

    pub(crate) fn entry(&self, path: &str) -> Entry {
        self.lookup(Path::new(path)).unwrap().unwrap()
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.0.keys().any(|p| p != path && p.starts_with(path))
    }
}

impl Tree for MapTree {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let inode = |ino: u64| {
            let same = |n: &&Node| matches!(n, Node::Linked(_, i) if *i == ino);
            Inode {
                dev: 1,
                ino,
                nlink: self.0.values().filter(same).count() as u64,
                ctime: Time { sec: 0, nsec: 0 },
            }
        };
        let (kind, mode, size, inode) = match self.0.get(path) {
            Some(Node::File(b)) => (Kind::File, 0o100_644, b.len(), None),
            Some(Node::Linked(b, ino)) => (Kind::File, 0o100_644, b.len(), Some(inode(*ino))),
            Some(Node::Symlink(_)) => (Kind::Symlink, 0o120_777, 0, None),
            None if self.is_dir(path) => (Kind::Dir, 0o040_755, 0, None),
            None => return Ok(None),
        };
        let path = path.to_owned();
        let size = size as u64;
        Ok(Some(Entry { path, kind, mode, uid: 0, gid: 0, size, mtime: None, inode }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let below = self.0.keys().filter_map(|p| p.strip_prefix(path).ok());
        let mut names: Vec<_> =
            below.filter_map(|p| Some(p.components().next()?.as_os_str().to_owned())).collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(match self.0.get(path) {
            Some(Node::File(b) | Node::Linked(b, _)) => Some(b.clone()),
            _ => None,
        })
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        Ok(match self.0.get(path) {
            Some(Node::Symlink(target)) => Some(target.clone()),
            _ => None,
        })
    }

    fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }
}
