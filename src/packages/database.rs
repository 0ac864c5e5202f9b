//! Where rpm databases are in a tree, and which files belong to one.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::disk::{PrivateDir, Root};
use crate::format::rpmdb::{EachPackage, Logical, bdb, ndb, sqlite};
use crate::format::{Failure, Malformed};
use crate::tree::{Entry, Kind, Tree};

/// The directories that hold a database, the live ones first. A symbolic link to one of them is not
/// followed: the directory is found under its own name.
pub(crate) const PLACES: [&str; 4] =
    ["usr/share/rpm", "usr/lib/sysimage/rpm", "var/lib/rpm", "usr/lib/sysimage/rpm-ostree-base-db"];
/// Suffixes of the files that SQLite keeps beside a database.
pub(crate) const SIDES: [&str; 3] = ["-wal", "-journal", "-shm"];
/// What `rpmdb --rebuilddb` leaves beside a database's directory when it is interrupted: the
/// directory's name, this, and a process number.
const LEFT_OVER: [&[u8]; 2] = [b"rebuilddb.", b"old."];
/// The file beside `Packages.db`.
pub(crate) const NDB_INDEX: &str = "Index.db";
/// The files beside `Packages` that any rpm with Berkeley DB has made.
pub(crate) const BDB_INDEXES: [&str; 27] = [
    "Basenames",
    "Conflictname",
    "Depends",
    "Dirnames",
    "Enhancename",
    "Filedigests",
    "Filemd5s",
    "Filetriggername",
    "Group",
    "Installtid",
    "Name",
    "Obsoletename",
    "Providename",
    "Provideversion",
    "Pubkeys",
    "Recommendname",
    "Requirename",
    "Requirepeers",
    "Requireversion",
    "Sha1header",
    "Sigmd5",
    "Suggestname",
    "Supplementname",
    "Transfiletriggername",
    "Triggername",
    "Triggerpeers",
    "Versions",
];

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

    /// The name in reports and in rpm's configuration (`_db_backend`).
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Sqlite => "sqlite",
            Backend::Ndb => "ndb",
            Backend::Bdb => "bdb",
        }
    }

    /// The file with the packages.
    pub const fn file(self) -> &'static str {
        match self {
            Backend::Sqlite => "rpmdb.sqlite",
            Backend::Ndb => "Packages.db",
            Backend::Bdb => "Packages",
        }
    }

    /// The backend of a package file that begins like `bytes`.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'S', b'Q', b'L', b'i', b't', b'e', b' ', b'f', ..] => Some(Backend::Sqlite),
            [b'R', b'p', b'm', b'P', ..] | [b'P', b'm', b'p', b'R', ..] => Some(Backend::Ndb),
            _ => bdb::recognise(bytes).then_some(Backend::Bdb),
        }
    }
}

/// The role of a path in an rpm database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The directory of a database.
    Place,
    /// A database's package file.
    Main(Backend),
    /// An index of its packages, which is written together with them.
    Index(Backend),
    /// SQLite's log, journal or shared memory.
    Side,
    /// Left over from an interrupted rebuild.
    LeftOver,
}

