//! Compresses a layer with fixed parameters, and computes digests on the way.

use std::io::{self, Write};

use crate::format::compress::GzipBlocks;
use crate::source::oci::{Compression, Digest, Hasher};

/// The unknown operating system in a gzip header.
const UNKNOWN_SYSTEM: u8 = 255;

/// Runs `write` through a compressor with fixed parameters: gzip level 6 without name and time,
/// zstd level 3 in one frame, on all threads, whose number does not affect the result. Returns the
/// sink and the digest of the plain bytes.
pub(super) fn compress<W: Write>(
    out: W,
    compression: Compression,
    write: &dyn Fn(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<(W, Digest)> {
    let jobs = rayon::current_num_threads().max(1);
    match compression {
        Compression::Gzip => {
            let mut plain = Hashing::new(GzipBlocks::new(out, 6, UNKNOWN_SYSTEM, jobs)?);
            write(&mut plain)?;
            Ok((plain.inner.finish()?, plain.hasher.finish()))
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(out, 3)?;
            encoder.multithread(jobs as u32)?;
            let mut plain = Hashing::new(encoder);
            write(&mut plain)?;
            Ok((plain.inner.finish()?, plain.hasher.finish()))
        }
        Compression::None => {
            let mut plain = Hashing::new(out);
            write(&mut plain)?;
            Ok((plain.inner, plain.hasher.finish()))
        }
    }
}

/// Hashes and counts the bytes that pass through.
pub(super) struct Hashing<W> {
    inner: W,
    pub(super) hasher: Hasher,
    pub(super) size: u64,
}

impl<W> Hashing<W> {
    pub(super) fn new(inner: W) -> Self {
        Hashing::with(Hasher::default(), inner)
    }

    /// Uses this hasher, for another algorithm.
    pub(super) fn with(hasher: Hasher, inner: W) -> Self {
        Hashing { inner, hasher, size: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
