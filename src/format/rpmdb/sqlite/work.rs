//! SQLite at work in private files that have no names any more: a killed run leaves nothing behind.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::iter::Enumerate;
use std::path::Path;
use std::slice;
use std::sync::Mutex;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::build::write_packages;
use super::contents::{PACKAGES, Packages, Sums};
use super::pages::{LIBRARY_VERSION, Pages};
use super::rows::{Rows, Tables};
use super::schema::{Schema, Table};
use super::{Files, refused, sql};
use crate::env::scratch_places;
use crate::format::Malformed;
use crate::format::rpmdb::scrub::{page_size, scrub};

/// Bytes of the file header.
const HEADER: usize = 100;
/// The name of a database among private files.
const NAME: &str = "db";

/// A private copy of a database and its log or journal, opened.
pub(in super::super) struct Source {
    /// The database.
    pub(in super::super) db: Connection,
    /// The same once more; `None` where a log is part of it.
    second: Option<Connection>,
    file: File,
}

impl Source {
    pub(in super::super) fn open(files: &Files<'_>) -> Result<Self, Malformed> {
        plausible(files)?;
        in_private(|dir| Self::open_in(dir, files))
    }

    fn open_in(dir: &Path, files: &Files<'_>) -> io::Result<rusqlite::Result<Self>> {
        let path = dir.join(NAME);
        let beside = [("db-wal", files.wal), ("db-journal", files.journal)];
        for (name, bytes) in beside.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            private(&dir.join(name))?.write_all(bytes)?;
        }
        let mut file = private(&path)?;
        let alone = files.wal.is_empty() && files.journal.is_empty();
        match files.db.get(..HEADER) {
            // Without a log it need not be opened as one that may have it, which admits one reader.
            Some(begin) if alone => {
                let mut begin = begin.to_vec();
                begin[18..20].copy_from_slice(&[1, 1]);
                file.write_all(&begin)?;
                file.write_all(&files.db[HEADER..])?;
            }
            _ => file.write_all(files.db)?,
        }
        let open = || -> rusqlite::Result<_> {
            let limit = files.db.len() + files.wal.len();
            let db = connect(&path, limit)?;
            // The first read: recovery from log or journal happens here.
            first_read(&db)?;
            let second = alone.then(|| connect(&path, limit)).transpose()?;
            second.as_ref().map(first_read).transpose()?;
            Ok((db, second))
        };
        Ok(open().map(|(db, second)| Source { db, second, file }))
    }

    /// Does two things with it at the same time, where it can be opened twice; what is wrong with
    /// the first is told first.
    fn both<A: Send, B: Send>(
        &mut self,
        one: impl FnOnce(&Connection) -> Result<A, Malformed> + Send,
        other: impl FnOnce(&Connection) -> Result<B, Malformed> + Send,
    ) -> Result<(A, B), Malformed> {
        let db = &mut self.db;
        let Some(second) = &mut self.second else {
            return Ok((one(db)?, other(db)?));
        };
        let (one, other) = rayon::join(move || one(second), move || other(db));
        Ok((one?, other?))
    }

    /// Its packages, once SQLite found it undamaged.
    pub(super) fn packages(&mut self, epoch: u32) -> Result<Packages, Malformed> {
        let ((), packages) =
            self.both(|db| check(db, "quick_check"), |db| Packages::read(db, epoch))?;
        Ok(packages)
    }

    /// Its packages written into `pages`, with their root page, and the rows of its tables as
    /// they are to be written.
    pub(super) fn contents<'s>(
        &mut self,
        schema: &'s Schema,
        packages: &Packages,
        epoch: u32,
        pages: &mut Pages,
    ) -> Result<(u32, Tables<'s>), Malformed> {
        let queue = Queue::new(&schema.indexes);
        let read = |db: &Connection| {
            let rows = |table: &'s Table| Rows::read(db, packages, &table.name, epoch);
            queue.work(|table| Ok((table, rows(table)?)))
        };
        let ((root, some), others) = self.both(
            |db| Ok((write_packages(db, packages, epoch, pages)?, read(db))),
            |db| Ok(read(db)),
        )?;
        Ok((root, in_order(some, others)?))
    }

    /// It after recovery, if there was anything to recover.
    pub(in super::super) fn recovered(
        &mut self,
        files: &Files<'_>,
    ) -> Result<Option<Vec<u8>>, Malformed> {
        if files.wal.is_empty() && files.journal.is_empty() {
            return Ok(None);
        }
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(sql)?;
        let bytes = whole(&mut self.file)?;
        Ok((bytes != files.db).then_some(bytes))
    }
}

/// A new database that SQLite fills.
pub(in super::super) struct Draft {
    pub(in super::super) db: Connection,
    file: File,
}

impl Draft {
    pub(in super::super) fn create() -> Result<Self, Malformed> {
        in_private(|dir| {
            let path = dir.join(NAME);
            let file = private(&path)?;
            let open = || -> rusqlite::Result<_> {
                let db = connect(&path, 0)?;
                db.execute_batch(NEW)?;
                Ok(db)
            };
            Ok(open().map(|db| Draft { db, file }))
        })
    }

    /// Its bytes after header and gaps got their fixed values.
    pub(in super::super) fn finish(mut self) -> Result<Vec<u8>, Malformed> {
        let roots = roots(&self.db).map_err(sql)?;
        let mut bytes = whole(&mut self.file)?;
        page_size(&bytes)?;
        fix_header(&mut bytes);
        scrub(&mut bytes, &roots)?;
        Ok(bytes)
    }
}

