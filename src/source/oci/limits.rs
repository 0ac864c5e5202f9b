//! Limits for reading images, so that no archive can use unlimited memory or time.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of an `index.json`, an index or a manifest (registries also refuse more than 4
/// MiB).
pub(crate) const MANIFEST_BYTES: u64 = 4 << 20;
/// The most bytes of a configuration.
pub(crate) const CONFIG_BYTES: u64 = 1 << 20;
/// The most nested indexes.
pub(crate) const INDEX_DEPTH: usize = 8;
/// The most descriptors in all indexes of one layout together.
pub(crate) const DESCRIPTORS: usize = 10_000;
/// The most layers of one image (kernels mount at most 500 lower layers).
pub(crate) const LAYERS: usize = 512;
/// The most memory for the members of all layers of one image, including names and attributes. 48
/// MiB suffice for about 190,000 files, and keep the process below 100 MiB.
pub(crate) const MEMBER_BYTES: usize = 48 << 20;
/// The most kept members of an archive with a layout or a registry's storage.
pub(crate) const ARCHIVE_MEMBERS: usize = 100_000;
/// The most members of an archive, including skipped ones.
pub(crate) const NAMES: usize = 1_000_000;
/// The most bytes of `images.json` and `layers.json` of container storage.
pub(crate) const STORAGE_BYTES: u64 = 16 << 20;
/// The largest window of a zstd frame as a power of two: 64 MiB. (`zstd -19` uses 8 MiB.)
pub(crate) const ZSTD_WINDOW_LOG: u32 = 26;
/// The largest ratio of plain to compressed bytes of a subject, beyond [`RATIO_FREE_BYTES`].
pub(crate) const RATIO: u64 = 300;
/// Plain bytes up to which any ratio is allowed: smaller layers may be as sparse as they like.
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
