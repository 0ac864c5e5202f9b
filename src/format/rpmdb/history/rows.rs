//! The rows of a history: read, brought into order and numbered anew.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::Schema;
use super::cookies::{Cookies, replace_cookies};
use super::tables::{KINDS, Numbers, TableMeaning};
use crate::format::Failure;
use crate::format::rpmdb::sqlite::{refused, sql};

/// A value, ordered as SQLite orders classes, text by bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

pub(super) type Row = Vec<Cell>;
/// The rows of every table by its name, in their order.
pub(super) type Rows = BTreeMap<&'static str, Vec<Row>>;

/// New numbers by old number, of every table.
type Renumbered = BTreeMap<&'static str, BTreeMap<i64, i64>>;

/// What the database holds, in canonical order and numbers.
pub(super) fn prepare(
    db: &Connection,
    schema: &Schema,
    epoch: u32,
    cookies: &Cookies,
) -> Result<Rows, Failure> {
    let mut old: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for (table, _, columns) in &schema.tables {
        old.insert(table.name, read(db, table.name, columns)?);
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

fn read(db: &Connection, table: &str, columns: &[String]) -> Result<Vec<Row>, Failure> {
    let list = quoted(columns);
    let query = format!("SELECT {list} FROM \"{table}\" ORDER BY rowid");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut found = statement.query([]).map_err(sql)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(sql)? {
        let cell = |n| match row.get_ref(n).map_err(sql)? {
            ValueRef::Null => Ok(Cell::Null),
            ValueRef::Integer(value) => Ok(Cell::Integer(value)),
            ValueRef::Text(text) => Ok(Cell::Text(text.to_vec())),
            ValueRef::Blob(bytes) => Ok(Cell::Blob(bytes.to_vec())),
            ValueRef::Real(_) => Err(refused(format!("table {table} holds a fraction")).into()),
        };
        rows.push((0..columns.len()).map(cell).collect::<Result<_, Failure>>()?);
    }
    Ok(rows)
}

pub(super) fn quoted(columns: &[String]) -> String {
    let quoted = columns.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(", ")
}

/// Replaces the numbers of other tables in a row by their new ones, of those that have any.
fn follow(
    table: &TableMeaning,
    columns: &[String],
    row: &mut Row,
    numbers: &Renumbered,
) -> Result<(), Failure> {
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
) -> Result<BTreeMap<i64, Vec<Row>>, Failure> {
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
fn sort(
    table: &TableMeaning,
    id: Option<usize>,
    rows: &mut [Row],
    kinds: &BTreeMap<i64, Vec<Row>>,
) {
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
fn renumber_rows(table: &str, id: usize, rows: &mut [Row]) -> Result<BTreeMap<i64, i64>, Failure> {
    let mut new = BTreeMap::new();
    for (number, row) in (1..).zip(rows) {
        match row.get_mut(id) {
            Some(Cell::Integer(old)) if new.insert(*old, number).is_none() => *old = number,
            _ => return Err(refused(format!("a row of {table} has no number of its own")).into()),
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
