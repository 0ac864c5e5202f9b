//! Reads an inode with several names only once.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::tree::{Entry, Inode, Seekable, Tree};

/// A tree in which an inode with several names is read once.
pub(super) struct ReadOnce<'t> {
    pub(super) tree: &'t dyn Tree,
    pub(super) inode: Inode,
    pub(super) bytes: OnceLock<Vec<u8>>,
}

impl<'t> ReadOnce<'t> {
    pub(super) fn of(tree: &'t dyn Tree, names: &[&Entry]) -> Option<Self> {
        let inode = names.first().filter(|_| names.len() > 1)?.inode?;
        Some(ReadOnce { tree, inode, bytes: OnceLock::new() })
    }
}

impl Tree for ReadOnce<'_> {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.tree.lookup(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.tree.list(path)
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.tree.read(path)
    }
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable>>> {
        self.tree.open(path)
    }
    fn read_known(&self, entry: &Entry) -> io::Result<Option<Vec<u8>>> {
        if entry.inode != Some(self.inode) {
            return self.tree.read_known(entry);
        }
        if self.bytes.get().is_none() {
            let Some(bytes) = self.tree.read_known(entry)? else { return Ok(None) };
            return Ok(Some(self.bytes.get_or_init(|| bytes).clone()));
        }
        Ok(self.bytes.get().cloned())
    }
    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        self.tree.stream(path, sink)
    }
    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        self.tree.readlink(path)
    }
    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.tree.xattrs(path)
    }
}
