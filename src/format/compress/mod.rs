//! The compressions the kernel unpacks an initramfs with: found by their magic, undone as a
//! stream, and done again with parameters that depend on nothing but the compressed header.
//!
//! No encoder's output depends on the number of threads. The libraries are built from source with
//! the versions of `Cargo.lock`, so it does not depend on the machine's libraries either.

mod detect;
mod lz4;
mod source;

use std::fmt;
use std::io::{self, Read, Write};

pub use detect::{HEAD_LEN, detect, is_cut_magic};
pub use source::Source;

/// Largest window or dictionary that a decoder allocates: 128 MiB, the kernel's own limit for zstd.
pub const WINDOW_MAX: u32 = 1 << 27;

/// Largest dictionary that the xz and lzma encoders get: that of `xz -6`. A larger one would cost
/// ten times its size in memory and thread.
pub const DICT_MAX: u32 = 8 << 20;

/// Bytes that zstd gives to one thread at its fast levels: two windows, half of its own choice, and
/// half the memory. Higher levels would take longer by it.
const FAST_JOB: u32 = 4 << 20;

/// A compression and the parameters it is done again with.
///
/// [`Display`](fmt::Display) prints it as the command line that comes nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Zstandard (RFC 8878): level 1 to 22.
    Zstd(i32),
    /// The .xz format 1.2: its integrity check and LZMA2 dictionary in bytes, preset 6 otherwise.
    Xz(Check, u32),
    /// The legacy .lzma format: dictionary in bytes, preset 6 otherwise.
    Lzma(u32),
    /// gzip (RFC 1952), without name and time: level 1 to 9.
    Gzip(u32),
    /// bzip2: block size 1 to 9, in 100 kB.
    Bzip2(u32),
    /// LZ4's legacy frame, the only one the kernel reads; level 9 of the high compressor.
    Lz4Legacy,
    /// LZ4's frame format; level 9 of the high compressor.
    Lz4,
}

/// The integrity check of an .xz stream. The kernel verifies only the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// None at all.
    None,
    /// CRC-32.
    Crc32,
    /// CRC-64.
    Crc64,
    /// SHA-256.
    Sha256,
}

