//! Generated boot images, unpacked as the kernel does it: its grammar and the end rules of its
//! readers, byte by byte and apart from the parser under test, over the model of its file system
//! that `tests/e2e/initramfs` holds to a real kernel. What `fix` leaves must unpack to the same tree.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use reprofix::env::SourceDateEpoch;
use reprofix::format::compress::{Bcj, Check, Packing, Source, detect};
use reprofix::format::cpio::{HEADER_LEN, Header, TRAILER, Writer};
use reprofix::format::initramfs::{Found, Rootfs};
use reprofix::plugins::{default_context, initramfs};
use sha2::{Digest, Sha256};

const EPOCH: u32 = 1_600_000_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// An entry of an archive, its name without prefix and slash.
struct Unpacked {
    name: Vec<u8>,
    header: Header,
    digest: [u8; 32],
}

/// What the kernel reads of a stream of plain archives: zeros and entries, each of which begins at a
/// multiple of four. A trailer ends an archive. Gives the bytes read.
fn entries(bytes: &[u8], archives: &mut Vec<Vec<Unpacked>>) -> Result<usize, &'static str> {
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        match first {
            0 => at += 1,
            b'0' if at % 4 == 0 => {
                let head = bytes.get(at..at + HEADER_LEN).ok_or("cut")?;
                let header =
                    Header::parse(head.first_chunk().unwrap(), 0).map_err(|_| "no magic")?;
                let name = at + HEADER_LEN..at + HEADER_LEN + header.name_len as usize;
                let data = name.end.next_multiple_of(4);
                let content = bytes.get(data..data + header.size as usize).ok_or("cut")?;
                let name = bytes[name].split(|b| *b == 0).next().unwrap();
                at = (data + content.len()).next_multiple_of(4);
                if name == TRAILER {
                    archives.push(Vec::new());
                    continue;
                }
                let regular = header.mode & 0o170_000 == 0o100_000;
                let sum = content.iter().fold(0_u32, |sum, b| sum.wrapping_add((*b).into()));
                if header.crc && regular && sum != header.check {
                    return Err("bad data checksum");
                }
                let name = name.strip_prefix(b"./").unwrap_or(name);
                let name = name.strip_suffix(b"/").unwrap_or(name).to_vec();
                let digest = Sha256::digest(content).into();
                archives.last_mut().unwrap().push(Unpacked { name, header, digest });
            }
            _ => break,
        }
    }
    Ok(at)
}

/// Where the kernel's reader of lz4 stops: at the end, before fewer than four bytes, or before a
/// length of zero.
fn lz4_end(bytes: &[u8]) -> Result<usize, &'static str> {
    let mut at = 4;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes(*length.first_chunk().unwrap()) as usize;
        match length {
            0 => break,
            0x184c_2102 => at += 4,
            _ if at + 4 + length <= bytes.len() && length <= 8_421_520 => at += 4 + length,
            _ => return Err("Decoding failed"),
        }
    }
    Ok(at)
}

/// The archives of an image, or what the kernel says of it.
fn archives(bytes: &[u8]) -> Result<Vec<Vec<Unpacked>>, &'static str> {
    let mut out = vec![Vec::new()];
    let mut at = 0;
    while let Some(first) = bytes.get(at) {
        let rest = &bytes[at..];
        if *first == 0 || *first == b'0' && at % 4 == 0 {
            // Plain archives count from the image's first byte.
            at += entries(rest, &mut out)?;
            continue;
        }
        let packing = detect(rest).ok_or("invalid magic at start of compressed archive")?;
        // Frames of lz4 that adjoin are one stream to the kernel.
        let end = match packing {
            Packing::Lz4 => return Err("compression method not known"),
            Packing::Lz4Legacy => lz4_end(rest)?,
            _ => 1,
        };
        let (mut source, mut content) = (Source::new(rest), Vec::new());
        while source.offset() < end as u64 {
            packing
                .decoder(&mut source)
                .unwrap()
                .read_to_end(&mut content)
                .map_err(|_| "corrupt")?;
        }
        if entries(&content, &mut out)? < content.len() {
            return Err("junk within compressed archive");
        }
        at += source.offset() as usize;
    }
    Ok(out)
}

/// The tree of an image with times at most the epoch.
fn tree<'a>(archives: &'a [Vec<Unpacked>]) -> Rootfs<'a> {
    Rootfs::of(archives.iter().map(|entries| {
        entries.iter().map(|e: &'a Unpacked| {
            let header = Header { mtime: e.header.mtime.min(EPOCH), ..e.header };
            Found { name: &e.name, header, digest: e.digest }
        })
    }))
}

const NAMES: [&str; 14] = [
    ".",
    "a",
    "a/b",
    "a/b/c",
    "a/d",
    "b",
    "b/a",
    "dev",
    "dev/x",
    "kernel",
    "kernel/firmware",
    "kernel/firmware/acpi",
    "kernel/firmware/acpi/b",
    "kernel/firmware/acpi/a",
];

/// Mode, owner, group, device and content.
type Inode<'a> = (u32, u32, u32, [u32; 2], &'a [u8]);

