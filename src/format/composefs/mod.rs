//! composefs images: a tree's metadata as an EROFS file system, whose fs-verity digest a sealed
//! boot image carries as `composefs=`.
//!
//! Format: <https://github.com/containers/composefs/blob/main/man/composefs-dump.5.md> and
//! linux/fs/erofs/erofs_fs.h. File content of up to [`INLINE_MAX`] bytes is in the image; of a
//! larger file the image has only the size and the fs-verity digest.

mod dumpfile;
mod erofs;
mod lanes;
mod verity;

use std::collections::BTreeMap;

pub use dumpfile::dumpfile;
pub(super) use erofs::PREFIXES;
pub use erofs::{NotAnImage, image};
pub use verity::{Batch, Digest, Verity};

/// The most bytes of content in the image itself.
pub const INLINE_MAX: u64 = 64;

/// The layout of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Compact inodes in breadth-first order, times with nanoseconds, 256 whiteouts in the root, as
    /// written by `mkcomposefs --min-version=1`.
    V1,
    /// Extended inodes in depth-first order, times in whole seconds, as in composefs-rs before it
    /// had V1.
    V2,
}

/// A whole tree. Names of one inode share a leaf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The root directory.
    pub root: Directory,
    /// Everything that is not a directory, each inode once.
    pub leaves: Vec<Leaf>,
}

/// A directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its metadata.
    pub meta: Meta,
    /// Its content, by name.
    pub entries: BTreeMap<Vec<u8>, Node>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(Directory),
    /// Anything else: its index in [`Tree::leaves`].
    Leaf(usize),
}

/// An inode that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its metadata.
    pub meta: Meta,
    /// Its type and content.
    pub content: Content,
}

/// The type and content of an inode that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A regular file of up to [`INLINE_MAX`] bytes.
    Inline(Vec<u8>),
    /// A larger regular file.
    External {
        /// The fs-verity digest of its content.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device and its number, encoded like `new_encode_dev` in the kernel.
    Character(u32),
    /// A block device and its number.
    Block(u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// The metadata of an inode that composefs hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The permission bits, set-id bits and sticky bit: mode & 07777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
    /// Extended attributes by name.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The number of directory entries for each leaf.
fn links(tree: &Tree) -> Vec<u32> {
    fn count(directory: &Directory, links: &mut [u32]) {
        for node in directory.entries.values() {
            match node {
                Node::Directory(below) => count(below, links),
                Node::Leaf(leaf) => links[*leaf] += 1,
            }
        }
    }
    let mut links = vec![0; tree.leaves.len()];
    count(&tree.root, &mut links);
    links
}
