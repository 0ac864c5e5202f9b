//! The canonical form on small archives made here; real images are in `tests/it` and `tests/e2e`.

use std::io::Cursor;
use std::sync::Mutex;

use super::*;
use crate::format::compress::{Bcj, Check, Packing};
use crate::format::cpio::{self, Header};

const EPOCH: u32 = 1_600_000_000;

/// A name, and what of its header matters.
#[derive(Clone)]
struct Item {
    name: &'static str,
    mode: u32,
    ino: u32,
    nlink: u32,
    mtime: u32,
    content: &'static [u8],
}

fn file(name: &'static str, ino: u32, content: &'static [u8]) -> Item {
    Item { name, mode: 0o100_644, ino, nlink: 1, mtime: EPOCH + 7, content }
}

fn dir(name: &'static str, ino: u32) -> Item {
    Item { name, mode: 0o040_755, ino, nlink: 5, mtime: EPOCH + 9, content: b"" }
}

fn link(name: &'static str, ino: u32, content: &'static [u8]) -> Item {
    Item { nlink: 2, ..file(name, ino, content) }
}

fn archive(items: &[Item]) -> Vec<u8> {
    let mut writer = cpio::Writer::new(Vec::new(), 0);
    for Item { name, mode, ino, nlink, mtime, content } in items {
        let header = Header {
            mode: *mode,
            ino: *ino,
            nlink: *nlink,
            mtime: *mtime,
            size: content.len() as u32,
            dev: [8, 1],
            ..Header::default()
        };
        writer.entry(&header, name.as_bytes(), &mut &content[..], 4).unwrap();
    }
    writer.finish(false).unwrap().0
}

fn packed(packing: Packing, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    packing.pack(&mut out, 1, &mut |w| w.write_all(content)).unwrap();
    out
}

fn image(bytes: &[u8]) -> Result<Image, Error> {
    read(bytes, bytes.len() as u64, &mut Vec::new(), &Limits::default())
}

fn run_with(bytes: &[u8], rules: &Rules<'_>) -> Result<(Vec<u8>, Outcome), Error> {
    let mut spool = Cursor::new(Vec::new());
    let image = read(bytes, bytes.len() as u64, &mut spool, &Limits::default())?;
    let mut out = Vec::new();
    let outcome = canonical(&image, Cursor::new(bytes), &Mutex::new(spool), &mut out, rules, 1)?;
    let out = if outcome.changed { out } else { bytes.to_vec() };
    assert_eq!(outcome.len, out.len() as u64);
    Ok((out, outcome))
}

/// The canonical form, which must be its own.
fn run(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let rules = Rules {
        epoch: EPOCH,
        always_repack: false,
        compress: Compress::AsFound,
        earlier: &[],
        inside: &KeepMembers,
    };
    let (out, _) = run_with(bytes, &rules)?;
    let (again, outcome) = run_with(&out, &rules)?;
    assert!(!outcome.changed && again == out, "the canonical form is not its own");
    Ok(out)
}

fn names(bytes: &[u8]) -> Vec<String> {
    let image = image(bytes).unwrap();
    image.entries().map(|e| String::from_utf8(e.name.clone()).unwrap()).collect()
}

fn why(bytes: &[u8]) -> String {
    match run(bytes) {
        Ok(_) => "accepted".to_owned(),
        Err(Error::Malformed(what)) => what.to_string(),
        Err(Error::Io(e)) => panic!("{e}"),
    }
}

#[test]
fn order_inodes_links_and_times_do_not_matter() {
    let a = [dir(".", 1), dir("d", 2), file("d/f", 3, b"x"), file("d-e", 4, b"y")];
    let mut b = [file("d-e", 90, b"y"), dir(".", 7), dir("d", 12), file("d/f", 13, b"x")];
    b[0].mtime = EPOCH + 100;
    b[2].nlink = 1;
    let (a, b) = (archive(&a), archive(&b));
    assert_ne!(a, b);
    let out = run(&a).unwrap();
    assert_eq!(out, run(&b).unwrap());
    assert_eq!(names(&out), [".", "d", "d-e", "d/f"]);
    let image = image(&out).unwrap();
    assert!(image.entries().all(|e| e.header.mtime == EPOCH && e.header.dev == [0, 0]));
    assert_eq!(image.entries().map(|e| e.header.ino).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn old_times_stay() {
    let mut old = file("f", 1, b"x");
    old.mtime = 17;
    let out = run(&archive(&[old])).unwrap();
    assert_eq!(image(&out).unwrap().entries().next().unwrap().header.mtime, 17);
}

#[test]
fn hard_links_stay_with_their_content_on_the_last_name() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let items = [link("a", 5, b""), link("z", 5, b"body"), file("m", 6, b"body")];
        let out = run(&archive(&order.map(|n| items[n].clone()))).unwrap();
        let image = image(&out).unwrap();
        let got: Vec<_> =
            image.entries().map(|e| (e.header.ino, e.header.nlink, e.header.size)).collect();
        assert_eq!(got, [(1, 2, 0), (2, 1, 4), (1, 2, 4)], "a, m, z in order {order:?}");
    }
}

