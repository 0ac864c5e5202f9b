//! The plugins in force on the files inside an image.

use std::borrow::Cow;
use std::io;

use super::{PAGE, parameters, release, tree};
use crate::format::initramfs::{Entry, MemberRules, MemberVerdict};
use crate::normal::Context;
use crate::normal::{Chain, Plugin, Want};
use crate::tree::Tree;
use crate::vouchers::Vouchers;

/// The plugins in force, in the registry's order, on one image.
pub struct Registry<'a> {
    tree: &'a dyn Tree,
    cx: &'a Context,
    vouchers: Vouchers<'a>,
}

impl<'a> Registry<'a> {
    /// The rules for the files of the image that `tree` shows.
    pub fn new(tree: &'a dyn Tree, cx: &'a Context) -> Self {
        Registry { tree, cx, vouchers: Vouchers::of(tree) }
    }

    fn plugins(&self) -> impl Iterator<Item = &'static dyn Plugin> {
        self.cx.plugins.iter().copied().filter(|plugin| plugin.acts_inside_images())
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

impl MemberRules for Registry<'_> {
    fn wants(&self, entry: &Entry) -> bool {
        let seen = tree::entry(entry, entry.header.size);
        self.own(&entry.name) || self.wanting(&seen).next().is_some()
    }

    fn judge(&self, entry: &Entry, content: Vec<u8>) -> io::Result<MemberVerdict> {
        let seen = tree::entry(entry, content.len() as u32);
        let plugins: Vec<_> = self.plugins().collect();
        let chain = Chain { plugins: &plugins, cx: self.cx, vouchers: &self.vouchers };
        let normal = chain.normal_form_of(self.tree, &seen, content.clone())?;
        if normal.is_removed(&seen) {
            return Ok(MemberVerdict::Remove);
        }
        let now = normal.content(&seen)?.unwrap_or(Cow::Borrowed(&content[..]));
        let now = match () {
            () if self.cx.keeps(&seen) => now,
            () if parameters::wants(&entry.name) => Cow::Owned(parameters::canonical(&now)),
            () if self.own(&entry.name) => Cow::Owned(release::without_version(&now)),
            () => now,
        };
        Ok(match now {
            now if *now == *content => MemberVerdict::Keep,
            now => MemberVerdict::Replace(now.into_owned()),
        })
    }
}
