//! The lock that coreos-assembler takes on a `meta.json`: flufl.lock's protocol.
//!
//! A *claim file* beside the lock, named after it, the host and the process, is hard-linked to the
//! lock's name; the process that succeeds holds the lock. The claim contains its own path, and its
//! modification time says until when the lock counts; one that expired more than ten seconds ago
//! may be broken. It is not `flock(2)`, which coreos-assembler would not notice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::env;

/// How long our lock counts if we die while we hold it. What is done under it takes milliseconds.
const LIFETIME: Duration = Duration::from_secs(60);
/// How far the clocks of two hosts may be apart before a lock counts as abandoned.
const CLOCK_SLOP: Duration = Duration::from_secs(10);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// What separates the parts of a claim's name.
const SEPARATOR: char = '|';

/// A lock that is held; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    claim: PathBuf,
}

impl Lock {
    /// Takes the lock at `path`, waiting up to `patience` for another holder.
    ///
    /// # Errors
    ///
    /// If `patience` is over, naming the holder, or if the directory is not writable.
    pub fn take(path: &Path, patience: Duration) -> io::Result<Lock> {
        let claim = write_claim(path)?;
        let lock = Lock { path: path.to_owned(), claim };
        let mut waited = Duration::ZERO;
        loop {
            match fs::hard_link(&lock.claim, path) {
                Ok(()) => return Ok(lock),
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                // Over a network file system a link may have been made although the reply was lost.
                Err(_) if lock.is_held() => return Ok(lock),
                Err(_) => {}
            }
            if break_abandoned(path)? {
                continue;
            }
            if waited >= patience {
                return Err(io::Error::new(io::ErrorKind::TimedOut, holder(path)));
            }
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }

    fn is_held(&self) -> bool {
        fs::read(&self.path).is_ok_and(|name| name == self.claim.as_os_str().as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_held() {
            let _ = fs::remove_file(&self.path);
        }
        let _ = fs::remove_file(&self.claim);
    }
}

/// Makes our claim: a file that no other attempt uses, whose time is when the lock expires.
fn write_claim(path: &Path) -> io::Result<PathBuf> {
    let (host, pid) = (env::host_name(), std::process::id());
    for attempt in 0u64.. {
        let mut claim = path.as_os_str().to_owned();
        claim.push(format!("{SEPARATOR}{host}{SEPARATOR}{pid}{SEPARATOR}{attempt}"));
        let claim = PathBuf::from(claim);
        match OpenOptions::new().write(true).create_new(true).open(&claim) {
            Ok(mut file) => {
                file.write_all(claim.as_os_str().as_bytes())?;
                file.set_modified(env::now() + LIFETIME)?;
                return Ok(claim);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes an expired lock, and its claim if that is beside it as it should be.
fn break_abandoned(path: &Path) -> io::Result<bool> {
    let absent = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let end = match File::open(path).and_then(|f| f.metadata()?.modified()) {
        Ok(end) => end,
        Err(e) if absent(&e) => return Ok(true),
        Err(e) => return Err(e),
    };
    let name = fs::read(path).unwrap_or_default();
    if env::now() <= end + CLOCK_SLOP || parts(&name).is_none() {
        return Ok(false);
    }
    let claim = Path::new(std::ffi::OsStr::from_bytes(&name));
    let ours = [path.as_os_str().as_bytes(), b"|"].concat();
    remove(path)?;
    if name.starts_with(&ours) && !name[ours.len()..].contains(&b'/') {
        remove(claim)?;
    }
    Ok(true)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Host and process in a claim's name.
fn parts(name: &[u8]) -> Option<(String, u32)> {
    let name = std::str::from_utf8(name).ok()?;
    let mut parts = name.rsplitn(4, SEPARATOR).skip(1);
    let pid = parts.next()?.parse().ok()?;
    let host = parts.next()?.to_owned();
    parts.next().map(|_| (host, pid))
}

fn holder(path: &Path) -> String {
    let who = match parts(&fs::read(path).unwrap_or_default()) {
        Some((host, pid)) => format!("process {pid} on {host}"),
        None => "an unknown owner".to_owned(),
    };
    format!("{who} holds it; wait for it to finish, or remove the lock if it no longer runs")
}
