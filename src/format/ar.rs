//! Unix archives such as static libraries: GNU, BSD and thin.
//!
//! Follows ar(5) and the binutils' `ar.h`: eight bytes of magic, then members, each with a header
//! of 60 printable bytes, its content, and a newline if that is odd. Thin archives contain only the
//! content of their symbol and name tables.

use super::Malformed;
use super::bytes::{Cursor, Order};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const THIN: &[u8; 8] = b"!<thin>\n";
const HEADER: usize = 60;
const END: &[u8] = b"`\n";
/// Header fields: offset, width.
const MTIME: (usize, usize) = (16, 12);
const UID: (usize, usize) = (28, 6);
const GID: (usize, usize) = (34, 6);
const MODE: (usize, usize) = (40, 8);
const SIZE: (usize, usize) = (48, 10);

/// A member with its original header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// Where its header begins.
    pub offset: usize,
    /// The header's 60 bytes.
    header: &'a [u8],
    /// The content; empty if a thin archive only names it.
    pub content: &'a [u8],
}

/// Whether `bytes` start like an archive.
pub(crate) fn is_ar(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || bytes.starts_with(THIN)
}

/// Reads every member.
///
/// # Errors
/// [`Malformed`] unless every byte is accounted for, every number is valid, and every symbol of a
/// GNU symbol table points to a member.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Member<'_>>, Malformed> {
    let mut cursor = Cursor::new(Order::Little, bytes);
    let magic = cursor.take(MAGIC.len(), "magic")?;
    if magic != MAGIC && magic != THIN {
        return Err(Malformed::at(0, "not an archive"));
    }
    let mut members = Vec::new();
    while !cursor.rest().is_empty() {
        members.push(member(&mut cursor, magic == THIN)?);
    }
    if let Some(table) = members.first() {
        check_symbols(table, &members)?;
    }
    Ok(members)
}

fn member<'a>(cursor: &mut Cursor<'a>, thin: bool) -> Result<Member<'a>, Malformed> {
    let offset = cursor.offset();
    let header = cursor.take(HEADER, "member header")?;
    if &header[58..] != END {
        return Err(Malformed::at(offset + 58, "member header does not end"));
    }
    for (field, base) in [(MTIME, 10), (UID, 10), (GID, 10), (MODE, 8)] {
        number(header, field, base).map_err(|what| Malformed::at(offset + field.0, what))?;
    }
    let size = number(header, SIZE, 10).map_err(|what| Malformed::at(offset + SIZE.0, what))?;
    let size = size.ok_or_else(|| Malformed::at(offset + SIZE.0, "member without a size"))?;
    let mut member = Member { offset, header, content: &[] };
    if thin && !member.is_symbols() && !member.is_names() {
        return Ok(member);
    }
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    member.content = cursor.take(size, "member")?;
    if size % 2 == 1 {
        let pad = cursor.offset();
        if cursor.take(1, "padding")? != b"\n" {
            return Err(Malformed::at(pad, "padding is not a newline"));
        }
    }
    Ok(member)
}

/// A header field: digits, then blanks; `None` if it is all blanks.
fn number(
    header: &[u8],
    (at, width): (usize, usize),
    base: u64,
) -> Result<Option<u64>, &'static str> {
    let text = header[at..at + width].trim_ascii_end();
    if text.is_empty() {
        return Ok(None);
    }
    let digit = |sum: u64, byte: &u8| {
        let digit = u64::from(byte.wrapping_sub(b'0'));
        if digit >= base { None } else { sum.checked_mul(base)?.checked_add(digit) }
    };
    let value =
        text.iter().try_fold(0, digit).ok_or("a field of a member header is not a number")?;
    Ok(Some(value))
}

