//! The history of nightly runs: one SQLite file with several writers.
//!
//! `schema.sql` is the documentation of the schema: `run`, `difference`, two tables that store
//! recurring names and large texts once, and what each notification channel last reported. The file
//! is in WAL mode, every write is one immediate transaction, and a writer waits for others up to
//! `BUSY`. A killed process loses only its current transaction. `PRAGMA user_version` counts
//! `MIGRATIONS`; a file from a newer reprofix is refused. WAL needs a local file system: keep the
//! history off NFS.

mod blame;
mod query;
mod record;
mod retain;
mod store;

pub use blame::{Blame, StreamBlame, Streams, Versions, by_stream};
pub use query::Flaky;
pub use record::{Class, Difference, Run, Verdict};
pub use retain::{Retained, Retention};
pub use store::Finish;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flate2::Decompress;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(30);

/// `PRAGMA cache_size` of a reader; being negative, it is in KiB.
const READER_CACHE: i32 = -32_768;

/// `PRAGMA application_id`: the ASCII letters `rpfx`.
const APPLICATION_ID: i32 = 0x7270_6678;

/// Statements that bring a file from version N to N + 1. Entries are never edited, only added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    "ALTER TABLE run ADD COLUMN composefs_a TEXT; -- composefs digests, of what bootc boots
     ALTER TABLE run ADD COLUMN composefs_b TEXT;",
    "-- Rises with each change of what pages are made from: a row of `run` changes with the others.
     CREATE TABLE change (number INTEGER NOT NULL) STRICT;
     INSERT INTO change VALUES (0);
     CREATE TRIGGER run_inserted AFTER INSERT ON run BEGIN UPDATE change SET number = number + 1; END;
     CREATE TRIGGER run_updated AFTER UPDATE ON run BEGIN UPDATE change SET number = number + 1; END;
     CREATE TRIGGER run_deleted AFTER DELETE ON run BEGIN UPDATE change SET number = number + 1; END;
     -- A folder of pages, and a digest of all that they were made from and of the files that they are.
     CREATE TABLE pages (folder TEXT PRIMARY KEY, seal BLOB NOT NULL) STRICT;",
];

/// An open history.
pub struct History {
    db: Connection,
    path: PathBuf,
    remembered: RefCell<blame::Remembered>,
    inflater: RefCell<Decompress>,
}

impl History {
    /// Opens the history at `path`, creating and migrating it as needed.
    ///
    /// # Errors
    ///
    /// If the file is not a history, is from a newer reprofix, or cannot be written; the file is
    /// unchanged then.
    pub fn open(path: &Path) -> Result<Self> {
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Opens an existing history for reading. It may be migrated, so it must be writable.
    pub fn open_existing(path: &Path) -> Result<Self> {
        if !path.is_file() {
            bail!("{}: no history here; name it with --history or --nightly", path.display());
        }
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags);
        let db = db.with_context(|| format!("opening the history {}", path.display()))?;
        let mut history = Self::over(db, path);
        history.prepare().with_context(|| format!("opening the history {}", path.display()))?;
        Ok(history)
    }

    fn over(db: Connection, path: &Path) -> Self {
        History {
            db,
            path: path.to_owned(),
            remembered: RefCell::default(),
            inflater: RefCell::new(Decompress::new(true)),
        }
    }

    /// Opens a history that this process has open already, to read it on another thread.
    pub fn reader(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = || -> rusqlite::Result<Connection> {
            let db = Connection::open_with_flags(path, flags)?;
            db.busy_timeout(BUSY)?;
            db.pragma_update(None, "cache_size", READER_CACHE)?;
            // One transaction for all reads: a consistent state, and no lock per query.
            db.execute_batch("BEGIN")?;
            Ok(db)
        };
        let db = opened().with_context(|| format!("reading the history {}", path.display()))?;
        Ok(Self::over(db, path))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn prepare(&mut self) -> Result<()> {
        self.db.busy_timeout(BUSY)?;
        // In one transaction, since another process may be creating it right now.
        let look = self.db.transaction()?;
        let id: i32 = look.pragma_query_value(None, "application_id", |r| r.get(0))?;
        let tables: i64 = look.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        look.commit()?;
        if id != APPLICATION_ID && tables > 0 {
            bail!("it is an SQLite database, but not a history of reprofix; nothing was changed");
        }
        self.db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        self.use_wal()?;
        self.db.pragma_update(None, "synchronous", "FULL")?;
        self.db.pragma_update(None, "foreign_keys", true)?;
        self.migrate()
    }

    /// Switches to WAL, which needs exclusive access, for which SQLite does not wait by itself.
    fn use_wal(&self) -> Result<()> {
        let deadline = Instant::now() + BUSY;
        loop {
            match self.db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return Ok(other?),
            }
        }
    }

    fn migrate(&mut self) -> Result<()> {
        let known = MIGRATIONS.len() as i64;
        let version = |db: &Connection| -> rusqlite::Result<i64> {
            db.pragma_query_value(None, "user_version", |r| r.get(0))
        };
        if version(&self.db)? == known {
            return Ok(());
        }
        let change = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Check again: another process may have been faster.
        let version = version(&change)?;
        let missing = usize::try_from(version).ok().and_then(|done| MIGRATIONS.get(done..));
        let Some(missing) = missing else {
            bail!("its version is {version}, this reprofix knows {known}; use a newer reprofix");
        };
        for migration in missing {
            change.execute_batch(migration)?;
        }
        change.pragma_update(None, "application_id", APPLICATION_ID)?;
        change.pragma_update(None, "user_version", known)?;
        Ok(change.commit()?)
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

#[cfg(test)]
mod tests;