/// Directories are mostly directories, and mostly come first; the rest is anything.
fn archive(dice: &mut Dice, dracut: bool) -> Vec<u8> {
    let mut names = NAMES.map(|n| (n, dice.below(4))).to_vec();
    names.retain(|(_, keep)| *keep > 0);
    if dice.below(4) == 0 {
        names.sort_by_key(|(n, order)| (*order, *n));
    } else {
        names.sort_by_key(|(n, order)| (n.matches('/').count(), *order, *n));
    }
    if dracut {
        names.extend([("usr", 0), ("usr/lib", 0), ("usr/lib/dracut", 0)]);
    }
    let crc = dice.below(8) == 0;
    let mut writer = Writer::new(Vec::new(), 0);
    let mut inodes: BTreeMap<u32, Inode<'_>> = BTreeMap::new();
    for (name, _) in names {
        let parent = NAMES.iter().any(|n| n.starts_with(&format!("{name}/"))) || name == ".";
        let kind = match parent && dice.below(16) > 0 || dracut && name.starts_with("usr") {
            true => 0o040_000,
            false => dice
                .of(&[0o100_000, 0o100_000, 0o100_000, 0o120_000, 0o020_000, 0o010_000, 0o040_000]),
        };
        let content: &[u8] = match kind {
            0o100_000 => dice.of(&[&b""[..], b"x", b"the same", b"the same"]),
            0o120_000 => dice.of(&[&b"a"[..], b"nowhere"]),
            _ => b"",
        };
        let new = (
            kind | dice.of(&[0o644, 0o755]),
            dice.below(2) as u32,
            EPOCH - 1 + dice.below(4) as u32,
            [1, dice.below(3) as u32],
            content,
        );
        let number = dice.below(6) as u32 + 1;
        // Entries of one number are one inode, or dice make a second one of it.
        let same = inodes.get(&number).copied().filter(|old| (old.0 ^ new.0) & 0o170_000 == 0);
        let (mode, uid, mtime, rdev, content) = same.unwrap_or(new);
        inodes.insert(number, (mode, uid, mtime, rdev, content));
        let nlink = if same.is_some() || dice.below(2) == 0 { 2 } else { 1 };
        let regular = mode & 0o170_000 == 0o100_000;
        let sum = content.iter().map(|b| u32::from(*b)).sum();
        let header = Header {
            crc,
            ino: number,
            mode,
            uid,
            nlink,
            mtime,
            rdev,
            size: content.len() as u32,
            check: if crc && regular { sum } else { 0 },
            ..Header::default()
        };
        let slash = mode & 0o170_000 == 0o040_000 && name != "." && dice.below(4) == 0;
        let written = [name, if slash { "/" } else { "" }].concat();
        let prefix = if dice.below(4) == 0 && name != "." { "./" } else { "" };
        let written = [prefix, &written].concat();
        writer
            .entry(&header, written.as_bytes(), &mut &content[..], dice.of(&[4, 4, 4, 16]))
            .unwrap();
    }
    writer.finish(crc).unwrap().0
}

fn image(dice: &mut Dice) -> Vec<u8> {
    let packings = [
        Packing::Zstd(3),
        Packing::Xz(Check::Crc32, 1 << 20, Some(Bcj::X86)),
        Packing::Lzma(1 << 20),
        Packing::Gzip(9),
        Packing::Bzip2(9),
        Packing::Lz4Legacy,
        Packing::Lz4Legacy,
    ];
    let mut out = Vec::new();
    for _ in 0..=dice.below(3) {
        let dracut = dice.below(3) == 0;
        let content = archive(dice, dracut);
        if dice.below(3) == 0 {
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend(content);
            continue;
        }
        let packing = dice.of(&packings);
        packing.pack(&mut out, 1, &mut |w| w.write_all(&content)).unwrap();
        out.resize(out.len() + dice.of(&[0, 0, 1, 2, 3, 4, 5, 8, 512]), 0);
    }
    out
}

#[test]
fn what_the_kernel_unpacks_of_generated_images_stays() {
    let rounds: u64 = std::env::var("REPROFIX_IMAGES").map_or(1500, |n| n.parse().unwrap());
    let mut seen = BTreeMap::new();
    for seed in 1..=rounds {
        let bytes = image(&mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let what = match fixed(&bytes, seed) {
            Ok(()) => "rewritten",
            Err(why) => why,
        };
        *seen.entry(what).or_insert(0) += 1;
    }
    println!("{seen:?}");
    // Enough of each kind, or the test shows nothing.
    assert!(seen["rewritten"] > rounds / 4, "{seen:?}");
    assert!(seen["left alone"] > rounds / 50, "{seen:?}");
    assert!(seen["mended"] > 0, "{seen:?}");
}

/// Fixes one image and compares what the kernel unpacks; else why there is nothing to compare.
fn fixed(bytes: &[u8], seed: u64) -> Result<(), &'static str> {
    let cx = default_context(SourceDateEpoch::new(EPOCH));
    let form = |bytes: &[u8]| initramfs::form(Cursor::new(bytes.to_vec()), &cx);
    let Ok((canonical, outcome)) = form(bytes) else { return Err("left alone") };
    assert_eq!(outcome.inside, Vec::<Vec<u8>>::new());
    let after = canonical.map_or_else(|| bytes.to_vec(), |c| c.bytes().unwrap());
    assert!(!form(&after).unwrap().1.changed, "seed {seed}: not its own form");
    let new = archives(&after).unwrap_or_else(|why| panic!("seed {seed}: does not boot: {why}"));
    let model = initramfs::unpack(&mut Cursor::new(&after[..]), &cx).unwrap().image;
    let read = model.unpacked().unwrap();
    same(&tree(&new), &read, &format!("seed {seed}: read otherwise than the kernel does"));
    // What did not boot before may boot now.
    let Ok(old) = archives(bytes) else { return Err("mended") };
    same(&tree(&old), &tree(&new), &format!("seed {seed}"));
    Ok(())
}

fn same(before: &Rootfs<'_>, after: &Rootfs<'_>, what: &str) {
    let Some((name, why)) = before.difference(after) else { return };
    let [old, new] = [before, after].map(|root| {
        let found = root.tree().find(|(path, ..)| *path == name);
        found.map(|(path, inode, links)| format!("{} {inode:?} {links}", path.escape_ascii()))
    });
    panic!("{what}: {why}: {old:?} {new:?}");
}
