//! One file or folder a plugin, and the ordered table of them.
//!
//! To add a plugin: copy a file here, add its line to [`REGISTRY`], add a case under
//! `tests/cases/`. `CONTRIBUTING.md` has the steps.

mod accounts;
mod ar;
mod authselect;
mod build_ids;
mod build_traces;
mod cacerts;
mod catalog;
mod content;
mod depmod;
mod dnf_history;
mod dnf_state;
mod fontconfig;
mod gio_modules;
mod glib_schemas;
mod gzip;
mod hwdb;
mod icon_cache;
pub mod initramfs;
mod jar;
mod javadoc;
mod kernel_modules;
mod known;
mod ld_cache;
mod locale_archive;
mod machine_state;
mod mime_cache;
mod mtime;
mod os_release;
pub(crate) mod pattern;
mod pycache;
mod random_ids;
pub mod rpmdb;
mod selinux;
mod table;
mod tar;
mod treefile;
mod xattrs;
mod zip;

use std::borrow::Cow;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use crate::engine::Context;
use crate::format::Malformed;
use crate::tree::{Entry, Seekable, Time, Tree};

pub use content::{Content, Spool, Spooled};

/// Every plugin, in the order in which they chain on one file.
pub static REGISTRY: &[&dyn Plugin] = &[
    &machine_state::MACHINE_STATE,
    &random_ids::RANDOM_IDS,
    &dnf_state::DNF_STATE,
    &dnf_history::DnfHistory,
    &build_traces::BUILD_TRACES,
    &pycache::Pycache,
    &accounts::Accounts,
    &authselect::Authselect,
    &cacerts::Cacerts,
    &fontconfig::Fontconfig,
    &hwdb::Hwdb,
    &gio_modules::GioModules,
    &ld_cache::LD_CACHE,
    &mime_cache::MIME_CACHE,
    &icon_cache::ICON_CACHE,
    &glib_schemas::GLIB_SCHEMAS,
    &glib_schemas::DCONF,
    &locale_archive::LOCALE_ARCHIVE,
    &catalog::CATALOG,
    &depmod::DEPMOD,
    &selinux::SELINUX,
    &kernel_modules::KernelModules,
    &os_release::OS_RELEASE,
    &treefile::TREEFILE,
    &build_ids::BUILD_IDS,
    &gzip::Gzip,
    &zip::Zip,
    &jar::Jar,
    &ar::Ar,
    &tar::Tar,
    &javadoc::Javadoc,
    &rpmdb::Rpmdb,
    &initramfs::Initramfs,
    &xattrs::Xattrs,
    &mtime::Mtime,
];

/// The plugin called `name`.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    REGISTRY.iter().copied().find(|p| p.page().name == name)
}

/// One source of difference, and the pure function that removes it.
///
/// Cost contract: [`Plugin::wants`] runs for every path of the tree and does no I/O and no
/// allocation worth naming; [`Plugin::canonical`] runs only where `wants` said so.
pub trait Plugin: Sync {
    /// What the plugin is, for `reprofix plugins`, `reprofix explain` and the README's table.
    fn page(&self) -> &'static Page;

    /// Whether this path is the plugin's business, judged from its name and metadata alone.
    fn wants(&self, entry: &Entry, cx: &Context) -> Want;

    /// The normal form of one file. Pure: the same input gives the same verdict on every machine,
    /// and the normal form of a normal form is [`Verdict::Keep`].
    fn canonical(&self, file: &File<'_>, cx: &Context) -> Verdict;

    /// What still differs between two files of this plugin whose normal forms are not equal:
    /// one lower-case phrase a finding ("3 packages differ: …"), in a stable order.
    fn explain(&self, _a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        Vec::new()
    }

    /// What differs inside two files, as they stand, whose normal forms are equal: for files that are
    /// trees themselves, where the plugin's name alone says too little. As [`Plugin::explain`].
    fn within(&self, _a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        Vec::new()
    }

    /// What is known of a path, which the plugin wants, that stands in one of two builds only, or
    /// is a link with two targets.
    fn about(&self, _entry: &Entry) -> Option<&'static str> {
        None
    }

    /// For a plugin that is a table: each row's paths, what happens to them, and the reason.
    fn table(&self) -> Vec<[&'static str; 3]> {
        Vec::new()
    }
}

/// What a plugin needs in order to judge a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Not this plugin's business.
    No,
    /// Its metadata is enough: [`File::bytes`] stays empty.
    Entry,
    /// Its content too (regular files only).
    Bytes,
    /// Its content too, which may be large: [`File::bytes`] stays empty unless a plugin before this
    /// one has read it, and [`File::open`] reads it piece by piece.
    Stream,
}

/// One path as a plugin sees it.
pub struct File<'a> {
    /// Name and metadata.
    pub entry: &'a Entry,
    /// The content as the plugins before this one left it; empty unless some plugin wanted bytes.
    pub bytes: Cow<'a, [u8]>,
    /// The tree around it, for the rare plugin whose file has companions (`rpmdb.sqlite-wal`).
    /// What is read there is the state before the run, not what other plugins made of it.
    pub tree: &'a dyn Tree,
}

