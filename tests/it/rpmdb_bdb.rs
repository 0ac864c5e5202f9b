//! Berkeley DB databases: the fixtures that rpm wrote, and Berkeley DB's and rpm's own tools.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use proptest::prelude::*;
use reprofix::format::bytes::Order;
use reprofix::format::rpmdb::bdb::{self, Access, Record, Shape};
use reprofix::format::rpmdb::dump::{self, Times};

use super::rpmdb_world::{Event, Known, histories, known, play, shortest};

const EPOCH: u32 = 1_700_000_000;

type Files = BTreeMap<String, Vec<u8>>;

fn fixture(name: &str) -> Files {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb").join(name))
}

fn load(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let file =
        |e: fs::DirEntry| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap());
    entries.map(file).collect()
}

fn borrowed(files: &Files) -> BTreeMap<String, &[u8]> {
    files.iter().map(|(name, bytes)| (name.clone(), &bytes[..])).collect()
}

fn canonical(files: &Files) -> Files {
    bdb::canonical(&borrowed(files), EPOCH).unwrap()
}

fn text(files: &Files) -> String {
    dump::text(&bdb::read(&borrowed(files)).unwrap().logical, Times::Blanked).unwrap()
}

fn save(files: &Files) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[test]
fn two_histories_of_one_set_become_one() {
    let (one, rev) = (fixture("bdb/one"), fixture("bdb/rev"));
    assert_eq!(one.len(), 19);
    assert_ne!(one, rev);
    let (a, b) = (canonical(&one), canonical(&rev));
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name}");
    }
    assert_eq!(text(&one), text(&a));
}

#[test]
fn the_normal_form_of_a_normal_form_is_itself() {
    for name in ["bdb/one", "bdb/rev", "real/bdb/empty", "real/bdb/libuuid", "real/bdb/ubi7-tzdata"]
    {
        let old = fixture(name);
        let new = canonical(&old);
        assert!(canonical(&new) == new, "{name}");
        assert_eq!(text(&old), text(&new), "{name}");
    }
}

