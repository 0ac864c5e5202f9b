//! `fix`, `check` and `rpmdb` on trees with databases of every backend, whole and killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reprofix::disk;
use reprofix::format::rpmdb::dump::{self, Times};
use reprofix::format::rpmdb::{bdb, ndb, sqlite};
use reprofix::packages::Database;
use sha2::{Digest, Sha256};

pub(crate) const EPOCH: &str = "1700000000";
const PLACE: &str = "usr/lib/sysimage/rpm";
const COPY: &str = "usr/lib/sysimage/rpm-ostree-base-db";

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name)
}

/// A tree with these databases, each in its place.
fn tree(databases: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (place, name) in databases {
        let to = dir.path().join(place);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(fixture(name)).unwrap() {
            let file = file.unwrap();
            if !file.file_name().to_str().unwrap().starts_with('.') {
                fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
    }
    dir
}

/// Every file below `dir`, by path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap);
    let files = all.filter(|e| e.file_type().is_file());
    files
        .map(|e| (e.path().strip_prefix(dir).unwrap().to_owned(), fs::read(e.path()).unwrap()))
        .collect()
}

pub(crate) fn reprofix(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    command.args(args).env_remove("SOURCE_DATE_EPOCH").output().unwrap()
}

/// Runs `fix` with the plugin alone; what it prints.
fn fix(root: &Path, more: &[&str]) -> (Option<i32>, String) {
    let root = root.to_str().unwrap();
    let plugins = ["--plugin=rpmdb", "--plugin=dnf-history"];
    let args = [&["fix", root, "--source-date-epoch", EPOCH], &plugins[..]].concat();
    let out = reprofix(&[&args[..], more].concat());
    let text = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    (out.status.code(), text)
}

fn fixed(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (code, text) = fix(root, &[]);
    assert_eq!(code, Some(0), "{text}");
    files(root)
}

#[test]
fn histories_of_one_set_become_one_tree_and_stay_so() {
    for backend in ["sqlite", "ndb", "bdb"] {
        let [one, rev] = ["one", "rev"].map(|n| tree(&[(PLACE, &format!("{backend}/{n}"))]));
        assert_ne!(files(one.path()), files(rev.path()), "{backend}");
        let (a, b) = (fixed(one.path()), fixed(rev.path()));
        assert!(a == b, "{backend}");
        let (code, text) = fix(one.path(), &["--check"]);
        assert_eq!(code, Some(0), "{backend}: {text}");
        assert!(fixed(one.path()) == a, "{backend}: the second run");
    }
}

/// SHA-256 over names and contents.
fn digest(files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (path, bytes) in files {
        hash.update(path.file_name().unwrap().as_encoded_bytes());
        hash.update([0]);
        hash.update(Sha256::digest(bytes));
    }
    dump::hex(&hash.finalize())[..16].to_owned()
}

#[test]
fn golden_hashes() {
    let golden = [
        ("ndb/one", "0494ec61bd1f7e71"),
        ("bdb/one", "6b71490a58d05f81"),
        ("real/bdb/libuuid", "a148425774ec6b8b"),
        ("real/bdb/ubi7-tzdata", "34d6a05c6fb5f00d"),
        ("real/ndb/sle15-bci", "e15afaa5aa080437"),
    ];
    let found = golden.map(|(name, _)| (name, digest(&fixed(tree(&[(PLACE, name)]).path()))));
    assert_eq!(found.each_ref().map(|(name, hash)| (*name, hash.as_str())), golden);
}

/// Every database found in the wild that can be read keeps what it holds, and one that cannot is
/// left as it is, with the reason.
#[test]
fn databases_from_the_wild_keep_what_they_hold_or_are_refused() {
    let readable = [
        "real/sqlite/cbl-mariner-2",
        "real/sqlite/fedora-44",
        "real/ndb/sle15-bci",
        "real/bdb/empty",
        "real/bdb/libuuid",
        "real/bdb/ubi7-tzdata",
    ];
    for name in readable {
        let tree = tree(&[(PLACE, name)]);
        let before = text(&tree.path().join(PLACE));
        let once = fixed(tree.path());
        assert_eq!(before, text(&tree.path().join(PLACE)), "{name}");
        assert!(fixed(tree.path()) == once, "{name}: the second run");
    }
    let refused = [
        ("real/sqlite/orphan-rows", "which has no package"),
        ("real/sqlite/broken-schema", "rpm makes no such"),
    ];
    for (name, reason) in refused {
        let tree = tree(&[(PLACE, name)]);
        let before = files(tree.path());
        let (code, text) = fix(tree.path(), &[]);
        assert!(code == Some(0) && text.contains(reason), "{name}: {text}");
        assert!(files(tree.path()) == before, "{name} was changed");
        assert_eq!(fix(tree.path(), &["--strict"]).0, Some(2), "{name}");
    }
}

fn text(dir: &Path) -> String {
    let database = Database::open(dir).unwrap();
    dump::text(&database.logical().unwrap(), Times::Blanked).unwrap()
}

#[test]
fn a_hard_linked_copy_stays_linked_and_an_outside_link_keeps_its_bytes() {
    for (backend, main, side) in
        [("ndb", "Packages.db", "Index.db"), ("bdb", "Packages", "Basenames")]
    {
        let name = format!("{backend}/rev");
        let tree = tree(&[("root/usr/share/rpm", &name)]);
        let (root, outside) = (tree.path().join("root"), tree.path().join("object"));
        let (place, copy) = (root.join("usr/share/rpm"), root.join(COPY));
        fs::create_dir_all(&copy).unwrap();
        for file in fs::read_dir(&place).unwrap() {
            let file = file.unwrap();
            fs::hard_link(file.path(), copy.join(file.file_name())).unwrap();
        }
        fs::hard_link(place.join(main), &outside).unwrap();
        let before = fs::read(&outside).unwrap();
        fixed(&root);
        for file in [main, side] {
            let ino = |dir: &Path| fs::metadata(dir.join(file)).unwrap().ino();
            assert_eq!(ino(&place), ino(&copy), "{backend}");
            assert_eq!(fs::metadata(place.join(file)).unwrap().nlink(), 2, "{backend}");
        }
        assert!(fs::read(&outside).unwrap() == before, "an object outside was written");
        let alone = self::tree(&[(PLACE, &format!("{backend}/one"))]);
        let want = digest(&fixed(alone.path()));
        for dir in [&place, &copy] {
            assert_eq!(digest(&files(dir)), want, "{backend}");
        }
    }
}

#[test]
fn a_copy_that_is_not_linked_is_canonical_on_its_own() {
    for backend in ["sqlite", "ndb", "bdb"] {
        let [one, rev] = ["one", "rev"].map(|name| format!("{backend}/{name}"));
        let tree = tree(&[("usr/share/rpm", &one), (COPY, &rev)]);
        fixed(tree.path());
        let [a, b] = ["usr/share/rpm", COPY].map(|place| files(&tree.path().join(place)));
        assert!(a == b, "{backend}");
    }
}

#[test]
fn an_index_that_rpm_would_not_trust_goes_with_a_word() {
    let tree = tree(&[(PLACE, "ndb/one")]);
    let index = tree.path().join(PLACE).join("Index.db");
    let mut stale = fs::read(&index).unwrap();
    stale[20] += 1;
    fs::write(&index, stale).unwrap();
    let (code, text) = fix(tree.path(), &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Index.db is stale"), "{text}");
    assert!(!index.exists());
    let (code, text) = fix(tree.path(), &["--check"]);
    assert!(code == Some(0) && text.contains("Index.db is missing"), "{text}");
}

#[test]
fn backends_side_by_side_are_all_done_with_a_word() {
    let both = tree(&[(PLACE, "sqlite/rev"), (PLACE, "bdb/rev"), (PLACE, "ndb/rev")]);
    let (code, text) = fix(both.path(), &[]);
    assert!(code == Some(0) && text.contains("several backends lie side by side"), "{text}");
    let found = files(both.path());
    for backend in ["sqlite", "ndb", "bdb"] {
        for (path, bytes) in fixed(tree(&[(PLACE, &format!("{backend}/one"))]).path()) {
            assert!(found[&path] == bytes, "{}", path.display());
        }
    }
}

#[test]
fn damage_in_any_file_leaves_all_of_them() {
    for (name, file) in [("ndb/one", "Packages.db"), ("ndb/one", "Index.db"), ("bdb/one", "Group")]
    {
        let tree = tree(&[(PLACE, name)]);
        let path = tree.path().join(PLACE).join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2 + 1]).unwrap();
        let before = files(tree.path());
        let (code, text) = fix(tree.path(), &[]);
        assert!(code == Some(0) && text.contains("rpmdb"), "{name} {file}: {text}");
        assert!(files(tree.path()) == before, "{name} {file}");
    }
}

