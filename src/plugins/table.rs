//! Plugins that are a table: path, what happens to it, and the reason.

use std::sync::OnceLock;

use super::pattern::Globs;
use super::{File, Page, Plugin, Verdict, Want};
use crate::engine::Context;
use crate::tree::{Entry, Kind};

/// One row: these paths, this action, for this reason.
#[derive(Debug)]
pub(super) struct Row {
    /// A glob over logical paths (see [`Globs`]).
    pub(super) glob: &'static str,
    /// The kinds it is about.
    pub(super) kinds: &'static [Kind],
    /// What happens.
    pub(super) action: Action,
    /// Why that is right here, as a phrase: "made anew at the first boot (…)".
    pub(super) reason: &'static str,
}

/// What happens to a row's paths.
#[derive(Debug)]
pub(super) enum Action {
    /// It goes. A directory goes only if everything in it goes.
    Remove,
    /// It stays with no content, unless its content is this.
    Empty(&'static [u8]),
    /// It stays as it is, even where a later row would take it.
    Keep,
    /// It stays, and the reason is reported.
    Report,
}

impl Action {
    fn word(&self) -> &'static str {
        match self {
            Action::Remove => "removed",
            Action::Empty(_) => "emptied",
            Action::Keep => "kept",
            Action::Report => "reported",
        }
    }
}

/// Regular files only.
pub(super) const FILE: &[Kind] = &[Kind::File];
/// Directories only.
pub(super) const DIR: &[Kind] = &[Kind::Dir];
/// Files and symbolic links.
pub(super) const LEAF: &[Kind] = &[Kind::File, Kind::Symlink];
/// Everything ostree can store.
pub(super) const ANY: &[Kind] = &[Kind::File, Kind::Symlink, Kind::Dir];

/// A plugin made of a page and rows.
#[derive(Debug)]
pub(super) struct Table {
    page: &'static Page,
    rows: &'static [Row],
    globs: OnceLock<Globs>,
}

impl Table {
    /// The plugin of this page and these rows. The first row whose glob and kind match decides.
    pub(super) const fn new(page: &'static Page, rows: &'static [Row]) -> Self {
        Table { page, rows, globs: OnceLock::new() }
    }

    fn row(&self, entry: &Entry) -> Option<&'static Row> {
        let globs = self.globs.get_or_init(|| Globs::new(self.rows.iter().map(|row| row.glob)));
        globs
            .all(&entry.logical())
            .map(|index| &self.rows[index])
            .find(|row| row.kinds.contains(&entry.kind))
    }
}

impl Plugin for Table {
    fn page(&self) -> &'static Page {
        self.page
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match self.row(entry).map(|row| &row.action) {
            None | Some(Action::Keep) => Want::No,
            Some(Action::Empty(_)) => Want::Bytes,
            Some(Action::Remove | Action::Report) => Want::Entry,
        }
    }

    fn canonical(&self, file: &File<'_>, _cx: &Context) -> Verdict {
        let Some(row) = self.row(file.entry) else { return Verdict::Keep };
        match row.action {
            Action::Remove => Verdict::Remove,
            Action::Empty(kept) if file.bytes.is_empty() || *file.bytes == *kept => Verdict::Keep,
            Action::Empty(_) => Verdict::Rewrite(Vec::new()),
            Action::Keep => Verdict::Keep,
            Action::Report => Verdict::Report(row.reason.to_owned()),
        }
    }

    fn explain(&self, a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        self.row(a.entry).map(|row| row.reason.to_owned()).into_iter().collect()
    }

    fn table(&self) -> Vec<[&'static str; 3]> {
        self.rows.iter().map(|row| [row.glob, row.action.word(), row.reason]).collect()
    }
}
