//! What a plugin is: the trait, its page and options, its verdict, and the chain that runs plugins
//! over one path.
//!
//! Nothing here knows a plugin by name. The engine, `check` and the inside of a boot image all ask
//! the same [`Chain`].

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
pub use follows::{Around, CommonCause, Consequence, Follows, Owners};
pub use page::{Opt, Page};
pub use verdict::{NewState, Step, Verdict};

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
    ///
    /// An error means that the file, a companion of it or scratch space could not be read or
    /// written: the run fails, since "could not look" is not "nothing to do". What can be read and
    /// not understood is [`Verdict::Unparsed`].
    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict>;

    /// What still differs between two files of this plugin whose normal forms are not equal:
    /// one lower-case phrase a finding ("3 packages differ: …"), in a stable order.
    fn explain(&self, _a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        Vec::new()
    }

    /// Whether [`Plugin::canonical`] asks nothing but the bytes and how the name ends, so that one
    /// verdict holds for all names of an inode that end alike.
    fn judges_bytes_alone(&self) -> bool {
        false
    }

    /// Whether it asks [`Context::packages`] what is installed.
    fn asks_packages(&self) -> bool {
        false
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

    /// What is known of an extended attribute, of any path, that differs between two builds.
    fn about_attribute(&self, _name: &[u8]) -> Option<&'static str> {
        None
    }

    /// What these differences follow from, one answer each, or no answers at all: a path that differs
    /// only because a file of this plugin does, or a file of this plugin that differs only because
    /// another path does. Asked of what nobody explains and of the plugin's own files.
    fn followers(&self, _open: &[&Difference], _around: &Around<'_>) -> Vec<Option<Follows>> {
        Vec::new()
    }

    /// What differences have in common that none of them shows alone, and the lines that say so of a
    /// path: one answer for each of `all`, or no answers at all. `packaged` gives the mode
    /// that a path's package has for it in both builds.
    fn common_cause(
        &self,
        _all: &[&Difference],
        _packaged: &dyn Fn(&Path) -> Option<u16>,
    ) -> Vec<Option<(&'static CommonCause, Vec<String>)>> {
        Vec::new()
    }

    /// Whether it changes bytes of files, not only their metadata.
    fn changes_content(&self) -> bool {
        true
    }

    /// Whether it also acts on the files inside a boot image.
    fn acts_inside_images(&self) -> bool {
        true
    }

    /// Files whose checksum is in the names of others (`vmlinuz-…-SHA256`): the directory and the
    /// start of the name, what such a name follows first.
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
    /// Not this plugin's business.
    No,
    /// Its metadata is enough: [`File::bytes`] stays empty.
    Entry,
    /// Its content too (regular files only).
    Bytes,
    /// As `Bytes`, of a file that begins so. Every other is opened for its first bytes alone, so this
    /// is for names that may be anything, not for every name.
    Magic(&'static [u8]),
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
