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
    assert_eq!(reprofix(&["composefs", "check", &image]).0, Some(0));
    // What /run holds does not count, what /usr holds does.
    std::fs::write(root.path().join("run/leftover"), "another").unwrap();
    assert_eq!(reprofix(&["composefs", "check", &image, &folder]).0, Some(0));
    std::fs::write(root.path().join("usr/lib/os-release"), "ID=best\n").unwrap();
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(1));
    assert!(text.contains("1 file: another content, the first /usr/lib/os-release"), "{text}");
}

/// An attribute that bootc 1.16.0 counts in layers and not in a directory: `check` of the image alone
/// says that its two views do not agree.
#[test]
fn views_that_do_not_agree_are_found_without_the_directory() {
    let (root, work) = (root(), tempfile::tempdir().unwrap());
    let file = root.path().join("usr/bin/tool");
    let done = Command::new("setfattr")
        .args(["-n", "user.component", "-v", "tools"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(done.success());
    let image = layout(root.path(), work.path(), &["--xattrs-include=*"]);
    assert_eq!(reprofix(&["composefs", "check", &image]).0, Some(0));
    let (code, text, _) = reprofix(&["composefs", "check", &image, "--bootc", "1.16.0"]);
    assert_eq!(code, Some(1), "{text}");
    let said = "2 files: other extended attributes, the first /usr/bin/same (user.component)";
    assert!(text.contains(said) && text.contains("extracted (directory)"), "{text}");
    let digest = ["composefs", "digest", &image, "--bootc", "1.16.0"];
    let layers = reprofix(&digest);
    assert!(layers.2.contains("extracted"), "{}", layers.2);
    let directory = reprofix(&[&digest[..], &["--view", "directory"]].concat()).1;
    let folder = root.path().display().to_string();
    assert_eq!(directory, reprofix(&["composefs", "digest", &folder, "--bootc", "1.16.0"]).1);
    assert_ne!(directory, layers.1);
}

/// What bootc issue 2194 is about: layers record one time for directories, extraction leaves another.
#[test]
fn times_of_directories_are_named_and_fix_makes_them_one() {
    let (root, work) = (root(), tempfile::tempdir().unwrap());
    let folder = root.path().display().to_string();
    let image = layout(root.path(), work.path(), &["--mtime=@0"]);
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(" directories: time of extraction, the first / ("), "{text}");
    assert!(text.contains("bootc issue 2194") && text.ends_with("not the same\n"), "{text}");

    let fix = ["fix", &folder, "--source-date-epoch", "1700000000", "--profile", "composefs"];
    let (code, _, error) = reprofix(&fix);
    assert_eq!(code, Some(0), "{error}");
    let again = tempfile::tempdir().unwrap();
    let image = layout(root.path(), again.path(), &["--mtime=@1700000000"]);
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(0), "{text}");
}

/// A layer that changes a directory without an entry for it: bootc keeps the time below, an
/// extraction leaves its own.
#[test]
fn directories_that_a_layer_does_not_list_are_named() {
    let (root, work) = (root(), tempfile::tempdir().unwrap());
    let image = layout(root.path(), work.path(), &[]);
    let more = root.path().join("usr/lib/more");
    std::fs::write(&more, "more\n").unwrap();
    add_layer(&image, root.path(), work.path(), &["./usr/lib/more"]);
    let (code, text, _) = reprofix(&["composefs", "check", &image]);
    assert_eq!(code, Some(1), "{text}");
    let said =
        "1 directory: time of extraction, once it is extracted, the first /usr/lib\n  layer 2";
    assert!(text.contains(said), "{text}");
    add_layer(
        &image,
        root.path(),
        work.path(),
        &["--no-recursion", "./usr", "./usr/lib", "./usr/lib/more"],
    );
    assert_eq!(reprofix(&["composefs", "check", &image]).0, Some(0));
}

