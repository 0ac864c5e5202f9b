//! Runs SQLite on private files whose names are already removed, so that a killed run leaves
//! nothing behind.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::iter::Enumerate;
use std::os::unix::fs::FileExt;
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
use super::{Files, is_of_machine, refused, sql};
use crate::format::rpmdb::scrub::{page_size, scrub};
use crate::format::{Failure, Malformed, Scratch};

/// Bytes of the file header.
const HEADER: usize = 100;
/// The name of a database among private files.
const NAME: &str = "db";

/// An open private copy of a database and its log or journal.
pub(in super::super) struct Source {
    /// The database.
    pub(in super::super) db: Connection,
    /// A second connection to it; `None` if a log is part of it.
    second: Option<Connection>,
    file: File,
}

impl Source {
    pub(in super::super) fn open(
        files: &Files<'_>,
        scratch: &dyn Scratch,
    ) -> Result<Self, Failure> {
        plausible(files)?;
        in_private(scratch, |dir| Self::open_in(dir, files))
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
            // Without a log it can be opened in a mode that allows more than one reader.
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

    /// Does two things with it in parallel, if it can be opened twice; an error of the first one
    /// wins.
    fn both<A: Send, B: Send>(
        &mut self,
        one: impl FnOnce(&Connection) -> Result<A, Failure> + Send,
        other: impl FnOnce(&Connection) -> Result<B, Failure> + Send,
    ) -> Result<(A, B), Failure> {
        let db = &mut self.db;
        let Some(second) = &mut self.second else {
            return Ok((one(db)?, other(db)?));
        };
        let (one, other) = rayon::join(move || one(second), move || other(db));
        Ok((one?, other?))
    }

    /// Its packages, after SQLite has found it undamaged.
    pub(super) fn packages(&mut self, epoch: u32) -> Result<Packages, Failure> {
        let ((), packages) =
            self.both(|db| check(db, "quick_check"), |db| Packages::read(db, epoch))?;
        Ok(packages)
    }

    /// Writes its packages into `pages`; returns their root page, and the rows of its tables as
    /// they are to be written.
    pub(super) fn contents<'s>(
        &mut self,
        schema: &'s Schema,
        packages: &Packages,
        epoch: u32,
        pages: &mut Pages,
    ) -> Result<(u32, Tables<'s>), Failure> {
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

    /// The database after recovery, if there was anything to recover.
    pub(in super::super) fn recovered(
        &mut self,
        files: &Files<'_>,
    ) -> Result<Option<Vec<u8>>, Failure> {
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
    pub(in super::super) fn create(scratch: &dyn Scratch) -> Result<Self, Failure> {
        in_private(scratch, |dir| {
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

    /// Its bytes, with fixed values in header and gaps.
    pub(in super::super) fn finish(mut self) -> Result<Vec<u8>, Failure> {
        let roots = roots(&self.db).map_err(sql)?;
        let mut bytes = whole(&mut self.file)?;
        page_size(&bytes)?;
        fix_header(&mut bytes);
        scrub(&mut bytes, &roots)?;
        Ok(bytes)
    }
}

/// A written database, opened twice by SQLite, which has not written to it.
pub(in super::super) struct Proof([Connection; 2]);

impl Proof {
    pub(in super::super) fn of(bytes: &[u8], scratch: &dyn Scratch) -> Result<Self, Failure> {
        in_private(scratch, |dir| {
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

    /// Its sums, after SQLite has found its index tables sound; every byte of the packages is read.
    /// No two tables share a page since [`Pages`] only grow, and [`Packages::sum`] checks that each
    /// row has its package.
    pub(super) fn sums(
        &mut self,
        schema: &Schema,
        packages: usize,
        epoch: u32,
    ) -> Result<Sums, Failure> {
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

/// Tables to distribute between two connections.
struct Queue<'s>(Mutex<Enumerate<slice::Iter<'s, Table>>>);

/// The results for some of the tables, each with its place among all.
type Parts<T> = Vec<(usize, Result<T, Failure>)>;

impl<'s> Queue<'s> {
    fn new(tables: &'s [Table]) -> Self {
        Self(Mutex::new(tables.iter().enumerate()))
    }

    /// Calls `work` for one table after the other, up to the first error.
    fn work<T>(&self, mut work: impl FnMut(&'s Table) -> Result<T, Failure>) -> Parts<T> {
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

/// All parts in the order of the tables, or the error of the first table that has one: its
/// connection had no error before, so the result does not depend on timing.
fn in_order<T, C: FromIterator<T>>(some: Parts<T>, others: Parts<T>) -> Result<C, Failure> {
    let mut parts: Parts<T> = some.into_iter().chain(others).collect();
    parts.sort_by_key(|(place, _)| *place);
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Calls `make` with a private directory, which is removed afterwards. Its outer error is that of
/// the place, so that the next one is tried, the inner one that of the database.
fn in_private<T>(
    scratch: &dyn Scratch,
    make: impl Fn(&Path) -> io::Result<rusqlite::Result<T>>,
) -> Result<T, Failure> {
    let mut made = None;
    scratch.in_private(&mut |dir| {
        made = Some(make(dir)?);
        Ok(())
    })?;
    made.ok_or_else(|| refused("nothing was made"))?.map_err(sql)
}

/// Calls `work` for `files`, which it copies into private files. If a disk does not return a page,
/// SQLite reports a damaged database: then `work` is tried again, and the damage counts if a
/// private file with these bytes can be read back as written.
pub(in super::super) fn surely<T>(
    files: &Files<'_>,
    scratch: &dyn Scratch,
    work: impl Fn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    // A refusal for the length alone needs no second attempt.
    plausible(files)?;
    let first = match work() {
        Err(Failure::Malformed(what)) => what,
        other => return other,
    };
    match work() {
        Err(Failure::Malformed(what)) if what == first => {
            is_kept(files.db, scratch)?;
            Err(what.into())
        }
        Err(Failure::Malformed(_)) => {
            Err(io::Error::other("a private file reads differently the second time").into())
        }
        other => other,
    }
}

/// Checks that a private file keeps these bytes.
fn is_kept(bytes: &[u8], scratch: &dyn Scratch) -> io::Result<()> {
    scratch.in_private(&mut |dir| {
        let mut file = private(&dir.join(NAME))?;
        file.write_all(bytes)?;
        let mut piece = [0; 4096];
        for (n, want) in (0u64..).zip(bytes.chunks(piece.len())) {
            let piece = &mut piece[..want.len()];
            file.read_exact_at(piece, n * 4096)?;
            if piece != want {
                return Err(io::Error::other("a private file does not keep what is written to it"));
            }
        }
        Ok(())
    })
}

fn whole(file: &mut File) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
    read.map(|_| Ok(bytes))?
}

fn first_read(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
}

/// Settings for untrusted databases that no other process uses: then the memory for a log is not
/// shared, and a reader still allows another reader.
const SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA synchronous = OFF;
    PRAGMA temp_store = MEMORY;
    PRAGMA cell_size_check = ON;
    PRAGMA trusted_schema = OFF;
    PRAGMA foreign_keys = OFF;
";

/// Settings of a new database.
const NEW: &str = "
    PRAGMA page_size = 4096;
    PRAGMA encoding = 'UTF-8';
    PRAGMA auto_vacuum = NONE;
    PRAGMA journal_mode = OFF;
    PRAGMA secure_delete = ON;
";

/// A connection that limits the length of values to `limit` or a megabyte.
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

/// The end of a journal that names another file, that of a change to several databases. SQLite
/// would look for that file anywhere, and remove it.
const NAMES_ANOTHER: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Refuses what SQLite accepts or explains badly: an empty file, a file truncated inside a page, a
/// journal that leads out of the tree.
fn plausible(files: &Files<'_>) -> Result<(), Failure> {
    if files.db.is_empty() {
        return Err(refused("database is empty").into());
    }
    // A journal with only a header ends with it, or with zeros.
    if files.journal.len() > NAMES_ANOTHER.len() && files.journal.ends_with(&NAMES_ANOTHER) {
        return Err(refused("its journal names a journal of several databases").into());
    }
    let page = page_size(files.db)?;
    let whole = files.db.len().is_multiple_of(page);
    if !whole && files.wal.is_empty() && files.journal.is_empty() {
        return Err(Malformed::at(files.db.len(), "database is truncated inside a page").into());
    }
    Ok(())
}

/// Runs one of SQLite's checks: it must say "ok" or nothing.
pub(in super::super) fn check(db: &Connection, pragma: &str) -> Result<(), Failure> {
    let mut statement = db.prepare(&format!("PRAGMA {pragma}")).map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    match rows.next().map_err(sql)? {
        None => Ok(()),
        Some(row) => match row.get_ref(0).map_err(sql)? {
            ValueRef::Text(b"ok") => Ok(()),
            ValueRef::Text(text) => {
                let text = String::from_utf8_lossy(text);
                match code_in(&text).is_some_and(is_of_machine) {
                    true => {
                        Err(io::Error::other(format!("{pragma} of a private file: {text}")).into())
                    }
                    false => Err(refused(format!("{pragma}: {text}")).into()),
                }
            }
            _ => Err(refused(format!("{pragma} found a row")).into()),
        },
    }
}

/// The result code in a finding, if SQLite could not read a page at all.
fn code_in(finding: &str) -> Option<i32> {
    let (_, rest) = finding.split_once("error code=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The root pages of all b-trees.
fn roots(db: &Connection) -> rusqlite::Result<Vec<u32>> {
    let mut statement = db.prepare("SELECT rootpage FROM sqlite_master WHERE rootpage > 0")?;
    statement.query_map([], |r| r.get(0))?.collect()
}

/// Sets the counters in the header to fixed values: no write-ahead log, one change, one schema, a
/// library version.
fn fix_header(db: &mut [u8]) {
    db[18..20].copy_from_slice(&[1, 1]);
    for counter in [24, 40, 92] {
        db[counter..counter + 4].copy_from_slice(&1u32.to_be_bytes());
    }
    db[96..100].copy_from_slice(&LIBRARY_VERSION.to_be_bytes());
}
