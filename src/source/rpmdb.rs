//! A bare rpm database as a subject: the tree that holds it and nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Subject;
use super::hashed::Hashed;
use crate::packages::{Backend, Database};
use crate::tree::{Entry, Kind, Tree};

/// Where the database stands in its tree: one of the places in which plugins look for it.
const PLACE: &str = "usr/lib/sysimage/rpm";

/// Whether a database's file of packages is at `path`, judged from its first bytes.
pub(super) fn is_database(path: &Path) -> bool {
    let begin = || -> io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    path.is_file() && begin().is_ok_and(|bytes| Backend::of_bytes(&bytes).is_some())
}

/// Opens the database at `path` as [`Database::open`] does.
pub(super) fn open(path: &Path, done: &(dyn Fn() + Sync)) -> Result<Subject> {
    let tree = Files::of(Database::open(path)?);
    let merkle = Hashed::new(tree, done).with_context(|| format!("hashing {}", path.display()))?;
    Ok(Subject::new(format!("rpmdb:{}", path.display()), Box::new(merkle)))
}

/// Files in memory, owned by root, with the directories above them.
#[derive(Debug)]
struct Files(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Files {
    /// The database's files under their usual names.
    fn of(database: Database) -> Self {
        let own = database.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let usual = database.backend.file();
        let mut files: BTreeMap<_, _> =
            Path::new(PLACE).ancestors().map(|dir| (dir.to_owned(), None)).collect();
        for (name, bytes) in database.sides {
            let name = match name.strip_prefix(&own) {
                Some(suffix) => format!("{usual}{suffix}"),
                None => name,
            };
            files.insert(Path::new(PLACE).join(name), Some(bytes));
        }
        files.insert(Path::new(PLACE).join(usual), Some(database.main));
        Files(files)
    }

    fn bytes(&self, path: &Path) -> Option<&Vec<u8>> {
        self.0.get(path)?.as_ref()
    }
}

impl Tree for Files {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let entry = |content: &Option<Vec<u8>>| Entry {
            path: path.to_owned(),
            kind: if content.is_some() { Kind::File } else { Kind::Dir },
            mode: if content.is_some() { 0o100_644 } else { 0o040_755 },
            uid: 0,
            gid: 0,
            size: content.as_ref().map_or(0, |bytes| bytes.len() as u64),
            mtime: None,
            inode: None,
        };
        Ok(self.0.get(path).map(entry))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let below = self.0.keys().filter(|other| other.parent() == Some(path));
        Ok(below.filter_map(|other| other.file_name()).map(OsString::from).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.bytes(path).cloned())
    }

    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        Ok(self.bytes(path).map(|bytes| sink(bytes)).is_some())
    }

    fn readlink(&self, _: &Path) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }

    fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }
}
