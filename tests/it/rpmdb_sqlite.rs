//! `rpmdb.sqlite` over databases that rpm wrote.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use reprofix::disk::PrivateDir;
use reprofix::format::rpmdb::diff::diff;
use reprofix::format::rpmdb::dump::{self, Times};
use reprofix::format::rpmdb::header::{Header, tag};
use reprofix::format::rpmdb::sqlite::{Canonical, Files, canonical, packages, read};
use reprofix::format::rpmdb::{INSTALLTID_INDEX, Logical};
use reprofix::format::{Failure, Scratch};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::rpmdb_world::{Event, Known, histories, known, play, shortest};

const EPOCH: u32 = 1_700_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name)
}

fn db(name: &str) -> Vec<u8> {
    fs::read(fixture(name).join("rpmdb.sqlite")).unwrap()
}

fn alone(db: &[u8]) -> Files<'_> {
    Files { db, ..Files::default() }
}

fn canon(db: &[u8]) -> Result<Canonical, Failure> {
    canonical(&alone(db), EPOCH, &PrivateDir)
}

fn text(db: &[u8]) -> String {
    dump::text(&read(&alone(db), &PrivateDir).unwrap(), Times::Blanked).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    dump::hex(&Sha256::digest(bytes))
}

#[test]
fn two_histories_of_one_set_become_one_file() {
    let [one, rev] = ["sqlite/one", "sqlite/rev"].map(|name| canon(&db(name)).unwrap());
    assert_eq!(one.packages, 20);
    assert_eq!(hex(&one.bytes), hex(&rev.bytes));
}

#[test]
fn golden_hashes_survive_upgrades_of_sqlite() {
    let golden = [
        ("sqlite/one", "42ceef767a3545bbaa700a31b6272026f6e19a38f4a854fa800b7c5c1820821f"),
        (
            "real/sqlite/cbl-mariner-2",
            "d3aa5439e413b38872fc816867e90d15a441b5908085486becb6c89a7c13c172",
        ),
        (
            "real/sqlite/fedora-44",
            "5544119f5223dbbd7ba5206d88d2fbd4fbbe145d9c265409b534711a7e180f80",
        ),
    ];
    let found = golden.map(|(name, _)| (name, hex(&canon(&db(name)).unwrap().bytes)));
    assert_eq!(found.each_ref().map(|(name, hash)| (*name, hash.as_str())), golden);
}

#[test]
fn contents_stay_and_a_second_run_changes_nothing() {
    for name in ["sqlite/one", "sqlite/rev", "real/sqlite/cbl-mariner-2", "real/sqlite/fedora-44"] {
        let before = db(name);
        let after = canon(&before).unwrap();
        assert_eq!(text(&before), text(&after.bytes), "{name}");
        assert_eq!(canon(&after.bytes).unwrap().bytes, after.bytes, "{name}");
    }
}

/// A machine without room for private files, on which SQLite reads nothing.
struct NoRoom;

