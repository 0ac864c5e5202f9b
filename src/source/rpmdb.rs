//! A bare rpm database as a subject: a tree with only its files.

use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Subject;
use super::hashed::Hashed;
use crate::packages::{Backend, Database};
use crate::tree::Memory;

/// The directory of the database in its tree: one of those in which plugins look for it.
const PLACE: &str = "usr/lib/sysimage/rpm";

/// Whether a database's package file is at `path`, judged by its first bytes.
pub(super) fn is_database(path: &Path) -> bool {
    let begin = || -> io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    path.is_file() && begin().is_ok_and(|bytes| Backend::of_bytes(&bytes).is_some())
}

/// Opens the database at `path` like [`Database::open`].
pub(super) fn open(path: &Path, done: &(dyn Fn() + Sync)) -> Result<Subject> {
    let tree = tree_of(Database::open(path)?);
    let merkle = Hashed::new(tree, done).with_context(|| format!("hashing {}", path.display()))?;
    Ok(Subject::new(format!("rpmdb:{}", path.display()), Box::new(merkle)))
}

/// The tree of the database's files under their usual names.
fn tree_of(database: Database) -> Memory {
    let own = database.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let usual = database.backend.file();
    let mut tree = Memory::empty();
    for (name, bytes) in database.sides {
        let name = match name.strip_prefix(&own) {
            Some(suffix) => format!("{usual}{suffix}"),
            None => name,
        };
        tree.add(Path::new(PLACE).join(name), bytes);
    }
    tree.add(Path::new(PLACE).join(usual), database.main);
    tree
}
