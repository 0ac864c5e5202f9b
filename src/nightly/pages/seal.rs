//! The seal of a whole site: a digest of all that its pages are made from, and of the files that they
//! are. While it holds, no page is made or read again, however long the history is.
//!
//! It is kept in the history, not beside the pages: those have the same bytes for the same history. It
//! knows a file by its name, size, inode and times, the time of its last change of any kind among them.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::Site;
use crate::env;
use crate::history::History;

/// Longer than the clock of a file system stands still: a file that is changed after the seal has
/// another time.
const TICK: Duration = Duration::from_millis(12);

/// What a site has to be made from.
pub(super) struct Seal<'a> {
    history: &'a History,
    site: &'a Site,
    base: Option<&'a str>,
    /// The number of the history's last change before anything was read from it.
    change: i64,
    /// The site's folder, whatever leads to it.
    key: String,
}

impl<'a> Seal<'a> {
    /// To be made before anything is read.
    pub(super) fn new(history: &'a History, site: &'a Site, base: Option<&'a str>) -> Result<Self> {
        let dir = site.dir.canonicalize();
        let dir = dir.with_context(|| format!("looking at {}", site.dir.display()))?;
        let key = dir.to_string_lossy().into_owned();
        Ok(Seal { history, site, base, change: history.last_change()?, key })
    }

    /// Whether the site is as it was when it was sealed, and the history too.
    pub(super) fn holds(&self) -> Result<bool> {
        let Some(seal) = self.history.seal(&self.key)? else { return Ok(false) };
        Ok(seal == self.digest()?)
    }

    /// Seals the site, unless `beside`, the files that were found beside the pages, came or went
    /// meanwhile.
    pub(super) fn close(&self, beside: [BTreeSet<i64>; 2]) -> Result<()> {
        std::thread::sleep(TICK);
        let digest = self.digest()?;
        let [reports, statements] = beside;
        let same = self.site.whole_reports()? == reports && self.site.statements()? == statements;
        if same { self.history.set_seal(&self.key, &digest) } else { Ok(()) }
    }

    fn digest(&self) -> Result<Vec<u8>> {
        let mut hash = Sha256::new();
        let made = (env!("CARGO_PKG_VERSION"), env::program_stamp(), self.base, self.change);
        hash.update(serde_json::to_vec(&made)?);
        for file in files(&self.site.dir)? {
            hash.update(serde_json::to_vec(&file)?);
        }
        Ok(hash.finalize().to_vec())
    }
}

/// Name; size, inode, mode; times of content and of change.
type File = (String, [u64; 3], [i64; 4]);

/// Every file of the site, by name.
fn files(dir: &Path) -> Result<Vec<File>> {
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let (entry, path) = match entry {
            Ok(entry) => (entry.metadata().map_err(io::Error::from), entry.into_path()),
            Err(e) => return Err(e).with_context(|| format!("reading {}", dir.display())),
        };
        let found = entry.with_context(|| format!("looking at {}", path.display()))?;
        // A folder's times change with what is beside the pages.
        if !found.is_dir() {
            let name = path.to_string_lossy().into_owned();
            let facts = [found.len(), found.ino(), u64::from(found.mode())];
            let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
            all.push((name, facts, times));
        }
    }
    Ok(all)
}
