//! A commit as a tree, whatever holds its objects.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::CommitInfo;
use super::merkle::{At, Leaf, Merkle};
use super::objects::{Metadata, Objects};
use crate::format::Malformed;
use crate::format::gvariant::Value;
use crate::format::ostree::{Attrs, Checksum, Dirtree, Root};
use crate::tree::{Entry, Kind, Tree};

/// One commit as a tree.
#[derive(Debug)]
pub struct Commit<O> {
    repo: O,
    root: Root,
    info: CommitInfo,
    trees: Mutex<HashMap<Checksum, Arc<Dirtree>>>,
}

/// What a path of a commit stands for.
enum Node {
    Dir(Checksum, Checksum),
    Leaf(Checksum),
}

impl<O: Objects> Commit<O> {
    /// The commit `id` of `repo`.
    ///
    /// Fails if its commit object is missing or corrupt.
    pub fn open(repo: O, id: Checksum) -> io::Result<Self> {
        let bytes = repo.metadata(Metadata::Commit, &id)?;
        let malformed = |e| repo.malformed(Metadata::Commit, &id, &e);
        let root = Root::parse_commit(&bytes).map_err(malformed)?;
        let info = CommitInfo { id, fields: fields(&bytes).map_err(malformed)? };
        Ok(Commit { repo, root, info, trees: Mutex::default() })
    }

    /// Its name, and what it says beside its tree.
    pub fn info(&self) -> &CommitInfo {
        &self.info
    }

    /// Where its objects are.
    pub fn repo(&self) -> &O {
        &self.repo
    }

    fn dirtree(&self, sum: &Checksum) -> io::Result<Arc<Dirtree>> {
        let trees = || self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = trees().get(sum) {
            return Ok(tree.clone());
        }
        let kind = Metadata::DirTree;
        let bytes = self.repo.metadata(kind, sum)?;
        let tree = Dirtree::parse(&bytes).map_err(|e| self.repo.malformed(kind, sum, &e))?;
        let tree = Arc::new(tree);
        trees().insert(*sum, tree.clone());
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
            let name = name.as_bytes();
            let here = self.dirtree(&tree)?;
            if let Ok(i) = here.dirs.binary_search_by(|d| d.0.as_slice().cmp(name)) {
                (tree, meta) = (here.dirs[i].1, here.dirs[i].2);
                continue;
            }
            let found = here.files.binary_search_by(|f| f.0.as_slice().cmp(name));
            let last = components.next().is_none();
            return Ok(found.ok().filter(|_| last).map(|i| Node::Leaf(here.files[i].1)));
        }
        Ok(Some(Node::Dir(tree, meta)))
    }
}

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
            fields.insert(key.str()?.to_owned(), value.text()?);
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
        self.dirtree(at.object)
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
        let tree = self.dirtree(&tree)?;
        let names = tree.files.iter().map(|f| &f.0).chain(tree.dirs.iter().map(|d| &d.0));
        let mut names: Vec<_> = names.map(|n| OsString::from_vec(n.clone())).collect();
        names.sort_by(|a, b| OsStr::as_bytes(a).cmp(b.as_bytes()));
        Ok(names)
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
