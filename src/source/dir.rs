//! A directory on disk as a tree, read-only and confined to its root.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::merkle::{At, Leaf, Merkle};
use crate::format::ostree::{Attrs, Checksum, Dirtree, Root};
use crate::tree::digest::{self, Digested};
use crate::tree::{Entry, Inode, Kind, Time, Tree};

/// The root of a directory tree, held open.
///
/// Every path is resolved by the kernel below the root and through no symbolic link
/// (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), or one component at a time where
/// that call is missing.
#[derive(Debug)]
pub struct DirTree {
    root: OwnedFd,
}

/// Bytes of a file read at a time.
const PIECE: usize = 1 << 18;
/// What the kernel allows for a list of xattr names, and for a value (`xattr(7)`).
const XATTR_MAX: usize = 1 << 16;

impl DirTree {
    /// Opens the directory `path`, which may itself be reached through symbolic links.
    ///
    /// Fails if it is missing or no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty())?;
        Ok(DirTree { root })
    }

    /// Opens `path` below the root; `None` if nothing is there or a link is in the way.
    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
        match confined(self.root.as_fd(), path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Opens a regular file for reading.
    fn open_file(&self, path: &Path) -> io::Result<Option<(File, u64)>> {
        // Without O_NONBLOCK a FIFO put there meanwhile would hang the run.
        let Some(fd) = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)? else {
            return Ok(None);
        };
        let stat = fs::fstat(&fd)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok((Kind::of_mode(stat.st_mode) == Kind::File).then(|| (File::from(fd), size)))
    }
}

/// `openat2`, retried while renames race with it; by components where the kernel or a sandbox's
/// filter lacks it.
fn confined(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return by_component(root, path, flags),
            other => return other,
        }
    }
}

fn by_component(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut dir = root.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => ".".as_ref(),
            _ => return Err(Errno::XDEV),
        };
        if components.peek().is_none() {
            return fs::openat(&dir, name, flags, Mode::empty());
        }
        dir = fs::openat(&dir, name, step, Mode::empty())?;
    }
    Err(Errno::NOENT)
}

impl Tree for DirTree {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let Some(fd) = self.open_at(path, OFlags::PATH)? else { return Ok(None) };
        Ok(Some(entry(path, &fs::fstat(&fd)?)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let Some(fd) = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for item in fs::Dir::new(fd)? {
            let name = item?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some((mut file, size)) = self.open_file(path)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(1 << 30));
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some((mut file, size)) = self.open_file(path)? else { return Ok(false) };
        let mut piece = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE)).max(1)];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(n) => sink(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let Some(fd) = self.open_at(path, OFlags::PATH)? else { return Ok(None) };
        if Kind::of_mode(fs::fstat(&fd)?.st_mode) != Kind::Symlink {
            return Ok(None);
        }
        let target = fs::readlinkat(&fd, "", Vec::new())?;
        Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes()))))
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(fd) = self.open_at(path, OFlags::PATH)? else { return Ok(Vec::new()) };
        // An O_PATH descriptor has no xattr calls of its own; its name in /proc leads to the very
        // inode, a symbolic link's too, without opening a FIFO or a device.
        let itself = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let names = match growing(|buf| fs::listxattr(&itself, buf)) {
            Ok(names) => names,
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut xattrs = Vec::new();
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let value =
                growing(|buf| fs::getxattr(&itself, std::ffi::OsStr::from_bytes(name), buf));
            match value {
                Ok(value) => xattrs.push((name.to_vec(), value)),
                Err(Errno::NODATA) => {}
                Err(e) => return Err(e.into()),
            }
        }
        xattrs.sort();
        Ok(xattrs)
    }
}

/// Calls `get` with a buffer that is large enough, however large that is.
fn growing(get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buf = vec![0; 256];
    loop {
        match get(&mut buf) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            Err(Errno::RANGE) if buf.len() < XATTR_MAX => buf.resize(buf.len() * 4, 0),
            Err(e) => return Err(e),
        }
    }
}

fn entry(path: &Path, stat: &Stat) -> Entry {
    Entry {
        path: path.to_path_buf(),
        kind: Kind::of_mode(stat.st_mode),
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: Some(Time {
            sec: stat.st_mtime,
            nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        }),
        inode: Some(Inode {
            dev: stat.st_dev,
            ino: stat.st_ino,
            nlink: stat.st_nlink,
            ctime: Time { sec: stat.st_ctime, nsec: 0 },
        }),
    }
}

/// A directory with every checksum computed: what `check` compares.
#[derive(Debug)]
pub struct DirSubject {
    tree: DirTree,
    digested: Digested,
}

impl DirSubject {
    /// Hashes the whole of `tree`, calling `done` after each file.
    ///
    /// Fails as [`digest::digest`] does.
    pub fn new(tree: DirTree, done: &(dyn Fn() + Sync)) -> io::Result<Self> {
        let digested = digest::digest(&tree, done)?;
        Ok(DirSubject { tree, digested })
    }
}

