//! The report of `fix`: what it did or would do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::engine::{Action, Change, Plan, Remark};
use crate::normal::{Note, Plugin};
use crate::text::counted;
use crate::tree::{show, show_below};
use crate::vouchers::{Voucher, VoucherKind};

/// The report of one run, in a stable order; `--json` writes it.
///
/// Paths are text from [`show`]: bytes that are not UTF-8 are `\xNN`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Name and version of this schema; the number rises when a field changes its meaning.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The root worked on.
    pub root: String,
    /// Seconds since 1970-01-01 UTC.
    pub source_date_epoch: u32,
    /// Where the epoch came from.
    pub source_date_epoch_from: String,
    /// Whether the changes were made (`false` under `--dry-run` and `--check`).
    pub applied: bool,
    /// The number of names walked.
    pub walked: usize,
    /// The number of files whose content was read.
    pub files_read: usize,
    /// Bytes of content read.
    pub bytes_read: u64,
    /// Files of an interrupted run that were first finished or removed.
    pub recovered: Vec<String>,
    /// One row per plugin in force, in registry order.
    pub plugins: Vec<PluginRow>,
    /// One row per change, sorted by path; the rows are made when they are written.
    #[serde(serialize_with = "change_rows")]
    pub changes: Vec<Change>,
    /// One row for each remark of a plugin about a path that it left alone, sorted by path.
    pub remarks: Vec<RemarkRow>,
    /// One row for each voucher for files that plugins would have changed.
    pub vouched: Vec<VouchedRow>,
    /// Paths that changed between reading and writing, left alone.
    pub raced: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The ostree content checksum that a commit of this tree will have; only with `--checksums`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_checksum: Option<String>,
    /// The composefs digest of this tree, as the newest generation of bootc computes it; only with
    /// `--checksums`, and only for a tree that bootc boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub composefs_digest: Option<String>,
    /// Time spent on expensive work, only for standard error since it depends on the machine.
    #[serde(skip)]
    pub spent: Vec<String>,
}

/// What one plugin did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PluginRow {
    /// Its name.
    pub name: &'static str,
    /// Paths with new content or another time.
    pub changed: usize,
    /// Paths removed.
    pub removed: usize,
    /// Bytes before, summed over all its changes of content.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
    /// Files left alone because they are as their package shipped them.
    pub payload: usize,
    /// Files left alone because of a voucher, see `reprofix explain vouchers`.
    pub vouched: usize,
    /// Known differences that the plugin only reports.
    pub reported: usize,
    /// Files that the plugin could not parse.
    pub unparsed: usize,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ChangeRow {
    /// The path.
    pub path: String,
    /// The inode's other names, which follow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<String>,
    /// The plugins that asked for it.
    pub plugins: Vec<&'static str>,
    /// `rewrite`, `patch`, `remove`, `steps`, `xattrs`, `mode` or `touch`.
    pub action: &'static str,
    /// The new modification time in seconds, if it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
}

/// A voucher of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VouchedRow {
    /// The kind, as in the table of `reprofix explain vouchers`.
    pub who: &'static str,
    /// The directory or file that vouches; empty for packages, the configuration and files that are
    /// named after their digest.
    pub at: String,
    /// Paths left alone.
    pub files: usize,
    /// The voucher as a phrase.
    #[serde(skip)]
    pub phrase: String,
}

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemarkRow {
    /// The path.
    pub path: String,
    /// The plugin.
    pub plugin: &'static str,
    /// `report`, `unparsed` or `overruled`.
    pub kind: &'static str,
    /// What it says.
    pub text: String,
}

impl Report {
    /// The schema's name and version.
    pub(crate) const SCHEMA: &'static str = "reprofix-fix-1";

