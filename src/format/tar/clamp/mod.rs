//! Tar archives that are files of a tree: their headers' times, POSIX extension headers, and the
//! order of their members.
//!
//! Follows POSIX.1-2017 "pax" and the GNU tar manual. Content is skipped, never unpacked; a number
//! in a header is octal or GNU's base 256.

mod items;
mod member;

pub(crate) use items::{Item, items};
pub(crate) use member::{Member, is_tar, parse};

use super::BLOCK;
use crate::format::Malformed;
use items::sorted;
use member::sum;

const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const SUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAGIC: std::ops::Range<usize> = 257..263;
const PREFIX: std::ops::Range<usize> = 345..500;
/// Offsets of the flag that another block follows, in an old GNU sparse header and in each block of
/// its map.
const SPARSE_MORE: [usize; 2] = [482, 504];

/// A header with a new checksum.
fn summed(mut header: Vec<u8>) -> Vec<u8> {
    let sum = format!("{:06o}\0 ", sum(&header));
    header[SUM].copy_from_slice(sum.as_bytes());
    header
}

/// The records of an extension header as far as they can be read: whole, key and value.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (&'a [u8], &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let space = self.0.iter().position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&self.0[..space]).ok()?.parse().ok()?;
        let record = self.0.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        let whole = &self.0[..length];
        self.0 = &self.0[length..];
        Some((whole, &record[..equals], &record[equals + 1..]))
    }
}

/// The archive with no time after `epoch`, in seconds since 1970, and with its members sorted by
/// name if possible; `None` if it needs no change.
///
/// In extension headers, the times of access and change are removed, that of modification is
/// clamped, and the process number in GNU tar's name for them is removed.
///
/// # Errors
/// Those of [`parse`], and for malformed extension records.
pub(crate) fn canonical(bytes: &[u8], epoch: i64) -> Result<Option<Vec<u8>>, Malformed> {
    let (members, end) = parse(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    for member in &members {
        let extension = matches!(member.kind(), b'x' | b'g');
        let mut header = member.header.to_vec();
        let mut content = member.whole[BLOCK..].to_vec();
        if extension {
            let records = records(member.content, epoch).ok_or_else(|| {
                Malformed::at(member.offset + BLOCK, "extension records are malformed")
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
        let same = header == member.header;
        out.extend(if same { header } else { summed(header) });
        out.extend(content);
    }
    out.extend(&bytes[end..]);
    let out = sorted(&out).unwrap_or(out);
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

/// Records of an extension header (`LENGTH KEY=VALUE\n`), in normal form: sorted, since a file
/// system lists attributes in its own order; `None` if they are malformed.
fn records(bytes: &[u8], epoch: i64) -> Option<Vec<u8>> {
    let mut out: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut records = Records(bytes);
    for (whole, key, value) in records.by_ref() {
        match (key, value) {
            (b"atime" | b"ctime", value) if !value.is_empty() => {}
            (b"mtime", value) if !value.is_empty() && is_after(value, epoch)? => {
                out.push((key, written(format!("mtime={epoch}").as_bytes())));
            }
            _ => out.push((key, whole.to_vec())),
        }
    }
    // Of two records with the same key the later one counts, so their order stays.
    out.sort_by_key(|(key, _)| *key);
    records.0.is_empty().then(|| out.into_iter().flat_map(|(_, record)| record).collect())
}

/// Whether a decimal time is after `epoch`; `None` if it is not a time.
fn is_after(value: &[u8], epoch: i64) -> Option<bool> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let more = fraction.bytes().any(|b| b != b'0') && !whole.starts_with('-');
    fraction.bytes().all(|b| b.is_ascii_digit()).then_some((seconds, more) > (epoch, false))
}

/// A record with its length, which includes itself.
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

    use super::member::number;
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
        let records = [written(b"mtime=1600000000"), written(b"path=a long name")].concat();
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