/// Checks that every offset of a GNU symbol table is that of a member, which reveals truncation.
fn check_symbols(table: &Member<'_>, members: &[Member<'_>]) -> Result<(), Malformed> {
    let width = match table.raw_name() {
        b"/" => 4,
        b"/SYM64/" => 8,
        _ => return Ok(()),
    };
    let at = |n: usize| -> Option<u64> {
        let raw = table.content.get(n.checked_mul(width)?..)?.get(..width)?;
        Some(raw.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let broken = || Malformed::at(table.offset + HEADER, "symbol table does not match its archive");
    let count = usize::try_from(at(0).ok_or_else(broken)?).map_err(|_| broken())?;
    if count > table.content.len() / width {
        return Err(broken());
    }
    let mut last = None;
    for n in 1..=count {
        let offset = at(n).ok_or_else(broken)?;
        // The symbols of a member follow each other.
        if last != Some(offset) {
            members.binary_search_by_key(&offset, |m| m.offset as u64).map_err(|_| broken())?;
            last = Some(offset);
        }
    }
    Ok(())
}

impl<'a> Member<'a> {
    /// The name field without its blanks: `NAME/`, `/OFFSET` into the table of long names,
    /// `#1/LENGTH` before content that starts with the name, or a table's name.
    pub(crate) fn raw_name(&self) -> &'a [u8] {
        self.header[..16].trim_ascii_end()
    }

    /// The field of seconds since 1970, as text.
    pub(crate) fn mtime(&self) -> &'a [u8] {
        self.field(MTIME)
    }

    /// Owner, group and mode, as text.
    pub(crate) fn owner(&self) -> [&'a [u8]; 3] {
        [UID, GID, MODE].map(|f| self.field(f))
    }

    fn field(&self, (at, width): (usize, usize)) -> &'a [u8] {
        self.header[at..at + width].trim_ascii_end()
    }

    /// Whether this is a table of symbols.
    pub(crate) fn is_symbols(&self) -> bool {
        matches!(self.raw_name(), b"/" | b"/SYM64/" | b"__.SYMDEF" | b"__.SYMDEF SORTED")
    }

    /// Whether this is GNU's table of long names, whose other fields are blank.
    pub(crate) fn is_names(&self) -> bool {
        self.raw_name() == b"//"
    }

    /// The name of this member of `members`, with long names resolved.
    pub(crate) fn name(&self, members: &[Member<'a>]) -> &'a [u8] {
        let raw = self.raw_name();
        if self.is_symbols() || self.is_names() {
            return raw;
        }
        let digits = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<usize>().ok();
        if let Some(len) = raw.strip_prefix(b"#1/").and_then(digits) {
            let name = self.content.get(..len).unwrap_or(raw);
            return name.split(|b| *b == 0).next().unwrap_or(name);
        }
        if let Some(at) = raw.strip_prefix(b"/").and_then(digits) {
            let table = members.iter().take(3).find(|m| m.is_names());
            let name = table.and_then(|t| t.content.get(at..));
            let end = |n: &'a [u8]| n.split(|b| *b == b'\n').next();
            let name = name.and_then(end).unwrap_or(raw);
            return name.strip_suffix(b"/").unwrap_or(name);
        }
        raw.strip_suffix(b"/").unwrap_or(raw)
    }
}

/// The archive as `ar D` and `ranlib -D` write it: time, owner and group 0, mode 644 (0 for a table
/// of symbols). Names, order and content stay. `None` if it needs no change.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn canonical(bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let members = parse(bytes)?;
    let mut out = None;
    for member in members.iter().filter(|m| !m.is_names()) {
        let mode: &[u8] = if member.is_symbols() { b"0" } else { b"644" };
        for (field, value) in [(MTIME, &b"0"[..]), (UID, b"0"), (GID, b"0"), (MODE, mode)] {
            if member.field(field) != value {
                let out = out.get_or_insert_with(|| bytes.to_vec());
                let at = member.offset + field.0;
                out[at..at + field.1].fill(b' ');
                out[at..at + value.len()].copy_from_slice(value);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(name: &str, times: (u64, u32, u32, u32), content: &[u8]) -> Vec<u8> {
        let (mtime, uid, gid, mode) = times;
        let len = content.len();
        let header = format!("{name:<16}{mtime:<12}{uid:<6}{gid:<6}{mode:<8o}{len:<10}`\n");
        let pad: &[u8] = if len % 2 == 1 { b"\n" } else { b"" };
        [header.as_bytes(), content, pad].concat()
    }

    const ZERO: (u64, u32, u32, u32) = (0, 0, 0, 0o644);

    #[test]
    fn long_names_of_both_kinds() {
        let names = format!("{:<48}{:<10}`\nvery-long-name.o/\n", "//", 18);
        let bytes = [
            &MAGIC[..],
            names.as_bytes(),
            &member("/0", ZERO, b"x"),
            &member("#1/8", ZERO, b"bsd\0\0\0\0\0abc"),
            &member("a.o/", ZERO, b""),
        ]
        .concat();
        let members = parse(&bytes).unwrap();
        let got: Vec<_> = members.iter().map(|m| m.name(&members)).collect();
        assert_eq!(got, [&b"//"[..], b"very-long-name.o", b"bsd", b"a.o"]);
        assert_eq!(canonical(&bytes), Ok(None));
    }

    #[test]
    fn a_thin_archive_holds_its_tables_only() {
        let symbols = [1u32.to_be_bytes(), 80u32.to_be_bytes(), *b"sym\0"].concat();
        let mut table = member("/", (5, 0, 0, 0), &symbols);
        let mut thin = member("a.o/", (5, 1, 1, 0o755), b"");
        thin[48..51].copy_from_slice(b"999");
        let bytes = [&THIN[..], &table, &thin].concat();
        let out = canonical(&bytes).unwrap().unwrap();
        table[16..17].copy_from_slice(b"0");
        assert_eq!(out[..68 + 12], [&THIN[..], &table].concat());
        assert_eq!(canonical(&out), Ok(None));
    }

    #[test]
    fn symbols_must_point_to_members() {
        let symbols = |at: u32| [1u32.to_be_bytes(), at.to_be_bytes(), *b"sym\0"].concat();
        let with =
            |at| [&MAGIC[..], &member("/", ZERO, &symbols(at)), &member("a/", ZERO, b"")].concat();
        assert!(parse(&with(80)).is_ok());
        assert!(parse(&with(81)).is_err() && parse(&with(0)).is_err());
        let endless = [u32::MAX.to_be_bytes(), [0; 4], [0; 4]].concat();
        assert!(parse(&[&MAGIC[..], &member("/", ZERO, &endless)].concat()).is_err());
    }

    proptest! {
        #[test]
        fn times_and_owners_do_not_matter(
            parts in prop::collection::vec(
                (any::<u32>(), 0u32..999_999, 0u32..999_999, 0u32..0o177_777,
                 prop::collection::vec(any::<u8>(), 0..40)),
                1..5),
        ) {
            let archive = |clean: bool| {
                let mut bytes = MAGIC.to_vec();
                for (n, (time, uid, gid, mode, content)) in parts.iter().enumerate() {
                    let times = if clean { ZERO } else { ((*time).into(), *uid, *gid, *mode) };
                    bytes.extend(member(&format!("m{n}.o/"), times, content));
                }
                bytes
            };
            let out = canonical(&archive(false)).unwrap().unwrap_or_else(|| archive(false));
            prop_assert_eq!(&out, &archive(true));
            prop_assert_eq!(canonical(&out).unwrap(), None);
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = canonical(&[&MAGIC[..], &bytes].concat());
            let _ = canonical(&[&THIN[..], &bytes].concat());
            let table = member("/", ZERO, &bytes);
            let _ = canonical(&[&MAGIC[..], &table].concat());
        }
    }
}
