//! ndb databases: the fixtures that rpm wrote, files made by hand, and rpm itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;
use reprofix::format::rpmdb::blob::Blob;
use reprofix::format::rpmdb::dump::{self, Times};
use reprofix::format::rpmdb::ndb::{self, Canonical};
use reprofix::format::rpmdb::{INSTALLTID_INDEX, Row};

use super::rpmdb_world::{Event, Known, histories, known, play, shortest};

const EPOCH: u32 = 1_700_000_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name)
}

/// `Packages.db` and, if there, `Index.db` of a directory.
fn load(dir: &Path) -> (Vec<u8>, Option<Vec<u8>>) {
    (fs::read(dir.join("Packages.db")).unwrap(), fs::read(dir.join("Index.db")).ok())
}

fn canonical((packages, index): &(Vec<u8>, Option<Vec<u8>>)) -> Canonical {
    ndb::canonical(packages, index.as_deref(), EPOCH).unwrap()
}

fn text((packages, index): &(Vec<u8>, Option<Vec<u8>>)) -> String {
    let contents = ndb::read(packages, index.as_deref()).unwrap();
    dump::text(&contents.logical, Times::Blanked).unwrap()
}

fn refused(packages: &[u8], index: Option<&[u8]>) -> String {
    ndb::canonical(packages, index, EPOCH).unwrap_err().to_string()
}

#[test]
fn two_histories_of_one_set_become_one_pair() {
    let (one, rev) = (load(&fixture("ndb/one")), load(&fixture("ndb/rev")));
    assert_ne!(one, rev);
    let (a, b) = (canonical(&one), canonical(&rev));
    assert!(a.index.is_some() && a.notes.is_empty());
    assert_eq!(a, b);
    assert_eq!(text(&one), text(&(a.packages, a.index)));
}

#[test]
fn the_normal_form_of_a_normal_form_is_itself() {
    for name in ["ndb/one", "ndb/rev", "real/ndb/sle15-bci"] {
        let old = load(&fixture(name));
        let first = canonical(&old);
        let pair = (first.packages.clone(), first.index.clone());
        assert_eq!(canonical(&pair), first, "{name}");
        assert_eq!(text(&old), text(&pair), "{name}");
    }
}

