//! Tar archives that are files of a tree: their headers' times, POSIX extension headers, and the
//! order of their members.
//!
//! Follows POSIX.1-2017 "pax" and the GNU tar manual. Content is passed over, never unpacked; a
//! number in a header is octal or GNU's base 256.

use std::collections::BTreeMap;

use super::BLOCK;
use crate::format::Malformed;

const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const SUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAGIC: std::ops::Range<usize> = 257..263;
const PREFIX: std::ops::Range<usize> = 345..500;
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

    /// The header without its times, checksum and name: mode, owner, size, link, device. Of a name of
    /// a hard-link group, whatever name holds the content, without type, size and link too.
    pub fn rest(&self, linked: bool) -> Vec<u8> {
        let mut rest = self.header.to_vec();
        let of_link = [SIZE, TYPE..TYPE + 1, LINK];
        let apart = if linked { &of_link[..] } else { &[] };
        for field in [NAME, MTIME, SUM, PREFIX].iter().chain(apart) {
            rest[field.clone()].fill(0);
        }
        rest
    }

    fn text(&self, field: std::ops::Range<usize>) -> &[u8] {
        self.header[field].split(|b| *b == 0).next().unwrap_or_default()
    }
}

/// A member with the extension headers before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its whole name.
    pub name: Vec<u8>,
    /// Its header and content.
    pub member: Member<'a>,
    /// The extension headers that are its own.
    pub extensions: Vec<Member<'a>>,
    /// Of a hard link, the name that it leads to.
    pub link: Option<Vec<u8>>,
    /// The first name of its hard-link group, if it is in one.
    pub group: Option<Vec<u8>>,
}

impl<'a> Item<'a> {
    fn new(member: Member<'a>, extensions: Vec<Member<'a>>) -> Self {
        let old = |kind| {
            let found = extensions.iter().find(|e| e.kind() == kind)?;
            Some(found.content.split(|b| *b == 0).next().unwrap_or_default().to_vec())
        };
        let record = |key: &[u8]| {
            let pax = extensions.iter().find(|e| e.kind() == b'x')?;
            let mut records = Records(pax.content);
            let found = records.find_map(|(_, k, v)| (k == key).then(|| v.to_vec()));
            found.filter(|value| !value.is_empty())
        };
        let plain = || match (&member.header[MAGIC], member.text(PREFIX)) {
            (b"ustar\0", prefix @ [_, ..]) => [prefix, b"/", member.name()].concat(),
            _ => member.name().to_vec(),
        };
        let name = record(b"path").or_else(|| old(b'L')).unwrap_or_else(plain);
        let target = || member.text(LINK).to_vec();
        let link = (member.kind() == b'1')
            .then(|| record(b"linkpath").or_else(|| old(b'K')).unwrap_or_else(target));
        Item { name, member, extensions, link, group: None }
    }

    /// Whether name and link are in the header alone, so that they may be others of 100 bytes.
    fn is_plain(&self) -> bool {
        let named = |e: &Member<'_>| {
            let mut records = Records(e.content);
            matches!(e.kind(), b'L' | b'K')
                || records.any(|(_, key, _)| matches!(key, b"path" | b"linkpath"))
        };
        self.member.name() == self.name && !self.extensions.iter().any(named)
    }

    fn whole(&self) -> Vec<u8> {
        let parts = self.extensions.iter().chain([&self.member]);
        parts.flat_map(|member| member.whole.iter().copied()).collect()
    }

    /// This item with another name, and a link to `link` if it is one.
    fn renamed(&self, name: &[u8], link: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for extension in &self.extensions {
            let mut header = extension.header.to_vec();
            let base =
                |name: &[u8]| name.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
            // GNU tar calls it DIR/PaxHeaders/NAME.
            if let Some(dir) = extension.name().strip_suffix(&base(&self.name)[..]) {
                set(&mut header, NAME, &[dir, &base(name)].concat());
            }
            out.extend(summed(header));
            out.extend(&extension.whole[BLOCK..]);
        }
        let mut header = self.member.header.to_vec();
        set(&mut header, NAME, name);
        if self.link.is_some() {
            set(&mut header, LINK, link);
        }
        out.extend(summed(header));
        out.extend(&self.member.whole[BLOCK..]);
        out
    }
}

