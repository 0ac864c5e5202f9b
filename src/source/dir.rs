//! A tree hashed whole, a directory on disk or any other: as a commit of it would be.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::merkle::{At, Leaf, Merkle};
use crate::disk::Root;
use crate::format::ostree::{self, Attrs, Checksum, Dirtree, FileHasher};
use crate::tree::Tree;
use crate::tree::digest::{self, Digested};

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
