//! The only reader of the environment and the clock.

use std::fmt;
use std::path::PathBuf;

/// Seconds since 1970-01-01 UTC that no timestamp in a canonical tree exceeds.
///
/// Follows <https://reproducible-builds.org/specs/source-date-epoch/>: ASCII decimal digits, no
/// sign, no fraction. Values that do not fit the 32-bit fields of rpm headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceDateEpoch(u32);

impl SourceDateEpoch {
    /// An epoch of `seconds`.
    pub const fn new(seconds: u32) -> Self {
        SourceDateEpoch(seconds)
    }

    /// Seconds since 1970-01-01 UTC, as the 32-bit fields of rpm, gzip and cpio hold them.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SourceDateEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where private files may go, best first: `TMPDIR` if it is set and absolute, then the usual
/// places, memory last.
pub fn scratch_places() -> Vec<PathBuf> {
    let asked = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|p| p.is_absolute());
    let usual = ["/tmp", "/var/tmp", "/dev/shm", "/run"].map(PathBuf::from);
    asked.into_iter().chain(usual).collect()
}
