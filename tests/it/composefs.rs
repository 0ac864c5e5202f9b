//! Composefs digests: those of other implementations, of two views of one image, and of what a
//! unified kernel image carries.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use reprofix::composefs::{GENERATIONS, hex};
use reprofix::format::composefs::{
    Content, Directory, Leaf, Meta, Node, Tree, Verity, Version, dumpfile, image,
};
use tempfile::TempDir;

/// Trees as composefs-dump(5), made at random: every type, hard links, names that are not UTF-8,
/// attributes of every prefix, whiteouts, times at the edges. Before each is a line with the digests
/// that the crate composefs 0.9.4 gives it, in format V1 and V2; C mkcomposefs 1.0.8
/// (`--min-version=1`) wrote the same images of such trees byte for byte.
const TREES: &str = include_str!("../fixtures/composefs/trees.dump");

#[test]
fn images_are_those_of_composefs_itself() {
    let mut count = 0;
    for part in TREES.split("# ").filter(|part| !part.is_empty()) {
        let (digests, text) = part.split_once('\n').unwrap();
        let (v1, v2) = digests.split_once(' ').unwrap();
        let tree = parse(text);
        let digest = |version| hex(&Verity::of(&image(&tree, version).unwrap()));
        assert_eq!(digest(Version::V1), v1, "{text}");
        assert_eq!(digest(Version::V2), v2, "{text}");
        assert_eq!(dumpfile(&tree), text);
        count += 1;
    }
    assert_eq!(count, 30);
}

/// A tree from its text. The format is read here for the test alone, so anything odd panics.
fn parse(text: &str) -> Tree {
    let mut tree = Tree::default();
    let mut leaves: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let path = unescaped(fields[0]);
        let links = fields[2].strip_prefix('@').is_some();
        let node = if links {
            Node::Leaf(leaves[&unescaped(fields[8])])
        } else {
            let mode = u32::from_str_radix(fields[2], 8).unwrap();
            let (seconds, nanoseconds) = fields[7].split_once('.').unwrap();
            let attribute = |text: &&str| {
                let (name, value) = text.split_once('=').unwrap();
                (unescaped(name), unescaped(value))
            };
            let meta = Meta {
                mode: (mode & 0o7777) as u16,
                uid: fields[4].parse().unwrap(),
                gid: fields[5].parse().unwrap(),
                seconds: seconds.parse().unwrap(),
                nanoseconds: nanoseconds.parse().unwrap(),
                xattrs: fields[11..].iter().map(attribute).collect(),
            };
            let device = fields[6].parse().unwrap();
            let text = |text: &str| if text == "-" { Vec::new() } else { unescaped(text) };
            let content = match mode & 0o170_000 {
                0o040_000 => None,
                0o100_000 if fields[10] != "-" => {
                    let size = fields[1].parse().unwrap();
                    let byte = |at| u8::from_str_radix(&fields[10][at..at + 2], 16).unwrap();
                    let digest = std::array::from_fn(|n| byte(2 * n));
                    Some(Content::External { digest, size })
                }
                0o100_000 => Some(Content::Inline(text(fields[9]))),
                0o120_000 => Some(Content::Symlink(text(fields[8]))),
                0o020_000 => Some(Content::Character(device)),
                0o060_000 => Some(Content::Block(device)),
                0o010_000 => Some(Content::Fifo),
                _ => Some(Content::Socket),
            };
            match content {
                None => Node::Directory(Directory { meta, ..Directory::default() }),
                Some(content) => {
                    tree.leaves.push(Leaf { meta, content });
                    leaves.insert(path.clone(), tree.leaves.len() - 1);
                    Node::Leaf(tree.leaves.len() - 1)
                }
            }
        };
        let mut parts: Vec<&[u8]> = path[1..].split(|b| *b == b'/').collect();
        let name = parts.pop().unwrap();
        let mut at = &mut tree.root;
        for part in parts {
            let Some(Node::Directory(below)) = at.entries.get_mut(part) else { panic!("{line}") };
            at = below;
        }
        match node {
            Node::Directory(root) if name.is_empty() => *at = root,
            node => drop(at.entries.insert(name.to_vec(), node)),
        }
    }
    tree
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, byte == b'\\') {
            (byte, false) => out.push(byte),
            _ => out.push(match bytes.next().unwrap() {
                b'x' => {
                    let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).unwrap()
                }
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => other,
            }),
        }
    }
    out
}

#[test]
fn verity_digests_are_those_of_the_kernels_own_tool() {
    // `fsverity digest --hash-alg=sha512`, of zeros: none, one byte, a block, a block and a byte, 64
    // blocks (one block of hashes), and one byte more.
    let of = |size: usize| hex(&Verity::of(&vec![0; size]));
    let text = include_str!("../fixtures/composefs/verity.txt");
    for line in text.lines() {
        let (size, digest) = line.split_once(' ').unwrap();
        assert_eq!(of(size.parse().unwrap()), digest, "{size} bytes");
    }
    assert_eq!(text.lines().count(), 8);
    // However it comes in.
    let mut verity = Verity::default();
    (0..300_000).collect::<Vec<u32>>().chunks(777).for_each(|c| verity.update(&vec![0; c.len()]));
    assert_eq!(hex(&verity.finish()), of(300_000));
}