/// Puts text into a field of a header, cut to its size.
fn set(header: &mut [u8], field: std::ops::Range<usize>, text: &[u8]) {
    let text = &text[..text.len().min(field.len())];
    header[field.clone()].fill(0);
    header[field.start..field.start + text.len()].copy_from_slice(text);
}

/// A header with its checksum made anew.
fn summed(mut header: Vec<u8>) -> Vec<u8> {
    let sum = format!("{:06o}\0 ", sum(&header));
    header[SUM].copy_from_slice(sum.as_bytes());
    header
}

/// Members with their extension headers, in the order of the archive, and the hard-link groups
/// worked out. What is said of all members (`g`) and of the volume stands for itself.
pub fn items<'a>(members: &[Member<'a>]) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'a>> = Vec::new();
    let mut extensions = Vec::new();
    for member in members {
        match member.kind() {
            b'x' | b'L' | b'K' => extensions.push(member.clone()),
            _ => items.push(Item::new(member.clone(), std::mem::take(&mut extensions))),
        }
    }
    let mut groups: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for item in &items {
        if let Some(target) = &item.link {
            let first = groups.entry(target.clone()).or_insert_with(|| target.clone());
            if item.name < *first {
                first.clone_from(&item.name);
            }
        }
    }
    for item in &mut items {
        item.group = groups.get(item.link.as_ref().unwrap_or(&item.name)).cloned();
    }
    items
}

/// The archive with its members by name, each hard-link group held by its first name; `None` where
/// the archive does not allow it: two members have one name, headers are for all that follows, or
/// a name that would have to change is not in its header alone.
fn sorted(bytes: &[u8]) -> Option<Vec<u8>> {
    let (members, end) = parse(bytes).ok()?;
    let first = members.iter().take_while(|m| m.kind() == b'g').count();
    let known = |m: &Member<'_>| matches!(m.kind(), 0 | b'0'..=b'7' | b'S' | b'x' | b'L' | b'K');
    let last = members.last().is_some_and(|m| matches!(m.kind(), b'x' | b'L' | b'K'));
    if last || !members[first..].iter().all(known) {
        return None;
    }
    let items = items(&members[first..]);
    let by_name: BTreeMap<&[u8], &Item<'_>> = items.iter().map(|i| (&i.name[..], i)).collect();
    if by_name.len() < items.len() {
        return None;
    }
    let mut out: Vec<u8> = members[..first].iter().flat_map(|m| m.whole.to_vec()).collect();
    for (name, item) in &by_name {
        match &item.group {
            None => out.extend(item.whole()),
            Some(first) => out.extend(regrouped(name, item, first, &by_name)?),
        }
    }
    out.extend(&bytes[end..]);
    Some(out)
}

/// What stands at `name` where `first` holds the content of its group.
fn regrouped(
    name: &[u8],
    item: &Item<'_>,
    first: &[u8],
    all: &BTreeMap<&[u8], &Item<'_>>,
) -> Option<Vec<u8>> {
    let holder = all.get(item.link.as_deref().unwrap_or(name));
    let Some(holder) = holder.filter(|holder| holder.link.is_none()) else {
        // The content is not in this archive.
        return item.link.is_some().then(|| item.whole());
    };
    let leader = all.get(first)?;
    if holder.name == first {
        return Some(item.whole());
    }
    let fits = |item: &Item<'_>| item.is_plain() && item.name.len() <= NAME.len();
    if ![holder, leader, &item].into_iter().all(|item| fits(item)) {
        return None;
    }
    Some(match name == first {
        true => holder.renamed(first, b""),
        // The name that held the content becomes a link as the first name was one.
        false if item.link.is_none() => leader.renamed(name, first),
        false => item.renamed(name, first),
    })
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

/// The archive with no time after `epoch`, in seconds since 1970, and with its members by name where
/// it allows that; `None` if it is so already.
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
/// system lists attributes in an order of its own; `None` if they are none.
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
    // Of two for one key the later counts, so their order stays.
    out.sort_by_key(|(key, _)| *key);
    records.0.is_empty().then(|| out.into_iter().flat_map(|(_, record)| record).collect())
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
