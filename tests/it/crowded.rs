//! Roots that are crowded, shared or mounted in layers: thousands of links, names outside, other
//! runs, overlayfs and rofiles-fuse, planted files with our own names.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::{CWD, FileType, FlockOperation, Mode};

const BIN: &str = env!("CARGO_BIN_EXE_reprofix");
const EPOCH: i64 = 1_600_000_000;

fn command(root: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(BIN);
    command.arg("fix").arg(root).args(["--source-date-epoch", "1600000000"]).args(more);
    command.env_remove("SOURCE_DATE_EPOCH");
    command
}

fn fix(root: &Path, more: &[&str]) -> Output {
    command(root, more).output().unwrap()
}

/// One run is enough: it succeeds, and there is nothing left to change.
fn fixed_at_once(root: &Path) {
    let done = fix(root, &[]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let again = fix(root, &["--check"]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn put(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// A gzip file whose header has a time, of `text`.
fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut file = flate2::GzBuilder::new().mtime(1_700_000_000).write(Vec::new(), NONE);
    file.write_all(text).unwrap();
    file.finish().unwrap()
}

const NONE: flate2::Compression = flate2::Compression::none();

fn time(path: &Path) -> i64 {
    path.symlink_metadata().unwrap().mtime()
}

#[test]
fn an_inode_with_names_outside_keeps_its_time_there() {
    let dir = tempfile::tempdir().unwrap();
    let (root, outside) = (dir.path().join("root"), dir.path().join("cache"));
    let kept = put(outside.join("module.py"), b"pass\n");
    let before = kept.metadata().unwrap();
    fs::create_dir_all(root.join("usr/lib")).unwrap();
    for name in ["usr/lib/module.py", "usr/lib/again.py"] {
        fs::hard_link(&kept, root.join(name)).unwrap();
    }
    symlink("target", outside.join("link")).unwrap();
    fs::hard_link(outside.join("link"), root.join("usr/lib/link")).unwrap();
    let link = time(&outside.join("link"));
    let done = fix(&root, &[]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let after = kept.metadata().unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    assert_eq!(after.nlink(), 1, "the names inside have an inode of their own");
    let inside =
        ["module.py", "again.py"].map(|n| root.join("usr/lib").join(n).metadata().unwrap());
    assert_eq!(inside[0].ino(), inside[1].ino());
    assert_eq!(inside[0].mtime(), EPOCH);
    // For a link no new inode is made; it is said.
    assert_eq!(time(&outside.join("link")), link);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("usr/lib/link: mtime: left as it is"), "{said}");
    assert_eq!(fix(&root, &["--check"]).status.code(), Some(0));
}

#[test]
fn more_links_than_a_process_may_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let first = put(dir.path().join("usr/share/first.gz"), &gzip(b"text"));
    for n in 0..600 {
        let folder = dir.path().join(format!("usr/share/d{n}"));
        fs::create_dir(&folder).unwrap();
        fs::hard_link(&first, folder.join("x.gz")).unwrap();
        fs::hard_link(&first, folder.join("y.gz")).unwrap();
    }
    let mut shell = Command::new("sh");
    let script = "ulimit -n 128; exec \"$0\" fix \"$1\" --source-date-epoch 1600000000 --quiet";
    let done = shell.arg("-c").arg(script).arg(BIN).arg(dir.path()).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let first = first.metadata().unwrap();
    let last = dir.path().join("usr/share/d599/y.gz").metadata().unwrap();
    assert_eq!((first.nlink(), first.ino()), (1201, last.ino()));
    assert_eq!(fix(dir.path(), &["--check"]).status.code(), Some(0));
}

#[test]
fn links_to_one_file_are_read_once_and_held_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = put(dir.path().join("usr/share/first.gz"), &gzip(&vec![7; 12 << 20]));
    for n in 0..60 {
        fs::hard_link(&first, dir.path().join(format!("usr/share/{n}.gz"))).unwrap();
    }
    // 61 × 12 MB would not fit.
    let script = "ulimit -v 500000; exec \"$0\" fix \"$1\" --source-date-epoch 1600000000 -j 1 \
                  --dry-run --quiet --json -";
    let mut shell = Command::new("sh");
    let done = shell.arg("-c").arg(script).arg(BIN).arg(dir.path()).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["files_read"], 1, "{report}");
}

#[test]
fn two_runs_on_one_root_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path().join("usr/late"), b"");
    let other = fs::File::open(dir.path()).unwrap();
    rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
    for more in [&[][..], &["--check"]] {
        assert!(error(&fix(dir.path(), more)).contains("another run"), "{more:?}");
    }
    assert_ne!(time(&dir.path().join("usr/late")), EPOCH);
    // Those that only look do not disturb one another.
    rustix::fs::flock(&other, FlockOperation::LockShared).unwrap();
    assert_eq!(fix(dir.path(), &["--check"]).status.code(), Some(1));
    assert!(error(&fix(dir.path(), &[])).contains("another run"));
    drop(other);
    fixed_at_once(dir.path());
}

