//! Merkle trees, which are compared in time proportional to their differences.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::ostree::{Attrs, Checksum, Dirtree, Root};
use crate::tree::Tree;

/// The path and the checksum of an object: a source may use either as its address.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The path below the root; empty for the root.
    pub path: &'a Path,
    /// The checksum of the object wanted.
    pub object: &'a Checksum,
}

/// A file object without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Owner, mode and xattrs.
    pub attrs: Attrs,
    /// A symbolic link's target; `None` for a regular file.
    pub target: Option<PathBuf>,
    /// Bytes of content.
    pub size: u64,
}

/// A tree addressed by ostree's checksums. Equal checksums mean equal objects, so a caller opens
/// only what differs.
///
/// Every object that is read completely is verified against its checksum. Errors name the object
/// and what to do.
pub trait Merkle: Send + Sync {
    /// The root's dirtree and dirmeta.
    fn root(&self) -> Root;

    /// The names in a directory.
    fn children(&self, at: At<'_>) -> io::Result<Arc<Dirtree>>;

    /// Owner, mode and xattrs of a directory.
    fn dirmeta(&self, at: At<'_>) -> io::Result<Attrs>;

    /// Metadata of a file object.
    fn leaf(&self, at: At<'_>) -> io::Result<Leaf>;

    /// Content of a file object that is a regular file.
    fn content(&self, at: At<'_>) -> io::Result<Vec<u8>>;

    /// The tree by path, for plugins.
    fn tree(&self) -> &dyn Tree;
}
