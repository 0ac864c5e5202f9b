//! Detects the compression of a member, and the parameters in its header.

use super::{Bcj, Check, DICT_MAX, Packing, WINDOW_MAX, lz4, lzo};

/// The most bytes of a member that [`detect`] needs.
pub const HEAD_LEN: usize = 64;

/// The compression of the member that begins with `head`, or `None` if it is not one of those that
/// [`Packing`] knows. The level, which is in no header, is guessed from what depends on it.
///
/// ```
/// # use reprofix::format::compress::*;
/// assert_eq!(detect(b"BZh9"), Some(Packing::Bzip2(9)));
/// assert_eq!(detect(b"070701"), None);
/// ```
pub fn detect(head: &[u8]) -> Option<Packing> {
    match head {
        [0x28, 0xb5, 0x2f, 0xfd, rest @ ..] => Some(zstd(rest)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, rest @ ..] => xz(rest),
        [0x1f, 0x8b, 8, _, _, _, _, _, extra, ..] => Some(Packing::Gzip(match extra {
            2 => 9,
            4 => 1,
            _ => 6,
        })),
        [b'B', b'Z', b'h', size @ b'1'..=b'9', ..] => Some(Packing::Bzip2((size - b'0').into())),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some(Packing::Lz4),
        [0x5d, 0, 0, d2, d3, ..] => Some(Packing::Lzma(dict(u32::from_le_bytes([0, 0, *d2, *d3])))),
        _ if head.starts_with(&lz4::MAGIC) => Some(Packing::Lz4Legacy),
        _ if head.starts_with(&lzo::MAGIC) => Some(Packing::Lzo),
        _ => None,
    }
}

/// Whether `bytes`, the last of an image, are the beginning of a member that was truncated in its
/// magic.
pub fn is_cut_magic(bytes: &[u8]) -> bool {
    const MAGICS: [&[u8]; 8] = [
        b"\x28\xb5\x2f\xfd",
        b"\xfd7zXZ\0",
        b"\x1f\x8b\x08",
        b"BZh",
        b"\x04\x22\x4d\x18",
        &lz4::MAGIC,
        &lzo::MAGIC,
        b"\x5d\0\0",
    ];
    // A header of which `detect` needs more than the magic is at most nine bytes long.
    let cut = |magic: &&[u8]| magic.starts_with(bytes) || bytes.starts_with(magic);
    bytes.len() < 9 && !bytes.is_empty() && MAGICS.iter().any(cut)
}

fn dict(size: u32) -> u32 {
    size.clamp(1 << 16, DICT_MAX)
}

/// The level whose window (RFC 8878, 3.1.1.1.2) the frame has, for content of unknown length; 19,
/// as used by Fedora CoreOS, if the frame has no window. A long window is possible with any level:
/// [`Packing::settled`] finds the level.
fn zstd(header: &[u8]) -> Packing {
    const SINGLE_SEGMENT: u8 = 1 << 5;
    match header {
        [descriptor, window, ..] if descriptor & SINGLE_SEGMENT == 0 => match 10 + (window >> 3) {
            log @ 25.. => Packing::ZstdLong(19, u32::from(log).min(WINDOW_MAX.ilog2())),
            23 | 24 => Packing::Zstd(19),
            22 => Packing::Zstd(15),
            _ => Packing::Zstd(3),
        },
        _ => Packing::Zstd(19),
    }
}

/// The stream's check, and the LZMA2 dictionary of its first block and the filter before it (xz
/// format 1.2, 2.1.1 and 3.1).
fn xz(rest: &[u8]) -> Option<Packing> {
    let check = match rest.get(1)? & 15 {
        0 => Check::None,
        1 => Check::Crc32,
        4 => Check::Crc64,
        10 => Check::Sha256,
        _ => return None,
    };
    let (size, bcj) = filters(rest.get(6..)?).unwrap_or((DICT_MAX, None));
    Some(Packing::Xz(check, dict(size), bcj))
}

fn filters(block: &[u8]) -> Option<(u32, Option<Bcj>)> {
    const LZMA2: u64 = 0x21;
    let mut bcj = None;
    let (flags, mut rest) = (*block.get(1)?, block.get(2..)?);
    for present in [flags & 0x40 != 0, flags & 0x80 != 0] {
        if present {
            multibyte(&mut rest)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (id, len) = (multibyte(&mut rest)?, multibyte(&mut rest)?);
        let properties = rest.get(..usize::try_from(len).ok()?)?;
        rest = &rest[properties.len()..];
        bcj = bcj.or(Bcj::of(id));
        if id == LZMA2 {
            let bits = u32::from(*properties.first()?);
            let size = (2 | (bits & 1)).checked_shl(bits / 2 + 11).filter(|_| bits < 40);
            return Some((size.unwrap_or(u32::MAX), bcj));
        }
    }
    None
}

/// A variable-length integer (xz format 1.2, 1.2), taken from the front of `bytes`.
fn multibyte(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for n in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_head_makes_it_panic() {
        for magic in [&b"\x28\xb5\x2f\xfd"[..], b"\xfd7zXZ\0", b"\x1f\x8b\x08", b"BZh", b"\x5d\0\0"]
        {
            for fill in [0_u8, 0x21, 0x7f, 0xff] {
                for len in 0..HEAD_LEN {
                    let mut head = magic.to_vec();
                    head.resize(magic.len() + len, fill);
                    detect(&head);
                }
            }
        }
    }
}
