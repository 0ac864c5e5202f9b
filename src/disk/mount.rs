//! Which mount a name is on, and what that file system does to what is written.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// A mount: its number, or its device on kernels before 5.8, which do not report a number. Two
/// mounts of one file system are two mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    /// The kernel's number of the mount.
    Number(u64),
    /// The device, on old kernels.
    Device(u64),
}

/// The mount on which `fd` was opened.
pub(super) fn of(fd: BorrowedFd<'_>) -> io::Result<Mount> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    match rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, mask) {
        Ok(found) => Ok(in_statx(&found)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(Mount::Device(rustix::fs::fstat(fd)?.st_dev)),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn in_statx(found: &Statx) -> Mount {
    match StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        true => Mount::Number(found.stx_mnt_id),
        false => Mount::Device(rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor)),
    }
}

/// `f_type` of overlayfs and of FUSE, as statfs(2) lists them.
const OVERLAY: i64 = 0x794c_7630;
const FUSE: i64 = 0x6573_5546;

/// Whether a write to a file may give its name another inode: overlayfs copies the file up,
/// rofiles-fuse breaks the hard link, and the other names keep the old inode.
pub(super) fn copies_up(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = rustix::fs::fstatfs(fd)?.f_type as i64;
    Ok([OVERLAY, FUSE].contains(&kind))
}
