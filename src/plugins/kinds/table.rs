//! Plugins that are a table: path, what happens to it, and the reason.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use memchr::memmem;

use super::reader::{ReadFacts, compare};
use crate::format::Malformed;
use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{File, Follows, OtherDifferences, Page, Plugin, Verdict, Want};
use crate::tree::{Difference, Entry, Kind, Tree};

/// One row: these paths, this action, for this reason.
#[derive(Debug)]
pub(in crate::plugins) struct Row {
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
    /// A unit of any name that runs a command with one of these words is as good.
    runs: &'static [&'static str],
    /// What names the fields that differ between two files, after the reason.
    reader: Option<ReadFacts>,
    /// Whether two files differ in what the reason says and in nothing else.
    only: Option<OnlyReason>,
}

/// Whether the reason of a row is all that two files differ in.
type OnlyReason = fn(&[u8], &[u8]) -> Result<bool, Malformed>;

/// Where systemd looks for units, in either form of a root.
const UNITS: [&str; 4] = [
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "etc/systemd/system",
    "usr/etc/systemd/system",
];
/// Bytes of a unit that are read, at most.
const UNIT_BYTES: u64 = 64 << 10;
/// What a unit says that runs at a first boot only.
const FIRST_BOOT: &[&[u8]] = &[
    b"ConditionFirstBoot=yes",
    b"ConditionFirstBoot=true",
    b"ConditionFirstBoot=on",
    b"ConditionFirstBoot=1",
];

/// What happens to a row's paths.
#[derive(Debug)]
pub(in crate::plugins) enum Action {
    /// It goes. A directory goes only if everything in it goes.
    Remove,
    /// A file goes unless it is as its package shipped it.
    RemoveMade,
    /// It stays with no content, unless its content is this.
    Empty(&'static [u8]),
    /// It stays with another content.
    Rewrite(fn(&[u8]) -> Result<Vec<u8>, Malformed>),
    /// It stays with its times at most that of SOURCE_DATE_EPOCH.
    Clamp(fn(&[u8], u32) -> Result<Vec<u8>, Malformed>),
    /// It stays, and what this finds wrong with it is reported.
    Check(fn(&File<'_>) -> io::Result<Option<String>>),
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
            Action::Clamp(_) => "clamped",
            Action::Check(_) => "reported if wrong",
            Action::Report => "reported",
            Action::Explain => "explained",
        }
    }
}

/// Regular files only.
pub(in crate::plugins) const FILE: &[Kind] = &[Kind::File];
/// Directories only.
pub(in crate::plugins) const DIR: &[Kind] = &[Kind::Dir];
/// Symbolic links only.
pub(in crate::plugins) const SYMLINK: &[Kind] = &[Kind::Symlink];
/// Files and symbolic links.
pub(in crate::plugins) const LEAF: &[Kind] = &[Kind::File, Kind::Symlink];
/// Everything ostree can store.
pub(in crate::plugins) const ANY: &[Kind] = &[Kind::File, Kind::Symlink, Kind::Dir];

impl Row {
    /// A row; see the fields for what each means.
    pub(in crate::plugins) const fn new(
        glob: &'static str,
        kinds: &'static [Kind],
        action: Action,
        reason: &'static str,
    ) -> Self {
        Row { glob, kinds, action, reason, needs: &[], runs: &[], reader: None, only: None }
    }

    /// The same row, acting only where one of `paths` is in the tree.
    pub(in crate::plugins) const fn needs(mut self, paths: &'static [&'static str]) -> Self {
        self.needs = paths;
        self
    }

    /// What [`Row::needs`] has, where a unit of another name that runs one of `commands` is enough.
    pub(in crate::plugins) const fn or_runs(mut self, commands: &'static [&'static str]) -> Self {
        self.runs = commands;
        self
    }

    /// The same row, whose files this reader compares.
    pub(in crate::plugins) const fn reads(mut self, reader: ReadFacts) -> Self {
        self.reader = Some(reader);
        self
    }

    /// The same row, whose reason holds only for files that this finds alike but for it.
    pub(in crate::plugins) const fn only(mut self, alike: OnlyReason) -> Self {
        self.only = Some(alike);
        self
    }

    /// Why the action may not be taken here; `None` if what it needs is there.
    fn lacks(&self, file: &File<'_>) -> io::Result<Option<String>> {
        for path in self.needs {
            if file.tree.lookup(Path::new(path))?.is_some() {
                return Ok(None);
            }
        }
        if self.needs.is_empty() {
            return Ok(None);
        }
        let mut first_boot = None;
        for (name, unit) in units(file.tree, self.runs)? {
            if !has(&unit, FIRST_BOOT) {
                return Ok(None);
            }
            first_boot.get_or_insert(name);
        }
        Ok(match first_boot {
            None => Some(format!("{} is missing", self.needs.join(" or "))),
            Some(_) if is_new(file.tree)? => None,
            Some(unit) => Some(format!(
                "{} runs at a first boot only, and one with an empty etc/machine-id is none: write \
                 `uninitialized` into it (machine-id(5))",
                unit.to_string_lossy()
            )),
        })
    }
}

