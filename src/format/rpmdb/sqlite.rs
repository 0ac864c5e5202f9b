//! `rpmdb.sqlite`: any history of one package set becomes one file.
//!
//! The canonical file is built anew by SQLite in private files, out of the old one and its
//! write-ahead log or journal: packages in canonical order numbered from 1, index rows by
//! package, schema in rpm's order, no statistics; then the header's counters are fixed and
//! [`scrub`] removes what SQLite's versions leave behind. The result is compared with the source,
//! row by row, before it is given out.
//!
//! Memory: the result and, per package, a sort key; the databases themselves stay in files.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, params};

use super::header::{self, Header, tag};
use super::scrub::{page_size, scrub};
use super::{EachPackage, Endian, INSTALLTID_INDEX, Logical, Package, Row, SortKey, renumber};
use crate::env::scratch_places;
use crate::format::Malformed;

/// The index tables that rpm knows, in the order in which it creates them.
const INDEXES: [&str; 18] = [
    "Name",
    "Basenames",
    "Group",
    "Requirename",
    "Providename",
    "Conflictname",
    "Obsoletename",
    "Triggername",
    "Dirnames",
    INSTALLTID_INDEX,
    "Sigmd5",
    "Sha1header",
    "Filetriggername",
    "Transfiletriggername",
    "Recommendname",
    "Suggestname",
    "Supplementname",
    "Enhancename",
];
/// SQLite's own tables: they hold counters and statistics, and are made anew or dropped.
const INTERNAL: [&str; 4] = ["sqlite_sequence", "sqlite_stat1", "sqlite_stat3", "sqlite_stat4"];
/// What the header says about the library that wrote the file: the oldest one that reads it.
const LIBRARY_VERSION: u32 = 3_007_000;
/// Bytes of the file header.
const HEADER: usize = 100;

/// A database and the files beside it that SQLite would read with it; absent ones are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// `rpmdb.sqlite`.
    pub db: &'a [u8],
    /// `rpmdb.sqlite-wal`.
    pub wal: &'a [u8],
    /// `rpmdb.sqlite-journal`.
    pub journal: &'a [u8],
}

/// The canonical form of a database.
#[derive(Clone, Debug)]
pub struct Canonical {
    /// The file.
    pub bytes: Vec<u8>,
    /// The source with its log or journal applied, when it had one: where a writer must pass
    /// through so that no moment leaves the canonical file beside a log of the old one.
    pub recovered: Option<Vec<u8>>,
    /// Packages.
    pub packages: usize,
    /// Index rows.
    pub rows: u64,
}

/// The canonical form of `files`, with no install time later than `epoch` (seconds).
///
/// Fails with the reason on anything that is not an intact rpm database: a file that is empty,
/// truncated or damaged, tables, views or triggers that rpm does not make, index rows without
/// their package, install-time keys that are not their package's, headers that cannot be parsed.
/// Also where no private file can be written (`TMPDIR`, `/tmp`, `/var/tmp`, `/dev/shm`, `/run`).
pub fn canonical(files: &Files<'_>, epoch: u32) -> Result<Canonical, Malformed> {
    let mut work = Work::open(files)?;
    let schema = Schema::read(&work.db, "old")?;
    let old = work.old_contents(&schema, epoch)?;
    build(&work.db, &schema, &old, epoch).map_err(sql)?;
    let recovered = work.recovered(files)?;
    let roots = roots(&work.db).map_err(sql)?;
    let bytes = work.finish(&roots)?;
    let new = work.new_contents(&schema, epoch)?;
    if old.sums != new.sums || old.packages.len() != new.packages.len() {
        return Err(refused("the rewritten database would not hold the same rows"));
    }
    let rows = old.sums.values().map(|sum| sum.rows).sum();
    Ok(Canonical { bytes, recovered, packages: old.packages.len(), rows })
}

/// Whether [`canonical`] understands `files`, at a third of its price. Fails as it does.
pub fn understood(files: &Files<'_>) -> Result<(), Malformed> {
    let mut work = Work::open(files)?;
    let schema = Schema::read(&work.db, "old")?;
    work.old_contents(&schema, 0).map(|_| ())
}

