//! Berkeley DB databases: the fixtures that rpm wrote, and Berkeley DB's and rpm's own tools.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use reprofix::format::rpmdb::bdb::{self, Access, Record, Shape};
use reprofix::format::rpmdb::bytes::Order;
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
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let file = bdb::write(shape, &records, &[7; 20]).unwrap();
        let (again, mut found) = bdb::records(&file).unwrap();
        found.sort();
        prop_assert_eq!(again, shape);
        prop_assert!(found == records);

        let dir = save(&Files::from([("File".to_owned(), file)]));
        verify(dir.path().join("File"));
        let out = Command::new("db5.3_dump").arg(dir.path().join("File")).output().unwrap();
        let out = String::from_utf8(out.stdout).unwrap();
        let dumped = out.lines().filter_map(|line| line.strip_prefix(' ')).collect::<Vec<_>>();
        let mut dumped: Vec<_> = dumped.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        dumped.sort();
        let mine = records.iter().map(|(key, value)| (hex(key), hex(value))).collect::<Vec<_>>();
        let mine: Vec<_> = mine.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        prop_assert!(dumped == mine);
    }
}