/// A database that was written, opened twice by SQLite, which has no part in it yet.
pub(in super::super) struct Proof([Connection; 2]);

impl Proof {
    pub(in super::super) fn of(bytes: &[u8]) -> Result<Self, Malformed> {
        in_private(|dir| {
            let path = dir.join(NAME);
            private(&path)?.write_all(bytes)?;
            let open = || -> rusqlite::Result<_> {
                let readers = [connect(&path, bytes.len())?, connect(&path, bytes.len())?];
                readers.each_ref().map(first_read).into_iter().collect::<Result<(), _>>()?;
                Ok(readers)
            };
            Ok(open().map(Proof))
        })
    }

    pub(in super::super) fn db(&self) -> &Connection {
        &self.0[0]
    }

    /// What it holds, once SQLite found its index tables sound; of the packages every byte is
    /// read. That no two tables share a page is certain as [`Pages`] only grow, and that each row
    /// has its package is what [`Packages::sum`] sees.
    pub(super) fn sums(
        &mut self,
        schema: &Schema,
        packages: usize,
        epoch: u32,
    ) -> Result<Sums, Malformed> {
        let [first, second] = &mut self.0;
        let (lower, upper) = (&mut *first, &mut *second);
        let middle = packages / 2;
        let (some, others) = rayon::join(
            move || Packages::read_where(lower, &format!("WHERE hnum <= {middle}"), epoch),
            move || Packages::read_where(upper, &format!("WHERE hnum > {middle}"), epoch),
        );
        let packages = some?.and(others?);
        let queue = Queue::new(&schema.indexes);
        let rest = |db: &mut Connection| {
            queue.work(|table| {
                check(db, &format!("integrity_check(\"{}\")", table.name))?;
                Ok((table.name.clone(), packages.sum(db, &table.name)?))
            })
        };
        let (some, others) = rayon::join(|| rest(first), || rest(second));
        let mut sums: Sums = in_order(some, others)?;
        sums.insert(PACKAGES.to_owned(), packages.whole());
        Ok(sums)
    }
}

/// Tables that two connections share out between them.
struct Queue<'s>(Mutex<Enumerate<slice::Iter<'s, Table>>>);

/// What became of some of the tables, each with its place among all of them.
type Parts<T> = Vec<(usize, Result<T, Malformed>)>;

impl<'s> Queue<'s> {
    fn new(tables: &'s [Table]) -> Self {
        Self(Mutex::new(tables.iter().enumerate()))
    }

    /// Does `work` with one table after the other, up to the first that is wrong.
    fn work<T>(&self, mut work: impl FnMut(&'s Table) -> Result<T, Malformed>) -> Parts<T> {
        let mut parts = Parts::new();
        while let Some((place, table)) = self.0.lock().ok().and_then(|mut rest| rest.next()) {
            let part = work(table);
            let wrong = part.is_err();
            parts.push((place, part));
            if wrong {
                break;
            }
        }
        parts
    }
}

/// All parts in the order of the tables, or what is wrong with the first table that is: whoever
/// took it had met nothing wrong before, so that this does not depend on who was faster.
fn in_order<T, C: FromIterator<T>>(some: Parts<T>, others: Parts<T>) -> Result<C, Malformed> {
    let mut parts: Parts<T> = some.into_iter().chain(others).collect();
    parts.sort_by_key(|(place, _)| *place);
    parts.into_iter().map(|(_, part)| part).collect()
}

/// What `make` makes of a private directory, which is gone afterwards. Its outer error is the
/// place's, so that the next one is tried, the inner one the database's.
#[allow(clippy::disallowed_methods)] // until the place is handed in
fn in_private<T>(make: impl Fn(&Path) -> io::Result<rusqlite::Result<T>>) -> Result<T, Malformed> {
    let made = |place: &Path| {
        let dir = tempfile::Builder::new().prefix(".reprofix-").tempdir_in(place)?;
        let made = make(dir.path())?;
        dir.close()?;
        Ok::<_, io::Error>(made)
    };
    let mut why = String::from("no directory for private files");
    for place in scratch_places() {
        match made(&place) {
            Ok(made) => return made.map_err(sql),
            Err(error) => why = format!("private files in {}: {error}", place.display()),
        }
    }
    Err(refused(why))
}

fn whole(file: &mut File) -> Result<Vec<u8>, Malformed> {
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    read.map_err(|e| refused(format!("reading a private file: {e}")))?;
    Ok(bytes)
}

fn first_read(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
}

/// How little SQLite may trust a database, and that nobody else has it: then what a log needs in
/// memory is not shared, and whoever only reads still admits another reader.
const SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA foreign_keys = OFF;
";

/// What a new database is like.
const NEW: &str = "
    PRAGMA page_size = 4096;
    PRAGMA encoding = 'UTF-8';
    PRAGMA auto_vacuum = NONE;
    PRAGMA journal_mode = OFF;
    PRAGMA secure_delete = ON;
";

/// A connection to which no value is longer than `limit`, and not a megabyte either.
fn connect(path: &Path, limit: usize) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    for off in [DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW] {
        db.set_db_config(off, false)?;
    }
    let limit = i32::try_from(limit).unwrap_or(i32::MAX).max(1 << 20);
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, limit)?;
    db.execute_batch(SETTINGS)?;
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

/// The root pages of all b-trees.
fn roots(db: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut statement = db.prepare("SELECT rootpage FROM sqlite_master WHERE rootpage > 0")?;
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
