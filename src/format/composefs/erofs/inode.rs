//! Inodes to write, and entries of directories.

use super::attrs::Attrs;
use super::{
    BLOCK, BLOCK_DEVICE, CHARACTER, DIRECTORY, DIRENT, FIFO, INLINE_ENTRIES_MAX, Meta, REGULAR,
    SOCKET, SYMLINK,
};

/// An inode to write.
pub(super) struct Inode<'t> {
    pub(super) meta: &'t Meta,
    pub(super) kind: Kind<'t>,
    pub(super) links: u32,
    pub(super) attrs: Attrs,
}

/// The kind of an inode, by how its content is stored.
pub(super) enum Kind<'t> {
    Directory(Listing<'t>),
    File(&'t [u8]),
    External(u64),
    Symlink(&'t [u8]),
    /// A device, pipe or socket: its type and device number.
    Special(u8, u32),
    /// An overlay whiteout of the tree: an empty file with attributes that say so.
    Whiteout,
}

impl Kind<'_> {
    pub(super) fn file_type(&self) -> u8 {
        match self {
            Kind::Directory(_) => DIRECTORY,
            Kind::File(_) | Kind::External(_) | Kind::Whiteout => REGULAR,
            Kind::Symlink(_) => SYMLINK,
            Kind::Special(file_type, _) => *file_type,
        }
    }

    pub(super) fn format_bits(&self) -> u16 {
        match self.file_type() {
            REGULAR => 0o100_000,
            DIRECTORY => 0o040_000,
            CHARACTER => 0o020_000,
            BLOCK_DEVICE => 0o060_000,
            FIFO => 0o010_000,
            SOCKET => 0o140_000,
            _ => 0o120_000,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Kind::Directory(listing) => listing.size,
            Kind::File(bytes) | Kind::Symlink(bytes) => bytes.len() as u64,
            Kind::External(size) => *size,
            Kind::Special(..) | Kind::Whiteout => 0,
        }
    }
}

/// A directory's entries, divided into blocks.
#[derive(Default)]
pub(super) struct Listing<'t> {
    pub(super) blocks: Vec<Vec<Dirent<'t>>>,
    /// The last entries, if they are inline.
    pub(super) inline: Vec<Dirent<'t>>,
    pub(super) size: u64,
}

/// A directory entry: a name and the inode's place in the list of inodes.
#[derive(Clone, Copy)]
pub(super) struct Dirent<'t> {
    pub(super) name: &'t [u8],
    pub(super) inode: usize,
    pub(super) file_type: u8,
}

impl<'t> Listing<'t> {
    pub(super) fn new(mut entries: Vec<Dirent<'t>>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.name);
        let mut blocks = Vec::new();
        let (mut block, mut used) = (Vec::new(), 0);
        for entry in entries {
            let takes = DIRENT + entry.name.len() as u64;
            if used + takes > BLOCK {
                blocks.push(std::mem::take(&mut block));
                used = 0;
            }
            block.push(entry);
            used += takes;
        }
        if used > INLINE_ENTRIES_MAX {
            blocks.push(std::mem::take(&mut block));
            used = 0;
        }
        let size = BLOCK * blocks.len() as u64 + used;
        Listing { blocks, inline: block, size }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Dirent<'t>> {
        self.blocks.iter().flatten().chain(&self.inline)
    }
}
