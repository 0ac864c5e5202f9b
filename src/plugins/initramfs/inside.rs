//! The plugins of the registry on the files inside an image.

use std::borrow::Cow;
use std::io;

use super::{PAGE, parameters, release, tree};
use crate::format::initramfs::{Entry, Inner, Inside};
use crate::normal::Context;
use crate::normal::{File, Left, Plugin, Verdict, Want};
use crate::plugins::REGISTRY;
use crate::tree::Tree;

/// Plugins that stay outside: this one, the one for times, which every entry's header has its own
/// rule for.
const OUTSIDE: &[&str] = &["initramfs", "mtime"];

/// The registry's plugins that are on by default, in its order, on one image.
pub struct Registry<'a> {
    tree: &'a dyn Tree,
    cx: &'a Context,
}

impl<'a> Registry<'a> {
    /// The rules for the files of the image that `tree` shows.
    pub fn new(tree: &'a dyn Tree, cx: &'a Context) -> Self {
        Registry { tree, cx }
    }

    fn plugins(&self) -> impl Iterator<Item = &'static dyn Plugin> {
        let inside =
            |p: &&'static dyn Plugin| p.page().default && !OUTSIDE.contains(&p.page().name);
        REGISTRY.iter().copied().filter(inside)
    }

    /// The plugins that want `entry`, for explaining what differs in it.
    pub(super) fn wanting(
        &self,
        entry: &crate::tree::Entry,
    ) -> impl Iterator<Item = &'static dyn Plugin> {
        self.plugins().filter(|p| p.wants(entry, self.cx) != Want::No)
    }
}

impl Registry<'_> {
    /// Whether this plugin has a rule of its own for the file.
    pub(super) fn own(&self, name: &[u8]) -> bool {
        let release = self.cx.option(&PAGE, "release") == "no-version";
        parameters::wants(name) || release && release::wants(name)
    }
}

impl Inside for Registry<'_> {
    fn wants(&self, entry: &Entry) -> bool {
        let seen = tree::entry(entry, entry.header.size);
        self.own(&entry.name) || self.wanting(&seen).next().is_some()
    }

    fn judge(&self, entry: &Entry, content: Vec<u8>) -> io::Result<Inner> {
        let mut seen = tree::entry(entry, 0);
        if self.cx.keeps(&seen) {
            return Ok(Inner::Keep);
        }
        let mut now = Cow::Borrowed(&content);
        if parameters::wants(&entry.name) {
            now = Cow::Owned(parameters::canonical(&content));
        } else if self.own(&entry.name) {
            now = Cow::Owned(release::without_version(&content));
        }
        for plugin in self.plugins() {
            seen.size = now.len() as u64;
            if plugin.wants(&seen, self.cx) == Want::No {
                continue;
            }
            let file = File { entry: &seen, bytes: Cow::Borrowed(&now), tree: self.tree };
            match plugin.canonical(&file, self.cx)? {
                Verdict::Rewrite(bytes) => now = Cow::Owned(bytes),
                Verdict::Remove => return Ok(Inner::Remove),
                Verdict::Steps(steps) => {
                    match steps.iter().rev().find_map(|step| step.leaves(&seen.path)) {
                        Some(Left::Bytes(bytes)) => now = Cow::Owned(bytes.to_vec()),
                        Some(Left::Nothing) => return Ok(Inner::Remove),
                        // No plugin that streams acts inside.
                        Some(Left::Spooled(_) | Left::Link(_)) | None => {}
                    }
                }
                Verdict::Keep
                | Verdict::Spooled(_)
                | Verdict::Mtime(_)
                | Verdict::Xattrs(_)
                | Verdict::Mode(_)
                | Verdict::With(_)
                | Verdict::Report(_)
                | Verdict::Unparsed(_) => {}
            }
        }
        Ok(match now {
            now if *now == content => Inner::Keep,
            now => Inner::Replace(now.into_owned()),
        })
    }
}
