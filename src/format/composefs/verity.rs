//! fs-verity's digest with SHA-512, blocks of 4096 bytes and no salt.
//!
//! <https://docs.kernel.org/filesystems/fsverity.html>: a Merkle tree over the blocks, whose root
//! is hashed with the size into the digest.

use std::io::{self, Read};

use sha2::{Digest as _, Sha512};

use super::lanes::{self, LANES};

/// Bytes in a block, of data and of the Merkle tree.
pub(super) const BLOCK: usize = 4096;
/// Bytes in a hash.
pub(super) const HASH: usize = 64;
/// SHA-512 in `struct fsverity_descriptor`.
const ALGORITHM: u8 = 2;

/// An fs-verity digest.
pub type Digest = [u8; HASH];

/// Computes an fs-verity digest piece by piece.
#[derive(Debug, Default)]
pub struct Verity {
    size: u64,
    /// Data that waits for more: less than what is hashed at a time.
    waiting: Vec<u8>,
    /// The levels of the tree above the data, the lowest first.
    levels: Vec<Level>,
}

/// The block of one level of the tree that is being filled.
#[derive(Debug, Default)]
struct Level {
    hash: Sha512,
    filled: usize,
    /// Blocks of this level that are complete.
    complete: u64,
    /// What was added last, where that is a hash.
    last: Option<Digest>,
}

impl Level {
    /// The hash of the block, filled up with zeros; the next one begins.
    fn close(&mut self) -> Digest {
        self.hash.update(&[0; BLOCK][self.filled..]);
        self.filled = 0;
        self.complete += 1;
        self.hash.finalize_reset().into()
    }
}

impl Verity {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut verity = Verity::default();
        verity.update(bytes);
        verity.finish()
    }

    /// The digest and the number of bytes of what `content` gives.
    pub fn of_reader(content: &mut dyn Read) -> io::Result<(Digest, u64)> {
        let mut verity = Verity::default();
        let mut piece = vec![0; 16 * BLOCK];
        loop {
            match content.read(&mut piece) {
                Ok(0) => break,
                Ok(got) => verity.update(&piece[..got]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let size = verity.size;
        Ok((verity.finish(), size))
    }

    /// Adds the next bytes of the data.
    pub fn update(&mut self, mut bytes: &[u8]) {
        const AT_ONCE: usize = LANES * BLOCK;
        self.size += bytes.len() as u64;
        if !self.waiting.is_empty() {
            let (more, rest) = bytes.split_at(bytes.len().min(AT_ONCE - self.waiting.len()));
            self.waiting.extend_from_slice(more);
            bytes = rest;
            if self.waiting.len() == AT_ONCE {
                let mut waiting = std::mem::take(&mut self.waiting);
                self.blocks(&waiting);
                waiting.clear();
                self.waiting = waiting;
            }
        }
        let (now, later) = bytes.split_at(bytes.len() - bytes.len() % AT_ONCE);
        self.blocks(now);
        self.waiting.extend_from_slice(later);
    }

    /// Adds whole blocks of data.
    fn blocks(&mut self, blocks: &[u8]) {
        lanes::each(blocks, |hash| self.add(0, hash));
    }

    /// Adds a hash to a level, which completes levels above it.
    fn add(&mut self, level: usize, hash: Digest) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        let at = &mut self.levels[level];
        at.hash.update(hash);
        at.last = Some(hash);
        at.filled += HASH;
        if at.filled == BLOCK {
            let hash = at.close();
            self.add(level + 1, hash);
        }
    }

    /// The digest of all that was added.
    pub fn finish(mut self) -> Digest {
        let mut last = std::mem::take(&mut self.waiting);
        last.resize(last.len().next_multiple_of(BLOCK), 0);
        self.blocks(&last);
        let root = self.root();
        let mut hash = Sha512::new();
        hash.update([1, ALGORITHM, BLOCK.trailing_zeros() as u8, 0, 0, 0, 0, 0]);
        hash.update(self.size.to_le_bytes());
        hash.update(root);
        // Salt and reserved fields.
        hash.update([0; 32 + 144]);
        hash.finalize().into()
    }

    /// The hash at the top of the tree. One block of data is its own top; no data has zeros.
    fn root(&mut self) -> Digest {
        if self.size == 0 {
            return [0; HASH];
        }
        let mut level = 0;
        loop {
            let at = &mut self.levels[level];
            // A level that holds one hash is that hash: the tree ends below it.
            if let Some(only) = at.last.filter(|_| at.complete == 0 && at.filled == HASH) {
                return only;
            }
            if at.filled > 0 {
                let hash = at.close();
                self.add(level + 1, hash);
            }
            level += 1;
        }
    }
}
