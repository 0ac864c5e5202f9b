//! Pure parsers and writers: bytes in, bytes out; no file system, no clock, no environment.
//!
//! A parser gives [`Malformed`] on any input it does not fully understand. It never panics and
//! never allocates by a length that the input merely claims.

pub(crate) mod ar;
pub(crate) mod beam;
pub mod bytes;
pub(crate) mod catalog;
pub mod checksum_files;
pub mod composefs;
pub mod compress;
pub mod cpio;
pub(crate) mod dos_time;
pub(crate) mod facts;
pub mod filesystem;
pub mod fontconfig;
pub mod gpt;
pub(crate) mod grub;
pub mod gvariant;
pub(crate) mod gvdb;
pub(crate) mod gzip;
pub(crate) mod hashes;
pub(crate) mod hwdb;
pub(crate) mod iconcache;
pub mod initramfs;
pub(crate) mod javadoc;
pub mod jks;
pub(crate) mod kmodindex;
pub(crate) mod ldcache;
pub(crate) mod localearchive;
pub(crate) mod mimecache;
pub(crate) mod modsig;
pub mod ostree;
pub mod pe;
pub(crate) mod pkcs12;
pub mod pyc;
pub mod qcow2;
pub mod rpmdb;
pub(crate) mod secret;
pub(crate) mod selinux;
pub(crate) mod strictly_newer;
pub mod tar;
pub mod time;
pub mod verity;
pub(crate) mod vimspell;
pub mod wheel_record;
pub(crate) mod zip;

use std::io;
use std::path::Path;

/// An input that is not what its parser understands: where, and what was wrong there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    /// Byte offset of the trouble in the input.
    pub offset: u64,
    /// What is wrong, as a lower-case phrase: "header is truncated".
    pub what: String,
}

impl Malformed {
    /// Trouble at `offset`.
    pub fn at(offset: impl TryInto<u64>, what: impl Into<String>) -> Self {
        Malformed { offset: offset.try_into().unwrap_or(u64::MAX), what: what.into() }
    }
}

/// What ends work that takes private files: the input, or the machine.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The input is not what it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A private file could not be made, written or read: nothing is said of the input.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// Keeps apart what a machine could not do from what an input is.
    pub fn apart<T>(result: Result<T, Failure>) -> io::Result<Result<T, Malformed>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(Failure::Malformed(what)) => Ok(Err(what)),
            Err(Failure::Io(error)) => Err(error),
        }
    }
}

/// Where private files may be for a moment. Whoever has a file system hands it in.
pub trait Scratch: Sync {
    /// Calls `make` with a new private directory, which is gone with all that is in it afterwards;
    /// with one in another place where it fails.
    fn in_private(&self, make: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()>;
}
