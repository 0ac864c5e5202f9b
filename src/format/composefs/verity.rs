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

/// Computes an fs-verity digest incrementally.
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
    /// The number of complete blocks of this level.
    complete: u64,
    /// The last added hash, if any.
    last: Option<Digest>,
}

impl Level {
    /// Pads the block with zeros, returns its hash and begins the next one.
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

    /// The digest and the size of `content`.
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

    /// The digest of all data.
    pub fn finish(mut self) -> Digest {
        let mut last = std::mem::take(&mut self.waiting);
        last.resize(last.len().next_multiple_of(BLOCK), 0);
        self.blocks(&last);
        described(self.root(), self.size)
    }

    /// The hash at the top of the tree: that of the block if there is only one, zeros if there are
    /// no data.
    fn root(&mut self) -> Digest {
        if self.size == 0 {
            return [0; HASH];
        }
        let mut level = 0;
        loop {
            let at = &mut self.levels[level];
            // A level with one hash is the top: the tree ends there.
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

/// Computes the fs-verity digests of small contents together: their blocks are hashed as those of one
/// large one, then the one block of each tree.
#[derive(Debug, Default)]
pub struct Batch {
    blocks: Vec<u8>,
    sizes: Vec<usize>,
}

impl Batch {
    /// Bytes of a content, at most: so many that its tree is one block.
    pub const MOST: u64 = (BLOCK / HASH * BLOCK) as u64;

    /// Adds a content, which is neither empty nor larger than [`Batch::MOST`].
    pub fn add(&mut self, content: &[u8]) {
        self.blocks.extend_from_slice(content);
        self.blocks.resize(self.blocks.len().next_multiple_of(BLOCK), 0);
        self.sizes.push(content.len());
    }

    /// The digests, in the order in which the contents were added.
    pub fn finish(self) -> Vec<Digest> {
        let mut hashes = Vec::with_capacity(self.blocks.len() / BLOCK);
        lanes::each(&self.blocks, |hash| hashes.push(hash));
        let mut trees = self.blocks;
        trees.clear();
        let mut rest = &hashes[..];
        let mut roots = Vec::with_capacity(self.sizes.len());
        for size in &self.sizes {
            let (own, later) = rest.split_at(size.div_ceil(BLOCK));
            rest = later;
            // One block of data is its own top.
            roots.push(own.first().copied().filter(|_| own.len() == 1));
            if own.len() > 1 {
                trees.extend_from_slice(own.as_flattened());
                trees.resize(trees.len().next_multiple_of(BLOCK), 0);
            }
        }
        let mut tops = Vec::new();
        lanes::each(&trees, |hash| tops.push(hash));
        let mut tops = tops.into_iter();
        let root = |only: Option<Digest>| only.or_else(|| tops.next()).unwrap_or([0; HASH]);
        let roots = roots.into_iter().map(root);
        roots.zip(&self.sizes).map(|(root, size)| described(root, *size as u64)).collect()
    }
}

/// The hash of `struct fsverity_descriptor`.
fn described(root: Digest, size: u64) -> Digest {
    let mut hash = Sha512::new();
    hash.update([1, ALGORITHM, BLOCK.trailing_zeros() as u8, 0, 0, 0, 0, 0]);
    hash.update(size.to_le_bytes());
    hash.update(root);
    // Salt and reserved fields.
    hash.update([0; 32 + 144]);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_digests_that_each_content_has_alone() {
        let noise: Vec<u8> = (0..Batch::MOST).map(|n| (n.wrapping_mul(n + 7) >> 5) as u8).collect();
        let most = noise.len();
        let sizes = [
            1,
            65,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            2 * BLOCK,
            3 * BLOCK + 5,
            17 * BLOCK,
            most - 1,
            most,
        ];
        for from in 0..sizes.len() {
            let mut batch = Batch::default();
            let contents: Vec<&[u8]> =
                sizes[from..].iter().map(|size| &noise[most - size..]).collect();
            contents.iter().for_each(|content| batch.add(content));
            let alone: Vec<Digest> = contents.iter().map(|content| Verity::of(content)).collect();
            assert_eq!(batch.finish(), alone);
        }
        // A near miss: a zero more fills the last block as it was, and only the size tells.
        let digest = |content: &[u8]| {
            let mut batch = Batch::default();
            batch.add(content);
            batch.finish()
        };
        assert_ne!(digest(&[7; 100]), digest(&[&[7; 100][..], &[0]].concat()));
        assert_eq!(Batch::default().finish(), Vec::<Digest>::new());
    }
}
