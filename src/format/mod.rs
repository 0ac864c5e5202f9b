//! Pure parsers and writers: bytes in, bytes out; no file system, no clock, no environment.
//!
//! A parser gives [`Malformed`] on any input it does not fully understand. It never panics and
//! never allocates by a length that the input merely claims.

pub mod ar;
pub mod beam;
pub mod bytes;
pub mod catalog;
pub mod checksum_files;
pub mod composefs;
pub mod compress;
pub mod cpio;
pub mod dos_time;
pub mod facts;
pub mod filesystem;
pub mod fontconfig;
pub mod gpt;
pub mod grub;
pub mod gvariant;
pub mod gvdb;
pub mod gzip;
pub mod hashes;
pub mod hwdb;
pub mod iconcache;
pub mod initramfs;
pub mod javadoc;
pub mod jks;
pub mod kmodindex;
pub mod ldcache;
pub mod localearchive;
pub mod mimecache;
pub mod modsig;
pub mod ostree;
pub mod pe;
pub mod pkcs12;
pub mod pyc;
pub mod qcow2;
pub mod rpmdb;
pub mod secret;
pub mod selinux;
pub mod strictly_newer;
pub mod tar;
pub mod time;
pub mod verity;
pub mod vimspell;
pub mod wheel_record;
pub mod zip;

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
