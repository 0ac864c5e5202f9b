//! The transaction history of dnf 4 (`history.sqlite`) and dnf 5 (`transaction_history.sqlite`).
//!
//! Two histories of the same transactions differ in times, in the numbers of rows, which follow
//! the order in which things were first met, in SQLite's layout, and in cookies: dnf notes a digest
//! of the rpm database's names and package numbers before and after each transaction.
//!
//! The canonical file keeps the transactions in their order, and sorts everything else by what it
//! says: rows are read, their references followed, sorted, numbered from 1 and written to a new
//! file by the same machinery as `rpmdb.sqlite`.

mod cookies;
mod rows;
mod tables;

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::sqlite::{Draft, Files, Proof, Source, check, only_utf8, refused, sql, surely};
use crate::format::{Failure, Scratch};
pub use cookies::Cookies;
use rows::{Cell, Rows, prepare, quoted};
use tables::{TABLES, TableMeaning};

/// The canonical form of a history.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The file.
    pub bytes: Vec<u8>,
    /// The source with its log or journal applied, when it had one.
    pub recovered: Option<Vec<u8>>,
    /// Transactions.
    pub transactions: usize,
}

/// The canonical form of `files`, with no time later than `epoch` (seconds). A cookie that stands
/// for the database as it is becomes that of its canonical form; every other one is replaced by a
/// digest that says which one it was in order of appearance, so that equal ones stay equal.
///
/// # Errors
///
/// With the reason on damage, on tables that dnf does not make, and on rows that refer to what is
/// not there.
pub fn canonical(
    files: &Files<'_>,
    epoch: u32,
    cookies: &Cookies,
    scratch: &dyn Scratch,
) -> Result<Canonical, Failure> {
    surely(files, scratch, || made_canonical(files, epoch, cookies, scratch))
}

fn made_canonical(
    files: &Files<'_>,
    epoch: u32,
    cookies: &Cookies,
    scratch: &dyn Scratch,
) -> Result<Canonical, Failure> {
    let mut old = Source::open(files, scratch)?;
    check(&old.db, "quick_check")?;
    let schema = Schema::read(&old.db)?;
    let rows = prepare(&old.db, &schema, epoch, cookies)?;
    let recovered = old.recovered(files)?;
    let new = Draft::create(scratch)?;
    build(&new.db, &schema, &rows).map_err(sql)?;
    let bytes = new.finish()?;
    let proof = Proof::of(&bytes, scratch)?;
    check(proof.db(), "integrity_check")?;
    check(proof.db(), "foreign_key_check")?;
    if prepare(proof.db(), &schema, epoch, cookies)? != rows {
        return Err(refused("the rewritten history would not hold the same rows").into());
    }
    let transactions = rows.get("trans").map_or(0, Vec::len);
    Ok(Canonical { bytes, recovered, transactions })
}

/// Tables and indexes.
struct Schema {
    /// Text and columns of each table, in the order of [`TABLES`].
    tables: Vec<(&'static TableMeaning, String, Vec<String>)>,
    /// The texts of indexes by name.
    indexes: BTreeMap<String, String>,
}

impl Schema {
    fn read(db: &Connection) -> Result<Self, Failure> {
        only_utf8(db)?;
        let query = "SELECT type, name, sql FROM sqlite_master";
        let mut statement = db.prepare(query).map_err(sql)?;
        let mut objects = statement.query([]).map_err(sql)?;
        let mut schema = Schema { tables: Vec::new(), indexes: BTreeMap::new() };
        while let Some(row) = objects.next().map_err(sql)? {
            let (kind, object): (String, String) =
                (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
            let text: Option<String> = row.get(2).map_err(sql)?;
            let Some(text) = text.filter(|_| !object.starts_with("sqlite_")) else { continue };
            let made = matches!(kind.as_str(), "table" | "index");
            if made && named(&text) != Some(object.as_str()) {
                return Err(refused(format!("{kind} {object} is made under another name")).into());
            }
            let table = TABLES.iter().find(|table| table.name == object);
            match (kind.as_str(), table) {
                ("table", Some(table)) => {
                    schema.tables.push((table, text, columns(db, table.name)?));
                }
                ("index", _) => drop(schema.indexes.insert(object, text)),
                _ => return Err(refused(format!("dnf makes no such {kind} as {object}")).into()),
            }
        }
        let rank = |known: &TableMeaning| TABLES.iter().position(|table| table.name == known.name);
        schema.tables.sort_by_key(|(known, ..)| rank(known));
        if !schema.tables.iter().any(|(known, ..)| known.name == "trans") {
            return Err(refused("database has no table of transactions").into());
        }
        Ok(schema)
    }
}

/// The name in a schema's text, which SQLite goes by when it makes the object anew: it is
/// `CREATE TABLE name(…)`, `CREATE INDEX name ON …` or `CREATE UNIQUE INDEX name ON …`.
fn named(text: &str) -> Option<&str> {
    let starts = ["CREATE TABLE ", "CREATE INDEX ", "CREATE UNIQUE INDEX "];
    let rest = starts.iter().find_map(|start| text.strip_prefix(start))?;
    let close = match rest.chars().next()? {
        '[' => ']',
        quote @ ('"' | '`' | '\'') => quote,
        _ => return rest.split(|c: char| c.is_ascii_whitespace() || c == '(').next(),
    };
    rest[1..].split(close).next()
}

fn columns(db: &Connection, table: &str) -> Result<Vec<String>, Failure> {
    let query = format!("PRAGMA table_info(\"{table}\")");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let columns = statement.query_map([], |row| row.get(1)).map_err(sql)?;
    columns.collect::<rusqlite::Result<_>>().map_err(sql)
}

/// Fills the empty database `db`.
fn build(db: &Connection, schema: &Schema, rows: &Rows) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN")?;
    for (_, text, _) in &schema.tables {
        db.execute(text, [])?;
    }
    for (table, _, columns) in &schema.tables {
        let list = quoted(columns);
        let places = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO \"{}\" ({list}) VALUES ({places})", table.name);
        let mut insert = db.prepare(&insert)?;
        for row in rows.get(table.name).into_iter().flatten() {
            for (n, cell) in (1..).zip(row) {
                bind(&mut insert, n, cell)?;
            }
            insert.raw_execute()?;
        }
    }
    for text in schema.indexes.values() {
        db.execute(text, [])?;
    }
    db.execute_batch("COMMIT")
}

fn bind(statement: &mut rusqlite::Statement<'_>, n: usize, cell: &Cell) -> rusqlite::Result<()> {
    use rusqlite::types::ToSqlOutput::Borrowed;
    let value = match cell {
        Cell::Null => ValueRef::Null,
        Cell::Integer(value) => ValueRef::Integer(*value),
        Cell::Text(text) => ValueRef::Text(text),
        Cell::Blob(bytes) => ValueRef::Blob(bytes),
    };
    statement.raw_bind_parameter(n, Borrowed(value))
}
