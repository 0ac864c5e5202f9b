//! Tar archives that are files of a tree, kept byte for byte but for their times.
//!
//! Follows POSIX.1-2017 "pax" and the GNU tar manual. Content is passed over, never unpacked; a
//! number in a header is octal or GNU's base 256.

use super::BLOCK;
use crate::format::Malformed;

const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const SUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
/// In an old GNU sparse header, and in each block of its map: whether another follows.
const SPARSE_MORE: [usize; 2] = [482, 504];

/// A header and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Where the header begins.
    pub offset: usize,
    /// The header.
    header: &'a [u8],
    /// Content, without padding; of a sparse file its map too.
    pub content: &'a [u8],
    /// Everything from the header to the next.
    whole: &'a [u8],
}

impl Member<'_> {
    /// The type flag: `0` a file, `5` a directory, `x` an extension header of what follows, …
    pub fn kind(&self) -> u8 {
        self.header[TYPE]
    }

    /// The name in the header, which an extension header before it may replace.
    pub fn name(&self) -> &[u8] {
        self.header[NAME].split(|b| *b == 0).next().unwrap_or_default()
    }

    /// Seconds since 1970 in the header.
    pub fn mtime(&self) -> i64 {
        number(&self.header[MTIME]).unwrap_or(0)
    }

    /// The header without its times, checksum and name: mode, owner, size, link, device.
    pub fn rest(&self) -> Vec<u8> {
        let mut rest = self.header.to_vec();
        rest[NAME].fill(0);
        rest[MTIME].fill(0);
        rest[SUM].fill(0);
        rest
    }
}

/// Whether `bytes` start with a header of which the checksum is right.
pub fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(..BLOCK).is_some_and(|h| h[257..262] == *b"ustar" && check_sum(h))
}

