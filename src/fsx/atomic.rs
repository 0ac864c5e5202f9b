//! Files outside a tree: reports, meta.json, pages.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes `bytes` to `path` through a temporary file in the same directory and a rename, with
/// permission bits `mode`, whatever the umask. Readers see the old or the new file, never half.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    atomic_write_with(path, mode, |file| file.write_all(bytes).map(|()| true))
}

/// As [`atomic_write`], with what `fill` writes; nothing changes if it fails or says `false`.
pub fn atomic_write_with<E: From<io::Error>>(
    path: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> Result<bool, E>,
) -> Result<(), E> {
    let mut file = tempfile::Builder::new().prefix(".reprofix-").tempfile_in(dir_of(path))?;
    if !fill(file.as_file_mut())? {
        return Ok(());
    }
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// A file without a name on the file system of `path`, for content too large for memory. It goes
/// when it is closed, however the process ends.
pub fn scratch_beside(path: &Path) -> io::Result<File> {
    tempfile::tempfile_in(dir_of(path))
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// Creates a directory and its parents, as `mkdir -p` does.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}
