//! LZ4's legacy frame (`lz4 -l`): a magic, then blocks of 8 MiB, each preceded by its compressed
//! length. It has no end mark: it ends with the input, with a length of zero, or, for us but not
//! for the kernel, at an invalid length. And the frame format, whose decoder must be asked whether
//! the frame was complete.

use std::io::{self, BufRead, Read, Write};

use ::lz4::block::{CompressionMode, compress, compress_bound, decompress};

use super::Source;

pub(super) const MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();
pub(super) const LEVEL: i32 = 9;
const BLOCK: usize = 8 << 20;

/// Decompresses one legacy frame.
pub(super) struct Decoder<'a, R> {
    source: &'a mut Source<R>,
    block: io::Cursor<Vec<u8>>,
    started: bool,
}

impl<'a, R: Read> Decoder<'a, R> {
    pub(super) fn new(source: &'a mut Source<R>) -> Self {
        Decoder { source, block: io::Cursor::new(Vec::new()), started: false }
    }

    /// Reads the next block; `false` at the end of the frame.
    fn next_block(&mut self) -> io::Result<bool> {
        if !std::mem::replace(&mut self.started, true) {
            self.source.read_exact(&mut [0; MAGIC.len()])?;
        }
        let Some(&length) = self.source.peek(4)?.first_chunk::<4>() else {
            return match self.source.peek(4)? {
                [] => Ok(false),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        };
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 || length > compress_bound(BLOCK)? || is_gzip(self.source.peek(10)?) {
            return Ok(false);
        }
        self.source.consume(4);
        let mut packed = Vec::new();
        let got = self.source.by_ref().take(length as u64).read_to_end(&mut packed)?;
        if got < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block = io::Cursor::new(decompress(&packed, Some(BLOCK as i32))?);
        Ok(true)
    }
}

impl<R: Read> Read for Decoder<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self.block.read(out)?;
            if got > 0 || out.is_empty() || !self.next_block()? {
                return Ok(got);
            }
        }
    }
}

/// Whether a gzip member without options begins here. Without zeros between it and the frame, the
/// kernel takes its magic for a length, and such an image does not boot until it is rewritten.
fn is_gzip(bytes: &[u8]) -> bool {
    matches!(bytes, [0x1f, 0x8b, 8, 0, _, _, _, _, 0 | 2 | 4, 0 | 3 | 255])
}

/// Decompresses one frame of the frame format.
pub(super) struct FrameDecoder<R>(Option<::lz4::Decoder<R>>);

impl<R: Read> FrameDecoder<R> {
    pub(super) fn new(source: R) -> io::Result<Self> {
        Ok(FrameDecoder(Some(::lz4::Decoder::new(source)?)))
    }
}

impl<R: Read> Read for FrameDecoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.0 else { return Ok(0) };
        let got = decoder.read(out)?;
        if got == 0 && !out.is_empty() {
            let whole = self.0.take().map_or(Ok(()), |d| d.finish().1);
            whole.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        }
        Ok(got)
    }
}

/// Writes one legacy frame.
pub(super) struct Encoder<W> {
    output: W,
    block: Vec<u8>,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&MAGIC)?;
        Ok(Encoder { output, block: Vec::new() })
    }

    fn put_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = compress(&self.block, Some(CompressionMode::HIGHCOMPRESSION(LEVEL)), false)?;
        self.block.clear();
        self.output.write_all(&(packed.len() as u32).to_le_bytes())?;
        self.output.write_all(&packed)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.put_block()
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..take]);
        if self.block.len() == BLOCK {
            self.put_block()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
