//! The comparison of two subjects as text for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{COMPOSEFS, CauseRow, Comparison, ExpectedRow, Metadata, Row, SideRow, SubjectRow};
use crate::check::Change;
use crate::check::disk::Disks;
use crate::format::time::utc;
use crate::normal::CommonCause;
use crate::report::fix::bytes;
use crate::report::next;
use crate::text::{counted, shorten};

impl Comparison {
    /// The report for a terminal, with at most `limit` paths per cause.
    pub fn human(&self, limit: usize) -> String {
        let mut out = String::new();
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            let _ = write!(out, "{name} {}\n{}", side.subject, side.checksum_line());
        }
        for (title, rows) in self.groups() {
            if matches!(title, Title::Common(_)) && limit != usize::MAX {
                // One line for one cause: hundreds of paths say no more.
                let _ = writeln!(out, "\n{} {title}; --limit 0 lists them", paths(rows.len()));
                continue;
            }
            let _ = writeln!(out, "\n{} {title}", paths(rows.len()));
            if title == Title::Unexplained && limit < usize::MAX && self.all_of_owner() {
                for line in self.owners() {
                    let _ = writeln!(out, "  {line}");
                }
                out.push_str("  (--limit 0 lists them)\n");
                continue;
            }
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
        let of_commit: Vec<_> = self.metadata.iter().filter(|m| m.key != COMPOSEFS).collect();
        if !of_commit.is_empty() {
            let _ = writeln!(out, "\ncommit metadata, not part of the content checksum:");
            for row in of_commit {
                let _ = writeln!(out, "  {}", row.line());
            }
        }
        if let Some(pair) = &self.composefs {
            let _ = writeln!(out, "\n{}", pair.lines().join("\n"));
        }
        if let Some(disks) = &self.disks {
            disk_images(disks, &mut out);
        }
        let _ = writeln!(out, "\n{}", self.verdict());
        for (n, action) in (1..).zip(next::actions(self)) {
            let _ = writeln!(out, "{n}. {action}");
        }
        out
    }

    /// The rows by cause: what `fix` removes first, unexplained ones last, next to the prompt.
    pub(in crate::report) fn groups(&self) -> BTreeMap<Title, Vec<&Row>> {
        let mut groups: BTreeMap<Title, Vec<&Row>> = BTreeMap::new();
        for row in &self.differences {
            groups.entry(Title::of(row)).or_default().push(row);
        }
        groups
    }

    /// One line that says whether they are the same, and how many paths differ for which cause.
    pub fn verdict(&self) -> String {
        let of_commit = self.metadata.iter().filter(|m| m.key != COMPOSEFS);
        let keys = of_commit.filter(|m| m.counts).count();
        match (self.same, self.differences.is_empty()) {
            (true, true) => "same".to_owned(),
            (true, false) => {
                let c = &self.counts;
                format!(
                    "same except for {} that {} expected to differ",
                    paths(c.paths),
                    if c.paths == 1 { "was" } else { "were" }
                )
            }
            (false, true) if self.disks.is_some() && keys == 0 => {
                let disks = self.disks.iter();
                let bytes =
                    disks.map(|disks| counted(disks.bytes as usize, "byte")).collect::<String>();
                format!("same content; {bytes} of the disk images differ")
            }
            (false, true) if keys == 0 => "same content; the composefs digests differ".to_owned(),
            (false, true) if keys == 1 => {
                "same content; 1 key of commit metadata differs".to_owned()
            }
            (false, true) => format!("same content; {keys} keys of commit metadata differ"),
            (false, false) => {
                let verb = if self.counts.paths == 1 { "differs" } else { "differ" };
                let causes = self.causes().join("; ");
                let total = paths(self.counts.paths);
                let owner = match (self.of_owner().count(), self.counts.unexplained) {
                    (0 | 1, _) => String::new(),
                    (n, all) if n == all => {
                        format!(" (all {n} differ in owner only: {})", self.owners().join(", "))
                    }
                    (n, _) => format!(" ({n} of them in owner only)"),
                };
                format!("{total} {verb}: {causes}{owner}")
            }
        }
    }

    /// The number of paths for each cause, in the terms of the glossary.
    pub fn causes(&self) -> Vec<String> {
        let c = &self.counts;
        let them = if c.paths == 1 { "it".to_owned() } else { format!("{} of them", c.fixed) };
        let all = [
            (c.fixed, format!("`reprofix fix` would make {them} equal")),
            (c.known, format!("{} explained, not fixable", c.known)),
            (c.cascade, format!("{} consequence of others", c.cascade)),
            (c.expected, format!("{} expected", c.expected)),
            (c.unexplained, format!("{} unexplained", c.unexplained)),
        ];
        all.into_iter().filter(|(n, _)| *n > 0).map(|(_, said)| said).collect()
    }

    /// Unexplained paths that differ only in their owner.
    fn of_owner(&self) -> impl Iterator<Item = &Row> {
        self.differences
            .iter()
            .filter(|row| Title::of(row) == Title::Unexplained && row.changes == [Change::Owner])
    }

