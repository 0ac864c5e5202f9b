//! Lists of a repository that are neither beside nor above what they list.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::directory::{Names, Reader, Written};
use crate::format::checksum_files::is_sums;

/// Directories that hold lists of what is beside them, and how deep: rpm's, Python's, Debian's.
const LISTS: [(&str, usize); 3] = [("repodata", 1), ("simple", 2), ("dists", 6)];
/// Directories in `dists` without lists of packages: copies, translations, descriptions.
const WITHOUT: [&str; 4] = ["by-hash", "i18n", "dep11", "cnf"];
/// Lists that are read in one directory; where there are more, it vouches for all beside it.
const MOST: usize = 10_000;

impl Reader<'_> {
    /// What the lists of the repository at `root` write down, if it is one.
    pub(super) fn lists(&self, root: &Path, names: &Names) -> io::Result<Vec<Written>> {
        let mut written = Vec::new();
        for (name, depth) in LISTS {
            if !names.has(name) {
                continue;
            }
            let dir = root.join(name);
            let mut paths = Vec::new();
            self.find(&dir, (self.names)(&dir)?, depth, &mut paths)?;
            if paths.len() > MOST {
                written.push(Written { path: dir, sums: None });
                continue;
            }
            for path in paths {
                written.extend(self.written(&path)?);
            }
        }
        Ok(written)
    }

    /// Adds the lists in `dir`, which has these names, and in those below it.
    fn find(
        &self,
        dir: &Path,
        names: Vec<OsString>,
        depth: usize,
        found: &mut Vec<PathBuf>,
    ) -> io::Result<()> {
        for name in names {
            if found.len() > MOST || WITHOUT.iter().any(|other| name == OsStr::new(other)) {
                continue;
            }
            let path = dir.join(&name);
            let inner = (self.names)(&path)?;
            match inner.is_empty() {
                true if is_sums(name.as_bytes()) => found.push(path),
                false if depth > 1 => self.find(&path, inner, depth - 1, found)?,
                _ => {}
            }
        }
        Ok(())
    }
}
