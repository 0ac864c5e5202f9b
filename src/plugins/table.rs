//! Plugins that are a table: path, what happens to it, and the reason.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use memchr::memmem;

use super::pattern::Globs;
use super::{File, Page, Plugin, Verdict, Want};
use crate::engine::Context;
use crate::format::Malformed;
use crate::tree::{Entry, Kind, Tree};

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
    /// A unit of any name that runs a command with one of these words is as good.
    runs: &'static [&'static str],
}

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
        Row { glob, kinds, action, reason, needs: &[], runs: &[] }
    }

    /// The same row, acting only where one of `paths` is in the tree.
    pub(super) const fn needs(mut self, paths: &'static [&'static str]) -> Self {
        self.needs = paths;
        self
    }

    /// As [`Row::needs`], and a unit of another name that runs one of `commands` is enough.
    pub(super) const fn or_runs(mut self, commands: &'static [&'static str]) -> Self {
        self.runs = commands;
        self
    }

    /// Why the action may not be taken here; `None` if what it needs is there. A tree that cannot be
    /// read has nothing.
    fn lacks(&self, file: &File<'_>) -> Option<String> {
        let there = |path: &&str| file.tree.lookup(Path::new(path)).is_ok_and(|e| e.is_some());
        if self.needs.is_empty() || self.needs.iter().any(there) {
            return None;
        }
        let units = || UNITS.iter().flat_map(|dir| services(file.tree, dir));
        let units: Vec<_> = if self.runs.is_empty() { Vec::new() } else { units().collect() };
        let mut units = units.iter().filter(|(_, unit)| runs(unit, self.runs)).peekable();
        let Some((name, _)) = units.peek() else {
            return Some(format!("{} is missing", self.needs.join(" or ")));
        };
        let only_first = format!(
            "{} runs at a first boot only, and one with an empty etc/machine-id is none: write \
             `uninitialized` into it (machine-id(5))",
            name.to_string_lossy()
        );
        let runs = is_new(file.tree) || units.any(|(_, unit)| !has(unit, FIRST_BOOT));
        (!runs).then_some(only_first)
    }
}

/// The services of a folder of units, by name.
fn services(tree: &dyn Tree, dir: &str) -> Vec<(OsString, Vec<u8>)> {
    let mut names = tree.list(Path::new(dir)).unwrap_or_default();
    names.retain(|name| name.as_bytes().ends_with(b".service"));
    names.sort_unstable();
    let read = |name: OsString| {
        let path = Path::new(dir).join(&name);
        let entry = tree.lookup(&path).ok().flatten()?;
        let small = entry.kind == Kind::File && entry.size <= UNIT_BYTES;
        let unit = if small { tree.read(&path).ok().flatten() } else { None };
        unit.map(|unit| (name, unit))
    };
    names.into_iter().filter_map(read).collect()
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
fn is_new(tree: &dyn Tree) -> bool {
    let read = |path: &str| tree.read(Path::new(path)).ok().flatten();
    let id = read("etc/machine-id").or_else(|| read("usr/etc/machine-id"));
    id.is_none_or(|id| id.trim_ascii() == b"uninitialized")
}

/// A plugin made of a page and rows. Its option `unsure=remove`, where its page has it, drops what
/// the rows need.
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
            None => Want::No,
            Some(Action::Remove | Action::Report | Action::Explain) => Want::Entry,
            Some(Action::RemoveMade | Action::Empty(_) | Action::Rewrite(_)) => Want::Bytes,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> Verdict {
        let Some(row) = self.row(file.entry) else { return Verdict::Keep };
        let unsure = || match cx.option(self.page, "unsure") {
            "remove" => None,
            _ => row.lacks(file),
        };
        match row.action {
            Action::Explain => Verdict::Keep,
            Action::Empty(kept) if file.bytes.is_empty() || *file.bytes == *kept => Verdict::Keep,
            Action::Rewrite(normal_form) => match normal_form(&file.bytes) {
                Ok(bytes) if bytes == *file.bytes => Verdict::Keep,
                Ok(bytes) => Verdict::Rewrite(bytes),
                Err(what) => Verdict::Unparsed(what),
            },
            Action::Report => Verdict::Report(row.reason.to_owned()),
            Action::Remove | Action::RemoveMade | Action::Empty(_) => match unsure() {
                Some(lack) => Verdict::Report(format!("left, since {lack}: {}", row.reason)),
                None if matches!(row.action, Action::Empty(_)) => Verdict::Rewrite(Vec::new()),
                None => Verdict::Remove,
            },
        }
    }

    fn explain(&self, a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        self.row(a.entry).map(|row| row.reason.to_owned()).into_iter().collect()
    }

    fn about(&self, entry: &Entry) -> Option<&'static str> {
        self.row(entry).map(|row| row.reason)
    }

    fn table(&self) -> Vec<[&'static str; 3]> {
        self.rows.iter().map(|row| [row.glob, row.action.word(), row.reason]).collect()
    }
}