/// Every prefix of every file of every fixture is an error, byte by byte.
#[test]
fn every_prefix_of_every_fixture_is_refused() {
    let all = walkdir::WalkDir::new(fixture("")).sort_by_file_name();
    let mut read = 0;
    for entry in all.into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        let (path, bytes) = (entry.path(), fs::read(entry.path()).unwrap());
        let Some(refuses) = reader(&bytes) else { continue };
        read += 1;
        for cut in 0..bytes.len() {
            assert!(refuses(&bytes[..cut]), "{} {cut}", path.display());
        }
    }
    assert_eq!(read, 6 + 5 + 43);
}

/// What tells whether a file that begins like this one is refused.
fn reader(bytes: &[u8]) -> Option<fn(&[u8]) -> bool> {
    Some(match bytes {
        [b'S', b'Q', b'L', ..] => |db| {
            sqlite::canonical(
                &sqlite::Files { db, ..sqlite::Files::default() },
                0,
                &disk::PrivateDir,
            )
            .is_err()
        },
        [b'R', b'p', b'm', b'P', ..] => |file| ndb::packages::read(file).is_err(),
        [b'R', b'p', b'm', b'X', ..] => |file| ndb::index::read(file).is_err(),
        _ if bdb::recognise(bytes) => |file| bdb::records(file).is_err(),
        _ => return None,
    })
}

