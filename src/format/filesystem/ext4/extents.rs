//! Where a file's blocks are: trees of extents, and the indirect blocks before them.

use std::io;

use super::super::{invalid, le16, le32};
use super::{EXTENTS, Ext4, Stored};

/// Blocks of a file one after another: `None` where they were allocated and never written.
pub(super) struct Run {
    pub(super) logical: u64,
    pub(super) block: Option<u64>,
    pub(super) count: u64,
}

/// Runs found so far, and how many more blocks and nodes a file may have: no more than the whole file
/// system, however its blocks lead to one another.
struct Found {
    runs: Vec<Run>,
    left: u64,
}

impl Found {
    fn count(&mut self, at: u64) -> io::Result<()> {
        let left = self.left.checked_sub(1);
        self.left =
            left.ok_or_else(|| invalid(at, "ext4: a file has more blocks than the disk"))?;
        Ok(())
    }
}

/// Levels of a tree, at most: the format's own limit.
const DEPTH_MAX: u16 = 5;
const HEADER: usize = 12;

impl Ext4 {
    /// The runs of a file in order, each within the file system.
    pub(super) fn runs(&self, stored: &Stored) -> io::Result<Vec<Run>> {
        let mut found = Found { runs: Vec::new(), left: self.blocks };
        let root = &stored.bytes[0x28..0x28 + 60];
        match stored.flags & EXTENTS {
            0 => self.indirect(stored, &mut found)?,
            _ => self.tree(root, None, stored.at, &mut found)?,
        }
        let runs = found.runs;
        let outside = |run: &Run| {
            run.block.is_some_and(|at| at.checked_add(run.count).is_none_or(|e| e > self.blocks))
        };
        if runs.iter().any(outside) {
            return Err(invalid(stored.at, "ext4: an extent is not within the file system"));
        }
        Ok(runs)
    }

    /// The extents of a node and below it. Each level is one less deep, so it ends.
    fn tree(&self, node: &[u8], depth: Option<u16>, at: u64, out: &mut Found) -> io::Result<()> {
        let wrong = |what: &str| invalid(at, format!("ext4: {what}"));
        let (magic, count, own) = (le16(node, 0), usize::from(le16(node, 2)), le16(node, 6));
        if magic != 0xf30a || count > (node.len() - HEADER) / 12 {
            return Err(wrong("a node of extents is damaged"));
        }
        if own > DEPTH_MAX || depth.is_some_and(|depth| own != depth) {
            return Err(wrong("a node of extents has an impossible depth"));
        }
        for row in node[HEADER..].chunks_exact(12).take(count) {
            out.count(at)?;
            let logical = u64::from(le32(row, 0));
            if out.runs.last().is_some_and(|last| logical < last.logical + last.count) {
                return Err(wrong("extents are not in order"));
            }
            if own == 0 {
                let length = le16(row, 4);
                let start = u64::from(le16(row, 6)) << 32 | u64::from(le32(row, 8));
                let (count, block) = match length > 32_768 {
                    true => (length - 32_768, None),
                    false => (length, Some(start)),
                };
                out.runs.push(Run { logical, block, count: u64::from(count) });
            } else {
                let below = u64::from(le16(row, 8)) << 32 | u64::from(le32(row, 4));
                let place = below.saturating_mul(self.block);
                let bytes = self.disk.bytes(place, self.block as usize)?;
                self.tree(&bytes, Some(own - 1), place, out)?;
            }
        }
        Ok(())
    }

    /// The runs of a file of numbered blocks: twelve, and three levels of blocks of numbers.
    fn indirect(&self, stored: &Stored, out: &mut Found) -> io::Result<()> {
        let count = stored.inode.size.div_ceil(self.block);
        let numbers = stored.bytes[0x28..0x28 + 60].chunks_exact(4);
        let mut logical = 0;
        for (n, number) in numbers.enumerate() {
            let level = n.saturating_sub(11) as u32;
            self.numbered(le32(number, 0), level, count, &mut logical, out)?;
        }
        Ok(())
    }

    fn numbered(
        &self,
        number: u32,
        level: u32,
        count: u64,
        logical: &mut u64,
        out: &mut Found,
    ) -> io::Result<()> {
        let covers = (self.block / 4).pow(level);
        if *logical >= count || number == 0 {
            *logical += covers;
            return Ok(());
        }
        out.count(u64::from(number) * self.block)?;
        if level > 0 {
            let place = u64::from(number) * self.block;
            let bytes = self.disk.bytes(place, self.block as usize)?;
            for below in bytes.chunks_exact(4) {
                self.numbered(le32(below, 0), level - 1, count, logical, out)?;
            }
            return Ok(());
        }
        let block = u64::from(number);
        match out.runs.last_mut() {
            Some(last)
                if last.block.map(|b| b + last.count) == Some(block)
                    && last.logical + last.count == *logical =>
            {
                last.count += 1;
            }
            _ => out.runs.push(Run { logical: *logical, block: Some(block), count: 1 }),
        }
        *logical += 1;
        Ok(())
    }
}
