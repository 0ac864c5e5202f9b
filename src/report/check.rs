//! What `check` of two subjects found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::fix::bytes;
use crate::check::{Cause, Change, Expected, Explained, Look, Side};
use crate::config::InForce;
use crate::source::{CommitInfo, Subject};
use crate::tree::{Kind, show};

/// Two subjects compared; `check A B --json` writes it. Everything is in a stable order.
///
/// Paths are text as [`show`] gives it: bytes that are not UTF-8 come as `\xNN`; the root is `.`.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Name and version of this schema; the number rises when a field changes its meaning.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The first subject.
    pub a: SubjectRow,
    /// The second.
    pub b: SubjectRow,
    /// Whether nothing differs that counts; the exit code is 0 then, else 1.
    pub same: bool,
    /// The epoch under which normal forms were made, in seconds since 1970-01-01 UTC; `null` if
    /// none had to be.
    pub source_date_epoch: Option<u32>,
    /// Where the epoch came from.
    pub source_date_epoch_from: Option<String>,
    /// How many paths differ, by cause.
    pub counts: Counts,
    /// One row a path, sorted by path component.
    pub differences: Vec<Row>,
    /// One row a key of the commits' metadata that differs, sorted.
    pub metadata: Vec<Metadata>,
    /// The packages, where the rpm databases differ; `null` where they do not, or one cannot be
    /// read.
    pub packages: Option<crate::plugins::rpmdb::Comparison>,
    /// Other things worth saying.
    pub warnings: Vec<String>,
}

/// One subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubjectRow {
    /// What it is, resolved.
    pub subject: String,
    /// Its content checksum.
    pub content_checksum: String,
    /// The commit it is, if it is one.
    pub commit: Option<String>,
}

impl SubjectRow {
    /// The row of `subject`.
    pub fn of(subject: &Subject) -> Self {
        SubjectRow {
            subject: subject.name.clone(),
            content_checksum: subject.content_checksum().to_string(),
            commit: subject.commit.as_ref().map(|c| c.id.to_string()),
        }
    }
}

/// How many paths differ, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub paths: usize,
    /// Those that `fix` makes equal.
    pub fixed: usize,
    /// Those that a plugin knows and does not remove.
    pub known: usize,
    /// Those that follow another path.
    pub cascade: usize,
    /// Those that nobody knows.
    pub unexplained: usize,
    /// Those that the expectations file lists; they are in no other count and do not make the
    /// subjects differ.
    pub expected: usize,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The path below the root.
    pub path: String,
    /// The ways in which it differs.
    pub changes: Vec<Change>,
    /// Why.
    pub cause: CauseRow,
    /// What exactly differs, one phrase a line.
    pub details: Vec<String>,
    /// The packages that own the path on either side, as NEVRA.
    pub packages: Vec<String>,
    /// What stands there in A.
    pub a: Option<SideRow>,
    /// What stands there in B.
    pub b: Option<SideRow>,
    /// Why it was expected to differ; `null` if it was not.
    pub expected: Option<ExpectedRow>,
    /// Both contents side by side, where they were asked for; in no JSON.
    #[serde(skip)]
    pub look: Option<Look>,
}

/// An entry of the expectations file that a path matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectedRow {
    /// The glob that matches.
    pub path: String,
    /// The reason given there.
    pub reason: String,
    /// The last day on which it holds, as YYYY-MM-DD.
    pub expires: String,
}

impl From<&Expected> for ExpectedRow {
    fn from(expected: &Expected) -> Self {
        ExpectedRow {
            path: expected.path.clone(),
            reason: expected.reason.clone(),
            expires: expected.expires.to_string(),
        }
    }
}

/// Why a path differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CauseRow {
    /// `fix` makes both sides equal, byte for byte.
    Fixed {
        /// The plugins that do.
        plugins: Vec<&'static str>,
    },
    /// A plugin knows the file; what is left is not its to remove.
    Known {
        /// The plugin.
        plugin: &'static str,
        /// What it says.
        lines: Vec<String>,
    },
    /// The same two objects differ at another path.
    Cascade {
        /// That path.
        of: String,
    },
    /// Nobody knows.
    Unexplained,
}