/// The whole contents of `files`, in memory. Fails as [`canonical`] does, but accepts index rows
/// without a package.
pub fn read(files: &Files<'_>) -> Result<Logical<'static>, Malformed> {
    let work = Work::open(files)?;
    let schema = Schema::read(&work.db, "old")?;
    let mut logical = Logical::default();
    each_blob(&work.db, "old", &mut |hnum, blob| {
        logical.packages.push(Package { hnum, blob: blob.to_vec().into() });
        Ok(())
    })?;
    for table in &schema.indexes {
        let rows = logical.indexes.entry(table.name.clone()).or_default();
        each_row(&work.db, "old", &table.name, &mut |hnum, idx, key| {
            let key = bytes_of(key).ok_or_else(|| refused("an index key is not text or bytes"))?;
            rows.push(Row { hnum, idx, key: key.to_vec().into() });
            Ok(())
        })?;
    }
    Ok(logical)
}

/// Calls `each` with the hnum and header blob of every package of `files`, one at a time, by
/// hnum. Fails as [`read`] does, or as `each` does.
pub fn packages(files: &Files<'_>, each: &mut EachPackage<'_>) -> Result<(), Malformed> {
    let work = Work::open(files)?;
    Schema::read(&work.db, "old")?;
    each_blob(&work.db, "old", each)
}

/// A refusal whose place in the file is not known.
pub(super) fn refused(what: impl Into<String>) -> Malformed {
    Malformed::at(0u64, what)
}

/// Refuses a database that is not in UTF-8: the normal form is, and texts are copied as they are.
pub(super) fn only_utf8(db: &Connection, name: &str) -> Result<(), Malformed> {
    let query = format!("PRAGMA {name}.encoding");
    let encoding: String = db.query_row(&query, [], |r| r.get(0)).map_err(sql)?;
    match encoding == "UTF-8" {
        true => Ok(()),
        false => Err(refused(format!("database is in {encoding}"))),
    }
}

pub(super) fn sql(error: rusqlite::Error) -> Malformed {
    refused(format!("SQLite: {error}"))
}

/// Private copies of the files, opened. The names are gone once they are open: a killed run
/// leaves nothing behind.
pub(super) struct Work {
    /// The new database, with the source attached as `old`.
    pub(super) db: Connection,
    /// The new database twice more, to check and to read what was finished at the same time.
    pub(super) readers: [Connection; 2],
    /// The source once more, for the same; `None` where a log is part of it.
    checker: Option<Connection>,
    new: File,
    old: File,
}

impl Work {
    pub(super) fn open(files: &Files<'_>) -> Result<Self, Malformed> {
        plausible(files)?;
        let mut why = String::from("no directory for private files");
        for place in scratch_places() {
            match Self::open_in(&place, files) {
                Ok(work) => return work,
                Err(error) => why = format!("private files in {}: {error}", place.display()),
            }
        }
        Err(refused(why))
    }

    /// The outer error is the place's, the inner one the database's.
    fn open_in(place: &Path, files: &Files<'_>) -> std::io::Result<Result<Self, Malformed>> {
        let dir = tempfile::Builder::new().prefix(".reprofix-").tempdir_in(place)?;
        let [old_path, new_path] = ["old", "new"].map(|name| dir.path().join(name));
        let beside = [("old-wal", files.wal), ("old-journal", files.journal)];
        for (name, bytes) in beside.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            private(&dir.path().join(name))?.write_all(bytes)?;
        }
        let mut old = private(&old_path)?;
        let alone = files.wal.is_empty() && files.journal.is_empty();
        match files.db.get(..HEADER) {
            // Without a log it need not be opened as one that may have it, which admits one reader.
            Some(begin) if alone => {
                let mut begin = begin.to_vec();
                begin[18..20].copy_from_slice(&[1, 1]);
                old.write_all(&begin)?;
                old.write_all(&files.db[HEADER..])?;
            }
            _ => old.write_all(files.db)?,
        }
        let new = private(&new_path)?;
        let open = || -> Result<_, rusqlite::Error> {
            let limit = i32::try_from(files.db.len() + files.wal.len()).unwrap_or(i32::MAX);
            let db = connect(&new_path, limit)?;
            db.execute("ATTACH ?1 AS old", [old_path.to_string_lossy()])?;
            db.execute_batch(SETTINGS)?;
            // The first read: recovery from log or journal happens here.
            db.query_row("SELECT count(*) FROM old.sqlite_master", [], |_| Ok(()))?;
            let checker = alone.then(|| connect(&old_path, limit)).transpose()?;
            if let Some(checker) = &checker {
                checker.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            }
            Ok((db, [connect(&new_path, limit)?, connect(&new_path, limit)?], checker))
        };
        let opened = open().map_err(sql);
        dir.close()?;
        Ok(opened.map(|(db, readers, checker)| Work { db, readers, checker, new, old }))
    }

    /// What the source holds, once SQLite found it undamaged.
    fn old_contents(&mut self, schema: &Schema, epoch: u32) -> Result<Contents, Malformed> {
        let Some(checker) = self.checker.take() else {
            check(&self.db, "old.quick_check")?;
            return Contents::read(&self.db, "old", schema, epoch);
        };
        let db = &mut self.db;
        let checked = move || check(&checker, "quick_check");
        let (checked, contents) =
            rayon::join(checked, move || Contents::read(db, "old", schema, epoch));
        checked.and(contents)
    }

    /// What the new database holds, once SQLite found it sound.
    fn new_contents(&mut self, schema: &Schema, epoch: u32) -> Result<Contents, Malformed> {
        let [first, second] = &mut self.readers;
        let checked = move || {
            check(first, "integrity_check").and_then(|()| check(first, "foreign_key_check"))
        };
        let (checked, contents) =
            rayon::join(checked, move || Contents::read(second, "main", schema, epoch));
        checked.and(contents)
    }

    /// The source after recovery, if there was anything to recover.
    pub(super) fn recovered(&mut self, files: &Files<'_>) -> Result<Option<Vec<u8>>, Malformed> {
        if files.wal.is_empty() && files.journal.is_empty() {
            return Ok(None);
        }
        self.db.query_row("PRAGMA old.wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(sql)?;
        let mut bytes = Vec::new();
        let whole =
            self.old.seek(SeekFrom::Start(0)).and_then(|_| self.old.read_to_end(&mut bytes));
        whole.map_err(|e| refused(format!("reading a private file: {e}")))?;
        Ok((bytes != files.db).then_some(bytes))
    }

    /// The new file's bytes after header and gaps got their fixed values; the readers see them.
    pub(super) fn finish(&mut self, roots: &[u32]) -> Result<Vec<u8>, Malformed> {
        let io = |e: std::io::Error| refused(format!("using a private file: {e}"));
        let mut bytes = Vec::new();
        self.new.seek(SeekFrom::Start(0)).map_err(io)?;
        self.new.read_to_end(&mut bytes).map_err(io)?;
        page_size(&bytes)?;
        fix_header(&mut bytes);
        scrub(&mut bytes, roots)?;
        self.new.seek(SeekFrom::Start(0)).map_err(io)?;
        self.new.write_all(&bytes).map_err(io)?;
        Ok(bytes)
    }
}

/// What the new database is like, and how little SQLite may trust the old one.
const SETTINGS: &str = "
    PRAGMA main.page_size = 4096;
    PRAGMA encoding = 'UTF-8';
    PRAGMA main.auto_vacuum = NONE;
    PRAGMA main.journal_mode = OFF;
    PRAGMA main.synchronous = OFF;
    PRAGMA main.secure_delete = ON;
    PRAGMA old.locking_mode = EXCLUSIVE;
    PRAGMA old.synchronous = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA main.cache_size = -4096;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA foreign_keys = OFF;
";

fn connect(path: &Path, limit: i32) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    for off in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
        db.set_db_config(off, false)?;
    }
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit.max(1 << 20))?;
    Ok(db)
}

