//! SQLite databases: which rows differ.

use std::collections::BTreeMap;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, MAIN_DB, limits::Limit};

/// The largest database to look into, in bytes.
const BYTES_MAX: usize = 256 << 20;
/// The most rows to compare, of both sides together.
const ROWS_MAX: usize = 2_000_000;
/// The most tables to name.
const TABLES: usize = 50;
/// Thousands of steps of SQLite's virtual machine for one database: a few seconds. A schema can
/// demand any number of them.
const STEPS_MAX: u32 = 400_000;

/// How many rows of each table are only on one side; `None` unless both are readable databases.
pub(super) fn explain(a: &[u8], b: &[u8]) -> Option<Vec<String>> {
    let (x, y) = (open(a)?, open(b)?);
    let (left, right) = (tables(&x)?, tables(&y)?);
    let mut names: Vec<_> = left.keys().chain(right.keys()).collect();
    names.sort();
    names.dedup();
    let mut lines = Vec::new();
    let mut budget = ROWS_MAX;
    for name in names.into_iter().take(TABLES) {
        match (left.get(name), right.get(name)) {
            (Some(_), None) => lines.push(format!("sqlite: {name} only in A")),
            (None, _) => lines.push(format!("sqlite: {name} only in B")),
            (Some(p), Some(q)) => {
                if p != q {
                    lines.push(format!("sqlite: the definition of {name} differs"));
                }
                if p.0 {
                    let (p, q) = (rows(&x, name, &mut budget)?, rows(&y, name, &mut budget)?);
                    lines.extend(compare(name, &p, &q));
                }
            }
        }
    }
    if lines.is_empty() {
        lines.push("sqlite: the same rows, stored differently".to_owned());
    }
    Some(lines)
}

/// Opens a database in memory, read-only.
fn open(bytes: &[u8]) -> Option<Connection> {
    if !bytes.starts_with(b"SQLite format 3\0") || bytes.len() > BYTES_MAX {
        return None;
    }
    let mut bytes = bytes.to_vec();
    // A database in memory has no write-ahead log: say so in the header, or it does not open.
    for version in bytes.get_mut(18..20)? {
        *version = 1;
    }
    let mut db = Connection::open_in_memory().ok()?;
    db.deserialize_read_exact(MAIN_DB, &bytes[..], bytes.len(), true).ok()?;
    // A hostile schema must not build huge values, run forever, or call functions of ours.
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(bytes.len().max(1 << 16)).ok()?).ok()?;
    for off in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
        db.set_db_config(off, false).ok()?;
    }
    let mut left = STEPS_MAX;
    let is_over = move || {
        left = left.saturating_sub(1);
        left == 0
    };
    db.progress_handler(1000, Some(is_over)).ok()?;
    db.pragma_update(None, "trusted_schema", false).ok()?;
    db.pragma_update(None, "query_only", true).ok()?;
    Some(db)
}

/// Tables and indexes by name: whether it is a table, and its definition.
fn tables(db: &Connection) -> Option<BTreeMap<String, (bool, Option<String>)>> {
    let query = "select name, type = 'table' and sql not like 'create virtual%', sql \
                 from sqlite_schema";
    let mut statement = db.prepare(query).ok()?;
    let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, (r.get(1)?, r.get(2)?)));
    statement.query_map([], row).ok()?.collect::<Result<_, _>>().ok()
}

/// Every row of a table, row number included, as text, with how often it is there.
fn rows(db: &Connection, table: &str, budget: &mut usize) -> Option<BTreeMap<String, usize>> {
    let columns = stored(db, table)?;
    let quoted = quoted(table);
    let mut statement = db.prepare(&format!("select {columns} from {quoted}")).ok()?;
    let columns = statement.column_count();
    let mut cursor = statement.query([]).ok()?;
    let mut rows = BTreeMap::new();
    while let Some(row) = cursor.next().ok()? {
        *budget = budget.checked_sub(1)?;
        let cells: Option<Vec<String>> =
            (0..columns).map(|i| row.get_ref(i).ok().map(cell)).collect();
        *rows.entry(cells?.join(", ")).or_default() += 1;
    }
    Some(rows)
}