/// What stands at a path of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SideRow {
    /// `file`, `directory`, `symlink` or `other`.
    pub r#type: &'static str,
    /// Permission bits, four octal digits.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// The object: a directory's dirmeta, anything else's file object.
    pub object: String,
}

/// One key of commit metadata that differs. None of it is in the content checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// The key; a field of the commit itself is in parentheses.
    pub key: String,
    /// Its value in A as GVariant text; `null` if it is not there.
    pub a: Option<String>,
    /// Its value in B.
    pub b: Option<String>,
    /// Why it may differ between two builds of one configuration; `null` if it should not.
    pub expected: Option<&'static str>,
    /// Whether it makes the subjects differ.
    pub counts: bool,
}

/// Keys that differ between builds of one configuration, and why.
const VARYING: &[(&str, &str)] = &[
    ("(body)", "free text"),
    ("(parent)", "the commit before it"),
    ("(subject)", "free text"),
    ("(timestamp)", "the time of the build, unless SOURCE_DATE_EPOCH is set"),
    ("coreos-assembler.config-gitrev", "the configuration's revision"),
    ("ostree.collection-binding", "the collection it was made for"),
    ("ostree.container.image-config", "the image it was imported from"),
    ("ostree.importer.version", "the version of the importer"),
    ("ostree.manifest", "the image it was imported from"),
    ("ostree.manifest-digest", "the image it was imported from"),
    ("ostree.ref-binding", "the refs it was made for"),
    ("ostree.sizes", "compressed sizes, which depend on the compressor"),
    ("rpmostree.advisories", "advisories as the repositories held them"),
    ("rpmostree.initramfs-args", "arguments of dracut, temporary paths among them"),
    ("rpmostree.inputhash", "a hash of the inputs, repository metadata among them"),
    ("rpmostree.rpmdb.pkglist", "the package list, in the rpmdb as well"),
    ("rpmostree.rpmmd-repos", "times of the repositories' metadata"),
    ("version", "the build's own version"),
];

impl Metadata {
    /// The keys in which two commits differ, sorted. One that is known to vary between builds
    /// counts only if `strict`.
    pub fn compare(a: &CommitInfo, b: &CommitInfo, strict: bool) -> Vec<Self> {
        let mut keys: Vec<&String> = a.fields.keys().chain(b.fields.keys()).collect();
        keys.sort();
        keys.dedup();
        let row = |key: &String| {
            let (x, y) = (a.fields.get(key), b.fields.get(key));
            let why = VARYING.iter().find(|(k, _)| k == key).map(|(_, why)| *why);
            (x != y).then(|| Metadata {
                key: key.clone(),
                a: x.cloned(),
                b: y.cloned(),
                expected: why,
                counts: strict || why.is_none(),
            })
        };
        keys.into_iter().filter_map(row).collect()
    }

    fn line(&self) -> String {
        let value = |v: &Option<String>| match v {
            None => "absent".to_owned(),
            Some(text) => shorten(text, 60),
        };
        let why = self.expected.unwrap_or("not known to vary");
        format!("{}: {} → {} ({why})", self.key, value(&self.a), value(&self.b))
    }
}

impl Comparison {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "reprofix-check-1";

    /// Two subjects that do not differ so far.
    pub fn new(a: &Subject, b: &Subject) -> Self {
        Comparison {
            schema: Self::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            a: SubjectRow::of(a),
            b: SubjectRow::of(b),
            same: true,
            source_date_epoch: None,
            source_date_epoch_from: None,
            counts: Counts::default(),
            differences: Vec::new(),
            metadata: Vec::new(),
            packages: None,
            warnings: Vec::new(),
        }
    }

    /// Notes under which epoch normal forms are made, and what was to be said about that.
    pub fn assume(&mut self, in_force: &InForce) {
        self.source_date_epoch = Some(in_force.epoch.0.seconds());
        self.source_date_epoch_from = Some(in_force.epoch.1.to_string());
        self.warnings.extend(in_force.warnings.iter().cloned());
    }

