//! A boot image compressed once: dracut's drop-in that leaves the compression to `fix`, the option that
//! says with what, and compressed bytes that are taken from an earlier image.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use reprofix::env::SourceDateEpoch;
use reprofix::format::compress::Packing;
use reprofix::format::initramfs::{Earlier, Outcome};
use reprofix::normal::Context;
use reprofix::plugins::{default_context, find, initramfs};

const EPOCH: SourceDateEpoch = SourceDateEpoch::new(1_600_000_000);
const DROP_IN: &str = "usr/lib/dracut/dracut.conf.d/zz-reprofix-uncompressed.conf";
const IMAGE: &str = "usr/lib/modules/6.1.0/initramfs.img";

fn put(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn ours() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn fixture(side: &str, compression: &str) -> Vec<u8> {
    let pairs = ours().join("tests/plugins/initramfs/pair").join(side);
    fs::read(pairs.join("usr/lib/modules").join(compression).join("initramfs.img")).unwrap()
}

fn fix(root: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    let command = command.arg("fix").arg(root).args(["--source-date-epoch", "1600000000"]);
    command.args(words).output().unwrap()
}

/// A root whose configuration of dracut asks for a fast zstd, and for an ACPI table in front.
fn root(drop_in: bool) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    put(&at("etc/dracut.conf"), "# compress=\"cat\"\n");
    put(&at("etc/dracut.conf.d/05-early.conf"), "compress=\"xz\"\nacpi_override=yes\n");
    put(&at("etc/dracut.conf.d/10-compress.conf"), "compress=\"zstd -3 -T0\"\n");
    fs::create_dir_all(at("usr/lib/dracut/dracut.conf.d")).unwrap();
    fs::create_dir_all(at("usr/lib/modules/6.1.0")).unwrap();
    if drop_in {
        fs::copy(ours().join("hooks/dracut/zz-reprofix-uncompressed.conf"), at(DROP_IN)).unwrap();
    }
    root
}

/// Runs dracut with the configuration in `root` and gives its image.
fn dracut(root: &Path) -> Vec<u8> {
    let work = tempfile::tempdir().unwrap();
    let (conf, image) = (work.path().join("conf.d"), work.path().join("image"));
    for folder in ["usr/lib/dracut/dracut.conf.d", "etc/dracut.conf.d"] {
        for file in fs::read_dir(root.join(folder)).unwrap() {
            let file = file.unwrap();
            put(&conf.join(file.file_name()), fs::read(file.path()).unwrap());
        }
    }
    put(&work.path().join("acpi/DSDT.aml"), b"a table");
    let table = format!("acpi_table_dir={}\n", work.path().join("acpi").display());
    put(&conf.join("06-table.conf"), table);
    let done = Command::new("dracut")
        .args(["--force", "--no-hostonly", "--no-kernel", "--kver", "6.1.0", "-m", "base"])
        .args(["--reproducible", "--tmpdir"])
        .arg(work.path())
        .arg("--conf")
        .arg(root.join("etc/dracut.conf"))
        .arg("--confdir")
        .args([&conf, &image])
        .output()
        .unwrap();
    fs::read(&image).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&done.stderr)))
}

/// The compressions of an image's archives; `None` is a plain one.
fn packings(image: &[u8]) -> Vec<Option<Packing>> {
    let done = initramfs::unpack(&mut Cursor::new(image), &default_context(EPOCH)).unwrap();
    done.image.segments.iter().map(|s| s.packing).collect()
}

