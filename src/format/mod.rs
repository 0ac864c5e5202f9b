//! Pure parsers and writers: bytes in, bytes out; no file system, no clock, no environment.
//!
//! A parser returns [`Malformed`] for any input that it does not fully understand. It never panics
//! and never allocates by a length that the input merely claims.

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

/// An input that its parser does not understand: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct Malformed {
    /// Byte offset of the error in the input.
    pub offset: u64,
    /// What is wrong, as a lower-case phrase: "header is truncated".
    pub what: String,
}

impl Malformed {
    /// An error at `offset`.
    pub fn at(offset: impl TryInto<u64>, what: impl Into<String>) -> Self {
        Malformed { offset: offset.try_into().unwrap_or(u64::MAX), what: what.into() }
    }
}

/// The failure of work with private files: of the input, or of the machine.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The input is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A private file could not be made, written or read, which says nothing about the input.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Failure {
    /// Separates failures of the machine from those of the input.
    pub fn apart<T>(result: Result<T, Failure>) -> io::Result<Result<T, Malformed>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(Failure::Malformed(what)) => Ok(Err(what)),
            Err(Failure::Io(error)) => Err(error),
        }
    }
}

/// Access to temporary private files, from a caller with a file system.
pub trait Scratch: Sync {
    /// Calls `make` with a new private directory, which is removed afterwards with all its content;
    /// on failure with one in another place.
    fn in_private(&self, make: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()>;
}
