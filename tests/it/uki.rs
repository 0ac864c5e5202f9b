//! Unified kernel images, made with systemd's stub and objcopy: `check`, `initramfs ls` and `initramfs
//! diff` name the sections that differ and open the initramfs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::repo::{reprofix, run};

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// A directory in which images are made.
struct Bed(tempfile::TempDir);

impl Bed {
    fn new() -> Self {
        assert!(Path::new(STUB).exists(), "there is no {STUB}; install systemd-boot-efi");
        Bed(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A gzipped cpio archive with one file.
    fn initrd(&self, name: &str, content: &str) -> PathBuf {
        let tree = self.path(&format!("{name}.tree"));
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/conf"), content).unwrap();
        let to = self.path(name);
        let script = "cd \"$1\" && find . -exec touch -d @1 {} + && find . | sort \
                      | cpio --quiet --reproducible -R 0:0 -o -H newc | gzip -n > \"$2\"";
        run("sh", &["-c", script, "sh", tree.to_str().unwrap(), to.to_str().unwrap()]);
        to
    }

    /// The stub with these sections.
    fn image(&self, name: &str, sections: &[(&str, &[u8])]) -> PathBuf {
        let to = self.path(name);
        let mut args = Vec::new();
        for (n, (section, content)) in sections.iter().enumerate() {
            let file = self.path(&format!("{name}{section}"));
            fs::write(&file, content).unwrap();
            args.push(format!("--add-section={section}={}", file.display()));
            args.push(format!("--change-section-vma={section}={:#x}", 0x2000_0000 + (n << 24)));
        }
        let mut all: Vec<&str> = args.iter().map(String::as_str).collect();
        all.extend([STUB, to.to_str().unwrap()]);
        run("objcopy", &all);
        to
    }
}

/// What `check` of the two images says in its rows, and what `initramfs diff` does.
fn said(a: &Path, b: &Path) -> (String, String) {
    let [a, b] = [a, b].map(|path| path.to_str().unwrap());
    let (code, text, err) = reprofix(&["check", a, b, "--source-date-epoch=1"]);
    assert_eq!(code, 1, "{err}");
    let (code, diff, err) = reprofix(&["initramfs", "diff", a, b]);
    assert_eq!(code, 1, "{err}");
    (text, diff)
}

#[test]
fn the_section_that_differs_is_named() {
    let bed = Bed::new();
    let initrd = |name: &str, content| fs::read(bed.initrd(name, content)).unwrap();
    let (one, two) = (initrd("one", "left\n"), initrd("two", "right\n"));
    let base: Vec<(&str, &[u8])> = vec![
        (".osrel", b"ID=a\nVERSION_ID=1\n"),
        (".cmdline", b"root=/dev/vda quiet"),
        (".linux", b"a kernel"),
        (".initrd", &one),
    ];
    let with = |section: &str, content: &'static [u8]| {
        let mut sections = base.clone();
        sections.iter_mut().filter(|s| s.0 == section).for_each(|s| s.1 = content);
        sections
    };
    let a = bed.image("a.efi", &base);
    for (name, sections, wanted) in [
        ("osrel", with(".osrel", b"ID=a\nVERSION_ID=2\n"), ".osrel: +VERSION_ID=2"),
        ("cmdline", with(".cmdline", b"root=/dev/vdb quiet"), ".cmdline: -root=/dev/vda quiet"),
        ("linux", with(".linux", b"A kernel"), ".linux: 8 bytes, differing from byte 0 on"),
    ] {
        let b = bed.image(&format!("{name}.efi"), &sections);
        let (check, diff) = said(&a, &b);
        for text in [&check, &diff] {
            assert!(text.contains(wanted), "{name}: {text}");
            assert!(!text.contains(".initrd"), "{name}: {text}");
            assert!(!text.contains("signature") && !text.contains("signed"), "{name}: {text}");
        }
    }
    let mut other = base.clone();
    other[3].1 = &two;
    let (check, diff) = said(&a, &bed.image("initrd.efi", &other));
    for text in [&check, &diff] {
        assert!(
            text.contains(".initrd: etc/conf: content, line 1: \"left\" | \"right\""),
            "{text}"
        );
        assert!(!text.contains(".linux"), "{text}");
    }
    // The linker's time alone.
    let mut bytes = fs::read(&a).unwrap();
    let header = u32::from_le_bytes(bytes[0x3c..0x40].try_into().unwrap()) as usize;
    bytes[header + 8] ^= 1;
    fs::write(bed.path("time.efi"), &bytes).unwrap();
    let (check, diff) = said(&a, &bed.path("time.efi"));
    assert!(check.contains("the PE header's time: "), "{check}");
    assert!(diff.starts_with("the PE header's time: ") && diff.lines().count() == 1, "{diff}");
    let (code, text, _) =
        reprofix(&["initramfs", "diff", a.to_str().unwrap(), a.to_str().unwrap()]);
    assert_eq!((code, &*text), (0, "same\n"));
}

/// An addon has no initramfs, and is explained all the same.
#[test]
fn an_addon_is_explained() {
    let bed = Bed::new();
    let a = bed.image("a.addon.efi", &[(".cmdline", b"one")]);
    let b = bed.image("b.addon.efi", &[(".cmdline", b"two")]);
    let (check, diff) = said(&a, &b);
    assert!(check.contains(".cmdline: -one") && check.contains(".cmdline: +two"), "{check}");
    assert_eq!(diff, ".cmdline: -one\n.cmdline: +two\n");
    let (code, _, err) = reprofix(&["initramfs", "ls", a.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("a PE file without a section .initrd"), "{err}");
}

/// A signature is spoken of only where there is a certificate table.
#[test]
fn a_signature_is_named_only_where_there_is_one() {
    let bed = Bed::new();
    let image = bed.image("a.efi", &[(".cmdline", b"one"), (".initrd", b"")]);
    let (key, cert) = (bed.path("key.pem"), bed.path("cert.pem"));
    let [key, cert] = [&key, &cert].map(|path| path.to_str().unwrap());
    run(
        "openssl",
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=t", "-keyout", key,
            "-out", cert,
        ],
    );
    let signed = bed.path("signed.efi");
    let arguments = ["--key", key, "--cert", cert, "--output"];
    run("sbsign", &[&arguments[..], &[signed.to_str().unwrap(), image.to_str().unwrap()]].concat());
    let (check, _) = said(&image, &signed);
    assert!(check.contains("signed only in the second"), "{check}");
    let (code, text, err) = reprofix(&[
        "check",
        signed.to_str().unwrap(),
        image.to_str().unwrap(),
        "--source-date-epoch=1",
    ]);
    assert_eq!(code, 1, "{err}");
    assert!(text.contains("signed only in the first"), "{text}");
}

#[test]
fn the_initramfs_of_an_image_is_listed_and_compared_with_a_bare_one() {
    let bed = Bed::new();
    let bare = bed.initrd("bare", "x\n");
    let image = bed.image("a.efi", &[(".initrd", &fs::read(&bare).unwrap())]);
    let list = |path: &Path| {
        let (code, text, err) = reprofix(&["initramfs", "ls", path.to_str().unwrap()]);
        assert_eq!(code, 0, "{err}");
        text
    };
    assert_eq!(list(&image), list(&bare));
    assert!(list(&image).contains("etc/conf"));
    let [image, bare] = [&image, &bare].map(|path| path.to_str().unwrap());
    let (code, text, err) = reprofix(&["initramfs", "diff", image, bare]);
    assert_eq!((code, &*text), (0, "same\n"), "{err}");
}