/// System calls before which a run is killed: all that change a name or finish a file.
const CALLS: [&str; 6] = ["linkat", "unlinkat", "renameat", "renameat2", "fchmod", "utimensat"];

/// Kills `fix` before each of its changing calls in turn (by strace, on the main thread, which
/// does steps one after the other), and calls `judge` on what each kill left. Gives the kills.
fn killed_everywhere(start: &dyn Fn() -> tempfile::TempDir, judge: &dyn Fn(&Path)) -> usize {
    if Command::new("strace").arg("-V").output().is_err() {
        let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
        assert!(!required, "strace is not installed");
        eprintln!("not run: strace is not installed");
        return 0;
    }
    let whole = start();
    let want = fixed(whole.path());
    let mut kills = 0;
    for call in CALLS {
        for nth in 1.. {
            let tree = start();
            let killed = kill(tree.path(), call, nth);
            judge(tree.path());
            assert!(fixed(tree.path()) == want, "the run after {call} {nth}");
            if !killed {
                break;
            }
            kills += 1;
        }
    }
    kills
}

/// Runs `fix`, killed before the `nth` of its calls of this name. Whether it came so far.
fn kill(root: &Path, call: &str, nth: usize) -> bool {
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let out = Command::new("strace")
        .args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        .args([env!("CARGO_BIN_EXE_reprofix"), "fix", root.to_str().unwrap()])
        .args(["--plugin=rpmdb", "--plugin=dnf-history", "--source-date-epoch", EPOCH, "--quiet"])
        .output()
        .unwrap();
    !out.status.success()
}

#[test]
fn killed_at_any_instant_an_ndb_pair_is_old_or_new_or_without_its_index() {
    let (old, new) = (tree(&[(PLACE, "ndb/rev")]), tree(&[(PLACE, "ndb/one")]));
    let (old, new) = (files(old.path()), fixed(new.path()));
    let [main, index] = ["Packages.db", "Index.db"].map(|name| Path::new(PLACE).join(name));
    let kills = killed_everywhere(&|| tree(&[(PLACE, "ndb/rev")]), &|root| {
        let found = files(root);
        let whose = [&old, &new].into_iter().find(|side| side[&main] == found[&main]).unwrap();
        if let Some(bytes) = found.get(&index) {
            assert!(*bytes == whose[&index], "an index beside packages of another generation");
            assert_eq!(ndb::read(&found[&main], Some(bytes)).unwrap().no_index, None);
        }
    });
    assert!(kills == 0 || kills > 12, "{kills}");
}

