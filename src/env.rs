//! The only reader of the environment, the clock and the host.

#![allow(clippy::disallowed_methods)] // this is the module that may

use std::ffi::OsString;
use std::fmt;
use std::num::IntErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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

/// An invalid SOURCE_DATE_EPOCH.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "SOURCE_DATE_EPOCH is {value:?}, which is {why}; give whole seconds since 1970-01-01 UTC, \
     for example the output of `git log -1 --format=%ct`"
)]
pub struct BadEpoch {
    value: String,
    why: &'static str,
}

impl FromStr for SourceDateEpoch {
    type Err = BadEpoch;

    fn from_str(text: &str) -> Result<Self, BadEpoch> {
        let bad = |why| BadEpoch { value: text.to_owned(), why };
        if text.starts_with('-') {
            return Err(bad("negative"));
        }
        // `parse` would accept a leading plus sign.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("not a decimal number"));
        }
        text.parse().map(SourceDateEpoch).map_err(|e| match e.kind() {
            IntErrorKind::PosOverflow => bad("later than 2106, the end of rpm's 32-bit times"),
            IntErrorKind::Empty => bad("empty"),
            _ => bad("not a decimal number"),
        })
    }
}

/// The environment's SOURCE_DATE_EPOCH, unparsed; `None` if it is not set.
pub fn source_date_epoch() -> Option<OsString> {
    std::env::var_os("SOURCE_DATE_EPOCH")
}

/// Whether this runs in a build of the nightly job, which says so to what it starts.
pub fn is_nightly_build() -> bool {
    std::env::var_os("REPROFIX_RUN").is_some()
}

/// The program of this name installed beside this one; if there is none, just the name, for the
/// search path.
pub fn companion(name: &str) -> PathBuf {
    let beside = std::env::current_exe().map(|this| this.with_file_name(name));
    beside.ok().filter(|path| path.is_file()).unwrap_or_else(|| name.into())
}

/// Size and time of the running program: another build of it has others.
pub fn program_stamp() -> Option<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::env::current_exe().and_then(std::fs::metadata).ok()?;
    Some((file.len(), file.mtime(), file.mtime_nsec()))
}

/// The wall clock, in seconds since 1970-01-01 UTC. For records of when something ran, never for
/// anything that goes into a tree.
pub fn unix_time() -> i64 {
    let since = now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// This machine's hardware name, as `uname -m` prints it.
pub fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// Whether the environment says that GitHub Actions runs us.
pub fn in_github_actions() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true")
}

/// The current time, only for the end of a lock; nothing that is written into a tree may depend on
/// it.
pub fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// This host's name, for a lock's owner and for records.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Directories of a system that are not roots themselves.
const SYSTEM: [&str; 7] = ["/usr", "/etc", "/bin", "/sbin", "/lib", "/lib64", "/boot"];
/// Directories of a system that may contain a target root.
const HOLDS_ROOTS: [&str; 10] =
    ["/var", "/opt", "/sysroot", "/home", "/root", "/run", "/srv", "/dev", "/proc", "/sys"];

/// Why the tree at `root` (a canonical path) must not be changed without an explicit option; `None`
/// if it may be.
///
/// A running system is recognised by what only a running system has below its root: the marks of
/// systemd or ostree in `/run` and a mounted `/proc`. Our own `/` is accepted only inside a
/// compose, where rpm-ostree has left the treefile. A directory of our own system is not a root at
/// all.
pub fn refuses(root: &Path) -> Option<&'static str> {
    let has = |path: &str| root.join(path).symlink_metadata().is_ok();
    let running = has("run/systemd/system") || has("run/ostree-booted");
    if running && has("proc/1") {
        return Some("it is the root of a running system");
    }
    let system = SYSTEM.iter().any(|dir| root.starts_with(dir));
    if system || HOLDS_ROOTS.iter().any(|dir| is_same(root, Path::new(dir))) {
        return Some("it is a directory of this system");
    }
    if SYSTEM.iter().any(|dir| is_same(root, Path::new(dir))) {
        return Some("it is a directory of this system under another name");
    }
    if !is_own_root(root) {
        return None;
    }
    match has(crate::tree::TREEFILE) {
        true => None,
        false => Some("it is this system's own root, not a compose sandbox"),
    }
}

/// Whether `root` is the root directory that this process sees.
pub fn is_own_root(root: &Path) -> bool {
    is_same(root, Path::new("/"))
}

/// Whether two paths lead to one directory.
fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| path.metadata().ok().map(|m| (m.dev(), m.ino()));
    id(a).is_some() && id(a) == id(b)
}

/// The mount points that this process sees; files can be mount points too.
///
/// # Errors
///
/// If there is no `/proc`.
pub fn mount_points() -> std::io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let lines = table.split(|b| *b == b'\n');
    // proc(5): the fifth field is the mount point; blanks in it are octal escapes.
    Ok(lines.filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescaped).collect())
}

/// The mount points below `root` (a canonical path), including those of the same device. Empty
/// without `/proc`: then only the device shows what is a mount.
pub fn mounts_below(root: &Path) -> std::collections::BTreeSet<PathBuf> {
    let points = mount_points().unwrap_or_default().into_iter();
    points.filter(|point| point != root && point.starts_with(root)).collect()
}

/// A path of `/proc/self/mountinfo` with its escapes resolved: `\040` is a space.
fn unescaped(field: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 8).ok()).filter(|_| byte == b'\\') {
            Some(escaped) => {
                out.push(escaped);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out).into()
}

/// Where private files may go, best first: `TMPDIR` if it is set and absolute, then the usual
/// places, memory last.
pub fn scratch_places() -> Vec<PathBuf> {
    let asked = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|p| p.is_absolute());
    let usual = ["/tmp", "/var/tmp", "/dev/shm", "/run"].map(PathBuf::from);
    asked.into_iter().chain(usual).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(br"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(br"/x\04"), Path::new(r"/x\04"));
        assert!(mounts_below(Path::new("/")).contains(Path::new("/proc")));
        assert!(!mounts_below(Path::new("/proc")).contains(Path::new("/proc")));
    }

    #[test]
    fn epochs_are_whole_decimal_seconds() {
        assert_eq!("0".parse(), Ok(SourceDateEpoch::new(0)));
        assert_eq!("1700000000".parse(), Ok(SourceDateEpoch::new(1_700_000_000)));
        assert_eq!("4294967295".parse(), Ok(SourceDateEpoch::new(u32::MAX)));
        for bad in ["", "-1", "+1", "1.5", "0x10", " 1", "1\n", "4294967296", "١", "now"] {
            assert!(bad.parse::<SourceDateEpoch>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_epoch_says_what_and_what_to_do() {
        let error = "-5".parse::<SourceDateEpoch>().expect_err("negative").to_string();
        assert!(error.contains("\"-5\"") && error.contains("negative"), "{error}");
        assert!(error.contains("whole seconds"), "{error}");
    }
}
