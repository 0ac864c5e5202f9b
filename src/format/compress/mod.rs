//! The compressions of an initramfs that the kernel supports: detected by magic, decompressed as a
//! stream, and compressed again with parameters that depend only on the compressed header.
//!
//! No encoder's output depends on the number of threads. The libraries are built from source with
//! the versions of `Cargo.lock`, so it does not depend on the machine's libraries either.

mod blocks;
mod command;
mod detect;
mod lz4;
mod lz4_block;
mod lzo;
mod source;

use std::fmt;
use std::io::{self, Read, Write};

pub(crate) use blocks::GzipBlocks;
pub use detect::{HEAD_LEN, detect, is_cut_magic};
pub(crate) use lz4_block::lz4_block;
pub use source::Source;

/// The largest window or dictionary that a decoder allocates: 128 MiB, the kernel's own limit for
/// zstd.
pub const WINDOW_MAX: u32 = 1 << 27;

/// The largest dictionary of the xz and lzma encoders: that of `xz -6`. A larger one would cost ten
/// times its size in memory per thread.
pub const DICT_MAX: u32 = 8 << 20;

/// Bytes per zstd job at fast levels: two windows, half of its own choice, which halves the memory.
/// Higher levels would take longer.
const FAST_JOB: u32 = 4 << 20;

/// zstd's default level.
const FAST: i32 = 3;
const DENSE: i32 = 19;

/// A compression and its parameters for compressing again.
///
/// [`Display`](fmt::Display) prints it as the nearest command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Zstandard (RFC 8878): level 1 to 22.
    Zstd(i32),
    /// Zstandard with a longer window than that of the level (`--long`): level and base-2
    /// logarithm.
    ZstdLong(i32, u32),
    /// The .xz format 1.2: its integrity check, LZMA2 dictionary in bytes and the filter before it,
    /// otherwise preset 6.
    Xz(Check, u32, Option<Bcj>),
    /// The legacy .lzma format: dictionary in bytes, otherwise preset 6.
    Lzma(u32),
    /// gzip (RFC 1952), without name and time: level 1 to 9.
    Gzip(u32),
    /// bzip2: block size 1 to 9, in 100 kB.
    Bzip2(u32),
    /// LZ4's legacy frame, the only one that the kernel reads; level 9 of the high compressor.
    Lz4Legacy,
    /// LZ4's frame format; level 9 of the high compressor.
    Lz4,
    /// An lzop file, always with the same level.
    Lzo,
}

/// The integrity check of an .xz stream. The kernel verifies only the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// No check.
    None,
    /// CRC-32.
    Crc32,
    /// CRC-64.
    Crc64,
    /// SHA-256.
    Sha256,
}

/// A filter for the jumps in a processor's machine code (xz format 1.2, 5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bcj {
    /// x86, 32 and 64 bits.
    X86,
    /// PowerPC, big-endian.
    PowerPc,
    /// Itanium.
    Ia64,
    /// ARM.
    Arm,
    /// ARM's Thumb.
    ArmThumb,
    /// SPARC.
    Sparc,
    /// ARM, 64 bits.
    Arm64,
    /// RISC-V.
    RiscV,
}

impl Bcj {
    /// Each filter with its number in the format and its name in xz's options.
    const ALL: [(Bcj, u64, &'static str); 8] = [
        (Bcj::X86, 4, "x86"),
        (Bcj::PowerPc, 5, "powerpc"),
        (Bcj::Ia64, 6, "ia64"),
        (Bcj::Arm, 7, "arm"),
        (Bcj::ArmThumb, 8, "armthumb"),
        (Bcj::Sparc, 9, "sparc"),
        (Bcj::Arm64, 10, "arm64"),
        (Bcj::RiscV, 11, "riscv"),
    ];

    fn of(number: u64) -> Option<Bcj> {
        Bcj::ALL.iter().find(|(_, known, _)| *known == number).map(|(bcj, ..)| *bcj)
    }

    fn add(self, filters: &mut liblzma::stream::Filters) {
        match self {
            Bcj::X86 => filters.x86(),
            Bcj::PowerPc => filters.powerpc(),
            Bcj::Ia64 => filters.ia64(),
            Bcj::Arm => filters.arm(),
            Bcj::ArmThumb => filters.arm_thumb(),
            Bcj::Sparc => filters.sparc(),
            Bcj::Arm64 => filters.arm64(),
            Bcj::RiscV => filters.riscv(),
        };
    }
}

impl fmt::Display for Bcj {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Bcj::ALL.iter().find(|(bcj, ..)| bcj == self);
        f.write_str(named.map_or("", |(.., name)| name))
    }
}

