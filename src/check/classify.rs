//! How a path differs.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Pair;
use crate::format::ostree::{Attrs, Checksum, Node};
use crate::source::merkle::{At, Merkle};
use crate::tree::{Entry, Kind};

/// One way in which a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing stands there in B.
    OnlyA,
    /// Nothing stands there in A.
    OnlyB,
    /// A file, a directory or a symbolic link in A is another of these in B.
    Type,
    /// The bytes of a file.
    Content,
    /// The target of a symbolic link.
    Target,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Xattr,
}

impl Change {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Change::OnlyA => "only in A",
            Change::OnlyB => "only in B",
            Change::Type => "type",
            Change::Content => "content",
            Change::Target => "target",
            Change::Mode => "mode",
            Change::Owner => "owner",
            Change::Xattr => "xattr",
        }
    }
}

/// What stands at a path of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Owner, mode and xattrs.
    pub attrs: Attrs,
    /// A symbolic link's target.
    pub target: Option<PathBuf>,
    /// Bytes of content.
    pub size: u64,
    /// The object: a directory's dirmeta, anything else's file object.
    pub object: Checksum,
}

impl Side {
    /// What it is.
    pub fn kind(&self) -> Kind {
        Kind::of_mode(self.attrs.mode)
    }

    /// The same as plugins see it. A commit has no times, so that a directory compares with it,
    /// none are given.
    pub fn entry(&self, path: &Path) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: self.kind(),
            mode: self.attrs.mode,
            uid: self.attrs.uid,
            gid: self.attrs.gid,
            size: self.size,
            mtime: None,
            inode: None,
        }
    }
}

/// A path and how it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path below the root; empty for the root itself.
    pub path: PathBuf,
    /// What stands there in A.
    pub a: Option<Side>,
    /// What stands there in B.
    pub b: Option<Side>,
    /// The ways in which they differ, sorted; never empty.
    pub changes: Vec<Change>,
}

/// How `pair` differs. Content is read only where metadata differs too, since files of equal
/// metadata and different checksums differ in content.
///
/// Fails where an object is missing or corrupt.
pub fn classify(a: &dyn Merkle, b: &dyn Merkle, pair: &Pair) -> io::Result<Difference> {
    let path = &pair.path;
    let side = |m: &dyn Merkle, node: Option<Node>| node.map(|n| load(m, path, n)).transpose();
    let (left, right) = (side(a, pair.a)?, side(b, pair.b)?);
    let mut changes = match (&left, &right) {
        (Some(x), Some(y)) => metadata(x, y),
        (Some(_), None) => vec![Change::OnlyA],
        (None, _) => vec![Change::OnlyB],
    };
    if let (Some(x), Some(y)) = (&left, &right)
        && (x.kind(), y.kind()) == (Kind::File, Kind::File)
        && (changes.is_empty() || x.size != y.size || contents_differ(a, b, path, x, y)?)
    {
        changes.push(Change::Content);
    }
    changes.sort();
    Ok(Difference { path: path.clone(), a: left, b: right, changes })
}

fn load(merkle: &dyn Merkle, path: &Path, node: Node) -> io::Result<Side> {
    match node {
        Node::Dir(_, object) => {
            let attrs = merkle.dirmeta(At { path, object: &object })?;
            Ok(Side { attrs, target: None, size: 0, object })
        }
        Node::Leaf(object) => {
            let leaf = merkle.leaf(At { path, object: &object })?;
            Ok(Side { attrs: leaf.attrs, target: leaf.target, size: leaf.size, object })
        }
    }
}

fn contents_differ(
    a: &dyn Merkle,
    b: &dyn Merkle,
    path: &Path,
    x: &Side,
    y: &Side,
) -> io::Result<bool> {
    let content = |m: &dyn Merkle, side: &Side| m.content(At { path, object: &side.object });
    Ok(content(a, x)? != content(b, y)?)
}

fn metadata(a: &Side, b: &Side) -> Vec<Change> {
    let (x, y) = (&a.attrs, &b.attrs);
    [
        (a.kind() != b.kind(), Change::Type),
        (a.kind() == b.kind() && a.target != b.target, Change::Target),
        (x.mode & 0o7777 != y.mode & 0o7777, Change::Mode),
        ((x.uid, x.gid) != (y.uid, y.gid), Change::Owner),
        (x.xattrs != y.xattrs, Change::Xattr),
    ]
    .into_iter()
    .filter_map(|(differs, change)| differs.then_some(change))
    .collect()
}