/// dracut's own library, which its images have.
const OWN: [Item; 3] = [
    Item { name: "usr", mode: 0o040_755, ino: 1, nlink: 2, mtime: 1, content: b"" },
    Item { name: "usr/lib", mode: 0o040_755, ino: 2, nlink: 2, mtime: 1, content: b"" },
    Item { name: "usr/lib/dracut", mode: 0o040_755, ino: 3, nlink: 2, mtime: 1, content: b"" },
];

fn links(bytes: &[u8]) -> bool {
    image(bytes).unwrap().entries().any(|e| e.kind() != DIRECTORY && e.header.nlink > 1)
}

/// dracut's race: equal files, linked if the second did not turn between them. Linked, an overlay's
/// change of one would change the other.
#[test]
fn the_hard_link_race_comes_out_one_way_in_an_image_of_dracut() {
    let (mut late_a, late_b) = (file("a", 5, b"same"), file("b", 6, b"same"));
    late_a.mtime = EPOCH + 6;
    let linked = archive(&[&OWN[..], &[link("a", 5, b""), link("b", 5, b"same")]].concat());
    let split = archive(&[&OWN[..], &[late_a, late_b]].concat());
    let out = run(&linked).unwrap();
    assert_eq!(out, run(&split).unwrap());
    assert!(!links(&out));

    // The library may be in another archive of the image: 3cpio packs what is compressed apart.
    let pair = [link("m/a.xz", 5, b""), link("m/b.xz", 5, b"same")];
    let packed = archive(&[&[dir("m", 1)], &pair[..]].concat());
    let out = run(&[packed.clone(), archive(&OWN)].concat()).unwrap();
    assert!(!links(&out));
    // Another generator's links are what it meant.
    assert!(links(&run(&packed).unwrap()));
}

#[test]
fn links_stay_where_taking_them_apart_would_cost_too_much() {
    static MEBIBYTE: [u8; 1 << 20] = [7; 1 << 20];
    for (copies, linked) in [(60, false), (70, true)] {
        let name = |n: i32| Box::leak(n.to_string().into_boxed_str());
        let mut items: Vec<Item> = (0..copies).map(|n| link(name(n), 5, b"")).collect();
        items.push(link("last", 5, &MEBIBYTE));
        assert_eq!(links(&run(&archive(&[&OWN[..], &items].concat())).unwrap()), linked);
    }
}

/// The kernel writes a later file of the same name into the inode that is there.
#[test]
fn links_that_another_archive_writes_through_stay_as_they_are() {
    let tree = |bytes: &[u8]| {
        let image = image(bytes).unwrap();
        let root = image.unpacked().unwrap();
        let of = |name: &str| {
            root.tree()
                .find(|(n, ..)| *n == name.as_bytes())
                .map(|(_, i, links)| (i.content, links))
        };
        (of("a"), of("b"))
    };
    let equal = [file("a", 5, b"same"), file("b", 6, b"same")];
    let linked = [link("a", 5, b""), link("b", 5, b"same")];
    let overlay = archive(&[file("a", 1, b"new")]);
    for (pair, names) in [(&equal, 1), (&linked, 2)] {
        let before = [archive(&[&OWN[..], pair].concat()), overlay.clone()].concat();
        let after = run(&before).unwrap();
        let (a, b) = tree(&before);
        assert_eq!(tree(&after), (a, b));
        assert_eq!((a == b, a.unwrap().1), (names == 2, names));
    }
}

#[test]
fn an_order_that_changes_the_tree_is_refused() {
    // Without its directory, the first is dropped; sorted, it would be there.
    let dropped = why(&archive(&[file("d/f", 1, b"x"), dir("d", 2)]));
    assert!(dropped.contains("d/f is dropped by the kernel and would appear"), "{dropped}");
    // In no directory at all it is dropped in any order (microcode is read without being unpacked).
    let early = archive(&[file("kernel/x86/microcode/GenuineIntel.bin", 1, b"x")]);
    assert_eq!(names(&run(&early).unwrap()), ["kernel/x86/microcode/GenuineIntel.bin"]);
    // The first name of a group is written into what is there, the others are linked to it anew.
    let first = archive(&[link("a", 1, b""), link("x", 1, b"old")]);
    let crossed = why(&[first, archive(&[link("b", 1, b""), link("a", 1, b"new")])].concat());
    assert!(crossed.contains("another tree: x would change"), "{crossed}");
}

