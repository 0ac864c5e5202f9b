//! A directory whose content is not trusted, and the only way to access it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::{mount, read_xattrs};
use crate::env;
use crate::tree::{Entry, Inode, Kind, Seekable, Time, Tree, WHOLE_MAX};

/// What rpm-ostree's sandbox mounts in its root.
const PARTS: [&str; 3] = ["usr", "etc", "var"];

/// An open root directory. Paths given to its methods are relative to it; a path that contains
/// `..`, is absolute, or leads through a symbolic link or into a mount below the root does not
/// resolve. The only mounts that belong to it are the parts that a compose's sandbox mounts in its
/// own `/`.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    parts: Vec<(&'static Path, OwnedFd)>,
    mounted: OnceLock<Vec<PathBuf>>,
}

impl Root {
    /// Opens the directory at `path`, whose own symbolic links are followed: the caller named it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        let mut root = Root { fd, path, parts: Vec::new(), mounted: OnceLock::new() };
        if env::is_own_root(&root.path) {
            root.parts = root.mounted_parts()?;
        }
        Ok(root)
    }

    fn mounted_parts(&self) -> io::Result<Vec<(&'static Path, OwnedFd)>> {
        let mut parts = Vec::new();
        for name in PARTS {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(e) => return Err(e.into()),
            };
            if mount::of(fd.as_fd())? != mount::of(self.fd.as_fd())? {
                parts.push((Path::new(name), fd));
            }
        }
        Ok(parts)
    }

    /// Where the root is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's own descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The mounts below the root that still belong to it.
    pub fn parts(&self) -> impl Iterator<Item = (&'static Path, BorrowedFd<'_>)> {
        self.parts.iter().map(|(path, fd)| (*path, fd.as_fd()))
    }

    /// The descriptor from which a path resolves without leaving a mount, and the remaining path.
    fn start<'p>(&self, path: &'p Path) -> (&OwnedFd, &'p Path) {
        let part = self.parts.iter().find_map(|(at, fd)| Some((fd, path.strip_prefix(at).ok()?)));
        part.unwrap_or((&self.fd, path))
    }

    /// Opens `path` without following any symbolic link. The empty path is the root.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let (start, path) = self.start(path);
        let path = confined(path)?;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match rustix::fs::openat2(start, path, flags, Mode::empty(), resolve) {
            // Old kernels and old seccomp profiles have no openat2.
            Err(Errno::NOSYS | Errno::PERM) => open_by_components(start, path, flags),
            other => Ok(other?),
        }
    }

    /// Locks the root against other runs until it is dropped: exclusively with `alone`, for a run
    /// that changes it, otherwise shared with other runs that only read. `false` if another run's
    /// lock prevents it.
    ///
    /// On a file system without locks it does nothing.
    pub fn lock(&self, alone: bool) -> io::Result<bool> {
        use rustix::fs::FlockOperation::{NonBlockingLockExclusive, NonBlockingLockShared};
        let how = if alone { NonBlockingLockExclusive } else { NonBlockingLockShared };
        match rustix::fs::flock(&self.fd, how) {
            Ok(()) | Err(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether a write to a file in the directory of `path` may give the written name a new inode,
    /// as overlayfs and FUSE do.
    pub fn copies_up(&self, path: &Path) -> io::Result<bool> {
        mount::copies_up(self.parent(path)?.0.as_fd())
    }

    /// Opens the directory at `path` for changes of many names in it.
    pub fn folder(&self, path: &Path) -> io::Result<Folder> {
        Ok(Folder(self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?))
    }

    /// Opens the directory that contains `path` and returns it with the last component.
    pub fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = confined(path)?.file_name().ok_or(Errno::INVAL)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Ok((self.open_at(dir, OFlags::RDONLY | OFlags::DIRECTORY)?, name))
    }

    /// `lstat` of `path`; `None` if nothing is there, a component is not a directory, or something
    /// is mounted there.
    pub fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.open_at(path, OFlags::PATH) {
            Ok(fd) => Ok(Some(rustix::fs::fstat(&fd)?)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens the regular file at `path` for reading; `None` if something else or nothing is there.
    pub fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        Ok(self.look_and_open(path)?.map(|(file, _)| file))
    }

    /// Opens what is a regular file both before and after opening: a FIFO would block, and a device
    /// may act on being opened.
    fn look_and_open(&self, path: &Path) -> io::Result<Option<(File, Stat)>> {
        match self.stat(path)?.map(|s| Kind::of_mode(s.st_mode)) {
            Some(Kind::File) => self.open_regular(path),
            _ => Ok(None),
        }
    }

    /// Opens what was seen to be a regular file; `None` if it no longer is one.
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

    /// Sets the modification time of whatever is at `path`; of a symbolic link, its own.
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

    /// Removes these extended attributes from whatever is at `path`; from a symbolic link, its own.
    /// A missing attribute is not an error.
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
                    // As for reading, a link can only be named by a path, which starts at its
                    // parent.
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

    /// Makes `new` another name of the inode at `old`, replacing what was at `new`.
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
                nlink: links(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX)),
                ctime: Time { sec: stat.st_ctime, nsec: stat.st_ctime_nsec as u32 },
            }),
        }
    }
}

