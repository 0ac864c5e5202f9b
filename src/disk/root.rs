//! A directory whose content we do not trust, and the only way to reach into it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::read_xattrs;
use crate::tree::{Entry, Inode, Kind, Seekable, Time, Tree};

/// Bytes read at a time where a file is not wanted whole.
const STREAM_PIECE: usize = 64 << 10;

/// An open root directory. Paths given to its methods are relative to it; one that holds `..`, is
/// absolute or leads through a symbolic link does not resolve.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory at `path`, whose own symbolic links are followed: the caller named it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Root { fd, path })
    }

    /// Where the root is, for messages and for `walkdir`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's own descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens `path` without following any symbolic link. The empty path is the root.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = confined(path)?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
            // Old kernels and old seccomp profiles have no openat2.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_components(path, flags),
            other => Ok(other?),
        }
    }

    fn open_by_components(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = self.fd.try_clone()?;
        let mut rest = path.components().peekable();
        while let Some(part) = rest.next() {
            let flags = if rest.peek().is_some() { dir } else { flags };
            at = rustix::fs::openat(&at, part.as_os_str(), flags, Mode::empty())?;
        }
        Ok(at)
    }

    /// Opens the directory at `path` for changes of many names in it.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        Ok(Folder(self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?))
    }

    /// Opens the directory that holds `path` and gives the last component.
    pub fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = confined(path)?.file_name().ok_or(Errno::INVAL)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Ok((self.open_at(dir, OFlags::RDONLY | OFlags::DIRECTORY)?, name))
    }

    /// `lstat`, or `None` where nothing stands (or a component is not a directory).
    pub fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        if path.as_os_str().is_empty() {
            return Ok(Some(rustix::fs::fstat(&self.fd)?));
        }
        let found = self
            .parent(path)
            .and_then(|(dir, name)| Ok(rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?));
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens the regular file at `path` for reading; `None` if something else or nothing is there.
    pub fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        Ok(self.look_and_open(path)?.map(|(file, _)| file))
    }

    /// A FIFO would block and a device may act on open: look first, look again after.
    fn look_and_open(&self, path: &Path) -> io::Result<Option<(File, Stat)>> {
        match self.stat(path)?.map(|s| Kind::of_mode(s.st_mode)) {
            Some(Kind::File) => self.open_regular(path),
            _ => Ok(None),
        }
    }

    /// Opens what somebody has seen to be a regular file; `None` if it is none any more.
    fn open_regular(&self, path: &Path) -> io::Result<Option<(File, Stat)>> {
        let file = File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        let stat = rustix::fs::fstat(&file)?;
        Ok((Kind::of_mode(stat.st_mode) == Kind::File).then_some((file, stat)))
    }

    /// Removes a name; a directory only when it is empty.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = match Kind::of_mode(stat.st_mode) {
            Kind::Dir => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        Ok(rustix::fs::unlinkat(&dir, name, flags)?)
    }

    /// Sets the modification time of whatever stands at `path`, a symbolic link itself included.
    pub fn set_mtime(&self, path: &Path, mtime: Time) -> io::Result<()> {
        let times = mtime_only(mtime);
        if path.as_os_str().is_empty() {
            return Ok(rustix::fs::futimens(&self.fd, &times)?);
        }
        let (dir, name) = self.parent(path)?;
        Folder(dir).set_mtime(name, mtime)
    }

    /// Sets the permission bits of the file or directory at `path`; a symbolic link has none.
    pub fn set_mode(&self, path: &Path, bits: u32) -> io::Result<()> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok(rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(bits & 0o7777))?)
    }

    /// Takes these extended attributes away from whatever stands at `path`, a symbolic link itself
    /// included. One that is not there is no error.
    pub fn remove_xattrs(&self, path: &Path, names: &[Vec<u8>]) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let Some(stat) = self.stat(path)? else { return Ok(()) };
        let fd = match Kind::of_mode(stat.st_mode) {
            Kind::Symlink => None,
            _ => Some(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?),
        };
        for name in names {
            let name = std::ffi::CString::new(name.as_slice())?;
            let removed = match &fd {
                Some(fd) => rustix::fs::fremovexattr(fd, name.as_c_str()),
                None => {
                    // As for reading: only a path names a link, and it goes through its parent.
                    let (dir, last) = self.parent(path)?;
                    let at = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
                    rustix::fs::lremovexattr(at.join(last), name.as_c_str())
                }
            };
            match removed {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Makes `new` another name of the inode at `old`, replacing what stood at `new`.
    pub fn link(&self, old: &Path, new: &Path) -> io::Result<()> {
        let (old_dir, old_name) = self.parent(old)?;
        let (new_dir, new_name) = self.parent(new)?;
        let ready = super::recover::ready_name(new_name);
        match rustix::fs::unlinkat(&new_dir, &ready, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        rustix::fs::linkat(&old_dir, old_name, &new_dir, &ready, AtFlags::empty())?;
        rustix::fs::renameat(&new_dir, &ready, &new_dir, new_name)?;
        // rename(2) does nothing when both names are one inode already.
        match rustix::fs::unlinkat(&new_dir, &ready, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The entry for `path` from its `lstat`.
    pub(crate) fn entry(path: &Path, stat: &Stat) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::of_mode(stat.st_mode),
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Some(mtime_of(stat)),
            inode: Some(Inode {
                dev: stat.st_dev,
                ino: stat.st_ino,
                nlink: stat.st_nlink as _,
                ctime: Time { sec: stat.st_ctime, nsec: stat.st_ctime_nsec as u32 },
            }),
        }
    }
}

/// An open directory below a [`Root`]; names are single components.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Removes a name that is no directory.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Sets the modification time of whatever is called so, a symbolic link itself included.
    pub fn set_mtime(&self, name: &OsStr, mtime: Time) -> io::Result<()> {
        let times = mtime_only(mtime);
        Ok(rustix::fs::utimensat(&self.0, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl Tree for Root {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self.stat(path)?.map(|stat| Root::entry(path, &stat)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let dir = match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(e) if is_absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.look_and_open(path)?.map(read_whole).transpose()
    }

    fn read_known(&self, entry: &Entry) -> io::Result<Option<Vec<u8>>> {
        match self.open_regular(&entry.path) {
            Ok(found) => found.map(read_whole).transpose(),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable>>> {
        Ok(self.open_file(path)?.map(|file| Box::new(file) as Box<dyn Seekable>))
    }

    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some(mut file) = self.open_file(path)? else { return Ok(false) };
        let mut piece = vec![0; STREAM_PIECE];
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
        let target =
            self.parent(path).and_then(|(dir, name)| Ok(rustix::fs::readlinkat(&dir, name, [])?));
        match target {
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
            Err(e) if is_absent(&e) || e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(stat) = self.stat(path)? else { return Ok(Vec::new()) };
        let list = match Kind::of_mode(stat.st_mode) {
            Kind::File | Kind::Dir => {
                read_xattrs(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)?.as_fd())?
            }
            Kind::Symlink => self.symlink_xattrs(path)?,
            Kind::Other => Vec::new(),
        };
        Ok(list.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect())
    }
}

impl Root {
    /// A symbolic link cannot be opened for reading; only a path names it. The path goes through
    /// the parent's descriptor, so that no other component can be a link.
    fn symlink_xattrs(&self, path: &Path) -> io::Result<Vec<(std::ffi::CString, Vec<u8>)>> {
        use rustix::fs::{lgetxattr, lgetxattr_query, llistxattr, llistxattr_query};
        use std::os::fd::AsRawFd;
        let (dir, name) = self.parent(path)?;
        let at = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        let size = match llistxattr_query(&at) {
            Ok(size) => size,
            // Without /proc (an empty root) nothing can be asked; links rarely have attributes.
            Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        let mut names = vec![0; size];
        let len = if size == 0 { 0 } else { llistxattr(&at, &mut names[..])? };
        let mut list = Vec::new();
        for name in names[..len].split_inclusive(|&b| b == 0) {
            let name = std::ffi::CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
            let mut value = vec![0; lgetxattr_query(&at, name)?];
            let len = if value.is_empty() { 0 } else { lgetxattr(&at, name, &mut value[..])? };
            value.truncate(len);
            list.push((name.to_owned(), value));
        }
        list.sort();
        Ok(list)
    }
}

/// All of a file. Its size is known, so that this is one allocation and two reads.
fn read_whole((file, stat): (File, Stat)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        // A sparse file may claim more than there is memory: an error, not the end of the process.
        let left = usize::try_from(stat.st_size).unwrap_or(0).saturating_sub(bytes.len());
        bytes.try_reserve_exact(left.max(32)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let read = || rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes));
        if rustix::io::retry_on_intr(read)? == 0 {
            return Ok(bytes);
        }
    }
}

/// A path that stays below its root by its text alone; the empty path becomes `.`.
fn confined(path: &Path) -> io::Result<&Path> {
    if path.as_os_str().is_empty() {
        return Ok(Path::new("."));
    }
    match path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        true => Ok(path),
        false => Err(Errno::XDEV.into()),
    }
}

/// Errors that mean "no such thing in this tree": missing, below a non-directory, behind a
/// symbolic link, or outside the root.
pub(crate) fn is_absent(e: &io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV];
    absent.iter().any(|x| e.raw_os_error() == Some(x.raw_os_error()))
}

pub(super) fn mtime_of(stat: &Stat) -> Time {
    Time { sec: stat.st_mtime, nsec: stat.st_mtime_nsec as u32 }
}

pub(super) fn mtime_only(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.sec, tv_nsec: mtime.nsec.into() },
    }
}