#[test]
fn a_report_that_cannot_be_written_stops_the_run_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let late = put(dir.path().join("usr/late"), b"");
    for place in ["/proc/none.json", "/nowhere/report.json", "/proc"] {
        let said = error(&fix(dir.path(), &["--json", place]));
        assert!(said.contains(place) && said.contains("nothing was done"), "{said}");
    }
    assert_ne!(time(&late), EPOCH);
    // What is no file is written to, not replaced.
    let null = Path::new("/dev/null").metadata().unwrap().mode();
    assert_eq!(fix(dir.path(), &["--json", "/dev/null"]).status.code(), Some(0));
    assert_eq!(Path::new("/dev/null").metadata().unwrap().mode(), null);
}

#[test]
fn threads_are_no_more_than_a_machine_bears() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("usr")).unwrap();
    let done = fix(dir.path(), &["--jobs", "99999"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("16 per processor"), "{done:?}");
}

/// The names of our own files stand beside what they are for: anybody who writes a tree can make
/// them.
#[test]
fn planted_names_of_ours_replace_nothing_and_block_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let passwd = put(dir.path().join("etc/passwd"), b"root:x:0:0::/:/bin/sh\n");
    let tag = |name: &str| {
        use sha2::{Digest, Sha256};
        let hash = Sha256::digest(name.as_bytes());
        hash.iter().take(8).map(|b| format!("{b:02x}")).collect::<String>()
    };
    for name in
        [".reprofix-unit-00-passwd".to_owned(), format!(".reprofix-ready-{}", tag("passwd"))]
    {
        let planted = put(dir.path().join("etc").join(&name), b"planted\n");
        let done = fix(dir.path(), &[]);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert!(fs::read(&passwd).unwrap().starts_with(b"root:"), "{name}");
        assert!(!planted.exists(), "{name}");
    }
    // An ndb pair changes as one, with a hold name beside its packages.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/ndb/rev");
    let rpm = dir.path().join("usr/share/rpm");
    fs::create_dir_all(&rpm).unwrap();
    for name in ["Packages.db", "Index.db"] {
        fs::copy(fixture.join(name), rpm.join(name)).unwrap();
    }
    let before = fs::read(rpm.join("Packages.db")).unwrap();
    let hold = rpm.join(format!(".reprofix-hold-{}", tag("Packages.db")));
    rustix::fs::mknodat(CWD, &hold, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let run = command(dir.path(), &[]).output().unwrap();
    let said = error(&run);
    assert!(said.contains("usr/share/rpm/Packages.db"), "{said}");
    assert!(fs::read(rpm.join("Packages.db")).unwrap() == before);
    fs::remove_file(&hold).unwrap();
    fixed_at_once(dir.path());
}

/// Runs a script as root in a mount namespace of its own; `None`, with the reason printed, where
/// that is forbidden.
fn in_namespace(script: &str, args: &[&Path]) -> Option<Output> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-euc", script, BIN]).args(args);
    let done = unshare.output().unwrap();
    if done.status.code() == Some(77) || String::from_utf8_lossy(&done.stderr).contains("unshare") {
        eprintln!("skipped: {}", String::from_utf8_lossy(&done.stderr).trim());
        return None;
    }
    Some(done)
}

/// What is bound over a file of the tree belongs to the host.
#[test]
fn what_is_mounted_over_a_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    put(root.join("usr/share/rpm-ostree/treefile.json"), br#"{"ref": "x"}"#);
    let evil = br#"{"metadata": {"reprofix": {"source-date-epoch": 7}}}"#;
    let evil = put(dir.path().join("evil.json"), evil);
    let script = "mount --bind \"$2\" \"$1/usr/share/rpm-ostree/treefile.json\" || exit 77
        SOURCE_DATE_EPOCH=1600000000 \"$0\" check \"dir:$1\" --json \"$3\" >&2 || true
        env -u SOURCE_DATE_EPOCH \"$0\" fix \"$1\"";
    let report = dir.path().join("report.json");
    let Some(done) = in_namespace(script, &[&root, &evil, &report]) else { return };
    assert!(error(&done).contains("source-date-epoch"), "{done:?}");
    // `check` counts what `fix` sees: without the file it has the checksum of a tree without it.
    let checksum = |report: &Path| {
        let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
        report["content_checksum"].clone()
    };
    let mounted = checksum(&report);
    fs::remove_file(root.join("usr/share/rpm-ostree/treefile.json")).unwrap();
    let mut check = Command::new(BIN);
    check.arg("check").arg(format!("dir:{}", root.display())).arg("--json").arg(&report);
    check.env("SOURCE_DATE_EPOCH", "1600000000").output().unwrap();
    assert_eq!(mounted, checksum(&report));
}

