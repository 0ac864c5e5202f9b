//! Pure parsers and writers: bytes in, bytes out; no file system, no clock, no environment.
//!
//! A parser gives [`Malformed`] on any input it does not fully understand. It never panics and
//! never allocates by a length that the input merely claims.

pub mod ar;
pub mod beam;
pub mod catalog;
pub mod compiled;
pub mod composefs;
pub mod compress;
pub mod cpio;
pub(crate) mod cursor;
pub mod dos;
pub mod facts;
pub mod fontconfig;
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
pub mod record;
pub mod rpmdb;
pub mod secret;
pub mod selinux;
pub mod sums;
pub mod tar;
pub mod time;
pub mod vimspell;
pub mod zip;

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
