//! Why two filesystem layers differ: squashfs and erofs, with or without a dm-verity tree.
//!
//! Only superblocks are parsed, nothing is mounted. Formats: the kernel's
//! `fs/squashfs/squashfs_fs.h`, `fs/erofs/erofs_fs.h` and cryptsetup's verity superblock.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::ops::Range;

use serde::Serialize;

use crate::source::oci::fill;

/// A source of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The time in an erofs superblock, which files without their own time inherit: use `mkfs.erofs
    /// -T`, or set SOURCE_DATE_EPOCH.
    Epoch,
    /// The time of the run of mksquashfs in the superblock: set SOURCE_DATE_EPOCH.
    MkfsTime,
    /// The filesystem's random UUID: `mkfs.erofs -U`.
    Uuid,
    /// The random salt (and UUID) of the dm-verity tree: `veritysetup --salt --uuid`.
    VeritySalt,
    /// Anything else: files, their times, the compressor.
    Content,
}

/// What the superblock of a filesystem image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// `squashfs` or `erofs`.
    pub format: &'static str,
    /// Bytes of the filesystem, rounded up to a block, after which a verity superblock may follow.
    pub size: u64,
    /// Fields that differ from run to run.
    fields: Vec<(Range<u64>, Cause)>,
}

/// Bytes from the start that [`Superblock::read`] needs.
pub const HEAD: usize = 1024 + 128;
const BLOCK: u64 = 4096;
const VERITY_MAGIC: &[u8] = b"verity\0\0";
/// The used bytes of a verity superblock: magic to salt.
const VERITY_BYTES: usize = 88 + 256;

impl Superblock {
    /// Recognises a filesystem by its first [`HEAD`] bytes; `None` if it is neither.
    pub fn read(head: &[u8]) -> Option<Self> {
        let number = |at: usize, width: usize| -> Option<u64> {
            let bytes = head.get(at..at + width)?;
            Some(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
        };
        if head.starts_with(b"hsqs") {
            let size = number(40, 8)?.checked_next_multiple_of(BLOCK)?;
            let fields = vec![(8..12, Cause::MkfsTime)];
            return Some(Superblock { format: "squashfs", size, fields });
        }
        if number(1024, 4)? == 0xE0F5_E1E2 {
            let block = 1u64.checked_shl(u32::try_from(number(1024 + 12, 1)?).ok()?)?;
            let size = number(1024 + 36, 4)?.checked_mul(block)?.checked_next_multiple_of(BLOCK)?;
            // The checksum follows from the rest; its cause is found with the field that differs.
            let fields =
                vec![(1024 + 24..1024 + 36, Cause::Epoch), (1024 + 48..1024 + 64, Cause::Uuid)];
            return Some(Superblock { format: "erofs", size, fields });
        }
        None
    }

    fn cause(&self, at: u64) -> Option<Cause> {
        if self.format == "erofs" && (1024 + 4..1024 + 8).contains(&at) {
            return None;
        }
        let field = self.fields.iter().find(|(range, _)| range.contains(&at));
        Some(field.map_or(Cause::Content, |(_, cause)| *cause))
    }
}

/// Why `a` and `b` differ; empty if they do not. `None` if they are not filesystem images of one
/// format. Reads both once, in parallel.
pub fn differences(a: &mut impl Read, b: &mut impl Read) -> io::Result<Option<BTreeSet<Cause>>> {
    let heads = (head(a)?, head(b)?);
    let (Some(one), Some(other)) =
        (Superblock::read(heads.0.get_ref()), Superblock::read(heads.1.get_ref()))
    else {
        return Ok(None);
    };
    if one.format != other.format {
        return Ok(None);
    }
    let mut causes = BTreeSet::new();
    if one.size != other.size {
        causes.insert(Cause::Content);
        return Ok(Some(causes));
    }
    let (mut a, mut b) = (heads.0.chain(a), heads.1.chain(b));
    let mut at = 0;
    let mut blocks = ([0; BLOCK as usize], [0; BLOCK as usize]);
    loop {
        let left = usize::try_from(one.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let want = left.min(BLOCK as usize);
        if want == 0 {
            break;
        }
        let read = (fill(&mut a, &mut blocks.0[..want])?, fill(&mut b, &mut blocks.1[..want])?);
        let (x, y) = (&blocks.0[..read.0], &blocks.1[..read.1]);
        if x.len() != y.len() {
            causes.insert(Cause::Content);
        } else if x != y {
            let different = x.iter().zip(y).enumerate().filter(|(_, (x, y))| x != y);
            causes.extend(different.filter_map(|(i, _)| one.cause(at + i as u64)));
        }
        if causes.contains(&Cause::Content) || read.0 < want {
            return Ok(Some(causes));
        }
        at += want as u64;
    }
    verity(&mut a, &mut b, &mut causes)?;
    Ok(Some(causes))
}

/// Compares what follows the filesystem: nothing, or a verity superblock and its tree.
fn verity(a: &mut impl Read, b: &mut impl Read, causes: &mut BTreeSet<Cause>) -> io::Result<()> {
    let (mut x, mut y) = ([0; VERITY_BYTES], [0; VERITY_BYTES]);
    let read = (fill(a, &mut x)?, fill(b, &mut y)?);
    let have = |bytes: &[u8], n| n == VERITY_BYTES && bytes.starts_with(VERITY_MAGIC);
    match (have(&x, read.0), have(&y, read.1)) {
        (true, true) => {}
        _ if read == (0, 0) => return Ok(()),
        _ => {
            if x[..read.0] != y[..read.1] || !same(a, b)? {
                causes.insert(Cause::Content);
            }
            return Ok(());
        }
    }
    let fixed = |s: &[u8; VERITY_BYTES]| [&s[..16], &s[32..82]].concat();
    if fixed(&x) != fixed(&y) {
        causes.insert(Cause::Content);
    } else if x != y {
        causes.insert(Cause::VeritySalt);
    } else if causes.is_empty() && !same(a, b)? {
        // For the same salt and filesystem the tree is always the same.
        causes.insert(Cause::Content);
    }
    Ok(())
}

fn same(a: &mut impl Read, b: &mut impl Read) -> io::Result<bool> {
    let mut blocks = ([0; BLOCK as usize], [0; BLOCK as usize]);
    loop {
        let read = (fill(a, &mut blocks.0)?, fill(b, &mut blocks.1)?);
        if blocks.0[..read.0] != blocks.1[..read.1] {
            return Ok(false);
        }
        if read.0 == 0 {
            return Ok(true);
        }
    }
}

fn head(from: &mut impl Read) -> io::Result<io::Cursor<Vec<u8>>> {
    let mut bytes = vec![0; HEAD];
    let n = fill(from, &mut bytes)?;
    bytes.truncate(n);
    Ok(io::Cursor::new(bytes))
}