impl Packing {
    /// The name of the compression's command.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Zstd(_) | Packing::ZstdLong(..) => "zstd",
            Packing::Xz(..) => "xz",
            Packing::Lzma(_) => "lzma",
            Packing::Gzip(_) => "gzip",
            Packing::Bzip2(_) => "bzip2",
            Packing::Lz4Legacy | Packing::Lz4 => "lz4",
            Packing::Lzo => "lzop",
        }
    }

    /// A reader of the content of the member that begins at the next byte of `source`.
    ///
    /// After the last byte, `source` is just past the member (one frame, one stream). Errors are
    /// those of `source`, or describe what is wrong with the member; memory is at most
    /// [`WINDOW_MAX`] plus what the decoder itself needs.
    pub fn decoder<'a, R: Read>(self, source: &'a mut Source<R>) -> io::Result<Box<dyn Read + 'a>> {
        use liblzma::{bufread::XzDecoder, stream::Stream};
        let memory = 2 * u64::from(WINDOW_MAX);
        Ok(match self {
            Packing::Zstd(_) | Packing::ZstdLong(..) => {
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
            Packing::Lzo => Box::new(lzo::Decoder::new(source)),
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
            Packing::Zstd(level) => pack_zstd(output, level, None, jobs, fill),
            Packing::ZstdLong(level, log) => pack_zstd(output, level, Some(log), jobs, fill),
            Packing::Xz(check, dict, bcj) => {
                let stream = xz_encoder(check, dict, bcj, jobs)?;
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
                let mut encoder = GzipBlocks::new(output, level, UNIX, jobs as usize)?;
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
            Packing::Lzo => {
                let mut encoder = lzo::Encoder::new(output)?;
                fill(&mut encoder)?;
                encoder.finish()
            }
        }
    }
}

fn pack_zstd(
    output: &mut dyn Write,
    level: i32,
    window_log: Option<u32>,
    jobs: u32,
    fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut encoder = zstd::Encoder::new(output, level)?;
    encoder.include_checksum(true)?;
    if let Some(log) = window_log {
        encoder.long_distance_matching(true)?;
        encoder.window_log(log)?;
    }
    // The encoder with workers writes the same bytes for any number of them, but not those of the
    // one without.
    encoder.multithread(jobs)?;
    if level <= FAST {
        encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(FAST_JOB))?;
    }
    fill(&mut encoder)?;
    encoder.finish().map(drop)
}

impl Packing {
    /// Determines a level that is not in the header of the member `packed`: for a zstd frame with a
    /// long window, the fast or dense level that matches the ratio at the beginning of the content.
    /// The levels beyond 19 would cost minutes and a gigabyte for a percent.
    pub fn settled<R: Read>(self, packed: R) -> io::Result<Packing> {
        const SAMPLE: u64 = 2 << 20;
        let Packing::ZstdLong(_, log) = self else { return Ok(self) };
        let (mut source, mut content) = (Source::new(packed), Vec::new());
        self.decoder(&mut source)?.take(SAMPLE).read_to_end(&mut content)?;
        let size = |level| {
            let mut out = Vec::new();
            let packing = Packing::ZstdLong(level, log);
            packing.pack(&mut out, 1, &mut |w| w.write_all(&content))?;
            Ok::<_, io::Error>(out.len() as u64)
        };
        let (fast, dense) = (size(FAST)?, size(DENSE)?);
        // If both give the same, it is the fast one, so that its own output is recognised.
        let is_dense = 33 * dense < 32 * fast && 2 * source.offset() < fast + dense;
        Ok(Packing::ZstdLong(if is_dense { DENSE } else { FAST }, log))
    }
}

fn lzma_options(dict: u32) -> io::Result<liblzma::stream::LzmaOptions> {
    let mut options = liblzma::stream::LzmaOptions::new_preset(6)?;
    options.dict_size(dict);
    Ok(options)
}

