//! Unified kernel images and their addons: PE files, which are compared section by section, and
//! whose initramfs is read like a boot image.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::{diff, signed};
use crate::format::initramfs::Error;
use crate::format::pe::{self, Part, Pe};
use crate::format::verity;
use crate::normal::{Context, File, Verdict};
use crate::tree::Seekable;

/// The section that holds an initramfs.
const INITRD: &str = ".initrd";
/// The section that holds signatures of measurements.
const PCRSIG: &str = ".pcrsig";
/// Sections whose content is text.
const TEXTS: [&str; 7] = [".osrel", ".cmdline", ".uname", ".sbat", ".profile", ".pcrpkey", PCRSIG];
/// Bytes of a text section that are compared line by line, and lines shown of it.
const TEXT: u64 = 64 << 10;
const LINES: usize = 10;
/// Bytes to compare at a time.
const PIECE: usize = 64 << 10;

/// The verdict on an `.efi` file: no remark on those without an initramfs.
pub(super) fn verdict(file: &File<'_>) -> Result<Verdict, Error> {
    let Some(pe) = headers(&mut *file.open()?)? else { return Ok(Verdict::Keep) };
    if pe.section(INITRD).is_none() {
        return Ok(Verdict::Keep);
    }
    let why = match pe.certificates.is_empty() {
        true => "unified kernel image: the boot measures its initramfs",
        false => "signed unified kernel image: the signature covers its initramfs",
    };
    Ok(Verdict::Report(format!(
        "{why}, so it is left alone; make it reproducible where it is built (dracut-ng 108 or later \
         with --reproducible), or build and sign the image after `reprofix fix`"
    )))
}

/// The headers of a PE file; `None` if it is not one.
fn headers(input: &mut dyn Seekable) -> Result<Option<Pe>, Error> {
    pe::read(input).map_err(|error| match error.get_ref().and_then(|e| e.downcast_ref()) {
        Some(malformed) => Error::Malformed(crate::format::Malformed::clone(malformed)),
        None => Error::Io(error),
    })
}

/// The boot image in `input`: the initramfs of a PE file, or any other file itself.
pub fn boot_image<'a>(mut input: Box<dyn Seekable + 'a>) -> Result<Box<dyn Seekable + 'a>, Error> {
    let Some(pe) = headers(&mut *input)? else {
        input.rewind()?;
        return Ok(input);
    };
    let none = || crate::format::Malformed::at(0, "a PE file without a section .initrd");
    let range = pe.section(INITRD).ok_or_else(none)?;
    Ok(Box::new(Part::new(input, range)))
}

/// What differs between two PE files, section by section; `None` unless both are.
pub fn explain(
    a: &mut dyn Seekable,
    b: &mut dyn Seekable,
    cx: &Context,
) -> Result<Option<Vec<String>>, Error> {
    let (Some(x), Some(y)) = (headers(a)?, headers(b)?) else { return Ok(None) };
    let mut lines = Vec::new();
    let mut names: Vec<(&str, usize)> = numbered(&x).chain(numbered(&y)).map(|(n, _)| n).collect();
    names.sort_unstable();
    names.dedup();
    for key in names {
        let find = |pe| numbered(pe).find(|(name, _)| *name == key).map(|(_, range)| range);
        // A second section of the same name belongs to another profile.
        let name = match key.1 {
            0 => key.0.to_owned(),
            n => format!("{} ({})", key.0, n + 1),
        };
        match (find(&x), find(&y)) {
            (Some(p), Some(q)) => section(&name, (&mut *a, p), (&mut *b, q), cx, &mut lines)?,
            (Some(_), None) => lines.push(format!("{name}: only in the first")),
            (None, _) => lines.push(format!("{name}: only in the second")),
        }
    }
    if x.time != y.time {
        lines.push(format!("the PE header's time: {} | {}", x.time, y.time));
    }
    let length = |range: &Range<u64>| range.end - range.start;
    match (x.certificates.is_empty(), y.certificates.is_empty()) {
        (false, true) => lines.push("signed only in the first".to_owned()),
        (true, false) => lines.push("signed only in the second".to_owned()),
        (false, false) if differ(a, &x.certificates, b, &y.certificates)?.is_some() => {
            let (p, q) = (length(&x.certificates), length(&y.certificates));
            let is_alone = lines.is_empty();
            lines.push(format!("its signature: {p} | {q} bytes"));
            lines.extend(is_alone.then(|| signed::ONLY_SIGNATURE.to_owned()));
        }
        _ => {}
    }
    if lines.is_empty() {
        lines.push("only in headers or padding, no section differs".to_owned());
    }
    Ok(Some(lines))
}