#[test]
fn killed_at_any_instant_no_bdb_index_stands_beside_other_packages() {
    let (old, new) = (tree(&[(PLACE, "bdb/rev")]), tree(&[(PLACE, "bdb/one")]));
    let (old, new) = (files(old.path()), fixed(new.path()));
    let main = Path::new(PLACE).join("Packages");
    let kills = killed_everywhere(&|| tree(&[(PLACE, "bdb/rev")]), &|root| {
        let found = files(root);
        let whose = [&old, &new].into_iter().find(|side| side[&main] == found[&main]).unwrap();
        for (path, bytes) in whose {
            assert!(found.get(path).is_none_or(|now| now == bytes), "{}", path.display());
        }
    });
    assert!(kills == 0 || kills > 100, "{kills}");
}

#[test]
fn killed_at_any_instant_a_database_with_a_log_holds_the_same_packages() {
    let start = || {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("var/lib/rpm");
        fs::create_dir_all(&place).unwrap();
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/rpmdb/cases/log/in");
        for file in fs::read_dir(case.join("var/lib/rpm")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), place.join(file.file_name())).unwrap();
        }
        dir
    };
    let before = text(&start().path().join("var/lib/rpm"));
    let kills = killed_everywhere(&start, &|root| {
        assert_eq!(before, text(&root.join("var/lib/rpm")));
    });
    assert!(kills == 0 || kills > 5, "{kills}");
}

/// dnf's history quotes the database: whenever the run is killed, the next one still knows the
/// quotation.
#[test]
fn killed_at_any_instant_a_history_keeps_to_its_database() {
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/dnf-history/cases/dnf4/in");
    let history = Path::new("var/lib/dnf/history.sqlite");
    let start = || {
        let dir = tempfile::tempdir().unwrap();
        for path in files(&case).keys().filter(|path| path.extension().unwrap() == "sqlite") {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::copy(case.join(path), dir.path().join(path)).unwrap();
        }
        // With a log, as dnf leaves it.
        let wal = |name: &Path| name.with_extension("sqlite-wal");
        let other = tempfile::tempdir().unwrap();
        let copy = other.path().join("h.sqlite");
        fs::copy(dir.path().join(history), &copy).unwrap();
        let db = rusqlite::Connection::open(&copy).unwrap();
        db.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE trans SET comment = 'late'")
            .unwrap();
        fs::copy(wal(&copy), wal(&dir.path().join(history))).unwrap();
        dir
    };
    let kills = killed_everywhere(&start, &|_| ());
    assert!(kills == 0 || kills > 8, "{kills}");
    let done = start();
    fixed(done.path());
    let db = rusqlite::Connection::open(done.path().join(history)).unwrap();
    let last = "SELECT rpmdb_version_end || comment FROM trans ORDER BY id DESC";
    let last: String = db.query_row(last, [], |row| row.get(0)).unwrap();
    // The cookie of the canonical database, as rpm itself computes it (tests/it/dnf_history.rs).
    assert_eq!(last, "8776bb748bef6e76d204225062919a4cb999faafb95c1bf705e8b3b37a1aafadlate");
}

#[test]
fn dump_and_diff_tell_packages() {
    let path = |name: &str| fixture(name).to_str().unwrap().to_owned();
    let dump = |args: &[&str]| {
        let out = reprofix(&[&["rpmdb", "dump"], args].concat());
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    for backend in ["sqlite", "ndb", "bdb"] {
        let [one, rev] = ["one", "rev"].map(|name| path(&format!("{backend}/{name}")));
        let text = dump(&[&one, "--no-times"]);
        assert!(text.starts_with("package t-arch-1.0-1.x86_64\n"), "{text}");
        assert!(text.contains("\n  index Name 0 \"t-arch\"\n"), "{text}");
        assert_eq!(text, dump(&[&rev, "--no-times"]));
        let out = reprofix(&["rpmdb", "diff", &one, &rev, "--json=-"]);
        let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(out.status.code(), Some(1));
        assert_eq!(report["fixed"], true, "{report}");
        assert_eq!(report["classes"], serde_json::json!(["install-times", "order"]), "{report}");
        assert_eq!(reprofix(&["rpmdb", "diff", &one, &one]).status.code(), Some(0));
    }
    let file = format!("{}/rpmdb.sqlite", path("sqlite/one"));
    assert_eq!(dump(&[&file]), dump(&[&path("sqlite/one")]));
    let out = reprofix(&["rpmdb", "dump", "Cargo.toml"]);
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && error.contains("neither an SQLite"), "{error}");
}
