//! Inodes of squashfs: seven types, each in a short and a long form.

use std::io;

use super::super::{Inode, invalid, le16, le32, le64};
use super::{NONE, NOTHING, Squashfs};
use crate::format::time::Time;

/// An inode and where its content is.
pub(super) struct Found {
    pub(super) inode: Inode,
    pub(super) content: Content,
    /// Its row of the table of attributes.
    pub(super) attributes: u32,
}

/// Where the content of an inode is.
pub(super) enum Content {
    /// A listing, at an offset of a block of the table of directories.
    Directory { block: u64, offset: usize },
    /// Blocks one after another, the stored length of each, and a place in a fragment.
    File { start: u64, fragment: Option<(u32, u32)>, sizes: Vec<u8> },
    /// A link's target.
    Target(Vec<u8>),
    /// A device, pipe or socket.
    Nothing,
}

/// Bytes of each type's inode beyond the first sixteen, from 1 on.
const LENGTHS: [usize; 14] = [16, 16, 8, 8, 8, 4, 4, 24, 40, 8, 12, 12, 8, 8];
const FORMATS: [u32; 7] =
    [0o040_000, 0o100_000, 0o120_000, 0o060_000, 0o020_000, 0o010_000, 0o140_000];

/// Reads the inode at a reference: a block of the table of inodes, and an offset in it.
pub(super) fn read(fs: &Squashfs, handle: u64) -> io::Result<Found> {
    let (block, offset) = (handle >> 16, (handle & 0xffff) as usize);
    let wrong = |what: &str| invalid(fs.inodes.saturating_add(block), format!("squashfs: {what}"));
    let head = fs.metadata(fs.inodes, block, offset, 16)?;
    let kind = usize::from(le16(&head, 0));
    let length = kind.checked_sub(1).and_then(|kind| LENGTHS.get(kind));
    let length = *length.ok_or_else(|| wrong(&format!("unknown type {kind} of an inode")))?;
    let body = fs.metadata(fs.inodes, block, offset, 16 + length)?.split_off(16);
    let more = |skip: usize, count: usize| -> io::Result<Vec<u8>> {
        fs.metadata(fs.inodes, block, offset + 16 + length + skip, count)
    };
    let u = |at: usize| le32(&body, at);
    let (links, device, size, attributes, content);
    match kind {
        1 => {
            (links, device, size, attributes) = (u(4), 0, u64::from(le16(&body, 8)), NONE);
            let offset = usize::from(le16(&body, 10));
            content = Content::Directory { block: u64::from(u(0)), offset };
        }
        8 => {
            (links, device, size, attributes) = (u(0), 0, u64::from(u(4)), u(20));
            let offset = usize::from(le16(&body, 18));
            content = Content::Directory { block: u64::from(u(8)), offset };
        }
        2 | 9 => {
            let (start, fragment, at);
            match kind {
                2 => {
                    (links, size, attributes) = (1, u64::from(u(12)), NONE);
                    (start, fragment, at) = (u64::from(u(0)), u(4), u(8));
                }
                _ => {
                    (links, size, attributes) = (u(24), le64(&body, 8), u(36));
                    (start, fragment, at) = (le64(&body, 0), u(28), u(32));
                }
            }
            device = 0;
            let block = u64::from(fs.block);
            let blocks = if fragment == NONE { size.div_ceil(block) } else { size / block };
            // One word a block: a claimed size needs as many words in the table.
            let sizes = usize::try_from(blocks).ok().and_then(|blocks| blocks.checked_mul(4));
            let sizes = sizes.ok_or_else(|| wrong("a file is too large"))?;
            content = Content::File {
                start,
                fragment: (fragment != NONE).then_some((fragment, at)),
                sizes: more(0, sizes)?,
            };
        }
        3 | 10 => {
            let target = u(4).min(65_536) as usize;
            (links, device, size) = (u(0), 0, u64::from(u(4)));
            content = Content::Target(more(0, target)?);
            attributes = if kind == 10 { le32(&more(target, 4)?, 0) } else { NONE };
        }
        4 | 5 | 11 | 12 => {
            (links, device, size) = (u(0), u(4), 0);
            attributes = if kind > 7 { u(8) } else { NONE };
            content = Content::Nothing;
        }
        _ => {
            (links, device, size) = (u(0), 0, 0);
            attributes = if kind > 7 { u(4) } else { NONE };
            content = Content::Nothing;
        }
    }
    debug_assert_ne!(u64::from(attributes), NOTHING);
    let inode = Inode {
        number: u64::from(le32(&head, 12)),
        mode: FORMATS[(kind - 1) % 7] | u32::from(le16(&head, 2)) & 0o7777,
        uid: fs.id(le16(&head, 4))?,
        gid: fs.id(le16(&head, 6))?,
        size,
        mtime: Time { sec: i64::from(le32(&head, 8) as i32), nsec: 0 },
        links,
        device,
    };
    Ok(Found { inode, content, attributes })
}