/// Berkeley DB's own checker finds nothing wrong with a file.
fn verify(path: PathBuf) {
    let out = Command::new("db5.3_verify").arg(&path).output().expect("db5.3-util is installed");
    assert!(out.status.success(), "{path:?}: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn berkeley_db_verifies_what_is_written() {
    for name in ["bdb/one", "real/bdb/empty", "real/bdb/libuuid", "real/bdb/ubi7-tzdata"] {
        let new = canonical(&fixture(name));
        let dir = save(&new);
        new.keys().for_each(|name| verify(dir.path().join(name)));
    }
}

/// Applies changes to files with the real library, which Perl's DB_File brings.
const WRITER: &str = r#"
    use DB_File; use Fcntl; my %db;
    while (<STDIN>) {
        chomp; my ($verb, @a) = split / /;
        my ($key, $value) = map { pack "H*", $_ // "" } @a;
        if ($verb eq "put") { $db{$key} = $value }
        elsif ($verb eq "del") { delete $db{$key} }
        else {
            untie %db;
            my $type = $verb eq "hash" ? $DB_HASH : $DB_BTREE;
            tie(%db, "DB_File", $a[0], O_RDWR | O_CREAT, 0644, $type) or die "$a[0]: $!";
        }
    }
"#;

fn hex(bytes: &[u8]) -> String {
    dump::hex(bytes)
}

/// The database that a history of `world` leads to, written by the real library as rpm would.
fn by_library(world: &[Known], history: &[usize], start: u32) -> Files {
    let order = |n: u32| n.to_le_bytes();
    let tables = world.iter().flat_map(|known| known.rows.iter().map(|row| row.0.clone()));
    let mut scripts: BTreeMap<String, String> = tables.map(|t| (t, String::new())).collect();
    let mut packages = String::new();
    let mut values: BTreeMap<(String, Vec<u8>), Vec<u8>> = BTreeMap::new();
    play(world, history, start, &mut |event| {
        let (hnum, known) = match event {
            Event::Install(hnum, known) => {
                packages += &format!("put {} {}\n", hex(&order(0)), hex(&order(hnum)));
                packages += &format!("put {} {}\n", hex(&order(hnum)), hex(&known.blob));
                (hnum, known)
            }
            Event::Erase(hnum, known) => {
                packages += &format!("del {}\n", hex(&order(hnum)));
                (hnum, known)
            }
        };
        for (table, idx, key) in &known.rows {
            let value = values.entry((table.clone(), key.clone())).or_default();
            let pair = [order(hnum), order(*idx)].concat();
            match value.chunks(8).position(|chunk| chunk == pair) {
                Some(at) => drop(value.drain(at * 8..at * 8 + 8)),
                None => value.extend(pair),
            }
            let line = match value.is_empty() {
                true => format!("del {}\n", hex(key)),
                false => format!("put {} {}\n", hex(key), hex(value)),
            };
            scripts.get_mut(table).unwrap().push_str(&line);
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut script = format!("hash {}\n{packages}", path("Packages"));
    for (table, lines) in scripts {
        script += &format!("btree {}\n{lines}", path(&table));
    }
    let mut perl = Command::new("perl").args(["-e", WRITER]).stdin(Stdio::piped()).spawn().unwrap();
    perl.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(perl.wait().unwrap().success(), "perl with DB_File is installed");
    load(dir.path())
}

/// Records of any size, of the same beginnings now and then, each key once.
fn records() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let bytes = |max: usize| {
        let start = prop_oneof![Just(0), Just(0), 0..max];
        (start, prop::collection::vec(any::<u8>(), 0..12))
            .prop_map(|(start, tail)| [vec![b'k'; start], tail].concat())
    };
    prop::collection::btree_map(bytes(2000), bytes(9000), 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_of_one_set_become_one(history in histories(20)) {
        let one = fixture("bdb/one");
        let world = known(&bdb::read(&borrowed(&one)).unwrap().logical);
        let long = canonical(&by_library(&world, &history, EPOCH + 1));
        let short = canonical(&by_library(&world, &shortest(&history), EPOCH + 1_000_000));
        for (name, bytes) in &short {
            prop_assert!(*bytes == long[name], "{name}");
        }
    }

    #[test]
    fn the_library_reads_what_is_written(
        records in records(),
        btree in any::<bool>(),
        big_endian in any::<bool>(),
        page_size in prop::sample::select(vec![512, 1024, 4096, 32768]),
    ) {
        let shape = Shape {
            access: if btree { Access::Btree } else { Access::Hash },
            order: if big_endian { Order::Big } else { Order::Little },
            page_size,
            fill: 0,
        };
        let long = |key: &Vec<u8>| !btree && key.len() > page_size / 4;
        let records: Vec<Record> = records
            .iter()
            .filter(|(key, _)| !long(key))
            .map(|(key, value)| (key.into(), value[..].into()))
            .collect();
        let file = bdb::write(shape, &records, &[7; 20]).unwrap();
        let (again, mut found) = bdb::records(&file).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(again, shape);
        prop_assert!(found == records);

        let dir = save(&Files::from([("File".to_owned(), file)]));
        verify(dir.path().join("File"));
        let out = Command::new("db5.3_dump").arg(dir.path().join("File")).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let dumped = out.lines().filter_map(|line| line.strip_prefix(' ')).collect::<Vec<_>>();
        let mut dumped: Vec<_> = dumped.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        dumped.sort();
        let mine = records.iter().map(|(key, value)| (hex(key), hex(&value.whole()))).collect::<Vec<_>>();
        let mine: Vec<_> = mine.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        prop_assert!(dumped == mine);
    }
}

/// What rpm (4.16 or later: it reads Berkeley DB with code of its own) finds in a database.
fn rpm_finds(files: &Files) -> String {
    let dir = save(files);
    let ask = |args: &[&str]| {
        let mut rpm = Command::new("rpm");
        rpm.args(["--define", "_db_backend bdb_ro", "--dbpath"]).arg(dir.path());
        let out = rpm.args(args).output().expect("rpm is installed");
        let mut lines: Vec<_> = out.stdout.split(|&byte| byte == b'\n').collect();
        lines.sort();
        let lines = String::from_utf8_lossy(&lines.join(&b'\n')).into_owned();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        format!("{args:?}\n{lines}\n{errors}\n").replace(dir.path().to_str().unwrap(), "")
    };
    let all = "%{NEVRA} [%{REQUIRENAME} ][%{FILENAMES} ]%{SHA256HEADER} %{SIGMD5}\n";
    let mut found = ask(&["-qa", "--qf", all]);
    found += &ask(&["-q", "--whatprovides", "t-pkg03", "t-arch", "--qf", "%{NEVRA}\n"]);
    found += &ask(&["-q", "--whatrequires", "t-filesystem", "t-pkg01", "--qf", "%{NEVRA}\n"]);
    found += &ask(&["-qf", "/usr", "/usr/share/t-pkg07/file1", "--qf", "%{NEVRA}\n"]);
    found + &ask(&["-q", "t-pkg05", "t-upd", "uuid", "libuuid", "tzdata"])
}

#[test]
fn rpm_finds_the_same_as_before() {
    for name in ["bdb/one", "bdb/rev", "real/bdb/libuuid", "real/bdb/ubi7-tzdata"] {
        let old = fixture(name);
        let found = rpm_finds(&old);
        assert!(found.contains("noarch") || found.contains("x86_64"), "{found}");
        assert!(found == rpm_finds(&canonical(&old)), "{name}: {found}");
    }
}

/// The database as a big-endian host would have written it.
fn big_endian(files: &Files) -> Files {
    let swap = |value: &[u8]| value.chunks(4).flat_map(|n| n.iter().rev()).copied().collect();
    let swapped = |(name, bytes): (&String, &Vec<u8>)| {
        let (shape, records) = bdb::records(bytes).unwrap();
        let numbers_in_key = name == "Packages" || name == "Installtid";
        let mut records: Vec<Record> = records
            .iter()
            .map(|(key, value)| {
                let key: Vec<u8> = if numbers_in_key { swap(key) } else { key.to_vec() };
                let numbers = name != "Packages" || value.len() == 4;
                let value = value.whole();
                let value: Vec<u8> = if numbers { swap(&value) } else { value.into_owned() };
                (key.into(), value.into())
            })
            .collect();
        records.sort_by(|a, b| a.0.cmp(&b.0));
        let file = bdb::write(Shape { order: Order::Big, ..shape }, &records, &[1; 20]).unwrap();
        (name.clone(), file)
    };
    files.iter().map(swapped).collect()
}

#[test]
fn files_of_the_other_byte_order_keep_it() {
    let (one, rev) = (big_endian(&fixture("bdb/one")), big_endian(&fixture("bdb/rev")));
    assert_eq!(one["Packages"][12..16], [0, 6, 0x15, 0x61]);
    let (a, b) = (canonical(&one), canonical(&rev));
    assert!(a == b);
    assert_eq!(a["Packages"][12..16], [0, 6, 0x15, 0x61]);
    assert_eq!(rpm_finds(&a), rpm_finds(&fixture("bdb/one")));
}

fn refused(files: &Files) -> String {
    bdb::canonical(&borrowed(files), EPOCH).unwrap_err().to_string()
}

#[test]
fn what_rpm_did_not_write_is_refused_with_the_reason() {
    let good = fixture("bdb/one");
    let with = |name: &str, at: usize, bytes: &[u8]| {
        let mut files = good.clone();
        files.get_mut(name).unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
        refused(&files)
    };
    let magic = with("Name", 12, b"x");
    assert_eq!(magic, "Name: not a Berkeley DB hash or btree file at byte 12");
    assert_eq!(with("Packages", 16, &[8]), "Packages: Berkeley DB format 8, not 9 at byte 16");
    assert_eq!(
        with("Packages", 26, &[1]),
        "Packages: Berkeley DB feature 0x1 that rpm does not use at byte 26"
    );
    assert_eq!(
        with("Packages", 32, &[200]),
        "Packages: last page is 200: file is truncated at byte 32"
    );
    assert_eq!(
        with("Packages", 92, &[0]),
        "Packages: hash function is not the library's default at byte 92"
    );
    assert_eq!(
        with("Packages", 4096 + 25, &[7]),
        "Packages: bucket leads to a page of type 7 at byte 4121"
    );
    assert_eq!(with("Name", 4096 + 8, &[9]), "Name: page 1 bears another number at byte 4104");
    // An index that was not written together with its packages.
    let mut mixed = good.clone();
    let packages = canonical(&by_library(&[], &[], 0));
    mixed.insert("Packages".into(), packages["Packages"].clone());
    let why = refused(&mixed);
    assert!(why.contains("which has no package"), "{why}");
}

#[test]
fn every_prefix_is_refused() {
    let good = fixture("bdb/one");
    for name in ["Packages", "Name"] {
        let bytes = &good[name];
        for end in 0..bytes.len() {
            assert!(bdb::records(&bytes[..end]).is_err(), "{name} {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        name in prop::sample::select(vec!["Packages", "Name", "Basenames"]),
        at in any::<prop::sample::Index>(),
        near in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 1..6),
    ) {
        let mut file = FILES.get_or_init(|| fixture("bdb/one"))[name].clone();
        // Half of them where the structure is: metadata and page headers.
        let at = if near { at.index(3) * 4096 + at.index(160) } else { at.index(file.len() - 6) };
        let at = at.min(file.len() - 6);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        if let Ok((shape, mut records)) = bdb::records(&file) {
            records.sort_by(|a, b| a.0.cmp(&b.0));
            records.dedup_by(|a, b| a.0 == b.0);
            let _ = bdb::write(shape, &records, &[0; 20]);
        }
    }
}

static FILES: OnceLock<Files> = OnceLock::new();
