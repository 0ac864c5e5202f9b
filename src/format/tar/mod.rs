//! A streaming reader of tar archives: ustar, GNU and PAX, as in layers and archives.
//!
//! Follows POSIX.1-2017 "pax" and the GNU tar manual, appendix "Basic Tar Format". It reads headers
//! only as far as the limits allow and never extracts anything. Errors are
//! [`io::ErrorKind::InvalidData`] holding a [`Malformed`] with the offset in the plain archive.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use crate::format::Malformed;
use crate::format::time::Time;

pub(crate) mod clamp;
mod patch;
pub mod split;
mod write;

pub use patch::patched;
pub use write::{Writer, header};

/// The most bytes of one extension header (also the limit of Go's reader).
const HEADER_BYTES: u64 = 1 << 20;
/// The most bytes of a name (`PATH_MAX`).
pub const NAME_BYTES: usize = 4096;
/// Bytes of a block.
pub const BLOCK: usize = 512;

/// The type of a tar member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A regular file.
    File,
    /// Another name of an earlier file: [`Member::link`] is its path.
    Hardlink,
    /// A symbolic link: [`Member::link`] is its target.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Dir,
    /// A FIFO.
    Fifo,
}

/// Attribute or record names and values, sorted by name.
pub type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// One member of a tar archive, with extension headers applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The path below the root: no leading slash, no `.`, no `..`; empty for the root itself.
    pub path: Arc<[u8]>,
    /// Whether the name began with a slash, which unpackers drop.
    pub absolute: bool,
    /// Its type.
    pub kind: Type,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// The owner's name, or empty.
    pub uname: Vec<u8>,
    /// The group's name, or empty.
    pub gname: Vec<u8>,
    /// Bytes of content in the archive.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Target of a link: as written for a symlink, cleaned like `path` for a hard link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes (`SCHILY.xattr.*`).
    pub xattrs: Records,
    /// All other PAX records: `atime`, `ctime`, `comment`, …
    pub records: Records,
    /// Offset of the first header in the plain archive, including extension headers.
    pub header: u64,
    /// Offset of the content in the plain archive.
    pub data: u64,
    /// Whether it is a GNU sparse file, whose content is only its stored parts.
    pub sparse: bool,
}

impl Member {
    /// The member's approximate size in memory.
    pub fn footprint(&self) -> usize {
        let records = |r: &Records| r.iter().map(|(k, v)| 64 + k.len() + v.len()).sum::<usize>();
        let names = self.path.len() + self.link.len() + self.uname.len() + self.gname.len();
        size_of::<Self>() + names + records(&self.xattrs) + records(&self.records)
    }

    /// The last component of the path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// The directory that the member is in; empty for the root.
    pub fn parent(&self) -> &[u8] {
        parent(&self.path)
    }
}

/// The directory part of a clean path; empty at the top.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&b| b == b'/').map_or(b"", |at| &path[..at])
}

/// Reads the members of an archive, one after the other; [`Read`] returns the current one's
/// content.
pub struct Reader<R> {
    inner: R,
    offset: u64,
    content: u64,
    padding: u64,
    globals: Records,
    has_globals: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the archive in `inner` from its start.
    pub fn new(inner: R) -> Self {
        let globals = Records::new();
        Reader { inner, offset: 0, content: 0, padding: 0, globals, has_globals: false }
    }

