//! Two directories side by side: where they differ is found without hashing either.
//!
//! What is one inode is the same; sizes, owners, modes and attributes come before bytes, and bytes
//! are compared as they are read. Only what differs is hashed, so that both come out as trees of
//! nothing but their differences.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rayon::Scope;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use super::{dir::Directory, hashed::Hashed};
use crate::disk::read_xattrs;
use crate::tree::digest::{self, PathBudget, at};
use crate::tree::{Tree as _, order};

/// Bytes of each side that are compared at once.
const PIECE: usize = 128 << 10;

/// A path at which the directories differ.
struct Found {
    path: PathBuf,
    /// With all that is below it: one side has it alone, or as something of another kind.
    whole: bool,
}

/// Both directories as trees of the paths at which they differ, with the directories above these.
///
/// # Errors
///
/// Where one cannot be read, as [`PathBudget::add`] does, and on what ostree does not store.
pub(super) fn differing(
    a: Directory,
    b: Directory,
    done: &(dyn Fn() + Sync),
) -> io::Result<[Hashed<Directory>; 2]> {
    let sides = [a, b];
    let walk = Walk { sides: &sides, done, state: Mutex::default() };
    rayon::scope(|scope| walk.begin(scope));
    let state = walk.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, error)) = state.error {
        return Err(error);
    }
    let mut found = state.found;
    found.sort_by(|x, y| order(&x.path, &y.path));
    let [a, b] = sides;
    Ok([part(a, &found)?, part(b, &found)?])
}

/// What `own` has at the paths `found` (sorted) and the directories above them.
fn part(own: Directory, found: &[Found]) -> io::Result<Hashed<Directory>> {
    let mut entries = Vec::new();
    let mut last: Option<&Path> = None;
    for Found { path, whole } in found {
        let known = |dir: &&Path| last.is_none_or(|last| !last.starts_with(dir));
        let above: Vec<&Path> = path.ancestors().skip(1).filter(known).collect();
        for dir in above.into_iter().rev() {
            let entry = own.lookup(dir).map_err(|e| at(dir, e))?;
            entries.extend(entry.map(|entry| (entry, false)));
        }
        last = Some(path);
        match whole {
            true => {
                let below = digest::walk_from(&own, path)?;
                entries.extend(below.into_iter().map(|entry| (entry, true)));
            }
            false => {
                let entry = own.lookup(path).map_err(|e| at(path, e))?;
                entries.extend(entry.map(|entry| (entry, true)));
            }
        }
    }
    if found.is_empty() {
        entries.extend(own.lookup(Path::new(""))?.map(|root| (root, false)));
    }
    let mut paths = PathBudget::default();
    entries.iter().try_for_each(|(entry, _)| paths.add(&entry.path))?;
    let digested = digest::of_part(&own, &entries)?;
    Ok(Hashed::of_part(own, digested))
}

#[derive(Default)]
struct State {
    found: Vec<Found>,
    paths: PathBudget,
    /// The first in the order of paths, whatever the threads.
    error: Option<(PathBuf, io::Error)>,
}

struct Walk<'w> {
    sides: &'w [Directory; 2],
    done: &'w (dyn Fn() + Sync),
    state: Mutex<State>,
}

/// A name in a directory and what the directory says it is.
type Name = (OsString, FileType);

impl<'w> Walk<'w> {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn begin<'s>(&'s self, scope: &Scope<'s>) {
        self.directory(scope, PathBuf::new());
    }

    /// Compares two directories, and hands what is in them to whoever has time.
    fn directory<'s>(&'s self, scope: &Scope<'s>, path: PathBuf) {
        if let Err((path, error)) = self.compare(scope, &path) {
            let mut state = self.state();
            let first = state.error.as_ref();
            if first.is_none_or(|(other, _)| order(&path, other) == Ordering::Less) {
                let error = at(&path, error);
                state.error = Some((path, error));
            }
        }
    }

    fn compare<'s>(&'s self, scope: &Scope<'s>, path: &Path) -> Result<(), (PathBuf, io::Error)> {
        let here = |e: io::Error| (path.to_owned(), e);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let [a, b] = self.sides.each_ref().map(|own| own.root().open_at(path, flags));
        let (a, b) = (a.map_err(here)?, b.map_err(here)?);
        let mut found = Vec::new();
        if self.differ(&a, &b).map_err(here)? {
            found.push(Found { path: path.to_owned(), whole: false });
        }
        let names = |own: &Directory, fd: &OwnedFd| names(own, fd, path).map_err(here);
        let (x, y) = (names(&self.sides[0], &a)?, names(&self.sides[1], &b)?);
        for (name, sides) in merged(&x, &y) {
            let below = path.join(name);
            self.state().paths.add(&below).map_err(|e| (below.clone(), e))?;
            let whole = match sides {
                [Some(x), Some(y)] => {
                    let named = |e: io::Error| (below.clone(), e);
                    let x = kind(&a, name, x).map_err(named)?;
                    let y = kind(&b, name, y).map_err(named)?;
                    match (x, y) {
                        (FileType::Directory, FileType::Directory) => {
                            scope.spawn(move |scope| self.directory(scope, below));
                            continue;
                        }
                        (x, y) if x != y => Some(true),
                        (FileType::RegularFile, _) => {
                            let differ = self.files(&a, &b, name).map_err(named)?;
                            differ.then_some(false)
                        }
                        (FileType::Symlink, _) => {
                            self.links(&a, &b, &below).map_err(named)?.then_some(false)
                        }
                        // What ostree does not store is an error when it is hashed.
                        _ => Some(true),
                    }
                }
                _ => Some(true),
            };
            (self.done)();
            found.extend(whole.map(|whole| Found { path: below, whole }));
        }
        self.state().found.append(&mut found);
        Ok(())
    }

    /// Whether owner, mode or attributes of two open files or directories differ.
    fn differ(&self, a: &OwnedFd, b: &OwnedFd) -> io::Result<bool> {
        Ok(attrs(&fstat(a)?) != attrs(&fstat(b)?)
            || read_xattrs(a.as_fd())? != read_xattrs(b.as_fd())?)
    }

    /// Whether two regular files differ.
    fn files(&self, a: &OwnedFd, b: &OwnedFd, name: &OsStr) -> io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |dir: &OwnedFd| openat(dir, name, flags, Mode::empty());
        let (x, y) = (open(a)?, open(b)?);
        let (p, q) = (fstat(&x)?, fstat(&y)?);
        if (p.st_dev, p.st_ino) == (q.st_dev, q.st_ino) {
            return Ok(false);
        }
        if p.st_size != q.st_size || attrs(&p) != attrs(&q) {
            return Ok(true);
        }
        Ok(read_xattrs(x.as_fd())? != read_xattrs(y.as_fd())?
            || contents(File::from(x), File::from(y), p.st_size)?)
    }

    /// Whether two symbolic links differ.
    fn links(&self, a: &OwnedFd, b: &OwnedFd, path: &Path) -> io::Result<bool> {
        let name = path.file_name().unwrap_or_default();
        let look = |dir: &OwnedFd| -> io::Result<(Stat, _)> {
            Ok((statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?, readlinkat(dir, name, [])?))
        };
        let ((p, x), (q, y)) = (look(a)?, look(b)?);
        if (p.st_dev, p.st_ino) == (q.st_dev, q.st_ino) {
            return Ok(false);
        }
        let [m, n] = self.sides.each_ref().map(|own| own.xattrs(path));
        Ok(attrs(&p) != attrs(&q) || x != y || m? != n?)
    }
}

