//! Limits for reading images, so that no archive can use unlimited memory or time.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of an `index.json`, an index or a manifest (registries refuse more than 4 MiB too).
pub(crate) const MANIFEST_BYTES: u64 = 4 << 20;
/// Bytes of a configuration.
pub(crate) const CONFIG_BYTES: u64 = 1 << 20;
/// Indexes inside one another.
pub(crate) const INDEX_DEPTH: usize = 8;
/// Descriptors in all indexes of one layout together.
pub(crate) const DESCRIPTORS: usize = 10_000;
/// Layers of one image (kernels mount at most 500 lower layers).
pub(crate) const LAYERS: usize = 512;
/// Memory that the members of all layers of one image may take, names and attributes included.
/// 48 MiB hold about 190,000 files, and keep the process below 100 MiB.
pub(crate) const MEMBER_BYTES: usize = 48 << 20;
/// Members of an archive that holds a layout or a registry's storage, as far as they are kept.
pub(crate) const ARCHIVE_MEMBERS: usize = 100_000;
/// Members of an archive, those included that are passed over.
pub(crate) const NAMES: usize = 1_000_000;
/// Bytes of `images.json` and `layers.json` of container storage.
pub(crate) const STORAGE_BYTES: u64 = 16 << 20;
/// Window of a zstd frame as a power of two: 64 MiB. (`zstd -19` uses 8 MiB.)
pub(crate) const ZSTD_WINDOW_LOG: u32 = 26;
/// How many times its size a subject's compressed data may grow to…
pub(crate) const RATIO: u64 = 300;
/// … once this many bytes came out. Smaller layers may be as sparse as they like.
pub(crate) const RATIO_FREE_BYTES: u64 = 256 << 20;

/// Counts the bytes into and out of the decompressors of one subject.
#[derive(Debug, Default)]
pub struct Meter {
    compressed: AtomicU64,
    plain: AtomicU64,
}

impl Meter {
    /// Counts `compressed` bytes and the `plain` bytes from them; an error beyond [`RATIO`].
    pub fn count(&self, compressed: u64, plain: u64) -> Result<(), String> {
        let into = self.compressed.fetch_add(compressed, Ordering::Relaxed) + compressed;
        let out = self.plain.fetch_add(plain, Ordering::Relaxed) + plain;
        if out > RATIO_FREE_BYTES && out / RATIO > into {
            return Err(format!(
                "decompression bomb: {into} compressed bytes gave more than {RATIO} times as many"
            ));
        }
        Ok(())
    }
}
