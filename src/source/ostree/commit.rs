//! A commit as a tree, whatever holds its objects.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::CommitInfo;
use super::merkle::{At, Leaf, Merkle};
use super::objects::{Metadata, Objects};
use crate::format::Malformed;
use crate::format::gvariant::Value;
use crate::format::ostree::{Attrs, Checksum, Dirtree, Node, Root};
use crate::tree::{Entry, Kind, Tree};

/// One commit as a tree.
#[derive(Debug)]
pub struct Commit<O> {
    repo: O,
    root: Root,
    info: CommitInfo,
    passed: Mutex<foldhash::HashMap<Checksum, Arc<Dirtree>>>,
}

impl<O: Objects> Commit<O> {
    /// The commit `id` of `repo`.
    ///
    /// # Errors
    ///
    /// If its commit object is missing or corrupt.
    pub fn open(repo: O, id: Checksum) -> io::Result<Self> {
        let bytes = repo.metadata(Metadata::Commit, &id)?;
        let malformed = |e| repo.malformed(Metadata::Commit, &id, &e);
        let root = Root::parse_commit(&bytes).map_err(malformed)?;
        let info = CommitInfo { id, fields: fields(&bytes).map_err(malformed)? };
        Ok(Commit { repo, root, info, passed: Mutex::default() })
    }

    /// Its name, and what it says beside its tree.
    pub fn info(&self) -> &CommitInfo {
        &self.info
    }

    /// Where its objects are.
    pub fn repo(&self) -> &O {
        &self.repo
    }

    fn dirtree(&self, sum: &Checksum) -> io::Result<Dirtree> {
        let kind = Metadata::DirTree;
        let bytes = self.repo.metadata(kind, sum)?;
        Dirtree::parse(bytes).map_err(|e| self.repo.malformed(kind, sum, &e))
    }

    /// A dirtree on the way to a path, kept for the next path.
    fn passed(&self, sum: &Checksum) -> io::Result<Arc<Dirtree>> {
        let passed = || self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = passed().get(sum) {
            return Ok(tree.clone());
        }
        let tree = Arc::new(self.dirtree(sum)?);
        passed().insert(*sum, tree.clone());
        Ok(tree)
    }

    fn attrs(&self, sum: &Checksum) -> io::Result<Attrs> {
        let kind = Metadata::DirMeta;
        let bytes = self.repo.metadata(kind, sum)?;
        Attrs::parse_dirmeta(&bytes).map_err(|e| self.repo.malformed(kind, sum, &e))
    }

    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        let (mut tree, mut meta) = (self.root.dirtree, self.root.dirmeta);
        let mut components = path.components();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else { return Ok(None) };
            match self.passed(&tree)?.get(name.as_bytes()) {
                Some(Node::Dir(below, its)) => (tree, meta) = (below, its),
                found => return Ok(found.filter(|_| components.next().is_none())),
            }
        }
        Ok(Some(Node::Dir(tree, meta)))
    }
}

/// Sizes that flatpak stores big-endian in a type that is little-endian.
const BIG_ENDIAN: [&str; 2] = ["xa.download-size", "xa.installed-size"];

/// What the commit object in `bytes` says, as text.
pub(super) fn fields(bytes: &[u8]) -> Result<BTreeMap<String, String>, Malformed> {
    let commit = Value::new("(a{sv}aya(say)sstayay)", bytes)?.children()?;
    let [metadata, parent, _, subject, body, time, ..] = commit[..] else {
        return Err(Malformed::at(0usize, "not a commit"));
    };
    let mut fields = BTreeMap::new();
    for entry in metadata.children()? {
        if let [key, value] = entry.children()?[..]
            && let [value] = value.children()?[..]
        {
            let key = key.str()?;
            let size = BIG_ENDIAN.contains(&key).then(|| value.bytes().try_into().ok()).flatten();
            let size = size.map(|bytes| format!("uint64 {}", u64::from_be_bytes(bytes)));
            fields.insert(key.to_owned(), size.map_or_else(|| value.text(), Ok)?);
        }
    }
    let parent = parent.bytes().try_into().map(|sum| Checksum(sum).to_string());
    let time = time.bytes().iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    fields.insert("(subject)".into(), subject.str()?.into());
    fields.insert("(body)".into(), body.str()?.into());
    fields.insert("(timestamp)".into(), time.to_string());
    fields.insert("(parent)".into(), parent.unwrap_or_default());
    Ok(fields)
}

impl<O: Objects> Merkle for Commit<O> {
    fn root(&self) -> Root {
        self.root
    }

    fn children(&self, at: At<'_>) -> io::Result<Arc<Dirtree>> {
        self.dirtree(at.object).map(Arc::new)
    }

    fn dirmeta(&self, at: At<'_>) -> io::Result<Attrs> {
        self.attrs(at.object)
    }

    fn leaf(&self, at: At<'_>) -> io::Result<Leaf> {
        self.repo.leaf(at.object)
    }

    fn content(&self, at: At<'_>) -> io::Result<Vec<u8>> {
        self.repo.content(at.object)
    }

    fn tree(&self) -> &dyn Tree {
        self
    }
}

impl<O: Objects> Tree for Commit<O> {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let (attrs, size) = match self.node(path)? {
            None => return Ok(None),
            Some(Node::Dir(_, meta)) => (self.attrs(&meta)?, 0),
            Some(Node::Leaf(sum)) => {
                let leaf = self.repo.leaf(&sum)?;
                (leaf.attrs, leaf.size)
            }
        };
        Ok(Some(Entry {
            path: path.to_path_buf(),
            kind: Kind::of_mode(attrs.mode),
            mode: attrs.mode,
            uid: attrs.uid,
            gid: attrs.gid,
            size,
            mtime: None,
            inode: None,
        }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let Some(Node::Dir(tree, _)) = self.node(path)? else { return Ok(Vec::new()) };
        let tree = self.passed(&tree)?;
        Ok(tree.names().map(|(name, _)| OsString::from_vec(name.to_vec())).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(Node::Leaf(sum)) = self.node(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let leaf = self.repo.stream(&sum, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok((Kind::of_mode(leaf.attrs.mode) == Kind::File).then_some(bytes))
    }

    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some(Node::Leaf(sum)) = self.node(path)? else { return Ok(false) };
        let leaf = self.repo.stream(&sum, sink)?;
        Ok(Kind::of_mode(leaf.attrs.mode) == Kind::File)
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let Some(Node::Leaf(sum)) = self.node(path)? else { return Ok(None) };
        Ok(self.repo.leaf(&sum)?.target)
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(match self.node(path)? {
            None => Vec::new(),
            Some(Node::Dir(_, meta)) => self.attrs(&meta)?.xattrs,
            Some(Node::Leaf(sum)) => self.repo.leaf(&sum)?.attrs.xattrs,
        })
    }
}
