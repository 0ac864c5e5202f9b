//! Tar archives made byte by byte, in every format that writers have: v7, ustar, GNU, PAX.

const BLOCK: usize = 512;

/// A member's header as it is to be written.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    Gnu,
}

impl Header {
    pub(crate) fn new(name: &[u8], flag: u8, size: u64) -> Self {
        Header {
            name: name.to_vec(),
            flag,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            mtime: 1000,
            link: Vec::new(),
            device: (0, 0),
            format: Format::Ustar,
        }
    }

    /// The block; names are cut where they do not fit.
    pub(crate) fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let (prefix, name) = self.split();
        text(&mut block[..100], name);
        octal(&mut block[100..108], self.mode.into());
        self.number(&mut block[108..116], self.uid);
        self.number(&mut block[116..124], self.gid);
        self.number(&mut block[124..136], self.size);
        match u64::try_from(self.mtime) {
            Ok(time) => self.number(&mut block[136..148], time),
            Err(_) => base_256(&mut block[136..148], i128::from(self.mtime)),
        }
        block[156] = self.flag;
        text(&mut block[157..257], &self.link);
        match self.format {
            Format::V7 => {}
            Format::Ustar => block[257..265].copy_from_slice(b"ustar\x0000"),
            // Without times of access and change, which Python's reader takes for a prefix.
            Format::Gnu => block[257..265].copy_from_slice(b"ustar  \0"),
        }
        if self.format != Format::V7 {
            octal(&mut block[329..337], self.device.0.into());
            octal(&mut block[337..345], self.device.1.into());
        }
        if self.format == Format::Ustar {
            text(&mut block[345..500], prefix);
        }
        seal(&mut block);
        block
    }

    fn split(&self) -> (&[u8], &[u8]) {
        if self.format != Format::Ustar || self.name.len() <= 100 {
            return (b"", &self.name);
        }
        let fits = |at: &usize| *at <= 155 && self.name.len() - at <= 101 && self.name[*at] == b'/';
        match (1..self.name.len()).rev().find(fits) {
            Some(at) => (&self.name[..at], &self.name[at + 1..]),
            None => (b"", &self.name),
        }
    }

    fn number(&self, field: &mut [u8], value: u64) {
        match self.format {
            Format::Gnu if value >= 1 << (3 * (field.len() - 1)) => base_256(field, value.into()),
            _ => octal(field, value),
        }
    }
}

pub(crate) fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn text(field: &mut [u8], text: &[u8]) {
    let cut = text.len().min(field.len());
    field[..cut].copy_from_slice(&text[..cut]);
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let value = value & ((1 << (3 * digits)) - 1);
    field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
}

fn base_256(field: &mut [u8], value: i128) {
    let bytes = value.to_be_bytes();
    let from = bytes.len() - field.len();
    field.copy_from_slice(&bytes[from..]);
    field[0] |= 0x80;
}

/// Bytes filled up to whole blocks.
pub(crate) fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// A PAX header of these records: `x` for one member, `g` for all that follow.
pub(crate) fn pax(flag: u8, records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = [b" ", *key, b"=", value, b"\n"].concat();
        let mut length = rest.len();
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        body.extend(length.to_string().bytes().chain(rest));
    }
    let name: &[u8] = if flag == b'g' { b"pax_global_header" } else { b"PaxHeaders.123/x" };
    let header = Header::new(name, flag, body.len() as u64);
    [&header.block()[..], &padded(&body)].concat()
}

/// A long name or a long target, as GNU tar writes it.
pub(crate) fn gnu_long(flag: u8, name: &[u8]) -> Vec<u8> {
    let body = [name, b"\0"].concat();
    let mut header = Header::new(b"././@LongLink", flag, body.len() as u64);
    header.format = Format::Gnu;
    [&header.block()[..], &padded(&body)].concat()
}

/// A file of 8192 bytes of which only the last 512 are stored, in the old GNU format.
pub(crate) fn gnu_sparse(name: &[u8], byte: u8) -> Vec<u8> {
    let mut header = Header::new(name, b'S', 512);
    header.format = Format::Gnu;
    let mut block = header.block();
    octal(&mut block[386..398], 7680);
    octal(&mut block[398..410], 512);
    octal(&mut block[483..495], 8192);
    seal(&mut block);
    [&block[..], &[byte; 512]].concat()
}

