//! The comparison of two subjects as text for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{CauseRow, Comparison, ExpectedRow, Metadata, Row, SideRow};
use crate::check::umask;
use crate::report::fix::bytes;
use crate::report::next;
use crate::text::shorten;

impl Comparison {
    /// The report for a terminal, at most `limit` paths a cause.
    pub fn human(&self, limit: usize) -> String {
        let mut out = String::new();
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            let _ = writeln!(
                out,
                "{name} {}\n  content checksum {}",
                side.subject, side.content_checksum
            );
        }
        for (title, rows) in self.groups() {
            if title == Title::Umask && limit != usize::MAX {
                // One cause, one line: hundreds of paths say no more.
                let _ = writeln!(out, "\n{} {title}; --limit 0 lists them", paths(rows.len()));
                continue;
            }
            let _ = writeln!(out, "\n{} {title}", paths(rows.len()));
            for row in rows.iter().take(limit) {
                row.write(&mut out);
            }
            if rows.len() > limit {
                let _ = writeln!(out, "  … and {} more; --limit 0 lists all", rows.len() - limit);
            }
        }
        if let Some(packages) = &self.packages {
            let _ = writeln!(out, "\nrpm databases ({} and {}):", packages.a, packages.b);
            packages.body(&mut out, limit);
        }
        if !self.metadata.is_empty() {
            let _ = writeln!(out, "\ncommit metadata, not part of the content checksum:");
            for row in &self.metadata {
                let _ = writeln!(out, "  {}", row.line());
            }
        }
        let _ = writeln!(out, "\n{}", self.verdict());
        for (n, action) in (1..).zip(next::actions(self)) {
            let _ = writeln!(out, "{n}. {action}");
        }
        out
    }

    /// The rows by cause: what `fix` removes first, what nobody knows last, next to the prompt.
    pub(in crate::report) fn groups(&self) -> BTreeMap<Title, Vec<&Row>> {
        let mut groups: BTreeMap<Title, Vec<&Row>> = BTreeMap::new();
        for row in &self.differences {
            groups.entry(Title::of(row)).or_default().push(row);
        }
        groups
    }

    /// One line: whether they are the same, and how many paths differ for which cause.
    pub fn verdict(&self) -> String {
        let counted = self.metadata.iter().filter(|m| m.counts).count();
        match (self.same, self.differences.is_empty()) {
            (true, true) => "same".to_owned(),
            (true, false) => {
                let c = &self.counts;
                format!(
                    "same but for {} that {} expected to differ",
                    paths(c.paths),
                    if c.paths == 1 { "was" } else { "were" }
                )
            }
            (false, true) => format!("same content; {counted} keys of commit metadata differ"),
            (false, false) => {
                let c = &self.counts;
                format!(
                    "{} {}: {} fixed by `reprofix fix`, {} known, {} following others, {} unexplained{}",
                    paths(c.paths),
                    if c.paths == 1 { "differs" } else { "differ" },
                    c.fixed,
                    c.known,
                    c.cascade,
                    c.unexplained,
                    if c.expected > 0 {
                        format!(", {} expected", c.expected)
                    } else {
                        String::new()
                    }
                )
            }
        }
    }
}

impl Metadata {
    fn line(&self) -> String {
        let value = |v: &Option<String>| match v {
            None => "absent".to_owned(),
            Some(text) => shorten(text, 60),
        };
        let why = self.expected.unwrap_or("not known to vary");
        format!("{}: {} → {} ({why})", self.key, value(&self.a), value(&self.b))
    }
}

/// The heading of a group; its order is that of the report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::report) enum Title {
    Expected,
    Fixed(String),
    Cascade,
    Known(&'static str),
    Unexplained,
    Umask,
}

impl Title {
    pub(in crate::report) fn of(row: &Row) -> Self {
        if row.expected.is_some() {
            return Title::Expected;
        }
        match &row.cause {
            CauseRow::Fixed { plugins } => Title::Fixed(plugins.join(", ")),
            CauseRow::Cascade { .. } => Title::Cascade,
            CauseRow::Known { plugin: umask::PLUGIN, .. } => Title::Umask,
            CauseRow::Known { plugin, .. } => Title::Known(plugin),
            CauseRow::Unexplained => Title::Unexplained,
        }
    }

    /// The cause in a word or two.
    pub(in crate::report) fn word(&self) -> String {
        match self {
            Title::Expected => "expected".to_owned(),
            Title::Fixed(plugins) => format!("fixed by {plugins}"),
            Title::Cascade => "follows another".to_owned(),
            Title::Known(plugin) => format!("known to {plugin}"),
            Title::Unexplained => "unexplained".to_owned(),
            Title::Umask => "another umask".to_owned(),
        }
    }

    /// The kind of cause, as in JSON.
    pub(in crate::report) fn kind(&self) -> &'static str {
        match self {
            Title::Expected => "expected",
            Title::Fixed(_) => "fixed",
            Title::Cascade => "cascade",
            Title::Known(_) | Title::Umask => "known",
            Title::Unexplained => "unexplained",
        }
    }
}

impl std::fmt::Display for Title {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Title::Expected => f.write_str("expected by the expectations file"),
            Title::Fixed(plugins) => {
                write!(f, "explained by {plugins}: `reprofix fix` makes them equal")
            }
            Title::Cascade => f.write_str("following another path"),
            Title::Known(plugin) => write!(f, "known to {plugin}, which cannot make them equal"),
            Title::Unexplained => f.write_str("unexplained"),
            Title::Umask => f.write_str("of another mode, as under another umask"),
        }
    }
}

impl Row {
    fn write(&self, out: &mut String) {
        let changes: Vec<_> = self.changes.iter().map(|c| c.word()).collect();
        let size = |side: &Option<SideRow>| side.as_ref().map_or(0, |s| s.size);
        let sizes = match (size(&self.a), size(&self.b)) {
            (a, b) if a == b => bytes(a),
            (a, b) => format!("{} → {}", bytes(a), bytes(b)),
        };
        let owner = match self.packages.is_empty() {
            true => String::new(),
            false => format!("  {}", self.packages.join(", ")),
        };
        let _ = writeln!(out, "  {}  [{}] {sizes}{owner}", self.absolute(), changes.join(", "));
        for line in self.lines() {
            let _ = writeln!(out, "      {line}");
        }
    }

    /// Whether its mode differs as under another umask, and its package has one of the two.
    pub(in crate::report) fn has_packaged_mode(&self) -> bool {
        match &self.cause {
            CauseRow::Known { plugin: umask::PLUGIN, lines } => lines.len() > 1,
            _ => false,
        }
    }

    /// Its path with a leading slash.
    pub(in crate::report) fn absolute(&self) -> String {
        match self.path.as_str() {
            "." => "/".to_owned(),
            path => format!("/{path}"),
        }
    }

    /// All that is said of it, one phrase a line.
    pub(in crate::report) fn lines(&self) -> Vec<String> {
        let expected = |e: &ExpectedRow| format!("expected until {}: {}", e.expires, e.reason);
        let mut lines: Vec<String> = self.expected.iter().map(expected).collect();
        match &self.cause {
            CauseRow::Cascade { of } => lines.push(format!("as /{of}")),
            CauseRow::Known { lines: said, .. } => lines.extend_from_slice(said),
            CauseRow::Fixed { .. } | CauseRow::Unexplained => {}
        }
        lines.extend_from_slice(&self.details);
        lines
    }
}

/// "1 path", "2 paths".
pub(in crate::report) fn paths(n: usize) -> String {
    if n == 1 { "1 path".to_owned() } else { format!("{n} paths") }
}
