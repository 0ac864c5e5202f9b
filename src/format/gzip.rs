//! gzip files (RFC 1952): the headers of their members, and where each member ends.
//!
//! Limits: a file may inflate to [`INFLATED_MAX`] bytes; inflated data is not kept, so memory is
//! the size of the file.

use flate2::{Crc, Decompress, FlushDecompress, Status};
use memchr::memmem;

use super::Malformed;
use super::bytes::{Cursor, Order};

/// The start of every member: the magic and the only method, deflate.
const START: [u8; 3] = [0x1F, 0x8B, 8];
const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xE0;
/// The operating system that `gzip -n` writes on Unix.
const UNIX: u8 = 3;
/// The shortest member: header, an empty deflate stream, trailer.
const MIN_MEMBER: usize = 10 + 2 + 8;

/// The most bytes to which all members of a file may inflate: 16 GiB.
pub(crate) const INFLATED_MAX: u64 = 16 << 30;

/// A member's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header<'a> {
    /// FTEXT and reserved bits stay; the other bits follow from the fields below.
    flags: u8,
    /// When the content was last changed, in seconds since 1970; 0 for none.
    pub mtime: u32,
    /// Extra flags: 2 for the best compression, 4 for the fastest.
    pub xfl: u8,
    /// The operating system: 3 for Unix, 255 for unknown.
    pub os: u8,
    /// The extra field.
    pub extra: Option<&'a [u8]>,
    /// The name of the file that was compressed.
    pub name: Option<&'a [u8]>,
    /// A comment.
    pub comment: Option<&'a [u8]>,
}

/// One member of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// The header.
    pub header: Header<'a>,
    /// The deflate stream and the trailer after it.
    pub body: &'a [u8],
    /// The verified CRC-32 of the content.
    pub crc: u32,
    /// Bytes of content.
    pub len: u64,
}

/// Whether `bytes` start like a gzip file.
pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&START)
}

/// Reads a member's header.
///
/// # Errors
/// [`Malformed`] if it is cut off, or has a flag that RFC 1952 reserves.
fn read_header<'a>(cursor: &mut Cursor<'a>) -> Result<Header<'a>, Malformed> {
    let start = cursor.offset();
    if cursor.take(START.len(), "header")? != START {
        return Err(Malformed::at(start, "not a gzip member"));
    }
    let flags = cursor.u8("header")?;
    if flags & RESERVED != 0 {
        return Err(Malformed::at(start + 3, "reserved flags are set"));
    }
    let mtime = cursor.u32("header")?;
    let (xfl, os) = (cursor.u8("header")?, cursor.u8("header")?);
    let extra = if flags & FEXTRA == 0 {
        None
    } else {
        let len = cursor.u16("extra field")?;
        Some(cursor.take(len.into(), "extra field")?)
    };
    let mut text = |flag, what| {
        if flags & flag == 0 { Ok(None) } else { cursor.until_nul(what).map(Some) }
    };
    let (name, comment) = (text(FNAME, "file name")?, text(FCOMMENT, "comment")?);
    if flags & FHCRC != 0 {
        cursor.take(2, "header checksum")?;
    }
    Ok(Header { flags, mtime, xfl, os, extra, name, comment })
}

impl Header<'_> {
    /// Whether it equals [`Header::canonical`].
    fn is_canonical(&self) -> bool {
        self.mtime == 0 && self.name.is_none() && self.os == UNIX
    }

    /// The header without time and name, from Unix, as `gzip -n` writes it. Extra field (dictzip
    /// and bgzip keep their index there), comment and compression level stay.
    fn canonical(&self) -> Vec<u8> {
        let mut out = START.to_vec();
        out.push(self.flags & !FNAME);
        out.extend(0u32.to_le_bytes());
        out.extend([self.xfl, UNIX]);
        if let Some(extra) = self.extra {
            // Parsed from 16 bits.
            out.extend(u16::try_from(extra.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend(extra);
        }
        if let Some(comment) = self.comment {
            out.extend(comment);
            out.push(0);
        }
        if self.flags & FHCRC != 0 {
            let mut crc = Crc::new();
            crc.update(&out);
            out.extend(&crc.sum().to_le_bytes()[..2]);
        }
        out
    }
}

/// The file with canonical headers and unchanged compressed data; `None` if it needs no change.
///
/// A file is inflated, and its checksums verified, only if a header is to change or another member
/// may follow.
///
/// # Errors
/// [`Malformed`] if a member that had to be read is damaged, or anything but zeros follows the
/// last.
pub(crate) fn canonical(bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut cursor = Cursor::new(Order::Little, bytes);
    let first = read_header(&mut cursor)?;
    let alone = memmem::find(cursor.rest(), &START).is_none();
    if first.is_canonical() && alone {
        return Ok(None);
    }
    let (members, tail) = members(bytes)?;
    if members.iter().all(|m| m.header.is_canonical()) {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for member in &members {
        out.extend(member.header.canonical());
        out.extend(member.body);
    }
    out.extend(tail);
    Ok(Some(out))
}

/// Every member with verified checksum, and the zeros after the last.
///
/// # Errors
/// [`Malformed`] if a member is damaged, anything but zeros follows the last, or the content
/// exceeds [`INFLATED_MAX`].
pub(crate) fn members(bytes: &[u8]) -> Result<(Vec<Member<'_>>, &[u8]), Malformed> {
    let mut cursor = Cursor::new(Order::Little, bytes);
    let mut members = Vec::new();
    let mut total = 0u64;
    loop {
        let header = read_header(&mut cursor)?;
        let member = read_body(&mut cursor, header, INFLATED_MAX - total)?;
        total += member.len;
        members.push(member);
        let rest = cursor.rest();
        if rest.iter().all(|&b| b == 0) {
            return Ok((members, rest));
        }
        if rest.len() < MIN_MEMBER || !is_gzip(rest) {
            return Err(Malformed::at(cursor.offset(), "bytes after the last member"));
        }
    }
}

fn read_body<'a>(
    cursor: &mut Cursor<'a>,
    header: Header<'a>,
    limit: u64,
) -> Result<Member<'a>, Malformed> {
    let start = cursor.offset();
    let input = cursor.rest();
    let (deflated, crc, len) =
        inflate(input, limit, &mut |_| ()).map_err(|what| Malformed::at(start, what))?;
    cursor.take(deflated, "compressed data")?;
    let stored = (cursor.u32("trailer")?, cursor.u32("trailer")?);
    if stored != (crc, len as u32) {
        return Err(Malformed::at(
            start + deflated,
            "checksum or length does not match the content",
        ));
    }
    Ok(Member { header, body: &input[..deflated + 8], crc, len })
}

