//! Files outside a tree: reports, meta.json, pages.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::env;
use crate::format::Scratch;

/// Writes `bytes` to `path` through a temporary file in the same directory and a rename, with
/// permission bits `mode`, whatever the umask. Readers see the old or the new file, never half.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    atomic_write_with(path, mode, |file| file.write_all(bytes).map(|()| true))
}

/// Writes what `fill` produces, like [`atomic_write`]; nothing changes if it fails or returns
/// `false`.
pub fn atomic_write_with<E: From<io::Error>>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> Result<bool, E>,
) -> Result<(), E> {
    if let Some(mut file) = open_special(path)? {
        return fill(&mut file).map(drop);
    }
    let mut file = tempfile::Builder::new().prefix(".reprofix-").tempfile_in(dir_of(path))?;
    if !fill(file.as_file_mut())? {
        return Ok(());
    }
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// # Errors
///
/// If [`atomic_write`] could not write `path`, as far as that can be known beforehand.
pub fn writable(path: &Path) -> io::Result<()> {
    match open_special(path)? {
        Some(_) => Ok(()),
        None => tempfile::Builder::new().prefix(".reprofix-").tempfile_in(dir_of(path)).map(drop),
    }
}

/// Opens `/dev/null` or anything else that is not a regular file: nothing is renamed over it.
fn open_special(path: &Path) -> io::Result<Option<File>> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => File::options().write(true).open(path).map(Some),
        _ => Ok(None),
    }
}

/// A file without a name for content too large for memory, on the file system of `dir`, or where
/// temporary files go if that file system has no unnamed files. It never has a name in `dir` and is
/// gone when it is closed, however the process ends.
pub fn scratch(dir: Option<&Path>) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let nameless = |dir| rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR).ok();
    dir.and_then(nameless).map_or_else(tempfile::tempfile, |fd| Ok(File::from(fd)))
}

/// A private directory where temporary files go, removed with all its content when the value is
/// dropped.
pub fn private_dir() -> io::Result<tempfile::TempDir> {
    tempfile::tempdir()
}

/// Private directories where temporary files go: in the first of the usual places that has room.
#[derive(Clone, Copy, Debug)]
pub struct PrivateDir;

impl Scratch for PrivateDir {
    fn in_private(&self, make: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut made = |place: &Path| {
            let mut dir = tempfile::Builder::new();
            let dir = dir.prefix(".reprofix-").permissions(Permissions::from_mode(0o700));
            let dir = dir.tempdir_in(place)?;
            make(dir.path())?;
            dir.close()
        };
        let mut failed: Option<io::Error> = None;
        for place in env::scratch_places() {
            match made(&place) {
                Ok(()) => return Ok(()),
                Err(e) => {
                    let what = format!("private files in {}: {e}", place.display());
                    failed = Some(io::Error::new(e.kind(), what));
                }
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("no directory for private files")))
    }
}

/// The directory that a file is in.
pub fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Creates a directory and its parents, as `mkdir -p` does.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Writes `bytes` to `path` unless they are there already; `true` if it wrote. It renames like
/// [`atomic_write`] but does not force the file to disk: for what can be made again, such as
/// thousands of pages.
pub fn refresh(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    if std::fs::metadata(path).is_ok_and(|m| m.len() == bytes.len() as u64)
        && std::fs::read(path)? == bytes
    {
        return Ok(false);
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".reprofix-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(true)
}

/// Creates a file that must not exist yet, for writing, mode 0600.
pub fn create_new(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a lock file for writing, creating it if necessary, and locks it; `None` if another process
/// holds it. Dropping the returned file releases the lock.
pub fn flock(path: &Path) -> io::Result<Option<std::fs::File>> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(e),
    }
}

/// Renames a file or directory outside a tree.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Removes a file outside a tree; a missing one is fine.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a directory and all below it, following no symbolic link; a missing one is fine. The
/// caller has made sure that nothing is mounted below it.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_scratch_file_never_has_a_name() {
        let dir = tempfile::tempdir().expect("made");
        let before = dir.path().metadata().expect("there");
        let mut file = scratch(Some(dir.path())).expect("made");
        file.write_all(b"x").expect("written");
        let (meta, after) = (file.metadata().expect("open"), dir.path().metadata().expect("there"));
        assert_eq!((meta.nlink(), meta.dev()), (0, before.dev()));
        assert_eq!(after.modified().expect("has one"), before.modified().expect("has one"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("reads").count(), 0);
        // Where there are no unnamed files, it is where temporary files go.
        let elsewhere = scratch(Some(Path::new("/proc"))).expect("made");
        assert_eq!(elsewhere.metadata().expect("open").nlink(), 0);
    }
}