fn private(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).create_new(true).open(path)
}

/// What SQLite accepts or explains badly: an empty file, a file cut inside a page.
fn plausible(files: &Files<'_>) -> Result<(), Malformed> {
    if files.db.is_empty() {
        return Err(refused("database is empty"));
    }
    let page = page_size(files.db)?;
    let whole = files.db.len().is_multiple_of(page);
    if !whole && files.wal.is_empty() && files.journal.is_empty() {
        return Err(Malformed::at(files.db.len(), "database is truncated inside a page"));
    }
    Ok(())
}

/// Runs one of SQLite's checks: it must say "ok" or nothing.
pub(super) fn check(db: &Connection, pragma: &str) -> Result<(), Malformed> {
    let mut statement = db.prepare(&format!("PRAGMA {pragma}")).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    match rows.next().map_err(sql)? {
        None => Ok(()),
        Some(row) => match row.get_ref(0).map_err(sql)? {
            ValueRef::Text(b"ok") => Ok(()),
            ValueRef::Text(text) => {
                Err(refused(format!("{pragma}: {}", String::from_utf8_lossy(text))))
            }
            _ => Err(refused(format!("{pragma} found a row"))),
        },
    }
}

/// The tables and indexes of a database, every one known.
struct Schema {
    packages: String,
    indexes: Vec<Table>,
    /// `CREATE INDEX` texts by index name.
    index_sql: BTreeMap<String, String>,
}

