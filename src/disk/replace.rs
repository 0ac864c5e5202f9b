//! Gives a file new content, whatever links it has and whenever the process is killed.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::recover::{new_name, ready_name};
use super::root::{mtime_of, mtime_only};
use super::{Root, mount, read_xattrs, xattr};
use crate::tree::{Entry, Inode, Time};

/// Bytes written at a time.
const PIECE: usize = 64 << 10;

/// What a file looked like when it was read; only a file that still looks the same is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: Time,
    ctime: Time,
}

impl Stamp {
    /// The stamp of a file with this `stat`.
    pub fn of(stat: &Stat) -> Self {
        Stamp {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: mtime_of(stat),
            ctime: Time { sec: stat.st_ctime, nsec: stat.st_ctime_nsec as u32 },
        }
    }

    /// The stamp of a file as the walk saw it; `None` for an entry that is not of a file system.
    pub fn of_entry(entry: &Entry) -> Option<Self> {
        let (inode, mtime) = (entry.inode?, entry.mtime?);
        let Inode { dev, ino, ctime, .. } = inode;
        Some(Stamp { dev, ino, size: entry.size, mtime, ctime })
    }
}

/// Gives the file with the names `names` (all in the tree, all one inode) the content read from
/// `content`, in a new inode with the old one's owner, mode and extended attributes, and the
/// modification time `mtime`.
///
/// Returns `false` and changes nothing if the file no longer looks like `stamp`. If the process is
/// killed at any instant, every name has the old or the new file, and [`recover`](super::recover())
/// finishes the change.
///
/// Order matters: content before owner before mode (a write or chown clears set-id bits) before
/// attributes (a write or chown drops `security.capability`) before times.
pub fn replace(
    root: &Root,
    names: &[PathBuf],
    stamp: Stamp,
    content: &mut dyn Read,
    mtime: Time,
) -> io::Result<bool> {
    let first = names.first().ok_or(Errno::INVAL)?;
    let (dir, name) = root.parent(first)?;
    let Some(old) = open_unchanged(&dir, Path::new(name), stamp)? else { return Ok(false) };
    let new = new_name(name);
    let made = make_inode(&dir, Path::new(&new), &old, content, mtime)
        .and_then(|()| put_in_place(root, &dir, Path::new(&new), names));
    if made.is_err() {
        // The disk may be full; unlinking needs no space. The first error is the one to report.
        let _ = unlink_if_there(&dir, &new);
    }
    made.map(|()| true)
}

pub(super) fn open_unchanged(dir: &OwnedFd, name: &Path, stamp: Stamp) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let same = Stamp::of(&rustix::fs::fstat(&file)?) == stamp;
    Ok(same.then_some(file))
}

pub(super) fn make_inode(
    dir: &OwnedFd,
    new: &Path,
    old: &File,
    content: &mut dyn Read,
    mtime: Time,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(dir, new, flags, Mode::from_raw_mode(0o600));
    let file = match create() {
        Err(Errno::EXIST) => unlink_if_there(dir, new).and_then(|()| Ok(create()?)),
        other => Ok(other?),
    }?;
    let file = File::from(file);
    let mut pieces = BufWriter::with_capacity(PIECE, &file);
    io::copy(content, &mut pieces)?;
    pieces.flush()?;
    drop(pieces);
    let stat = rustix::fs::fstat(old)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    xattr::copy_xattrs(file.as_fd(), &read_xattrs(old.as_fd())?)?;
    Ok(rustix::fs::futimens(&file, &mtime_only(mtime))?)
}

/// Renames the new inode into place. With several names it first makes a complete link beside every
/// name, then renames, so that a run killed in between leaves the right inode beside each old name.
/// There may be more names than a process may open files, so one directory is open at a time.
fn put_in_place(root: &Root, dir: &OwnedFd, new: &Path, names: &[PathBuf]) -> io::Result<()> {
    if let [only] = names {
        let name = only.file_name().ok_or(Errno::INVAL)?;
        return Ok(rustix::fs::renameat(dir, new, dir, name)?);
    }
    for path in names {
        let (parent, name) = root.parent(path)?;
        let ready = ready_name(name);
        unlink_if_there(&parent, &ready)?;
        rustix::fs::linkat(dir, new, &parent, &ready, AtFlags::empty())?;
    }
    unlink_if_there(dir, new)?;
    for path in names {
        let (parent, name) = root.parent(path)?;
        rustix::fs::renameat(&parent, ready_name(name), &parent, name)?;
    }
    Ok(())
}

pub(super) fn unlink_if_there(dir: &OwnedFd, name: impl AsRef<Path>) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name.as_ref(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The bytes between the first and the last difference of two contents of equal length, if they are
/// within one 4096-byte block: `(offset, length)`. No reader sees half of such a write.
pub fn patch_range(old: &[u8], new: &[u8]) -> Option<(usize, usize)> {
    if old.len() != new.len() {
        return None;
    }
    let start = old.iter().zip(new).position(|(a, b)| a != b)?;
    let end = old.len() - old.iter().rev().zip(new.iter().rev()).position(|(a, b)| a != b)?;
    (start / 4096 == (end - 1) / 4096).then_some((start, end - start))
}

/// Writes `bytes` at `offset` into the file with the names `names` (all in the tree, all one inode,
/// and the inode's only ones), in place, and puts the modification time at `mtime`.
///
/// A file that would lose something by a write (set-id bits, capabilities), or whose file system
/// would give the name another inode, is replaced whole by [`replace()`]. Returns `false` and
/// changes nothing if the file no longer looks like `stamp`.
pub fn patch(
    root: &Root,
    names: &[PathBuf],
    stamp: Stamp,
    offset: u64,
    bytes: &[u8],
    mtime: Time,
) -> io::Result<bool> {
    let first = names.first().ok_or(Errno::INVAL)?;
    let (dir, name) = root.parent(first)?;
    let Some(mut old) = open_unchanged(&dir, Path::new(name), stamp)? else { return Ok(false) };
    if !is_plain(&old)? || mount::copies_up(dir.as_fd())? {
        let mut content = Vec::new();
        old.read_to_end(&mut content)?;
        let start = usize::try_from(offset).map_err(|_| Errno::FBIG)?;
        let place = content.get_mut(start..).and_then(|rest| rest.get_mut(..bytes.len()));
        place.ok_or(Errno::INVAL)?.copy_from_slice(bytes);
        return replace(root, names, stamp, &mut &*content, mtime);
    }
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(&dir, name, flags, Mode::empty())?);
    if Stamp::of(&rustix::fs::fstat(&file)?) != stamp {
        return Ok(false);
    }
    file.write_all_at(bytes, offset)?;
    rustix::fs::futimens(&file, &mtime_only(mtime))?;
    Ok(true)
}

/// Whether a write changes nothing but the content: the file has no set-id bits, and no kernel
/// attribute that is bound to the content or lost on a write, such as `security.capability`.
fn is_plain(file: &File) -> io::Result<bool> {
    let bound = |name: &[u8]| {
        name.starts_with(b"security.") && name != b"security.selinux"
            || xattr::BOUND_TO_CONTENT.contains(&name)
    };
    Ok(rustix::fs::fstat(file)?.st_mode & 0o6000 == 0
        && !read_xattrs(file.as_fd())?.iter().any(|(name, _)| bound(name.as_bytes())))
}
