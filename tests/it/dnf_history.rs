//! The histories of dnf 4, which really wrote them, and of dnf 5, made in its form.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::disk::PrivateDir;
use reprofix::format::rpmdb::history::{Canonical, Cookies, canonical};
use reprofix::format::rpmdb::sqlite::Files;
use rusqlite::Connection;

use super::rpmdb_fix::{EPOCH, fixture, reprofix};

const HISTORY: &str = "var/lib/dnf/history.sqlite";
const RPM: &str = "usr/lib/sysimage/rpm";

/// A repository of the fixtures' packages.
fn repository() -> tempfile::TempDir {
    let repo = tempfile::tempdir().unwrap();
    for rpm in fs::read_dir(fixture("rpms")).unwrap() {
        let rpm = rpm.unwrap();
        fs::copy(rpm.path(), repo.path().join(rpm.file_name())).unwrap();
    }
    let made = Command::new("createrepo_c").arg("-q").arg(repo.path()).status();
    assert!(made.expect("createrepo_c is installed").success());
    repo
}

/// A root that dnf installs into.
struct Root {
    dir: tempfile::TempDir,
    repo: PathBuf,
}

impl Root {
    fn new(repo: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Debian's rpm keeps its database in the home directory unless told otherwise.
        fs::write(dir.path().join(".rpmmacros"), format!("%_dbpath /{RPM}\n")).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Root { dir, repo: repo.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn dnf(&self, args: &[&str]) -> String {
        let mut dnf = Command::new("dnf");
        dnf.env("HOME", self.dir.path()).env("LC_ALL", "C");
        dnf.args(["-q", "-y", "--releasever=1", "--nogpgcheck", "--repo=t", "--noplugins"]);
        dnf.arg(format!("--installroot={}", self.path().display()));
        dnf.arg(format!("--repofrompath=t,file://{}", self.repo.display()));
        dnf.args(["--setopt=reposdir=/nonexistent", "--setopt=cachedir=/var/cache/dnf"]);
        let out = dnf.args(args).output().expect("dnf is installed");
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{args:?}: {text}");
        text
    }

    /// What rpm itself says that the database's cookie is.
    fn cookie(&self) -> String {
        let ask = format!(
            "import rpm; rpm.addMacro('_dbpath', '/{RPM}'); \
             ts = rpm.TransactionSet('{}'); ts.openDB(); print(ts.dbCookie())",
            self.path().display()
        );
        let out = Command::new("/usr/bin/python3").args(["-c", &ask]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn last_cookie(&self) -> String {
        let copy = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            let from = self.path().join(format!("{HISTORY}{suffix}"));
            let _ = fs::copy(from, copy.path().join(format!("h{suffix}")));
        }
        let db = Connection::open(copy.path().join("h")).unwrap();
        let query = "SELECT rpmdb_version_end FROM trans ORDER BY id DESC";
        db.query_row(query, [], |row| row.get(0)).unwrap()
    }

    fn fix(&self) -> Vec<u8> {
        let root = self.path();
        let out = reprofix(&[
            "fix",
            root.to_str().unwrap(),
            "--plugin=rpmdb",
            "--plugin=dnf-history",
            "--source-date-epoch",
            EPOCH,
        ]);
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{said}");
        for suffix in ["-wal", "-shm", "-journal"] {
            assert!(!root.join(format!("{HISTORY}{suffix}")).exists(), "{suffix} stays");
        }
        fs::read(root.join(HISTORY)).unwrap()
    }

    fn build(&self) {
        self.dnf(&["install", "t-meta", "t-pkg03"]);
        self.dnf(&["install", "t-upd-1.0", "t-arch"]);
        self.dnf(&["upgrade", "t-upd"]);
        self.dnf(&["remove", "t-arch"]);
    }

    /// What dnf says that does not tell when.
    fn answers(&self) -> String {
        let list = self.dnf(&["history", "list"]);
        // Columns: number, command line, date, actions, altered; the marks of a database that was
        // altered behind its back stand in the last.
        let line = |line: &str| line.rsplit('|').take(2).collect::<Vec<_>>().join("|");
        let list: Vec<_> = list.lines().map(line).collect();
        let mut found = list.join("\n");
        for args in [["history", "userinstalled"], ["repoquery", "--installed"]] {
            found += &self.dnf(&args);
        }
        let info = self.dnf(&["history", "info", "2"]);
        let kept =
            info.lines().filter(|l| !["time", "rpmdb", "Command"].iter().any(|w| l.contains(w)));
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        found + &kept.join("\n")
    }
}

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: dnf installs into a root as root only");
    }
    root
}

#[test]
fn dnf_4_comes_to_one_history_and_finds_the_same_in_it() {
    if !is_root() {
        return;
    }
    let repo = repository();
    let [a, b] = [(); 2].map(|()| Root::new(repo.path()));
    a.build();
    b.build();
    let (before, cookie) = (a.answers(), a.cookie());
    assert_eq!(a.last_cookie(), cookie, "dnf notes the database as it leaves it");
    let (x, y) = (a.fix(), b.fix());
    assert!(x == y, "two builds, two histories");
    assert!(a.fix() == x, "the second run");
    assert_eq!(a.last_cookie(), a.cookie(), "the last cookie is the canonical database's");
    assert_eq!(a.answers(), before);
    assert!(a.fix() == x, "asking left a trace");
    // dnf goes on, and takes nothing for altered behind its back.
    a.dnf(&["install", "t-pkg13"]);
    b.dnf(&["install", "t-pkg13"]);
    assert!(!a.answers().contains('*'), "{}", a.answers());
    assert!(a.fix() == b.fix());
}

#[test]
fn a_history_goes_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("var/lib/dnf")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::write(dir.path().join(format!("{HISTORY}{suffix}")), "x").unwrap();
    }
    let root = dir.path().to_str().unwrap();
    let args = ["fix", root, "--plugin=dnf-history", "--source-date-epoch=1"];
    let out = reprofix(&args);
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(text.contains("no SQLite database header"), "{text}");
    assert_eq!(fs::read(dir.path().join(HISTORY)).unwrap(), b"x");
    assert!(reprofix(&[&args[..], &["--set=dnf-history.mode=remove"]].concat()).status.success());
    assert_eq!(fs::read_dir(dir.path().join("var/lib/dnf")).unwrap().count(), 0);
}

