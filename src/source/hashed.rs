//! A tree with all the checksums that its commit would have.

use std::io;
use std::path::Path;
#[cfg(test)]
use std::path::PathBuf;
use std::sync::Arc;

use super::dir::Directory;
use super::merkle::{At, Leaf, Merkle};
use crate::disk::Root;
use crate::format::ostree::{self, Attrs, Checksum, Dirtree, FileHasher};
use crate::tree::Tree;
use crate::tree::digest::{self, Digested};

/// A tree with every checksum computed: what `check` compares.
#[derive(Debug)]
pub(crate) struct Hashed<T = Root> {
    tree: T,
    digested: Digested,
}

impl<T: Tree> Hashed<T> {
    /// Hashes all of `tree`, calling `done` after each file.
    ///
    /// # Errors
    ///
    /// Those of [`digest::digest`].
    pub(crate) fn new(tree: T, done: &(dyn Fn() + Sync)) -> io::Result<Self> {
        let digested = digest::digest(&tree, done)?;
        Ok(Hashed { tree, digested })
    }

    /// Hashes all of a tree that must be committable, calling `done` after each file.
    pub(crate) fn committable(tree: T, done: &(dyn Fn() + Sync)) -> io::Result<Self> {
        let dir = Self::new(tree, done)?;
        dir.digested.committable().map(|()| dir)
    }
}

impl Hashed<Directory> {
    /// A part of a directory, with its checksums.
    pub(super) fn of_part(tree: Directory, digested: Digested) -> Self {
        Hashed { tree, digested }
    }

    /// The directories that have checksums.
    #[cfg(test)]
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.digested.dirs.keys().map(PathBuf::as_path)
    }
}

impl<T: Tree + Send> Merkle for Hashed<T> {
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
        let error = Hashed::new(root, &|| ()).expect_err("cannot be committed").to_string();
        assert!(error.starts_with("/p: a FIFO"), "{error}");
    }

    #[test]
    fn a_change_while_comparing_is_an_error() {
        let dir = tempfile::tempdir().expect("makes");
        std::fs::write(dir.path().join("f"), "one").expect("writes");
        let subject = Hashed::new(Root::open(dir.path()).expect("opens"), &|| ()).expect("hashes");
        let (_, object) = subject.digested.dirs[Path::new("")].files().next().expect("one file");
        let at = At { path: Path::new("f"), object: &object };
        assert_eq!(subject.content(at).expect("reads"), b"one");
        std::fs::write(dir.path().join("f"), "two").expect("writes");
        let error = subject.content(at).expect_err("changed").to_string();
        assert!(error.contains("/f: it changed while"), "{error}");
    }
}
