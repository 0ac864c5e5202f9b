//! The transaction history of dnf 4 (`history.sqlite`) and dnf 5 (`transaction_history.sqlite`).
//!
//! Two histories of the same transactions differ in times, in the numbers of rows, which follow
//! the order in which things were first met, in SQLite's layout, and in cookies: dnf notes a digest
//! of the rpm database's names and package numbers before and after each transaction.
//!
//! The canonical file keeps the transactions in their order, and sorts everything else by what it
//! says: rows are read, their references followed, sorted, numbered from 1 and written to a new
//! file by the same machinery as `rpmdb.sqlite`.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::header::{Header, tag};
use super::sqlite::{Files, Work, check, only_utf8, refused, roots, sql};
use super::{Logical, SortKey, dump, renumber};
use crate::format::Malformed;

/// What a table is, by name.
struct Known {
    name: &'static str,
    numbers: Numbers,
    /// Columns that hold a number of another table: of the first of these that is there.
    refs: &'static [(&'static str, &'static [&'static str])],
    /// Columns that hold a time in seconds.
    times: &'static [&'static str],
    /// Columns that hold a cookie.
    cookies: &'static [&'static str],
    /// Columns that hold a command line.
    commands: &'static [&'static str],
}

/// What the `id` of a table is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// Given in order of appearance: given anew in the order of contents.
    Contents,
    /// Given in order of time, which is kept.
    Time,
    /// There is none, or it has a meaning.
    Fixed,
}

const NAMES: &[&str] = &["pkg_name", "pkg_names"];
const ARCHES: &[&str] = &["arch", "archs"];
const ITEM: &[&str] = &["item"];
const TRANS: &[&str] = &["trans"];
const TRANS_ITEM: &[&str] = &["trans_item"];

const fn known(
    name: &'static str,
    numbers: Numbers,
    refs: &'static [(&'static str, &'static [&'static str])],
) -> Known {
    Known { name, numbers, refs, times: &[], cookies: &[], commands: &[] }
}

/// The tables of both, each behind those that it refers to.
const TABLES: &[Known] = &[
    known("config", Numbers::Fixed, &[]),
    known("trans_state", Numbers::Fixed, &[]),
    known("trans_item_action", Numbers::Fixed, &[]),
    known("trans_item_reason", Numbers::Fixed, &[]),
    known("trans_item_state", Numbers::Fixed, &[]),
    known("pkg_name", Numbers::Contents, &[]),
    known("pkg_names", Numbers::Contents, &[]),
    known("arch", Numbers::Contents, &[]),
    known("archs", Numbers::Contents, &[]),
    known("repo", Numbers::Contents, &[]),
    known("item", Numbers::Contents, &[]),
    known("rpm", Numbers::Fixed, &[("item_id", ITEM), ("name_id", NAMES), ("arch_id", ARCHES)]),
    known("comps_group", Numbers::Fixed, &[("item_id", ITEM)]),
    known("comps_group_package", Numbers::Contents, &[("group_id", ITEM), ("name_id", NAMES)]),
    known("comps_environment", Numbers::Fixed, &[("item_id", ITEM)]),
    known("comps_environment_group", Numbers::Contents, &[("environment_id", ITEM)]),
    Known {
        name: "trans",
        numbers: Numbers::Time,
        refs: &[],
        times: &["dt_begin", "dt_end"],
        cookies: &["rpmdb_version_begin", "rpmdb_version_end"],
        commands: &["cmdline", "description"],
    },
    known(
        "trans_item",
        Numbers::Contents,
        &[("trans_id", TRANS), ("item_id", ITEM), ("repo_id", &["repo"])],
    ),
    known(
        "item_replaced_by",
        Numbers::Fixed,
        &[("trans_item_id", TRANS_ITEM), ("by_trans_item_id", TRANS_ITEM)],
    ),
    known("trans_with", Numbers::Contents, &[("trans_id", TRANS), ("item_id", ITEM)]),
    known("console_output", Numbers::Time, &[("trans_id", TRANS)]),
];
/// The tables whose rows say what an item is.
const KINDS: [&str; 3] = ["rpm", "comps_group", "comps_environment"];

/// The cookies that stand for the rpm database as it is, and what each becomes when the database
/// becomes canonical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies(BTreeMap<Vec<u8>, Vec<u8>>);

