//! A directory on a disk without what is mounted in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Root;
use crate::env;
use crate::tree::{Entry, Seekable, Tree, show};

/// A directory on a disk without what is mounted in it.
#[derive(Debug)]
pub(crate) struct Directory {
    root: Root,
    /// Names of mount points by their directory.
    mounted: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

impl Directory {
    /// The part of `root` that is not on mounts.
    pub(crate) fn new(root: Root) -> Self {
        let mut mounted: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for point in env::mounts_below(root.path()) {
            let below = point.strip_prefix(root.path()).ok();
            if let Some((parent, name)) = below.and_then(|p| Some((p.parent()?, p.file_name()?))) {
                mounted.entry(parent.to_owned()).or_default().insert(name.to_owned());
            }
        }
        Directory { root, mounted }
    }

    /// Whether something is mounted at `name` in the directory `parent`.
    pub(crate) fn is_mounted(&self, parent: &Path, name: &OsStr) -> bool {
        self.mounted.get(parent).is_some_and(|names| names.contains(name))
    }

    /// The root including its mounts.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// One line on what is left out; empty if nothing is mounted.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let points = self
            .mounted
            .iter()
            .flat_map(|(parent, names)| names.iter().map(move |name| (parent, parent.join(name))));
        // A mount inside another is left out with it.
        let top = points.filter(|(parent, _)| {
            let mut above = parent.ancestors().filter_map(|p| Some((p.parent()?, p.file_name()?)));
            !above.any(|(parent, name)| self.is_mounted(parent, name))
        });
        let all: Vec<String> = top.map(|(_, path)| format!("/{}", show(&path))).collect();
        match all.len() {
            0 => Vec::new(),
            _ => vec![format!("left out, since they are mounts: {}", all.join(", "))],
        }
    }
}

impl Tree for Directory {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.root.lookup(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = self.root.list(path)?;
        names.retain(|name| !self.is_mounted(path, name));
        Ok(names)
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.root.read(path)
    }
    fn read_known(&self, entry: &Entry) -> io::Result<Option<Vec<u8>>> {
        self.root.read_known(entry)
    }
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable>>> {
        self.root.open(path)
    }
    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        self.root.stream(path, sink)
    }
    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        self.root.readlink(path)
    }
    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.root.xattrs(path)
    }
    fn device(&self, path: &Path) -> io::Result<Option<u32>> {
        self.root.device(path)
    }
}