/// One index table.
struct Table {
    name: String,
    sql: String,
}

impl Schema {
    fn read(db: &Connection, name: &str) -> Result<Self, Malformed> {
        only_utf8(db, name)?;
        for own in ["application_id", "user_version"] {
            let pragma = format!("PRAGMA {name}.{own}");
            let value: i64 = db.query_row(&pragma, [], |r| r.get(0)).map_err(sql)?;
            if value != 0 {
                return Err(refused(format!("database has an {own}: {value}")));
            }
        }
        let query = format!("SELECT type, name, tbl_name, sql FROM {name}.sqlite_master");
        let mut statement = db.prepare(&query).map_err(sql)?;
        let objects = statement.query_map([], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get::<_, Option<String>>(3)?))
        });
        let objects: rusqlite::Result<Vec<Object>> = objects.map_err(sql)?.collect();
        Self::of(objects.map_err(sql)?)
    }

    fn of(objects: Vec<Object>) -> Result<Self, Malformed> {
        let mut schema =
            Schema { packages: String::new(), indexes: Vec::new(), index_sql: BTreeMap::new() };
        for (kind, name, table, text) in objects {
            let text = text.unwrap_or_default();
            match kind.as_str() {
                "table" if INTERNAL.contains(&&*name) => {}
                "table" if name == "Packages" && is_packages(&text) => schema.packages = text,
                "table" if INDEXES.contains(&&*name) && is_index_table(&text, &name) => {
                    schema.indexes.push(Table { name, sql: text });
                }
                "index" if is_index(&text, &name, &table) => {
                    schema.index_sql.insert(name, text);
                }
                _ => return Err(refused(format!("rpm makes no such {kind} as {name}"))),
            }
        }
        if schema.packages.is_empty() {
            return Err(refused("database has no table of packages"));
        }
        let rank = |name: &str| INDEXES.iter().position(|&known| known == name);
        schema.indexes.sort_by_key(|table| rank(&table.name));
        Ok(schema)
    }
}

/// Type, name, table and text of a schema object.
type Object = (String, String, String, Option<String>);

/// An SQL text without spaces and quotes, as rpm's versions differ in both.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace() && !matches!(c, '\'' | '"')).collect()
}

fn is_packages(text: &str) -> bool {
    bare(text) == "CREATETABLEPackages(hnumINTEGERPRIMARYKEYAUTOINCREMENT,blobBLOBNOTNULL)"
}

fn is_index_table(text: &str, name: &str) -> bool {
    let of = |class| {
        format!(
            "CREATETABLE{name}(key{class}NOTNULL,hnumINTEGERNOTNULL,idxINTEGERNOTNULL,\
             FOREIGNKEY(hnum)REFERENCESPackages(hnum))"
        )
    };
    ["TEXT", "BLOB"].iter().any(|class| bare(text) == of(class))
}

fn is_index(text: &str, name: &str, table: &str) -> bool {
    ["key", "hnum"].iter().any(|column| {
        name == format!("{table}_{column}_idx")
            && bare(text) == format!("CREATEINDEX{name}ON{table}({column}ASC)")
    })
}

/// What must be the same before and after.
struct Contents {
    packages: BTreeMap<u32, Known>,
    sums: BTreeMap<String, Sum>,
}

/// What is kept of a package while its rows are read.
struct Known {
    key: SortKey,
    tid: Option<u32>,
}

/// A sum over the rows of a table that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    sum: u64,
    xor: u64,
}

impl Sum {
    fn add(&mut self, row: impl Hash) {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        let hash = hasher.finish();
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
        self.xor ^= hash.rotate_left((hash & 63) as u32);
    }
}

impl Contents {
    /// Reads database `name`; install times that `epoch` lowers do not show in the sums.
    fn read(db: &Connection, name: &str, schema: &Schema, epoch: u32) -> Result<Self, Malformed> {
        let mut contents = Contents { packages: BTreeMap::new(), sums: BTreeMap::new() };
        let mut all = Sum::default();
        each_blob(db, name, &mut |hnum, blob| {
            let key = SortKey::of(blob, epoch)?;
            let tid = Header::parse(blob)?.get(tag::INSTALLTID).and_then(|v| v.u32());
            all.add(&key);
            contents.packages.insert(hnum, Known { key, tid });
            Ok(())
        })?;
        contents.sums.insert("Packages".to_owned(), all);
        for table in &schema.indexes {
            let sum = contents.sum(db, name, &table.name)?;
            contents.sums.insert(table.name.clone(), sum);
        }
        Ok(contents)
    }

