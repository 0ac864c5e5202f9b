//! The report of `check` with one subject.

use std::fmt::Write as _;

use serde::Serialize;

use super::check::SubjectRow;
use super::fix::{
    PluginRow, RemarkRow, VouchedRow, change_row, change_rows, plugin_rows, remark_row,
    vouched_rows,
};
use crate::config::InForce;
use crate::engine::{Change, Plan};
use crate::format::ostree::Checksum;
use crate::normal::Plugin;
use crate::source::Subject;
use crate::text::counted;

/// The audit of one subject, in a stable order; `check A --json` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Name and version of this schema; the number rises when a field changes its meaning.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The subject.
    pub a: SubjectRow,
    /// Whether it is in normal form and has its recorded checksum; if so, the exit code is 0,
    /// otherwise 1.
    pub sound: bool,
    /// The epoch under which normal forms were made, in seconds since 1970-01-01 UTC.
    pub source_date_epoch: u32,
    /// Where the epoch came from.
    pub source_date_epoch_from: String,
    /// The recorded content checksum and the file it is in; `null` if there is none.
    pub recorded: Option<Recorded>,
    /// One row per plugin in force, in registry order.
    pub plugins: Vec<PluginRow>,
    /// One row per path that `fix` would change, sorted by path; the rows are made when they are
    /// written.
    #[serde(serialize_with = "change_rows")]
    pub changes: Vec<Change>,
    /// One row for each known difference that no plugin removes, and each file that could not be
    /// parsed.
    pub remarks: Vec<RemarkRow>,
    /// One row for each voucher for files that `fix` would have changed.
    pub vouched: Vec<VouchedRow>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// A recorded checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The file it is in.
    pub file: String,
    /// The content checksum there.
    pub content_checksum: String,
    /// Whether the subject has it.
    pub holds: bool,
}

impl Audit {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "reprofix-audit-1";

    /// The audit of a subject about which nothing is known yet.
    pub fn new(a: &Subject, in_force: &InForce) -> Self {
        Audit {
            schema: Self::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            a: SubjectRow::of(a),
            sound: true,
            source_date_epoch: in_force.epoch.0.seconds(),
            source_date_epoch_from: in_force.epoch.1.to_string(),
            recorded: None,
            plugins: Vec::new(),
            changes: Vec::new(),
            remarks: Vec::new(),
            vouched: Vec::new(),
            warnings: in_force.warnings.clone(),
        }
    }

    /// Compares the subject's content checksum with the one recorded in `file`.
    pub fn compare(&mut self, recorded: &Checksum, file: String) {
        let content_checksum = recorded.to_string();
        let holds = self.a.content_checksum.as_ref() == Some(&content_checksum);
        self.sound &= holds;
        self.recorded = Some(Recorded { file, content_checksum, holds });
    }

    /// Adds what `fix` would do. `plugins` are the plugins in force, in registry order.
    pub fn take(&mut self, plugins: &[&'static dyn Plugin], plan: Plan) {
        self.plugins = plugin_rows(plugins, &plan);
        self.remarks = plan.remarks.iter().filter_map(remark_row).collect();
        self.vouched = vouched_rows(&plan);
        self.changes = plan.changes;
        self.sound &= self.changes.is_empty();
    }

    /// The report for a terminal, with at most `limit` paths.
    pub fn human(&self, limit: usize) -> String {
        let mut out = format!("{}\n{}", self.a.subject, self.a.checksum_line());
        if let Some(recorded) = &self.recorded {
            let _ = match recorded.holds {
                true => writeln!(out, "  as recorded in {}", recorded.file),
                false => writeln!(
                    out,
                    "  but {} records {}: the build is not the one that was recorded",
                    recorded.file, recorded.content_checksum
                ),
            };
        }
        for row in self.plugins.iter().filter(|r| **r != r.idle()) {
            let _ = writeln!(out, "  {}", row.line());
        }
        for row in &self.vouched {
            let _ = writeln!(out, "  {}", row.line());
        }
        for change in self.changes.iter().take(limit).map(change_row) {
            let by = change.plugins.join(", ");
            let _ = writeln!(out, "  {:7} /{}  [{by}]", change.action, change.path);
        }
        if self.changes.len() > limit {
            let more = self.changes.len() - limit;
            let _ = writeln!(out, "  … and {more} more; --limit 0 lists all");
        }
        for remark in &self.remarks {
            let _ = writeln!(out, "  /{}: {}: {}", remark.path, remark.plugin, remark.text);
        }
        let _ = match self.changes.len() {
            0 => writeln!(out, "in normal form"),
            n => writeln!(
                out,
                "not in normal form: {}; `reprofix fix` with SOURCE_DATE_EPOCH={} changes {}",
                counted(n, "path"),
                self.source_date_epoch,
                if n == 1 { "it" } else { "them" }
            ),
        };
        out
    }
}
