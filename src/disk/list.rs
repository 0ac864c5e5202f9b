//! Lists a directory through its descriptor, so that swapping a path meanwhile cannot lead the
//! listing elsewhere.

use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use super::Root;
use super::mount::{self, Mount};
use super::root::links;
use crate::tree::{Entry, Inode, Kind, Time};

/// Bytes of directory entries to read from the kernel at a time.
const BUFFER: usize = 32 << 10;

impl Root {
    /// Calls `each` for everything in the directory `dir` that is not a mount, sorted bytewise by
    /// name.
    ///
    /// Memory: the names, and six bytes for each.
    pub fn each_child(&self, dir: &Path, each: &mut dyn FnMut(Entry)) -> io::Result<()> {
        let fd = self.open_at(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let here = mount::of(fd.as_fd())?;
        for name in Names::read(&fd)?.sorted() {
            let path = below(dir, name);
            if self.mounted().contains(&path) {
                continue;
            }
            if let Some(entry) = look(&fd, name, path, here)? {
                each(entry);
            }
        }
        Ok(())
    }
}

/// The entry for `name` in `dir`; `None` where something is mounted on it.
fn look(dir: &OwnedFd, name: &CStr, path: PathBuf, here: Mount) -> io::Result<Option<Entry>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    match rustix::fs::statx(dir, name, flags, mask) {
        Ok(found) => Ok((mount::in_statx(&found) == here).then(|| entry(path, &found))),
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = rustix::fs::statat(dir, name, flags)?;
            Ok((Mount::Device(stat.st_dev) == here).then(|| Root::entry(&path, &stat)))
        }
        Err(e) => Err(e.into()),
    }
}

fn entry(path: PathBuf, found: &Statx) -> Entry {
    let time = |t: rustix::fs::StatxTimestamp| Time { sec: t.tv_sec, nsec: t.tv_nsec };
    let mode = u32::from(found.stx_mode);
    Entry {
        path,
        kind: Kind::of_mode(mode),
        mode,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        mtime: Some(time(found.stx_mtime)),
        inode: Some(Inode {
            dev: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            ino: found.stx_ino,
            nlink: links(found.stx_nlink),
            ctime: time(found.stx_ctime),
        }),
    }
}

fn below(dir: &Path, name: &CStr) -> PathBuf {
    let mut path = PathBuf::with_capacity(dir.as_os_str().len() + 1 + name.count_bytes());
    path.push(dir);
    path.push(OsStr::from_bytes(name.to_bytes()));
    path
}

/// The names in a directory in one buffer, so that a million names are not a million allocations.
struct Names {
    bytes: Vec<u8>,
    /// Where each name begins, and its length including the NUL.
    places: Vec<(u32, u16)>,
}

impl Names {
    fn read(dir: &OwnedFd) -> io::Result<Self> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut list = RawDir::new(dir, &mut buffer);
        while let Some(found) = list.next() {
            let found = found?;
            let name = found.file_name().to_bytes_with_nul();
            if [&b".\0"[..], b"..\0"].contains(&name) {
                continue;
            }
            let start = u32::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?;
            places.push((start, u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?));
            bytes.extend_from_slice(name);
        }
        Ok(Names { bytes, places })
    }

    fn sorted(&mut self) -> impl Iterator<Item = &CStr> {
        let Names { bytes, places } = self;
        let text = |&(start, length): &(u32, u16)| &bytes[start as usize..][..usize::from(length)];
        // The NUL sorts before every byte, as the end of a shorter name does.
        places.sort_unstable_by(|a, b| text(a).cmp(text(b)));
        places.iter().filter_map(move |place| CStr::from_bytes_with_nul(text(place)).ok())
    }
}