    /// Fills in the rows from a plan, except for the changes, which are still to be applied.
    /// `plugins` are those in force, in registry order.
    pub(crate) fn take(&mut self, plugins: &[&'static dyn Plugin], plan: &Plan) {
        self.plugins = plugin_rows(plugins, plan);
        self.remarks = plan.remarks.iter().filter_map(remark_row).collect();
        self.vouched = vouched_rows(plan);
        self.walked = plan.walked;
        (self.files_read, self.bytes_read) = plan.read;
    }

    /// The paths that some plugin could not parse.
    pub(crate) fn unparsed(&self) -> impl Iterator<Item = &RemarkRow> {
        self.remarks.iter().filter(|r| r.kind == "unparsed")
    }

    /// The report for a terminal: one line per plugin, then what deserves attention. `list` adds
    /// one line per change.
    pub(crate) fn human(&self, list: bool) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{}: {} walked, {} ({}) read, SOURCE_DATE_EPOCH {} ({})",
            self.root,
            counted(self.walked, "path"),
            counted(self.files_read, "file"),
            bytes(self.bytes_read),
            self.source_date_epoch,
            self.source_date_epoch_from,
        );
        if list {
            for change in self.changes.iter().map(change_row) {
                let by = change.plugins.join(",");
                let _ = writeln!(out, "  {:7} {}  [{by}]", change.action, change.path);
            }
        }
        for row in self.plugins.iter().filter(|r| **r != r.idle()) {
            let _ = writeln!(out, "  {}", row.line());
        }
        for row in &self.vouched {
            let _ = writeln!(out, "  {}", row.line());
        }
        for path in &self.recovered {
            let _ = writeln!(out, "  recovered from an interrupted run: {path}");
        }
        let verb = if self.applied { "changed" } else { "would change" };
        let _ = match self.changes.len() {
            0 => writeln!(out, "in normal form: nothing to change"),
            n => writeln!(out, "{} {verb}", counted(n, "path")),
        };
        if let Some(checksum) = &self.content_checksum {
            let _ = writeln!(out, "content checksum {checksum}");
        }
        if let Some(digest) = &self.composefs_digest {
            let _ = writeln!(out, "composefs digest {digest}");
        }
        out
    }

    /// The warnings for standard error, one per line.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let own = self.warnings.iter().cloned();
        let remarks = self.remarks.iter().map(|r| {
            let what = if r.kind == "unparsed" { "left alone, cannot be parsed: " } else { "" };
            format!("{}: {}: {what}{}", r.path, r.plugin, r.text)
        });
        let raced = self.raced.iter();
        let raced = raced.map(|p| format!("{p}: changed during the run; left alone, run again"));
        own.chain(remarks).chain(raced).collect()
    }
}

impl PluginRow {
    /// An empty row for this plugin.
    pub(super) fn idle(&self) -> Self {
        PluginRow { name: self.name, ..PluginRow::default() }
    }

    pub(super) fn line(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |n: usize, what: &str| {
            if n > 0 {
                parts.push(format!("{n} {what}"));
            }
        };
        part(self.changed, "changed");
        part(self.removed, "removed");
        part(self.payload, "left as packaged");
        part(self.vouched, "left, vouched for");
        part(self.reported, "reported");
        part(self.unparsed, "not parsed");
        if self.bytes_before + self.bytes_after > 0 {
            parts.push(format!("{} → {}", bytes(self.bytes_before), bytes(self.bytes_after)));
        }
        format!("{:14} {}", self.name, parts.join(", "))
    }
}

/// One row per plugin, in their order.
pub(super) fn plugin_rows(plugins: &[&'static dyn Plugin], plan: &Plan) -> Vec<PluginRow> {
    let row = |plugin: &&'static dyn Plugin| {
        let name = plugin.page().name;
        (name, (plugin.changes_content(), PluginRow { name, ..PluginRow::default() }))
    };
    let mut rows: BTreeMap<&'static str, (bool, PluginRow)> = plugins.iter().map(row).collect();
    for change in &plan.changes {
        for plugin in change.plugins.iter() {
            if let Some((content, row)) = rows.get_mut(plugin) {
                count(row, change, *content);
            }
        }
    }
    for remark in &plan.remarks {
        if let Some((_, row)) = rows.get_mut(remark.plugin) {
            match &remark.note {
                Note::Vouched(Voucher { who: VoucherKind::Packages, .. }) => row.payload += 1,
                Note::Vouched(_) => row.vouched += 1,
                Note::Report(_) | Note::Overruled(_) => row.reported += 1,
                Note::Unparsed(_) => row.unparsed += 1,
            }
        }
    }
    plugins.iter().filter_map(|plugin| Some(rows.remove(plugin.page().name)?.1)).collect()
}