    /// The next member, before its content is read; `None` at the end of the archive.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let mut local = Records::new();
        let (mut long_name, mut long_link) = (None, None);
        self.skip_content()?;
        let first = self.offset;
        loop {
            self.skip_content()?;
            let at = self.offset;
            let Some(block) = self.block()? else { return Ok(None) };
            check_sum(&block, at)?;
            let size = number(&block[124..136], at + 124)?;
            self.content = size;
            self.padding = size.next_multiple_of(BLOCK as u64) - size;
            match block[156] {
                b'x' => local.extend(records(&self.extension(at)?, at)?),
                b'g' => {
                    self.has_globals = true;
                    let records = records(&self.extension(at)?, at)?;
                    self.globals.extend(records);
                    check_globals(&self.globals, at)?;
                }
                b'L' => long_name = Some(until_nul(&self.extension(at)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extension(at)?).to_vec()),
                _ => {
                    let mut records = self.globals.clone();
                    records.extend(local);
                    let member = self.member(&block, at, records, long_name, long_link)?;
                    return Ok(Some(Member { header: first, ..member }));
                }
            }
        }
    }

    /// Whether there was a global PAX header. By POSIX, its records apply to all members after it;
    /// container tools written in Go do otherwise.
    pub fn has_globals(&self) -> bool {
        self.has_globals
    }

    /// The underlying reader, at its present position.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn member(
        &mut self,
        block: &[u8; BLOCK],
        at: u64,
        mut records: Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> io::Result<Member> {
        let mut take = |key: &str| records.remove(key.as_bytes());
        let ustar = block[257..263] == *b"ustar\0";
        let name = take("path").or(long_name).unwrap_or_else(|| header_name(block, ustar));
        let link = take("linkpath").or(long_link);
        let link = link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec());
        let uname = take("uname").unwrap_or_else(|| until_nul(&block[265..297]).to_vec());
        let gname = take("gname").unwrap_or_else(|| until_nul(&block[297..329]).to_vec());
        if let Some(size) = take("size") {
            self.content = decimal(&size, at)?;
            self.padding = self.content.next_multiple_of(BLOCK as u64) - self.content;
        }
        let id = |value: Option<Vec<u8>>, field: &[u8], offset| match value {
            Some(text) => decimal(&text, at),
            None => number(field, offset),
        };
        let uid = id(take("uid"), &block[108..116], at + 108)?;
        let gid = id(take("gid"), &block[116..124], at + 116)?;
        let mtime = match take("mtime") {
            Some(text) => pax_time(&text, at)?,
            None => Time { sec: signed(&block[136..148], at + 136)?, nsec: 0 },
        };
        let kind = kind(block[156], &name, at)?;
        let sparse = block[156] == b'S' || records.keys().any(|k| k.starts_with(b"GNU.sparse."));
        if block[156] == b'S' {
            self.skip_sparse_headers(block[482], at)?;
        }
        if kind != Type::File {
            // Only files have content, though directories of some writers claim a size.
            (self.content, self.padding) = (0, 0);
        }
        let split = |records: Records| -> (Records, Records) {
            records.into_iter().partition(|(key, _)| key.starts_with(b"SCHILY.xattr."))
        };
        let (xattrs, records) = split(records);
        let xattrs =
            xattrs.into_iter().map(|(k, v)| (k[b"SCHILY.xattr.".len()..].to_vec(), v)).collect();
        let device = |field: &[u8], offset| number(field, offset).unwrap_or(0) as u32;
        let member = Member {
            path: clean(&name, at)?.into(),
            absolute: name.starts_with(b"/"),
            kind,
            mode: (number(&block[100..108], at + 100)? & 0o7777) as u32,
            uid,
            gid,
            uname,
            gname,
            size: self.content,
            mtime,
            link: if kind == Type::Hardlink { clean(&link, at)? } else { link },
            device: match kind {
                Type::Char | Type::Block => {
                    (device(&block[329..337], at + 329), device(&block[337..345], at + 337))
                }
                _ => (0, 0),
            },
            xattrs,
            records,
            header: at,
            data: self.offset,
            sparse,
        };
        if member.link.contains(&0) || member.link.len() > NAME_BYTES {
            return Err(bad(at, "link target contains a NUL or is longer than 4096 bytes"));
        }
        Ok(member)
    }

    /// The next header block; `None` at the end marker or at a clean end of input.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.inner.read(&mut block[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(bad(self.offset, "tar header is truncated")),
                n => have += n,
            }
        }
        self.offset += BLOCK as u64;
        Ok(block.iter().any(|&b| b != 0).then_some(block))
    }

    /// The whole content of an extension header.
    fn extension(&mut self, at: u64) -> io::Result<Vec<u8>> {
        if self.content > HEADER_BYTES {
            return Err(bad(at, format!("tar extension header of {} bytes", self.content)));
        }
        let mut bytes = Vec::new();
        let want = self.content;
        self.by_ref().take(want).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Skips the blocks before the content in which an old GNU sparse map continues.
    fn skip_sparse_headers(&mut self, mut more: u8, at: u64) -> io::Result<()> {
        for _ in 0..2048 {
            if more == 0 {
                return Ok(());
            }
            more = self.block()?.ok_or_else(|| bad(at, "sparse map is truncated"))?[504];
        }
        Err(bad(at, "sparse map has more than 43,000 parts"))
    }

    fn skip_content(&mut self) -> io::Result<()> {
        let rest = self.content + self.padding;
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())?;
        if skipped < rest && skipped < self.content {
            return Err(bad(self.offset, "archive ends inside a member"));
        }
        self.offset += skipped;
        (self.content, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.inner.read(&mut buf[..want])?;
        if got == 0 {
            return Err(bad(self.offset, "archive ends inside a member"));
        }
        self.content -= got as u64;
        self.offset += got as u64;
        Ok(got)
    }
}

/// A reader that can skip bytes.
pub trait Skip {
    /// Skips the next `bytes`.
    fn skip(&mut self, bytes: u64);
}

impl<R: Read + Skip> Reader<R> {
    /// Skips the current member's content without reading it.
    pub fn seek_content(&mut self) {
        let rest = self.content + self.padding;
        self.inner.skip(rest);
        self.offset += rest;
        (self.content, self.padding) = (0, 0);
    }
}

/// An error at `offset` of the plain archive.
pub fn bad(offset: u64, what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed::at(offset, what))
}