impl Scratch for NoRoom {
    fn in_private(&self, _: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_normal_form_is_proven_without_sqlite_and_nothing_else_is() {
    for name in ["sqlite/one", "real/sqlite/cbl-mariner-2", "real/sqlite/fedora-44"] {
        let before = db(name);
        assert!(canonical(&alone(&before), EPOCH, &NoRoom).is_err(), "{name}");
        let normal = canon(&before).unwrap();
        let proven = canonical(&alone(&normal.bytes), EPOCH, &NoRoom).unwrap();
        assert!(proven.bytes == normal.bytes, "{name}");
        assert_eq!((proven.packages, proven.rows), (normal.packages, normal.rows), "{name}");
        // The times of the packages may not be later than the epoch.
        assert!(canonical(&alone(&normal.bytes), 1, &NoRoom).is_err(), "{name}");
    }
}

/// The normal form of `db` as it is made with SQLite: a journal of one byte holds nothing, but
/// forbids the proof.
fn by_sqlite(db: &[u8]) -> Result<Canonical, Failure> {
    canonical(&Files { db, wal: &[], journal: &[0] }, EPOCH, &PrivateDir)
}

/// Databases that are nearly the normal form `normal`: a byte is another, two pages or two cells
/// have changed places, a page is doubled at the end or missing.
fn near_misses(normal: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut misses = Vec::new();
    let mut miss = |what: String, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = normal.to_vec();
        change(&mut bytes);
        misses.push((what, bytes));
    };
    let step = normal.len() / 97;
    // Bytes 18 and 19 say whether a log is used, which no file beside it means.
    for at in (0..100).filter(|at| !matches!(at, 18 | 19)).chain((100..normal.len()).step_by(step))
    {
        miss(format!("byte {at}"), &|bytes| bytes[at] ^= 1 << (at % 8));
    }
    let pages = normal.len() / 4096;
    for n in 1..pages.min(12) {
        miss(format!("pages {n} and {}", n + 1), &|bytes| {
            let (left, right) = bytes.split_at_mut((n + 1) * 4096);
            left[n * 4096..].swap_with_slice(&mut right[..4096]);
        });
    }
    for n in (1..pages).filter(|n| matches!(normal[n * 4096], 10 | 13)).take(40) {
        let head = n * 4096 + 8;
        miss(format!("cells of page {}", n + 1), &|bytes| {
            bytes[head..head + 4].rotate_left(2);
        });
    }
    miss("a page more".into(), &|bytes| bytes.extend_from_within(normal.len() - 4096..));
    miss("a page less".into(), &|bytes| bytes.truncate(normal.len() - 4096));
    misses
}

#[test]
fn a_near_miss_comes_out_as_sqlite_has_it() {
    let normal = canon(&db("sqlite/one")).unwrap().bytes;
    let mut damaged = 0;
    for (what, bytes) in near_misses(&normal) {
        match (canon(&bytes), by_sqlite(&bytes)) {
            (Ok(found), Ok(expected)) => assert!(found.bytes == expected.bytes, "{what}"),
            (Err(_), Err(_)) => damaged += 1,
            (found, expected) => {
                let [found, expected] = [found, expected].map(|outcome| outcome.map(|_| ()));
                panic!("{what}: {found:?}, SQLite {expected:?}")
            }
        }
    }
    assert!(damaged > 50, "only {damaged} were refused");
}

#[test]
fn what_is_not_an_rpm_database_is_refused_with_the_reason() {
    let refused = [
        ("real/sqlite/orphan-rows", "which has no package"),
        ("real/sqlite/broken-schema", "rpm makes no such"),
    ];
    for (name, reason) in refused {
        let error = canon(&db(name)).unwrap_err().to_string();
        assert!(error.contains(reason), "{name}: {error}");
    }
    assert!(canon(&[]).unwrap_err().to_string().contains("empty"));
    assert!(canon(&[0; 8192]).unwrap_err().to_string().contains("no SQLite database header"));
}

/// The packages as they are found without SQLite.
fn scanned(db: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
    let mut found = Vec::new();
    packages(&alone(db), &PrivateDir, &mut |hnum, blob| {
        found.push((hnum, blob.to_vec()));
        Ok(())
    })?;
    Ok(found)
}

/// That SQLite finds the same packages.
fn assert_scanned(db: &[u8], what: &str) {
    let read = read(&alone(db), &PrivateDir).unwrap().packages.into_iter();
    let read: Vec<_> = read.map(|p| (p.hnum, p.blob.whole().to_vec())).collect();
    assert!(scanned(db).unwrap() == read, "{what}");
}

#[test]
fn packages_are_found_without_sqlite_too() {
    for name in ["sqlite/one", "sqlite/rev", "real/sqlite/cbl-mariner-2"] {
        assert_scanned(&db(name), name);
        assert_scanned(&canon(&db(name)).unwrap().bytes, name);
    }
    let whole = db("sqlite/one");
    for cut in (0..whole.len()).step_by(4093) {
        assert!(scanned(&whole[..cut]).is_err(), "cut at {cut}");
    }
    // Damage is an error or another package, and no panic.
    for at in (0..whole.len()).step_by(997).chain(0..200) {
        let mut damaged = whole.clone();
        for value in [0, 1, 0x7f, 0xff] {
            damaged[at] = value;
            let _ = scanned(&damaged);
        }
    }
}

#[test]
fn of_several_faults_the_same_one_is_told_whatever_the_threads() {
    let path = "tests/plugins/rpmdb/cases/refused/in/usr/lib/sysimage/rpm/rpmdb.sqlite";
    let faulty = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let said = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| canon(&faulty)).unwrap_err().to_string()
    };
    let alone = said(1);
    assert!(alone.contains("which has no package"), "{alone}");
    for threads in (1..=8).cycle().take(64) {
        assert_eq!(said(threads), alone, "{threads} threads");
    }
}

