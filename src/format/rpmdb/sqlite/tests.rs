//! What is written, as SQLite reads it.

use proptest::prelude::*;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB};

use super::pages::Pages;
use super::record::Value;
use super::tree::{self, Tree};
use crate::format::rpmdb::scrub::scrub;

/// A key as SQLite has it: text or not, and its bytes.
type Key = (bool, Vec<u8>);

fn value((text, bytes): &Key) -> Value<'_> {
    if *text { Value::Text(bytes) } else { Value::Blob(bytes) }
}

/// A database with a table `t` of these keys and numbers, an index of the keys, and tables without
/// rows whose texts are as long as `schema` says.
fn write(rows: &[(Key, u32)], schema: &[usize]) -> (Vec<u8>, Vec<u32>) {
    let mut pages = Pages::with_capacity(0);
    let mut table = Tree::table(&mut pages).unwrap();
    for (n, (key, number)) in (1..).zip(rows) {
        table.row(n, &[value(key), Value::Integer(*number)]).unwrap();
    }
    let table = table.end_table().unwrap();
    let mut sorted: Vec<_> = (1u32..).zip(rows).map(|(n, (key, _))| (!key.0, &key.1, n)).collect();
    sorted.sort();
    let mut index = Tree::index(&mut pages).unwrap();
    for (blob, bytes, n) in sorted {
        let key = if blob { Value::Blob(bytes) } else { Value::Text(bytes) };
        index.record(&[key, Value::Integer(n)]).unwrap();
    }
    let mut roots = vec![table, index.end_index().unwrap()];
    let texts = ["CREATE TABLE t(k, n)".to_owned(), "CREATE INDEX i ON t(k)".to_owned()];
    let long = |(n, length)| format!("CREATE TABLE x{n}({}k)", " ".repeat(length));
    let names: Vec<_> = (0..schema.len()).map(|n| format!("x{n}")).collect();
    let more: Vec<_> = schema.iter().copied().enumerate().map(long).collect();
    roots.extend(more.iter().map(|_| Tree::table(&mut pages).unwrap().end_table().unwrap()));
    let text = |text| Value::Text(str::as_bytes(text));
    let object = |kind, name, root, sql| {
        [text(kind), text(name), text(if kind == "index" { "t" } else { name }), root, text(sql)]
    };
    let mut objects = vec![
        object("table", "t", Value::Integer(roots[0]), &texts[0]),
        object("index", "i", Value::Integer(roots[1]), &texts[1]),
    ];
    for ((name, sql), &root) in names.iter().zip(&more).zip(&roots[2..]) {
        objects.push(object("table", name, Value::Integer(root), sql));
    }
    tree::schema(&mut pages, &objects).unwrap();
    (pages.finish(), roots)
}

/// The rows of `t` in their order, then the keys in the index's, of a database without a fault.
fn read(bytes: &[u8]) -> (Vec<(Key, u32)>, Vec<Key>) {
    let mut db = Connection::open_in_memory().unwrap();
    db.deserialize_read_exact(MAIN_DB, bytes, bytes.len(), true).unwrap();
    let said: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(said, "ok");
    let key = |row: &rusqlite::Row<'_>| match row.get_ref(0).unwrap() {
        ValueRef::Text(bytes) => (true, bytes.to_vec()),
        ValueRef::Blob(bytes) => (false, bytes.to_vec()),
        other => panic!("{other:?}"),
    };
    let all = |query: &str| db.prepare(query).unwrap();
    let rows = all("SELECT k, n FROM t NOT INDEXED ORDER BY rowid")
        .query_map([], |row| Ok((key(row), row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let keys = all("SELECT k FROM t INDEXED BY i ORDER BY k")
        .query_map([], |row| Ok(key(row)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    (rows, keys)
}

/// SQLite finds no fault and the same rows, and no byte is there that means nothing.
fn holds(rows: &[(Key, u32)], schema: &[usize]) {
    let (mut bytes, roots) = write(rows, schema);
    let (found, keys) = read(&bytes);
    assert!(found == rows);
    let mut sorted: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
    sorted.sort_by(|a, b| (!a.0, &a.1).cmp(&(!b.0, &b.1)));
    assert!(keys == sorted);
    assert_eq!(scrub(&mut bytes, &roots).unwrap(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_are_what_sqlite_reads(
        rows in prop::collection::vec(
            ((any::<bool>(), (0u8..4, 0usize..9000)), any::<u32>()), 0..400),
        short in 0usize..6000,
    ) {
        // Keys of all lengths around those that need an overflow page, but mostly short ones.
        let key = |n: usize, text, byte, length: usize| -> Key {
            let length = if n.is_multiple_of(7) { length } else { length % (short + 1) };
            (text, vec![b'a' + byte; length])
        };
        let rows = rows.into_iter().enumerate();
        let rows: Vec<(Key, u32)> = rows
            .map(|(n, ((text, (byte, length)), number))| (key(n, text, byte, length), number))
            .collect();
        holds(&rows, &[]);
    }
}

/// Every number of rows around those where a leaf, and a level, is full.
#[test]
fn every_number_of_rows_is_what_sqlite_reads() {
    let row = |n: usize| ((!n.is_multiple_of(3), format!("{n:0990}").into_bytes()), n as u32);
    for count in 0..60 {
        holds(&(0..count).map(row).collect::<Vec<_>>(), &[]);
    }
    let row = |n: usize| ((true, format!("{n:08}").into_bytes()), 1 << (n % 32));
    for count in (0..600).step_by(7).chain([40_000]) {
        holds(&(0..count).map(row).collect::<Vec<_>>(), &[]);
    }
}

/// A schema that page 1 has room for, that any other page would have, that none has, of many levels.
#[test]
fn every_size_of_a_schema_is_what_sqlite_reads() {
    let rows = [((true, b"key".to_vec()), 1)];
    for length in 3600..4200 {
        holds(&rows, &[length]);
    }
    holds(&rows, &[10_000]);
    holds(&rows, &[200; 2_000]);
    holds(&rows, &[3_000; 1_500]);
}