fn kind(flag: u8, name: &[u8], at: u64) -> io::Result<Type> {
    Ok(match flag {
        0 | b'0' | b'7' if name.ends_with(b"/") => Type::Dir,
        0 | b'0' | b'7' | b'S' => Type::File,
        b'1' => Type::Hardlink,
        b'2' => Type::Symlink,
        b'3' => Type::Char,
        b'4' => Type::Block,
        b'5' => Type::Dir,
        b'6' => Type::Fifo,
        other => {
            return Err(bad(at, format!("tar member of unknown type {:?}", char::from(other))));
        }
    })
}

fn header_name(block: &[u8; BLOCK], ustar: bool) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let prefix = until_nul(&block[345..500]);
    if ustar && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// Converts a name into a path below the root. Names that leave the root are refused.
pub fn clean(name: &[u8], at: u64) -> io::Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if parts.pop().is_none() {
                    let shown = String::from_utf8_lossy(name);
                    let trouble = Malformed::at(at, format!("{shown:?} leaves the root: refused"));
                    return Err(io::Error::new(io::ErrorKind::InvalidFilename, trouble));
                }
            }
            part => parts.push(part),
        }
    }
    let path = parts.join(&b'/');
    if path.contains(&0) || path.len() > NAME_BYTES {
        return Err(bad(at, "name contains a NUL or is longer than 4096 bytes"));
    }
    Ok(path)
}

fn check_sum(block: &[u8; BLOCK], at: u64) -> io::Result<()> {
    let sum = |convert: fn(u8) -> i64| -> i64 {
        let blank = |(i, &b): (usize, &u8)| convert(if (148..156).contains(&i) { b' ' } else { b });
        block.iter().enumerate().map(blank).sum()
    };
    let want = number(&block[148..156], at + 148)? as i64;
    if want == sum(i64::from) || want == sum(|b| i64::from(b as i8)) {
        return Ok(());
    }
    Err(bad(at, "tar header checksum does not match"))
}

/// A numeric header field: octal, or GNU base-256.
fn number(field: &[u8], at: u64) -> io::Result<u64> {
    u64::try_from(signed(field, at)?).map_err(|_| bad(at, "negative number in tar header"))
}

fn signed(field: &[u8], at: u64) -> io::Result<i64> {
    if field[0] & 0x80 != 0 {
        // Two's complement, whose top bit only marks the format.
        let first = i128::from(((field[0] << 1) as i8) >> 1);
        let value = field[1..]
            .iter()
            .try_fold(first, |n, &b| n.checked_mul(256)?.checked_add(i128::from(b)));
        return value
            .and_then(|v| i64::try_from(v).ok())
            .filter(|v| v.unsigned_abs() < 1 << 62)
            .ok_or_else(|| bad(at, "number in tar header is too large"));
    }
    let digits = until_nul(field).trim_ascii();
    if !digits.iter().all(|b| (b'0'..=b'7').contains(b)) {
        return Err(bad(at, "number in tar header is not octal"));
    }
    Ok(digits.iter().fold(0, |n, &b| n * 8 + i64::from(b - b'0')))
}

fn decimal(text: &[u8], at: u64) -> io::Result<u64> {
    let value = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    value.filter(|&n: &u64| n < 1 << 62).ok_or_else(|| bad(at, "PAX record is not a number"))
}

fn pax_time(text: &[u8], at: u64) -> io::Result<Time> {
    let parse = || {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let sec: i64 = whole.parse().ok()?;
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let nsec: u32 = digits.parse().ok()?;
        let borrow = whole.starts_with('-') && nsec > 0;
        Some(if borrow {
            Time { sec: sec - 1, nsec: 1_000_000_000 - nsec }
        } else {
            Time { sec, nsec }
        })
    };
    parse().ok_or_else(|| bad(at, "PAX time is not a decimal number"))
}

/// The records of a PAX header: `LEN KEY=VALUE\n`, with LEN in decimal and including itself.
fn records(mut bytes: &[u8], at: u64) -> io::Result<Records> {
    let broken = || bad(at, "PAX header is malformed");
    let mut out = Records::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|&b| b == b' ').ok_or_else(broken)?;
        let length = decimal(&bytes[..space], at)?;
        let length = usize::try_from(length).map_err(|_| broken())?;
        let record = bytes.get(space + 1..length).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|&b| b == b'=').ok_or_else(broken)?;
        let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        // By POSIX, an empty value cancels an earlier record; an attribute may be empty.
        if value.is_empty() && !key.starts_with(b"SCHILY.xattr.") {
            out.remove(&key);
        } else {
            out.insert(key, value);
        }
        bytes = &bytes[length..];
    }
    Ok(out)
}

fn check_globals(globals: &Records, at: u64) -> io::Result<()> {
    let bytes: usize = globals.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > 4096 {
        return Err(bad(at, "more than 4096 bytes of global PAX records"));
    }
    Ok(())
}
