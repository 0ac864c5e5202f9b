//! Extended attributes through a file descriptor.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    XattrFlags, fgetxattr, fgetxattr_query, flistxattr, flistxattr_query, fremovexattr, fsetxattr,
};
use rustix::io::Errno;

/// The extended attributes of an open file or directory, sorted by name bytewise.
///
/// The list is empty on file systems without extended attributes.
pub fn read_xattrs(fd: BorrowedFd<'_>) -> io::Result<Vec<(CString, Vec<u8>)>> {
    // Sizes come from the `_query` functions: `flistxattr` with an empty buffer says 0.
    let size = match flistxattr_query(fd) {
        Ok(size) => size,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut names = vec![0; size];
    let len = if size == 0 { 0 } else { flistxattr(fd, &mut names[..])? };
    names.truncate(len);
    let mut list = Vec::new();
    for name in names.split_inclusive(|&b| b == 0) {
        let name = CStr::from_bytes_with_nul(name).map_err(io::Error::other)?;
        if let Some(value) = read_one(fd, name)? {
            list.push((name.to_owned(), value));
        }
    }
    list.sort();
    Ok(list)
}

/// Reads one attribute; `None` if it disappeared between listing and reading.
fn read_one(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let size = match fgetxattr_query(fd, name) {
        Ok(size) => size,
        Err(Errno::NODATA) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut value = vec![0; size];
    let len = if size == 0 { 0 } else { fgetxattr(fd, name, &mut value[..])? };
    value.truncate(len);
    Ok(Some(value))
}

/// Attributes that hold a digest or signature of a file's content, and are useless for other
/// content.
pub const BOUND_TO_CONTENT: [&[u8]; 3] = [b"security.evm", b"security.ima", b"user.ima"];

/// Gives a new inode exactly these attributes, except those that are [`BOUND_TO_CONTENT`].
///
/// Attributes that a new inode has already, from a default ACL of the directory, are removed.
pub(super) fn copy_xattrs(fd: BorrowedFd<'_>, list: &[(CString, Vec<u8>)]) -> io::Result<()> {
    for (name, _) in read_xattrs(fd)? {
        // SELinux gives every inode a label, which cannot be removed, only replaced.
        if name.to_bytes() != b"security.selinux" && !list.iter().any(|(n, _)| *n == name) {
            fremovexattr(fd, name.as_c_str())?;
        }
    }
    for (name, value) in list {
        if BOUND_TO_CONTENT.contains(&name.to_bytes()) {
            continue;
        }
        fsetxattr(fd, name.as_c_str(), value, XattrFlags::empty())?;
    }
    Ok(())
}
