//! Boot images in trees, names that follow them, and images that are damaged or hostile. Real images
//! of dracut and initramfs-tools are in `tests/e2e/initramfs`.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::disk::Root;
use reprofix::engine::{Plan, Wanted, apply, plan, walk};
use reprofix::env::SourceDateEpoch;
use reprofix::format::compress::Packing;
use reprofix::format::cpio;
use reprofix::format::initramfs::{Error, Limits, Outcome, read, spooled};
use reprofix::normal::{Chain, Context, Note};
use reprofix::plugins::{default_context, find, initramfs};
use reprofix::vouchers::Vouchers;
use sha2::{Digest, Sha256};

const EPOCH: SourceDateEpoch = SourceDateEpoch::new(1_600_000_000);

fn fixture(side: &str, compression: &str) -> Vec<u8> {
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/initramfs/pair");
    let path = pairs.join(side).join("usr/lib/modules").join(compression).join("initramfs.img");
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const COMPRESSIONS: [&str; 8] = ["plain", "gzip", "xz", "zstd", "lz4", "lzma", "bzip2", "early"];

fn fix_with(dir: &Path, cx: &Context) -> Plan {
    let root = Root::open(dir).unwrap();
    let mut entries = walk(&root, &[]).unwrap();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let plugins = ["initramfs", "mtime"].map(|name| find(name).unwrap());
    let chain = Chain { plugins: &plugins, cx, vouchers: &Vouchers::nobody() };
    let plan = plan(&root, &Wanted::of(&entries, &chain), &chain, &|_| {}).unwrap();
    assert_eq!(apply(&root, &entries, &plan, &chain, &|_| {}).unwrap(), Vec::<PathBuf>::new());
    plan
}

fn fix(dir: &Path) -> Plan {
    fix_with(dir, &default_context(EPOCH))
}

fn put(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn sum(kernel: &[u8], image: &[u8]) -> String {
    let digest = Sha256::digest([kernel, image].concat());
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// rpm-ostree's `boot-location: new`: kernel and image in usr/lib/modules, linked in ostree-boot.
struct Legacy {
    dir: tempfile::TempDir,
}

const KERNEL: &[u8] = b"a kernel";

impl Legacy {
    fn new() -> Self {
        Self::of(KERNEL, "a")
    }

    fn of(kernel: &[u8], side: &str) -> Self {
        let legacy = Legacy { dir: tempfile::tempdir().unwrap() };
        let image = fixture(side, "gzip");
        let modules = legacy.path("modules/6.1");
        put(modules.join("vmlinuz"), kernel);
        put(modules.join("initramfs.img"), &image);
        fs::create_dir_all(legacy.path("ostree-boot")).unwrap();
        let sum = sum(kernel, &image);
        fs::hard_link(modules.join("vmlinuz"), legacy.kernel(&sum)).unwrap();
        fs::hard_link(modules.join("initramfs.img"), legacy.image(&sum)).unwrap();
        legacy
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("usr/lib").join(below)
    }

    fn kernel(&self, sum: &str) -> PathBuf {
        self.path("ostree-boot").join(format!("vmlinuz-6.1-{sum}"))
    }

    fn image(&self, sum: &str) -> PathBuf {
        self.path("ostree-boot").join(format!("initramfs-6.1.img-{sum}"))
    }

    fn names(&self) -> Vec<String> {
        crate::cases::names(&self.path("ostree-boot"))
    }

    /// The state after `fix`: a pair under the checksum of its own content, and nothing else.
    fn assert_fixed(&self) {
        let image = form(&fixture("a", "gzip")).unwrap().0;
        let new = sum(KERNEL, &image);
        assert_eq!(
            self.names(),
            [format!("initramfs-6.1.img-{new}"), format!("vmlinuz-6.1-{new}")]
        );
        for path in [self.image(&new), self.path("modules/6.1/initramfs.img")] {
            assert!(fs::read(&path).unwrap() == image, "{}", path.display());
            assert_eq!(path.metadata().unwrap().mtime(), i64::from(EPOCH.seconds()));
        }
        assert_eq!(fs::read(self.kernel(&new)).unwrap(), KERNEL);
        assert_eq!(self.kernel(&new).metadata().unwrap().mtime(), i64::from(EPOCH.seconds()));
        let kernel = self.path("modules/6.1/vmlinuz").metadata().unwrap();
        assert_eq!(kernel.ino(), self.kernel(&new).metadata().unwrap().ino());
    }
}

#[test]
fn names_follow_where_the_boot_files_are_links() {
    let legacy = Legacy::new();
    let repo = tempfile::tempdir().unwrap();
    let object = repo.path().join("object");
    fs::hard_link(legacy.path("modules/6.1/initramfs.img"), &object).unwrap();
    fix(legacy.dir.path());
    legacy.assert_fixed();
    assert!(fs::read(&object).unwrap() == fixture("a", "gzip"), "a repository's object");
    assert!(fix(legacy.dir.path()).is_empty());
}

/// Killed after any step, a second run ends where an undisturbed run ends.
#[test]
fn a_rename_that_was_interrupted_is_finished() {
    let image = fixture("a", "gzip");
    let canonical = form(&image).unwrap().0;
    let (old, new) = (sum(KERNEL, &image), sum(KERNEL, &canonical));
    for steps in 0..=4 {
        let legacy = Legacy::new();
        put(legacy.path("modules/6.1/initramfs.img.new"), &canonical);
        fs::rename(
            legacy.path("modules/6.1/initramfs.img.new"),
            legacy.path("modules/6.1/initramfs.img"),
        )
        .unwrap();
        if steps > 0 {
            fs::hard_link(legacy.kernel(&old), legacy.kernel(&new)).unwrap();
        }
        if steps > 1 {
            fs::hard_link(legacy.image(&old), legacy.image(&new)).unwrap();
        }
        if steps > 2 {
            fs::remove_file(legacy.image(&new)).unwrap();
            put(legacy.image(&new), &canonical);
        }
        if steps > 3 {
            fs::remove_file(legacy.kernel(&old)).unwrap();
        }
        fix(legacy.dir.path());
        legacy.assert_fixed();
        assert!(fix(legacy.dir.path()).is_empty(), "after step {steps}");
    }
}

#[test]
fn a_pair_with_a_third_file_is_reported_and_stays() {
    let legacy = Legacy::new();
    let old = sum(KERNEL, &fixture("a", "gzip"));
    put(legacy.path("ostree-boot").join(format!("devicetree-6.1-{old}")), b"tree");
    let plan = fix(legacy.dir.path());
    assert_eq!(legacy.names().len(), 3);
    assert!(fs::read(legacy.image(&old)).unwrap() == fixture("a", "gzip"));
    assert!(fs::read(legacy.path("modules/6.1/initramfs.img")).unwrap() != fixture("a", "gzip"));
    let said: Vec<_> = plan.remarks.iter().map(|r| format!("{:?}", r.note)).collect();
    assert!(said.iter().any(|s| s.contains("its name ends in a checksum")), "{said:?}");
    assert!(fix(legacy.dir.path()).is_empty());
}

/// `check` of two trees: how many differences there are of each cause.
fn check(a: &Legacy, b: &Legacy) -> (usize, serde_json::Value) {
    let subject = |l: &Legacy| std::ffi::OsString::from(format!("dir:{}", l.dir.path().display()));
    let job =
        reprofix::run::check::Job { a: subject(a), b: Some(subject(b)), ..Default::default() };
    let progress = reprofix::report::Progress::new(true);
    let report = reprofix::compare::compare(&job, &[], &progress).unwrap();
    let report = serde_json::to_value(&report).unwrap();
    (report["differences"].as_array().unwrap().len(), report["counts"].clone())
}

/// What becomes equal is still shown: text, JSON and page take it from the details.
#[test]
fn check_lists_what_differs_inside_images_that_fix_makes_one() {
    let (a, b) = (Legacy::of(KERNEL, "a"), Legacy::of(KERNEL, "b"));
    let roots = [&a, &b].map(|l| format!("dir:{}", l.dir.path().display()));
    let exe = env!("CARGO_BIN_EXE_reprofix");
    let said = Command::new(exe).arg("check").args(&roots).output().unwrap();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let text = String::from_utf8(said.stdout).unwrap();
    for line in
        ["etc/one: hard links 2 | 1", "inode number: ", "build-parameter.txt: content, line 1"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// More images than files that may wait open for being written: all are written.
#[test]
fn a_hundred_images_are_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (fixture("a", "lz4"), form(&fixture("a", "lz4")).unwrap().0);
    let images: Vec<_> = (0..100)
        .map(|n| put(dir.path().join(format!("usr/lib/modules/{n}/initramfs.img")), &before))
        .collect();
    fix(dir.path());
    assert!(images.iter().all(|path| fs::read(path).unwrap() == after));
    assert!(fix(dir.path()).is_empty());
}

/// A PE file with one section of this name.
fn pe(section: &[u8; 8]) -> Vec<u8> {
    let mut out = vec![0; 0x40];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 0x40;
    out.extend(b"PE\0\0\x64\x86\x01\0");
    out.extend([0; 16]);
    out.extend(section);
    out.extend([0; 32]);
    out
}

#[test]
fn a_unified_kernel_image_is_reported_and_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let uki = [pe(b".initrd\0"), fixture("a", "zstd")].concat();
    let path = put(dir.path().join("boot/efi/EFI/Linux/system.efi"), &uki);
    put(dir.path().join("boot/efi/EFI/BOOT/BOOTX64.EFI"), &pe(b".text\0\0\0"));
    let plan = fix(dir.path());
    assert!(fs::read(&path).unwrap() == uki);
    let [remark] = &plan.remarks[..] else { panic!("{:?}", plan.remarks) };
    assert_eq!(remark.path, Path::new("boot/efi/EFI/Linux/system.efi"));
    let Note::Report(said) = &remark.note else { panic!("{remark:?}") };
    assert!(said.contains("the boot measures its initramfs"), "{said}");
}

#[test]
fn switched_off_it_leaves_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path().join("usr/lib/modules/6.1/initramfs.img"), &fixture("a", "zstd"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    command.arg("fix").arg(dir.path()).args(["--skip", "initramfs", "--source-date-epoch"]);
    let done = command.arg(EPOCH.seconds().to_string()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(fs::read(&path).unwrap() == fixture("a", "zstd"));
}

#[test]
fn what_the_configuration_keeps_is_kept_inside() {
    const RECORD: &str = "usr/lib/dracut/build-parameter.txt";
    let record = |image: &[u8]| {
        let nodes = unpacked(image).unwrap();
        nodes.into_iter().find(|(name, ..)| name == RECORD.as_bytes()).unwrap().3
    };
    for (keep, stays) in [("usr/lib/dracut/*", true), ("usr/share/**", false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = put(dir.path().join("usr/lib/modules/6.1/initramfs.img"), &fixture("a", "zstd"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.arg("fix").arg(dir.path()).args(["--keep", keep, "--source-date-epoch"]);
        let done = command.arg(EPOCH.seconds().to_string()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let fixed = fs::read(&path).unwrap();
        assert!(fixed != fixture("a", "zstd"), "the rest is in normal form");
        assert_eq!(record(&fixed) == record(&fixture("a", "zstd")), stays, "{keep}");
    }
}

/// One chain inside and outside: what is left out outside is left out inside.
#[test]
fn plugins_that_do_not_run_do_not_run_inside() {
    const CACHE: &str = "var/cache/ldconfig/aux-cache";
    let mut writer = cpio::Writer::new(Vec::new(), 0);
    for name in ["var", "var/cache", "var/cache/ldconfig", CACHE] {
        let mode = if name == CACHE { 0o100_644 } else { 0o040_755 };
        let header = cpio::Header { mode, nlink: 1, mtime: u32::MAX, ..Default::default() };
        writer.entry(&header, name.as_bytes(), &mut &b""[..], 4).unwrap();
    }
    let image = writer.finish(false).unwrap().0;
    let toml = "[plugins.build-traces]\nenabled = false\n";
    let cases: [(&[&str], &str, bool); 4] = [
        (&[], "", false),
        (&["--skip", "build-traces"], "", true),
        (&["--plugin", "initramfs"], "", true),
        (&[], toml, true),
    ];
    for (words, configuration, stays) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = put(dir.path().join("root/usr/lib/modules/6.1/initramfs.img"), &image);
        let file = put(dir.path().join("reprofix.toml"), configuration.as_bytes());
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.arg("fix").arg(dir.path().join("root")).args(words).arg("--config").arg(file);
        let epoch = EPOCH.seconds().to_string();
        let done = command.args(["--source-date-epoch", &epoch]).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let after = fs::read(&path).unwrap();
        assert!(after != image, "the rest is in normal form");
        let found = unpacked(&after).unwrap().iter().any(|(name, ..)| name == CACHE.as_bytes());
        assert_eq!(found, stays, "{words:?} {configuration}");
    }
}

#[test]
fn devices_are_shown_as_major_and_minor() {
    let of = |minor: u32| {
        let mut writer = cpio::Writer::new(Vec::new(), 0);
        let header = cpio::Header { mode: 0o020_644, rdev: [259, minor], ..Default::default() };
        writer.entry(&header, b"disk", &mut &b""[..], 4).unwrap();
        Cursor::new(writer.finish(false).unwrap().0)
    };
    let found = initramfs::diff(&mut of(1), &mut of(65_537), &default_context(EPOCH)).unwrap();
    let said: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["disk: device 259:1 | 259:65537"]);
}

#[test]
fn check_explains_names_by_what_they_follow() {
    // The image differs in what the plugin removes: so do the names, and they are one afterwards.
    let (count, counts) = check(&Legacy::of(KERNEL, "a"), &Legacy::of(KERNEL, "b"));
    assert_eq!((count, counts["fixed"].as_u64()), (5, Some(5)), "{counts}");
    // The kernels differ: nothing makes the names one, and they follow.
    let (count, counts) = check(&Legacy::of(KERNEL, "a"), &Legacy::of(b"another", "a"));
    assert_eq!((count, counts["cascade"].as_u64()), (5, Some(4)), "{counts}");
    assert_eq!(counts["unexplained"].as_u64(), Some(1), "the kernel: {counts}");
    // One side is in normal form already.
    let fixed = Legacy::of(KERNEL, "a");
    fix(fixed.dir.path());
    let (count, counts) = check(&fixed, &Legacy::of(KERNEL, "b"));
    assert_eq!((count, counts["fixed"].as_u64()), (5, Some(5)), "{counts}");
}

#[test]
fn the_report_mode_changes_nothing_and_says_what_it_would_cost() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path().join("usr/lib/modules/6.1/initramfs.img"), &fixture("a", "zstd"));
    let mut cx = default_context(EPOCH);
    cx.options.insert(("initramfs".into(), "mode".into()), "report".into());
    let plan = fix_with(dir.path(), &cx);
    assert!(fs::read(&path).unwrap() == fixture("a", "zstd"));
    let [remark] = &plan.remarks[..] else { panic!("{:?}", plan.remarks) };
    let Note::Report(said) = &remark.note else { panic!("{remark:?}") };
    assert!(said.starts_with("not in canonical form; "), "{said}");
    assert!(said.contains("compressed with zstd -"), "{said}");
}

/// Name; mode, owner and group; device; content.
type Node = (Vec<u8>, [u32; 3], [u32; 2], Vec<u8>);

fn unpack(bytes: &[u8]) -> Result<initramfs::Unpacked, Error> {
    initramfs::unpack(&mut Cursor::new(bytes), &default_context(EPOCH))
}

/// The canonical form of an image, and what became of it.
fn form(bytes: &[u8]) -> Result<(Vec<u8>, Outcome), Error> {
    let (canonical, outcome) = initramfs::form(Cursor::new(bytes), &default_context(EPOCH))?;
    Ok((canonical.map_or_else(|| bytes.to_vec(), |spooled| spooled.bytes().unwrap()), outcome))
}

/// What an image unpacks to.
fn unpacked(bytes: &[u8]) -> Result<Vec<Node>, Error> {
    let done = unpack(bytes)?;
    let content = |data: u64, size: u32| spooled(&done.spool, data, size).unwrap();
    let contents = done.image.contents()?;
    let entries = contents.iter().map(|(name, (entry, data, size))| {
        let h = &entry.header;
        (name.to_vec(), [h.mode, h.uid, h.gid], h.rdev, content(*data, *size))
    });
    Ok(entries.collect())
}

/// Of a damaged image: an error, or a canonical form that unpacks to what the damaged one unpacks
/// to, and is its own. Whether it was an error.
fn judged(bytes: &[u8], what: &str) -> bool {
    let Ok((canonical, outcome)) = form(bytes) else { return true };
    let mut before = unpacked(bytes).unwrap();
    let after = unpacked(&canonical).unwrap();
    let inside = |name: &[u8]| outcome.inside.iter().any(|n| n == name);
    before.retain(|(name, ..)| !inside(name));
    let after: Vec<_> = after.into_iter().filter(|(name, ..)| !inside(name)).collect();
    assert!(before == after, "{what}: unpacks to something else");
    assert!(!form(&canonical).unwrap().1.changed, "{what}: not its own form");
    false
}

#[test]
fn a_cut_image_is_refused() {
    for compression in COMPRESSIONS {
        let whole = fixture("a", compression);
        let end = whole.iter().rposition(|b| *b != 0).unwrap();
        // Behind its early archive, an image may end: that is a whole image.
        let table = unpack(&whole).unwrap().image;
        let early = table.segments[0].range.end as usize;
        for cut in (1..end).step_by(61) {
            let boundary =
                compression == "early" && whole[early..cut.max(early)].iter().all(|b| *b == 0);
            let refused = judged(&whole[..cut], &format!("{compression} cut to {cut}"));
            assert!(refused || boundary && cut >= early, "{compression} cut to {cut} is accepted");
        }
        // Any part of the next member's magic is a cut member, not bytes to keep.
        if compression == "early" {
            let second = table.segments[1].range.start as usize;
            for more in 1..64 {
                assert!(unpack(&whole[..second + more]).is_err(), "{more} bytes");
            }
        }
    }
}

#[test]
fn a_mutated_image_is_refused_or_unpacks_to_the_same() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let rounds = std::env::var("REPROFIX_MUTATIONS").map_or(150, |n| n.parse().unwrap());
    for compression in COMPRESSIONS {
        let whole = fixture("b", compression);
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..[1, 1, 3, 20][random(4)] {
                let at = random(bytes.len());
                match random(3) {
                    0 => bytes[at] = random(256) as u8,
                    1 => bytes[at] ^= 1 << random(8),
                    _ => bytes[at] = b'0',
                }
            }
            judged(&bytes, &format!("{compression}, round {round}"));
        }
    }
}

fn header(name: &[u8], size: u32) -> Vec<u8> {
    let header = cpio::Header { mode: 0o100_644, nlink: 1, size, ..Default::default() };
    let header = cpio::Header { name_len: name.len() as u32 + 1, ..header };
    let mut out = header.encode().to_vec();
    out.extend(name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn packed(packing: Packing, fill: &mut dyn FnMut(&mut dyn Write)) -> Vec<u8> {
    let mut out = Vec::new();
    packing
        .pack(&mut out, 2, &mut |w| {
            fill(w);
            Ok(())
        })
        .unwrap();
    out
}

/// Counts what is spooled and keeps nothing.
struct Counting(u64);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn refused(bytes: &[u8]) -> (String, u64) {
    let mut spool = Counting(0);
    let error = read(Cursor::new(bytes), bytes.len() as u64, &mut spool, &Limits::default());
    (error.unwrap_err().to_string(), spool.0)
}

/// What the fuzzer found: its normal form was no image.
#[test]
fn a_compressed_member_without_an_archive_is_refused() {
    let (why, _) = refused(b"\x02\x21\x4c\x18\0\0\0\0\xbe\0\0");
    assert!(why.contains("without an archive"), "{why}");
    for packing in [Packing::Zstd(1), Packing::Bzip2(9), Packing::Gzip(6)] {
        let (why, _) = refused(&packed(packing, &mut |_| {}));
        assert!(why.contains("without an archive"), "{why}");
    }
}

#[test]
fn ten_million_entries_are_refused_early() {
    let chunk = header(b"x", 0).repeat(10_000);
    let crowd = packed(Packing::Zstd(1), &mut |w| {
        (0..1000).for_each(|_| w.write_all(&chunk).unwrap());
    });
    let (why, spooled) = refused(&crowd);
    assert!(why.starts_with("more entries than"), "{why}");
    assert!(spooled < 32 << 20, "{spooled} bytes unpacked");
}

#[test]
fn a_file_of_four_gigabytes_and_a_bomb_are_refused_early() {
    let zeros = vec![0; 1 << 20];
    for packing in [Packing::Zstd(1), Packing::Gzip(1), Packing::Bzip2(9)] {
        let mebibytes = if matches!(packing, Packing::Zstd(_)) { 4095 } else { 80 };
        let bomb = packed(packing, &mut |w| {
            w.write_all(&header(b"x", u32::MAX)).unwrap();
            (0..mebibytes).for_each(|_| w.write_all(&zeros).unwrap());
        });
        let (why, spooled) = refused(&bomb);
        assert!(why.starts_with("unpacks to more than"), "{packing}: {why}");
        assert!(spooled <= 64 << 20, "{packing}: {spooled} bytes unpacked");
    }
    // Without compression, a size that lies is found where the image ends.
    let (why, _) = refused(&header(b"x", u32::MAX));
    assert!(why.starts_with("cpio archive is truncated"), "{why}");
}

#[test]
fn names_that_leave_the_root_are_refused_in_every_compression() {
    for name in [&b"../../etc/passwd"[..], b"/etc/passwd", b"a/../../b"] {
        for packing in [Packing::Zstd(3), Packing::Gzip(9), Packing::Lz4Legacy, Packing::Bzip2(9)] {
            let image = packed(packing, &mut |w| {
                w.write_all(&header(name, 0)).unwrap();
                w.write_all(&header(cpio::TRAILER, 0)).unwrap();
            });
            let (why, _) = refused(&image);
            assert!(why.starts_with("name "), "{packing}: {why}");
        }
    }
}