impl Packing {
    /// The compression's name alone, as its command is called.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Zstd(_) => "zstd",
            Packing::Xz(..) => "xz",
            Packing::Lzma(_) => "lzma",
            Packing::Gzip(_) => "gzip",
            Packing::Bzip2(_) => "bzip2",
            Packing::Lz4Legacy | Packing::Lz4 => "lz4",
        }
    }

    /// The content of the member that begins at the next byte of `source`.
    ///
    /// After the last byte, `source` stands behind the member (one frame, one stream). Errors are
    /// those of `source`, else what is wrong with the member; memory is at most [`WINDOW_MAX`]
    /// and what the decoder needs beside it.
    pub fn decoder<'a, R: Read>(self, source: &'a mut Source<R>) -> io::Result<Box<dyn Read + 'a>> {
        use liblzma::{bufread::XzDecoder, stream::Stream};
        let memory = 2 * u64::from(WINDOW_MAX);
        Ok(match self {
            Packing::Zstd(_) => {
                let mut decoder = zstd::Decoder::with_buffer(source)?.single_frame();
                decoder.window_log_max(WINDOW_MAX.ilog2())?;
                Box::new(decoder)
            }
            Packing::Xz(..) => {
                let stream = Stream::new_stream_decoder(memory, 0)?;
                Box::new(XzDecoder::new_stream(source, stream))
            }
            Packing::Lzma(_) => {
                Box::new(XzDecoder::new_stream(source, Stream::new_lzma_decoder(memory)?))
            }
            Packing::Gzip(_) => Box::new(flate2::bufread::GzDecoder::new(source)),
            Packing::Bzip2(_) => Box::new(bzip2::bufread::BzDecoder::new(source)),
            Packing::Lz4Legacy => Box::new(lz4::Decoder::new(source)),
            Packing::Lz4 => Box::new(lz4::FrameDecoder::new(source)?),
        })
    }

    /// Compresses what `fill` writes into `output`, on up to `jobs` threads (at least one).
    pub fn pack(
        self,
        output: &mut dyn Write,
        jobs: u32,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let jobs = jobs.max(1);
        match self {
            Packing::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(output, level)?;
                encoder.include_checksum(true)?;
                // The encoder with workers writes the same for any number of them, but not what
                // the one without writes.
                encoder.multithread(jobs)?;
                if level <= 3 {
                    encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(FAST_JOB))?;
                }
                fill(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Packing::Xz(check, dict) => {
                let stream = xz_encoder(check, dict, jobs)?;
                let mut encoder = liblzma::write::XzEncoder::new_stream(output, stream);
                fill(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Packing::Lzma(dict) => {
                let stream = liblzma::stream::Stream::new_lzma_encoder(&lzma_options(dict)?)?;
                let mut encoder = liblzma::write::XzEncoder::new_stream(output, stream);
                fill(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Packing::Gzip(level) => {
                const UNIX: u8 = 3;
                let header = flate2::GzBuilder::new().mtime(0).operating_system(UNIX);
                let mut encoder = header.write(output, flate2::Compression::new(level));
                fill(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Packing::Bzip2(size) => {
                let mut encoder =
                    bzip2::write::BzEncoder::new(output, bzip2::Compression::new(size));
                fill(&mut encoder)?;
                encoder.finish().map(drop)
            }
            Packing::Lz4Legacy => {
                let mut encoder = lz4::Encoder::new(output)?;
                fill(&mut encoder)?;
                encoder.finish()
            }
            Packing::Lz4 => {
                let mut encoder =
                    ::lz4::EncoderBuilder::new().level(lz4::LEVEL as u32).build(output)?;
                fill(&mut encoder)?;
                encoder.finish().1
            }
        }
    }
}

fn lzma_options(dict: u32) -> io::Result<liblzma::stream::LzmaOptions> {
    let mut options = liblzma::stream::LzmaOptions::new_preset(6)?;
    options.dict_size(dict);
    Ok(options)
}

/// Blocks of three dictionaries, as `xz -T` makes them: fixed, so that they do not depend on the
/// number of threads.
fn xz_encoder(check: Check, dict: u32, jobs: u32) -> io::Result<liblzma::stream::Stream> {
    use liblzma::stream::{self, Filters, MtStreamBuilder};
    let check = match check {
        Check::None => stream::Check::None,
        Check::Crc32 => stream::Check::Crc32,
        Check::Crc64 => stream::Check::Crc64,
        Check::Sha256 => stream::Check::Sha256,
    };
    let mut filters = Filters::new();
    filters.lzma2(&lzma_options(dict)?);
    let block = (3 * u64::from(dict)).max(1 << 20);
    let mut builder = MtStreamBuilder::new();
    Ok(builder.threads(jobs).block_size(block).filters(filters).check(check).encoder()?)
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packing::Zstd(level) if *level > 19 => write!(f, "zstd --ultra -{level}"),
            Packing::Zstd(level) => write!(f, "zstd -{level}"),
            Packing::Xz(check, dict) => {
                write!(f, "xz --check={check} --lzma2=preset=6,dict={}KiB", dict >> 10)
            }
            Packing::Lzma(dict) => write!(f, "lzma --lzma1=preset=6,dict={}KiB", dict >> 10),
            Packing::Gzip(level) => write!(f, "gzip -n -{level}"),
            Packing::Bzip2(size) => write!(f, "bzip2 -{size}"),
            Packing::Lz4Legacy => write!(f, "lz4 -l -{}", lz4::LEVEL),
            Packing::Lz4 => write!(f, "lz4 -{}", lz4::LEVEL),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::None => "none",
            Check::Crc32 => "crc32",
            Check::Crc64 => "crc64",
            Check::Sha256 => "sha256",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Packing; 10] = [
        Packing::Zstd(3),
        Packing::Zstd(15),
        Packing::Zstd(19),
        Packing::Xz(Check::Crc32, 1 << 20),
        Packing::Xz(Check::Sha256, 8 << 20),
        Packing::Lzma(1 << 20),
        Packing::Gzip(9),
        Packing::Bzip2(9),
        Packing::Lz4Legacy,
        Packing::Lz4,
    ];

    /// Compressible, not trivial, and longer than one block of bzip2 and lz4.
    fn sample(len: u32) -> Vec<u8> {
        (0..len).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect()
    }

    fn pack(packing: Packing, content: &[u8], jobs: u32) -> Vec<u8> {
        let mut out = Vec::new();
        packing.pack(&mut out, jobs, &mut |w| w.write_all(content)).unwrap();
        out
    }

    fn unpack(packing: Packing, source: &mut Source<&[u8]>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        packing.decoder(source)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn packs_and_unpacks_stops_behind_the_member_and_finds_the_parameters_again() {
        let content = sample(2_200_000);
        for packing in ALL {
            let mut bytes = pack(packing, &content, 1);
            assert_eq!(detect(&bytes[..HEAD_LEN]), Some(packing));
            let end = bytes.len() as u64;
            bytes.extend(b"\0\0\0\0more");
            let mut source = Source::new(&bytes[..]);
            assert!(unpack(packing, &mut source).unwrap() == content, "{packing}");
            assert_eq!(source.offset(), end, "{packing}");
        }
    }

    #[test]
    fn threads_change_nothing() {
        let content = sample(3_000_000);
        for packing in [Packing::Zstd(1), Packing::Zstd(15), Packing::Xz(Check::Crc32, 1 << 20)] {
            let one = pack(packing, &content, 1);
            assert!(one == pack(packing, &content, 2), "{packing}");
            assert!(one == pack(packing, &content, 7), "{packing}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let content = sample(3_000);
        for packing in ALL {
            let bytes = pack(packing, &content, 1);
            for len in (HEAD_LEN..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
                let mut source = Source::new(&bytes[..len]);
                assert!(unpack(packing, &mut source).is_err(), "{packing} cut to {len}");
            }
        }
    }
}
