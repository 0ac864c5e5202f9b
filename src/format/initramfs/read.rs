//! Reading an image once, from its first byte to its last.

use std::io::{self, BufRead, Read, Write};

use sha2::{Digest, Sha256};

use super::read_ahead::read_ahead;
use super::{Archive, DIRECTORY, Entry, Error, Image, Limits, REGULAR, SYMLINK, Segment};
use crate::format::Malformed;
use crate::format::compress::{HEAD_LEN, Packing, Source, detect, is_cut_magic};
use crate::format::cpio::{self, Header, bad_name, invalid};

/// Reads the image of `len` bytes that begins at the next byte of `input`; its unpacked archives
/// are appended to `spool`, which is empty.
///
/// The image is refused if anything in it is not understood or exceeds `limits`. The offset of a
/// [`Malformed`] is where in the image the trouble is, or where the archive begins that it is in.
pub fn read<R: Read + Send, S: Write>(
    input: R,
    len: u64,
    spool: &mut S,
    limits: &Limits,
) -> Result<Image, Error> {
    let mut source = Source::new(input);
    let mut spool = Spool {
        file: spool,
        len: 0,
        max: limits.unpacked.min(limits.free.max(len.saturating_mul(limits.ratio))),
        failed: false,
        entries: limits.entries,
        names: limits.names,
    };
    let mut segments = Vec::new();
    loop {
        skip_zeros(&mut source)?;
        let start = source.offset();
        match segment(&mut source, &mut spool) {
            Ok(Some(segment)) => segments.push(segment),
            Ok(None) => break,
            Err(e) if source.failed() || spool.failed => return Err(e.into()),
            Err(e) => return Err(within(start, e).into()),
        }
    }
    let start = source.offset();
    if is_cut_magic(source.peek(HEAD_LEN)?) {
        return Err(Malformed::at(start, "compressed member is truncated").into());
    }
    let end = start + io::copy(&mut source.by_ref().take(limits.trailing + 1), &mut io::sink())?;
    if segments.is_empty() || end - start > limits.trailing {
        let what = "neither a cpio archive nor a known compression";
        return Err(Malformed::at(start, what).into());
    }
    Ok(Image { segments, trailing: start..end, spooled: spool.len })
}

/// What is wrong with the segment at `start`.
fn within(start: u64, e: io::Error) -> Malformed {
    match e.downcast::<Malformed>() {
        Ok(Malformed { offset, what }) => {
            Malformed::at(start, format!("{what} (unpacked byte {offset} of the archive)"))
        }
        Err(e) => Malformed::at(start, format!("compressed member cannot be unpacked ({e})")),
    }
}

fn skip_zeros<R: Read>(source: &mut Source<R>) -> io::Result<()> {
    loop {
        let buf = source.fill_buf()?;
        let zeros = buf.iter().take_while(|b| **b == 0).count();
        let done = zeros < buf.len() || buf.is_empty();
        source.consume(zeros);
        if done {
            return Ok(());
        }
    }
}

/// The segment at the next byte, or `None` if there is none.
fn segment<R: Read + Send, S: Write>(
    source: &mut Source<R>,
    spool: &mut Spool<'_, S>,
) -> io::Result<Option<Segment>> {
    let (start, from) = (source.offset(), spool.len);
    let head = source.peek(HEAD_LEN)?;
    let packing = detect(head);
    let archives = match packing {
        None if head.first() == Some(&b'0') && start.is_multiple_of(4) => {
            vec![archive(&mut SpoolingReader {
                input: source,
                spool,
                base: from,
                start: Some(start),
            })?]
        }
        None => return Ok(None),
        Some(packing) => member(packing, source, spool)?,
    };
    let range = start..source.offset();
    Ok(Some(Segment { range, packing, unpacked: from..spool.len, archives }))
}

/// The archives in the compressed member at the next byte.
fn member<R: Read + Send, S: Write>(
    packing: Packing,
    source: &mut Source<R>,
    spool: &mut Spool<'_, S>,
) -> io::Result<Vec<Archive>> {
    read_ahead(
        move || packing.decoder(source),
        |unpacked| {
            let mut unpacked = Source::new(unpacked);
            archives(&mut SpoolingReader {
                input: &mut unpacked,
                base: spool.len,
                spool,
                start: None,
            })
        },
    )
}

/// The archives of a member, to its end.
fn archives<R: Read, S: Write>(tap: &mut SpoolingReader<'_, '_, R, S>) -> io::Result<Vec<Archive>> {
    let mut archives = Vec::new();
    loop {
        let next = tap.input.peek(1)?.first().copied();
        match next {
            None if archives.is_empty() => {
                let what = "a compressed member that holds no archive";
                return Err(invalid(Malformed::at(tap.offset(), what)));
            }
            None => return Ok(archives),
            Some(0) => tap.read_exact(&mut [0])?,
            Some(b'0') if tap.offset().is_multiple_of(4) => archives.push(archive(tap)?),
            _ => {
                let what = "no cpio archive inside a compressed member";
                return Err(invalid(Malformed::at(tap.offset(), what)));
            }
        }
    }
}