/// Inflates the deflate stream (RFC 1951) at the start of `input` into `sink`; returns its length
/// in bytes, and the CRC-32 and length of its content.
///
/// # Errors
/// If the stream is damaged or truncated, or inflates to more than `limit` bytes.
pub(crate) fn inflate(
    input: &[u8],
    limit: u64,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(usize, u32, u64), &'static str> {
    let mut inflate = Decompress::new(false);
    let mut crc = Crc::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let (taken, given) = (inflate.total_in(), inflate.total_out());
        let rest = &input[taken as usize..];
        let status = inflate
            .decompress(rest, &mut piece, FlushDecompress::None)
            .map_err(|_| "compressed data is damaged")?;
        let made = &piece[..(inflate.total_out() - given) as usize];
        crc.update(made);
        sink(made);
        if inflate.total_out() > limit {
            return Err("compressed data inflates beyond the limit");
        }
        match status {
            Status::StreamEnd => {
                return Ok((inflate.total_in() as usize, crc.sum(), inflate.total_out()));
            }
            _ if inflate.total_in() == taken && made.is_empty() => {
                return Err("compressed data is truncated");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn member(builder: GzBuilder, content: &[u8]) -> Vec<u8> {
        let mut writer = builder.write(Vec::new(), Compression::new(6));
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn plain(content: &[u8]) -> Vec<u8> {
        member(GzBuilder::new().operating_system(UNIX), content)
    }

    #[test]
    fn time_name_and_system_go_and_the_rest_stays() {
        let builder = GzBuilder::new().mtime(7).filename("f").extra("ex").comment("c");
        let bytes = member(builder.operating_system(255), b"content");
        let out = canonical(&bytes).unwrap().unwrap();
        let got = read_header(&mut Cursor::new(Order::Little, &out)).unwrap();
        assert_eq!((got.mtime, got.os, got.name), (0, UNIX, None));
        assert_eq!((got.extra, got.comment), (Some(&b"ex"[..]), Some(&b"c"[..])));
        assert_eq!(canonical(&out), Ok(None));
    }

    #[test]
    fn the_header_checksum_is_made_anew() {
        let mut bytes = plain(b"content");
        bytes[3] = FHCRC;
        bytes[4] = 1;
        bytes.splice(10..10, [0xAA, 0xAA]);
        let out = canonical(&bytes).unwrap().unwrap();
        let mut crc = Crc::new();
        crc.update(&out[..10]);
        assert_eq!(out[10..12], crc.sum().to_le_bytes()[..2]);
        assert_eq!(canonical(&out), Ok(None));
    }

    #[test]
    fn later_members_and_zeros_behind_them() {
        let bytes = [plain(b"one"), member(GzBuilder::new().mtime(9), b"two"), vec![0; 5]].concat();
        let out = canonical(&bytes).unwrap().unwrap();
        assert_eq!(out, [plain(b"one"), plain(b"two"), vec![0; 5]].concat());
    }

    #[test]
    fn what_is_no_member_is_not_touched() {
        let late = member(GzBuilder::new().mtime(9), b"content");
        assert!(canonical(&[&late[..], b"tail"].concat()).is_err());
        let mut damaged = late.clone();
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        assert!(canonical(&damaged).is_err());
        let mut reserved = late;
        reserved[3] |= 0x80;
        assert!(canonical(&reserved).is_err());
    }

    proptest! {
        #[test]
        fn one_content_one_form(
            content in prop::collection::vec(any::<u8>(), 0..300),
            (mtime, os, name) in (any::<u32>(), any::<u8>(), "[a-z]{0,9}"),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut builder = GzBuilder::new().mtime(mtime).operating_system(os);
            if !name.is_empty() {
                builder = builder.filename(name);
            }
            let bytes = member(builder, &content);
            let out = canonical(&bytes).unwrap().unwrap_or_else(|| bytes.clone());
            prop_assert_eq!(&out, &plain(&content));
            prop_assert_eq!(canonical(&out).unwrap(), None);
            if bytes != out {
                prop_assert!(canonical(&bytes[..cut.index(bytes.len())]).is_err());
            }
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = canonical(&bytes);
            let _ = canonical(&[&START[..], &bytes].concat());
        }
    }
}