/// The members, and where they end: at two blocks of zeros.
///
/// # Errors
/// [`Malformed`] if a header's checksum or a number in it is wrong, or the end is missing.
pub fn parse(bytes: &[u8]) -> Result<(Vec<Member<'_>>, usize), Malformed> {
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

fn block(bytes: &[u8], at: usize) -> Result<&[u8], Malformed> {
    let found = bytes.get(at..).and_then(|rest| rest.get(..BLOCK));
    found.ok_or_else(|| Malformed::at(bytes.len(), "archive is truncated"))
}

fn member<'a>(bytes: &'a [u8], at: usize, header: &'a [u8]) -> Result<Member<'a>, Malformed> {
    if !check_sum(header) {
        return Err(Malformed::at(at + SUM.start, "header checksum does not match"));
    }
    number(&header[MTIME]).ok_or_else(|| Malformed::at(at + MTIME.start, "time is no number"))?;
    let size = match header[TYPE] {
        // Links, devices, directories and pipes have none, whatever the field says.
        b'1'..=b'6' => Some(0),
        _ => number(&header[SIZE]).and_then(|n| usize::try_from(n).ok()),
    };
    let size = size.ok_or_else(|| Malformed::at(at + SIZE.start, "size is no number"))?;
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

/// A number in a header: octal digits among blanks, or base 256 where the top bit is set.
fn number(field: &[u8]) -> Option<i64> {
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

fn sum(header: &[u8]) -> u32 {
    let blank = |(i, b): (usize, &u8)| u32::from(if SUM.contains(&i) { b' ' } else { *b });
    header.iter().enumerate().map(blank).sum()
}

fn check_sum(header: &[u8]) -> bool {
    number(&header[SUM]) == Some(sum(header).into())
}

/// The archive with no time after `epoch`, in seconds since 1970; `None` if it is so already.
///
/// Of extension headers, the times of access and change go (an archive is read for being made),
/// that of modification is clamped, and the process number in GNU tar's name for them goes.
///
/// # Errors
/// Those of [`parse`], and extension records that are none.
pub fn canonical(bytes: &[u8], epoch: i64) -> Result<Option<Vec<u8>>, Malformed> {
    let (members, end) = parse(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    for member in &members {
        let extension = matches!(member.kind(), b'x' | b'g');
        let mut header = member.header.to_vec();
        let mut content = member.whole[BLOCK..].to_vec();
        if extension {
            let records = records(member.content, epoch).ok_or_else(|| {
                Malformed::at(member.offset + BLOCK, "extension records are none")
            })?;
            if records.is_empty() && !member.content.is_empty() {
                continue;
            }
            if records != member.content {
                header[SIZE].copy_from_slice(&octal(records.len() as i64));
                content = records;
                content.resize(content.len().next_multiple_of(BLOCK), 0);
            }
            without_process(&mut header[NAME]);
        }
        if member.mtime() > epoch {
            header[MTIME].copy_from_slice(&octal(epoch));
        }
        if header != member.header {
            let sum = format!("{:06o}\0 ", sum(&header));
            header[SUM].copy_from_slice(sum.as_bytes());
        }
        out.extend(header);
        out.extend(content);
    }
    out.extend(&bytes[end..]);
    Ok((out != bytes).then_some(out))
}

/// Eleven octal digits and a NUL: the epoch has 32 bits and a record of the archive less.
fn octal(value: i64) -> [u8; 12] {
    let mut field = [0; 12];
    for (place, digit) in field[..11].iter_mut().rev().zip(0u32..) {
        *place = b'0' + (value >> (3 * digit) & 7) as u8;
    }
    field
}

/// Records of an extension header (`LENGTH KEY=VALUE\n`), in normal form; `None` if they are none.
fn records(mut bytes: &[u8], epoch: i64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        match (&record[..equals], &record[equals + 1..]) {
            (b"atime" | b"ctime", value) if !value.is_empty() => {}
            (b"mtime", value) if !value.is_empty() && is_after(value, epoch)? => {
                out.extend(written(format!("mtime={epoch}").as_bytes()));
            }
            _ => out.extend(&bytes[..length]),
        }
        bytes = &bytes[length..];
    }
    Some(out)
}

/// Whether a decimal time is after `epoch`; `None` if it is no time.
fn is_after(value: &[u8], epoch: i64) -> Option<bool> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let more = fraction.bytes().any(|b| b != b'0') && !whole.starts_with('-');
    fraction.bytes().all(|b| b.is_ascii_digit()).then_some((seconds, more) > (epoch, false))
}

/// A record with its length, which counts itself.
fn written(record: &[u8]) -> Vec<u8> {
    let rest = record.len() + 2;
    let length = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap_or(1);
    [format!("{} ", rest + length).as_bytes(), record, b"\n"].concat()
}

/// `DIR/PaxHeaders.123/NAME` becomes `DIR/PaxHeaders/NAME`, as newer versions of GNU tar write it.
fn without_process(name: &mut [u8]) {
    const PAX: &[u8] = b"PaxHeaders";
    let Some(at) = name.windows(PAX.len()).position(|w| w == PAX) else { return };
    let from = at + PAX.len();
    let digits = name[from..].iter().skip(1).take_while(|b| b.is_ascii_digit()).count();
    if name.get(from) == Some(&b'.') && digits > 0 && name.get(from + 1 + digits) == Some(&b'/') {
        name.copy_within(from + 1 + digits.., from);
        let len = name.len();
        name[len - 1 - digits..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: i64 = 1_600_000_000;

    fn header(name: &str, kind: u8, size: usize, mtime: i64) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[SIZE].copy_from_slice(&octal(size as i64));
        header[MTIME].copy_from_slice(&octal(mtime));
        header[TYPE] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum = format!("{:06o}\0 ", sum(&header));
        header[SUM].copy_from_slice(sum.as_bytes());
        header
    }

    fn add(out: &mut Vec<u8>, name: &str, kind: u8, content: &[u8], mtime: i64) {
        out.extend(header(name, kind, content.len(), mtime));
        out.extend(content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }

    /// An archive whose times are `late` seconds after the epoch.
    fn archive(late: i64, process: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let time = EPOCH + late;
        let records = [
            written(format!("atime={time}.5").as_bytes()),
            written(b"path=a long name"),
            written(format!("mtime={time}.123456789").as_bytes()),
        ];
        add(&mut out, &format!("./PaxHeaders{process}/f"), b'x', &records.concat(), time);
        add(&mut out, "f", b'0', b"content", time);
        add(&mut out, "dir/", b'5', b"", time);
        add(&mut out, "old", b'0', &[7; 600], 5);
        out.resize(out.len() + 2 * BLOCK, 0);
        out
    }

    #[test]
    fn times_and_process_numbers_do_not_matter() {
        let out = canonical(&archive(9, ".4711"), EPOCH).unwrap().unwrap();
        assert_eq!(canonical(&out, EPOCH), Ok(None));
        assert_eq!(canonical(&archive(77, ".2"), EPOCH), Ok(Some(out.clone())));
        assert_eq!(canonical(&archive(0, ""), EPOCH).unwrap().unwrap(), out, "a fraction is later");
        let (members, _) = parse(&out).unwrap();
        let times: Vec<_> = members.iter().map(Member::mtime).collect();
        assert_eq!(times, [EPOCH, EPOCH, EPOCH, 5]);
        let records = [written(b"path=a long name"), written(b"mtime=1600000000")].concat();
        assert_eq!(members[0].content, records);
        assert_eq!(members[0].name(), b"./PaxHeaders/f");
    }

    #[test]
    fn a_header_of_times_only_goes() {
        let mut bytes = Vec::new();
        add(&mut bytes, "./PaxHeaders/f", b'x', &written(b"atime=5"), 5);
        let mut want = Vec::new();
        for out in [&mut bytes, &mut want] {
            add(out, "f", b'0', b"", 5);
            out.resize(out.len() + 2 * BLOCK, 0);
        }
        assert_eq!(canonical(&bytes, EPOCH), Ok(Some(want)));
    }

    #[test]
    fn numbers_of_both_kinds() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xFF; 12]), Some(-1));
        assert_eq!(number(b"00006x4\0"), None);
        assert_eq!(written(&[b'x'; 96]).len(), 101, "the length counts itself");
    }

    proptest! {
        #[test]
        fn what_is_cut_is_refused_and_nothing_panics(
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let bytes = archive(9, ".1");
            prop_assert!(canonical(&bytes[..cut.index(bytes.len())], EPOCH).is_err());
            let mut damaged = bytes;
            for (at, byte) in noise {
                let at = at.index(damaged.len());
                damaged[at] = byte;
            }
            if let Ok(Some(out)) = canonical(&damaged, EPOCH) {
                prop_assert_eq!(canonical(&out, EPOCH), Ok(None));
            }
        }
    }
}