#[test]
fn dracuts_drop_in_leaves_one_compression_and_the_same_bytes() {
    if Command::new("dracut").arg("--help").output().is_err() {
        eprintln!("skipped: no dracut here (dracut-core)");
        return;
    }
    let (without, with) = (root(false), root(true));
    for root in [&without, &with] {
        put(&root.path().join(IMAGE), dracut(root.path()));
    }
    let read = |root: &tempfile::TempDir| fs::read(root.path().join(IMAGE)).unwrap();
    assert_eq!(packings(&read(&without)), [None, Some(Packing::Zstd(3))]);
    assert_eq!(packings(&read(&with)), [None, None], "dracut compressed nothing");
    for root in [&without, &with] {
        let done = fix(root.path(), &[]);
        assert!(done.status.success(), "{done:?}");
    }
    let fixed = read(&with);
    assert_eq!(packings(&fixed), [None, Some(Packing::Zstd(3))], "the table in front stays plain");
    assert!(fixed == read(&without), "not the bytes that there are without the drop-in");
    // No trace: two roots are one, and what runs dracut later does as its configuration says.
    assert!(!with.path().join(DROP_IN).exists());
    assert!(fix(with.path(), &["--check"]).status.success(), "the second run changes something");
    assert_eq!(packings(&dracut(with.path())), [None, Some(Packing::Zstd(3))]);
    let unpacked = initramfs::unpack(&mut Cursor::new(&fixed), &default_context(EPOCH)).unwrap();
    let ours = |name: &[u8]| String::from_utf8_lossy(name).contains("reprofix");
    assert!(!unpacked.image.entries().any(|e| ours(&e.name)), "the image has our drop-in");
}

#[test]
fn the_drop_in_waits_for_dracut() {
    let root = root(true);
    assert!(fix(root.path(), &[]).status.success());
    assert!(root.path().join(DROP_IN).exists(), "dracut has not run yet");
    put(&root.path().join(IMAGE), fixture("a", "zstd"));
    assert!(fix(root.path(), &[]).status.success());
    assert!(!root.path().join(DROP_IN).exists());
}

#[test]
fn the_treefile_names_the_drop_in() {
    let text = fs::read_to_string(ours().join("treefiles/initramfs-once.yaml")).unwrap();
    assert!(text.contains("../hooks/dracut/zz-reprofix-uncompressed.conf"));
    assert!(text.contains(&format!("\"/{DROP_IN}\"")));
}

fn with_option(value: &str) -> Context {
    let mut cx = default_context(EPOCH);
    cx.options.insert(("initramfs".into(), "compress".into()), value.into());
    cx
}

fn form(image: &[u8], cx: &Context) -> (Vec<u8>, Outcome) {
    let (canonical, outcome) = initramfs::form(Cursor::new(image), cx).unwrap();
    (canonical.map_or_else(|| image.to_vec(), |spooled| spooled.bytes().unwrap()), outcome)
}

#[test]
fn every_choice_is_what_the_image_is_compressed_with_whatever_it_was() {
    let page = find("initramfs").unwrap().page();
    let option = page.options.iter().find(|o| o.name == "compress").unwrap();
    let choices: Vec<_> = option.values.iter().filter(|v| !v.starts_with("as-")).collect();
    assert_eq!(choices.len(), 10);
    for choice in choices {
        let cx = with_option(choice);
        let images = ["plain", "zstd", "gzip", "early"].map(|c| form(&fixture("a", c), &cx).0);
        let name = choice.split('-').next().unwrap();
        let main = |image: &Vec<u8>| packings(image).last().copied().flatten();
        for image in &images {
            assert_eq!(main(image).map(Packing::name), Some(name), "{choice}");
            assert!(!form(image, &cx).1.changed, "{choice}: the second run changes something");
        }
        assert!(images[0] == images[1] && images[0] == images[2], "{choice}");
        assert_eq!(packings(&images[3])[0], None, "{choice}: microcode is compressed");
    }
}