impl File<'_> {
    /// The content, read from the tree where no plugin wanted the bytes; empty if that fails.
    /// For [`Plugin::explain`], which may look at what [`Plugin::wants`] spares.
    pub fn content(&self) -> Cow<'_, [u8]> {
        if !self.bytes.is_empty() {
            return Cow::Borrowed(&self.bytes);
        }
        let read = self.tree.read(&self.entry.path);
        Cow::Owned(read.ok().flatten().unwrap_or_default())
    }

    /// The content as the plugins before this one left it, to be read in any order; for
    /// [`Want::Stream`].
    pub fn open(&self) -> io::Result<Box<dyn Seekable + '_>> {
        if !self.bytes.is_empty() {
            return Ok(Box::new(Cursor::new(&*self.bytes)));
        }
        self.tree.open(&self.entry.path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What a plugin makes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In normal form already.
    Keep,
    /// These bytes are the normal form.
    Rewrite(Vec<u8>),
    /// As `Rewrite`, of a file too large to hold in memory.
    Spooled(Spooled),
    /// The normal form is absence. A directory goes only if everything in it goes.
    Remove,
    /// The modification time becomes this.
    Mtime(Time),
    /// Several paths change together, in this order; each step alone leaves a tree that its
    /// readers understand. The last step that writes the judged path gives its normal form.
    Steps(Vec<Step>),
    /// What becomes of it is decided together with this path, whose steps write it.
    With(PathBuf),
    /// These extended attributes go, by name; everything else stays.
    Xattrs(Vec<Vec<u8>>),
    /// A known source of difference that no tool may fix here: why, and what to do instead.
    Report(String),
    /// Looks like this plugin's file but cannot be understood; it is left alone, with a warning.
    Unparsed(Malformed),
}

impl Verdict {
    /// Whether the plugin asks for a change of this path, not only says a word.
    pub fn changes(&self) -> bool {
        match self {
            Verdict::Rewrite(_)
            | Verdict::Spooled(_)
            | Verdict::Remove
            | Verdict::Mtime(_)
            | Verdict::Xattrs(_)
            | Verdict::Steps(_) => true,
            Verdict::Keep | Verdict::With(_) | Verdict::Report(_) | Verdict::Unparsed(_) => false,
        }
    }
}

/// One step of [`Verdict::Steps`], applied by the engine like any other change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The file at this path, which exists, gets this content.
    Write(PathBuf, Content),
    /// The name goes, if it is there.
    Remove(PathBuf),
    /// The name becomes another hard link of the second path.
    Link(PathBuf, PathBuf),
    /// These files, which exist, get these contents as one. The first is what the others describe:
    /// whenever the run is killed, no other stands beside a first that it does not belong to, and
    /// the next run finishes.
    Unit(Vec<(PathBuf, Vec<u8>)>),
}

/// What a step leaves at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left<'s> {
    /// A file with this content.
    Bytes(&'s [u8]),
    /// A file with this content, too large for memory.
    Spooled(&'s Spooled),
    /// Nothing.
    Nothing,
    /// Another name of this path.
    Link(&'s Path),
}

impl Step {
    /// The paths that the step changes.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Step::Write(path, _) | Step::Remove(path) | Step::Link(path, _) => vec![path],
            Step::Unit(files) => files.iter().map(|(path, _)| path.as_path()).collect(),
        }
    }

    /// What the step leaves at `path`; `None` if it does not change it.
    pub fn leaves(&self, path: &Path) -> Option<Left<'_>> {
        match self {
            Step::Write(at, content) => (at == path).then_some(match content {
                Content::Held(bytes) => Left::Bytes(bytes),
                Content::Spooled(spooled) => Left::Spooled(spooled),
            }),
            Step::Remove(at) => (at == path).then_some(Left::Nothing),
            Step::Link(at, of) => (at == path).then_some(Left::Link(of)),
            Step::Unit(files) => {
                let own = files.iter().find(|(at, _)| at == path);
                own.map(|(_, bytes)| Left::Bytes(bytes))
            }
        }
    }
}

/// A plugin's page: its whole documentation as data. `reprofix explain NAME` prints it.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The name, as in `--plugin NAME`.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// On unless asked otherwise?
    pub default: bool,
    /// The paths it looks at, for people.
    pub paths: &'static str,
    /// What varies between two builds.
    pub varies: &'static str,
    /// Why it varies.
    pub why: &'static str,
    /// What is done about it.
    pub done: &'static str,
    /// What is lost by that.
    pub lost: &'static str,
    /// The upstream state: since when fixed there, or where it is discussed.
    pub upstream: &'static str,
    /// Whether a rewrite may touch files that are as their package shipped them. `false`: such
    /// payload is the same in every build and stays as it is, unless `--deep`.
    pub payload: bool,
    /// The options it takes.
    pub options: &'static [Opt],
}

/// One option of a plugin: `--set PLUGIN.NAME=VALUE`, or `[plugins.PLUGIN]` in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The name after the dot.
    pub name: &'static str,
    /// The values it takes, or an empty list for free text.
    pub values: &'static [&'static str],
    /// The value when none is given.
    pub default: &'static str,
    /// One line: what it chooses.
    pub help: &'static str,
}
