//! Where rpm databases lie in a tree, and which files make one.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::format::Malformed;
use crate::format::rpmdb::{EachPackage, Logical, sqlite};
use crate::tree::{Entry, Kind, Tree};

/// The directories that hold a database, the live ones first. A symbolic link to one of them is
/// not looked through: the directory is met under its own name.
pub(super) const PLACES: [&str; 4] =
    ["usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm", "usr/lib/sysimage/rpm-ostree-base-db"];
/// What SQLite keeps beside a database.
pub(super) const SIDES: [&str; 3] = ["-wal", "-journal", "-shm"];
/// What `rpmdb --rebuilddb` leaves beside a database's directory when it is interrupted: the
/// directory's name, this, and a process number.
const LEFT_OVER: [&[u8]; 2] = [b"rebuilddb.", b"old."];

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

/// What a path is to this plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A database's file of packages.
    Main(Backend),
    /// SQLite's log, journal or shared memory.
    Side,
    /// Of a rebuild that was interrupted.
    LeftOver,
}

/// What `entry` is, judged from its name and kind.
pub(super) fn role(entry: &Entry) -> Option<Role> {
    let path = entry.path.as_os_str().as_bytes();
    // One place's name begins another's: what is no role below the first may be one below the next.
    PLACES.iter().find_map(|place| {
        let rest = path.strip_prefix(place.as_bytes())?;
        match rest.strip_prefix(b"/") {
            Some(name) if entry.kind == Kind::File => file_role(name),
            Some(_) => None,
            None => is_left_over(rest).then_some(Role::LeftOver),
        }
    })
}

fn file_role(name: &[u8]) -> Option<Role> {
    let main = Backend::ALL.into_iter().find(|backend| backend.file().as_bytes() == name);
    let side = || {
        let suffix = name.strip_prefix(Backend::Sqlite.file().as_bytes())?;
        SIDES.iter().any(|s| s.as_bytes() == suffix).then_some(Role::Side)
    };
    main.map(Role::Main).or_else(side)
}

/// Whether what follows a place's name makes it a left-over directory, or something in one.
fn is_left_over(rest: &[u8]) -> bool {
    let number = LEFT_OVER.iter().find_map(|kind| rest.strip_prefix(*kind));
    let number = number.and_then(|n| n.split(|&b| b == b'/').next());
    number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
}

/// `path` with `suffix` behind it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One database's files, whole, in memory.
#[derive(Clone, Debug)]
pub struct Database {
    /// How it is stored.
    pub backend: Backend,
    /// The path of the file of packages, below the root.
    pub path: PathBuf,
    /// The file of packages.
    pub main: Vec<u8>,
    /// `-wal` (sqlite only); empty if there is none.
    pub wal: Vec<u8>,
    /// `-journal` (sqlite only); empty if there is none.
    pub journal: Vec<u8>,
}

impl Database {
    /// The databases in directory `dir` of `tree`, at most one a backend.
    pub fn in_dir(tree: &dyn Tree, dir: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for backend in Backend::ALL {
            let path = dir.join(backend.file());
            let Some(main) = tree.read(&path)? else { continue };
            found.push(Self::with_sides(tree, backend, path, main)?);
        }
        Ok(found)
    }

    /// The database of `tree` that rpm would use: the first in the usual places.
    pub fn of_tree(tree: &dyn Tree) -> io::Result<Option<Self>> {
        for place in PLACES {
            if let Some(found) = Self::in_dir(tree, Path::new(place))?.into_iter().next() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A database of which the file of packages was read already.
    pub(super) fn with_sides(
        tree: &dyn Tree,
        backend: Backend,
        path: PathBuf,
        main: Vec<u8>,
    ) -> io::Result<Self> {
        let side = |suffix: &str| -> io::Result<Vec<u8>> {
            let read = backend == Backend::Sqlite;
            Ok(if read { tree.read(&beside(&path, suffix))? } else { None }.unwrap_or_default())
        };
        let (wal, journal) = (side("-wal")?, side("-journal")?);
        Ok(Database { backend, path, main, wal, journal })
    }

    /// Calls `each` with the hnum and the header blob of every package, one at a time.
    ///
    /// Fails on a database that cannot be read, or as `each` does.
    pub fn packages(&self, each: &mut EachPackage<'_>) -> Result<(), Malformed> {
        match self.backend {
            Backend::Sqlite => sqlite::packages(&self.files(), each),
            Backend::Ndb | Backend::Bdb => Err(not_yet(self.backend)),
        }
    }

    /// All packages and index rows. Fails on a database that cannot be read.
    pub fn logical(&self) -> Result<Logical<'_>, Malformed> {
        match self.backend {
            Backend::Sqlite => sqlite::read(&self.files()),
            Backend::Ndb | Backend::Bdb => Err(not_yet(self.backend)),
        }
    }

    pub(super) fn files(&self) -> sqlite::Files<'_> {
        sqlite::Files { db: &self.main, wal: &self.wal, journal: &self.journal }
    }
}

fn not_yet(backend: Backend) -> Malformed {
    Malformed::at(0, format!("{backend:?} databases cannot be read yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, kind: Kind) -> Option<Role> {
        role(&Entry {
            path: path.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: None,
            inode: None,
        })
    }

    #[test]
    fn databases_are_known_by_place_and_name() {
        for place in PLACES {
            let main = of(&format!("{place}/rpmdb.sqlite"), Kind::File);
            assert_eq!(main, Some(Role::Main(Backend::Sqlite)), "{place}");
        }
        assert_eq!(of("var/lib/rpm/Packages", Kind::File), Some(Role::Main(Backend::Bdb)));
        assert_eq!(of("var/lib/rpm/Packages.db", Kind::File), Some(Role::Main(Backend::Ndb)));
        assert_eq!(of("var/lib/rpm/rpmdb.sqlite-shm", Kind::File), Some(Role::Side));
        for other in ["var/lib/rpm/macros", "usr/share/rpm/sub/rpmdb.sqlite", "rpmdb.sqlite"] {
            assert_eq!(of(other, Kind::File), None, "{other}");
        }
        assert_eq!(of("var/lib/rpm/rpmdb.sqlite", Kind::Symlink), None);
    }

    #[test]
    fn interrupted_rebuilds_are_known_by_their_number() {
        for left in ["var/lib/rpmrebuilddb.17", "usr/lib/sysimage/rpmold.4/Packages"] {
            assert_eq!(of(left, Kind::Dir), Some(Role::LeftOver), "{left}");
        }
        for other in ["var/lib/rpmrebuilddb.", "var/lib/rpmold.1x", "var/lib/rpm-state"] {
            assert_eq!(of(other, Kind::Dir), None, "{other}");
        }
    }
}