/// Sections by name, with a running number for each name.
fn numbered(pe: &Pe) -> impl Iterator<Item = ((&str, usize), Range<u64>)> {
    pe.sections.iter().enumerate().map(|(at, section)| {
        let before = pe.sections[..at].iter().filter(|other| other.name == section.name).count();
        ((&*section.name, before), section.content.clone())
    })
}

fn section(
    name: &str,
    (a, x): (&mut dyn Seekable, Range<u64>),
    (b, y): (&mut dyn Seekable, Range<u64>),
    cx: &Context,
    lines: &mut Vec<String>,
) -> Result<(), Error> {
    let Some(first) = differ(a, &x, b, &y)? else { return Ok(()) };
    let (m, n) = (x.end - x.start, y.end - y.start);
    let plain = || match m == n {
        true => format!("{name}: {m} bytes, differing from byte {first} on"),
        false => format!("{name}: {m} | {n} bytes, differing from byte {first} on"),
    };
    if name.starts_with(INITRD) {
        let (mut left, mut right) = (Part::new(&mut *a, x), Part::new(&mut *b, y));
        match diff(&mut left, &mut right, cx) {
            Ok(found) => lines.extend(found.iter().map(|d| format!("{name}: {d}"))),
            Err(Error::Malformed(what)) => {
                lines.push(format!("{}; not compared inside: {what}", plain()));
            }
            Err(error) => return Err(error),
        }
        return Ok(());
    }
    let is_text = TEXTS.iter().any(|text| name.starts_with(text)) && m.max(n) <= TEXT;
    let texts = if is_text { text(a, &x)?.zip(text(b, &y)?) } else { None };
    match texts {
        Some((left, right)) if name.starts_with(PCRSIG) => {
            let found = signed::measurements(&left, &right).unwrap_or_else(|| vec![plain()]);
            lines.extend(found.into_iter().map(|line| format!("{name}: {line}")));
        }
        Some((left, right)) => {
            lines.extend(text_lines(name, &left, &right));
            let follows = verity::follows_image(left.as_bytes(), right.as_bytes());
            lines.extend(follows.map(|why| format!("{name}: {why}")));
        }
        None => lines.push(plain()),
    }
    Ok(())
}

/// Lines of each text that the other does not have.
fn text_lines(name: &str, a: &str, b: &str) -> Vec<String> {
    let shown = |line: &str| line.chars().take(200).collect::<String>().escape_debug().to_string();
    let only = |x: &str, y: &str, sign| {
        let there: BTreeSet<&str> = y.lines().collect();
        let only = x.lines().filter(|line| !there.contains(line));
        only.take(LINES).map(|line| format!("{name}: {sign}{}", shown(line))).collect::<Vec<_>>()
    };
    let mut lines = only(a, b, '-');
    lines.extend(only(b, a, '+'));
    if lines.is_empty() {
        lines.push(format!("{name}: the same lines, in another order or with other line ends"));
    }
    lines
}

fn text(input: &mut dyn Seekable, range: &Range<u64>) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    input.seek(SeekFrom::Start(range.start))?;
    input.take(range.end - range.start).read_to_end(&mut bytes)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(String::from_utf8(bytes).ok())
}

/// The first byte at which two ranges differ; `None` if they are equal.
fn differ(
    a: &mut dyn Seekable,
    x: &Range<u64>,
    b: &mut dyn Seekable,
    y: &Range<u64>,
) -> io::Result<Option<u64>> {
    let (mut left, mut right) = (Part::new(a, x.clone()), Part::new(b, y.clone()));
    let (mut p, mut q) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        p.clear();
        q.clear();
        (&mut left).take(PIECE as u64).read_to_end(&mut p)?;
        (&mut right).take(PIECE as u64).read_to_end(&mut q)?;
        if p != q {
            let first = p.iter().zip(&q).position(|(m, n)| m != n).unwrap_or(p.len().min(q.len()));
            return Ok(Some(at + first as u64));
        }
        if p.is_empty() {
            return Ok(None);
        }
        at += p.len() as u64;
    }
}