impl Cookies {
    /// Of a database with these packages, whose canonical form clamps times to `epoch`: SHA-256
    /// (rpm 4.18 and later) and SHA-1 (before), in both byte orders.
    ///
    /// Fails on a header that cannot be parsed.
    pub fn of(db: &Logical<'_>, epoch: u32) -> Result<Self, Malformed> {
        let mut keys = Vec::with_capacity(db.packages.len());
        let mut names = Vec::with_capacity(db.packages.len());
        for package in &db.packages {
            keys.push((package.hnum, SortKey::of(&package.blob, epoch)?));
            let name = Header::parse(&package.blob)?.string(tag::NAME).to_vec();
            names.push((name, package.hnum));
        }
        let new = renumber(keys);
        let number = |hnum: &u32| new.get(hnum).copied().unwrap_or_default();
        let now: Vec<_> = names.iter().map(|(name, hnum)| (name.clone(), number(hnum))).collect();
        let (old, new) = (digests(names), digests(now));
        // What is canonical already stays.
        let kept = new.iter().map(|cookie| (cookie.clone(), cookie.clone()));
        Ok(Cookies(old.into_iter().zip(new.clone()).chain(kept).collect()))
    }
}

/// rpm's digest over names and numbers, in each of its forms.
fn digests(mut names: Vec<(Vec<u8>, u32)>) -> Vec<Vec<u8>> {
    names.sort();
    let text = |put: fn(u32) -> [u8; 4]| {
        let mut text = Vec::new();
        for same in names.chunk_by(|a, b| a.0 == b.0) {
            text.extend_from_slice(same.first().map_or(&[], |(name, _)| name));
            text.extend(same.iter().flat_map(|(_, hnum)| put(*hnum)));
        }
        text
    };
    let texts = [text(u32::to_le_bytes), text(u32::to_be_bytes)];
    let hashes = texts
        .iter()
        .flat_map(|text| [dump::hex(&Sha256::digest(text)), dump::hex(&Sha1::digest(text))]);
    hashes.map(String::into_bytes).collect()
}

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
/// Fails with the reason on damage, on tables that dnf does not make, and on rows that refer to
/// what is not there.
pub fn canonical(files: &Files<'_>, epoch: u32, cookies: &Cookies) -> Result<Canonical, Malformed> {
    let mut work = Work::open(files)?;
    check(&work.db, "old.quick_check")?;
    let schema = Schema::read(&work.db, "old")?;
    let rows = prepare(&work.db, "old", &schema, epoch, cookies)?;
    build(&work.db, &schema, &rows).map_err(sql)?;
    let recovered = work.recovered(files)?;
    let roots = roots(&work.db).map_err(sql)?;
    let bytes = work.finish(&roots)?;
    let [reader, _] = &work.readers;
    check(reader, "integrity_check")?;
    check(reader, "foreign_key_check")?;
    if prepare(reader, "main", &schema, epoch, cookies)? != rows {
        return Err(refused("the rewritten history would not hold the same rows"));
    }
    let transactions = rows.get("trans").map_or(0, Vec::len);
    Ok(Canonical { bytes, recovered, transactions })
}

