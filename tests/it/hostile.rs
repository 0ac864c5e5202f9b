//! Trees that lead astray: links out of the root, special files where plugins expect files, names
//! of an inode outside. The real binary; nothing outside changes, nothing hangs.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};

const BIN: &str = env!("CARGO_BIN_EXE_reprofix");
const DATABASE: &str = "tests/fixtures/rpmdb/sqlite/one/rpmdb.sqlite";
/// What plugins open by path: files, and directories that hold what they look for.
const OPENED: &[&str] = &[
    "usr/share/rpm",
    "usr/share/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm",
    "usr/lib/sysimage/rpm-ostree-base-db",
    "var/lib/rpm/Packages",
    "usr/lib/python3.11/__pycache__",
    "usr/lib/python3.11/x.pyc",
    "etc",
    "etc/machine-id",
    "etc/shadow",
    "usr/etc/passwd",
    "var/log",
    "usr/share/rpm-ostree/treefile.json",
    "usr/share/rpm-ostree",
    "etc/pki/ca-trust/extracted/java/cacerts",
    "usr/lib/modules/6.1/initramfs.img",
];

/// A name and what makes the thing of that name at a path.
type Maker<'a> = (&'a str, &'a dyn Fn(&Path));

/// `fix`, or a failure after a minute: opening a FIFO waits for ever.
fn fix(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(BIN);
    command.arg("fix").arg(root).args(["--source-date-epoch", "1600000000"]).args(more);
    command.env_remove("SOURCE_DATE_EPOCH").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn database() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(DATABASE)).unwrap()
}

