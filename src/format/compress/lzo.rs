//! lzop files: a header, then blocks of at most 256 KiB, each with its two lengths and a checksum
//! of its content, until a length of zero. Only the form that the kernel's reader
//! (`lib/decompress_unlzo.c`) supports is read: no filter, one checksum per block.

use std::io::{self, Read, Write};

use super::Source;

pub(super) const MAGIC: [u8; 9] = *b"\x89LZO\0\r\n\x1a\n";
const BLOCK: usize = 256 << 10;
/// The checksum of a block's content follows its lengths, as Adler-32.
const ADLER32_D: u32 = 1;
const CRC32_D: u32 = 0x100;
/// Flags that the kernel's reader does not support: checksums of compressed blocks, an extra field,
/// parts, a filter.
const FOREIGN: u32 = 0x2 | 0x40 | 0x200 | 0x400 | 0x800;
/// The header's own checksum is a CRC-32.
const HEADER_CRC32: u32 = 0x1000;
/// The first version with a level and the upper half of the time.
const WITH_LEVEL: u16 = 0x940;

/// Decompresses one lzop file.
pub(super) struct Decoder<'a, R> {
    source: &'a mut Source<R>,
    block: io::Cursor<Vec<u8>>,
    sum: Option<fn(&[u8]) -> u32>,
    ended: bool,
}

impl<'a, R: Read> Decoder<'a, R> {
    pub(super) fn new(source: &'a mut Source<R>) -> Self {
        Decoder { source, block: io::Cursor::new(Vec::new()), sum: None, ended: false }
    }

    /// Reads the next block; `false` at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        let sum = match self.sum {
            Some(sum) => sum,
            None => *self.sum.insert(header(self.source)?),
        };
        if self.ended {
            return Ok(false);
        }
        let length = be32(self.source)? as usize;
        if length == 0 {
            self.ended = true;
            return Ok(false);
        }
        let (packed_len, expected) = (be32(self.source)? as usize, be32(self.source)?);
        if length > BLOCK || packed_len == 0 || packed_len > length {
            return Err(invalid("an lzop block has an invalid length"));
        }
        let mut packed = vec![0; packed_len];
        self.source.read_exact(&mut packed)?;
        let content = match packed_len == length {
            true => packed,
            false => {
                let mut content = vec![0; length];
                match lzokay::decompress::decompress(&packed, &mut content) {
                    Ok(got) if got == length => content,
                    _ => return Err(invalid("an lzop block does not unpack to its length")),
                }
            }
        };
        if sum(&content) != expected {
            return Err(invalid("checksum of an lzop block is wrong"));
        }
        self.block = io::Cursor::new(content);
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

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn be32(source: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

/// Reads the header; returns the function for the checksums of blocks.
fn header<R: Read>(source: &mut Source<R>) -> io::Result<fn(&[u8]) -> u32> {
    let mut seen = Vec::new();
    let mut take = |len: usize| -> io::Result<u64> {
        let from = seen.len();
        seen.resize(from + len, 0);
        source.read_exact(&mut seen[from..])?;
        Ok(seen[from..].iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    take(MAGIC.len())?;
    let version = take(2)? as u16;
    take(2 + 2 + 1)?; // the library's version, the version needed, the method
    let has_level = version >= WITH_LEVEL;
    if has_level {
        take(1)?;
    }
    let flags = take(4)? as u32;
    take(4 + 4 + if has_level { 4 } else { 0 })?; // mode, time
    let name = take(1)? as usize;
    take(name)?;
    let expected = be32(source)?;
    let own: fn(&[u8]) -> u32 =
        if flags & HEADER_CRC32 == 0 { adler2::adler32_slice } else { crc32 };
    if own(&seen[MAGIC.len()..]) != expected {
        return Err(invalid("checksum of the lzop header is wrong"));
    }
    match (flags & FOREIGN, flags & (ADLER32_D | CRC32_D)) {
        (0, ADLER32_D) => Ok(adler2::adler32_slice),
        (0, CRC32_D) => Ok(crc32),
        _ => Err(invalid("lzop options that the kernel does not support")),
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// Writes one lzop file, without name, mode and time.
pub(super) struct Encoder<W> {
    output: W,
    block: Vec<u8>,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        const UNIX: u32 = 3 << 24;
        let mut header = Vec::new();
        // lzop 1.04, liblzo 2.10, and 0.940 to unpack it; LZO1X-999 at level 9.
        header.extend([0x10, 0x40, 0x20, 0xa0, 0x09, 0x40, 3, 9]);
        header.extend((UNIX | ADLER32_D).to_be_bytes());
        header.extend([0; 4 + 4 + 4 + 1]);
        let sum = adler2::adler32_slice(&header);
        output.write_all(&MAGIC)?;
        output.write_all(&header)?;
        output.write_all(&sum.to_be_bytes())?;
        Ok(Encoder { output, block: Vec::new() })
    }

    fn put_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed =
            lzokay::compress::compress(&self.block).map_err(|e| invalid(&e.to_string()))?;
        let packed = if packed.len() < self.block.len() { &packed } else { &self.block };
        for number in [self.block.len() as u32, packed.len() as u32] {
            self.output.write_all(&number.to_be_bytes())?;
        }
        self.output.write_all(&adler2::adler32_slice(&self.block).to_be_bytes())?;
        self.output.write_all(packed)?;
        self.block.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.put_block()?;
        self.output.write_all(&[0; 4])
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of `seq 100 | lzop -9` with lzop 1.04.
    const LZOP: &str = include_str!("lzop.hex");

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(&mut Source::new(bytes)).read_to_end(&mut out)?;
        Ok(out)
    }

    fn by_lzop() -> Vec<u8> {
        let digits: Vec<u8> = LZOP.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|pair| byte(pair).unwrap()).collect()
    }

    #[test]
    fn what_lzop_wrote_is_read() {
        let content: String = (1..=100).map(|n| format!("{n}\n")).collect();
        assert_eq!(unpack(&by_lzop()).unwrap(), content.as_bytes());
    }

    #[test]
    fn what_the_kernel_does_not_unpack_or_is_damaged_is_an_error() {
        let whole = by_lzop();
        let good = unpack(&whole).unwrap();
        for at in 9..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            // A match may also be found elsewhere with the same bytes.
            assert!(unpack(&bytes).map_or(true, |content| content == good), "byte {at}");
        }
        let mut no_sums = whole[..25].to_vec();
        no_sums[17..21].copy_from_slice(&0x0300_000c_u32.to_be_bytes());
        no_sums.extend([0; 9]);
        let sum = adler2::adler32_slice(&no_sums[9..]);
        no_sums.extend(sum.to_be_bytes());
        let why = unpack(&no_sums).unwrap_err().to_string();
        assert!(why.contains("does not support"), "{why}");
    }
}