    /// Adds a difference and the packages that own its path.
    pub fn add(&mut self, explained: Explained, packages: Vec<String>) {
        self.counts.paths += 1;
        *match explained.cause {
            _ if explained.expected.is_some() => &mut self.counts.expected,
            Cause::Fixed { .. } => &mut self.counts.fixed,
            Cause::Known { .. } => &mut self.counts.known,
            Cause::Cascade { .. } => &mut self.counts.cascade,
            Cause::Unexplained => &mut self.counts.unexplained,
        } += 1;
        self.differences.push(row(explained, packages));
    }

    /// Settles whether the subjects are the same, once everything is added.
    pub fn settle(&mut self) {
        let unexpected = self.counts.paths - self.counts.expected;
        self.same = unexpected == 0 && !self.metadata.iter().any(|m| m.counts);
    }

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
        for (n, action) in (1..).zip(super::next::actions(self)) {
            let _ = writeln!(out, "{n}. {action}");
        }
        out
    }

    /// The rows by cause: what `fix` removes first, what nobody knows last, next to the prompt.
    pub(super) fn groups(&self) -> BTreeMap<Title, Vec<&Row>> {
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

/// The heading of a group; its order is that of the report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Title {
    Expected,
    Fixed(String),
    Cascade,
    Known(&'static str),
    Unexplained,
}

impl Title {
    pub(super) fn of(row: &Row) -> Self {
        if row.expected.is_some() {
            return Title::Expected;
        }
        match &row.cause {
            CauseRow::Fixed { plugins } => Title::Fixed(plugins.join(", ")),
            CauseRow::Cascade { .. } => Title::Cascade,
            CauseRow::Known { plugin, .. } => Title::Known(plugin),
            CauseRow::Unexplained => Title::Unexplained,
        }
    }

    /// The cause in a word or two.
    pub(super) fn word(&self) -> String {
        match self {
            Title::Expected => "expected".to_owned(),
            Title::Fixed(plugins) => format!("fixed by {plugins}"),
            Title::Cascade => "follows another".to_owned(),
            Title::Known(plugin) => format!("known to {plugin}"),
            Title::Unexplained => "unexplained".to_owned(),
        }
    }

    /// The kind of cause, as in JSON.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Title::Expected => "expected",
            Title::Fixed(_) => "fixed",
            Title::Cascade => "cascade",
            Title::Known(_) => "known",
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

    /// Its path with a leading slash.
    pub(super) fn absolute(&self) -> String {
        match self.path.as_str() {
            "." => "/".to_owned(),
            path => format!("/{path}"),
        }
    }

    /// All that is said of it, one phrase a line.
    pub(super) fn lines(&self) -> Vec<String> {
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

fn row(explained: Explained, packages: Vec<String>) -> Row {
    let difference = &explained.difference;
    Row {
        path: shown(&difference.path),
        changes: difference.changes.clone(),
        cause: match &explained.cause {
            Cause::Fixed { plugins } => CauseRow::Fixed { plugins: plugins.clone() },
            Cause::Known { plugin, lines } => CauseRow::Known { plugin, lines: lines.clone() },
            Cause::Cascade { of } => CauseRow::Cascade { of: shown(of) },
            Cause::Unexplained => CauseRow::Unexplained,
        },
        packages,
        a: difference.a.as_ref().map(side),
        b: difference.b.as_ref().map(side),
        expected: explained.expected.as_deref().map(ExpectedRow::from),
        details: explained.details,
        look: explained.look,
    }
}

fn side(side: &Side) -> SideRow {
    SideRow {
        r#type: match side.kind() {
            Kind::File => "file",
            Kind::Dir => "directory",
            Kind::Symlink => "symlink",
            Kind::Other => "other",
        },
        mode: format!("{:04o}", side.attrs.mode & 0o7777),
        uid: side.attrs.uid,
        gid: side.attrs.gid,
        size: side.size,
        object: side.object.to_string(),
    }
}

fn shown(path: &std::path::Path) -> String {
    match path.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => show(path),
    }
}

/// "1 path", "2 paths".
pub(super) fn paths(n: usize) -> String {
    if n == 1 { "1 path".to_owned() } else { format!("{n} paths") }
}

/// The start of a text, on one line.
pub(super) fn shorten(text: &str, len: usize) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(len) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
