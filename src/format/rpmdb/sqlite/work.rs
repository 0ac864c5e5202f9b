//! SQLite at work in private files that have no names any more.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::contents::{PACKAGES, Packages, Sums};
use super::schema::Schema;
use super::{Files, refused, sql};
use crate::env::scratch_places;
use crate::format::Malformed;
use crate::format::rpmdb::scrub::{page_size, scrub};

/// What the header says about the library that wrote the file: the oldest one that reads it.
const LIBRARY_VERSION: u32 = 3_007_000;
/// Bytes of the file header.
const HEADER: usize = 100;

/// Private copies of the files, opened. The names are gone once they are open: a killed run
/// leaves nothing behind.
pub(in super::super) struct Work {
    /// The new database, with the source attached as `old`.
    pub(in super::super) db: Connection,
    /// The new database twice more, to check and to read what was finished at the same time.
    pub(in super::super) readers: [Connection; 2],
    /// The source once more, for the same; `None` where a log is part of it.
    source: Option<Connection>,
    new: File,
    old: File,
}

impl Work {
    pub(in super::super) fn open(files: &Files<'_>) -> Result<Self, Malformed> {
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
            let source = alone.then(|| connect(&old_path, limit)).transpose()?;
            if let Some(source) = &source {
                source.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
            }
            Ok((db, [connect(&new_path, limit)?, connect(&new_path, limit)?], source))
        };
        let opened = open().map_err(sql);
        dir.close()?;
        Ok(opened.map(|(db, readers, source)| Work { db, readers, source, new, old }))
    }

    /// Reads the source and does something else at the same time, where the source can be opened
    /// twice; what is wrong with the source is told first.
    pub(super) fn beside<A: Send, B: Send>(
        &mut self,
        read: impl FnOnce(&Connection, &str) -> Result<A, Malformed> + Send,
        other: impl FnOnce(&Connection) -> Result<B, Malformed> + Send,
    ) -> Result<(A, B), Malformed> {
        let db = &mut self.db;
        let Some(source) = &mut self.source else {
            let read = read(db, "old")?;
            return Ok((read, other(db)?));
        };
        let (read, other) = rayon::join(move || read(source, "main"), move || other(db));
        Ok((read?, other?))
    }

    /// The packages of the source, once SQLite found it undamaged.
    pub(super) fn old_packages(&mut self, epoch: u32) -> Result<Packages, Malformed> {
        let ((), packages) = self.beside(
            |source, name| check(source, &format!("{name}.quick_check")),
            |db| Packages::read(db, "old", epoch),
        )?;
        Ok(packages)
    }

    /// What the new database holds, once SQLite found its index tables sound; of the packages every
    /// byte is read. That each page belongs to one table is what [`scrub`] saw, and that each row has
    /// its package is what [`Packages::sums`] sees.
    pub(super) fn new_sums(
        &mut self,
        schema: &Schema,
        packages: usize,
        epoch: u32,
    ) -> Result<Sums, Malformed> {
        let [first, second] = &mut self.readers;
        let (lower, upper) = (&mut *first, &mut *second);
        let middle = packages / 2;
        let (some, others) = rayon::join(
            move || Packages::read_where(lower, "main", &format!("WHERE hnum <= {middle}"), epoch),
            move || Packages::read_where(upper, "main", &format!("WHERE hnum > {middle}"), epoch),
        );
        let packages = some?.and(others?);
        let tables = Mutex::new(schema.indexes.iter());
        let next = || tables.lock().ok()?.next();
        let rest = |db: &mut Connection| -> Result<Sums, Malformed> {
            let mut sums = Sums::new();
            while let Some(table) = next() {
                check(db, &format!("integrity_check(\"{}\")", table.name))?;
                sums.insert(table.name.clone(), packages.sum(db, "main", &table.name)?);
            }
            Ok(sums)
        };
        let (some, others) = rayon::join(|| rest(first), || rest(second));
        let mut sums = some?;
        sums.extend(others?);
        sums.insert(PACKAGES.to_owned(), packages.whole());
        Ok(sums)
    }

    /// The source after recovery, if there was anything to recover.
    pub(in super::super) fn recovered(
        &mut self,
        files: &Files<'_>,
    ) -> Result<Option<Vec<u8>>, Malformed> {
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
    pub(in super::super) fn finish(&mut self, roots: &[u32]) -> Result<Vec<u8>, Malformed> {
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
pub(in super::super) fn check(db: &Connection, pragma: &str) -> Result<(), Malformed> {
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

/// The root pages of all b-trees of the new database.
pub(in super::super) fn roots(db: &Connection) -> rusqlite::Result<Vec<u32>> {
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
