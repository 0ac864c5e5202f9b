//! What every plugin knows about the run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::globs::Globs;
use super::{Page, Plugin};
use crate::disk;
use crate::env::SourceDateEpoch;
use crate::format::initramfs::Earlier;
use crate::packages::Packages;
use crate::tree::{Entry, show};
use crate::vouchers::Rules;

/// The run's inputs as plugins see them.
#[derive(Clone, Debug)]
pub struct Context {
    /// The time that no time in the tree may exceed.
    pub epoch: SourceDateEpoch,
    /// Plugin options in force that differ from their defaults, by (plugin, option).
    pub options: BTreeMap<(String, String), String>,
    /// The plugins in force, in the order in which they act.
    pub plugins: Vec<&'static dyn Plugin>,
    /// Paths that nothing may change, whatever the plugins say.
    keep: Option<Arc<Globs>>,
    /// What the configuration says about vouchers.
    pub vouching: Rules,
    /// Where content that is too large for memory is kept meanwhile.
    scratch: Option<PathBuf>,
    /// What is installed in the tree, if a plugin in force needs it.
    pub packages: Option<Arc<Packages>>,
    /// Boot images that an earlier compose left, whose compressed bytes may be taken.
    pub earlier: Arc<Vec<Earlier>>,
    /// Time spent on expensive work; clones share it.
    pub spent: Spent,
}

/// Time spent on expensive work, for people. It depends on the machine, so it is not part of any
/// report.
#[derive(Clone, Debug, Default)]
pub struct Spent(Arc<Mutex<BTreeMap<PathBuf, (Duration, String)>>>);

impl Spent {
    /// Records what was done to a path, and how long it took; repeated work adds up.
    pub fn add(&self, path: &Path, what: String, time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.entry(path.to_owned()).or_default();
        entry.0 += time;
        entry.1 = what;
    }

    /// One line per path, sorted by path.
    pub fn lines(&self) -> Vec<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(path, (time, what)): (&PathBuf, &(Duration, String))| {
            format!("{}: {what}; {:.1} s", show(path), time.as_secs_f64())
        };
        all.iter().map(line).collect()
    }
}

impl Context {
    /// A context without plugins and options.
    pub fn new(epoch: SourceDateEpoch) -> Self {
        let (options, spent) = (BTreeMap::new(), Spent::default());
        let (vouching, plugins) = (Rules::default(), Vec::new());
        let (keep, scratch, packages) = (None, None, None);
        let earlier = Arc::default();
        Context { epoch, options, plugins, keep, vouching, scratch, packages, earlier, spent }
    }

    /// Keeps everything that `keep` matches as it is.
    pub(crate) fn keeping(mut self, keep: Globs) -> Self {
        self.keep = Some(Arc::new(keep));
        self
    }

    /// Keeps large content on the file system of `dir` instead of where temporary files go.
    pub(crate) fn scratch_in(mut self, dir: &Path) -> Self {
        self.scratch = Some(dir.to_owned());
        self
    }

    /// A file without a name, for content that is too large for memory.
    pub fn scratch(&self) -> io::Result<File> {
        disk::scratch(self.scratch.as_deref())
    }

    /// Whether the configuration keeps this path as it is. A glob may name it as it is or as a
    /// booted system has it (`etc/…` for `usr/etc/…`).
    pub fn keeps(&self, entry: &Entry) -> bool {
        self.keep.as_ref().is_some_and(|globs| globs.holds(entry))
    }

    /// Whether the plugin of this page is in force.
    pub fn runs(&self, page: &Page) -> bool {
        self.plugins.iter().any(|plugin| plugin.page().name == page.name)
    }

    /// The value of a plugin's option: as set, or the default of its page.
    ///
    /// An option that the page does not list has the empty value.
    pub fn option(&self, page: &'static Page, name: &str) -> &str {
        // Called for every path, for a map with a few entries: a linear search allocates nothing.
        let mut set = self.options.iter().filter(|((p, n), _)| p == page.name && n == name);
        let default = || page.options.iter().find(|o| o.name == name).map_or("", |o| o.default);
        set.next().map_or_else(default, |(_, value)| value)
    }
}
