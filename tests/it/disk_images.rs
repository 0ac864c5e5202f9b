//! Whole disk images by the real systemd-repart, mke2fs, mkfs.fat, mksquashfs and qemu-img: what
//! `check` says of two, path by path and byte by byte.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::repo::{reprofix, run};

const SEED: &str = "0123456789abcdef0123456789abcdef";

struct Bed(tempfile::TempDir);

impl Bed {
    fn new() -> Self {
        Bed(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A system with a text and bytecode that was compiled at `time`.
    fn tree(&self, name: &str, text: &str, time: u32) -> PathBuf {
        let tree = self.path(name);
        let modules = tree.join("usr/lib/python3/dist-packages");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir_all(tree.join("usr/share/x")).unwrap();
        fs::create_dir_all(tree.join("boot")).unwrap();
        fs::create_dir_all(tree.join("efi")).unwrap();
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("usr/lib/os-release"), "ID=bed\n").unwrap();
        fs::write(tree.join("usr/share/x/text"), text).unwrap();
        fs::write(tree.join("usr/share/x/large"), "the same\n".repeat(20_000)).unwrap();
        let source = modules.join("one.py");
        fs::write(&source, "ONE = 1\n").unwrap();
        let at = format!("@{time}");
        run("touch", &["-d", &at, source.to_str().unwrap()]);
        run("python3", &["-m", "compileall", "-q", modules.to_str().unwrap()]);
        run("touch", &["-d", "@1", source.to_str().unwrap()]);
        let all = ["-c", "find \"$1\" -exec touch -h -d @1 {} +", "sh"];
        run("sh", &[&all[..], &[tree.to_str().unwrap()]].concat());
        tree
    }

    /// A disk of an EFI system partition, an ext4 boot partition and a root of this format.
    fn disk(&self, name: &str, tree: &Path, format: &str, id: &str) -> PathBuf {
        let (esp, boot, root) = ("esp", "boot", format!("{name}.root"));
        let source = tree.to_str().unwrap();
        for part in [esp, boot] {
            fs::remove_file(self.path(part)).ok();
            run("truncate", &["-s", "2M", &self.text(part)]);
        }
        run("mkfs.fat", &["--invariant", "-F", "12", &self.text(esp)]);
        let release = tree.join("usr/lib/os-release");
        run("mcopy", &["-m", "-i", &self.text(esp), release.to_str().unwrap(), "::loader.conf"]);
        let uuid = format!("00000000-0000-0000-0000-0000000000{id}");
        let hash = "hash_seed=00000000-0000-0000-0000-000000000001";
        let ext4 = ["-q", "-F", "-t", "ext4", "-E", hash, "-U", &uuid];
        run("mke2fs", &[&ext4[..], &[&self.text(boot)]].concat());
        fs::remove_file(self.path(&root)).ok();
        match format {
            "ext4" => {
                run("truncate", &["-s", "6M", &self.text(&root)]);
                run("mke2fs", &[&ext4[..], &["-d", source, &self.text(&root)]].concat());
            }
            _ => {
                let to = self.text(&root);
                run("mksquashfs", &[source, &to, "-quiet", "-no-progress", "-all-time", "1"]);
                run("truncate", &["-s", "%4096", &to]);
            }
        }
        let definitions = self.path(&format!("{name}.d"));
        fs::create_dir_all(&definitions).unwrap();
        for (n, (kind, part)) in
            [("esp", esp), ("xbootldr", boot), ("root", &root)].iter().enumerate()
        {
            let text = format!("[Partition]\nType={kind}\nCopyBlocks={}\n", self.text(part));
            fs::write(definitions.join(format!("{n}.conf")), text).unwrap();
        }
        let image = self.path(&format!("{name}.raw"));
        fs::remove_file(&image).ok();
        let done = Command::new("systemd-repart")
            .arg(format!("--definitions={}", definitions.display()))
            .args(["--empty=create", "--size=auto", "--dry-run=no", "--json=off"])
            .arg(format!("--seed={SEED}"))
            .arg(&image)
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .stdout(Stdio::null())
            .output()
            .expect("systemd-repart is installed (tests/e2e/deps)");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        image
    }
}

fn check(a: &Path, b: &Path) -> (i32, String) {
    let (code, text, err) =
        reprofix(&["check", a.to_str().unwrap(), b.to_str().unwrap(), "--source-date-epoch=1"]);
    (code, text + &err)
}

/// The bytes of each class, and their sum.
fn classes(a: &Path, b: &Path) -> (std::collections::BTreeMap<String, u64>, u64) {
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let (_, text, err) = reprofix(&["check", a, b, "--source-date-epoch=1", "--json=-"]);
    let report: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{err}"));
    let broken = crate::schema::violations("reprofix-check-1", &report);
    assert!(broken.is_empty(), "{broken:?}");
    let rows = report["disks"]["classes"].as_array().unwrap();
    let row = |row: &serde_json::Value| {
        (row["class"].as_str().unwrap().to_owned(), row["bytes"].as_u64().unwrap())
    };
    (rows.iter().map(row).collect(), report["disks"]["bytes"].as_u64().unwrap())
}

/// Bytes that differ, as cmp counts them.
fn counted_by_cmp(a: &Path, b: &Path) -> u64 {
    let out = Command::new("cmp").arg("-l").args([a, b]).output().unwrap();
    out.stdout.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[test]
fn contents_of_partitions_are_compared_path_by_path_with_causes() {
    let bed = Bed::new();
    let (one, two) = (bed.tree("one", "left\n", 10), bed.tree("two", "right\n", 20));
    for format in ["squashfs", "ext4"] {
        let (a, b) = (bed.disk("a", &one, format, "01"), bed.disk("b", &two, format, "01"));
        let (code, text) = check(&a, &b);
        assert_eq!(code, 1, "{text}");
        for line in [
            "1 path fixable: pycache",
            "/usr/lib/python3/dist-packages/__pycache__/one.cpython-",
            "1 path unexplained",
            "/usr/share/x/text  [content] 5 B → 6 B",
            "-left",
            "+right",
            "0  unexplained",
        ] {
            assert!(text.contains(line), "{format}: no {line:?} in:\n{text}");
        }
        let (found, sum) = classes(&a, &b);
        assert_eq!(found["unexplained"], 0, "{text}");
        assert_eq!(found.values().sum::<u64>(), sum);
        assert!(found["contents"] > 0, "{format}: {text}");
        if fs::metadata(&a).unwrap().len() == fs::metadata(&b).unwrap().len() {
            assert_eq!(sum, counted_by_cmp(&a, &b), "{format}: {text}");
        }
        // The same as a file of a tree.
        for (side, image) in [("x", &a), ("y", &b)] {
            let place = bed.path(side).join("usr/lib/extensions");
            fs::create_dir_all(&place).unwrap();
            fs::copy(image, place.join("bed.raw")).unwrap();
        }
        let (code, text) = check(&bed.path("x"), &bed.path("y"));
        assert_eq!(code, 1, "{text}");
        for line in [
            "/usr/lib/extensions/bed.raw",
            "in it: /usr/share/x/text [content] unexplained",
            "__pycache__/one.cpython-",
            "[content] fixable: pycache",
        ] {
            assert!(text.contains(line), "{format}: no {line:?} in:\n{text}");
        }
        for side in ["x", "y"] {
            fs::remove_dir_all(bed.path(side)).unwrap();
        }
    }
}

/// Two disks of one tree: only identifiers differ, each in its field.
#[test]
fn identifiers_are_named_where_the_contents_are_equal() {
    let bed = Bed::new();
    let tree = bed.tree("one", "text\n", 10);
    let (a, b) = (bed.disk("a", &tree, "ext4", "01"), bed.disk("b", &tree, "ext4", "02"));
    let (code, text) = check(&a, &b);
    assert_eq!(code, 1, "{text}");
    for line in
        ["ext4: UUID 00000000-0000-0000-0000-000000000001 → ", "same content; ", "0  unexplained"]
    {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    let (found, sum) = classes(&a, &b);
    assert_eq!((found["contents"], found["unexplained"]), (0, 0), "{text}");
    assert!(found["identifiers"] > 0 && found["layout"] < 2000, "{text}");
    assert_eq!(sum, counted_by_cmp(&a, &b), "{text}");
}

/// An image of QEMU, compressed or not, is the disk that is in it.
#[test]
fn a_qcow2_image_is_the_disk_in_it() {
    let bed = Bed::new();
    let tree = bed.tree("one", "text\n", 10);
    let raw = bed.disk("a", &tree, "ext4", "01");
    let ways: [&[&str]; 5] = [
        &[],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-o", "compat=0.10,cluster_size=4096"],
        &["-o", "preallocation=metadata"],
    ];
    for (n, way) in ways.iter().enumerate() {
        let image = bed.text(&format!("{n}.qcow2"));
        let base = ["convert", "-O", "qcow2"];
        run("qemu-img", &[&base[..], way, &[&*bed.text("a.raw"), &image]].concat());
        let (code, text) = check(&raw, Path::new(&image));
        assert_eq!(code, 0, "{way:?}: {text}");
        let bytes = fs::read(&image).unwrap();
        // What is cut off is an error, with its place; the first table, and the data.
        for cut in [60, 70_000, bytes.len() / 2] {
            fs::write(bed.path("cut"), &bytes[..cut.min(bytes.len() - 600)]).unwrap();
            let subject = format!("disk:{}", bed.text("cut"));
            let (code, text) = check(&raw, Path::new(&subject));
            assert!(code == 2 && text.contains("at byte"), "{way:?}, cut at {cut}: {text}");
        }
    }
    let image = bed.text("backed.qcow2");
    let base = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
    run("qemu-img", &[&base[..], &[&*bed.text("a.raw"), &image]].concat());
    let (code, text) = check(&raw, Path::new(&image));
    assert!(code == 2 && text.contains("it has a backing file: run qemu-img convert"), "{text}");
}

/// Other forms of images are named where they are to be read, and compared by their headers.
#[test]
fn other_forms_of_images_are_compared_by_their_headers() {
    let bed = Bed::new();
    fs::write(bed.path("raw"), "text\n".repeat(10_000)).unwrap();
    run("truncate", &["-s", "1M", &bed.text("raw")]);
    for (form, wanted) in [
        ("vdi", "vdi: UUID of the image (random) "),
        ("vpc", "vhd: UUID (random) "),
        ("vmdk", "vmdk: id of the content (random) "),
    ] {
        let [a, b] = ["a", "b"].map(|side| bed.path(&format!("{side}.{form}")));
        for image in [&a, &b] {
            let to = image.to_str().unwrap();
            run("qemu-img", &["convert", "-O", form, &bed.text("raw"), to]);
        }
        let (code, text) = check(&a, &b);
        assert!(code == 1 && text.contains(wanted), "{form}: {text}");
        let [a, b] = [a, b].map(|image| PathBuf::from(format!("disk:{}", image.display())));
        let (code, text) = check(&a, &b);
        assert!(code == 2 && text.contains("qemu-img convert -O raw"), "{form}: {text}");
    }
}

/// Two deployments of two commits are compared as the running systems see them.
#[test]
fn deployments_of_ostree_are_compared_as_the_systems_that_run() {
    let bed = Bed::new();
    let disk = |side: &str, text: &str| {
        let tree = bed.tree(&format!("{side}.tree"), text, 10);
        let kernel = tree.join("usr/lib/modules/1");
        fs::create_dir_all(&kernel).unwrap();
        fs::create_dir_all(tree.join("usr/etc")).unwrap();
        fs::create_dir_all(tree.join("sysroot")).unwrap();
        fs::remove_dir(tree.join("etc")).unwrap();
        fs::write(kernel.join("vmlinuz"), "a kernel").unwrap();
        fs::write(kernel.join("initramfs.img"), "its initramfs").unwrap();
        let root = bed.text(&format!("{side}.sysroot"));
        fs::create_dir(&root).unwrap();
        let option = format!("--sysroot={root}");
        run("ostree", &["admin", &option, "init-fs", &root]);
        run("ostree", &["admin", &option, "os-init", "bed"]);
        let repo = format!("--repo={root}/ostree/repo");
        run("ostree", &["config", &repo, "set", "sysroot.bootloader", "none"]);
        let from = format!("--tree=dir={}", tree.display());
        run("ostree", &["commit", &repo, "-b", "bed", "--timestamp=@1", "-s", "", &from]);
        run("ostree", &["admin", &option, "deploy", "--os=bed", "bed"]);
        let image = bed.path(&format!("{side}.ext4"));
        run("truncate", &["-s", "16M", image.to_str().unwrap()]);
        run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", &root, image.to_str().unwrap()]);
        // A deployment's root may not be removed until this is taken back.
        run("sh", &["-c", "chattr -i \"$1\"/ostree/deploy/bed/deploy/*.0", "sh", &root]);
        image
    };
    let (a, b) = (disk("a", "left\n"), disk("b", "right\n"));
    let (code, text) = check(&a, &b);
    assert_eq!(code, 1, "{text}");
    for line in [
        ".0 is compared as the running system sees it",
        "/usr/share/x/text  [content] 5 B → 6 B",
        "+right",
    ] {
        assert!(text.contains(line), "no {line:?} in:\n{text}");
    }
    assert!(!text.contains("/sysroot/ostree/repo/objects/"), "{text}");
    let (found, _) = classes(&a, &b);
    assert_eq!(found["unexplained"], 0, "{text}");
}
