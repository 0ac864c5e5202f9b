//! Writes the packages and index rows of an rpm database of any backend as another one: big
//! databases for `benches/rpmdb`, numbered from the last package to the first.
//!
//! usage: rpmdb_convert FROM ndb|bdb DIRECTORY
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reprofix::format::bytes::Order;
use reprofix::format::rpmdb::bdb::{self, Access, Record, Shape};
use reprofix::format::rpmdb::blob::Blob;
use reprofix::format::rpmdb::ndb;
use reprofix::format::rpmdb::{Logical, Row};
use reprofix::packages::Database;

/// Tables and the numbers of their tags.
const TABLES: [(&str, u32); 14] = [
    ("Name", 1000),
    ("Basenames", 1117),
    ("Group", 1016),
    ("Requirename", 1049),
    ("Providename", 1047),
    ("Conflictname", 1054),
    ("Obsoletename", 1090),
    ("Triggername", 1066),
    ("Dirnames", 1118),
    ("Installtid", 1128),
    ("Sigmd5", 261),
    ("Sha1header", 269),
    ("Recommendname", 5046),
    ("Suggestname", 5049),
];

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let [from, kind, to] = &arguments[..] else { return };
    let database = Database::open(Path::new(from)).unwrap();
    let mut db = database.logical().unwrap();
    backwards(&mut db);
    fs::create_dir_all(to).unwrap();
    match kind.as_str() {
        "ndb" => write_ndb(&db, Path::new(to)),
        "bdb" => write_bdb(&db, Path::new(to)),
        other => panic!("{other}: no backend that is written here"),
    }
}

/// The packages in the opposite order, numbered from 1.
fn backwards(db: &mut Logical<'_>) {
    db.packages.sort_by_key(|package| std::cmp::Reverse(package.hnum));
    let numbers: BTreeMap<u32, u32> =
        (1..).zip(&db.packages).map(|(new, package)| (package.hnum, new)).collect();
    db.packages.iter_mut().for_each(|package| package.hnum = numbers[&package.hnum]);
    db.indexes.values_mut().flatten().for_each(|row| row.hnum = numbers[&row.hnum]);
}

fn write_ndb(db: &Logical<'_>, to: &Path) {
    let blobs: Vec<Blob<'_>> = db.packages.iter().map(|package| package.blob.clone()).collect();
    fs::write(to.join("Packages.db"), ndb::packages::write(&blobs).unwrap()).unwrap();
    let tables =
        TABLES.iter().filter_map(|(name, tag)| Some((*tag, db.indexes.get(*name)?.clone())));
    let usergeneration = blobs.len() as u32 + 1;
    let index = ndb::index::write(usergeneration, &tables.collect()).unwrap();
    fs::write(to.join("Index.db"), index).unwrap();
}

fn write_bdb(db: &Logical<'_>, to: &Path) {
    let order = Order::Little;
    let shape = |access| Shape { access, order, page_size: 4096, fill: 0 };
    let number = |n: u32| Cow::Owned(order.put32(n).to_vec());
    let last = db.packages.len() as u32;
    let mut records: Vec<Record<'_>> = vec![(number(0), order.put32(last).to_vec().into())];
    records.extend(db.packages.iter().map(|p| (number(p.hnum), p.blob.clone())));
    let write = |name: &str, shape, records: &[Record<'_>]| {
        fs::write(to.join(name), bdb::write(shape, records, &[1; 20]).unwrap()).unwrap();
    };
    write("Packages", shape(Access::Hash), &records);
    for (name, rows) in &db.indexes {
        let mut rows: Vec<&Row<'_>> = rows.iter().collect();
        rows.sort_by(|a, b| (&a.key, a.hnum, a.idx).cmp(&(&b.key, b.hnum, b.idx)));
        let record = |rows: &[&Row<'_>]| -> Record<'_> {
            let numbers = rows.iter().flat_map(|row| [row.hnum, row.idx]);
            let value: Vec<u8> = numbers.flat_map(|n| order.put32(n)).collect();
            (Cow::Owned(rows[0].key.to_vec()), value.into())
        };
        let records: Vec<Record<'_>> = rows.chunk_by(|a, b| a.key == b.key).map(record).collect();
        write(name, shape(Access::Btree), &records);
    }
}