#[test]
fn tables_and_live_systems_keep_their_order() {
    let tables = archive(&[
        dir("kernel", 1),
        dir("kernel/firmware", 2),
        dir("kernel/firmware/acpi", 3),
        file("kernel/firmware/acpi/ssdt-b.aml", 4, b"first"),
        file("kernel/firmware/acpi/ssdt-a.aml", 5, b"second"),
        file("early_cpio", 6, b"1"),
    ]);
    let acpi: Vec<_> =
        names(&run(&tables).unwrap()).into_iter().filter(|n| n.ends_with("aml")).collect();
    assert_eq!(acpi, ["kernel/firmware/acpi/ssdt-b.aml", "kernel/firmware/acpi/ssdt-a.aml"]);
    for name in ["root.squashfs", "root.erofs"] {
        let live = archive(&[file(name, 1, b"hsqs"), dir("etc", 2), file("etc/live", 3, b"1")]);
        let out = run(&live).unwrap();
        assert_eq!((&out[124..128], names(&out).len()), (&b"hsqs"[..], 3), "{name}");
    }
}

#[test]
fn a_trailer_may_be_missing_where_nothing_can_be_cut() {
    let whole = archive(&[dir("d", 1), file("d/f", 2, b"x")]);
    let end = whole.windows(10).position(|w| w == cpio::TRAILER).unwrap() - cpio::HEADER_LEN;
    let open = &whole[..end];
    for content in [open.to_vec(), [open, &[0; 512]].concat()] {
        let out = run(&packed(Packing::Gzip(9), &content)).unwrap();
        assert_eq!(out, run(&packed(Packing::Gzip(9), &whole)).unwrap());
        assert!(why(&content).starts_with("archive has no trailer"), "{}", why(&content));
    }
    let linked = archive(&[link("a", 1, b""), link("b", 1, b"x")]);
    let end = linked.windows(10).position(|w| w == cpio::TRAILER).unwrap() - cpio::HEADER_LEN;
    let open = packed(Packing::Gzip(9), &linked[..end]);
    assert_eq!(why(&open), "accepted");
    let more = why(&[open, packed(Packing::Gzip(9), &whole)].concat());
    assert!(more.starts_with("an archive with hard links has no trailer"), "{more}");
}

#[test]
fn a_slash_behind_a_directory_goes() {
    let bsdtar = archive(&[dir("dev/", 1), dir("usr/", 2), file("usr/f", 3, b"x")]);
    let find = archive(&[dir("./dev", 1), dir("usr", 2), file("./usr/f", 3, b"x")]);
    assert_eq!(run(&bsdtar).unwrap(), run(&find).unwrap());
    assert!(why(&archive(&[dir("dev//", 1)])).starts_with("name has an empty"));
    assert!(why(&archive(&[file("f/", 1, b"x")])).starts_with("name has an empty"));
}

#[test]
fn sums_are_those_of_files_alone() {
    let mut writer = cpio::Writer::new(Vec::new(), 0);
    let mut put = |name: &[u8], mode, check, content: &[u8]| {
        let size = content.len() as u32;
        let header = Header { crc: true, mode, nlink: 1, size, check, ..Header::default() };
        writer.entry(&header, name, &mut &content[..], 4).unwrap();
    };
    put(b"f", 0o100_644, 3, b"\x01\x02");
    put(b"l", 0o120_777, 0, b"f"); // GNU cpio's sum of a link
    put(b"m", 0o120_777, 102, b"f"); // and libarchive's
    let out = run(&writer.finish(true).unwrap().0).unwrap();
    let sums: Vec<_> = image(&out).unwrap().entries().map(|e| e.header.check).collect();
    assert_eq!(sums, [3, 0, 0]);
}

#[test]
fn what_the_kernel_ignores_is_refused() {
    let of =
        |mode, content: &'static [u8]| why(&archive(&[Item { mode, ..file("x", 1, content) }]));
    assert!(of(0o040_755, b"x").starts_with("an entry that is not a file has content"));
    assert!(of(0o020_644, b"x").starts_with("an entry that is not a file has content"));
    assert!(of(0o000_644, b"").starts_with("an entry of no known type"));
    assert!(of(0o120_777, &[b'x'; 4096]).starts_with("target of a symbolic link is too long"));
}