/// Two builds whose trees differ in nothing that ostree hashes, sealed: `check` names the plugins,
/// and after `fix` with the profile they are one.
#[test]
fn check_of_two_sealed_builds_compares_the_digest() {
    let Some(stub) = stub() else { return };
    let roots = [root(), root()];
    let folders = roots.each_ref().map(|root| root.path().display().to_string());
    let [a, b] = &folders;
    for root in &roots {
        seal(&stub, root.path(), "test.efi", &format!("composefs={}", "0".repeat(128)));
    }
    touch(&roots[1].path().join("usr/lib/os-release"), "2001-02-03 04:05:06");
    let check = |more: &[&str]| reprofix(&[&["check", a.as_str(), b][..], more].concat());
    let (code, text, error) = check(&[]);
    assert_eq!(code, Some(1), "{text}{error}");
    for said in [
        "composefs digests (bootc 1.16.4):",
        "1 file: ",
        "fixable: mtime; run `reprofix fix --profile composefs`",
        "`reprofix fix --profile composefs` on both makes the digests equal",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.ends_with("same content; the composefs digests differ\n"), "{text}");
    let (_, json, _) = check(&["--json", "-"]);
    let json = serde_json::from_str(&json).unwrap();
    assert_eq!(crate::schema::violations("reprofix-check-1", &json), Vec::<String>::new());
    assert_eq!(json["composefs"]["same"], false);
    assert_eq!(json["composefs"]["deviations"][0]["plugin"], "mtime");
    // The other forms of the report say it too.
    for form in ["--markdown", "--html", "--sarif", "--junit"] {
        let (code, text, _) = check(&[form, "-"]);
        assert_eq!(code, Some(1));
        let digest = json["composefs"]["a"]["digest"].as_str().unwrap();
        assert!(
            text.contains("composefs digest") && text.contains(&digest[..32]),
            "{form}: {text}"
        );
    }

    for folder in &folders {
        let fix = ["fix", folder, "--source-date-epoch", "1700000000", "--profile", "composefs"];
        assert_eq!(reprofix(&fix).0, Some(0));
    }
    let (code, text, _) = check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("composefs digest (bootc 1.16.4): the same"), "{text}");
}