#[test]
fn what_dracut_recorded_is_taken_where_asked_and_doubt_leaves_the_image() {
    let plain = fixture("a", "plain");
    let packing = |files: &[(&str, &str)], word: &str| {
        let root = tempfile::tempdir().unwrap();
        put(&root.path().join(IMAGE), &plain);
        files.iter().for_each(|(path, text)| put(&root.path().join(path), text));
        let done = fix(root.path(), &["--set", &format!("initramfs.compress={word}")]);
        assert!(done.status.success(), "{done:?}");
        let image = fs::read(root.path().join(IMAGE)).unwrap();
        (packings(&image)[0], String::from_utf8(done.stderr).unwrap())
    };
    let zstd = ("etc/dracut.conf.d/9-a.conf", "compress=\"zstd -19\"\n");
    let gzip = ("usr/lib/dracut/dracut.conf.d/10-b.conf", "compress=gzip\n");
    let cat = ("usr/etc/dracut.conf.d/11-c.conf", "compress=cat\n");
    let none = ("usr/lib/dracut/dracut.conf.d/x.conf", "hostonly=no\n");
    let masked = ("etc/dracut.conf.d/10-b.conf", "\n");
    for (files, word, expected) in [
        (&[zstd][..], "as-found", None),
        (&[zstd], "as-recorded", Some(Packing::Zstd(19))),
        (&[zstd, gzip], "as-recorded", Some(Packing::Gzip(9))),
        (&[zstd, gzip, masked], "as-recorded", Some(Packing::Zstd(19))),
        (&[zstd, gzip, cat], "as-recorded", None),
        (&[none], "as-recorded", Some(Packing::Gzip(9))),
    ] {
        assert_eq!(packing(files, word).0, expected, "{word} {files:?}");
    }
    for (file, what) in [
        (("etc/dracut.conf", "\ncompress=\"$best\"\n"), "etc/dracut.conf:2: "),
        (("etc/dracut.conf", "compress=\"zstd --ultra -22\"\n"), "\"--ultra\""),
    ] {
        let (found, said) = packing(&[file], "as-recorded");
        assert_eq!(found, None);
        assert!(said.contains(what) && said.contains("--set initramfs.compress="), "{said}");
    }
    assert!(packing(&[], "as-recorded").1.contains("no configuration of dracut"));
}

fn earlier(image: &[u8]) -> Result<Earlier, reprofix::format::initramfs::Error> {
    let file = || tempfile::tempfile().unwrap();
    Earlier::read(image, file(), file())
}

/// The canonical form where an earlier image is there, and whether something of it was taken.
fn reusing(image: &[u8], before: &[u8], cx: &Context) -> (Vec<u8>, bool) {
    let mut cx = cx.clone();
    cx.earlier = Arc::new(earlier(before).into_iter().collect());
    let (canonical, outcome) = form(image, &cx);
    assert_eq!(outcome.reused == 0, !outcome.repacked.is_empty());
    (canonical, outcome.reused == 1)
}

