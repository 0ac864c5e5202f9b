//! The only module that writes to a disk, or opens paths inside a tree that we did not make.
//!
//! * [`Root`] opens paths below one directory and never follows a symbolic link in any component,
//!   so nothing in the tree can lead outside of it.
//! * [`replace()`] gives a file new content through a new inode: links outside the tree (an ostree
//!   repository's objects) keep their bytes, names inside the tree stay linked to one another.
//! * [`replace_unit`] replaces files that describe one another: all or none.
//! * [`patch`] writes a few bytes in place where that is safe and much cheaper.
//! * [`note_times`] records the times of directories in case the run is killed, [`put_times_back`]
//!   restores them.
//! * [`recover`] finishes or undoes what a killed run left behind.
//! * [`Lock`] is coreos-assembler's lock on a meta.json.
//! * [`atomic_write`] is for files outside a tree: reports, meta.json.

#![allow(clippy::disallowed_methods)] // this is the module that may

mod atomic;
mod list;
mod lock;
mod mount;
mod new_dir;
mod recover;
mod replace;
mod root;
mod times;
mod unit;
mod xattr;

pub use atomic::{
    PrivateDir, atomic_write, atomic_write_with, create_dir_all, create_new, dir_of, flock,
    private_dir, refresh, remove_dir_all, remove_file, rename, scratch, writable,
};
pub use lock::Lock;
pub use new_dir::NewDir;
pub use recover::{Leftover, is_leftover, leftovers, recover};
pub use replace::{Stamp, patch, patch_range, replace};
pub(crate) use root::is_absent;
pub use root::{Folder, Root};
pub use times::{note_times, put_times_back};
pub use unit::{Member, replace_unit};
pub use xattr::{BOUND_TO_CONTENT, read_xattrs};