/// The stored columns of a table, as a list for a query: computed ones add nothing, and may be
/// huge.
fn stored(db: &Connection, table: &str) -> Option<String> {
    let query = format!("select name from pragma_table_xinfo({}) where hidden = 0", quoted(table));
    let mut statement = db.prepare(&query).ok()?;
    let names = statement.query_map([], |row| row.get::<_, String>(0)).ok()?;
    let names: Vec<String> =
        names.map(|name| name.map(|name| quoted(&name))).collect::<Result<_, _>>().ok()?;
    (!names.is_empty()).then(|| names.join(", "))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value on one line; a long one as its length and digest.
fn cell(value: ValueRef<'_>) -> String {
    let bytes = match value {
        ValueRef::Null => return "null".to_owned(),
        ValueRef::Integer(n) => return n.to_string(),
        ValueRef::Real(n) => return n.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
    };
    match bytes.len() {
        0..=40 => format!("'{}'", bytes.escape_ascii()),
        n => {
            let digest = crate::format::ostree::Checksum::of(bytes).to_string();
            format!("{n} bytes {}…", &digest[..12])
        }
    }
}

fn compare(table: &str, a: &BTreeMap<String, usize>, b: &BTreeMap<String, usize>) -> Vec<String> {
    let only = |x: &BTreeMap<String, usize>, y: &BTreeMap<String, usize>| -> Vec<String> {
        let more = |row: &&String| x[*row] > y.get(*row).copied().unwrap_or(0);
        x.keys().filter(more).cloned().collect()
    };
    let (less, more) = (only(a, b), only(b, a));
    if less.is_empty() && more.is_empty() {
        return Vec::new();
    }
    let mut lines =
        vec![format!("sqlite: {table}: {} rows only in A, {} only in B", less.len(), more.len())];
    for (sign, rows) in [('-', less), ('+', more)] {
        lines.extend(rows.iter().take(3).map(|row| format!("sqlite: {sign} {row}")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(sql: &str) -> Vec<u8> {
        let mut db = Connection::open_in_memory().expect("opens");
        db.execute_batch(sql).expect("runs");
        db.serialize(MAIN_DB).expect("serialises").to_vec()
    }

    #[test]
    fn rows_and_tables_that_differ_are_named() {
        let a = database(
            "create table t(x, y); insert into t values (1, 'a'), (2, 'b'); create table u(z)",
        );
        let b = database("create table t(x, y); insert into t values (1, 'a'), (3, x'00')");
        assert_eq!(
            explain(&a, &b).expect("databases"),
            [
                "sqlite: t: 1 rows only in A, 1 only in B",
                "sqlite: - 2, 'b'",
                "sqlite: + 3, '\\x00'",
                "sqlite: u only in A",
            ]
        );
    }

    #[test]
    fn a_schema_cannot_ask_for_memory_or_time() {
        let start = std::time::Instant::now();
        let huge = "zeroblob(250000000)";
        let slow =
            "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";
        for rows in ["(1), (2)", "(1), (3)"].map(|rows| {
            database(&format!(
                "create table t(x, y generated always as ({huge}) virtual);
                 insert into t(x) values {rows}; create view v as {slow};
                 pragma writable_schema = on;
                 update sqlite_schema set type = 'table' where name = 'v'"
            ))
        }) {
            let other = database("create table t(x); insert into t values (7)");
            explain(&rows, &other);
            explain(&rows, &rows);
        }
        let a = database(&format!("create table t(x, y as ({huge})); insert into t(x) values (1)"));
        let b = database(&format!("create table t(x, y as ({huge})); insert into t(x) values (2)"));
        let lines = explain(&a, &b).expect("databases");
        assert_eq!(lines[1..], ["sqlite: - 1", "sqlite: + 2"]);
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
    }

    #[test]
    fn the_same_rows_in_other_pages_are_told() {
        let a = database("create table t(x); insert into t values (1)");
        let b = database(
            "create table t(x); insert into t values (2); delete from t; insert into t values (1)",
        );
        let mut c = b.clone();
        c[24] ^= 1; // the change counter
        for other in [b, c] {
            let lines = explain(&a, &other).expect("databases");
            assert_eq!(lines, ["sqlite: the same rows, stored differently"]);
        }
    }
}