/// What a member unpacks to, compressed by zstd's encoder without threads: another's bytes with the
/// same header.
fn by_another(content: &[u8], level: i32) -> Vec<u8> {
    let mut out = zstd::Encoder::new(Vec::new(), level).unwrap();
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

#[test]
fn an_earlier_image_gives_its_bytes_only_where_they_unpack_to_the_same() {
    let (new, cx) = (fixture("b", "plain"), with_option("zstd-3"));
    let (fresh, _) = form(&new, &cx);
    let content = zstd::decode_all(&fresh[..]).unwrap();
    let old = by_another(&content, 3);
    assert!(old != fresh, "the test shows nothing: both compressors made the same");
    assert_eq!(reusing(&new, &old, &cx), (old.clone(), true));
    // And where nothing but times differs.
    let later = form(&fixture("a", "plain"), &cx).0;
    assert_eq!(reusing(&new, &later, &cx), (later, true));

    let mut near: Vec<(&str, Vec<u8>)> = Vec::new();
    let at = content.windows(4).position(|w| w == b"2999").unwrap();
    let mut changed = content.clone();
    changed[at] ^= 1;
    near.push(("one byte of a file off", by_another(&changed, 3)));
    let mut longer = content.clone();
    longer.extend([0; 512]);
    near.push(("zeros behind the archive", by_another(&longer, 3)));
    near.push(("the archive twice", by_another(&content.repeat(2), 3)));
    near.push(("another level", by_another(&content, 19)));
    near.push(("another compression", form(&new, &with_option("gzip-9")).0));
    near.push(("plain", content.clone()));
    near.push(("cut", old[..old.len() - 1].to_vec()));
    let mut broken = old.clone();
    *broken.last_mut().unwrap() ^= 1;
    broken[20] ^= 1;
    near.push(("a byte of the compressed off", broken));
    for (what, before) in near {
        assert_eq!(reusing(&new, &before, &cx), (fresh.clone(), false), "{what}");
    }
    // One frame more: only the frame that was proven is taken.
    for (what, more) in [
        ("a frame with an archive", by_another(&content, 3)),
        ("an empty frame", by_another(b"", 3)),
        ("a skippable frame", b"\x50\x2a\x4d\x18\x04\0\0\0junk".to_vec()),
    ] {
        let (got, taken) = reusing(&new, &[&old[..], &more].concat(), &cx);
        assert!(got == if taken { old.clone() } else { fresh.clone() }, "{what}");
        assert!(zstd::decode_all(&got[..]).unwrap() == content, "{what}");
    }
    // Who wants what no earlier compressor has a say in gets it.
    let mut always = cx.clone();
    always.options.insert(("initramfs".into(), "recompress".into()), "always".into());
    assert_eq!(reusing(&new, &old, &always), (fresh, false));
}

#[test]
fn a_gzip_member_with_a_time_in_it_is_not_taken() {
    let (new, cx) = (fixture("b", "plain"), with_option("gzip-9"));
    let (fresh, _) = form(&new, &cx);
    assert_eq!(reusing(&new, &fresh, &cx), (fresh.clone(), true));
    let mut timed = fresh.clone();
    timed[4] = 1;
    assert_eq!(reusing(&new, &timed, &cx), (fresh, false));
}

#[test]
fn fix_takes_bytes_from_a_file_a_root_and_a_commit_and_never_in_the_nightly_job() {
    let old = tempfile::tempdir().unwrap();
    let (new, cx) = (fixture("b", "plain"), with_option("zstd-3"));
    let content = zstd::decode_all(&form(&new, &cx).0[..]).unwrap();
    let bytes = by_another(&content, 3);
    put(&old.path().join("usr/lib/modules/6.0.9/initramfs.img"), &bytes);
    let file = old.path().join("image");
    put(&file, &bytes);
    let repo = tempfile::tempdir().unwrap();
    let repo = repo.path().join("repo");
    let ostree = |words: &[&str]| {
        let mut command = Command::new("ostree");
        command.arg(format!("--repo={}", repo.display())).args(words).output().unwrap()
    };
    ostree(&["init", "--mode=bare"]);
    let tree = format!("--tree=dir={}", old.path().display());
    assert!(ostree(&["commit", "-b", "old", &tree]).status.success());
    let subjects = [
        file.display().to_string(),
        old.path().display().to_string(),
        format!("ostree:{}:old", repo.display()),
    ];
    for subject in &subjects {
        let root = tempfile::tempdir().unwrap();
        put(&root.path().join(IMAGE), &new);
        let done = fix(root.path(), &["--set", "initramfs.compress=zstd-3", "--reuse", subject]);
        assert!(done.status.success(), "{done:?}");
        assert!(fs::read(root.path().join(IMAGE)).unwrap() == bytes, "{subject}: {done:?}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(said.contains("1 member taken from an earlier image"), "{said}");
    }
    let root = tempfile::tempdir().unwrap();
    put(&root.path().join(IMAGE), &new);
    let done = Command::new(env!("CARGO_BIN_EXE_reprofix"))
        .args(["fix", "--source-date-epoch", "1600000000", "--reuse", &subjects[0]])
        .arg(root.path())
        .env("REPROFIX_RUN", "a build of the nightly job")
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("would hide what a compressor does"));
    assert!(fs::read(root.path().join(IMAGE)).unwrap() == new);
    // `initramfs rewrite` has the same option.
    let out = old.path().join("out");
    let done = Command::new(env!("CARGO_BIN_EXE_reprofix"))
        .args(["initramfs", "rewrite", "--source-date-epoch", "1600000000"])
        .args(["--set", "initramfs.compress=zstd-3", "--reuse", &subjects[0], "--out"])
        .args([&out, &root.path().join(IMAGE)])
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(fs::read(out).unwrap() == bytes);
}
