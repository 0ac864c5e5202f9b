//! One header and its data.

use super::{BLOCK, LINK, MTIME, NAME, PREFIX, SIZE, SPARSE_MORE, SUM, TYPE};
use crate::format::Malformed;

/// A header with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// The offset of the header.
    pub offset: usize,
    /// The header.
    pub(super) header: &'a [u8],
    /// Content without padding; for a sparse file including its map.
    pub content: &'a [u8],
    /// Everything from the header to the next.
    pub(super) whole: &'a [u8],
}

impl Member<'_> {
    /// The type flag: `0` a file, `5` a directory, `x` an extension header of the next member, …
    pub(crate) fn kind(&self) -> u8 {
        self.header[TYPE]
    }

    /// The name in the header, which an extension header before it may replace.
    pub(crate) fn name(&self) -> &[u8] {
        self.header[NAME].split(|b| *b == 0).next().unwrap_or_default()
    }

    /// Seconds since 1970 in the header.
    pub(crate) fn mtime(&self) -> i64 {
        number(&self.header[MTIME]).unwrap_or(0)
    }

    /// The header without its times, checksum and name: mode, owner, size, link, device. With
    /// `linked`, for a name of a hard-link group, also without type, size and link.
    pub(crate) fn rest(&self, linked: bool) -> Vec<u8> {
        let mut rest = self.header.to_vec();
        let of_link = [SIZE, TYPE..TYPE + 1, LINK];
        let apart = if linked { &of_link[..] } else { &[] };
        for field in [NAME, MTIME, SUM, PREFIX].iter().chain(apart) {
            rest[field.clone()].fill(0);
        }
        rest
    }

    pub(super) fn text(&self, field: std::ops::Range<usize>) -> &[u8] {
        self.header[field].split(|b| *b == 0).next().unwrap_or_default()
    }
}

/// Whether `bytes` start with a header whose checksum is right.
pub(crate) fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(..BLOCK).is_some_and(|h| h[257..262] == *b"ustar" && check_sum(h))
}

/// The members, and their end at two blocks of zeros.
///
/// # Errors
/// [`Malformed`] if a header's checksum or a number in it is wrong, or the end is missing.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Vec<Member<'_>>, usize), Malformed> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let header = block(bytes, at)?;
        if header.iter().all(|b| *b == 0) {
            let end = block(bytes, at + BLOCK)?;
            let ends = end.iter().all(|b| *b == 0);
            return if ends {
                Ok((members, at))
            } else {
                Err(Malformed::at(at, "a block of zeros"))
            };
        }
        let member = member(bytes, at, header)?;
        at += member.whole.len();
        members.push(member);
    }
}

pub(super) fn block(bytes: &[u8], at: usize) -> Result<&[u8], Malformed> {
    let found = bytes.get(at..).and_then(|rest| rest.get(..BLOCK));
    found.ok_or_else(|| Malformed::at(bytes.len(), "archive is truncated"))
}

pub(super) fn member<'a>(
    bytes: &'a [u8],
    at: usize,
    header: &'a [u8],
) -> Result<Member<'a>, Malformed> {
    if !check_sum(header) {
        return Err(Malformed::at(at + SUM.start, "header checksum does not match"));
    }
    number(&header[MTIME])
        .ok_or_else(|| Malformed::at(at + MTIME.start, "time is not a number"))?;
    let size = match header[TYPE] {
        // Links, devices, directories and pipes have none, whatever the field says.
        b'1'..=b'6' => Some(0),
        _ => number(&header[SIZE]).and_then(|n| usize::try_from(n).ok()),
    };
    let size = size.ok_or_else(|| Malformed::at(at + SIZE.start, "size is not a number"))?;
    let mut start = at + BLOCK;
    let mut more = header[TYPE] == b'S' && header[SPARSE_MORE[0]] != 0;
    while more {
        more = block(bytes, start)?[SPARSE_MORE[1]] != 0;
        start += BLOCK;
    }
    let cut = || Malformed::at(bytes.len(), "archive is truncated");
    let end = start.checked_add(size).ok_or_else(cut)?;
    let padded = end.checked_next_multiple_of(BLOCK).ok_or_else(cut)?;
    let whole = bytes.get(at..padded).ok_or_else(cut)?;
    Ok(Member { offset: at, header, content: &bytes[at + BLOCK..end], whole })
}

/// A number in a header: octal digits with blanks, or base 256 if the top bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // Two's complement, whose top bit only marks the format.
        let first = i64::from(((field[0] << 1) as i8) >> 1);
        return field[1..]
            .iter()
            .try_fold(first, |n, b| n.checked_mul(256)?.checked_add(i64::from(*b)));
    }
    let digits = field.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
    digits.iter().try_fold(0i64, |n, b| {
        let digit = (b'0'..=b'7').contains(b).then(|| i64::from(b - b'0'))?;
        n.checked_mul(8)?.checked_add(digit)
    })
}

pub(super) fn sum(header: &[u8]) -> u32 {
    let blank = |(i, b): (usize, &u8)| u32::from(if SUM.contains(&i) { b' ' } else { *b });
    header.iter().enumerate().map(blank).sum()
}

pub(super) fn check_sum(header: &[u8]) -> bool {
    number(&header[SUM]) == Some(sum(header).into())
}
