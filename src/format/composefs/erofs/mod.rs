//! The EROFS image of a tree, byte for byte as composefs's own tools write it: the digest of these
//! bytes is sealed.
//!
//! An image is a header, a superblock, the inodes (each with its attributes and inline content),
//! attributes that several inodes share, and blocks of directories and long links. Where an inode
//! begins depends on those before it, so its place is computed first and everything is written
//! afterwards.

mod attrs;
mod collect;
mod inode;
mod write;

use attrs::share;
use collect::{breadth_first, depth_first};
use write::Writer;

use super::{Content, Digest, Directory, Meta, Node, Tree, Version, links};

const BLOCK: u64 = 4096;
/// Inodes begin at multiples of this; their number is their place divided by it.
const SLOT: u64 = 32;
/// The offset of the superblock.
const SUPERBLOCK: u64 = 1024;
/// Bytes of a directory entry without its name.
const DIRENT: u64 = 12;
/// Bytes of the list of attributes of an inode before the attributes.
const ATTRS_HEADER: u64 = 12;
/// The most bytes of a directory's last entries that are inline.
const INLINE_ENTRIES_MAX: u64 = 2048;
/// The largest file that one chunk covers: chunks have up to 2^(12 + 31) bytes.
const CHUNK_MAX: u64 = 1 << 43;

/// Starts of attribute names that EROFS writes as a number: the place in this list.
pub(in crate::format) const PREFIXES: [&[u8]; 7] = [
    b"",
    b"user.",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"trusted.",
    b"lustre.",
    b"security.",
];
const ACL: [u8; 2] = [2, 3];
const LUSTRE: usize = 5;
const FILTER_SEED: u32 = 0x25bb_e08f;

/// EROFS's types of directory entries.
const REGULAR: u8 = 1;
const DIRECTORY: u8 = 2;
const CHARACTER: u8 = 3;
const BLOCK_DEVICE: u8 = 4;
const FIFO: u8 = 5;
const SOCKET: u8 = 6;
const SYMLINK: u8 = 7;

/// Layouts of an inode's content.
const PLAIN: u16 = 0;
const INLINE: u16 = 4;
const CHUNKED: u16 = 8;

/// Why a tree has no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnImage {
    /// An overlay whiteout (character device 0:0) that has several names.
    #[error("a whiteout (character device 0:0) has several names, which composefs refuses")]
    LinkedWhiteout,
    /// A file larger than one chunk.
    #[error("a file is larger than 8 TiB")]
    TooLarge,
    /// A name, an attribute or a link that does not fit its field.
    #[error("{0} is too long for EROFS")]
    TooLong(&'static str),
}

/// The image of `tree`. Memory: about 200 bytes per inode.
///
/// # Errors
///
/// If the format cannot represent the tree.
pub fn image(tree: &Tree, version: Version) -> Result<Vec<u8>, NotAnImage> {
    let mut inodes = match version {
        Version::V1 => breadth_first(tree)?,
        Version::V2 => depth_first(tree)?,
    };
    let acl = inodes.iter().flat_map(|i| &i.attrs.own).any(|attr| ACL.contains(&attr.prefix));
    let shared = share(&mut inodes, version);
    let time = inodes.iter().map(|i| (i.meta.seconds as u64, i.meta.nanoseconds)).min();
    let writer = Writer { version, inodes, shared, time: time.unwrap_or_default() };
    let places = writer.places();
    Ok(writer.write(&places, acl && version == Version::V1))
}
