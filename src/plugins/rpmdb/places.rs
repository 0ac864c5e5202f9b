//! Where rpm databases lie in a tree, and which files make one.

use std::io;
use std::path::{Path, PathBuf};

use crate::format::Malformed;
use crate::format::rpmdb::{EachPackage, sqlite};
use crate::tree::Tree;

/// The directories that hold a database, the live ones first. A symbolic link to one of them is
/// not looked through: the directory is met under its own name.
pub(super) const PLACES: [&str; 4] =
    ["usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm", "usr/lib/sysimage/rpm-ostree-base-db"];

/// How a database is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `rpmdb.sqlite`: rpm 4.16 and later, the default in Fedora and RHEL 9.
    Sqlite,
    /// `Packages.db` and `Index.db`: SUSE.
    Ndb,
    /// `Packages` and its indexes in Berkeley DB: EL8 and before, SLES 12.
    Bdb,
}

impl Backend {
    /// All of them.
    pub const ALL: [Backend; 3] = [Backend::Sqlite, Backend::Ndb, Backend::Bdb];

    /// The file that holds the packages.
    pub const fn file(self) -> &'static str {
        match self {
            Backend::Sqlite => "rpmdb.sqlite",
            Backend::Ndb => "Packages.db",
            Backend::Bdb => "Packages",
        }
    }
}

/// One database's files, whole, in memory.
#[derive(Clone, Debug)]
pub struct Database {
    /// How it is stored.
    pub backend: Backend,
    /// The directory it is in, below the root.
    pub dir: PathBuf,
    /// The file of packages.
    pub main: Vec<u8>,
    /// `-wal` (sqlite only); empty if there is none.
    pub wal: Vec<u8>,
    /// `-journal` (sqlite only); empty if there is none.
    pub journal: Vec<u8>,
}

impl Database {
    /// The first database in directory `dir` of `tree`, or `None`.
    pub fn in_dir(tree: &dyn Tree, dir: &Path) -> io::Result<Option<Self>> {
        for backend in Backend::ALL {
            let Some(main) = tree.read(&dir.join(backend.file()))? else { continue };
            let beside = |suffix: &str| -> io::Result<Vec<u8>> {
                let name = format!("{}{suffix}", backend.file());
                let sqlite = backend == Backend::Sqlite;
                Ok(if sqlite {
                    tree.read(&dir.join(name))?.unwrap_or_default()
                } else {
                    Vec::new()
                })
            };
            let (wal, journal) = (beside("-wal")?, beside("-journal")?);
            return Ok(Some(Database { backend, dir: dir.to_owned(), main, wal, journal }));
        }
        Ok(None)
    }

    /// The database of `tree` that `rpm` would use: the first of the usual places that holds one.
    pub fn of_tree(tree: &dyn Tree) -> io::Result<Option<Self>> {
        for place in PLACES {
            if let Some(found) = Self::in_dir(tree, Path::new(place))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Calls `each` with the hnum and the header blob of every package, one at a time.
    ///
    /// Fails on a database that cannot be read, or as `each` does.
    pub fn packages(&self, each: &mut EachPackage<'_>) -> Result<(), Malformed> {
        match self.backend {
            Backend::Sqlite => sqlite::packages(&self.files(), each),
            Backend::Ndb => Err(Malformed::at(0u64, "ndb databases cannot be read yet")),
            Backend::Bdb => Err(Malformed::at(0u64, "bdb databases cannot be read yet")),
        }
    }

    fn files(&self) -> sqlite::Files<'_> {
        sqlite::Files { db: &self.main, wal: &self.wal, journal: &self.journal }
    }
}
