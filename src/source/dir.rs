//! A tree hashed whole, a directory on disk or any other: as a commit of it would be.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::merkle::{At, Leaf, Merkle};
use crate::disk::Root;
use crate::env;
use crate::format::ostree::{self, Attrs, Checksum, Dirtree, FileHasher};
use crate::tree::digest::{self, Digested};
use crate::tree::{Entry, Seekable, Tree, show};

/// A tree with every checksum computed: what `check` compares.
#[derive(Debug)]
pub struct Dir<T = Root> {
    tree: T,
    digested: Digested,
}

impl<T: Tree> Dir<T> {
    /// Hashes the whole of `tree`, calling `done` after each file.
    ///
    /// Fails as [`digest::digest`] does.
    pub fn new(tree: T, done: &(dyn Fn() + Sync)) -> io::Result<Self> {
        let digested = digest::digest(&tree, done)?;
        Ok(Dir { tree, digested })
    }

    /// The same of a tree that may become a commit: fails where it cannot.
    pub fn committable(tree: T, done: &(dyn Fn() + Sync)) -> io::Result<Self> {
        let dir = Self::new(tree, done)?;
        dir.digested.committable().map(|()| dir)
    }
}

impl Dir<Own> {
    /// A part of a directory, with the checksums of that part.
    pub(super) fn of_part(tree: Own, digested: Digested) -> Self {
        Dir { tree, digested }
    }

    /// The directories that have checksums.
    #[cfg(test)]
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.digested.dirs.keys().map(PathBuf::as_path)
    }
}

impl<T: Tree + Send> Merkle for Dir<T> {
    fn root(&self) -> ostree::Root {
        self.digested.root
    }

    fn children(&self, at: At<'_>) -> io::Result<Arc<Dirtree>> {
        self.digested.dirs.get(at.path).cloned().ok_or_else(|| gone(at.path))
    }

    fn dirmeta(&self, at: At<'_>) -> io::Result<Attrs> {
        let entry = self.tree.lookup(at.path)?.ok_or_else(|| gone(at.path))?;
        let attrs = digest::attrs(&self.tree, &entry)?;
        unchanged(at, Checksum::of(&attrs.encode_dirmeta()))?;
        Ok(attrs)
    }

    fn leaf(&self, at: At<'_>) -> io::Result<Leaf> {
        let entry = self.tree.lookup(at.path)?.ok_or_else(|| gone(at.path))?;
        let attrs = digest::attrs(&self.tree, &entry)?;
        let target = self.tree.readlink(at.path)?;
        Ok(Leaf { attrs, target, size: entry.size })
    }

    fn content(&self, at: At<'_>) -> io::Result<Vec<u8>> {
        let entry = self.tree.lookup(at.path)?.ok_or_else(|| gone(at.path))?;
        let attrs = digest::attrs(&self.tree, &entry)?;
        let content = self.tree.read(at.path)?.ok_or_else(|| gone(at.path))?;
        let mut hasher = FileHasher::new(&attrs, b"");
        hasher.update(&content);
        unchanged(at, hasher.finish())?;
        Ok(content)
    }

    fn tree(&self) -> &dyn Tree {
        &self.tree
    }
}

/// A directory on a disk without what is mounted in it.
#[derive(Debug)]
pub struct Own {
    root: Root,
    /// Names of mount points by the directory that holds them.
    mounted: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

impl Own {
    /// What of `root` is its own.
    pub fn new(root: Root) -> Self {
        let mut mounted: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for point in env::mounts_below(root.path()) {
            let below = point.strip_prefix(root.path()).ok();
            if let Some((parent, name)) = below.and_then(|p| Some((p.parent()?, p.file_name()?))) {
                mounted.entry(parent.to_owned()).or_default().insert(name.to_owned());
            }
        }
        Own { root, mounted }
    }

    /// Whether something is mounted at `name` in the directory `parent`.
    pub fn is_mounted(&self, parent: &Path, name: &OsStr) -> bool {
        self.mounted.get(parent).is_some_and(|names| names.contains(name))
    }

    /// The root with all that is mounted in it.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// One line on what is left out; none if nothing is mounted.
    pub fn remarks(&self) -> Vec<String> {
        let points = self
            .mounted
            .iter()
            .flat_map(|(parent, names)| names.iter().map(move |name| (parent, parent.join(name))));
        // A mount in a mount goes with it.
        let top = points.filter(|(parent, _)| {
            let mut above = parent.ancestors().filter_map(|p| Some((p.parent()?, p.file_name()?)));
            !above.any(|(parent, name)| self.is_mounted(parent, name))
        });
        let all: Vec<String> = top.map(|(_, path)| format!("/{}", show(&path))).collect();
        match all.len() {
            0 => Vec::new(),
            _ => vec![format!("left out, since they are mounted there: {}", all.join(", "))],
        }
    }
}

impl Tree for Own {
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

fn unchanged(at: At<'_>, now: Checksum) -> io::Result<()> {
    if now == *at.object { Ok(()) } else { Err(gone(at.path)) }
}

fn gone(path: &Path) -> io::Error {
    let what = "it changed while it was compared; compare a tree that nothing writes to";
    digest::at(path, io::Error::other(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_committed_is_named() {
        let dir = tempfile::tempdir().expect("makes");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        let path = dir.path().join("p");
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).expect("makes");
        let root = Root::open(dir.path()).expect("opens");
        let error = Dir::new(root, &|| ()).expect_err("cannot be committed").to_string();
        assert!(error.starts_with("/p: a FIFO"), "{error}");
    }

    #[test]
    fn a_change_while_comparing_is_an_error() {
        let dir = tempfile::tempdir().expect("makes");
        std::fs::write(dir.path().join("f"), "one").expect("writes");
        let subject = Dir::new(Root::open(dir.path()).expect("opens"), &|| ()).expect("hashes");
        let (_, object) = subject.digested.dirs[Path::new("")].files().next().expect("one file");
        let at = At { path: Path::new("f"), object: &object };
        assert_eq!(subject.content(at).expect("reads"), b"one");
        std::fs::write(dir.path().join("f"), "two").expect("writes");
        let error = subject.content(at).expect_err("changed").to_string();
        assert!(error.contains("/f: it changed while"), "{error}");
    }
}
