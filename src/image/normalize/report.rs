//! The report of `oci normalize`, for people and for machines.

use std::io::{self, Write};

use serde::Serialize;

use super::Changes;
use crate::image::Findings;
use crate::source::oci::Digest;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Normalized {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The epoch, in seconds since 1970-01-01 UTC.
    pub source_date_epoch: u32,
    /// One row per image, in the order of the indexes.
    pub images: Vec<Row>,
    /// The digests of lists before and after; `None` before if platforms of several images were
    /// joined.
    pub lists: Vec<(Option<Digest>, Digest)>,
    /// Omitted attestations and artifacts, as `kind digest`.
    pub dropped: Vec<String>,
    /// Attestations and artifacts that were kept; their statements name the old digests.
    pub kept: Vec<String>,
}

/// One image, before and after.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its platform.
    pub platform: String,
    /// The old digest of its manifest; `None` in a docker-archive.
    pub before: Option<Digest>,
    /// The new digest of its manifest.
    pub after: Digest,
    /// One row per layer of the result.
    pub layers: Vec<LayerRow>,
}

/// One layer, before and after.
#[derive(Debug, Serialize)]
pub struct LayerRow {
    /// The old diff_id; `None` for an added layer.
    pub before: Option<Digest>,
    /// The new diff_id; `None` for a layer with nothing left in it.
    pub after: Option<Digest>,
    /// Whether its blob is the same, byte for byte.
    pub kept: bool,
    /// What was changed.
    pub changes: Changes,
}

impl Findings for Normalized {
    /// Always: if it was written, the exit code is 0.
    fn sound(&self) -> bool {
        true
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for row in &self.images {
            let before = row.before.as_ref().map_or("-".to_owned(), Digest::to_string);
            let same = if row.before.as_ref() == Some(&row.after) { " (as it was)" } else { "" };
            writeln!(out, "{}: {before} → {}{same}", row.platform, row.after)?;
            for (number, layer) in row.layers.iter().enumerate() {
                writeln!(out, "  layer {number}: {}", layer.words())?;
            }
        }
        for (before, after) in &self.lists {
            let before = before.as_ref().map_or("(joined)", Digest::as_str);
            writeln!(out, "list: {before} → {after}")?;
        }
        for line in &self.dropped {
            writeln!(out, "left out: {line}; --attestations keep keeps it")?;
        }
        for line in &self.kept {
            writeln!(out, "kept: {line}; its statements name the old digests")?;
        }
        Ok(())
    }
}

impl LayerRow {
    fn words(&self) -> String {
        match (&self.before, &self.after) {
            (None, _) => return "added".to_owned(),
            (_, None) => return "left out: nothing remained in it".to_owned(),
            _ if self.kept => return "kept as it is".to_owned(),
            _ => {}
        }
        let c = &self.changes;
        let counts = [
            (c.clamped, "times clamped"),
            (c.records, "PAX headers without atime and ctime"),
            (c.parents, "parents added"),
            (c.whiteouts, "whiteouts settled"),
            (c.duplicates, "duplicates dropped"),
            (c.taken_out, "members removed"),
        ];
        let mut words: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if c.sorted {
            words.push("sorted".to_owned());
        }
        if c.globals {
            words.push("global PAX header dissolved".to_owned());
        }
        if words.is_empty() { "compressed anew".to_owned() } else { words.join(", ") }
    }
}