/// The schema's texts in the order in which rpm made them.
fn schema(name: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("rpmdb.sqlite");
    fs::copy(fixture(name).join("rpmdb.sqlite"), &copy).unwrap();
    let db = Connection::open(copy).unwrap();
    let query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL \
                 AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
    let mut rows = db.prepare(query).unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// A database that was written by SQLite as `change` says, and closed.
fn written(schema: &[String], change: impl FnOnce(&Connection)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpmdb.sqlite");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF").unwrap();
    schema.iter().for_each(|text| db.execute_batch(text).unwrap());
    change(&db);
    db.close().unwrap();
    fs::read(path).unwrap()
}

fn install(db: &Connection, hnum: u32, package: &Known) {
    let insert = "INSERT INTO Packages (hnum, blob) VALUES (?1, ?2)";
    db.execute(insert, (hnum, &package.blob)).unwrap();
    for (table, idx, key) in &package.rows {
        let insert = format!("INSERT INTO \"{table}\" (key, hnum, idx) VALUES (?1, ?2, ?3)");
        let mut insert = db.prepare_cached(&insert).unwrap();
        match std::str::from_utf8(key) {
            Ok(text) if !is_bytes(table) => insert.execute((text, hnum, idx)).unwrap(),
            _ => insert.execute((key, hnum, idx)).unwrap(),
        };
    }
}

fn is_bytes(table: &str) -> bool {
    table == INSTALLTID_INDEX || table == "Sigmd5"
}

fn erase(db: &Connection, hnum: u32, package: &Known) {
    for (table, ..) in &package.rows {
        db.execute(&format!("DELETE FROM \"{table}\" WHERE hnum = ?1"), [hnum]).unwrap();
    }
    db.execute("DELETE FROM Packages WHERE hnum = ?1", [hnum]).unwrap();
}