    /// Whether several paths differ only in owner, and nothing else is unexplained.
    fn all_of_owner(&self) -> bool {
        let count = self.of_owner().count();
        count > 1 && count == self.counts.unexplained
    }

    /// Which owners differ, and at how many paths.
    fn owners(&self) -> Vec<String> {
        let mut counts: BTreeMap<[(u32, u32); 2], usize> = BTreeMap::new();
        for row in self.of_owner() {
            if let (Some(a), Some(b)) = (&row.a, &row.b) {
                *counts.entry([(a.uid, a.gid), (b.uid, b.gid)]).or_default() += 1;
            }
        }
        let line = |([(u, g), (v, h)], n): (&[(u32, u32); 2], &usize)| {
            format!("uid:gid {u}:{g} → {v}:{h} at {}", paths(*n))
        };
        counts.iter().map(line).collect()
    }
}

/// The bytes of two disks by class, and what differs in their tables and partitions.
fn disk_images(disks: &Disks, out: &mut String) {
    let _ = writeln!(out, "\ndisk images: {} differ", counted(disks.bytes as usize, "byte"));
    for count in &disks.classes {
        let _ = writeln!(out, "  {:>12}  {}", count.bytes, count.class.words());
    }
    for line in &disks.lines {
        let _ = writeln!(out, "  {line}");
    }
}

impl SubjectRow {
    /// A line with its content checksum, if known.
    pub(in crate::report) fn checksum_line(&self) -> String {
        let sum = self.content_checksum.as_ref();
        sum.map(|sum| format!("  content checksum {sum}\n")).unwrap_or_default()
    }
}

impl Metadata {
    fn line(&self) -> String {
        let value = |v: &Option<String>| match v {
            None => "absent".to_owned(),
            Some(text) if self.key == "(timestamp)" => {
                text.parse().map_or_else(|_| text.clone(), utc)
            }
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
    Common(&'static CommonCause),
}

impl Title {
    pub(in crate::report) fn of(row: &Row) -> Self {
        if row.expected.is_some() {
            return Title::Expected;
        }
        match &row.cause {
            CauseRow::Fixed { plugins } => Title::Fixed(plugins.join(", ")),
            CauseRow::Cascade { .. } => Title::Cascade,
            CauseRow::Known { common: Some(cause), .. } => Title::Common(cause),
            CauseRow::Known { plugin, .. } => Title::Known(plugin),
            CauseRow::Unexplained => Title::Unexplained,
        }
    }

    /// The cause in a word or two.
    pub(in crate::report) fn word(&self) -> String {
        match self {
            Title::Expected => "expected".to_owned(),
            Title::Fixed(plugins) => format!("fixable: {plugins}"),
            Title::Cascade => "consequence".to_owned(),
            Title::Known(plugin) => format!("explained, not fixable: {plugin}"),
            Title::Unexplained => "unexplained".to_owned(),
            Title::Common(cause) => format!("explained, not fixable: {}", cause.name),
        }
    }

    /// The kind of cause in one word, for names and classes.
    pub(in crate::report) fn kind(&self) -> &'static str {
        match self {
            Title::Expected => "expected",
            Title::Fixed(_) => "fixable",
            Title::Cascade => "consequence",
            Title::Known(_) | Title::Common(_) => "explained",
            Title::Unexplained => "unexplained",
        }
    }
}

impl std::fmt::Display for Title {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Title::Expected => f.write_str("expected by the expectations file"),
            Title::Fixed(plugins) => {
                write!(f, "fixable: {plugins} (`reprofix fix` would make both sides equal)")
            }
            Title::Cascade => f.write_str("consequence of another path"),
            Title::Known(plugin) => write!(f, "explained by {plugin}, not fixable"),
            Title::Unexplained => f.write_str("unexplained"),
            Title::Common(cause) => {
                let CommonCause { name, changes, .. } = cause;
                write!(f, "explained by {name}, not fixable: of another {changes}")
            }
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

    /// Whether it shares a cause with others, and its package says what it should be.
    pub(in crate::report) fn is_packaged_otherwise(&self) -> bool {
        match &self.cause {
            CauseRow::Known { common: Some(_), lines, .. } => lines.len() > 1,
            _ => false,
        }
    }

    /// Its cause in a word or two.
    pub(crate) fn title(&self) -> String {
        Title::of(self).word()
    }

    /// Its path with a leading slash.
    pub(crate) fn absolute(&self) -> String {
        match self.path.as_str() {
            "." => "/".to_owned(),
            path => format!("/{path}"),
        }
    }

    /// Everything about it, one phrase per line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let expected = |e: &ExpectedRow| format!("expected until {}: {}", e.expires, e.reason);
        let mut lines: Vec<String> = self.expected.iter().map(expected).collect();
        match &self.cause {
            CauseRow::Cascade { of, how } => {
                lines.push(format!("consequence of /{of}: {}", how.words()));
            }
            CauseRow::Known { lines: said, .. } => lines.extend_from_slice(said),
            CauseRow::Fixed { .. } | CauseRow::Unexplained => {}
        }
        lines.extend_from_slice(&self.details);
        lines
    }
}

/// "1 path", "2 paths".
pub(in crate::report) fn paths(n: usize) -> String {
    counted(n, "path")
}
