//! Builds the new database from the old one's packages and sorted rows.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::contents::{PACKAGES, Packages};
use super::pages::Pages;
use super::record::Value;
use super::rows::Tables;
use super::schema::Schema;
use super::sql;
use super::tree::{self, Tree};
use crate::format::Failure;
use crate::format::rpmdb::header;

/// SQLite's own table of the largest numbers, for `AUTOINCREMENT`.
const SEQUENCE: (&str, &str) = ("sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)");

/// Writes the table of packages, with no install time later than `epoch`, from the database `old`;
/// returns its root page.
pub(super) fn write_packages(
    old: &Connection,
    packages: &Packages,
    epoch: u32,
    pages: &mut Pages,
) -> Result<u32, Failure> {
    let mut select = old.prepare("SELECT blob FROM Packages WHERE hnum = ?1").map_err(sql)?;
    let mut tree = Tree::table(pages)?;
    for (new, old) in (1..).zip(packages.in_order()) {
        let mut blob: Vec<u8> = select.query_row([old], |row| row.get(0)).map_err(sql)?;
        // It was parsed before; the comparison at the end would find an unchanged time.
        let _ = header::clamp_times(&mut blob, epoch);
        tree.row(new, &[Value::Null, Value::Blob(&blob)])?;
    }
    Ok(tree.end_table()?)
}

/// Writes everything after the table of packages, whose root page and number are given; returns the
/// file.
pub(super) fn finish(
    mut pages: Pages,
    (packages, count): (u32, u32),
    schema: &Schema,
    tables: Tables<'_>,
) -> Result<Vec<u8>, Failure> {
    let sequence = write_sequence(&mut pages, count)?;
    let mut roots = BTreeMap::from([(PACKAGES.to_owned(), packages)]);
    for (table, rows) in tables {
        let [keys, hnums] = ["key", "hnum"].map(|column| format!("{}_{column}_idx", table.name));
        roots.insert(table.name.clone(), rows.write(&mut pages)?);
        if schema.columns.contains_key(&keys) {
            roots.insert(keys, rows.write_keys(&mut pages)?);
        }
        if schema.columns.contains_key(&hnums) {
            roots.insert(hnums, rows.write_hnums(&mut pages)?);
        }
    }
    let root = |name: &str| roots.get(name).copied().unwrap_or(0);
    let table = |name, root, text| object("table", name, name, root, text);
    let mut objects = vec![
        table(PACKAGES, root(PACKAGES), &schema.packages),
        table(SEQUENCE.0, sequence, SEQUENCE.1),
    ];
    objects.extend(schema.indexes.iter().map(|t| table(&t.name, root(&t.name), &t.sql)));
    let columns = schema.columns.iter();
    objects.extend(columns.map(|(name, c)| object("index", name, &c.table, root(name), &c.sql)));
    tree::schema(&mut pages, &objects)?;
    Ok(pages.finish())
}

/// A row of the schema.
fn object<'s>(
    kind: &'s str,
    name: &'s str,
    table: &'s str,
    root: u32,
    text: &'s str,
) -> [Value<'s>; 5] {
    let [kind, name, table, text] = [kind, name, table, text].map(|t| Value::Text(t.as_bytes()));
    [kind, name, table, Value::Integer(root), text]
}

/// Writes the table of the largest numbers, which is empty for a database without packages.
fn write_sequence(pages: &mut Pages, count: u32) -> Result<u32, Failure> {
    let mut tree = Tree::table(pages)?;
    if count > 0 {
        tree.row(1, &[Value::Text(PACKAGES.as_bytes()), Value::Integer(count)])?;
    }
    Ok(tree.end_table()?)
}