/// The database that a history of `world` leads to, written by SQLite as rpm would.
fn by_library(schema: &[String], world: &[Known], history: &[usize], start: u32) -> Vec<u8> {
    written(schema, |db| {
        play(world, history, start, &mut |event| match event {
            Event::Install(hnum, package) => install(db, hnum, package),
            Event::Erase(hnum, package) => erase(db, hnum, package),
        });
        if history.len().is_multiple_of(3) {
            db.execute_batch("ANALYZE; VACUUM").unwrap();
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_of_one_set_become_one_file(history in histories(20)) {
        let (schema, one) = (schema("sqlite/one"), db("sqlite/one"));
        let world = known(&read(&alone(&one), &PrivateDir).unwrap());
        let long = by_library(&schema, &world, &history, EPOCH + 1);
        let short = by_library(&schema, &world, &shortest(&history), EPOCH + 1_000_000);
        prop_assert!(canon(&long).unwrap().bytes == canon(&short).unwrap().bytes);
        assert_scanned(&long, "a long history");
    }
}

/// Several packages of one name and version, as multilib and kernels are, and some that are equal
/// to the last byte: their order is no history.
#[test]
fn packages_of_one_nevra_in_any_order_become_one_file() {
    let (schema, one) = (schema("sqlite/one"), db("sqlite/one"));
    let world = known(&read(&alone(&one), &PrivateDir).unwrap());
    let mut copies: Vec<Known> = Vec::new();
    for (n, package) in world.iter().take(4).enumerate() {
        copies.extend([package.clone(), package.clone(), package.at(EPOCH - 5)]);
        // Same NEVRA, another header: one digit of its digest.
        let mut other = package.clone();
        let place = Header::parse(&package.blob).unwrap();
        let digest = place.entries().iter().find(|e| e.tag == tag::SHA1HEADER).unwrap();
        other.blob[digest.range.start] = b'0' + n as u8;
        copies.push(other);
    }
    let order = |turn: usize| -> Vec<usize> {
        (0..copies.len()).map(|n| (n * 5 + turn) % copies.len()).collect()
    };
    let build = |order: &[usize]| {
        written(&schema, |db| {
            order.iter().zip(7..).for_each(|(&n, hnum)| install(db, hnum, &copies[n]));
        })
    };
    let first = canon(&build(&order(0))).unwrap();
    assert_eq!(first.packages, 16);
    for turn in 1..16 {
        assert!(canon(&build(&order(turn))).unwrap().bytes == first.bytes, "{turn}");
    }
}

/// What the inputs decided stays as it is and is told: by package and file, with the cause.
#[test]
fn file_states_and_colors_are_told_by_package_and_file() {
    let file = db("real/sqlite/cbl-mariner-2");
    let a = read(&alone(&file), &PrivateDir).unwrap();
    for (state, cause) in [
        (1, "two packages hold it: order of installation"),
        (2, "translation: %_install_langs"),
        (4, "two architectures hold it: colors"),
    ] {
        let mut b = a.clone();
        let (package, nevra, states, color, translated) = with_translations(&b);
        b.packages[package].blob.put(states + translated, &[state]);
        b.packages[package].blob.put(color, &1u32.to_be_bytes());
        let (mut x, mut y) = (a.clone(), b.clone());
        for side in [&mut x, &mut y] {
            side.canonicalise(EPOCH).unwrap();
        }
        for (a, b) in [(&a, &b), (&x, &y)] {
            let found = diff(a, b).unwrap();
            let [change] = &found.changed_header[..] else { panic!("{found:?}") };
            assert_eq!((&change.nevra, change.color), (&nevra, Some((3, 1))));
            assert_eq!(change.tags, ["FILESTATES", "INSTALLCOLOR"]);
            assert_eq!((change.files.len(), change.files[0].cause), (1, cause));
        }
    }
}

/// A package with a translation: its place in the list, its NEVRA, where FILESTATES and
/// INSTALLCOLOR begin in its blob, and which of its files is the translation.
fn with_translations(db: &Logical<'_>) -> (usize, String, usize, usize, usize) {
    let found = db.packages.iter().enumerate().find_map(|(n, package)| {
        let blob = package.blob.whole();
        let header = Header::parse(&blob).unwrap();
        let place = |tag| Some(header.entries().iter().find(|e| e.tag == tag)?.range.start);
        let translated = header.get(tag::FILELANGS)?.strings().position(|l| !l.is_empty())?;
        let (states, color) = (place(tag::FILESTATES)?, place(tag::INSTALLCOLOR)?);
        Some((n, header.nevra(), states, color, translated))
    });
    found.expect("a package with translations")
}

/// What the system's SQLite, another version than ours, does to a database in between leaves no
/// trace.
#[test]
fn the_version_of_sqlite_in_between_does_not_matter() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
        assert!(!required, "sqlite3 is not installed");
        eprintln!("not run: sqlite3 is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rpmdb.sqlite");
    let changes = [
        "VACUUM",
        "PRAGMA page_size = 1024; VACUUM; ANALYZE",
        "PRAGMA auto_vacuum = FULL; VACUUM; REINDEX",
        "UPDATE Packages SET blob = blob WHERE hnum % 2; DELETE FROM sqlite_sequence",
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; ANALYZE",
        "CREATE TABLE t AS SELECT * FROM Packages; DROP TABLE t",
    ];
    for name in ["sqlite/rev", "real/sqlite/cbl-mariner-2"] {
        let (before, schema) = (db(name), read(&alone(&db(name)), &PrivateDir).unwrap());
        let want = canon(&before).unwrap().bytes;
        // The normal form as input as well: what the other library makes of it comes back.
        for (change, start) in changes.iter().flat_map(|c| [(c, &before), (c, &want)]) {
            fs::write(&path, start).unwrap();
            let out = Command::new("sqlite3").arg(&path).arg(change).output().unwrap();
            assert!(out.status.success(), "{change}: {}", String::from_utf8_lossy(&out.stderr));
            let wal = fs::read(dir.path().join("rpmdb.sqlite-wal")).unwrap_or_default();
            let after = fs::read(&path).unwrap();
            let files = Files { db: &after, wal: &wal, journal: &[] };
            assert!(
                canonical(&files, EPOCH, &PrivateDir).unwrap().bytes == want,
                "{name}: {change}"
            );
        }
        assert!(!schema.packages.is_empty());
    }
}

/// A journal or log of any length beside a database never makes it hold something else than what
/// SQLite would read.
#[test]
fn every_prefix_of_a_log_is_what_sqlite_reads_or_refused() {
    let case =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins/rpmdb/cases/log/in/var/lib/rpm");
    let load = |name: &str| fs::read(case.join(name)).unwrap();
    let (db, wal) = (load("rpmdb.sqlite"), load("rpmdb.sqlite-wal"));
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for cut in (0..wal.len()).step_by(1373).chain([wal.len()]) {
        if let Ok(new) =
            canonical(&Files { db: &db, wal: &wal[..cut], journal: &[] }, EPOCH, &PrivateDir)
        {
            *seen.entry(new.packages).or_default() += 1;
        }
    }
    assert!(seen.len() <= 2, "{seen:?}: the packages before the last transaction, and after it");
}