#[test]
fn a_missing_or_stale_index_is_left_out_and_reported() {
    let (packages, index) = load(&fixture("ndb/one"));
    let without = ndb::canonical(&packages, None, EPOCH).unwrap();
    assert_eq!(without.index, None);
    assert!(without.notes[0].starts_with("Index.db is missing and is omitted"), "{without:?}");

    let mut stale = index.clone().unwrap();
    stale[20] += 1;
    let found = ndb::canonical(&packages, Some(&stale), EPOCH).unwrap();
    assert_eq!((found.index, found.packages), (None, without.packages));
    assert!(found.notes[0].contains("stale (of generation 22, not 21)"), "{:?}", found.notes);

    // Of the same generation, but for other packages: never renumbered by accident.
    let mut other = packages.clone();
    other[32..48].copy_from_slice(&[b'S', b'l', b'o', b't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let why = refused(&other, index.as_deref());
    assert!(why.contains("which has no package"), "{why}");
}

#[test]
fn an_index_that_misses_a_package_is_left_out() {
    let (packages, index) = load(&fixture("ndb/one"));
    let mut index = index.unwrap();
    // The slot of the index of names: given another tag, names have no index.
    let slot = index.chunks(16).position(|s| s.starts_with(b"Slo\0\xe8\x03\0\0")).unwrap() * 16;
    index[slot + 4] = 0xe9;
    let found = ndb::canonical(&packages, Some(&index), EPOCH).unwrap();
    assert_eq!(found.index, None);
    assert!(found.notes[0].contains("does not list every package"), "{:?}", found.notes);
}

#[test]
fn big_endian_files_are_refused_by_name() {
    let (mut packages, index) = load(&fixture("ndb/one"));
    let mut index = index.unwrap();
    index[..4].reverse();
    let why = refused(&packages, Some(&index));
    assert_eq!(why, "Index.db: ndb index in big-endian byte order at byte 0");
    packages[..4].reverse();
    let why = refused(&packages, None);
    assert_eq!(why, "Packages.db: ndb package database in big-endian byte order at byte 0");
}

#[test]
fn every_prefix_is_refused() {
    let (packages, index) = load(&fixture("ndb/one"));
    let index = index.unwrap();
    refused(&packages[..4096], Some(&index));
    refused(&packages, Some(&index[..4096]));
    for end in 0..packages.len() {
        assert!(ndb::packages::read(&packages[..end]).is_err(), "{end}");
    }
    for end in 0..index.len() {
        assert!(ndb::index::read(&index[..end]).is_err(), "{end}");
    }
}

/// Where a page of `from` bytes begins, in a file whose pages have 64 KiB.
fn host_with_64k_pages(index: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(index[at..at + 4].try_into().unwrap()) as usize;
    let mut file = vec![0; 0x1_0000];
    file[..4096].copy_from_slice(&index[..4096]);
    for at in (4096..0x1_0000).step_by(16) {
        file[at..at + 4].copy_from_slice(b"Slo\0");
    }
    file[16..20].copy_from_slice(&0x1_0000u32.to_le_bytes());
    for at in (32..4096).step_by(16).filter(|at| word(at + 8) != 0) {
        let blob = &index[word(at + 8) * 4096..][..word(at + 12) * 4096];
        let (first, pages) = (file.len() >> 16, blob.len().div_ceil(0x1_0000));
        file.extend_from_slice(blob);
        file.resize((first + pages) << 16, 0);
        file[at + 8..at + 12].copy_from_slice(&(first as u32).to_le_bytes());
        file[at + 12..at + 16].copy_from_slice(&(pages as u32).to_le_bytes());
    }
    file
}

#[test]
fn the_page_size_of_the_build_host_goes() {
    let (packages, index) = load(&fixture("ndb/one"));
    let other = host_with_64k_pages(index.as_deref().unwrap());
    assert_ne!(Some(&other), index.as_ref());
    let found = ndb::canonical(&packages, Some(&other), EPOCH).unwrap();
    assert_eq!(found, canonical(&(packages, index)));
}

/// `Packages.db` and `Index.db` with these packages under these numbers.
fn pair(packages: &[(u32, &Known)]) -> (Vec<u8>, Option<Vec<u8>>) {
    let generation = packages.iter().map(|(hnum, _)| hnum).max().map_or(1, |last| last + 1);
    let mut tables: BTreeMap<u32, Vec<Row>> = [(1000, Vec::new())].into();
    for (hnum, known) in packages {
        for (table, idx, key) in &known.rows {
            let row = Row { hnum: *hnum, idx: *idx, key: key.into() };
            tables.entry(table.parse().unwrap()).or_default().push(row);
        }
    }
    (scattered(packages, generation), Some(ndb::index::write(generation, &tables).unwrap()))
}

/// A `Packages.db` whose slots and blobs lie in the order given, with free slots and garbage
/// between them.
fn scattered(packages: &[(u32, &Known)], generation: u32) -> Vec<u8> {
    let tidy: Vec<Blob> = packages.iter().map(|(_, known)| known.blob[..].into()).collect();
    let tidy = ndb::packages::write(&tidy).unwrap();
    let word = |at: usize| u32::from_le_bytes(tidy[at..at + 4].try_into().unwrap());
    let pages = (2 * packages.len() + 2).div_ceil(256);
    let mut file = b"Slot\0\0\0\0\0\0\0\0\0\0\0\0".repeat(256 * pages);
    file[..4].copy_from_slice(b"RpmP");
    for (at, value) in [(4, 0), (8, generation), (12, pages as u32), (16, generation), (20, 0)] {
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    for (i, (hnum, _)) in packages.iter().enumerate() {
        let slot = 32 + 16 * i;
        let (first, blocks) = (word(slot + 8) as usize * 16, word(slot + 12) as usize * 16);
        let mut blob = tidy[first..first + blocks].to_vec();
        blob[4..8].copy_from_slice(&hnum.to_le_bytes());
        blob[8..12].copy_from_slice(&(generation - *hnum).to_le_bytes());
        let tail = blob.len() - 12;
        let sum = adler2::adler32_slice(&blob[..tail]);
        blob[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
        let first = (file.len() / 16) as u32;
        let words = [*hnum, first, (blob.len() / 16) as u32].map(u32::to_le_bytes).concat();
        file[slot + 16 * i + 4..slot + 16 * i + 16].copy_from_slice(&words);
        file.extend(blob);
        file.extend(b"left over".repeat(16));
    }
    file
}

/// The packages of a fixture, index tables named by their numbers.
fn world() -> Vec<Known> {
    let (packages, index) = load(&fixture("ndb/one"));
    let mut contents = ndb::read(&packages, index.as_deref()).unwrap();
    let mut indexes = BTreeMap::new();
    for (tag, name) in &contents.tables {
        let mut rows = contents.logical.indexes.remove(name).unwrap();
        let table = if name == INSTALLTID_INDEX { name.clone() } else { tag.to_string() };
        rows.sort();
        indexes.insert(table, rows);
    }
    contents.logical.indexes = indexes;
    known(&contents.logical)
}

/// What a history leads to.
fn after(world: &[Known], history: &[usize], start: u32) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut left: BTreeMap<u32, Known> = BTreeMap::new();
    play(world, history, start, &mut |event| match event {
        Event::Install(hnum, known) => {
            let mut known = known.clone();
            for row in known.rows.iter_mut().filter(|row| row.0 == INSTALLTID_INDEX) {
                row.0 = "1128".into();
            }
            left.insert(hnum, known);
        }
        Event::Erase(hnum, _) => drop(left.remove(&hnum)),
    });
    let mut packages: Vec<(u32, &Known)> =
        left.iter().map(|(hnum, known)| (*hnum, known)).collect();
    // Where a blob lies is another matter than its number.
    packages.sort_by_key(|(hnum, _)| hnum.wrapping_mul(0x9e37_79b9));
    pair(&packages)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_of_one_set_become_one(history in histories(20)) {
        let world = world();
        let long = canonical(&after(&world, &history, EPOCH + 1));
        let short = canonical(&after(&world, &shortest(&history), EPOCH + 1_000_000));
        prop_assert!(long.notes.is_empty());
        prop_assert!(long == short);
    }
}

#[test]
fn more_packages_than_a_slot_page_holds() {
    let world = world();
    for count in [253, 254, 255, 645] {
        // The same packages again and again, as kernels and multilib are.
        let many: Vec<(u32, &Known)> = (1..=count).zip(world.iter().cycle()).collect();
        let mut many: Vec<(u32, Known)> =
            many.into_iter().map(|(hnum, known)| (hnum, known.at(EPOCH - hnum % 7))).collect();
        for (_, known) in &mut many {
            known
                .rows
                .iter_mut()
                .filter(|r| r.0 == INSTALLTID_INDEX)
                .for_each(|r| r.0 = "1128".into());
        }
        let there: Vec<(u32, &Known)> = many.iter().map(|(hnum, known)| (*hnum, known)).collect();
        let back: Vec<_> =
            (1..).zip(there.iter().rev()).map(|(n, (_, known))| (n, *known)).collect();
        let (there, back) = (canonical(&pair(&there)), canonical(&pair(&back)));
        assert_eq!(there.packages[12], (count as usize + 2).div_ceil(256) as u8);
        assert!(there == back, "{count}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        of_index in any::<bool>(),
        near in any::<bool>(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        let (packages, index) = FILES.get_or_init(|| load(&fixture("ndb/one")));
        let mut file = if of_index { index.clone().unwrap() } else { packages.clone() };
        let at = if near { at.index(400) } else { at.index(file.len() - 6) };
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        if of_index {
            if let Ok(found) = ndb::index::read(&file) {
                found.tables.values().for_each(|table| drop(table.rows()));
            }
        } else {
            let _ = ndb::canonical(&file, None, EPOCH);
        }
    }
}

static FILES: OnceLock<(Vec<u8>, Option<Vec<u8>>)> = OnceLock::new();

/// An rpm that writes ndb, where tests/e2e/deps puts it: 4.16.1.3 of PyPI's `rpm-inspector-rpm`.
fn rpm() -> Option<PathBuf> {
    crate::tools::cached("rpm-ndb/rpm_inspector_rpm/bin/rpm")
}

/// Runs rpm on the database in `dir` and gives the lines it prints, sorted.
fn run(rpm: &Path, dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new(rpm);
    command.args(["--rcfile", "/usr/lib/rpm/rpmrc", "--macros=/usr/lib/rpm/macros"]);
    command.args(["--define", "_db_backend ndb", "--dbpath"]).arg(dir).args(args);
    let out = command.output().unwrap();
    assert!(out.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    let out = String::from_utf8(out.stdout).unwrap();
    let mut lines: Vec<_> = out.lines().collect();
    lines.sort();
    lines.join("\n")
}

const INSTALL: [&str; 6] =
    ["-i", "--nodeps", "--justdb", "--noscripts", "--nosignature", "--nodigest"];
const NEVRA: &str = "%{NEVRA} %{INSTALLTIME} [%{REQUIRENAME} ][%{FILENAMES} ]\n";

fn packages() -> Vec<String> {
    let mut found: Vec<_> = fs::read_dir(fixture("rpms"))
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    found.sort();
    found
}

fn save(dir: &Path, pair: &Canonical) {
    fs::write(dir.join("Packages.db"), &pair.packages).unwrap();
    fs::write(dir.join("Index.db"), pair.index.as_ref().unwrap()).unwrap();
}

#[test]
fn rpm_writes_and_reads_it() {
    let Some(rpm) = rpm() else {
        eprintln!("skipped: no rpm that writes ndb (tests/e2e/deps installs one)");
        return;
    };
    let all = packages();
    let install = |dir: &Path, rpms: &[&String]| {
        let rpms: Vec<&str> = rpms.iter().map(|path| path.as_str()).collect();
        run(&rpm, dir, &[&INSTALL[..], &rpms].concat())
    };
    let [fresh, long] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (old, new) = all.iter().partition::<Vec<_>, _>(|path| path.contains("t-upd-1"));
    install(fresh.path(), &new);
    for path in new.iter().rev().filter(|path| !path.contains("t-upd-2")).chain(&old) {
        install(long.path(), &[path]);
    }
    let upgrade = new.iter().find(|path| path.contains("t-upd-2")).unwrap().as_str();
    run(&rpm, long.path(), &[&["-U"], &INSTALL[1..], &[upgrade]].concat());
    for erased in ["t-pkg03", "t-arch", "t-pkg11"] {
        run(&rpm, long.path(), &["-e", "--nodeps", "--justdb", erased]);
    }
    run(&rpm, long.path(), &["-qa", "--qf", NEVRA]);
    let again = |path: &&&String| ["t-pkg03", "t-arch", "t-pkg11"].iter().any(|n| path.contains(n));
    install(long.path(), &new.iter().filter(again).copied().collect::<Vec<_>>());

    let [a, b] = [&fresh, &long].map(|dir| load(dir.path()));
    assert_ne!(a, b);
    let (a, b) = (canonical(&a), canonical(&b));
    assert!(a.index.is_some() && a == b);

    // The same answers as before, and no repair: reading leaves the files as they are.
    save(long.path(), &b);
    let queries: [&[&str]; 5] = [
        &["-qa", "--qf", "%{NEVRA} [%{REQUIRENAME} ][%{FILENAMES} ]%{SHA256HEADER}\n"],
        &["-q", "--whatprovides", "t-pkg03", "t-meta", "--qf", "%{NEVRA}\n"],
        &["-q", "--whatrequires", "t-filesystem", "t-pkg01", "--qf", "%{NEVRA}\n"],
        &["-q", "t-pkg05", "t-loop1", "--qf", "%{NEVRA}\n"],
        &["-qf", "/usr", "--qf", "%{NEVRA}\n"],
    ];
    for query in queries {
        assert_eq!(run(&rpm, fresh.path(), query), run(&rpm, long.path(), query), "{query:?}");
    }
    assert_eq!(canonical(&load(long.path())), b, "rpm changed the database by reading it");

    // rpm goes on with it, and what comes out is that of a fresh installation again.
    run(&rpm, long.path(), &["-e", "--nodeps", "--justdb", "t-pkg07", "t-upd"]);
    let again = |path: &&&String| ["t-pkg07", "t-upd"].iter().any(|name| path.contains(name));
    install(long.path(), &new.iter().filter(again).copied().collect::<Vec<_>>());
    assert!(canonical(&load(long.path())) == a);
}