fn attrs(stat: &Stat) -> (u32, u32, u32) {
    (stat.st_mode, stat.st_uid, stat.st_gid)
}

/// What is in an open directory, sorted bytewise, mount points left out.
fn names(own: &Directory, fd: &OwnedFd, path: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let name = OsString::from_vec(name.to_vec());
            if !own.is_mounted(path, &name) {
                names.push((name, entry.file_type()));
            }
        }
    }
    names.sort_by(|(x, _), (y, _)| x.as_bytes().cmp(y.as_bytes()));
    Ok(names)
}

/// Names of either side in order, with what each side says they are.
fn merged<'n>(
    mut a: &'n [Name],
    mut b: &'n [Name],
) -> impl Iterator<Item = (&'n OsStr, [Option<FileType>; 2])> {
    std::iter::from_fn(move || {
        let order = match (a.first(), b.first()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((x, _)), Some((y, _))) => x.as_bytes().cmp(y.as_bytes()),
        };
        let take = |side: &mut &'n [Name]| -> Option<&'n Name> {
            let (first, rest) = side.split_first()?;
            *side = rest;
            Some(first)
        };
        let x = if order == Ordering::Greater { None } else { take(&mut a) };
        let y = if order == Ordering::Less { None } else { take(&mut b) };
        let (name, _) = x.or(y)?;
        Some((&**name, [x.map(|(_, kind)| *kind), y.map(|(_, kind)| *kind)]))
    })
}

/// What a name is, which not every file system says in its directories.
fn kind(dir: &OwnedFd, name: &OsStr, said: FileType) -> io::Result<FileType> {
    match said {
        FileType::Unknown => {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode))
        }
        said => Ok(said),
    }
}

/// Whether two files of `size` bytes have other bytes.
fn contents(mut a: File, mut b: File, size: i64) -> io::Result<bool> {
    thread_local! {
        static PIECES: RefCell<[Vec<u8>; 2]> = RefCell::new([vec![0; PIECE], vec![0; PIECE]]);
    }
    PIECES.with_borrow_mut(|[x, y]| {
        let mut left = u64::try_from(size).unwrap_or(0);
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            a.read_exact(&mut x[..n]).map_err(shrunk)?;
            b.read_exact(&mut y[..n]).map_err(shrunk)?;
            if x[..n] != y[..n] {
                return Ok(true);
            }
            left -= n as u64;
        }
        Ok(false)
    })
}

fn shrunk(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other(
            "it changed while it was compared; compare a tree that nothing writes to",
        ),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Root;
    use crate::source::merkle::Merkle as _;

    #[test]
    fn what_is_equal_is_in_neither_tree() {
        let dir = tempfile::tempdir().expect("makes");
        let side = |name: &str, content: &str| {
            let root = dir.path().join(name);
            std::fs::create_dir_all(root.join("same/deep")).expect("makes");
            std::fs::create_dir_all(root.join("usr/lib")).expect("makes");
            std::fs::write(root.join("same/deep/f"), "x").expect("writes");
            std::fs::write(root.join("usr/lib/f"), content).expect("writes");
            Directory::new(Root::open(&root).expect("opens"))
        };
        let found = |x: &str, y: &str| {
            let [a, b] = differing(side("a", x), side("b", y), &|| ()).expect("compares");
            let names =
                |dir: &Hashed<Directory>| dir.paths().map(Path::to_owned).collect::<Vec<_>>();
            (a.root() == b.root(), names(&a), names(&b))
        };
        assert_eq!(found("one", "one"), (true, vec!["".into()], vec!["".into()]));
        let path: Vec<PathBuf> = ["", "usr", "usr/lib"].map(PathBuf::from).into();
        assert_eq!(found("one", "two"), (false, path.clone(), path));
    }
}
