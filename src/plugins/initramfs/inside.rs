//! The plugins in force on the files inside an image.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{PAGE, parameters, release, tree};
use crate::format::initramfs::{Entry, Inner, Inside};
use crate::normal::{Chain, Context, Plugin, Want, nothing_shipped};
use crate::plugins::REGISTRY;
use crate::tree::{self as trees, Tree};

/// Plugins that stay outside: this one, the one for times, which every entry's header has its own
/// rule for.
const OUTSIDE: &[&str] = &["initramfs", "mtime"];

/// The plugins in force, or those that are on by default, in the registry's order, on one image.
pub struct Registry<'a> {
    tree: &'a (dyn Tree + 'a),
    cx: &'a Context,
    plugins: Vec<&'static dyn Plugin>,
}

impl<'a> Registry<'a> {
    /// The rules for the files of the image that `tree` shows.
    pub fn new(tree: &'a dyn Tree, cx: &'a Context) -> Self {
        let acts = |p: &&'static dyn Plugin| cx.runs(p.page()) && !OUTSIDE.contains(&p.page().name);
        let plugins = REGISTRY.iter().copied().filter(acts).collect();
        Registry { tree, cx, plugins }
    }

    /// The plugins that want `entry`, for explaining what differs in it.
    pub(super) fn wanting(
        &self,
        entry: &trees::Entry,
    ) -> impl Iterator<Item = &'static dyn Plugin> {
        self.plugins.iter().copied().filter(|p| p.wants(entry, self.cx) != Want::No)
    }

    /// Whether this plugin has a rule of its own for the file.
    pub(super) fn own(&self, name: &[u8]) -> bool {
        let release = self.cx.option(&PAGE, "release") == "no-version";
        parameters::wants(name) || release && release::wants(name)
    }

    /// The content after the rules of this plugin.
    fn by_own<'c>(&self, name: &[u8], content: &'c [u8]) -> Cow<'c, [u8]> {
        match parameters::wants(name) {
            true => Cow::Owned(parameters::canonical(content)),
            false if self.own(name) => Cow::Owned(release::without_version(content)),
            false => Cow::Borrowed(content),
        }
    }
}

impl Inside for Registry<'_> {
    fn wants(&self, entry: &Entry) -> bool {
        let seen = tree::entry(entry, entry.header.size);
        self.own(&entry.name) || self.wanting(&seen).next().is_some()
    }

    fn judge(&self, entry: &Entry, content: Vec<u8>) -> io::Result<Inner> {
        let bytes = self.by_own(&entry.name, &content);
        let seen = tree::entry(entry, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if self.cx.keeps(&seen) {
            return Ok(Inner::Keep);
        }
        let chain = Chain { plugins: &self.plugins, cx: self.cx, shipped: &nothing_shipped };
        let normal =
            chain.normal_form(&With { tree: self.tree, path: &seen.path, bytes: &bytes }, &seen)?;
        if normal.is_removed(&seen) {
            return Ok(Inner::Remove);
        }
        let now = normal.content(&seen)?.unwrap_or(Cow::Borrowed(&bytes));
        Ok(if *now == content { Inner::Keep } else { Inner::Replace(now.into_owned()) })
    }
}

/// The image's tree, with this content of one file: that of the archive which is being judged.
struct With<'a> {
    tree: &'a dyn Tree,
    path: &'a Path,
    bytes: &'a [u8],
}

impl Tree for With<'_> {
    fn lookup(&self, path: &Path) -> io::Result<Option<trees::Entry>> {
        self.tree.lookup(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.tree.list(path)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if path == self.path { Ok(Some(self.bytes.to_vec())) } else { self.tree.read(path) }
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        self.tree.readlink(path)
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.tree.xattrs(path)
    }
}
