//! How a path differs.

use std::io;
use std::path::Path;

use super::Pair;
use crate::format::ostree::Node;
use crate::source::merkle::{At, Merkle};
use crate::tree::{Change, Difference, Kind, Side};

/// Determines how `pair` differs. Content is read only if metadata differs too, since files with
/// equal metadata and different checksums differ in content.
///
/// # Errors
///
/// If an object is missing or corrupt.
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