    fn sum(&self, db: &Connection, name: &str, table: &str) -> Result<Sum, Malformed> {
        let mut sum = Sum::default();
        each_row(db, name, table, &mut |hnum, idx, key| {
            let what = || {
                format!(
                    "index {table} has a row for hnum {hnum}, which has no package \
                     (`rpmdb --rebuilddb` makes the indexes anew)"
                )
            };
            let package = self.packages.get(&hnum).ok_or_else(|| refused(what()))?;
            let class = matches!(key, ValueRef::Text(_));
            let key = bytes_of(key).ok_or_else(|| refused("an index key is not text or bytes"))?;
            if table == INSTALLTID_INDEX {
                let order = package.tid.and_then(|tid| Endian::of_key(key, tid, Endian::Little));
                if order.is_none() || class {
                    let what = format!("{table} key of hnum {hnum} is not its package's");
                    return Err(refused(what));
                }
                sum.add((package.key.content(), idx));
            } else {
                sum.add((package.key.content(), idx, class, key));
            }
            Ok(())
        })?;
        Ok(sum)
    }
}

/// The bytes of a TEXT or BLOB value.
fn bytes_of(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    }
}

/// Calls `each` for every package of database `name` by hnum.
fn each_blob(db: &Connection, name: &str, each: &mut EachPackage<'_>) -> Result<(), Malformed> {
    let query = format!("SELECT hnum, blob FROM {name}.Packages ORDER BY hnum");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let hnum: u32 = row.get(0).map_err(sql)?;
        let ValueRef::Blob(blob) = row.get_ref(1).map_err(sql)? else {
            return Err(refused(format!("package of hnum {hnum} is no blob")));
        };
        let context = |e: Malformed| Malformed { what: format!("hnum {hnum}: {}", e.what), ..e };
        each(hnum, blob).map_err(context)?;
    }
    Ok(())
}

/// Calls `each` for every row (hnum, idx, key) of an index table of database `name`.
fn each_row(
    db: &Connection,
    name: &str,
    table: &str,
    each: &mut dyn FnMut(u32, u32, ValueRef<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let query = format!("SELECT hnum, idx, key FROM {name}.\"{table}\"");
    let mut statement = db.prepare(&query).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (hnum, idx) = (row.get(0).map_err(sql)?, row.get(1).map_err(sql)?);
        each(hnum, idx, row.get_ref(2).map_err(sql)?)?;
    }
    Ok(())
}

/// Fills the empty database `main` from `old`.
fn build(db: &Connection, schema: &Schema, old: &Contents, epoch: u32) -> rusqlite::Result<()> {
    let keys = old.packages.iter().map(|(&hnum, known)| (hnum, &known.key)).collect();
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
fn copy_times(db: &Connection, old: &Contents, epoch: u32) -> rusqlite::Result<()> {
    let mut select = db.prepare(
        "SELECT hnum, idx, key, new FROM old.Installtid JOIN temp.number ON old = hnum
         ORDER BY new, idx, key",
    )?;
    let rows = select.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
    let rows: Vec<(u32, u32, Vec<u8>, u32)> = rows.collect::<rusqlite::Result<_>>()?;
    let tid = |hnum| old.packages.get(&hnum).and_then(|known| known.tid).unwrap_or(0);
    let order = Endian::of_database(rows.iter().map(|(hnum, _, key, _)| (&key[..], tid(*hnum))));
    let mut insert =
        db.prepare("INSERT INTO main.Installtid (key, hnum, idx) VALUES (?1, ?2, ?3)")?;
    for (hnum, idx, key, new) in &rows {
        let mine = Endian::of_key(key, tid(*hnum), order).unwrap_or(order);
        insert.execute(params![mine.bytes(tid(*hnum).min(epoch)), new, idx])?;
    }
    Ok(())
}

/// The root pages of all b-trees of the new database.
pub(super) fn roots(db: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut statement = db.prepare("SELECT rootpage FROM main.sqlite_master WHERE rootpage > 0")?;
    statement.query_map([], |r| r.get(0))?.collect()
}

/// Fixed values for what the header counts: no write-ahead log, one change, one schema, a
/// library version.
fn fix_header(db: &mut [u8]) {
    db[18..20].copy_from_slice(&[1, 1]);
    for counter in [24, 40, 92] {
        db[counter..counter + 4].copy_from_slice(&1u32.to_be_bytes());
    }
    db[96..100].copy_from_slice(&LIBRARY_VERSION.to_be_bytes());
}