impl Merkle for DirSubject {
    fn root(&self) -> Root {
        self.digested.root
    }

    fn children(&self, at: At<'_>) -> io::Result<Dirtree> {
        self.digested.dirs.get(at.path).cloned().ok_or_else(|| gone(at.path))
    }

    fn dirmeta(&self, at: At<'_>) -> io::Result<Attrs> {
        let entry = self.tree.lookup(at.path)?.ok_or_else(|| gone(at.path))?;
        let attrs = digest::attrs(&self.tree, &entry)?;
        unchanged(at, Checksum::of(&attrs.encode_dirmeta()))?;
        Ok(attrs)
    }

    fn leaf(&self, at: At<'_>) -> io::Result<Leaf> {
        let entry = self.tree.lookup(at.path)?.ok_or_else(|| gone(at.path))?;
        let attrs = digest::attrs(&self.tree, &entry)?;
        let target = self.tree.readlink(at.path)?;
        Ok(Leaf { attrs, target, size: entry.size })
    }

    fn content(&self, at: At<'_>) -> io::Result<Vec<u8>> {
        self.tree.read(at.path)?.ok_or_else(|| gone(at.path))
    }

    fn tree(&self) -> &dyn Tree {
        &self.tree
    }
}

fn unchanged(at: At<'_>, now: Checksum) -> io::Result<()> {
    if now == *at.object { Ok(()) } else { Err(gone(at.path)) }
}

fn gone(path: &Path) -> io::Error {
    let what = "it changed while it was compared; compare a tree that nothing writes to";
    digest::at(path, io::Error::other(what))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_path_leads_out_of_the_root() {
        let outer = tempfile::tempdir().expect("makes");
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("d")).expect("makes");
        std::fs::write(outer.path().join("secret"), "s").expect("writes");
        std::fs::write(root.join("d/f"), "f").expect("writes");
        symlink("..", root.join("up")).expect("links");
        symlink("d", root.join("inside")).expect("links");
        symlink(outer.path().join("secret"), root.join("file")).expect("links");
        let tree = DirTree::open(&root).expect("opens");
        for path in ["up/secret", "inside/f", "file"] {
            assert_eq!(tree.read(Path::new(path)).expect("no error"), None, "{path}");
        }
        assert!(tree.read(Path::new("../secret")).is_err());
        assert_eq!(tree.list(Path::new("up")).expect("no error"), Vec::<OsString>::new());
        assert_eq!(tree.read(Path::new("d/f")).expect("reads").as_deref(), Some(&b"f"[..]));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let by = |p: &str| by_component(tree.root.as_fd(), Path::new(p), flags);
        assert!(by("d/f").is_ok());
        for path in ["up/secret", "inside/f", "file", "../secret", "/etc/passwd", "d/../../secret"]
        {
            assert!(by(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_links_own_target_and_xattrs_are_read() {
        let root = tempfile::tempdir().expect("makes");
        symlink("nowhere", root.path().join("l")).expect("links");
        let tree = DirTree::open(root.path()).expect("opens");
        let link = Path::new("l");
        assert_eq!(tree.readlink(link).expect("reads"), Some("nowhere".into()));
        assert_eq!(tree.xattrs(link).expect("reads"), []);
        let name = root.path().join("l");
        if fs::lsetxattr(&name, "trusted.t", b"v", fs::XattrFlags::empty()).is_err() {
            eprintln!("not run: trusted xattrs need root");
            return;
        }
        assert_eq!(tree.xattrs(link).expect("reads"), [(b"trusted.t".to_vec(), b"v".to_vec())]);
    }

    #[test]
    fn large_xattrs_are_read_whole() {
        let root = tempfile::tempdir().expect("makes");
        let file = root.path().join("f");
        std::fs::write(&file, "").expect("writes");
        let value = vec![b'v'; 3000];
        if fs::setxattr(&file, "user.large", &value, fs::XattrFlags::empty()).is_err() {
            eprintln!("not run: this file system has no user xattrs");
            return;
        }
        let tree = DirTree::open(root.path()).expect("opens");
        let read = tree.xattrs(Path::new("f")).expect("reads");
        assert_eq!(read, [(b"user.large".to_vec(), value)]);
    }

    #[test]
    fn a_fifo_does_not_hang_and_is_no_file() {
        let root = tempfile::tempdir().expect("makes");
        let mode = Mode::from_raw_mode(0o600);
        let kind = fs::FileType::Fifo;
        fs::mknodat(fs::CWD, root.path().join("p"), kind, mode, 0).expect("makes");
        let tree = DirTree::open(root.path()).expect("opens");
        assert_eq!(tree.read(Path::new("p")).expect("reads"), None);
        let error = digest::digest(&tree, &|| ()).expect_err("cannot be committed");
        assert!(error.to_string().starts_with("/p: a FIFO"), "{error}");
    }
}