/// A small root as bootc wants it, in a folder.
fn root() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("usr/bin/tool", &"tool\n".repeat(2000));
    put("usr/lib/os-release", "ID=test\n");
    put("run/leftover", "not counted");
    put("etc/selinux/config", "SELINUXTYPE=targeted\n");
    let policy = "/.*  system_u:object_r:any_t:s0\n/usr(/.*)?  system_u:object_r:usr_t:s0\n";
    put("etc/selinux/targeted/contexts/files/file_contexts", policy);
    for name in ["boot", "sysroot"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::os::unix::fs::symlink("tool", dir.path().join("usr/bin/link")).unwrap();
    std::fs::hard_link(dir.path().join("usr/bin/tool"), dir.path().join("usr/bin/same")).unwrap();
    dir
}

fn reprofix(arguments: &[&str]) -> (Option<i32>, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_reprofix")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code(), text(done.stdout), text(done.stderr))
}

/// The folder as the one layer of an image, by umoci; `tar` gets more arguments.
fn layout(root: &Path, work: &Path, tar: &[&str]) -> String {
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let archive = work.join("layer.tar").display().to_string();
    let place = work.join("layout").display().to_string();
    let mut arguments = vec!["--create", "--file", &archive, "--format=posix", "--sort=name"];
    let folder = root.display().to_string();
    arguments.extend(["--directory", &folder, "--xattrs", "--numeric-owner"]);
    arguments.extend(tar);
    arguments.push(".");
    run("tar", &arguments);
    run("umoci", &["init", "--layout", &place]);
    let image = format!("{place}:latest");
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["raw", "add-layer", "--image", &image, &archive]);
    format!("oci:{image}")
}

#[test]
fn a_directory_and_its_layers_have_one_digest() {
    let (root, work) = (root(), tempfile::tempdir().unwrap());
    let folder = root.path().display().to_string();
    let image = layout(root.path(), work.path(), &[]);
    for generation in GENERATIONS.map(|generation| generation.name) {
        let of = |subject: &str| {
            let (code, digest, error) =
                reprofix(&["composefs", "digest", subject, "--bootc", generation]);
            assert_eq!(code, Some(0), "{error}");
            digest
        };
        let digest = of(&folder);
        assert_eq!(digest.trim_end().len(), 128);
        assert_eq!(of(&image), digest, "{generation}");
    }
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(0), "{text}");
    // What /run holds does not count, what /usr holds does.
    std::fs::write(root.path().join("run/leftover"), "another").unwrap();
    assert_eq!(reprofix(&["composefs", "check", &image, &folder]).0, Some(0));
    std::fs::write(root.path().join("usr/lib/os-release"), "ID=best\n").unwrap();
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(1));
    assert!(text.contains("content: 1 entry, the first /usr/lib/os-release"), "{text}");
}

/// What bootc issue 2194 is about: layers record one time for directories, extraction leaves another.
#[test]
fn times_of_directories_are_named_and_fix_makes_them_one() {
    let (root, work) = (root(), tempfile::tempdir().unwrap());
    let folder = root.path().display().to_string();
    let image = layout(root.path(), work.path(), &["--mtime=@0"]);
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("times of directories: "), "{text}");
    assert!(text.contains("bootc 2194") && text.ends_with("not the same\n"), "{text}");

    let fix = ["fix", &folder, "--source-date-epoch", "1700000000", "--set", "mtime.set=all"];
    let (code, _, error) = reprofix(&fix);
    assert_eq!(code, Some(0), "{error}");
    let again = tempfile::tempdir().unwrap();
    let image = layout(root.path(), again.path(), &["--mtime=@1700000000"]);
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_sealed_boot_image_is_held_against_the_digest() {
    let stub = Path::new("/usr/lib/systemd/boot/efi/linuxx64.efi.stub");
    if !stub.exists() {
        println!("skipped: {} is not here (package systemd-boot-efi)", stub.display());
        assert!(std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_none(), "it is required");
        return;
    }
    let root = root();
    let folder = root.path().display().to_string();
    let digest = reprofix(&["composefs", "digest", &folder]).1;
    let seal = |digest: &str| {
        let line = root.path().join("run/cmdline");
        std::fs::write(&line, format!("rw composefs={digest} quiet")).unwrap();
        let place = root.path().join("boot/EFI/Linux");
        std::fs::create_dir_all(&place).unwrap();
        let done = Command::new("objcopy")
            .arg("--add-section")
            .arg(format!(".cmdline={}", line.display()))
            .args(["--change-section-vma", ".cmdline=0x30000"])
            .args([stub, &place.join("test.efi")])
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    seal(digest.trim_end());
    let (code, text, error) = reprofix(&["composefs", "check", &folder]);
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.contains("boot/EFI/Linux/test.efi: carries this digest"), "{text}");
    seal(&"0".repeat(128));
    let (code, text, _) = reprofix(&["composefs", "check", &folder]);
    assert_eq!(code, Some(1));
    assert!(text.contains("refuse to boot"), "{text}");
}

#[test]
fn what_bootc_refuses_is_refused_with_the_reason() {
    let root = root();
    let folder = root.path().display().to_string();
    std::fs::remove_dir(root.path().join("sysroot")).unwrap();
    let (code, _, error) = reprofix(&["composefs", "digest", &folder]);
    assert_eq!(code, Some(2));
    assert!(error.contains("/sysroot"), "{error}");
    std::fs::create_dir(root.path().join("sysroot")).unwrap();
    let policy = root.path().join("etc/selinux/targeted/contexts/files/file_contexts");
    std::fs::write(policy, "/usr(?!/x).*  label\n").unwrap();
    let (code, _, error) = reprofix(&["composefs", "digest", &folder]);
    assert_eq!(code, Some(2));
    assert!(error.contains("file_contexts") && error.contains("(?!/x)"), "{error}");
    let (code, _, error) = reprofix(&["composefs", "digest", &folder, "--bootc", "0.1"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("1.16.4"), "{error}");
}