/// The archive at the next byte.
fn archive<R: Read, S: Write>(tap: &mut SpoolingReader<'_, '_, R, S>) -> io::Result<Archive> {
    let base = tap.spool.len;
    let start = tap.start.unwrap_or(0) + tap.offset();
    let mut reader = cpio::Reader::new(&mut *tap);
    let mut archive = Archive { align: 4, ..Archive::default() };
    let mut alignment = Alignment::default();
    loop {
        reader.skip_rest()?;
        if !archive.entries.is_empty() && !reader.get_mut().input.peek(1)?.starts_with(b"0") {
            // What a compressed member holds is whole; a plain archive may have been cut here.
            let what = "archive has no trailer: the kernel unpacks it, but it may be cut; have it \
                        written whole, or compressed";
            return match reader.get_mut().start {
                Some(_) => Err(invalid(Malformed::at(reader.offset(), what))),
                None => Ok(archive),
            };
        }
        let Some((header, found)) = reader.next_entry()? else { break };
        let at = |what| invalid(Malformed::at(reader.offset(), what));
        let name = plain_name(&found, &header).to_vec();
        if let Some(why) = bad_name(&name).or_else(|| ignored(&header)) {
            return Err(at(why));
        }
        if archive.entries.is_empty() {
            archive.crc = header.crc;
        } else if archive.crc != header.crc {
            return Err(at("cpio formats are mixed in one archive"));
        }
        let data = base + reader.offset();
        alignment.see(&header, found.len(), start + reader.offset());
        let (digest, sum) = digest(&mut reader.content(), header.crc)?;
        let entry = Entry { name, header, data, digest };
        // Only a file's sum is looked at; writers put anything into that of others.
        if header.crc && entry.kind() == REGULAR && header.check != sum {
            return Err(invalid(Malformed::at(reader.offset(), "checksum of a file is wrong")));
        }
        reader.get_mut().spool.count(&entry.name, data)?;
        archive.entries.push(entry);
    }
    archive.align = alignment.found();
    archive.ended = true;
    Ok(archive)
}

/// Finds out what an archive's maker aligned contents to.
#[derive(Default)]
struct Alignment {
    padded: bool,
    /// Whether a small file is padded, or a larger one not at a multiple of a page.
    not_to_pages: bool,
}

impl Alignment {
    const PAGE: u32 = 4096;

    /// An entry whose name has `name` bytes, and whose content stands at `offset`.
    fn see(&mut self, header: &Header, name: usize, offset: u64) {
        let padded = header.name_len as usize > name + 1;
        let large = header.mode & 0o170_000 == REGULAR && header.size >= Self::PAGE;
        self.padded |= padded;
        self.not_to_pages |= match large {
            true => !offset.is_multiple_of(Self::PAGE.into()),
            false => padded,
        };
    }

    fn found(&self) -> u32 {
        match (self.padded, self.not_to_pages) {
            (false, _) => 4,
            (true, true) => 16,
            (true, false) => Self::PAGE,
        }
    }
}

/// A name as `find` prints it without its `./`, which some writers of archives keep; so do some
/// the slash that bsdtar puts behind a directory.
fn plain_name<'a>(name: &'a [u8], header: &Header) -> &'a [u8] {
    let slash = header.mode & 0o170_000 == DIRECTORY && name.len() > 1;
    let name = name.strip_suffix(b"/").filter(|_| slash).unwrap_or(name);
    match name.strip_prefix(b"./") {
        Some(b"") => b".",
        Some(rest) => rest,
        None => name,
    }
}

/// Why the kernel skips such an entry. It would not be skipped once it is written as others are.
fn ignored(header: &Header) -> Option<&'static str> {
    match header.mode & 0o170_000 {
        REGULAR => None,
        SYMLINK if header.size < cpio::NAME_MAX => None,
        SYMLINK => Some("target of a symbolic link is too long"),
        DIRECTORY | 0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 if header.size == 0 => None,
        DIRECTORY | 0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => {
            Some("an entry that is no file has content: the kernel ignores it")
        }
        _ => Some("an entry of no known type: the kernel ignores it"),
    }
}

/// SHA-256 of what `content` gives, and, if asked for, the sum of its bytes.
fn digest(content: &mut dyn Read, add: bool) -> io::Result<([u8; 32], u32)> {
    let mut hash = Sha256::new();
    let mut sum = 0_u32;
    let mut buf = [0; 16 << 10];
    loop {
        let got = content.read(&mut buf)?;
        if got == 0 {
            return Ok((hash.finalize().into(), sum));
        }
        hash.update(&buf[..got]);
        if add {
            sum = cpio::add_sum(sum, &buf[..got]);
        }
    }
}

/// Where unpacked bytes go, and what may still come.
struct Spool<'a, S> {
    file: &'a mut S,
    len: u64,
    max: u64,
    failed: bool,
    entries: usize,
    names: usize,
}

impl<S: Write> Spool<'_, S> {
    fn count(&mut self, name: &[u8], offset: u64) -> io::Result<()> {
        let left = (self.entries.checked_sub(1), self.names.checked_sub(name.len()));
        let (Some(entries), Some(names)) = left else {
            return Err(invalid(Malformed::at(offset, "more entries than a real image has")));
        };
        (self.entries, self.names) = (entries, names);
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.max - self.len < bytes.len() as u64 {
            return Err(invalid(Malformed::at(offset, "unpacks to more than a real image does")));
        }
        self.file.write_all(bytes).inspect_err(|_| self.failed = true)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// Reads, and copies to the spool what it reads.
struct SpoolingReader<'a, 'b, R, S> {
    input: &'a mut Source<R>,
    spool: &'a mut Spool<'b, S>,
    /// Where in the spool the segment begins.
    base: u64,
    /// Where in the image a plain segment begins, which its alignment counts from.
    start: Option<u64>,
}

impl<R, S> SpoolingReader<'_, '_, R, S> {
    fn offset(&self) -> u64 {
        self.spool.len - self.base
    }
}

impl<R: Read, S: Write> Read for SpoolingReader<'_, '_, R, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buf)?;
        let offset = self.offset();
        self.spool.put(&buf[..got], offset)?;
        Ok(got)
    }
}