fn put(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Every path below `dir` with its type, mode, links, time and bytes.
fn snapshot(dir: &Path) -> Vec<(PathBuf, u32, u64, i64, Vec<u8>)> {
    let walk = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().map(|e| e.unwrap());
    let row = |e: walkdir::DirEntry| {
        let meta = e.path().symlink_metadata().unwrap();
        let bytes = if meta.is_file() { fs::read(e.path()).unwrap() } else { Vec::new() };
        (e.into_path(), meta.mode(), meta.nlink(), meta.mtime(), bytes)
    };
    walk.map(row).collect()
}

/// What each plugin would change, outside the root.
fn outside(dir: &Path) -> PathBuf {
    let place = dir.join("outside");
    put(place.join("rpmdb.sqlite"), &database());
    put(place.join("Packages"), &database());
    put(place.join("x.cpython-311.pyc"), b"x");
    put(place.join("machine-id"), b"0123456789abcdef0123456789abcdef\n");
    put(place.join("shadow"), b"root:!:20000::::::\n");
    put(place.join("shadow-"), b"root:!:20000::::::\n");
    put(place.join("messages"), b"log");
    put(place.join("treefile.json"), br#"{"metadata": {"reprofix": {"skip": ["mtime"]}}}"#);
    place
}

#[test]
fn links_out_of_the_root_are_followed_by_no_plugin() {
    for path in OPENED {
        let file = Path::new(path).file_name().unwrap();
        for absolute in [true, false] {
            for target in [Path::new(""), Path::new(file), Path::new("rpmdb.sqlite")] {
                let dir = tempfile::tempdir().unwrap();
                let outside = outside(dir.path());
                let tree = dir.path().join("tree");
                let link = tree.join(path);
                fs::create_dir_all(link.parent().unwrap()).unwrap();
                put(tree.join("usr/bin/late"), b"x");
                let up = "../".repeat(path.split('/').count());
                let place = match absolute {
                    true => outside.join(target),
                    false => Path::new(&up).join("outside").join(target),
                };
                symlink(place, &link).unwrap();
                let before = snapshot(&outside);
                let output = fix(&tree, &[]);
                assert_eq!(snapshot(&outside), before, "{path}: {output:?}");
                assert!(matches!(output.status.code(), Some(0 | 2)), "{path}: {output:?}");
                // A treefile outside the root is none of this tree's: mtime still runs.
                let late = tree.join("usr/bin/late").metadata().unwrap().mtime();
                if output.status.code() == Some(0) {
                    assert_eq!(late, 1_600_000_000, "{path}: {output:?}");
                }
            }
        }
    }
}

#[test]
fn special_files_in_the_place_of_files_are_left_alone() {
    let make: &[Maker<'_>] = &[
        ("fifo", &|path| {
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        }),
        ("socket", &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("device", &|path| {
            let null = rustix::fs::makedev(1, 3);
            let mode = Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, null).unwrap();
        }),
    ];
    for (kind, make) in make {
        let dir = tempfile::Builder::new().prefix("s").tempdir_in("/tmp").unwrap();
        // A socket's name may be 107 bytes long.
        let tree = dir.path().join("t");
        for path in OPENED.iter().filter(|p| p.contains('.') || p.ends_with("machine-id")) {
            let place = tree.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            if !place.exists() {
                make(&place);
            }
        }
        let output = fix(&tree, &[]);
        assert_eq!(output.status.code(), Some(0), "{kind}: {output:?}");
        for path in ["usr/share/rpm/rpmdb.sqlite", "etc/machine-id"] {
            let kind_now = tree.join(path).symlink_metadata().unwrap().file_type();
            let special = kind_now.is_fifo() || kind_now.is_socket() || kind_now.is_char_device();
            assert!(special, "{kind}: {path} {output:?}");
        }
        assert_eq!(fix(&tree, &["--check"]).status.code(), Some(0), "{kind}");
    }
}

/// In a unified-core compose, files are hard links to objects of the repository.
#[test]
fn names_of_an_inode_outside_the_root_keep_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let names = ["usr/share/rpm/rpmdb.sqlite", "etc/machine-id", "etc/shadow", "var/log/messages"];
    let contents: [&[u8]; 4] =
        [&database(), b"0123456789abcdef0123456789abcdef\n", b"root:!:20000::::::\n", b"log"];
    let mut objects = Vec::new();
    for (index, (name, bytes)) in names.iter().zip(contents).enumerate() {
        let inside = put(tree.join(name), bytes);
        let object = dir.path().join(format!("object{index}"));
        fs::hard_link(inside, &object).unwrap();
        objects.push((object, bytes));
    }
    let base = tree.join("usr/lib/sysimage/rpm-ostree-base-db");
    fs::create_dir_all(&base).unwrap();
    fs::hard_link(tree.join(names[0]), base.join("rpmdb.sqlite")).unwrap();
    let output = fix(&tree, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for (object, bytes) in objects {
        assert_eq!(fs::read(&object).unwrap(), bytes, "{}", object.display());
    }
    let (own, copy) = (tree.join(names[0]), base.join("rpmdb.sqlite"));
    assert_ne!(fs::read(&own).unwrap(), database());
    let inode = |path: &Path| path.metadata().unwrap().ino();
    assert_eq!(inode(&own), inode(&copy), "the base copy stays linked");
    assert_eq!(fix(&tree, &["--check"]).status.code(), Some(0));
}

/// A database with a table that rpm does not make, and one whose pages are in its log alone.
#[test]
fn databases_of_another_make_are_left_alone_with_a_word() {
    let foreign = |path: &Path| {
        fs::write(path, database()).unwrap();
        let db = rusqlite::Connection::open(path).unwrap();
        db.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    };
    let log_only = |path: &Path| {
        let wal = path.with_file_name("rpmdb.sqlite-wal");
        fs::write(wal, [0x37, 0x7f, 0x06, 0x82, 0, 0, 0, 0]).unwrap();
        fs::write(path, b"").unwrap();
    };
    let cut = |path: &Path| fs::write(path, &database()[..20_000]).unwrap();
    let cases: [Maker<'_>; 3] = [("foreign", &foreign), ("log only", &log_only), ("cut", &cut)];
    for (name, make) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("usr/share/rpm/rpmdb.sqlite");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        make(&path);
        let before = fs::read(&path).unwrap();
        let output = fix(dir.path(), &["--strict"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("usr/share/rpm/rpmdb.sqlite"), "{name}: {said}");
        let output = fix(dir.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{name}: {said}");
        assert!(said.contains("usr/share/rpm/rpmdb.sqlite"), "{name}: {said}");
        assert_eq!(fs::read(&path).unwrap(), before, "{name}");
    }
}

/// Threads, locale, time zone, time and place of the run change neither tree nor report.
#[test]
fn reports_and_trees_do_not_depend_on_circumstances() {
    let run = |circumstances: &[(&str, &str)], jobs: &str| {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        put(tree.join("usr/share/rpm/rpmdb.sqlite"), &database());
        for index in 0..50 {
            put(tree.join(format!("usr/lib/m{index}/__pycache__/x.cpython-311.pyc")), b"x");
            put(tree.join(format!("usr/lib/m{index}/x.py")), b"pass\n");
        }
        put(tree.join("etc/shadow"), b"root:!:20000::::::\nodd line\n");
        let mut command = Command::new(BIN);
        command.args(["fix", "tree", "--json", "-", "--report", "--jobs", jobs]);
        command.args(["--source-date-epoch", "1600000000"]).current_dir(dir.path());
        let output = command.envs(circumstances.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = crate::schema::violations("reprofix-fix-1", &report);
        assert_eq!(found, Vec::<String>::new());
        // The one field that names the place.
        report["root"].take();
        let strip = |path: &Path| path.strip_prefix(dir.path()).unwrap().to_owned();
        let tree = snapshot(&tree).into_iter();
        let tree: Vec<_> = tree.map(|(p, m, n, t, b)| (strip(&p), m, n, t, b)).collect();
        (tree, report.to_string(), output.stderr)
    };
    let plain = run(&[("LC_ALL", "C"), ("TZ", "UTC")], "1");
    let other = [("LC_ALL", "tr_TR.UTF-8"), ("TZ", "Asia/Tokyo"), ("RAYON_NUM_THREADS", "3")];
    assert_eq!(run(&other, "8"), plain);
}