/// The same in the format that GNU tar writes into PAX archives (1.0).
pub(crate) fn pax_sparse(name: &[u8], byte: u8) -> Vec<u8> {
    let records: [(&[u8], &[u8]); 4] = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"8192"),
    ];
    let map = padded(b"1\n7680\n512\n");
    let header = Header::new(b"GNUSparseFile.0/x", b'0', map.len() as u64 + 512);
    [pax(b'x', &records), header.block().to_vec(), map, vec![byte; 512]].concat()
}

/// Numbers by chance, or from a fuzzer.
pub(crate) trait Dice {
    /// A number below `below`.
    fn roll(&mut self, below: usize) -> usize;
}

/// An archive of members of every kind, in which each name is there once.
pub(crate) fn any_archive(dice: &mut impl Dice) -> Vec<u8> {
    let long = |letter: &str, times| letter.repeat(times);
    let mut names: Vec<Vec<u8>> = [
        "d/a".to_owned(),
        "d/b".to_owned(),
        "d/e/c".to_owned(),
        "top".to_owned(),
        "d/\u{e9}\u{65e5}".to_owned(),
        format!("d/{}", long("n", 120)),
        format!("{}/{}", long("p", 90), long("q", 90)),
        format!("d/{}/{}/{}", long("r", 100), long("s", 100), long("t", 100)),
        ".wh.gone".to_owned(),
        "d/.wh.gone".to_owned(),
        "z/.wh..wh..opq".to_owned(),
    ]
    .map(String::into_bytes)
    .into();
    let mut dirs: Vec<&[u8]> = vec![b"d", b"d/e", b"z", b"."];
    let mut out = Vec::new();
    let mut files: Vec<(Vec<u8>, Header)> = Vec::new();
    for _ in 0..3 + dice.roll(10) {
        if dice.roll(8) == 0 {
            let records = records(dice, true);
            let borrowed: Vec<(&[u8], &[u8])> = records.iter().map(|(k, v)| (&**k, &**v)).collect();
            out.extend(pax(b'g', &borrowed));
        }
        if dice.roll(4) == 0 && !dirs.is_empty() {
            let mut name = dirs.remove(dice.roll(dirs.len())).to_vec();
            if dice.roll(2) == 0 {
                name.push(b'/');
            }
            out.extend(member(dice, &name, b'5', &[], &[]));
            continue;
        }
        if names.is_empty() {
            break;
        }
        let name = names.remove(dice.roll(names.len()));
        let byte = u8::try_from(dice.roll(256)).unwrap_or_default();
        if name.windows(4).any(|w| w == b".wh.") {
            out.extend(member(dice, &name, b'0', &[], &[]));
            continue;
        }
        match dice.roll(20) {
            0 => out.extend(member(dice, &name, b'2', b"../target", &[])),
            1 => out.extend(member(dice, &name, b'6', &[], &[])),
            2 => out.extend(member(dice, &name, b'3', &[], &[])),
            3 | 4 if !files.is_empty() => {
                // Writers give a link what its file has; readers do not agree on anything else.
                let (target, of) = files[dice.roll(files.len())].clone();
                let header = Header { name: name.clone(), flag: b'1', size: 0, link: target, ..of };
                out.extend(written(dice, &header, Vec::new(), &[]));
            }
            5 if name.len() <= 100 => {
                out.extend(gnu_sparse(&name, byte));
            }
            6 if name.len() <= 100 => {
                out.extend(pax_sparse(&name, byte));
            }
            kind => {
                let flag = if kind == 7 { 0 } else { b'0' };
                let content = vec![byte; dice.roll(1500)];
                if dice.roll(3) == 0 {
                    let header = chosen(dice, &name, flag, &[], &content);
                    out.extend(written(dice, &header, Vec::new(), &content));
                    files.push((name, header));
                } else {
                    out.extend(member(dice, &name, flag, &[], &content));
                }
            }
        }
    }
    out.extend([0; 2 * BLOCK]);
    if dice.roll(2) == 0 {
        out.resize(out.len().next_multiple_of(20 * BLOCK), 0);
    }
    out
}

