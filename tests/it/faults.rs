//! Calls that fail: whatever the kernel refuses during a run, it ends with exit 2, or in the tree of
//! an undisturbed run. It never calls a tree "in normal form" that it could not look at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BIN: &str = env!("CARGO_BIN_EXE_reprofix");
/// What fails, and how.
const FAULTS: [(&str, &str); 9] = [
    ("openat2", "EACCES"),
    ("openat2", "EMFILE"),
    ("openat", "EROFS"),
    ("read", "EIO"),
    ("pread64", "EIO"),
    ("write", "ENOSPC"),
    ("pwrite64", "ENOSPC"),
    ("getdents64", "EIO"),
    ("statx", "EIO"),
];
/// Calls of each kind that are made to fail, spread over a run.
const SAMPLES: usize = 4;

/// A tree with a patch, a rewrite, a database, a boot of hard links, and names that go.
fn tree(root: &Path) {
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    };
    let gzip = b"\x1f\x8b\x08\x00\x99\x00\x00\x65\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let first = put("usr/share/a.gz", gzip);
    fs::hard_link(first, root.join("usr/share/b.gz")).unwrap();
    put("usr/share/c.gz", gzip);
    put("usr/lib/m/__pycache__/x.cpython-311.pyc", b"x");
    put("usr/lib/m/x.py", b"pass\n");
    put("var/log/messages", b"log");
    put("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/sqlite/one");
    fs::create_dir_all(root.join("usr/share/rpm")).unwrap();
    fs::copy(fixture.join("rpmdb.sqlite"), root.join("usr/share/rpm/rpmdb.sqlite")).unwrap();
}

/// Mode, links, time (of what is no directory) and content.
type Row = (u32, u64, i64, Vec<u8>);

fn snapshot(root: &Path) -> BTreeMap<PathBuf, Row> {
    let walk = walkdir::WalkDir::new(root).into_iter().map(|e| e.unwrap());
    walk.map(|e| {
        let meta = e.path().symlink_metadata().unwrap();
        let bytes = if meta.is_file() { fs::read(e.path()).unwrap() } else { Vec::new() };
        let links = if meta.is_dir() { 0 } else { meta.nlink() };
        let path = e.path().strip_prefix(root).unwrap().to_owned();
        (path, (meta.mode(), links, meta.mtime(), bytes))
    })
    .collect()
}

fn fix(root: &Path, more: &[&str], strace: &[String]) -> Output {
    let mut command = match strace {
        [] => Command::new(BIN),
        options => {
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null"]).args(options).arg(BIN);
            command
        }
    };
    command.arg("fix").arg(root).args(["--source-date-epoch", "1600000000", "--jobs", "1"]);
    command.args(more).env_remove("SOURCE_DATE_EPOCH").output().unwrap()
}

/// How many calls of this name a run makes.
fn calls(root: &Path, call: &str) -> usize {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", &format!("trace={call}"), "-o"]).arg(log.path()).arg(BIN);
    strace.arg("fix").arg(root).args(["--source-date-epoch", "1600000000", "--jobs", "1"]);
    assert!(strace.output().unwrap().status.success());
    let log = fs::read_to_string(log.path()).unwrap();
    log.lines().filter(|line| line.contains(&format!("{call}("))).count()
}

fn has_strace() -> bool {
    let there = Command::new("strace").arg("-V").output().is_ok();
    let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
    assert!(there || !required, "strace is not installed");
    if !there {
        eprintln!("not run: strace is not installed");
    }
    there
}

#[test]
fn a_call_that_fails_is_a_failure_or_makes_no_difference() {
    if !has_strace() {
        return;
    }
    let start = tempfile::tempdir().unwrap();
    tree(start.path());
    let before = snapshot(start.path());
    assert_eq!(fix(start.path(), &[], &[]).status.code(), Some(0));
    let want = snapshot(start.path());
    for (call, error) in FAULTS {
        let counted = tempfile::tempdir().unwrap();
        tree(counted.path());
        let count = calls(counted.path(), call);
        let step = (count / SAMPLES).max(1);
        let once = (1..=count).step_by(step).map(|nth| nth.to_string());
        // A disk that is broken stays so.
        let for_ever = (call == "pread64").then(|| format!("{}+", count / 2));
        for nth in once.chain(for_ever) {
            let dir = tempfile::tempdir().unwrap();
            tree(dir.path());
            let inject = [
                "-e".to_owned(),
                format!("trace={call}"),
                "-e".to_owned(),
                format!("inject={call}:error={error}:when={nth}"),
            ];
            // A look: the tree is not in normal form, and nobody says that it is.
            let looked = fix(dir.path(), &["--check", "--quiet"], &inject);
            let code = looked.status.code();
            assert!(code != Some(0), "{call} {nth} of {count} {error}: {looked:?}");
            let untouched = |(path, (mode, links, _, bytes)): (&PathBuf, &Row)| {
                let now = &before[path];
                (now.0, now.1, &now.3) == (*mode, *links, bytes)
            };
            let seen = snapshot(dir.path());
            assert!(seen.iter().all(untouched), "{call} {nth} {error}");
            let done = fix(dir.path(), &["--quiet"], &inject);
            match done.status.code() {
                Some(0) => assert!(snapshot(dir.path()) == want, "{call} {nth} {error}: {done:?}"),
                Some(2) => {
                    assert!(!done.stderr.is_empty());
                    // What it left is whole, and the next run finishes.
                    assert_eq!(fix(dir.path(), &[], &[]).status.code(), Some(0));
                    assert!(snapshot(dir.path()) == want, "{call} {nth} {error}, the run after");
                }
                // A fault before the program began.
                _ => assert!(
                    String::from_utf8_lossy(&done.stderr).contains("shared librar"),
                    "{call} {nth} {error}: {done:?}"
                ),
            }
        }
    }
}

/// A patch of four bytes of which the kernel writes two: that is a failure, and the next run writes
/// the rest.
#[test]
fn a_short_write_is_not_taken_for_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("usr/share/a.gz");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let gzip = b"\x1f\x8b\x08\x00\x99\x00\x00\x65\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    fs::write(&path, gzip).unwrap();
    // No file may be written to beyond its sixth byte; the time begins at the fourth.
    let script = "trap '' XFSZ; exec prlimit --fsize=6:6 \"$0\" fix \"$1\" --plugin gzip \
                  --source-date-epoch 1600000000 --quiet";
    let short = Command::new("sh").args(["-c", script, BIN]).arg(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&short.stderr);
    assert_eq!(short.status.code(), Some(2), "{said}");
    assert!(said.contains("usr/share/a.gz") && said.contains("File too large"), "{said}");
    assert_eq!(fix(dir.path(), &["--plugin", "gzip"], &[]).status.code(), Some(0));
    let want: Vec<u8> = [&gzip[..4], &[0; 4], &gzip[8..]].concat();
    assert_eq!(fs::read(&path).unwrap(), want);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing of ours stays");
}
