//! The new database, filled from the old one.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::contents::Packages;
use super::schema::Schema;
use crate::format::rpmdb::{Endian, INSTALLTID_INDEX, header, renumber};

/// Fills the empty database `main` from `old`.
pub(super) fn build(
    db: &Connection,
    schema: &Schema,
    old: &Packages,
    epoch: u32,
) -> rusqlite::Result<()> {
    let keys = old.by_hnum.iter().map(|(&hnum, known)| (hnum, &known.key)).collect();
    let numbers = renumber(keys);
    db.execute_batch("BEGIN; CREATE TEMP TABLE number (old INTEGER PRIMARY KEY, new INTEGER)")?;
    let mut insert = db.prepare("INSERT INTO temp.number VALUES (?1, ?2)")?;
    for pair in &numbers {
        insert.execute(pair)?;
    }
    db.execute_batch(&schema.packages)?;
    for table in &schema.indexes {
        db.execute_batch(&table.sql)?;
    }
    copy_packages(db, &numbers, epoch)?;
    for table in &schema.indexes {
        if table.name == INSTALLTID_INDEX {
            copy_times(db, old, epoch)?;
        } else {
            let name = &table.name;
            db.execute_batch(&format!(
                "INSERT INTO main.\"{name}\" (key, hnum, idx)
                 SELECT key, new, idx FROM old.\"{name}\" JOIN temp.number ON old = hnum
                 ORDER BY new, idx, key"
            ))?;
        }
    }
    for text in schema.index_sql.values() {
        db.execute_batch(text)?;
    }
    db.execute_batch("COMMIT")
}

fn copy_packages(
    db: &Connection,
    numbers: &BTreeMap<u32, u32>,
    epoch: u32,
) -> rusqlite::Result<()> {
    let mut order: Vec<_> = numbers.iter().map(|(&old, &new)| (new, old)).collect();
    order.sort_unstable();
    let mut select = db.prepare("SELECT blob FROM old.Packages WHERE hnum = ?1")?;
    let mut insert = db.prepare("INSERT INTO main.Packages (hnum, blob) VALUES (?1, ?2)")?;
    for (new, old) in order {
        let mut blob: Vec<u8> = select.query_row([old], |r| r.get(0))?;
        // It was parsed before; the comparison at the end would find a time left alone.
        let _ = header::clamp_times(&mut blob, epoch);
        insert.execute(params![new, blob])?;
    }
    Ok(())
}

/// The rows whose keys are install times: each key follows its package's header, in the byte
/// order that the database is in.
fn copy_times(db: &Connection, old: &Packages, epoch: u32) -> rusqlite::Result<()> {
    let mut select = db.prepare(
        "SELECT hnum, idx, key, new FROM old.Installtid JOIN temp.number ON old = hnum
         ORDER BY new, idx, key",
    )?;
    let rows = select.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let rows: Vec<(u32, u32, Vec<u8>, u32)> = rows.collect::<rusqlite::Result<_>>()?;
    let tid = |hnum| old.by_hnum.get(&hnum).and_then(|known| known.tid).unwrap_or(0);
    let order = Endian::of_database(rows.iter().map(|(hnum, _, key, _)| (&key[..], tid(*hnum))));
    let mut insert =
        db.prepare("INSERT INTO main.Installtid (key, hnum, idx) VALUES (?1, ?2, ?3)")?;
    for (hnum, idx, key, new) in &rows {
        let mine = Endian::of_key(key, tid(*hnum), order).unwrap_or(order);
        insert.execute(params![mine.bytes(tid(*hnum).min(epoch)), new, idx])?;
    }
    Ok(())
}
