//! A deterministic writer of tar archives.
//!
//! It writes POSIX ustar headers, and a PAX header with sorted records only for what ustar cannot
//! represent. Directories end in a slash. The archive ends in two zero blocks, without further
//! padding.

use std::io::{self, Read, Write};

use super::{BLOCK, Member, Records, Type, bad};

/// Writes members to `inner`.
pub struct Writer<W> {
    inner: W,
}

impl<W: Write> Writer<W> {
    /// Starts an empty archive.
    pub fn new(inner: W) -> Self {
        Writer { inner }
    }

    /// Appends `member` and its content, which must have [`Member::size`] bytes.
    pub fn append(&mut self, member: &Member, content: impl Read) -> io::Result<()> {
        self.inner.write_all(&header(member)?)?;
        let copied = io::copy(&mut content.take(member.size), &mut self.inner)?;
        if copied != member.size {
            return Err(bad(member.data, "content is shorter than its header says"));
        }
        let padding = copied.next_multiple_of(BLOCK as u64) - copied;
        self.inner.write_all(&[0; BLOCK][..padding as usize])
    }

    /// Ends the archive and returns the underlying writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }
}

/// The header blocks of `member`.
///
/// # Errors
///
/// For sparse files, which cannot be written faithfully.
pub fn header(member: &Member) -> io::Result<Vec<u8>> {
    if member.sparse {
        let path = String::from_utf8_lossy(&member.path);
        let what = format!("{path:?} is a sparse member; archive it without --sparse");
        return Err(bad(member.data, what));
    }
    let mut name = member.path.to_vec();
    if name.is_empty() {
        name = b".".to_vec();
    }
    if member.kind == Type::Dir {
        name.push(b'/');
    }
    let mut records = member.records.clone();
    for (key, value) in &member.xattrs {
        records.insert([b"SCHILY.xattr.", &key[..]].concat(), value.clone());
    }
    let (prefix, base) = match split(&name) {
        Some(parts) => parts,
        None => {
            records.insert(b"path".to_vec(), name.clone());
            (Vec::new(), cut(&name, 100))
        }
    };
    if !plain(&member.link, 100) {
        records.insert(b"linkpath".to_vec(), member.link.clone());
    }
    for (key, value) in [("uname", &member.uname), ("gname", &member.gname)] {
        if !plain(value, 31) {
            records.insert(key.into(), value.clone());
        }
    }
    let (sec, nsec) = (member.mtime.sec, member.mtime.nsec);
    if nsec != 0 || !(0..1 << 33).contains(&sec) {
        records.insert(b"mtime".to_vec(), time(sec, nsec).into_bytes());
    }
    for (key, value, most) in
        [("uid", member.uid, 1 << 21), ("gid", member.gid, 1 << 21), ("size", member.size, 1 << 33)]
    {
        if value >= most {
            records.insert(key.into(), value.to_string().into_bytes());
        }
    }
    let mut out = Vec::new();
    if !records.is_empty() {
        extension(&mut out, &name, &records);
    }
    out.extend(block(member, &prefix, &base));
    Ok(out)
}

/// A whole PAX header: its own header block, its records, padding.
fn extension(out: &mut Vec<u8>, name: &[u8], records: &Records) {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    let base = name.strip_suffix(b"/").unwrap_or(name);
    let base = base.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let mut block = [0; BLOCK];
    let name = cut(&[b"PaxHeaders.0/", base].concat(), 100);
    block[..name.len()].copy_from_slice(&name);
    fields(&mut block, &[(100, 8, 0o644), (108, 8, 0), (116, 8, 0), (136, 12, 0)]);
    fields(&mut block, &[(124, 12, body.len() as u64)]);
    block[156] = b'x';
    seal(&mut block);
    out.extend(block);
    out.extend(&body);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn block(member: &Member, prefix: &[u8], base: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut text = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    text(0, base);
    text(345, prefix);
    text(157, &cut(&member.link, 100));
    text(265, &cut(&member.uname, 31));
    text(297, &cut(&member.gname, 31));
    let fits = |value: u64, most: u64| if value < most { value } else { 0 };
    let mtime = u64::try_from(member.mtime.sec).map_or(0, |sec| fits(sec, 1 << 33));
    fields(
        &mut block,
        &[
            (100, 8, u64::from(member.mode)),
            (108, 8, fits(member.uid, 1 << 21)),
            (116, 8, fits(member.gid, 1 << 21)),
            (124, 12, fits(member.size, 1 << 33)),
            (136, 12, mtime),
        ],
    );
    if matches!(member.kind, Type::Char | Type::Block) {
        let (major, minor) = member.device;
        fields(&mut block, &[(329, 8, u64::from(major)), (337, 8, u64::from(minor))]);
    }
    block[156] = match member.kind {
        Type::File => b'0',
        Type::Hardlink => b'1',
        Type::Symlink => b'2',
        Type::Char => b'3',
        Type::Block => b'4',
        Type::Dir => b'5',
        Type::Fifo => b'6',
    };
    seal(&mut block);
    block
}

/// Octal fields: (offset, width with the closing NUL, value).
fn fields(block: &mut [u8; BLOCK], fields: &[(usize, usize, u64)]) {
    for &(at, width, value) in fields {
        let text = format!("{value:0digits$o}\0", digits = width - 1);
        block[at..at + width].copy_from_slice(text.as_bytes());
    }
}

/// Magic and checksum.
pub(super) fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// `LEN KEY=VALUE\n`, where LEN includes its own digits.
pub(super) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// ustar's prefix and name, split at the last possible slash; `None` if there is none.
fn split(name: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some((Vec::new(), name.to_vec()));
    }
    let fits = |&at: &usize| name[at] == b'/' && at <= 155 && name.len() - at - 1 <= 100;
    let at = (1..name.len() - 1).rev().find(fits)?;
    Some((name[..at].to_vec(), name[at + 1..].to_vec()))
}

