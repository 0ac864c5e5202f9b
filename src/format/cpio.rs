//! cpio archives that the kernel unpacks: `newc` (magic 070701) and `crc` (070702).
//!
//! The layout is the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`: a
//! header of 110 ASCII bytes, the name with its NUL, the content; name and content each padded
//! with zeros to a multiple of four; the entry `TRAILER!!!` ends an archive.

use std::io::{self, Read, Write};

use super::Malformed;

/// Bytes of a header.
pub const HEADER_LEN: usize = 110;

/// The name of the entry that ends an archive.
pub const TRAILER: &[u8] = b"TRAILER!!!";

/// The longest accepted name, including its NULs: the kernel's `PATH_MAX`, beyond which it ignores
/// an entry.
pub const NAME_MAX: u32 = 4096;

/// Archives end on a multiple of this many bytes, as GNU cpio pads them.
pub const BLOCK: u64 = 512;

/// The fields of a header, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Whether the magic is 070702: then `check` is the sum of the content's bytes.
    pub crc: bool,
    /// Inode number; entries of an archive with the same number and device are hard links if
    /// `nlink` is at least two.
    pub ino: u32,
    /// `st_mode`: type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u32,
    /// Modification time: seconds since 1970-01-01 UTC.
    pub mtime: u32,
    /// Bytes of content.
    pub size: u32,
    /// Device of the file system the entry came from: major, minor.
    pub dev: [u32; 2],
    /// The device of a device node: major, minor.
    pub rdev: [u32; 2],
    /// Bytes of the name with its NUL.
    pub name_len: u32,
    /// Sum of the content's bytes modulo 2^32 if `crc`, otherwise zero.
    pub check: u32,
}

impl Header {
    /// Parses a header; `offset` in its archive is used only in the error.
    ///
    /// ```
    /// # use reprofix::format::cpio::*;
    /// let header = Header { ino: 1, mode: 0o100644, name_len: 2, ..Header::default() };
    /// assert_eq!(Header::parse(&header.encode(), 0), Ok(header));
    /// assert!(Header::parse(&[b'x'; HEADER_LEN], 0).is_err());
    /// ```
    pub fn parse(bytes: &[u8; HEADER_LEN], offset: u64) -> Result<Self, Malformed> {
        let crc = match &bytes[..6] {
            b"070701" => false,
            b"070702" => true,
            b"070707" => return Err(Malformed::at(offset, "cpio of the old portable format")),
            _ => return Err(Malformed::at(offset, "not a cpio header (070701 or 070702)")),
        };
        let mut field = [0; 13];
        for (n, (value, digits)) in field.iter_mut().zip(bytes[6..].chunks(8)).enumerate() {
            let at = offset + 6 + 8 * n as u64;
            *value = hex(digits).ok_or_else(|| Malformed::at(at, "cpio field is not hex"))?;
        }
        let [ino, mode, uid, gid, nlink, mtime, size, d0, d1, r0, r1, name_len, check] = field;
        let (dev, rdev) = ([d0, d1], [r0, r1]);
        Ok(Header { crc, ino, mode, uid, gid, nlink, mtime, size, dev, rdev, name_len, check })
    }

    /// The header's 110 bytes, with digits in capitals as GNU cpio and the kernel's
    /// `gen_init_cpio` write them.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [d0, d1] = self.dev;
        let [r0, r1] = self.rdev;
        let fields = [
            self.ino,
            self.mode,
            self.uid,
            self.gid,
            self.nlink,
            self.mtime,
            self.size,
            d0,
            d1,
            r0,
            r1,
            self.name_len,
            self.check,
        ];
        let mut out = [0; HEADER_LEN];
        out[..6].copy_from_slice(if self.crc { b"070702" } else { b"070701" });
        for (digits, value) in out[6..].chunks_mut(8).zip(fields) {
            for (n, digit) in digits.iter_mut().enumerate() {
                *digit = b"0123456789ABCDEF"[(value >> (28 - 4 * n) & 15) as usize];
            }
        }
        out
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digit = |sum: u32, d: &u8| Some(sum << 4 | char::from(*d).to_digit(16)?);
    digits.iter().try_fold(0, digit)
}

/// Adds bytes to the sum of the crc format; `sum` is that of the bytes before.
pub fn add_sum(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, b| sum.wrapping_add((*b).into()))
}