/// The role of `entry`, judged by its name and kind.
pub(crate) fn role(entry: &Entry) -> Option<Role> {
    let path = entry.path.as_os_str().as_bytes();
    // One place's name is a prefix of another's: what has no role below the first may have one
    // below the next.
    PLACES.iter().find_map(|place| {
        let rest = path.strip_prefix(place.as_bytes())?;
        match rest.strip_prefix(b"/") {
            Some(name) if entry.kind == Kind::File => file_role(name),
            Some(_) => None,
            None if rest.is_empty() => (entry.kind == Kind::Dir).then_some(Role::Place),
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
    let index = || match std::str::from_utf8(name).ok()? {
        NDB_INDEX => Some(Role::Index(Backend::Ndb)),
        name => BDB_INDEXES.contains(&name).then_some(Role::Index(Backend::Bdb)),
    };
    main.map(Role::Main).or_else(side).or_else(index)
}

/// Whether `rest`, after a place's name, means a left-over directory or something in one.
fn is_left_over(rest: &[u8]) -> bool {
    let number = LEFT_OVER.iter().find_map(|kind| rest.strip_prefix(*kind));
    let number = number.and_then(|n| n.split(|&b| b == b'/').next());
    number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
}

/// `path` with `suffix` appended.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// All files of one database, in memory.
#[derive(Clone, Debug)]
pub struct Database {
    /// How it is stored.
    pub backend: Backend,
    /// The path of the package file, below the root.
    pub path: PathBuf,
    /// The package file.
    pub main: Vec<u8>,
    /// The files beside it that are part of it, by name: SQLite's log and journal, ndb's and
    /// Berkeley DB's indexes. Absent ones are not in it.
    pub sides: BTreeMap<String, Vec<u8>>,
}

impl Database {
    /// The databases in directory `dir` of `tree`, at most one per backend.
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

    /// The database at `path` of the host: a package file under any name (the files beside it count
    /// if it has its usual name), a directory with one, or the root of a tree.
    ///
    /// # Errors
    ///
    /// If there is no database; the error says what was tried.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let reading = || format!("reading {}", path.display());
        if path.is_dir() {
            let root = Root::open(path).with_context(reading)?;
            let here = Self::in_dir(&root, Path::new("")).with_context(reading)?;
            let found = match here.into_iter().next() {
                Some(found) => Some(found),
                None => Self::of_tree(&root).with_context(reading)?,
            };
            let tried = Backend::ALL.map(Backend::file).join(", ");
            return found.with_context(|| {
                let dir = path.display();
                format!("no rpm database in {dir}: tried {tried} in it and in {PLACES:?} below it")
            });
        }
        let name = path.file_name().with_context(|| format!("{}: no file", path.display()))?;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let root = Root::open(&dir.canonicalize().with_context(reading)?).with_context(reading)?;
        // The name itself may be a symbolic link, which a tree would not follow.
        let main = std::fs::read(path).with_context(reading)?;
        let backend = Backend::of_bytes(&main).with_context(|| {
            let what = "neither an SQLite, nor an ndb, nor a Berkeley DB file";
            format!("{} is {what}: name the package file of an rpm database", path.display())
        })?;
        Self::with_sides(&root, backend, name.into(), main).with_context(reading)
    }

    /// A database whose package file was read already.
    pub(crate) fn with_sides(
        tree: &dyn Tree,
        backend: Backend,
        path: PathBuf,
        main: Vec<u8>,
    ) -> io::Result<Self> {
        let sides = sides(tree, backend, &path)?;
        Ok(Database { backend, path, main, sides })
    }

    /// Calls `each` with the hnum and the header blob of every package, one at a time.
    ///
    /// # Errors
    ///
    /// If the database cannot be read, and those of `each`.
    pub fn packages(&self, each: &mut EachPackage<'_>) -> Result<(), Failure> {
        match self.backend {
            Backend::Sqlite => sqlite::packages(&self.files(), &PrivateDir, each),
            Backend::Ndb => {
                let packages = ndb::packages::read(&self.main)?.blobs;
                Ok(packages.into_iter().try_for_each(|(hnum, blob)| each(hnum, blob))?)
            }
            Backend::Bdb => {
                let packages = [(bdb::PACKAGES.to_owned(), &self.main[..])].into();
                let read = bdb::read(&packages).map_err(|e| in_file(&e.file, e.why))?;
                let mut packages = read.logical.packages.iter();
                Ok(packages.try_for_each(|p| each(p.hnum, &p.blob.whole()))?)
            }
        }
    }

    /// All packages and index rows; no rows of an ndb database whose index rpm would not trust.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub fn logical(&self) -> Result<Logical<'_>, Failure> {
        match self.backend {
            Backend::Sqlite => sqlite::read(&self.files(), &PrivateDir),
            Backend::Ndb => match ndb::read(&self.main, self.side(NDB_INDEX)) {
                Ok(contents) => Ok(contents.logical),
                Err(refused) => Err(in_file(refused.file, refused.why).into()),
            },
            Backend::Bdb => match bdb::read(&self.all(bdb::PACKAGES)) {
                Ok(contents) => Ok(contents.logical),
                Err(refused) => Err(in_file(&refused.file, refused.why).into()),
            },
        }
    }

    /// The file `name` beside it.
    pub(crate) fn side(&self, name: &str) -> Option<&[u8]> {
        self.sides.get(name).map(Vec::as_slice)
    }

    /// Every file by name, the package file as `main`.
    pub(crate) fn all(&self, main: &str) -> BTreeMap<String, &[u8]> {
        let sides = self.sides.iter().map(|(name, bytes)| (name.clone(), &bytes[..]));
        sides.chain([(main.to_owned(), &self.main[..])]).collect()
    }

    /// The files as SQLite sees them.
    pub(crate) fn files(&self) -> sqlite::Files<'_> {
        let side = |suffix| {
            let name = beside(Path::new(self.path.file_name().unwrap_or_default()), suffix);
            self.side(&name.to_string_lossy()).unwrap_or_default()
        };
        sqlite::Files { db: &self.main, wal: side("-wal"), journal: side("-journal") }
    }
}

/// The files of `tree` that belong to the database whose package file is at `path`, by name. A
/// package file with an unusual name has no others.
pub(crate) fn sides(
    tree: &dyn Tree,
    backend: Backend,
    path: &Path,
) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let own = path.file_name().unwrap_or_default().to_string_lossy();
    let names: Vec<String> = match backend {
        Backend::Sqlite => ["-wal", "-journal"].map(|side| format!("{own}{side}")).into(),
        _ if own != backend.file() => Vec::new(),
        Backend::Ndb => vec![NDB_INDEX.to_owned()],
        Backend::Bdb => BDB_INDEXES.map(str::to_owned).into(),
    };
    let mut sides = BTreeMap::new();
    for name in names {
        if let Some(bytes) = tree.read(&path.with_file_name(&name))? {
            sides.insert(name, bytes);
        }
    }
    Ok(sides)
}

/// Adds the file's name to an error about one of several files.
pub(crate) fn in_file(file: &str, why: Malformed) -> Malformed {
    Malformed { what: format!("{file}: {}", why.what), ..why }
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