/// A tree with linked and single files that are late, files whose content changes by a byte or
/// whole, and a database.
fn layered(root: &Path) {
    let first = put(root.join("usr/share/a.gz"), &gzip(b"some text"));
    fs::hard_link(&first, root.join("usr/share/b.gz")).unwrap();
    put(root.join("usr/share/single.gz"), &gzip(b"other text"));
    let late = put(root.join("usr/lib/late"), b"late");
    for name in ["late2", "late3"] {
        fs::hard_link(&late, root.join("usr/lib").join(name)).unwrap();
    }
    put(root.join("usr/lib/alone"), b"alone");
    put(root.join("var/log/messages"), b"log");
    let db = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/sqlite/one");
    for place in ["usr/share/rpm", "usr/lib/sysimage/rpm-ostree-base-db"] {
        fs::create_dir_all(root.join(place)).unwrap();
    }
    let path = root.join("usr/share/rpm/rpmdb.sqlite");
    fs::copy(db.join("rpmdb.sqlite"), &path).unwrap();
    fs::hard_link(&path, root.join("usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite")).unwrap();
}

/// One run, then nothing is left to change, and names that were one inode, as far as the file system
/// says so, still are. (rofiles-fuse gives each name a number of its own.)
const ONE_RUN: &str = "
    one() {
        for pair in usr/share/a.gz:usr/share/b.gz usr/lib/late:usr/lib/late2 usr/lib/late:usr/lib/late3 \
            usr/share/rpm/rpmdb.sqlite:usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite; do
            if test \"$TREE/${pair%:*}\" -ef \"$TREE/${pair#*:}\"; then echo \"$pair\"; fi
        done
    }
    before=$(one)
    \"$0\" fix \"$TREE\" --source-date-epoch 1600000000 >&2
    \"$0\" fix \"$TREE\" --source-date-epoch 1600000000 --check >&2
    test \"$before\" = \"$(one)\" || echo \"no longer one\" >&2";

fn one_run_is_enough(mount: &str, lower: &Path, more: &[&Path]) {
    let script = format!("{mount}\n{ONE_RUN}");
    let args: Vec<&Path> = [lower].into_iter().chain(more.iter().copied()).collect();
    let Some(done) = in_namespace(&script, &args) else { return };
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(!said.contains("no longer one") && !said.contains("run again"), "{said}");
}

#[test]
fn one_run_is_enough_on_overlayfs() {
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs none \"$2\"; mkdir \"$2/upper\" \"$2/work\" \"$2/tree\"; TREE=$2/tree
        mount -t overlay -o \"lowerdir=$1,upperdir=$2/upper,workdir=$2/work\" none \"$TREE\" || exit 77";
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let lower = dir.path().join("lower");
    layered(&lower);
    one_run_is_enough(mount, &lower, &[&work]);
}

#[test]
fn one_run_is_enough_on_rofiles_fuse() {
    let dir = tempfile::tempdir().unwrap();
    // What a file of the tree shares with the repository stays as it is there.
    let mount = "TREE=$2; test -e /dev/fuse || { echo no /dev/fuse; exit 77; } >&2
        command -v rofiles-fuse >/dev/null || { echo no rofiles-fuse; exit 77; } >&2
        rofiles-fuse --copyup \"$1\" \"$2\"; trap 'umount \"$2\"' EXIT";
    let (lower, tree) = (dir.path().join("lower"), dir.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    layered(&lower);
    let object = dir.path().join("object");
    fs::hard_link(lower.join("usr/lib/alone"), &object).unwrap();
    one_run_is_enough(mount, &lower, &[&tree]);
    assert_ne!(time(&object), EPOCH);
}

/// A sparse file that claims more than there is memory is left alone, and so is one that a plugin
/// would read whole; neither takes time.
#[test]
fn a_file_that_claims_a_tebibyte_is_not_read() {
    let root = tempfile::tempdir().unwrap();
    for path in ["usr/share/doc/large.gz", "usr/share/doc/large.jar"] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    }
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_reprofix"))
        .args(["fix", "--source-date-epoch", "1700000000", "--check"])
        .arg(root.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(text.contains("larger than 2 GiB"), "{text}");
    let database = root.path().join("usr/share/rpm/Packages.db");
    std::fs::create_dir_all(database.parent().unwrap()).unwrap();
    std::fs::File::create(&database).unwrap().set_len(1 << 40).unwrap();
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_reprofix"))
        .args(["fix", "--source-date-epoch", "1700000000", "--quiet"])
        .arg(root.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() || text.contains("larger than 2 GiB"), "{text}");
}