/// The services that run one of these commands, by the folders of units and by name.
fn units(tree: &dyn Tree, commands: &[&str]) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let mut units = Vec::new();
    for dir in UNITS.iter().filter(|_| !commands.is_empty()).map(Path::new) {
        let there = tree.lookup(dir)?.is_some_and(|entry| entry.kind == Kind::Dir);
        let mut names = if there { tree.list(dir)? } else { Vec::new() };
        names.retain(|name| name.as_bytes().ends_with(b".service"));
        names.sort_unstable();
        for name in names {
            let path = dir.join(&name);
            let small = |entry: &Entry| entry.kind == Kind::File && entry.size <= UNIT_BYTES;
            if tree.lookup(&path)?.is_some_and(|entry| small(&entry))
                && let Some(unit) = tree.read(&path)?
                && runs(&unit, commands)
            {
                units.push((name, unit));
            }
        }
    }
    Ok(units)
}

/// Whether a unit runs one of these commands.
fn runs(unit: &[u8], commands: &[&str]) -> bool {
    let mut lines = unit.split(|b| *b == b'\n').filter(|line| line.starts_with(b"Exec"));
    lines
        .any(|line| commands.iter().any(|command| memmem::find(line, command.as_bytes()).is_some()))
}

fn has(unit: &[u8], lines: &[&[u8]]) -> bool {
    unit.split(|b| *b == b'\n').any(|line| lines.contains(&line.trim_ascii()))
}

/// Whether systemd will call the next boot the first one, after what machine-state does.
fn is_new(tree: &dyn Tree) -> io::Result<bool> {
    for path in ["etc/machine-id", "usr/etc/machine-id"].map(Path::new) {
        if let Some(id) = tree.read(path)? {
            return Ok(id.trim_ascii() == b"uninitialized");
        }
    }
    Ok(true)
}

/// What the difference of a path follows from.
type Follower = fn(&Difference, &OtherDifferences<'_>) -> Option<Follows>;

/// A plugin made of a page and rows. Its option `unsure=remove`, where its page has it, drops what
/// the rows need.
#[derive(Debug)]
pub(in crate::plugins) struct Table {
    page: &'static Page,
    rows: &'static [Row],
    globs: OnceLock<Globs>,
    follows: Follower,
    attributes: &'static [(&'static str, &'static str)],
}

impl Table {
    /// The plugin of this page and these rows. The first row whose glob and kind match decides.
    pub(in crate::plugins) const fn new(page: &'static Page, rows: &'static [Row]) -> Self {
        Table { page, rows, globs: OnceLock::new(), follows: |_, _| None, attributes: &[] }
    }

    /// The same plugin, which knows of extended attributes by the beginnings of their names.
    pub(in crate::plugins) const fn attributes(
        mut self,
        attributes: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.attributes = attributes;
        self
    }

    /// The same plugin, of whose paths this function says what their differences follow from.
    pub(in crate::plugins) const fn follows(mut self, follows: Follower) -> Self {
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
            Some(Action::Remove | Action::Report | Action::Explain | Action::Check(_)) => {
                Want::Entry
            }
            Some(Action::RemoveMade | Action::Empty(_) | Action::Rewrite(_) | Action::Clamp(_)) => {
                Want::Bytes
            }
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let Some(row) = self.row(file.entry) else { return Ok(Verdict::Keep) };
        let lack = match cx.option(self.page, "unsure") {
            "remove" => None,
            _ => row.lacks(file)?,
        };
        Ok(match row.action {
            Action::Explain => Verdict::Keep,
            Action::Empty(kept) if file.bytes.is_empty() || *file.bytes == *kept => Verdict::Keep,
            Action::Rewrite(normal_form) => Verdict::of(normal_form(&file.bytes), &file.bytes),
            Action::Clamp(clamped) => {
                Verdict::of(clamped(&file.bytes, cx.epoch.seconds()), &file.bytes)
            }
            Action::Check(wrong) => wrong(file)?.map_or(Verdict::Keep, Verdict::Report),
            Action::Report => Verdict::Report(row.reason.to_owned()),
            _ if let Some(lack) = lack => {
                Verdict::Report(format!("left, since {lack}: {}", row.reason))
            }
            Action::Remove | Action::RemoveMade => Verdict::Remove,
            Action::Empty(_) => Verdict::Rewrite(Vec::new()),
        })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        let Some(row) = self.row(a.entry) else { return Vec::new() };
        if row.only.is_some_and(|alike| alike(&a.content(), &b.content()) != Ok(true)) {
            return Vec::new();
        }
        let compared = row.reader.map(|reader| compare(reader, &a.content(), &b.content()));
        [vec![row.reason.to_owned()], compared.unwrap_or_default()].concat()
    }

    fn about(&self, entry: &Entry) -> Option<&'static str> {
        self.row(entry).filter(|row| row.only.is_none()).map(|row| row.reason)
    }

    fn about_attribute(&self, name: &[u8]) -> Option<&'static str> {
        let known = self.attributes.iter().find(|(start, _)| name.starts_with(start.as_bytes()));
        known.map(|(_, reason)| *reason)
    }

    fn followers(
        &self,
        open: &[&Difference],
        around: &OtherDifferences<'_>,
    ) -> Vec<Option<Follows>> {
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
