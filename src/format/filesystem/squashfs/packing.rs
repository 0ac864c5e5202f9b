//! The compressions of squashfs, and what was unpacked last.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::refused;
use crate::format::compress::lz4_block;

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Zlib,
    Lzma,
    Lzo,
    Xz,
    Lz4,
    Zstd,
}

impl Packing {
    pub(super) fn of(number: u16) -> io::Result<Self> {
        Ok(match number {
            1 => Packing::Zlib,
            2 => Packing::Lzma,
            3 => Packing::Lzo,
            4 => Packing::Xz,
            5 => Packing::Lz4,
            6 => Packing::Zstd,
            other => return Err(refused(format!("squashfs: compression {other} is not read"))),
        })
    }

    /// What `input` unpacks to, at most `most` bytes; `None` if it is damaged or more.
    pub(super) fn unpack(self, input: &[u8], most: usize) -> io::Result<Option<Vec<u8>>> {
        use liblzma::{bufread::XzDecoder, stream::Stream};
        const MEMORY: u64 = 64 << 20;
        let reader: Box<dyn Read + '_> = match self {
            Packing::Zlib => Box::new(flate2::read::ZlibDecoder::new(input)),
            Packing::Xz => {
                Box::new(XzDecoder::new_stream(input, Stream::new_stream_decoder(MEMORY, 0)?))
            }
            Packing::Lzma => {
                Box::new(XzDecoder::new_stream(input, Stream::new_lzma_decoder(MEMORY)?))
            }
            Packing::Zstd => {
                let mut reader = zstd::Decoder::with_buffer(input)?;
                reader.window_log_max(23)?;
                Box::new(reader)
            }
            Packing::Lz4 => return Ok(whole_lz4(input, most)),
            Packing::Lzo => {
                let mut out = vec![0; most];
                let got = lzokay::decompress::decompress(input, &mut out);
                return Ok(got.ok().map(|got| {
                    out.truncate(got);
                    out
                }));
            }
        };
        let mut out = Vec::new();
        let read = reader.take(most as u64 + 1).read_to_end(&mut out);
        Ok((read.is_ok() && out.len() <= most).then_some(out))
    }
}

/// All that an LZ4 block holds: its length is not stored, so the input's end is the end.
fn whole_lz4(input: &[u8], most: usize) -> Option<Vec<u8>> {
    let out = ::lz4::block::decompress(input, Some(i32::try_from(most).ok()?)).ok();
    out.or_else(|| lz4_block(input, most))
}

/// A block unpacked, and where the next one begins.
pub(super) type Block = Arc<(Vec<u8>, u64)>;

/// Blocks that were unpacked last, by their places.
pub(super) struct Cache {
    most: usize,
    known: Mutex<HashMap<u64, Block>>,
}

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Cache { most, known: Mutex::default() }
    }

    /// The block at `at`, made by `make` where it is not known.
    pub(super) fn get(
        &self,
        at: u64,
        make: impl FnOnce() -> io::Result<(Vec<u8>, u64)>,
    ) -> io::Result<Block> {
        if let Some(block) = self.lock().get(&at) {
            return Ok(Arc::clone(block));
        }
        let block = Arc::new(make()?);
        let mut known = self.lock();
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(at, Arc::clone(&block));
        Ok(block)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Block>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
