//! `record`: writes a commit's content checksum into its build's meta.json.

pub(crate) mod libostree;
pub mod meta;
pub mod sidecar;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::disk::{Lock, atomic_write};
use crate::format::ostree::Checksum;
use crate::source::cosa::read_meta;
use meta::Meta;

/// How long to wait for a coreos-assembler that holds the lock.
const PATIENCE: Duration = Duration::from_secs(30);
/// Permission bits of meta.json and its sidecar, as coreos-assembler sets them.
const MODE: u32 = 0o644;

/// What to record where.
#[derive(Clone, Debug)]
pub struct Job {
    /// The build's meta.json.
    pub meta: PathBuf,
    /// The commit.
    pub commit: Checksum,
    /// Its content checksum.
    pub content: Checksum,
    /// Record even if the meta.json names another commit.
    pub other_commit: bool,
    /// Reports of `fix`, for the sidecar.
    pub reports: Vec<PathBuf>,
    /// How long to wait for the lock; [`Job::new`] sets half a minute.
    pub patience: Duration,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Whether meta.json changed.
    pub changed: bool,
    /// The sidecar.
    pub sidecar: PathBuf,
}

impl Job {
    /// Records `content` of `commit` in `meta`.
    pub fn new(meta: &Path, commit: Checksum, content: Checksum) -> Self {
        Job {
            meta: meta.to_owned(),
            commit,
            content,
            other_commit: false,
            reports: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// Writes meta.json and the sidecar, under coreos-assembler's lock. A meta.json that already
    /// has the checksum is not rewritten.
    ///
    /// # Errors
    ///
    /// With nothing written, if meta.json is invalid, is about another commit, has another content
    /// checksum, or stays locked.
    pub fn run(&self) -> Result<Done> {
        let runs = sidecar::FixReports::read(&self.reports)?;
        let locking = || format!("locking {}", self.meta.display());
        // A missing file may have no directory for the lock.
        self.meta.metadata().with_context(|| format!("reading {}", self.meta.display()))?;
        let lock = Lock::take(&lock_path(&self.meta)?, self.patience).with_context(locking)?;
        let old = read_meta(&self.meta)?;
        let new = self.edited(&old).with_context(|| self.meta.display().to_string())?;
        let beside = self.meta.with_file_name(sidecar::NAME);
        let text = sidecar::encode(&self.commit, &self.content, &runs)?;
        atomic_write(&beside, &text, MODE)
            .with_context(|| format!("writing {}", beside.display()))?;
        let changed = new.is_some();
        if let Some(new) = new {
            atomic_write(&self.meta, &new, MODE)
                .with_context(|| format!("writing {}", self.meta.display()))?;
        }
        drop(lock);
        Ok(Done { changed, sidecar: beside })
    }

    /// The file's new bytes, or `None` if it needs no change.
    fn edited(&self, old: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut meta = Meta::parse(old)?;
        let commit = meta.commit()?;
        if commit != self.commit && !self.other_commit {
            bail!(
                "it is of commit {commit}, not of {}: record directly after the build or import; \
                 --other-commit records it anyway, for one image imported twice, which has two merge commits and one content checksum",
                self.commit
            );
        }
        match meta.content_checksum()? {
            Some(sum) if sum == self.content => return Ok(None),
            Some(sum) if commit == self.commit => bail!(
                "it has content checksum {sum} for commit {commit}, whose content checksum is \
                 {}: one of the files is damaged or was edited",
                self.content
            ),
            _ => {}
        }
        meta.set_content_checksum(&self.content);
        meta.encode().map(Some)
    }
}

/// Where coreos-assembler locks `DIR/NAME`: `DIR/.NAME.lock`. It is absolute, since the lock's
/// claim contains its own path for others to read.
fn lock_path(meta: &Path) -> Result<PathBuf> {
    let named = || format!("{} names no file", meta.display());
    let name = meta.file_name().with_context(named)?;
    let mut lock = std::ffi::OsString::from(".");
    lock.push(name);
    lock.push(".lock");
    let absolute = std::path::absolute(meta).with_context(named)?;
    Ok(absolute.with_file_name(lock))
}
