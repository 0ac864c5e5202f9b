//! The trait of plugins, their pages, options and verdicts, and the chain that runs plugins over
//! one path.
//!
//! No plugin is known here by name. The engine, `check` and the code for the inside of boot images
//! all use the same [`Chain`].

mod chain;
mod content;
mod context;
mod follows;
mod page;
mod verdict;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Cursor};
use std::path::Path;

pub(crate) use crate::globs;
use crate::tree::{Difference, Entry, Seekable, Tree};

pub use chain::{Chain, Form, Normal, Note, Verdicts};
pub use content::{Content, Spool, Spooled};
pub use context::{Context, Spent};
pub use follows::{CommonCause, Consequence, Follows, OtherDifferences, Owners};
pub use page::{Opt, Page};
pub use verdict::{NewState, Step, Verdict};

/// One source of difference, and the pure function that removes it.
///
/// Cost contract: [`Plugin::wants`] runs for every path of the tree and does no I/O and hardly any
/// allocation; [`Plugin::canonical`] runs only if `wants` says so.
pub trait Plugin: Sync {
    /// What the plugin is, for `reprofix plugins`, `reprofix explain` and the README's table.
    fn page(&self) -> &'static Page;

    /// Whether the plugin handles this path, judged by its name and metadata alone.
    fn wants(&self, entry: &Entry, cx: &Context) -> Want;

    /// The normal form of one file. Pure: the same input gives the same verdict on every machine,
    /// and the normal form of a normal form is [`Verdict::Keep`].
    ///
    /// An error means that the file, a companion of it or scratch space could not be read or
    /// written: the run fails, since "could not look" is not "nothing to do". What can be read and
    /// not understood is [`Verdict::Unparsed`].
    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict>;

    /// What still differs between two files of this plugin whose normal forms are not equal:
    /// one lower-case phrase for each finding ("3 packages differ: …"), in a stable order.
    fn explain(&self, _a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        Vec::new()
    }

    /// Whether [`Plugin::canonical`] depends only on the bytes and the ending of the name, so that
    /// one verdict holds for all names of an inode with the same ending.
    fn judges_bytes_alone(&self) -> bool {
        false
    }

    /// Whether it uses [`Context::packages`].
    fn asks_packages(&self) -> bool {
        false
    }

    /// What differs inside two files whose normal forms are equal: for files that are trees
    /// themselves, where the plugin's name alone says too little. Phrases are like those of
    /// [`Plugin::explain`].
    fn within(&self, _a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        Vec::new()
    }

    /// What the plugin knows about a path that it wants and that exists in only one of two builds,
    /// or is a link with two targets.
    fn about(&self, _entry: &Entry) -> Option<&'static str> {
        None
    }

    /// What the plugin knows about an extended attribute of any path that differs between two
    /// builds.
    fn about_attribute(&self, _name: &[u8]) -> Option<&'static str> {
        None
    }

    /// What these differences follow from: one answer each, or none at all. A path may differ only
    /// because a file of this plugin does, or a file of this plugin only because another path does.
    /// Called for unexplained differences and the plugin's own files.
    fn followers(
        &self,
        _open: &[&Difference],
        _around: &OtherDifferences<'_>,
    ) -> Vec<Option<Follows>> {
        Vec::new()
    }

    /// A cause that differences have in common and none of them shows alone, with lines for each
    /// path: one answer for each of `all`, or none at all. `packaged` returns a path's mode in its
    /// package, if both builds agree on it.
    fn common_cause(
        &self,
        _all: &[&Difference],
        _packaged: &dyn Fn(&Path) -> Option<u16>,
    ) -> Vec<Option<(&'static CommonCause, Vec<String>)>> {
        Vec::new()
    }

    /// Whether it changes the content of files, not only their metadata.
    fn changes_content(&self) -> bool {
        true
    }

    /// Whether it also acts on the files inside a boot image.
    fn acts_inside_images(&self) -> bool {
        true
    }

    /// Files whose checksum is in the names of others (`vmlinuz-…-SHA256`): the directory and the
    /// start of each name, in the order of precedence.
    fn named_after(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// For a plugin that is a table: each row's paths, what happens to them, and the reason.
    fn table(&self) -> Vec<[&'static str; 3]> {
        Vec::new()
    }
}

impl fmt::Debug for dyn Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.page().name)
    }
}

/// What a plugin needs in order to judge a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The plugin does not handle it.
    No,
    /// Its metadata is enough: [`File::bytes`] stays empty.
    Entry,
    /// Its content too (regular files only).
    Bytes,
    /// Its content, if the file begins with these bytes. All others are opened just for their first
    /// bytes, so use it for names that may be anything, but not for every name.
    Magic(&'static [u8]),
    /// Its content too, which may be large: [`File::bytes`] stays empty unless an earlier plugin
    /// has read it, and [`File::open`] streams it.
    Stream,
}

/// One path as a plugin sees it.
pub struct File<'a> {
    /// Name and metadata.
    pub entry: &'a Entry,
    /// The content after the earlier plugins; empty unless some plugin wanted bytes.
    pub bytes: Cow<'a, [u8]>,
    /// The tree around it, for the rare plugin whose file has companions (`rpmdb.sqlite-wal`). It
    /// has the state before the run, not what other plugins made of it.
    pub tree: &'a dyn Tree,
}

impl File<'_> {
    /// The content, read from the tree if no plugin wanted the bytes; empty if that fails. For
    /// [`Plugin::explain`], which may need content that [`Plugin::wants`] did not ask for.
    pub fn content(&self) -> Cow<'_, [u8]> {
        if !self.bytes.is_empty() {
            return Cow::Borrowed(&self.bytes);
        }
        let read = self.tree.read(&self.entry.path);
        Cow::Owned(read.ok().flatten().unwrap_or_default())
    }

    /// The content after the earlier plugins, to be read in any order; for [`Want::Stream`].
    pub fn open(&self) -> io::Result<Box<dyn Seekable + '_>> {
        if !self.bytes.is_empty() {
            return Ok(Box::new(Cursor::new(&*self.bytes)));
        }
        self.tree.open(&self.entry.path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