/// The number of zero bytes from `offset` to a multiple of `align`.
pub const fn padding(offset: u64, align: u64) -> u64 {
    offset.wrapping_neg() % align
}

/// Reads the entries of one archive.
///
/// The input must be at the archive's first header. Every error has the kind
/// [`io::ErrorKind::InvalidData`] and a [`Malformed`] inside, or comes from the input.
pub struct Reader<R> {
    input: R,
    /// Bytes read.
    offset: u64,
    /// Unread bytes of the current entry's content.
    left: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the archive that begins at the next byte of `input`.
    pub fn new(input: R) -> Self {
        Reader { input, offset: 0, left: 0 }
    }

    /// The input of the archive.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Bytes of the archive read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Skips the rest of the current entry, to where the next one may begin.
    pub fn skip_rest(&mut self) -> io::Result<()> {
        io::copy(&mut self.content(), &mut io::sink())?;
        self.skip_padding()
    }

    /// The next entry's header and its name without NULs, or `None` at the trailer.
    ///
    /// The rest of the current entry's content is skipped.
    pub fn next_entry(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        self.skip_rest()?;
        let at = self.offset;
        let mut bytes = [0; HEADER_LEN];
        self.fill(&mut bytes)?;
        let header = Header::parse(&bytes, at).map_err(invalid)?;
        if header.name_len == 0 || header.name_len > NAME_MAX {
            return Err(invalid(Malformed::at(at + 94, "name is empty or too long")));
        }
        let mut name = vec![0; header.name_len as usize];
        self.fill(&mut name)?;
        if name.pop() != Some(0) {
            return Err(invalid(Malformed::at(at + 110, "name does not end with a NUL")));
        }
        // More NULs are padding that some writers use to align the content.
        let end = name.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        name.truncate(end);
        self.skip_padding()?;
        self.left = header.size.into();
        if name != TRAILER {
            return Ok(Some((header, name)));
        }
        self.skip_rest()?;
        Ok(None)
    }

    /// A reader of the current entry's content, which ends with it. An earlier end of the input is
    /// an error.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    fn skip_padding(&mut self) -> io::Result<()> {
        let len = padding(self.offset, 4) as usize;
        self.fill(&mut [0; 4][..len])
    }

    fn fill(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.input.read_exact(buf).map_err(|e| truncated(e, self.offset))?;
        self.offset += buf.len() as u64;
        Ok(())
    }
}

/// The content of one entry.
pub struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.0.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let got = self.0.input.read(&mut buf[..want])?;
        if got == 0 {
            return Err(truncated(io::ErrorKind::UnexpectedEof.into(), self.0.offset));
        }
        self.0.offset += got as u64;
        self.0.left -= got as u64;
        Ok(got)
    }
}

/// `what` as an I/O error, for parsers behind [`Read`].
pub fn invalid(what: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn truncated(e: io::Error, offset: u64) -> io::Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => invalid(Malformed::at(offset, "cpio archive is truncated")),
        _ => e,
    }
}

/// Writes the entries of one archive.
pub struct Writer<W> {
    output: W,
    offset: u64,
}

impl<W: Write> Writer<W> {
    /// A writer that begins at `offset`, a multiple of four, in the surrounding file, relative to
    /// which content and the archive's end are aligned.
    pub fn new(output: W, offset: u64) -> Self {
        Writer { output, offset }
    }

    /// Writes an entry; `content` has `header.size` bytes. `header.name_len` is computed here so
    /// that the content begins at a multiple of `align`, a multiple of four: names get more NULs
    /// for that, as the kernel's documentation proposes. Not all readers accept such names, so use
    /// them only for archives that already have them. A name that would exceed [`NAME_MAX`] gets
    /// none.
    pub fn entry(
        &mut self,
        header: &Header,
        name: &[u8],
        content: &mut dyn Read,
        align: u64,
    ) -> io::Result<()> {
        let plain = name.len() as u64 + 1;
        let start = self.offset + HEADER_LEN as u64;
        let first = start + plain + padding(start + plain, 4);
        let aligned = plain + padding(first, align);
        let name_len = if aligned > u64::from(NAME_MAX) { plain } else { aligned };
        let header = Header { name_len: name_len as u32, ..*header };
        self.put(&header.encode())?;
        self.put(name)?;
        self.zeros(name_len - name.len() as u64)?;
        self.zeros(padding(self.offset, 4))?;
        let copied = io::copy(content, &mut self.output)?;
        if copied != u64::from(header.size) {
            return Err(io::Error::other("content and size of a cpio entry differ"));
        }
        self.offset += copied;
        self.zeros(padding(self.offset, 4))
    }

