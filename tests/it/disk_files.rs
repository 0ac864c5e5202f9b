//! File systems in disk images against the tree that they were made of, by the real tools: the content
//! checksums must be equal, so every name, owner, mode, attribute and byte is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use reprofix::format::filesystem::blocks::Blocks;
use reprofix::source::disk::Disk;

use crate::repo::{reprofix, run};

/// Repeats itself a little, and is different everywhere.
fn text(lines: usize) -> Vec<u8> {
    let line =
        |n: usize| format!("{} line {n} of a text {:x}\n", n % 7, n.wrapping_mul(2_654_435_761));
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// A tree with what file systems store in different ways: small and large files, holes, hard and
/// symbolic links, attributes, lists of access, a directory of many names.
fn tree(dir: &Path, is_plain: bool) -> PathBuf {
    let tree = dir.join("tree");
    let names = tree.join("usr/share/many");
    fs::create_dir_all(&names).unwrap();
    for n in 0..400 {
        fs::write(names.join(format!("a name that is rather long {n}")), format!("{n}\n")).unwrap();
    }
    let of = |name: &str| tree.join("usr").join(name);
    fs::write(of("empty"), "").unwrap();
    fs::write(of("one block"), vec![b'x'; 4096]).unwrap();
    fs::write(of("two blocks"), &text(300)[..8192]).unwrap();
    fs::write(of("text"), text(4000)).unwrap();
    fs::write(of("large"), text(60_000)).unwrap();
    fs::write(of("zeros"), vec![0; 200_000]).unwrap();
    // Nothing that can be compressed.
    let mut state = 1_u64;
    let random = (0..300_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    fs::write(of("random"), random.collect::<Vec<u8>>()).unwrap();
    run("chmod", &["-R", "u=rwX,go=rX", tree.to_str().unwrap()]);
    if is_plain {
        return tree;
    }
    let hole = fs::File::create(of("hole")).unwrap();
    hole.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hole, b"in the middle", 1 << 20).unwrap();
    drop(hole);
    fs::hard_link(of("text"), of("same text")).unwrap();
    symlink("text", of("link")).unwrap();
    symlink("a/".repeat(300), of("long link")).unwrap();
    let path = |name: &str| of(name).to_str().unwrap().to_owned();
    run("setfattr", &["-n", "user.one", "-v", "1", &path("text")]);
    run("setfattr", &["-n", "user.one", "-v", "1", &path("large")]);
    run("setfattr", &["-n", "user.long", "-v", &"v".repeat(900), &path("large")]);
    run("setfattr", &["-n", "security.capability", "-v", CAPABILITY, &path("empty")]);
    run("setfattr", &["-n", "trusted.x", "-v", "y", &path("share")]);
    run("chown", &["123:70000", &path("one block")]);
    run("chmod", &["4755", &path("one block")]);
    tree
}

const CAPABILITY: &str = "0x0100000200040000000000000000000000000000";

/// Whether a disk image holds the tree and nothing else, by `reprofix check`.
fn must_be_same(tree: &Path, image: &Path, what: &str) {
    let (a, b) = (format!("dir:{}", tree.display()), format!("disk:{}", image.display()));
    let (code, out, err) = reprofix(&["check", &a, &b, "--checksums", "--source-date-epoch=1"]);
    assert_eq!(code, 0, "{what}: {out}{err}");
}

/// The same, and with what the kernel shows of the image, where there are loop devices.
fn must_be_as_mounted(image: &Path, what: &str) {
    let mount = image.with_extension("mount");
    fs::create_dir(&mount).unwrap();
    let place = mount.to_str().unwrap();
    let args = ["-o", "loop,ro", image.to_str().unwrap(), place];
    let mounted = Command::new("mount").args(args).output().expect("mount is there");
    if !mounted.status.success() {
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        eprintln!("skipped: {what} is not held against the kernel's mount: {}", why.trim());
        return;
    }
    let (a, b) = (format!("dir:{place}"), format!("disk:{}", image.display()));
    let said = reprofix(&["check", &a, &b, "--checksums", "--source-date-epoch=1"]);
    run("umount", &[place]);
    assert_eq!(said.0, 0, "{what}, as mounted: {}{}", said.1, said.2);
}

#[test]
fn erofs_is_read_as_it_was_made() {
    let base = tempfile::tempdir().unwrap();
    let tree = tree(base.path(), false);
    let ways: [&[&str]; 8] = [
        &[],
        &["-Eforce-inode-extended"],
        &["-T1"],
        &["--chunksize=4096"],
        &["-zlz4"],
        &["-zlz4hc,9", "-C65536"],
        &["-zlz4", "-Elegacy-compress"],
        &["-zlz4hc", "-Eztailpacking"],
    ];
    for (n, way) in ways.iter().enumerate() {
        let image = base.path().join(format!("{n}.erofs"));
        let mut args = vec!["--quiet"];
        args.extend(*way);
        args.extend([image.to_str().unwrap(), tree.to_str().unwrap()]);
        run("mkfs.erofs", &args);
        must_be_same(&tree, &image, &format!("mkfs.erofs {way:?}"));
        must_be_as_mounted(&image, &format!("mkfs.erofs {way:?}"));
    }
}

/// Images of the mkfs.erofs of Debian sid, which `tests/fixtures/disk/sid/make` made.
#[test]
fn erofs_of_later_tools_is_read() {
    let base = tempfile::tempdir().unwrap();
    let lib = base.path().join("tree/usr/lib");
    fs::create_dir_all(&lib).unwrap();
    let lines = |from: u32, to: u32| (from..=to).map(|n| format!("{n}\n")).collect::<String>();
    fs::write(lib.join("os-release"), "ID=bed\n").unwrap();
    fs::write(lib.join("seq"), lines(1, 6000)).unwrap();
    fs::write(lib.join("other"), lines(2, 6001)).unwrap();
    symlink("os-release", lib.join("link")).unwrap();
    run("chmod", &["-R", "u=rwX,go=rX", base.path().join("tree").to_str().unwrap()]);
    let seq = lib.join("seq");
    run("setfattr", &["-n", "user.long.name", "-v", "value", seq.to_str().unwrap()]);
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/disk/sid");
    let names = ["lzma", "deflate", "zstd", "fragments", "all-fragments", "legacy-fragments"];
    for name in names.into_iter().chain(["prefix"]) {
        let image = images.join(format!("{name}.erofs"));
        must_be_same(&base.path().join("tree"), &image, name);
    }
}

#[test]
fn squashfs_is_read_as_it_was_made() {
    let base = tempfile::tempdir().unwrap();
    let tree = tree(base.path(), false);
    let ways: [&[&str]; 9] = [
        &["-comp", "gzip"],
        &["-comp", "xz"],
        &["-comp", "xz", "-Xbcj", "x86", "-b", "1M"],
        &["-comp", "zstd"],
        &["-comp", "lz4"],
        &["-comp", "lzo"],
        &["-noI", "-noD", "-noF", "-noX"],
        &["-no-fragments"],
        &["-always-use-fragments", "-b", "4096"],
    ];
    for (n, way) in ways.iter().enumerate() {
        let image = base.path().join(format!("{n}.squashfs"));
        let mut args = vec![tree.to_str().unwrap(), image.to_str().unwrap()];
        args.extend(["-quiet", "-no-progress"]);
        args.extend(*way);
        run("mksquashfs", &args);
        must_be_same(&tree, &image, &format!("mksquashfs {way:?}"));
        if n == 0 {
            must_be_as_mounted(&image, "squashfs");
        }
    }
}

/// Makes a file system of the ext family of a tree.
fn ext(tree: &Path, image: &Path, way: &[&str]) {
    run("truncate", &["-s", "48M", image.to_str().unwrap()]);
    let mut args = vec!["-q", "-F", "-d", tree.to_str().unwrap()];
    args.extend(way);
    args.push(image.to_str().unwrap());
    run("mke2fs", &args);
    run("debugfs", &["-w", "-R", "rmdir lost+found", image.to_str().unwrap()]);
}

#[test]
fn ext4_is_read_as_it_was_made() {
    let base = tempfile::tempdir().unwrap();
    let tree = tree(base.path(), false);
    let acl = tree.join("usr/share/acl");
    fs::write(&acl, "x").unwrap();
    let listed = format!(
        "0x02000000{}{}{}{}{}",
        "01000600ffffffff",
        "0200060001000000",
        "04000400ffffffff",
        "10000600ffffffff",
        "20000400ffffffff"
    );
    run("setfattr", &["-n", "system.posix_acl_access", "-v", &listed, acl.to_str().unwrap()]);
    let ways: [&[&str]; 6] = [
        &["-t", "ext4"],
        &["-t", "ext4", "-b", "1024"],
        &["-t", "ext4", "-O", "inline_data,^metadata_csum", "-I", "512"],
        &["-t", "ext4", "-O", "^64bit,^flex_bg,^has_journal"],
        &["-t", "ext3"],
        &["-t", "ext2", "-b", "1024"],
    ];
    for (n, way) in ways.iter().enumerate() {
        let image = base.path().join(format!("{n}.ext4"));
        if way.iter().any(|option| option.starts_with("inline_data")) {
            // mke2fs cuts a file that ends with a hole there; e2fsck finds nothing wrong.
            fs::remove_file(tree.join("usr/hole")).unwrap();
        }
        ext(&tree, &image, way);
        must_be_same(&tree, &image, &format!("mke2fs {way:?}"));
        must_be_as_mounted(&image, &format!("mke2fs {way:?}"));
    }
}

#[test]
fn vfat_is_read_as_it_was_made() {
    let base = tempfile::tempdir().unwrap();
    let tree = tree(base.path(), true);
    for (width, size) in [("12", "6M"), ("16", "40M"), ("32", "80M")] {
        let image = base.path().join(format!("{width}.vfat"));
        let path = image.to_str().unwrap();
        run("truncate", &["-s", size, path]);
        run("mkfs.fat", &["-F", width, path]);
        let usr = tree.join("usr");
        run("mcopy", &["-s", "-Q", "-i", path, usr.to_str().unwrap(), "::"]);
        must_be_same(&tree, &image, &format!("FAT{width}"));
    }
}

/// What is damaged is an error with a place, or does not matter; nothing panics, and nothing takes
/// long. Each sector is cut away in turn, and bytes are damaged at random.
#[test]
fn damaged_file_systems_are_errors() {
    let base = tempfile::tempdir().unwrap();
    let tree = base.path().join("tree");
    fs::create_dir_all(tree.join("usr/lib")).unwrap();
    fs::write(tree.join("usr/lib/text"), text(200)).unwrap();
    fs::write(tree.join("usr/lib/os-release"), "ID=x\n").unwrap();
    symlink("text", tree.join("usr/lib/link")).unwrap();
    let path = |name: &str| base.path().join(name).to_str().unwrap().to_owned();
    let source = tree.to_str().unwrap();
    run("mkfs.erofs", &["--quiet", &path("plain.erofs"), source]);
    run("mkfs.erofs", &["--quiet", "-zlz4", &path("packed.erofs"), source]);
    run("mksquashfs", &[source, &path("squashfs"), "-quiet", "-no-progress"]);
    run("truncate", &["-s", "256K", &path("ext2"), &path("ext4")]);
    run("mke2fs", &["-q", "-F", "-t", "ext2", "-d", source, &path("ext2")]);
    let ext4 = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-N", "32", "-d", source];
    run("mke2fs", &[&ext4[..], &[&path("ext4")]].concat());
    run("truncate", &["-s", "128K", &path("vfat")]);
    run("mkfs.fat", &["-F", "12", &path("vfat")]);
    run("mmd", &["-i", &path("vfat"), "::usr"]);
    let file = tree.join("usr/lib/text");
    run("mcopy", &["-i", &path("vfat"), file.to_str().unwrap(), "::usr/a long name"]);
    for name in ["plain.erofs", "packed.erofs", "squashfs", "ext2", "ext4", "vfat"] {
        let whole = fs::read(path(name)).unwrap();
        assert!(read(whole.clone()).is_ok(), "{name}: {:?}", read(whole.clone()).err());
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for cut in (0..used).step_by(512) {
            if let Err(error) = read(whole[..cut].to_vec()) {
                assert!(error.contains("at byte") || error.contains("not read"), "{name}: {error}");
            }
        }
        let mut state = 7_u64;
        let mut errors = 0;
        for _ in 0..400 {
            let mut damaged = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 20) as usize % (used + 1);
                damaged[at] = (state >> 11) as u8;
            }
            errors += usize::from(read(damaged).is_err());
        }
        // FAT has no sums and few fields that can be wrong.
        assert!(errors > 0 || name == "vfat", "{name}: no damage was noticed");
    }
}

/// Reads all of an image.
fn read(image: Vec<u8>) -> Result<(), String> {
    let image: Arc<dyn Blocks> = Arc::new(image);
    let disk = Disk::open(image).map_err(|e| e.to_string())?;
    if let Some(why) = disk.parts.iter().find_map(|part| part.refused.clone()) {
        return Err(why);
    }
    disk.subject("damaged".to_owned(), &|| ()).map(drop).map_err(|e| e.to_string())
}