/// The kernel's reader takes the four bytes behind a block for the next one's length.
#[test]
fn an_lz4_member_ends_with_zeros_that_the_kernel_needs() {
    let behind = packed(Packing::Gzip(6), &run(&archive(&[file("z", 1, b"z")])).unwrap());
    for extra in 0..4 {
        let name = &["a", "ab", "abc", "abcd"][extra];
        let main = run(&archive(&[file(name, 1, b"xyzxyz"), dir("d", 1)])).unwrap();
        let lz4 = packed(Packing::Lz4Legacy, &main);
        for zeros in [0, 1, 2, 3, 4, 8, 600] {
            let bytes = [&lz4[..], &vec![0; zeros], &behind].concat();
            let out = run(&bytes).unwrap();
            let gap = (lz4.len() + 4).next_multiple_of(4) - lz4.len();
            assert_eq!(out.len(), lz4.len() + gap + behind.len(), "{zeros} zeros");
            assert!(gap >= 4 && out[lz4.len()..lz4.len() + gap].iter().all(|b| *b == 0));
            assert_eq!(names(&out).len(), 3);
        }
        // Nothing follows: nothing is added.
        assert_eq!(run(&lz4).unwrap(), lz4);
    }
}

#[test]
fn contents_are_aligned_as_their_maker_aligned_them() {
    static LARGE: [u8; 5000] = [7; 5000];
    let names = ["early_cpio", "kernel/x86/microcode/GenuineIntel.bin"];
    for (align, content) in
        [(4, &LARGE[..]), (16, &LARGE[..]), (16, b"small small small"), (4096, &LARGE)]
    {
        let mut writer = cpio::Writer::new(Vec::new(), 0);
        for (name, content) in [(names[1], content), (names[0], b"1")] {
            let align = if content.len() as u64 >= align { align } else { 4 };
            let header =
                Header { mode: 0o100_644, size: content.len() as u32, ..Header::default() };
            writer.entry(&header, name.as_bytes(), &mut &content[..], align).unwrap();
        }
        let out = run(&writer.finish(false).unwrap().0).unwrap();
        let image = image(&out).unwrap();
        let [small, large] = &image.segments[0].archives[0].entries[..] else { panic!() };
        assert_eq!(small.header.name_len, 11);
        assert_eq!(large.data % align, 0);
        assert_eq!(large.header.name_len == 38, align == 4, "{align}");
    }
}

#[test]
fn a_member_behind_microcode_is_found() {
    let early = archive(&[
        dir("kernel", 1),
        file("early_cpio", 2, b"1"),
        dir("kernel/x86", 3),
        dir("kernel/x86/microcode", 4),
        file("kernel/x86/microcode/GenuineIntel.bin", 5, b"MICROCODE"),
    ]);
    let main = archive(&[file("b", 2, b"x"), file("a", 1, b"y")]);
    let mut bytes = early;
    bytes.extend([0; 512]);
    bytes.extend(packed(Packing::Gzip(9), &main));
    bytes.extend(packed(Packing::Gzip(6), &archive(&[file("dev", 1, b"")])));
    let out = run(&bytes).unwrap();
    let image = image(&out).unwrap();
    let packings: Vec<_> = image.segments.iter().map(|s| s.packing).collect();
    assert_eq!(packings, [None, Some(Packing::Gzip(9)), Some(Packing::Gzip(6))]);
}

#[test]
fn every_compression_comes_out_the_same_and_canonical_members_keep_their_bytes() {
    let a = archive(&[file("a", 3, b"xx"), dir("b", 4)]);
    let b = archive(&[dir("b", 9), file("a", 7, b"xx")]);
    for packing in [
        Packing::Zstd(15),
        Packing::Xz(Check::Crc32, 1 << 20, Some(Bcj::X86)),
        Packing::ZstdLong(3, 27),
        Packing::Lzma(1 << 20),
        Packing::Gzip(9),
        Packing::Bzip2(9),
        Packing::Lz4Legacy,
        Packing::Lz4,
        Packing::Lzo,
    ] {
        let out = run(&packed(packing, &a)).unwrap();
        assert_eq!(out, run(&packed(packing, &b)).unwrap(), "{packing}");
    }
    let canonical = run(&a).unwrap();
    let by_another = packed(Packing::Gzip(1), &canonical);
    assert_eq!(run(&by_another).unwrap(), by_another);
    let rules = Rules {
        epoch: EPOCH,
        always_repack: true,
        compress: Compress::AsFound,
        earlier: &[],
        inside: &KeepMembers,
    };
    let mut rewritten = by_another.clone();
    rewritten[9] = 255; // the system that compressed it
    assert_eq!(run(&rewritten).unwrap(), rewritten);
    assert_eq!(run_with(&rewritten, &rules).unwrap().0, by_another);
    assert!(!run_with(&by_another, &rules).unwrap().1.changed);
}