/// The tables of dnf 5, as far as rows lie in them here.
const DNF5: &str = "
    CREATE TABLE trans_state (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE trans_item_action (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE trans_item_reason (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE config (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE trans (id INTEGER PRIMARY KEY AUTOINCREMENT, dt_begin INTEGER NOT NULL,
        dt_end INTEGER, rpmdb_version_begin TEXT, rpmdb_version_end TEXT, releasever TEXT,
        user_id INTEGER NOT NULL, description TEXT, comment TEXT,
        state_id INTEGER REFERENCES trans_state(id));
    CREATE TABLE repo (id INTEGER PRIMARY KEY, repoid TEXT NOT NULL);
    CREATE TABLE pkg_name (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE arch (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE item (id INTEGER PRIMARY KEY);
    CREATE TABLE trans_item (id INTEGER PRIMARY KEY AUTOINCREMENT,
        trans_id INTEGER REFERENCES trans(id), item_id INTEGER REFERENCES item(id),
        repo_id INTEGER REFERENCES repo(id), action_id INTEGER NOT NULL,
        reason_id INTEGER NOT NULL, state_id INTEGER NOT NULL);
    CREATE TABLE item_replaced_by (trans_item_id INTEGER REFERENCES trans_item(id),
        by_trans_item_id INTEGER REFERENCES trans_item(id),
        PRIMARY KEY (trans_item_id, by_trans_item_id));
    CREATE TABLE rpm (item_id INTEGER NOT NULL UNIQUE REFERENCES item(id),
        name_id INTEGER NOT NULL REFERENCES pkg_name(id), epoch INTEGER NOT NULL,
        version TEXT NOT NULL, release TEXT NOT NULL, arch_id INTEGER REFERENCES arch(id),
        UNIQUE (name_id, epoch, version, release, arch_id));
    CREATE INDEX trans_item_trans_id ON trans_item(trans_id);
    INSERT INTO trans_state VALUES (1, 'Started'), (2, 'Ok');
    INSERT INTO trans_item_action VALUES (1, 'Install'), (2, 'Upgrade'), (6, 'Replaced');
    INSERT INTO trans_item_reason VALUES (1, 'Dependency'), (2, 'User');
    INSERT INTO config VALUES ('version', '1.1');
";

/// A history in dnf 5's form: packages in the order given, installed at `time`.
fn dnf5(packages: &[(&str, &str)], time: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(DNF5).unwrap();
    let run = |text: &str, values: &[&dyn rusqlite::ToSql]| {
        db.execute(text, values).unwrap();
        db.last_insert_rowid()
    };
    let trans = run(
        "INSERT INTO trans VALUES (NULL, ?1, ?1, ?2, ?3, '44', 0, 'dnf5 install a', '', 2)",
        &[&time, &"1".repeat(64), &format!("{time:064x}")],
    );
    for (name, arch) in packages {
        let id = |table: &str, value: &str| {
            let column = if table == "repo" { "repoid" } else { "name" };
            let select = format!("SELECT id FROM {table} WHERE {column} = ?1");
            db.query_row(&select, [value], |row| row.get::<_, i64>(0)).unwrap_or_else(|_| {
                run(&format!("INSERT INTO {table} ({column}) VALUES (?1)"), &[&value])
            })
        };
        let item = run("INSERT INTO item VALUES (NULL)", &[]);
        let (name_id, arch_id) = (id("pkg_name", name), id("arch", arch));
        run("INSERT INTO rpm VALUES (?1, ?2, 0, '1', '1', ?3)", &[&item, &name_id, &arch_id]);
        let repo = id("repo", if name.len() % 2 == 0 { "updates" } else { "fedora" });
        let new = run(
            "INSERT INTO trans_item VALUES (NULL, ?1, ?2, ?3, 1, 2, 2)",
            &[&trans, &item, &repo],
        );
        if *name == "cc" {
            run("INSERT INTO item_replaced_by VALUES (?1, ?1)", &[&new]);
        }
    }
    db.close().unwrap();
    fs::read(path).unwrap()
}

fn canon(db: &[u8]) -> Canonical {
    let files = Files { db, ..Files::default() };
    canonical(&files, 1_000, &Cookies::default(), &PrivateDir).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn dnf_5_comes_to_one_history_whatever_the_order_and_time() {
    let packages = [("a", "x86_64"), ("cc", "noarch"), ("b", "x86_64"), ("cc", "x86_64")];
    let mut back = packages;
    back.reverse();
    let (x, y) = (canon(&dnf5(&packages, 5_000)), canon(&dnf5(&back, 6_000)));
    assert!(x.bytes == y.bytes);
    assert_eq!(x.transactions, 1);
    assert!(canon(&x.bytes).bytes == x.bytes, "the second run");
    assert!(canon(&dnf5(&packages[..3], 5_000)).bytes != x.bytes, "another package set");
    // What the new rows say.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("h"), &x.bytes).unwrap();
    let db = Connection::open(dir.path().join("h")).unwrap();
    let query = "SELECT group_concat(t) FROM (SELECT pkg_name.name || '.' || arch.name || ' ' \
                 || repoid AS t FROM trans_item JOIN rpm USING (item_id) \
                 JOIN pkg_name ON name_id = pkg_name.id JOIN arch ON arch_id = arch.id \
                 JOIN repo ON repo_id = repo.id ORDER BY trans_item.id)";
    let text: String = db.query_row(query, [], |row| row.get(0)).unwrap();
    assert_eq!(text, "a.x86_64 fedora,b.x86_64 fedora,cc.noarch updates,cc.x86_64 updates");
    let times: (i64, i64) = db
        .query_row("SELECT dt_begin, dt_end FROM trans", [], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap();
    assert_eq!(times, (1_000, 1_000));
}

#[test]
fn what_dnf_did_not_make_is_refused() {
    let good = dnf5(&[("a", "noarch")], 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h");
    for (change, reason) in [
        ("CREATE TABLE notes (text)", "dnf makes no such table as notes"),
        ("CREATE VIEW v AS SELECT 1", "dnf makes no such view as v"),
        (
            "PRAGMA writable_schema = ON; UPDATE sqlite_master \
             SET sql = upper(substr(sql, 1, 17)) || substr(sql, 18) WHERE name = 'item'",
            "table item is made under another name",
        ),
        ("DELETE FROM item", "refers to item 1, which is not there"),
        (
            "DROP TABLE item_replaced_by; DROP TABLE trans_item; DROP TABLE trans",
            "no table of transactions",
        ),
    ] {
        fs::write(&path, &good).unwrap();
        let db = Connection::open(&path).unwrap();
        db.execute_batch(&format!("PRAGMA foreign_keys = OFF; {change}")).unwrap();
        db.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        let files = Files { db: &bytes, ..Files::default() };
        let error = canonical(&files, 1, &Cookies::default(), &PrivateDir).unwrap_err().to_string();
        assert!(error.contains(reason), "{change}: {error}");
    }
    for cut in (0..good.len()).step_by(97) {
        let files = Files { db: &good[..cut], ..Files::default() };
        assert!(canonical(&files, 1, &Cookies::default(), &PrivateDir).is_err(), "{cut}");
    }
}

/// What dnf 5.4.6 left of the same five packages, installed in two orders.
#[test]
fn what_dnf_5_left_of_two_orders_comes_to_one_tree() {
    let trees = ["a", "b"].map(|name| {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("tests/fixtures/dnf5/{name}.tar.xz");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let done = Command::new("tar").arg("-xf").arg(file).arg("-C").arg(dir.path()).status();
        assert!(done.unwrap().success());
        dir
    });
    let read = |dir: &tempfile::TempDir, path: &str| fs::read(dir.path().join(path)).unwrap();
    let state = "usr/lib/sysimage/libdnf5/system.toml";
    assert_ne!(read(&trees[0], state), read(&trees[1], state), "the fixtures differ");
    for tree in &trees {
        let root = tree.path().to_str().unwrap();
        let args = ["fix", root, "--source-date-epoch", EPOCH, "-q"];
        for _ in 0..2 {
            let out = reprofix(&args);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
        assert!(!tree.path().join("var/lib/dnf/system-repo.lock").exists());
        // rpm itself computes the cookie of the database that is there now, in a copy.
        let ask = "import rpm, sys; rpm.addMacro('_dbpath', sys.argv[1]); \
                   ts = rpm.TransactionSet('/'); ts.openDB(); print(ts.dbCookie())";
        let copy = tempfile::tempdir().unwrap();
        let db = copy.path().join("rpmdb.sqlite");
        fs::write(db, read(tree, "var/lib/rpm/rpmdb.sqlite")).unwrap();
        let mut python = Command::new("/usr/bin/python3");
        let out = python.args(["-c", ask]).arg(copy.path()).output().unwrap();
        let cookie = String::from_utf8(out.stdout).unwrap();
        let text = String::from_utf8(read(tree, state)).unwrap();
        assert!(text.contains(cookie.trim()) && cookie.len() > 40, "{text} is not of {cookie}");
    }
    // The two command lines name the packages in two orders, which is no accident of the build.
    let history = "usr/lib/sysimage/libdnf5/transaction_history.sqlite";
    let rows = trees.each_ref().map(|tree| {
        let db = Connection::open(tree.path().join(history)).unwrap();
        db.execute_batch("UPDATE trans SET description = ''; VACUUM").unwrap();
        drop(db);
        read(tree, history)
    });
    assert!(rows[0] == rows[1], "the histories differ in more than the command line");
    let out = Command::new("diff").arg("-r").args(trees.each_ref().map(|t| t.path())).output();
    let said = String::from_utf8(out.unwrap().stdout).unwrap();
    assert_eq!(said, "");
}