fn plain(text: &[u8], most: usize) -> bool {
    text.is_ascii() && text.len() <= most
}

/// The part of a name for a header field of `most` bytes, if a PAX record has the whole name.
fn cut(text: &[u8], most: usize) -> Vec<u8> {
    text.iter().copied().filter(u8::is_ascii).take(most).collect()
}

fn time(sec: i64, nsec: u32) -> String {
    let (sign, sec, nsec) = match (sec, nsec) {
        (s, 0) => (if s < 0 { "-" } else { "" }, s.unsigned_abs(), 0),
        (s, n) if s < 0 => ("-", (s + 1).unsigned_abs(), 1_000_000_000 - n),
        (s, n) => ("", s.unsigned_abs(), n),
    };
    let fraction = format!(".{nsec:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}{sec}{fraction}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::format::tar::Reader;
    use crate::tree::Time;

    fn kinds() -> impl Strategy<Value = Type> {
        use Type::*;
        prop::sample::select(vec![File, Hardlink, Symlink, Char, Block, Dir, Fifo])
    }

    prop_compose! {
        fn member()(
            kind in kinds(),
            path in "([a-zé]{1,120}/){0,3}[a-zü]{1,130}",
            link in "[a-zé]{1,120}",
            mode in 0u32..0o10000,
            (uid, gid) in (any::<u32>(), any::<u32>()),
            content in prop::collection::vec(any::<u8>(), 0..1500),
            (sec, nsec) in (-5_000_000_000i64..20_000_000_000, prop_oneof![Just(0), 0u32..1_000_000_000]),
            name in "[a-zé]{0,40}",
            value in prop::collection::vec(any::<u8>(), 0..20),
        ) -> (Member, Vec<u8>) {
            let content = if kind == Type::File { content } else { Vec::new() };
            let links = matches!(kind, Type::Hardlink | Type::Symlink);
            let device = if matches!(kind, Type::Char | Type::Block) { (8, 1) } else { (0, 0) };
            let member = Member {
                path: Arc::from(path.as_bytes()), absolute: false, kind, mode,
                uid: uid.into(), gid: gid.into(), uname: name.clone().into(), gname: name.into(),
                size: content.len() as u64, mtime: Time { sec, nsec },
                link: if links { link.into() } else { Vec::new() }, device,
                xattrs: [(b"user.x".to_vec(), value)].into(), records: Records::new(),
                header: 0, data: 0, sparse: false,
            };
            (member, content)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(members in prop::collection::vec(member(), 0..5)) {
            let mut writer = Writer::new(Vec::new());
            for (member, content) in &members {
                writer.append(member, &content[..]).unwrap();
            }
            let archive = writer.finish().unwrap();
            let mut reader = Reader::new(&archive[..]);
            for (want, content) in &members {
                let got = reader.next_member().unwrap().unwrap();
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                prop_assert_eq!(&bytes, content);
                prop_assert_eq!(Member { header: 0, data: 0, ..got }, want.clone());
            }
            prop_assert!(reader.next_member().unwrap().is_none());
        }

        #[test]
        fn no_input_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = Reader::new(&bytes[..]);
            while let Ok(Some(_)) = reader.next_member() {}
        }
    }
}