#[test]
fn trailing_bytes_are_kept() {
    let mut bytes = packed(Packing::Gzip(9), &archive(&[file("a", 3, b"x")]));
    bytes.extend(b"\0\0key = value\n#BOOTCONFIG\n");
    let out = run(&bytes).unwrap();
    assert!(out.ends_with(b"key = value\n#BOOTCONFIG\n"));
    bytes.extend([1; 70_000]);
    assert!(why(&bytes).starts_with("neither a cpio archive nor"));
}

#[test]
fn files_inside_are_replaced_and_removed() {
    struct Rule;
    impl MemberRules for Rule {
        fn wants(&self, entry: &Entry) -> bool {
            entry.name != b"keep"
        }
        fn judge(&self, entry: &Entry, content: Vec<u8>) -> std::io::Result<MemberVerdict> {
            Ok({
                match &entry.name[..] {
                    b"gone" => MemberVerdict::Remove,
                    _ if content == b"date 5" => MemberVerdict::Replace(b"date".to_vec()),
                    _ => MemberVerdict::Keep,
                }
            })
        }
    }
    let rules = Rules {
        epoch: EPOCH,
        always_repack: false,
        compress: Compress::AsFound,
        earlier: &[],
        inside: &Rule,
    };
    let bytes =
        archive(&[file("keep", 1, b"date 5"), file("gone", 2, b"x"), file("f", 3, b"date 5")]);
    let (out, outcome) = run_with(&bytes, &rules).unwrap();
    assert_eq!(outcome.inside, [b"f".to_vec(), b"gone".to_vec()]);
    let expected = archive(&[file("f", 3, b"date"), file("keep", 1, b"date 5")]);
    assert_eq!(out, run(&expected).unwrap());
}

#[test]
fn what_cannot_be_sorted_or_leaves_the_root_is_refused() {
    let one = |name| why(&archive(&[file(name, 1, b"x")]));
    assert!(one("/etc/passwd").starts_with("name is absolute"), "{}", one("/etc/passwd"));
    assert!(one("a/../../b").starts_with("name has a .. component"));
    let twice = why(&archive(&[file("a", 1, b"x"), file("a", 2, b"y")]));
    assert!(twice.starts_with("a occurs twice"), "{twice}");
    let mut symlink = file("lib", 1, b"usr/lib");
    symlink.mode = 0o120_777;
    let through = why(&archive(&[symlink, file("lib/x", 2, b"x")]));
    assert!(through.starts_with("lib/x is below a symbolic link"), "{through}");
    let differ = why(&archive(&[link("a", 1, b"x"), link("b", 1, b"y")]));
    assert!(differ.starts_with("hard links differ"), "{differ}");
}

#[test]
fn bombs_and_crowds_are_refused() {
    let bomb = packed(Packing::Zstd(1), &archive(&[file("a", 1, &[0; 1 << 20])]));
    let limits = Limits { free: 1000, ..Limits::default() };
    let refused = read(&bomb[..], bomb.len() as u64, &mut Vec::new(), &limits).unwrap_err();
    assert!(refused.to_string().starts_with("unpacks to more than"), "{refused}");
    let limits = Limits { entries: 2, ..Limits::default() };
    let crowd = archive(&[file("a", 1, b""), file("b", 2, b""), file("c", 3, b"")]);
    let read = read(&crowd[..], crowd.len() as u64, &mut Vec::new(), &limits);
    assert!(read.unwrap_err().to_string().starts_with("more entries than"));
}

#[test]
fn a_truncated_image_is_refused() {
    let plain = archive(&[file("a", 1, &[7; 5000]), file("b", 2, b"y")]);
    let mut images = vec![plain.clone()];
    for packing in [Packing::Zstd(15), Packing::Gzip(9), Packing::Lz4Legacy] {
        images.push(packed(packing, &plain));
    }
    for bytes in images {
        let end = bytes.iter().rposition(|b| *b != 0).unwrap();
        for len in (0..end).step_by(13) {
            assert!(run(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
