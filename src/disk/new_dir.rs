//! A directory that appears complete or not at all.

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory under a temporary name until [`NewDir::commit`] renames it. Dropped before that, it
/// is removed with all its content.
pub struct NewDir {
    dir: TempDir,
    path: PathBuf,
}

impl NewDir {
    /// Makes a directory that will become `path`, which must not exist.
    pub fn beside(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            let what = "it exists already; name a place that does not";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let dir = tempfile::Builder::new().prefix(".reprofix-").tempdir_in(dir)?;
        Ok(NewDir { dir, path: path.to_owned() })
    }

    /// Its temporary path.
    pub fn place(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a directory in it, with its parents.
    pub fn create_dir_all(&self, name: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.dir.path().join(name))
    }

    /// Writes a file in it, mode 0644; one of this name is replaced.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.path().join(name);
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(0o644))
    }

    /// Writes a file in it whose name depends on its content: `fill` returns the name with its
    /// result.
    pub fn write_named<T, E: From<io::Error>>(
        &self,
        fill: impl FnOnce(&mut File) -> Result<(String, T), E>,
    ) -> Result<T, E> {
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path())?;
        let (name, value) = fill(file.as_file_mut())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(self.dir.path().join(name)).map_err(|e| e.error)?;
        Ok(value)
    }

    /// Gives it its final name and mode 0755.
    pub fn commit(self) -> io::Result<()> {
        std::fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755))?;
        std::fs::rename(self.dir.path(), &self.path)?;
        // It has left its first place: nothing remains to be removed there.
        let _ = self.dir.keep();
        Ok(())
    }
}