/// An encoder with blocks of three dictionaries, like `xz -T`: a fixed size, so that they do not
/// depend on the number of threads.
fn xz_encoder(
    check: Check,
    dict: u32,
    bcj: Option<Bcj>,
    jobs: u32,
) -> io::Result<liblzma::stream::Stream> {
    use liblzma::stream::{self, Filters, MtStreamBuilder};
    let check = match check {
        Check::None => stream::Check::None,
        Check::Crc32 => stream::Check::Crc32,
        Check::Crc64 => stream::Check::Crc64,
        Check::Sha256 => stream::Check::Sha256,
    };
    let mut filters = Filters::new();
    if let Some(bcj) = bcj {
        bcj.add(&mut filters);
    }
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
            Packing::ZstdLong(level, log) => write!(f, "zstd -{level} --long={log}"),
            Packing::Xz(check, dict, bcj) => {
                write!(f, "xz --check={check}")?;
                bcj.map_or(Ok(()), |bcj| write!(f, " --{bcj}"))?;
                write!(f, " --lzma2=preset=6,dict={}KiB", dict >> 10)
            }
            Packing::Lzma(dict) => write!(f, "lzma --lzma1=preset=6,dict={}KiB", dict >> 10),
            Packing::Gzip(level) => write!(f, "gzip -n -{level}"),
            Packing::Bzip2(size) => write!(f, "bzip2 -{size}"),
            Packing::Lz4Legacy => write!(f, "lz4 -l -{}", lz4::LEVEL),
            Packing::Lz4 => write!(f, "lz4 -{}", lz4::LEVEL),
            Packing::Lzo => f.write_str("lzop -9"),
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

    const ALL: [Packing; 13] = [
        Packing::Zstd(3),
        Packing::Zstd(15),
        Packing::Zstd(19),
        Packing::ZstdLong(19, 27),
        Packing::Xz(Check::Crc32, 1 << 20, None),
        Packing::Xz(Check::Crc32, 1 << 20, Some(Bcj::X86)),
        Packing::Xz(Check::Sha256, 8 << 20, Some(Bcj::Arm64)),
        Packing::Lzma(1 << 20),
        Packing::Gzip(9),
        Packing::Bzip2(9),
        Packing::Lz4Legacy,
        Packing::Lz4,
        Packing::Lzo,
    ];

    /// Compressible but not trivial data, longer than one block of bzip2 and lz4.
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
        for packing in [
            Packing::Zstd(1),
            Packing::Zstd(15),
            Packing::ZstdLong(3, 27),
            Packing::Xz(Check::Crc32, 1 << 20, None),
        ] {
            let one = pack(packing, &content, 1);
            assert!(one == pack(packing, &content, 2), "{packing}");
            assert!(one == pack(packing, &content, 7), "{packing}");
        }
    }

    /// `zstd -3 --long` became `--ultra -22`: minutes and a gigabyte.
    #[test]
    fn a_long_window_is_kept_and_the_level_found() {
        let words = ["reproducible ", "initramfs ", "kernel ", "module ", "firmware "];
        let text = |n: u32| words[(n.wrapping_mul(2_654_435_761) >> 24) as usize % words.len()];
        let content: Vec<u8> = (0..400_000).flat_map(|n| text(n).bytes()).collect();
        for level in [FAST, DENSE] {
            let packing = Packing::ZstdLong(level, 26);
            let bytes = pack(packing, &content, 2);
            let found = detect(&bytes[..HEAD_LEN]).unwrap();
            assert_eq!(found.settled(&bytes[..]).unwrap(), packing);
        }
        // The window of an ultra level is kept, its level is not.
        let ultra = zstd::bulk::compress(&content, 22).unwrap();
        let mut out = Vec::new();
        let mut encoder = zstd::Encoder::new(&mut out, 22).unwrap();
        encoder.write_all(&content).unwrap();
        encoder.finish().unwrap();
        assert_eq!(detect(&out).unwrap().settled(&out[..]).unwrap(), Packing::ZstdLong(19, 27));
        assert_eq!(detect(&ultra).unwrap(), Packing::Zstd(19));
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
