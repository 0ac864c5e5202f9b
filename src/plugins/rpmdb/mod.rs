//! `rpmdb`: the same package set gives the same database, whatever its history.

mod indexed;
mod page;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::packages::{Backend, Database, PLACES, Role, SIDES, beside, role};

use super::dnf_history::HISTORIES;
use crate::disk;
use crate::format::Failure;
use crate::format::rpmdb::diff::diff;
use crate::format::rpmdb::sqlite;
use crate::normal::Context;
use crate::normal::{
    Consequence, File, Follows, OtherDifferences, Page, Plugin, Step, Verdict, Want,
};
use crate::tree::{Difference, Entry, Tree};

/// Size in bytes from which the plan keeps a database: content beyond the plan's memory is
/// otherwise computed again when it is written.
const COMPUTED_ONCE: usize = 16 << 20;

/// The plugin.
pub(super) struct Rpmdb;

impl Plugin for Rpmdb {
    fn page(&self) -> &'static Page {
        &page::PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match role(entry) {
            Some(Role::Main(_)) => Want::Bytes,
            Some(Role::Place | Role::Index(_) | Role::Side | Role::LeftOver) => Want::Entry,
            None => Want::No,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        match role(file.entry) {
            Some(Role::Main(Backend::Sqlite)) => main(file, cx),
            Some(Role::Main(backend)) => indexed::main(file, backend, cx),
            Some(Role::Index(backend)) => indexed::index(file, backend),
            Some(Role::Place) => place(file),
            Some(Role::Side) => side(file),
            Some(Role::LeftOver) => Ok(Verdict::Remove),
            None => Ok(Verdict::Keep),
        }
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, cx: &Context) -> Vec<String> {
        let phrases = match (role(a.entry), role(b.entry)) {
            (Some(Role::Main(x)), Some(Role::Main(y))) => phrases([load(x, a), load(y, b)], cx),
            (Some(Role::Index(x)), Some(Role::Index(y))) if x == y => indexed(x, [a, b], cx),
            _ => return Vec::new(),
        };
        phrases.unwrap_or_else(|e| vec![format!("cannot be compared: {e}")])
    }

    fn followers(
        &self,
        open: &[&Difference],
        around: &OtherDifferences<'_>,
    ) -> Vec<Option<Follows>> {
        let Some(of) = around.own.first() else { return Vec::new() };
        open.iter().map(|difference| of_a_package(difference, of, around)).collect()
    }
}

/// A file whose packages have different versions follows the database that lists them.
fn of_a_package(
    difference: &Difference,
    of: &Path,
    around: &OtherDifferences<'_>,
) -> Option<Follows> {
    let side = difference.a.as_ref().or(difference.b.as_ref())?;
    if role(&side.entry(&difference.path)).is_some() {
        return None;
    }
    let [a, b] = around.owners.map(|owners| owners(&difference.path));
    let list = |side: &BTreeSet<String>, other: &BTreeSet<String>| {
        let only: Vec<_> = side.difference(other).cloned().collect();
        if only.is_empty() { "no package".to_owned() } else { only.join(", ") }
    };
    let why = || format!("of {} and {}", list(&a, &b), list(&b, &a));
    (a != b).then(|| Follows { how: Consequence::Package, of: of.to_owned(), why: why() })
}

/// The database whose package file is `file`, as it is in the tree: the files beside it belong to
/// that, not to the new content.
fn load(backend: Backend, file: &File<'_>) -> io::Result<Database> {
    let path = file.entry.path.clone();
    let main = file.tree.read(&path)?.unwrap_or_default();
    Database::with_sides(file.tree, backend, path, main)
}

/// What differs between two databases, package by package, except for what the normal form removes.
fn phrases(databases: [io::Result<Database>; 2], cx: &Context) -> Result<Vec<String>, Failure> {
    let [a, b] = databases;
    let (a, b) = (a?, b?);
    let (mut x, mut y) = (a.logical()?, b.logical()?);
    let both = [&mut x, &mut y].map(|logical| logical.canonicalise(cx.epoch.seconds()));
    if both.iter().any(Result::is_err) {
        (x, y) = (a.logical()?, b.logical()?);
    }
    Ok(diff(&x, &y)?.phrases())
}

/// What differs between two indexes: they follow their databases, whose differences are reported
/// once.
fn indexed(backend: Backend, files: [&File<'_>; 2], cx: &Context) -> Result<Vec<String>, Failure> {
    let database = |file: &File<'_>| {
        let path = file.entry.path.with_file_name(backend.file());
        let main = file.tree.read(&path)?.unwrap_or_default();
        Database::with_sides(file.tree, backend, path, main)
    };
    let databases = files.map(database);
    if let [Ok(a), Ok(b)] = &databases
        && a.main != b.main
    {
        return Ok(vec![format!("follows {}", backend.file())]);
    }
    phrases(databases, cx)
}

/// The verdict on the directory of a database: remarks that concern several files.
fn place(file: &File<'_>) -> io::Result<Verdict> {
    let dir = &file.entry.path;
    let mut found = Vec::new();
    for backend in Backend::ALL {
        if file.tree.lookup(&dir.join(backend.file()))?.is_some() {
            found.push(backend.file());
        }
    }
    let mut words = Vec::new();
    if found.len() > 1 {
        words.push(format!(
            "databases of several backends are side by side ({}), of which rpm uses one; each is \
             put into normal form; remove those that are left over from a conversion",
            found.join(", ")
        ));
    }
    words.extend(indexed::remark(file.tree, dir)?);
    Ok(if words.is_empty() { Verdict::Keep } else { Verdict::Report(words.join("; ")) })
}