/// The same of images, whose times alone differ, with what no commit can hold.
#[test]
fn check_of_two_sealed_images_compares_the_digest() {
    let Some(stub) = stub() else { return };
    let root = root();
    let folder = root.path().display().to_string();
    seal(&stub, root.path(), "test.efi", &format!("composefs={}", "0".repeat(128)));
    let fifo = root.path().join("usr/lib/pipe");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let built = |time: Option<&str>| {
        let work = tempfile::tempdir().unwrap();
        let image = layout(root.path(), work.path(), &time.into_iter().collect::<Vec<_>>());
        (work, image)
    };
    let ((_x, x), (_y, y)) = (built(Some("--mtime=@1")), built(Some("--mtime=@2")));
    let (code, text, _) = reprofix(&["check", &x, &y]);
    assert_eq!(code, Some(1), "{text}");
    for said in [
        "composefs digests (bootc 1.16.4):",
        "1 special file: another modification time, the first /usr/lib/pipe",
        "`reprofix fix --profile composefs` on both makes the digests equal",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let fix = ["fix", &folder, "--source-date-epoch", "1700000000", "--profile", "composefs"];
    let mut images = Vec::new();
    for date in ["2001-02-03 04:05:06.5", "2002-02-03"] {
        [&fifo, &root.path().join("usr/lib")].iter().for_each(|path| touch(path, date));
        assert_eq!(reprofix(&fix).0, Some(0));
        images.push(built(None));
    }
    let (_, text, _) = reprofix(&["check", &images[0].1, &images[1].1]);
    assert!(text.contains("composefs digest (bootc 1.16.4): the same, "), "{text}");
    let digest = |image: &str| reprofix(&["composefs", "digest", image]).1;
    assert_eq!(digest(&images[0].1), digest(&images[1].1));
    assert_eq!(digest(&images[0].1), digest(&folder));
}

/// What neither is sealed with is not compared.
#[test]
fn builds_that_are_not_sealed_have_no_digest_in_a_comparison() {
    let roots = [root(), root()];
    let [a, b] = roots.each_ref().map(|root| root.path().display().to_string());
    let (_, json, _) = reprofix(&["check", &a, &b, "--json", "-"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["composefs"], serde_json::Value::Null);
    assert_eq!(json["same"], true);
}

#[test]
fn fix_reports_the_digest_beside_the_checksum() {
    let root = root();
    let folder = root.path().display().to_string();
    let fix = ["fix", &folder, "--source-date-epoch", "1700000000", "--report"];
    let (code, text, error) = reprofix(&fix);
    assert_eq!(code, Some(0), "{error}");
    let digest = reprofix(&["composefs", "digest", &folder]).1;
    assert!(text.contains("content checksum "), "{text}");
    assert!(text.contains(&format!("composefs digest {digest}")), "{text}");
    let (_, json, _) = reprofix(&[&fix[..], &["--json", "-"]].concat());
    let json = serde_json::from_str(&json).unwrap();
    assert_eq!(crate::schema::violations("reprofix-fix-1", &json), Vec::<String>::new());
    assert_eq!(json["composefs_digest"], digest.trim_end());
    // bootc does not boot this one.
    std::fs::remove_dir(root.path().join("sysroot")).unwrap();
    let (code, text, _) = reprofix(&fix);
    assert_eq!(code, Some(0));
    assert!(!text.contains("composefs"), "{text}");
}

#[test]
fn a_profile_is_what_is_set_and_all_else_wins_over_it() {
    let root = root();
    let folder = root.path().display().to_string();
    let config = |more: &[&str]| {
        reprofix(&[&["config", folder.as_str(), "--source-date-epoch", "1"][..], more].concat())
    };
    let (code, text, _) = config(&["--profile", "composefs"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("set = \"all\"  # profile composefs"), "{text}");
    assert!(text.contains("[plugins.xattrs]\nenabled = true  # profile composefs"), "{text}");
    let (_, text, _) =
        config(&["--profile", "composefs", "--set", "mtime.set=later", "--skip", "xattrs"]);
    assert!(text.contains("set = \"later\"  # command line"), "{text}");
    assert!(text.contains("[plugins.xattrs]\nenabled = false  # command line"), "{text}");
    let file = root.path().join("reprofix.toml");
    std::fs::write(&file, "profile = \"composefs\"\n").unwrap();
    let (_, text, _) = config(&["--config", file.to_str().unwrap()]);
    assert!(text.contains("set = \"all\"  # profile composefs"), "{text}");
    let (code, _, error) = config(&["--profile", "compose"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("did you mean \"composefs\"?"), "{error}");
}

#[test]
#[cfg(feature = "nightly")]
fn the_record_has_the_digest_beside_the_checksum() {
    let (roots, work) = ([root(), root()], tempfile::tempdir().unwrap());
    let [a, b] = roots.each_ref().map(|root| root.path().display().to_string());
    touch(&roots[0].path().join("usr/lib/os-release"), "2001-02-03 04:05:06");
    let config = work.path().join("nightly.toml");
    let history = work.path().join("history.sqlite");
    std::fs::write(&config, format!("history = '{}'\n", history.display())).unwrap();
    let config = config.to_str().unwrap();
    let compare = ["nightly", "compare", "--nightly", config, "--stream=s", &a, &b];
    let (code, _, error) = reprofix(&compare);
    // Times are no difference of commits.
    assert_eq!(code, Some(0), "{error}");
    let show = ["history", "show", "1", "--history", history.to_str().unwrap()];
    let (_, json, error) = reprofix(&[&show[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).expect(&error);
    assert_eq!(crate::schema::violations("reprofix-history-1", &json), Vec::<String>::new());
    let text = reprofix(&show).1;
    for (key, label, folder) in
        [("composefs_a", "composefs A", &a), ("composefs_b", "composefs B", &b)]
    {
        let digest = reprofix(&["composefs", "digest", folder]).1;
        let digest = digest.trim_end();
        assert_eq!(json["run"][key], digest, "{json}");
        assert!(text.contains(&format!("{label:14} {digest}")), "{text}");
    }
    assert_ne!(json["run"]["composefs_a"], json["run"]["composefs_b"]);
    // What bootc does not boot has none.
    std::fs::remove_dir(roots[0].path().join("sysroot")).unwrap();
    assert_eq!(reprofix(&compare).0, Some(1));
    let show = ["history", "show", "2", "--history", history.to_str().unwrap(), "--json"];
    let json: serde_json::Value = serde_json::from_str(&reprofix(&show).1).unwrap();
    assert_eq!(json["run"]["composefs_a"], serde_json::Value::Null);
    assert!(json["run"]["composefs_b"].is_string());
}

fn stub() -> Option<std::path::PathBuf> {
    let stub = Path::new("/usr/lib/systemd/boot/efi/linuxx64.efi.stub");
    if !stub.exists() {
        println!("skipped: {} is not here (package systemd-boot-efi)", stub.display());
        assert!(std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_none(), "it is required");
        return None;
    }
    Some(stub.to_owned())
}

/// Puts a unified kernel image with this command line into a root.
fn seal(stub: &Path, root: &Path, name: &str, line: &str) {
    let file = root.join("run/cmdline");
    std::fs::write(&file, format!("rw {line} quiet")).unwrap();
    let place = root.join("boot/EFI/Linux");
    std::fs::create_dir_all(&place).unwrap();
    let done = Command::new("objcopy")
        .arg("--add-section")
        .arg(format!(".cmdline={}", file.display()))
        .args(["--change-section-vma", ".cmdline=0x30000"])
        .args([stub, &place.join(name)])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn touch(path: &Path, date: &str) {
    let done = Command::new("touch").args(["-h", "-d", date]).arg(path).status().unwrap();
    assert!(done.success());
}

/// Adds what tar makes of `members` as a layer on top of an image.
fn add_layer(image: &str, root: &Path, work: &Path, members: &[&str]) {
    let archive = work.join("more.tar").display().to_string();
    let folder = root.display().to_string();
    let mut arguments = vec!["--create", "--file", &archive, "--format=posix", "--sort=name"];
    arguments.extend(["--directory", &folder, "--numeric-owner"]);
    arguments.extend(members);
    let image = image.strip_prefix("oci:").unwrap();
    let add = ["raw", "add-layer", "--image", image, &archive];
    for (program, arguments) in [("tar", &arguments[..]), ("umoci", &add[..])] {
        let done = Command::new(program).args(arguments).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn a_sealed_boot_image_is_held_against_the_digest() {
    let Some(stub) = stub() else { return };
    let root = root();
    let folder = root.path().display().to_string();
    let digest = |bootc: &str| {
        reprofix(&["composefs", "digest", &folder, "--bootc", bootc]).1.trim_end().to_owned()
    };
    let (v1, v2) = (digest("1.16.4"), digest("1.16.0"));
    let other = "0".repeat(128);
    let check = || {
        let (code, text, error) = reprofix(&["composefs", "check", &folder]);
        (code, text + &error)
    };
    let refused = "the machine will refuse to boot";
    // The command line, the exit code, and what is said of it.
    let cases = [
        (format!("composefs={v1}"), 0, vec!["boot/EFI/Linux/test.efi: carries this digest"]),
        (format!("composefs=?{}", v1.to_uppercase()), 0, vec!["carries this digest"]),
        (format!("composefs.digest=v1-sha512-12:{v1}"), 0, vec!["carries this digest"]),
        // Both, as bootc pull request 2248 has it.
        (
            format!("composefs.digest=v1-sha512-12:{v1} composefs={v2}"),
            0,
            vec!["carries this digest", "carries the digest that bootc 1.16.0 computes for it\n"],
        ),
        (
            format!("composefs={v1} composefs.digest=v1-sha256-12:{}", "0".repeat(64)),
            0,
            vec!["SHA-256, which bootc ignores"],
        ),
        ("quiet".to_owned(), 0, vec!["carries no composefs digest"]),
        (format!("composefs={v2}"), 1, vec!["bootc 1.16.0 computes for it; the machine", refused]),
        (format!("composefs={other}"), 1, vec!["of none of these", refused]),
        // One is right, the other one of another tree.
        (format!("composefs={v1} composefs={other}"), 1, vec!["carries this", "of none of these"]),
        ("composefs=abc".to_owned(), 1, vec!["what bootc refuses: it is not a digest of 128"]),
        (format!("composefs.digest={v1}"), 1, vec!["it names no format", refused]),
    ];
    for (line, code, said) in cases {
        seal(&stub, root.path(), "test.efi", &line);
        let (found, text) = check();
        assert_eq!(found, Some(code), "{line}: {text}");
        said.iter().for_each(|said| assert!(text.contains(said), "{line}: {said}: {text}"));
    }
    // What cannot be read is an error, not a finding.
    std::fs::write(root.path().join("boot/EFI/Linux/test.efi"), "MZ").unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("boot/EFI/Linux/test.efi: it is not a PE program"), "{text}");
}

#[test]
fn what_was_changed_after_the_seal_is_named() {
    let Some(stub) = stub() else { return };
    let (root, work) = (root(), tempfile::tempdir().unwrap());
    let folder = root.path().display().to_string();
    let image = layout(root.path(), work.path(), &[]);
    let digest = reprofix(&["composefs", "digest", &folder]).1;
    seal(&stub, root.path(), "test.efi", &format!("composefs={}", digest.trim_end()));
    add_layer(&image, root.path(), work.path(), &["./boot"]);
    assert_eq!(reprofix(&["composefs", "check", &image]).0, Some(0));

    std::fs::write(root.path().join("usr/lib/os-release"), "ID=best\n").unwrap();
    add_layer(
        &image,
        root.path(),
        work.path(),
        &["--no-recursion", "./usr/lib", "./usr/lib/os-release"],
    );
    let (code, text, error) = reprofix(&["composefs", "check", &image]);
    assert_eq!(code, Some(1), "{text}{error}");
    let said = "carries the digest of the lowest 2 of 3 layers: the image was changed after the \
                seal; the machine will refuse to boot";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("1 file: another content, the first /usr/lib/os-release"), "{text}");
    let (_, json, _) = reprofix(&["composefs", "check", &image, "--json", "-"]);
    let json = serde_json::from_str(&json).unwrap();
    assert_eq!(crate::schema::violations("reprofix-composefs-1", &json), Vec::<String>::new());
    let claim = &json["ukis"][0]["claims"][0];
    assert_eq!(claim["of"]["kind"], "lowest-layers");
    assert_eq!((&claim["of"]["layers"], &claim["of"]["of"]), (&2.into(), &3.into()));
    // The directory as it was sealed, as another view.
    std::fs::write(root.path().join("usr/lib/os-release"), "ID=test\n").unwrap();
    let (code, text, _) = reprofix(&["composefs", "check", &image, &folder]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("1 file: another content, the first /usr/lib/os-release"), "{text}");
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
