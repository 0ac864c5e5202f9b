//! PE files' section tables: what a unified kernel image is made of.
//!
//! Follows Microsoft's "PE Format": a DOS stub that has the header's offset, the COFF header, the
//! optional header with the data directories, and the sections' headers.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::Malformed;
use super::bytes::{Order::Little, slice};

/// Bytes of headers that are read, at most.
const HEADERS: u64 = 256 << 10;
const COFF: usize = 20;
const SECTION: usize = 40;
/// Which data directory is the certificate table.
const CERTIFICATES: usize = 4;

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pe {
    /// When it was linked, in seconds since 1970-01-01 UTC; a digest in reproducible builds.
    pub time: u32,
    /// The checksum over the file, which firmware does not look at.
    pub checksum: u32,
    /// The sections in the order of the table.
    pub sections: Vec<Section>,
    /// Where the certificate table is; empty if the file is not signed.
    pub certificates: Range<u64>,
    /// Bytes of the file.
    pub size: u64,
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Where its content is in the file, without padding.
    pub content: Range<u64>,
}

impl Pe {
    /// The content of the first section of this name.
    pub fn section(&self, name: &str) -> Option<Range<u64>> {
        self.sections.iter().find(|s| s.name == name).map(|s| s.content.clone())
    }
}

/// Reads the headers of a PE file; `None` if it is another.
///
/// # Errors
/// [`Malformed`] as an [`io::ErrorKind::InvalidData`] for headers that are cut off, and for a section
/// or certificate table outside the file.
pub fn read<R: Read + Seek + ?Sized>(input: &mut R) -> io::Result<Option<Pe>> {
    let size = input.seek(SeekFrom::End(0))?;
    input.rewind()?;
    let mut head = Vec::new();
    input.take(HEADERS).read_to_end(&mut head)?;
    if !head.starts_with(b"MZ") {
        return Ok(None);
    }
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    parse(&head, size).map_err(bad)
}

fn parse(head: &[u8], size: u64) -> Result<Option<Pe>, Malformed> {
    let Ok(start) = Little.u32(head, 0x3c) else { return Ok(None) };
    let start = start as usize;
    if head.get(start..start.saturating_add(4)) != Some(b"PE\0\0") {
        return Ok(None);
    }
    let coff = start + 4;
    let cut = |at: usize| move |_| Malformed::at(at, "the PE headers are cut off");
    let short = |at: usize| Little.u16(head, at).map_err(cut(at));
    let long = |at: usize| Little.u32(head, at).map_err(cut(at));
    let (count, optional) = (short(coff + 2)?, usize::from(short(coff + 16)?));
    let time = long(coff + 4)?;
    let options = coff + COFF;
    let table = options + optional;
    // PE32 and PE32+ differ in the width of addresses before the directories.
    let directories = match Little.u16(head, options) {
        Ok(0x10b) => Some(options + 96),
        Ok(0x20b) => Some(options + 112),
        _ => None,
    };
    let checksum = if optional >= 68 { long(options + 64)? } else { 0 };
    let within = |at: usize, from: u64, length: u64| match from.checked_add(length) {
        Some(end) if end <= size => Ok(from..end),
        _ => Err(Malformed::at(at, "it leads out of the file")),
    };
    let mut certificates = size..size;
    if let Some(first) = directories {
        let at = first + CERTIFICATES * 8;
        if at + 8 <= table && long(first - 4)? as usize > CERTIFICATES {
            let (from, length) = (u64::from(long(at)?), u64::from(long(at + 4)?));
            if length > 0 {
                certificates = within(at, from, length)?;
            }
        }
    }
    let mut sections = Vec::new();
    for n in 0..usize::from(count) {
        let at = table + n * SECTION;
        let name = slice(head, at, 8).map_err(cut(at))?;
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        let (memory, stored) = (u64::from(long(at + 8)?), u64::from(long(at + 16)?));
        let length = if memory == 0 { stored } else { memory.min(stored) };
        let from = if length == 0 { 0 } else { u64::from(long(at + 20)?) };
        let content = within(at + 20, from, length)?;
        sections.push(Section { name: name.escape_ascii().to_string(), content });
    }
    Ok(Some(Pe { time, checksum, sections, certificates, size }))
}

/// A stretch of a file as a file of its own.
#[derive(Debug)]
pub struct Part<R> {
    inner: R,
    range: Range<u64>,
    at: u64,
}

impl<R> Part<R> {
    /// The bytes `range` of `inner`.
    pub fn new(inner: R, range: Range<u64>) -> Self {
        Part { inner, range, at: 0 }
    }
}

impl<R: Read + Seek> Read for Part<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = (self.range.end - self.range.start).saturating_sub(self.at);
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        self.inner.seek(SeekFrom::Start(self.range.start + self.at))?;
        let got = self.inner.read(&mut buffer[..want])?;
        self.at += got as u64;
        Ok(got)
    }
}

impl<R: Read + Seek> Seek for Part<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.range.end - self.range.start;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn a_part_is_a_file_of_its_own() {
        let mut part = Part::new(Cursor::new(b"0123456789"), 2..7);
        let mut all = String::new();
        part.read_to_string(&mut all).expect("reads");
        assert_eq!(all, "23456");
        assert_eq!(part.seek(SeekFrom::End(-1)).expect("seeks"), 4);
        assert!(part.seek(SeekFrom::Current(-9)).is_err());
        part.seek(SeekFrom::Start(9)).expect("seeks");
        assert_eq!(part.read(&mut [0; 4]).expect("reads"), 0);
    }

    #[test]
    fn nothing_panics_on_damage() {
        let mut whole = vec![0; 0x40];
        whole[..2].copy_from_slice(b"MZ");
        whole[0x3c] = 0x40;
        whole.extend(b"PE\0\0\x64\x86\x01\0");
        whole.extend([0; 16]);
        whole.extend(b".initrd\0");
        whole.extend([0; 32]);
        let pe = read(&mut Cursor::new(&whole)).expect("reads").expect("a PE file");
        assert_eq!(pe.sections[0].name, ".initrd");
        for len in 0..whole.len() {
            let _ = read(&mut Cursor::new(&whole[..len]));
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            let _ = read(&mut Cursor::new(&damaged));
        }
        assert_eq!(read(&mut Cursor::new(b"\x7fELF")).expect("reads"), None);
    }
}