/// An open directory below a [`Root`]; names are single components.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Removes a name that is not a directory.
    pub fn unlink(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Sets the modification time of whatever has this name; of a symbolic link, its own.
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
        let mounted = self.mounted();
        if !mounted.is_empty() {
            names.retain(|name| !mounted.contains(&path.join(name)));
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

    fn device(&self, path: &Path) -> io::Result<Option<u32>> {
        let device = |stat: Stat| match stat.st_mode & 0o170_000 {
            0o020_000 | 0o060_000 => {
                let (major, minor) =
                    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                // The kernel's `new_encode_dev`.
                Some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
            }
            _ => None,
        };
        Ok(self.stat(path)?.and_then(device))
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
    /// The mounts below the root that are not part of it.
    pub(super) fn mounted(&self) -> &[PathBuf] {
        self.mounted.get_or_init(|| {
            let below = env::mounts_below(&self.path).into_iter();
            let below = below.filter_map(|at| Some(at.strip_prefix(&self.path).ok()?.to_owned()));
            below.filter(|at| !self.parts.iter().any(|(part, _)| part == at)).collect()
        })
    }

    /// The attributes of a symbolic link, which cannot be opened for reading. Its path goes through
    /// the parent's descriptor, so that no other component can be a link.
    fn symlink_xattrs(&self, path: &Path) -> io::Result<Vec<(std::ffi::CString, Vec<u8>)>> {
        use rustix::fs::{lgetxattr, lgetxattr_query, llistxattr, llistxattr_query};
        use std::os::fd::AsRawFd;
        let (dir, name) = self.parent(path)?;
        let at = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        let size = match llistxattr_query(&at) {
            Ok(size) => size,
            // Without /proc (an empty root) the kernel cannot be asked; links rarely have
            // attributes.
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

fn open_by_components(start: &OwnedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let dir = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let here = mount::of(start.as_fd())?;
    let mut at = start.try_clone()?;
    let mut rest = path.components().peekable();
    while let Some(part) = rest.next() {
        let flags = if rest.peek().is_some() { dir } else { flags };
        at = rustix::fs::openat(&at, part.as_os_str(), flags, Mode::empty())?;
        if mount::of(at.as_fd())? != here {
            return Err(Errno::XDEV.into());
        }
    }
    Ok(at)
}

/// Reads a whole file with one allocation and two reads, since its size is known.
fn read_whole((file, stat): (File, Stat)) -> io::Result<Vec<u8>> {
    if u64::try_from(stat.st_size).is_ok_and(|size| size > WHOLE_MAX) {
        let why = "it is larger than 2 GiB and was not read";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    let mut bytes = Vec::new();
    loop {
        // A sparse file may claim more than there is memory: that must be an error, not abort the
        // process.
        let left = usize::try_from(stat.st_size).unwrap_or(0).saturating_sub(bytes.len());
        bytes.try_reserve_exact(left.max(32)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let read = || rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes));
        if rustix::io::retry_on_intr(read)? == 0 {
            return Ok(bytes);
        }
    }
}

/// Checks that the text of a path does not leave its root; the empty path becomes `.`.
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

/// The number of links as an entry has it: an open file may have none, one that was found has one.
pub(super) fn links(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
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
