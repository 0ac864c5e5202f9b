//! Proves that a database is in normal form, without a copy of the file: SQLite only has to parse
//! the texts of the schema.
//!
//! The contents are read in their order, which must be the normal one; then the file is rewritten
//! from them by the code that writes every normal form. If the bytes are the same, it is the normal
//! form of its contents, however they were read. In any doubt [`proven`] returns `None`, and SQLite
//! decides.

use std::collections::BTreeMap;

use super::build::finish;
use super::contents::PACKAGES;
use super::pages::Pages;
use super::record::Value;
use super::rows::{Rows, Tables};
use super::scan::{blobs, objects};
use super::schema::{Schema, Table};
use super::tree::Tree;
use super::{Canonical, refused};
use crate::format::Malformed;
use crate::format::rpmdb::Identity;
use crate::format::rpmdb::header::{Header, tag};

/// The database itself if it is certain to be in normal form, with no install time later than
/// `epoch`.
pub(super) fn proven(db: &[u8], epoch: u32) -> Option<Canonical> {
    let (schema, roots) = schema(db).ok()?;
    let root = |name: &str| roots.get(name).copied().unwrap_or(0);
    let mut pages = Pages::with_capacity(db.len());
    let tables = || {
        schema.indexes.iter().map(|table| rows(db, table, &schema, &root)).collect::<Option<_>>()
    };
    let (packages, tables) =
        rayon::join(|| packages(db, root(PACKAGES), epoch, &mut pages), tables);
    let ((packages, tids), tables): (_, Tables<'_>) = (packages.ok()?, tables?);
    if !tables.iter().all(|(table, rows)| rows.fit(&table.name, &tids)) {
        return None;
    }
    let rows = tables.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>() + tids.len() as u64;
    let bytes = finish(pages, (packages, tids.len() as u32), &schema, tables).ok()?;
    let same = bytes == db;
    same.then_some(Canonical { bytes, recovered: None, packages: tids.len(), rows })
}

/// A table and its rows, if they are in the order in which they would be written.
fn rows<'s>(
    db: &[u8],
    table: &'s Table,
    schema: &Schema,
    root: &impl Fn(&str) -> u32,
) -> Option<(&'s Table, Rows)> {
    let keys = format!("{}_key_idx", table.name);
    let by_key = schema.columns.contains_key(&keys).then(|| root(&keys));
    Some((table, Rows::in_order(db, root(&table.name), by_key).ok()?))
}

/// The schema, and the root page of each table and index.
fn schema(db: &[u8]) -> Result<(Schema, BTreeMap<String, u32>), Malformed> {
    let (mut found, mut roots) = (Vec::new(), BTreeMap::new());
    objects(db, &mut |object| {
        let text = |bytes: &[u8]| {
            let text = str::from_utf8(bytes).map_err(|_| refused("a name that is not UTF-8"))?;
            Ok::<_, Malformed>(text.to_owned())
        };
        let name = text(object.name)?;
        roots.insert(name.clone(), object.root);
        found.push((text(object.kind)?, name, text(object.table)?, Some(text(object.sql)?)));
        Ok(())
    })?;
    let schema = Schema::of(found)?;
    match schema.parses() {
        true => Ok((schema, roots)),
        false => Err(refused("a text that SQLite does not understand")),
    }
}

/// Writes the table of packages, which must be numbered from 1 in normal order; returns its root
/// page and the INSTALLTID of each. Packages that differ only in their whole contents are left to
/// SQLite.
fn packages(
    db: &[u8],
    root: u32,
    epoch: u32,
    pages: &mut Pages,
) -> Result<(u32, Vec<u32>), Malformed> {
    let mut tree = Tree::table(pages)?;
    let mut tids = Vec::new();
    let mut before: Option<Identity> = None;
    blobs(db, root, &mut |hnum, blob| {
        let header = Header::parse(blob)?;
        let late = |at: usize| header.u32_at(at).is_none_or(|time| time > epoch);
        let identity = Identity::of(&header);
        if hnum as usize != tids.len() + 1
            || before.as_ref().is_some_and(|before| *before >= identity)
            || header.times()?.iter().any(|place| late(place.start))
        {
            return Err(refused("not in normal order"));
        }
        before = Some(identity);
        tids.push(header.get(tag::INSTALLTID).and_then(|tid| tid.u32()).unwrap_or(0));
        tree.row(hnum, &[Value::Null, Value::Blob(blob)])
    })?;
    Ok((tree.end_table()?, tids))
}
