//! Which paths differ: two Merkle trees walked side by side. Equal subtrees are never opened.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::ostree::{Checksum, Node};
use crate::source::merkle::{At, Merkle};
use crate::tree::digest::PathBudget;

/// A path that differs: two directories only by their dirmeta, anything else by its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The path below the root; empty for the root itself.
    pub path: PathBuf,
    /// What A has there.
    pub a: Option<Node>,
    /// What B has there.
    pub b: Option<Node>,
}

/// Every path that differs between two trees, sorted by path component. A directory that is only in
/// one tree is listed with everything in it.
///
/// Opens only dirtrees that contain a difference.
///
/// # Errors
///
/// If a dirtree is missing or corrupt, and those of [`PathBudget::add`] for differing paths.
pub fn align(a: &dyn Merkle, b: &dyn Merkle) -> io::Result<Vec<Pair>> {
    let node = |m: &dyn Merkle| Node::Dir(m.root().dirtree, m.root().dirmeta);
    let mut walk = Walk { a, b, found: Vec::new(), todo: Vec::new(), paths: PathBudget::default() };
    if node(a) != node(b) {
        walk.meet(PathBuf::new(), Some(node(a)), Some(node(b)))?;
    }
    while let Some(job) = walk.todo.pop() {
        walk.open(&job)?;
    }
    walk.found.sort_by(|x, y| x.path.cmp(&y.path));
    Ok(walk.found)
}

/// A directory to open: its dirtree on each side where it is a directory.
struct Job {
    path: PathBuf,
    a: Option<Checksum>,
    b: Option<Checksum>,
}

struct Walk<'a> {
    a: &'a dyn Merkle,
    b: &'a dyn Merkle,
    found: Vec<Pair>,
    todo: Vec<Job>,
    paths: PathBudget,
}

impl Walk<'_> {
    /// Records what differs at `path`, if anything, and what must be opened below it.
    fn meet(&mut self, path: PathBuf, a: Option<Node>, b: Option<Node>) -> io::Result<()> {
        self.paths.add(&path)?;
        let tree = |node: Option<Node>| match node {
            Some(Node::Dir(tree, _)) => Some(tree),
            _ => None,
        };
        let same_meta = match (a, b) {
            (Some(Node::Dir(_, x)), Some(Node::Dir(_, y))) => x == y,
            _ => false,
        };
        if tree(a) != tree(b) {
            self.todo.push(Job { path: path.clone(), a: tree(a), b: tree(b) });
        }
        if !same_meta {
            self.found.push(Pair { path, a, b });
        }
        Ok(())
    }

    fn open(&mut self, job: &Job) -> io::Result<()> {
        let children = |m: &dyn Merkle, tree: &Option<Checksum>| match tree {
            Some(object) => m.children(At { path: &job.path, object }),
            None => Ok(Arc::default()),
        };
        let (a, b) = (children(self.a, &job.a)?, children(self.b, &job.b)?);
        for (name, [x, y]) in a.differences(&b) {
            self.meet(job.path.join(OsStr::from_bytes(name)), x, y)?;
        }
        Ok(())
    }
}