/// Records that a PAX header may have.
fn records(dice: &mut impl Dice, global: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let number = |dice: &mut dyn FnMut(usize) -> usize| dice(100_000).to_string().into_bytes();
    let mut roll = |below| dice.roll(below);
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, value: Vec<u8>| all.push((key.into(), value));
    if roll(3) == 0 {
        add("uid", number(&mut roll));
    }
    if roll(3) == 0 {
        add("gid", number(&mut roll));
    }
    if roll(3) == 0 {
        let fraction = ["", ".5", ".25", ".000000001"][roll(4)];
        add("mtime", format!("{}{fraction}", roll(3000)).into_bytes());
    }
    if roll(4) == 0 {
        add("comment", b"a comment".to_vec());
    }
    if roll(4) == 0 {
        add("uname", "n\u{e9}".into());
    }
    if roll(4) == 0 {
        add("SCHILY.xattr.user.x", vec![b'v'; roll(9)]);
    }
    if !global {
        if roll(3) == 0 {
            add("ctime", b"999999.5".to_vec());
        }
        if roll(3) == 0 {
            add("atime", b"999999".to_vec());
        }
        if roll(6) == 0 {
            add("VENDOR.key", b"a\nb=c".to_vec());
        }
    }
    all
}

/// A member with whatever headers its name, its target and chance want.
fn member(dice: &mut impl Dice, name: &[u8], flag: u8, link: &[u8], content: &[u8]) -> Vec<u8> {
    let header = chosen(dice, name, flag, link, content);
    let local = if dice.roll(2) == 0 { records(dice, false) } else { Vec::new() };
    written(dice, &header, local, content)
}

/// A header by chance.
fn chosen(dice: &mut impl Dice, name: &[u8], flag: u8, link: &[u8], content: &[u8]) -> Header {
    let mut header = Header::new(name, flag, content.len() as u64);
    header.link = link.to_vec();
    header.mode = [0o644, 0o755, 0o4755, 0o600, 0o2711, 0o1777, 0][dice.roll(7)];
    header.mtime = [0, 500, 1000, 1001, 2_000_000_000, -5][dice.roll(6)];
    header.uid = [0, 1, 1000, 70_000][dice.roll(4)];
    header.gid = [0, 5, 1000, 3_000_000][dice.roll(4)];
    if flag == b'3' {
        header.device = (1, 3);
    }
    header
}

/// A member in a format by chance, with the extension headers that its names need.
fn written(
    dice: &mut impl Dice,
    header: &Header,
    mut local: Vec<(Vec<u8>, Vec<u8>)>,
    content: &[u8],
) -> Vec<u8> {
    let mut header = header.clone();
    let devices = header.flag == b'3' || header.flag == b'6';
    header.format = match dice.roll(3) {
        // What only GNU's numbers hold.
        _ if header.mtime < 0 || header.gid > 1 << 21 => Format::Gnu,
        0 if !devices => Format::V7,
        1 => Format::Gnu,
        _ => Format::Ustar,
    };
    let mut out = Vec::new();
    let long = |text: &[u8]| text.len() > 100;
    if long(&header.name) && header.split().0.is_empty() {
        match header.format {
            Format::Gnu => out.extend(gnu_long(b'L', &header.name)),
            _ => local.push((b"path".to_vec(), header.name.clone())),
        }
    }
    if long(&header.link) {
        match header.format {
            Format::Gnu => out.extend(gnu_long(b'K', &header.link)),
            _ => local.push((b"linkpath".to_vec(), header.link.clone())),
        }
    }
    if !local.is_empty() {
        let borrowed: Vec<(&[u8], &[u8])> = local.iter().map(|(k, v)| (&**k, &**v)).collect();
        out.extend(pax(b'x', &borrowed));
    }
    out.extend(header.block());
    out.extend(padded(content));
    out
}