    /// Writes the trailer and zeros to a multiple of [`BLOCK`]; returns the output and the offset
    /// after the archive.
    pub fn finish(mut self, crc: bool) -> io::Result<(W, u64)> {
        let header = Header { crc, nlink: 1, ..Header::default() };
        self.entry(&header, TRAILER, &mut io::empty(), 4)?;
        self.zeros(padding(self.offset, BLOCK))?;
        Ok((self.output, self.offset))
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, len: u64) -> io::Result<()> {
        self.offset += io::copy(&mut io::repeat(0).take(len), &mut self.output)?;
        Ok(())
    }
}

/// Why an archive with this name must not be rewritten; `None` for a good name.
///
/// A good name is relative and stays below the root: no `..`, no leading slash, no empty or `.`
/// component but `.` itself, no NUL. Only such names sort as the tree they make.
pub fn bad_name(name: &[u8]) -> Option<&'static str> {
    if name == b"." {
        return None;
    }
    if name.starts_with(b"/") {
        return Some("name is absolute");
    }
    if name.contains(&0) {
        return Some("name has a NUL inside");
    }
    name.split(|b| *b == b'/').find_map(|part| match part {
        b".." => Some("name has a .. component"),
        b"." | b"" => Some("name has an empty or . component"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&[u8], u32, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), 0);
        for (name, mode, content) in entries {
            let header = Header { mode: *mode, size: content.len() as u32, ..Header::default() };
            writer.entry(&header, name, &mut &content[..], 4).unwrap();
        }
        writer.finish(false).unwrap().0
    }

    fn names(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut reader = Reader::new(bytes);
        let mut names = Vec::new();
        while let Some((_, name)) = reader.next_entry()? {
            names.push(name);
        }
        Ok(names)
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes =
            archive(&[(b".", 0o40755, b""), (b"a", 0o100644, b"hello"), (b"bb", 0o100644, b"")]);
        assert_eq!(bytes.len() % 512, 0);
        let mut reader = Reader::new(&bytes[..]);
        assert_eq!(reader.next_entry().unwrap().unwrap().1, b".");
        let (header, name) = reader.next_entry().unwrap().unwrap();
        assert_eq!((header.size, &name[..]), (5, &b"a"[..]));
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).unwrap();
        assert_eq!(content, b"hello");
        assert_eq!(reader.next_entry().unwrap().unwrap().1, b"bb");
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = archive(&[(b"a", 0o100644, b"hello")]);
        let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 2;
        for len in 0..end {
            let error = names(&bytes[..len]).unwrap_err();
            assert!(error.to_string().contains("truncated"), "{len}: {error}");
        }
        assert_eq!(names(&bytes[..end.next_multiple_of(4)]).unwrap(), [b"a"]);
    }

    #[test]
    fn content_is_aligned_by_the_name() {
        let mut writer = Writer::new(Vec::new(), 0);
        let header = Header { mode: 0o100644, size: 4, ..Header::default() };
        writer.entry(&header, b"kernel", &mut &b"blob"[..], 16).unwrap();
        let bytes = writer.finish(false).unwrap().0;
        let at = bytes.windows(4).position(|w| w == b"blob").unwrap();
        assert_eq!(at % 16, 0);
        assert_eq!(names(&bytes).unwrap(), [b"kernel"]);
    }

    #[test]
    fn a_size_that_lies_allocates_nothing() {
        let header = Header { mode: 0o100644, size: u32::MAX, name_len: 2, ..Header::default() };
        let mut bytes = header.encode().to_vec();
        bytes.extend(b"a\0");
        assert!(names(&bytes).unwrap_err().to_string().contains("truncated"));
        let header = Header { name_len: u32::MAX, ..header };
        assert!(names(&header.encode()).unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn names_that_leave_the_root_are_bad() {
        for good in [&b"."[..], b"a", b"a/b", b"a/...", b"\xff/b"] {
            assert_eq!(bad_name(good), None);
        }
        for bad in [&b"/a"[..], b"..", b"a/../b", b"./a", b"a//b", b"a/", b"", b"a\0b"] {
            assert!(bad_name(bad).is_some(), "{bad:?}");
        }
    }
}