impl VouchedRow {
    pub(super) fn line(&self) -> String {
        let files = if self.files == 1 { "file" } else { "files" };
        format!("left alone: {} {files} that {} vouches for", self.files, self.phrase)
    }
}

/// One row per voucher, in the order of its table, then by place. A file that several plugins would
/// have changed counts once.
pub(super) fn vouched_rows(plan: &Plan) -> Vec<VouchedRow> {
    let mut files: BTreeMap<Voucher, BTreeSet<&Path>> = BTreeMap::new();
    for remark in &plan.remarks {
        if let Note::Vouched(voucher) = &remark.note {
            let mut voucher = voucher.clone();
            // Each such file vouches only for itself.
            if matches!(voucher.who, VoucherKind::Name | VoucherKind::Attribute) {
                voucher.at = PathBuf::new();
            }
            files.entry(voucher).or_default().insert(&remark.path);
        }
    }
    let row = |(voucher, files): (Voucher, BTreeSet<&Path>)| VouchedRow {
        who: voucher.who.row().name,
        at: show(&voucher.at),
        files: files.len(),
        phrase: voucher.to_string(),
    };
    files.into_iter().map(row).collect()
}

/// Adds a change to the row of a plugin that takes part in it, not necessarily by its content.
fn count(row: &mut PluginRow, change: &Change, content: bool) {
    let (before, after) = match &change.action {
        Action::Rewrite(_) if !content => (0, 0),
        Action::Rewrite(new) => (new.before, new.after),
        Action::Remove { before } => (*before, 0),
        Action::Patch(_)
        | Action::Steps(_)
        | Action::Xattrs(_)
        | Action::Mode(_)
        | Action::Touch => (0, 0),
    };
    row.bytes_before += before;
    row.bytes_after += after;
    match change.action {
        Action::Remove { .. } => row.removed += 1,
        _ => row.changed += 1,
    }
}

/// Writes one row at a time: all of them would be as large as the plan.
pub(super) fn change_rows<S: Serializer>(changes: &[Change], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(changes.iter().map(change_row))
}

pub(super) fn change_row(change: &Change) -> ChangeRow {
    ChangeRow {
        path: show_below(&change.path),
        links: change.links.iter().map(|p| show_below(p)).collect(),
        plugins: change.plugins.to_vec(),
        action: match change.action {
            Action::Rewrite(_) => "rewrite",
            Action::Patch(_) => "patch",
            Action::Remove { .. } => "remove",
            Action::Steps(_) => "steps",
            Action::Xattrs(_) => "xattrs",
            Action::Mode(_) => "mode",
            Action::Touch => "touch",
        },
        mtime: change.mtime.map(|time| time.sec),
    }
}

pub(super) fn remark_row(remark: &Remark) -> Option<RemarkRow> {
    let (kind, text) = match &remark.note {
        Note::Report(text) => ("report", text.clone()),
        Note::Unparsed(what) => ("unparsed", what.to_string()),
        Note::Overruled(voucher) => (
            "overruled",
            format!(
                "changed although {voucher} vouches for it, since the configuration overrules \
                 that: {} will fail",
                voucher.who.row().fails
            ),
        ),
        // Only counted: one line each would drown everything else.
        Note::Vouched(_) => return None,
    };
    Some(RemarkRow { path: show_below(&remark.path), plugin: remark.plugin, kind, text })
}

/// A number of bytes with a binary unit.
pub(crate) fn bytes(n: u64) -> String {
    indicatif::BinaryBytes(n).to_string()
}