/// Tables and indexes.
struct Schema {
    /// Text and columns of each table, in the order of [`TABLES`].
    tables: Vec<(&'static Known, String, Vec<String>)>,
    /// The texts of indexes by name.
    indexes: BTreeMap<String, String>,
}

impl Schema {
    fn read(db: &Connection, name: &str) -> Result<Self, Malformed> {
        only_utf8(db, name)?;
        let query = format!("SELECT type, name, sql FROM {name}.sqlite_master");
        let mut statement = db.prepare(&query).map_err(sql)?;
        let mut objects = statement.query([]).map_err(sql)?;
        let mut schema = Schema { tables: Vec::new(), indexes: BTreeMap::new() };
        while let Some(row) = objects.next().map_err(sql)? {
            let (kind, object): (String, String) =
                (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
            let text: Option<String> = row.get(2).map_err(sql)?;
            let Some(text) = text.filter(|_| !object.starts_with("sqlite_")) else { continue };
            let table = TABLES.iter().find(|table| table.name == object);
            match (kind.as_str(), table) {
                ("table", Some(table)) => {
                    schema.tables.push((table, text, columns(db, name, table.name)?));
                }
                ("index", _) => drop(schema.indexes.insert(object, text)),
                _ => return Err(refused(format!("dnf makes no such {kind} as {object}"))),
            }
        }
        let rank = |known: &Known| TABLES.iter().position(|table| table.name == known.name);
        schema.tables.sort_by_key(|(known, ..)| rank(known));
        if !schema.tables.iter().any(|(known, ..)| known.name == "trans") {
            return Err(refused("database has no table of transactions"));
        }
        Ok(schema)
    }
}

fn columns(db: &Connection, name: &str, table: &str) -> Result<Vec<String>, Malformed> {
    let query = format!("PRAGMA {name}.table_info(\"{table}\")");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let columns = statement.query_map([], |row| row.get(1)).map_err(sql)?;
    columns.collect::<rusqlite::Result<_>>().map_err(sql)
}

/// A value, ordered as SQLite orders classes, text by bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Null,
    Integer(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

type Row = Vec<Cell>;
/// The rows of every table by its name, in their order.
type Rows = BTreeMap<&'static str, Vec<Row>>;

/// New numbers by old number, of every table.
type Renumbered = BTreeMap<&'static str, BTreeMap<i64, i64>>;

/// What database `name` holds, in canonical order and numbers.
fn prepare(
    db: &Connection,
    name: &str,
    schema: &Schema,
    epoch: u32,
    cookies: &Cookies,
) -> Result<Rows, Malformed> {
    let mut old: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for (table, _, columns) in &schema.tables {
        old.insert(table.name, read(db, name, table.name, columns)?);
    }
    let mut rows = Rows::new();
    let mut numbers = Renumbered::new();
    for (table, _, columns) in &schema.tables {
        let mut mine = old.get(table.name).cloned().unwrap_or_default();
        let place = |column: &str| columns.iter().position(|name| name == column);
        for row in &mut mine {
            follow(table, columns, row, &numbers)?;
            for time in table.times.iter().filter_map(|column| place(column)) {
                if let Some(Cell::Integer(value)) = row.get_mut(time) {
                    *value = (*value).min(epoch.into());
                }
            }
        }
        for place in table.commands.iter().filter_map(|column| place(column)) {
            for row in &mut mine {
                if let Some(Cell::Text(command)) = row.get_mut(place) {
                    *command = without_root(command);
                }
            }
        }
        let id = place("id").filter(|_| table.numbers != Numbers::Fixed);
        let kinds = match table.name {
            "item" => kinds(schema, &old, &numbers)?,
            _ => BTreeMap::new(),
        };
        sort(table, id, &mut mine, &kinds);
        if let Some(id) = id {
            numbers.insert(table.name, renumber_rows(table.name, id, &mut mine)?);
        }
        if !table.cookies.is_empty() {
            let places: Vec<_> = table.cookies.iter().filter_map(|c| place(c)).collect();
            replace_cookies(&mut mine, &places, cookies);
        }
        rows.insert(table.name, mine);
    }
    Ok(rows)
}

fn read(
    db: &Connection,
    name: &str,
    table: &str,
    columns: &[String],
) -> Result<Vec<Row>, Malformed> {
    let list = quoted(columns);
    let query = format!("SELECT {list} FROM {name}.\"{table}\" ORDER BY rowid");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut found = statement.query([]).map_err(sql)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(sql)? {
        let cell = |n| match row.get_ref(n).map_err(sql)? {
            ValueRef::Null => Ok(Cell::Null),
            ValueRef::Integer(value) => Ok(Cell::Integer(value)),
            ValueRef::Text(text) => Ok(Cell::Text(text.to_vec())),
            ValueRef::Blob(bytes) => Ok(Cell::Blob(bytes.to_vec())),
            ValueRef::Real(_) => Err(refused(format!("table {table} holds a fraction"))),
        };
        rows.push((0..columns.len()).map(cell).collect::<Result<_, _>>()?);
    }
    Ok(rows)
}

fn quoted(columns: &[String]) -> String {
    let quoted = columns.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(", ")
}

/// Replaces the numbers of other tables in a row by their new ones, of those that have any.
fn follow(
    table: &Known,
    columns: &[String],
    row: &mut Row,
    numbers: &Renumbered,
) -> Result<(), Malformed> {
    for (column, targets) in table.refs {
        let Some(place) = columns.iter().position(|name| name == column) else { continue };
        let target = targets.iter().find_map(|target| Some((target, numbers.get(target)?)));
        let (Some(Cell::Integer(value)), Some((target, new))) = (row.get_mut(place), target) else {
            continue;
        };
        *value = *new.get(value).ok_or_else(|| {
            let name = table.name;
            refused(format!("a row of {name} refers to {target} {value}, which is not there"))
        })?;
    }
    Ok(())
}

/// What each item is: the rows of other tables that say so, by the item's old number.
fn kinds(
    schema: &Schema,
    old: &BTreeMap<&str, Vec<Row>>,
    numbers: &Renumbered,
) -> Result<BTreeMap<i64, Vec<Row>>, Malformed> {
    let mut kinds: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for (table, _, columns) in &schema.tables {
        let item = columns.iter().position(|name| name == "item_id");
        let Some(item) = item.filter(|_| KINDS.contains(&table.name)) else { continue };
        for row in old.get(table.name).into_iter().flatten() {
            let mut row = row.clone();
            let Some(Cell::Integer(number)) = row.get(item).cloned() else { continue };
            row.remove(item);
            let rest: Vec<_> = columns.iter().filter(|name| *name != "item_id").cloned().collect();
            follow(table, &rest, &mut row, numbers)?;
            row.insert(0, Cell::Text(table.name.into()));
            kinds.entry(number).or_default().push(row);
        }
    }
    Ok(kinds)
}

/// Sorts rows by what they say, or by their old numbers.
fn sort(table: &Known, id: Option<usize>, rows: &mut [Row], kinds: &BTreeMap<i64, Vec<Row>>) {
    let number = |row: &Row| match id.and_then(|id| row.get(id)) {
        Some(Cell::Integer(number)) => *number,
        _ => 0,
    };
    if table.numbers == Numbers::Time {
        return rows.sort_by_key(number);
    }
    let rest = |row: &Row| {
        let mut rest = row.clone();
        if let Some(id) = id {
            rest.remove(id);
        }
        rest
    };
    rows.sort_by_cached_key(|row| (kinds.get(&number(row)).cloned(), rest(row), number(row)));
}

/// Numbers rows from 1 in their order; the new number of each old one.
fn renumber_rows(
    table: &str,
    id: usize,
    rows: &mut [Row],
) -> Result<BTreeMap<i64, i64>, Malformed> {
    let mut new = BTreeMap::new();
    for (number, row) in (1..).zip(rows) {
        match row.get_mut(id) {
            Some(Cell::Integer(old)) if new.insert(*old, number).is_none() => *old = number,
            _ => return Err(refused(format!("a row of {table} has no number of its own"))),
        }
    }
    Ok(new)
}

/// A command line with `/` as its `--installroot`: the directory was one of the build's host, and
/// is the root of this tree.
fn without_root(command: &[u8]) -> Vec<u8> {
    const OPTION: &[u8] = b"--installroot";
    let mut words: Vec<&[u8]> = Vec::new();
    for word in command.split(|&byte| byte == b' ') {
        let value = words.last() == Some(&OPTION);
        let with_value = word.strip_prefix(OPTION).is_some_and(|rest| rest.starts_with(b"="));
        words.push(match (value, with_value) {
            (true, _) => b"/",
            (_, true) => b"--installroot=/",
            _ => word,
        });
    }
    words.join(&b' ')
}

/// Replaces cookies in the order of transactions.
fn replace_cookies(rows: &mut [Row], places: &[usize], cookies: &Cookies) {
    let mut seen: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for row in rows {
        for &place in places {
            let Some(Cell::Text(cookie)) = row.get_mut(place) else { continue };
            let hex = cookie.iter().all(u8::is_ascii_hexdigit);
            // No number is in one of another form (a count and a digest of the packages alone), nor
            // in that of a database without packages.
            if !hex || !matches!(cookie.len(), 40 | 64) || digests(Vec::new()).contains(cookie) {
                continue;
            }
            let next = seen.len() + 1;
            let new = match cookies.0.get(cookie) {
                Some(new) => new.clone(),
                None => {
                    let stand_in = || {
                        let text = format!("rpm database {next} of this history");
                        let mut hex = dump::hex(&Sha256::digest(text)).into_bytes();
                        hex.truncate(cookie.len());
                        hex
                    };
                    seen.entry(cookie.clone()).or_insert_with(stand_in).clone()
                }
            };
            *cookie = new;
        }
    }
}

/// Fills the empty database `main`.
fn build(db: &Connection, schema: &Schema, rows: &Rows) -> rusqlite::Result<()> {
    db.execute_batch("BEGIN")?;
    for (_, text, _) in &schema.tables {
        db.execute(text, [])?;
    }
    for (table, _, columns) in &schema.tables {
        let list = quoted(columns);
        let places = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO main.\"{}\" ({list}) VALUES ({places})", table.name);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_build_goes_from_command_lines() {
        for (old, new) in [
            ("-y --installroot=/tmp/a install b", "-y --installroot=/ install b"),
            ("--installroot /tmp/a install", "--installroot / install"),
            ("install --installroots=/a", "install --installroots=/a"),
            ("", ""),
        ] {
            assert_eq!(without_root(old.as_bytes()), new.as_bytes());
        }
    }
}
