//! Plugins that are a table: path, what happens to it, and the reason.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::format::Malformed;
use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{Around, File, Follows, Page, Plugin, Verdict, Want};
use crate::tree::{Difference, Entry, Kind};

/// One row: these paths, this action, for this reason.
#[derive(Debug)]
pub(super) struct Row {
    /// A glob over logical paths (see [`Globs`]).
    glob: &'static str,
    /// The kinds it is about.
    kinds: &'static [Kind],
    /// What happens.
    action: Action,
    /// Why that is right here, as a phrase: "made anew at the first boot (…)".
    reason: &'static str,
    /// The action needs one of these in the tree; without, the path is reported. Empty: no need.
    needs: &'static [&'static str],
}

/// What happens to a row's paths.
#[derive(Debug)]
pub(super) enum Action {
    /// It goes. A directory goes only if everything in it goes.
    Remove,
    /// A file goes unless it is as its package shipped it.
    RemoveMade,
    /// It stays with no content, unless its content is this.
    Empty(&'static [u8]),
    /// It stays with another content.
    Rewrite(fn(&[u8]) -> Result<Vec<u8>, Malformed>),
    /// It stays, and the reason is reported whenever it is there.
    Report,
    /// It stays, and the reason is told only where two builds differ in it.
    Explain,
}

impl Action {
    fn word(&self) -> &'static str {
        match self {
            Action::Remove => "removed",
            Action::RemoveMade => "removed unless packaged",
            Action::Empty(_) => "emptied",
            Action::Rewrite(_) => "rewritten",
            Action::Report => "reported",
            Action::Explain => "explained",
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

impl Row {
    /// A row; see the fields for what each means.
    pub(super) const fn new(
        glob: &'static str,
        kinds: &'static [Kind],
        action: Action,
        reason: &'static str,
    ) -> Self {
        Row { glob, kinds, action, reason, needs: &[] }
    }

    /// The same row, acting only where one of `paths` is in the tree.
    pub(super) const fn needs(mut self, paths: &'static [&'static str]) -> Self {
        self.needs = paths;
        self
    }

    /// Whether what the action needs is in the tree.
    fn may_act(&self, file: &File<'_>) -> io::Result<bool> {
        for path in self.needs {
            if file.tree.lookup(Path::new(path))?.is_some() {
                return Ok(true);
            }
        }
        Ok(self.needs.is_empty())
    }
}

/// What the difference of a path follows from.
type Follower = fn(&Difference, &Around<'_>) -> Option<Follows>;

/// A plugin made of a page and rows. Its option `unsure=remove`, where its page has it, drops what
/// the rows need.
#[derive(Debug)]
pub(super) struct Table {
    page: &'static Page,
    rows: &'static [Row],
    globs: OnceLock<Globs>,
    follows: Follower,
}

impl Table {
    /// The plugin of this page and these rows. The first row whose glob and kind match decides.
    pub(super) const fn new(page: &'static Page, rows: &'static [Row]) -> Self {
        Table { page, rows, globs: OnceLock::new(), follows: |_, _| None }
    }

    /// The same plugin, of whose paths this function says what their differences follow from.
    pub(super) const fn follows(mut self, follows: Follower) -> Self {
        self.follows = follows;
        self
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
            None => Want::No,
            Some(Action::Remove | Action::Report | Action::Explain) => Want::Entry,
            Some(Action::RemoveMade | Action::Empty(_) | Action::Rewrite(_)) => Want::Bytes,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let Some(row) = self.row(file.entry) else { return Ok(Verdict::Keep) };
        let sure = cx.option(self.page, "unsure") == "remove" || row.may_act(file)?;
        Ok(match row.action {
            Action::Explain => Verdict::Keep,
            Action::Empty(kept) if file.bytes.is_empty() || *file.bytes == *kept => Verdict::Keep,
            Action::Rewrite(normal_form) => Verdict::of(normal_form(&file.bytes), &file.bytes),
            Action::Report => Verdict::Report(row.reason.to_owned()),
            _ if !sure => {
                let needs = row.needs.join(" or ");
                Verdict::Report(format!("left, since {needs} is missing: {}", row.reason))
            }
            Action::Remove | Action::RemoveMade => Verdict::Remove,
            Action::Empty(_) => Verdict::Rewrite(Vec::new()),
        })
    }

    fn explain(&self, a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        self.row(a.entry).map(|row| row.reason.to_owned()).into_iter().collect()
    }

    fn about(&self, entry: &Entry) -> Option<&'static str> {
        self.row(entry).map(|row| row.reason)
    }

    fn followers(&self, open: &[&Difference], around: &Around<'_>) -> Vec<Option<Follows>> {
        let own = |difference: &Difference| {
            let side = difference.a.as_ref().or(difference.b.as_ref());
            side.is_some_and(|side| self.row(&side.entry(&difference.path)).is_some())
        };
        let follower = |difference: &&Difference| {
            if own(difference) { (self.follows)(difference, around) } else { None }
        };
        open.iter().map(follower).collect()
    }

    fn table(&self) -> Vec<[&'static str; 3]> {
        self.rows.iter().map(|row| [row.glob, row.action.word(), row.reason]).collect()
    }
}
