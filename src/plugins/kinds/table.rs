//! Plugins that are a table: paths, what happens to them, and the reason.

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
    /// The kinds of files it applies to.
    kinds: &'static [Kind],
    /// What happens.
    action: Action,
    /// Why that is right, as a phrase: "created again at the first boot (…)".
    reason: &'static str,
    /// The action needs one of these paths in the tree; without them the path is only reported.
    /// Empty if nothing is needed.
    needs: &'static [&'static str],
    /// A unit of any name that runs a command with one of these words also satisfies `needs`.
    runs: &'static [&'static str],
    /// The reader that names the fields that differ between two files, after the reason.
    reader: Option<ReadFacts>,
    /// Whether two files differ only in what the reason says.
    only: Option<OnlyReason>,
}

/// Whether two files differ only in what the reason of a row says.
type OnlyReason = fn(&[u8], &[u8]) -> Result<bool, Malformed>;

/// Where systemd looks for units, with /etc or with /usr/etc.
const UNITS: [&str; 4] = [
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "etc/systemd/system",
    "usr/etc/systemd/system",
];
/// The most bytes to read of a unit.
const UNIT_BYTES: u64 = 64 << 10;
/// Settings of a unit that runs only at a first boot.
const FIRST_BOOT: &[&[u8]] = &[
    b"ConditionFirstBoot=yes",
    b"ConditionFirstBoot=true",
    b"ConditionFirstBoot=on",
    b"ConditionFirstBoot=1",
];

/// What happens to a row's paths.
#[derive(Debug)]
pub(in crate::plugins) enum Action {
    /// It is removed. A directory is removed only if everything in it is.
    Remove,
    /// A file is removed unless it is as its package shipped it.
    RemoveMade,
    /// It is emptied, unless it has this content.
    Empty(&'static [u8]),
    /// It gets new content.
    Rewrite(fn(&[u8]) -> Result<Vec<u8>, Malformed>),
    /// Its times are clamped to SOURCE_DATE_EPOCH.
    Clamp(fn(&[u8], u32) -> Result<Vec<u8>, Malformed>),
    /// It stays, and problems that this function finds are reported.
    Check(fn(&File<'_>) -> io::Result<Option<String>>),
    /// It stays, and the reason is reported whenever it exists.
    Report,
    /// It stays, and the reason is reported only if two builds differ in it.
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
    /// A row; see the fields for the parameters.
    pub(in crate::plugins) const fn new(
        glob: &'static str,
        kinds: &'static [Kind],
        action: Action,
        reason: &'static str,
    ) -> Self {
        Row { glob, kinds, action, reason, needs: &[], runs: &[], reader: None, only: None }
    }

    /// Makes the row act only if one of `paths` is in the tree.
    pub(in crate::plugins) const fn needs(mut self, paths: &'static [&'static str]) -> Self {
        self.needs = paths;
        self
    }

    /// Lets a unit of any name that runs one of `commands` satisfy [`Row::needs`] too.
    pub(in crate::plugins) const fn or_runs(mut self, commands: &'static [&'static str]) -> Self {
        self.runs = commands;
        self
    }

    /// Compares the row's files with this reader.
    pub(in crate::plugins) const fn reads(mut self, reader: ReadFacts) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Restricts the reason to files that `alike` finds equal apart from it.
    pub(in crate::plugins) const fn only(mut self, alike: OnlyReason) -> Self {
        self.only = Some(alike);
        self
    }

    /// Why the action is not possible here; `None` if what it needs is there.
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
                "{} runs only at a first boot, and a boot with an empty etc/machine-id is not one: \
                 write `uninitialized` into it (machine-id(5))",
                unit.to_string_lossy()
            )),
        })
    }
}

/// The services that run one of these commands, sorted by directory and name.
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

/// Whether systemd will treat the next boot as the first one, after the plugin machine-state.
fn is_new(tree: &dyn Tree) -> io::Result<bool> {
    for path in ["etc/machine-id", "usr/etc/machine-id"].map(Path::new) {
        if let Some(id) = tree.read(path)? {
            return Ok(id.trim_ascii() == b"uninitialized");
        }
    }
    Ok(true)
}

/// Determines what the difference of a path follows from.
type Follower = fn(&Difference, &OtherDifferences<'_>) -> Option<Follows>;

/// A plugin made of a page and rows. If its page has the option `unsure`, `unsure=remove` ignores
/// what the rows need.
#[derive(Debug)]
pub(in crate::plugins) struct Table {
    page: &'static Page,
    rows: &'static [Row],
    globs: OnceLock<Globs>,
    follows: Follower,
    attributes: &'static [(&'static str, &'static str)],
}

impl Table {
    /// A plugin with this page and these rows. The first row whose glob and kind match decides.
    pub(in crate::plugins) const fn new(page: &'static Page, rows: &'static [Row]) -> Self {
        Table { page, rows, globs: OnceLock::new(), follows: |_, _| None, attributes: &[] }
    }

    /// Adds knowledge of extended attributes by the prefixes of their names.
    pub(in crate::plugins) const fn attributes(
        mut self,
        attributes: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.attributes = attributes;
        self
    }

    /// Adds a function that says what differences of its paths follow from.
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