/// The verdict on `rpmdb.sqlite`.
fn main(file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
    let logs = Logs::of(file.tree, file.entry)?;
    if logs.names.first() != Some(&file.entry.path) {
        return Ok(Verdict::Keep); // judged by its first name, which the others follow
    }
    let Some([wal, journal]) = logs.content else {
        let why = "names of one database have different logs beside them; checkpoint it first \
                   (`sqlite3 FILE 'PRAGMA wal_checkpoint(TRUNCATE)'`)";
        return Ok(Verdict::Report(why.to_owned()));
    };
    let files = sqlite::Files { db: &file.bytes, wal: &wal, journal: &journal };
    let new = sqlite::canonical(&files, cx.epoch.seconds(), &disk::PrivateDir);
    let new = match Failure::apart(new)? {
        Ok(new) => new,
        Err(why) => return Ok(Verdict::Unparsed(why)),
    };
    if !wal.is_empty() || !journal.is_empty() {
        return Ok(Verdict::Steps(steps(file, &logs.names, new)));
    }
    if new.bytes == *file.bytes {
        return Ok(Verdict::Keep);
    }
    // dnf's history quotes the present database, so it must be rewritten first, or a killed run
    // would leave a quotation that the next run does not recognise. Steps come after all content,
    // in the order of plugins.
    let quoted = HISTORIES.iter().try_fold(false, |quoted, history| {
        Ok::<_, io::Error>(quoted || file.tree.lookup(Path::new(history))?.is_some())
    })?;
    Ok(match quoted || new.bytes.len() > COMPUTED_ONCE {
        true => Verdict::Steps(vec![Step::Write(file.entry.path.clone(), new.bytes.into())]),
        false => Verdict::Rewrite(new.bytes),
    })
}

/// The steps from a database with a log to one without: SQLite would apply a log that it finds
/// beside a new database. So the log's contents are first written into the database (applying them
/// again does no harm), then the log is removed, then the normal form is written.
fn steps(file: &File<'_>, names: &[PathBuf], new: sqlite::Canonical) -> Vec<Step> {
    let write = |bytes: Vec<u8>| Step::Write(file.entry.path.clone(), bytes.into());
    let sides = names.iter().flat_map(|n| SIDES.map(|s| Step::Remove(beside(n, s))));
    let recovered = new.recovered.map(write);
    recovered.into_iter().chain(sides).chain([write(new.bytes)]).collect()
}

/// The names of an inode in the usual places, in their order; only its own if it has no other.
fn names_of(tree: &dyn Tree, entry: &Entry) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    if let Some(inode) = entry.inode.filter(|i| i.nlink.get() > 1) {
        for place in PLACES {
            let path = Path::new(place).join(entry.path.file_name().unwrap_or_default());
            let there = tree.lookup(&path)?.and_then(|e| e.inode);
            if there.is_some_and(|i| (i.dev, i.ino) == (inode.dev, inode.ino)) {
                names.push(path);
            }
        }
    }
    if names.is_empty() {
        names.push(entry.path.clone());
    }
    Ok(names)
}

/// A database's names and the logs beside them.
struct Logs {
    /// The names from [`names_of`].
    names: Vec<PathBuf>,
    /// Log and journal, empty if there are none; `None` if two names have different ones.
    content: Option<[Vec<u8>; 2]>,
}

impl Logs {
    fn of(tree: &dyn Tree, entry: &Entry) -> io::Result<Self> {
        let names = names_of(tree, entry)?;
        let (wal, journal) = (one(tree, &names, "-wal")?, one(tree, &names, "-journal")?);
        Ok(Logs { names, content: wal.zip(journal).map(|(wal, journal)| [wal, journal]) })
    }
}

/// The content of the side file that the names share, empty without one; `None` if they have
/// several.
fn one(tree: &dyn Tree, names: &[PathBuf], suffix: &str) -> io::Result<Option<Vec<u8>>> {
    let mut found = Vec::new();
    for name in names {
        let content = tree.read(&beside(name, suffix))?.unwrap_or_default();
        if !content.is_empty() && !found.contains(&content) {
            found.push(content);
        }
    }
    Ok((found.len() < 2).then(|| found.pop().unwrap_or_default()))
}

/// The verdict on SQLite's log, journal or shared memory: it is removed, as the normal form of its
/// database has none, or it stays if its database does.
fn side(file: &File<'_>) -> io::Result<Verdict> {
    let path = file.entry.path.with_file_name(Backend::Sqlite.file());
    let entry = file.tree.lookup(&path)?;
    let (Some(entry), Some(db)) = (entry, file.tree.read(&path)?) else {
        let shared = file.entry.path.as_os_str().as_encoded_bytes().ends_with(b"-shm");
        let alone = "a log without its database, which may contain packages; find the database, or \
                     remove the log";
        let report = Verdict::Report(alone.to_owned());
        return Ok(if shared || file.entry.size == 0 { Verdict::Remove } else { report });
    };
    let Some([wal, journal]) = Logs::of(file.tree, &entry)?.content else {
        return Ok(Verdict::Keep);
    };
    let files = sqlite::Files { db: &db, wal: &wal, journal: &journal };
    let understood = Failure::apart(sqlite::understood(&files, &disk::PrivateDir))?.is_ok();
    Ok(if understood { Verdict::Remove } else { Verdict::Keep })
}
