//! The report of `check` with two subjects.

mod text;

use serde::Serialize;

pub(super) use text::{Title, paths};

use crate::check::disk::Disks;
use crate::check::{Cause, Change, Consequence, Excerpt, Expected, Explained, Side};
use crate::config::InForce;
use crate::normal::CommonCause;
use crate::report::composefs::Pair;
use crate::source::{CommitInfo, Subject};
use crate::tree::{Kind, show_below};

/// The comparison of two subjects, in a stable order; `check A B --json` writes it.
///
/// Paths are text from [`show_below`]: bytes that are not UTF-8 are `\xNN`; the root is `.`.
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
    /// Whether nothing that counts differs; if so, the exit code is 0, otherwise 1.
    pub same: bool,
    /// The epoch under which normal forms were made, in seconds since 1970-01-01 UTC; `null` if
    /// none was needed.
    pub source_date_epoch: Option<u32>,
    /// Where the epoch came from.
    pub source_date_epoch_from: Option<String>,
    /// How many paths differ, by cause.
    pub counts: Counts,
    /// One row per path, sorted by path component.
    pub differences: Vec<Row>,
    /// One row for each differing key of the commits' metadata, sorted.
    pub metadata: Vec<Metadata>,
    /// The packages, if the rpm databases differ; `null` if they do not, or one cannot be read.
    pub packages: Option<crate::packages::Comparison>,
    /// The composefs digests if either subject is sealed, otherwise `null`.
    pub composefs: Option<Pair>,
    /// How the bytes of two disk images differ; `null` if they are equal, or the subjects are others.
    pub disks: Option<Disks>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Whether one of them was composed from a treefile: advice mentions treefiles only then.
    #[serde(skip)]
    pub composed: bool,
}

/// One subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubjectRow {
    /// What it is, resolved.
    pub subject: String,
    /// Its content checksum; `null` if it was not computed.
    pub content_checksum: Option<String>,
    /// The commit it is, if it is one.
    pub commit: Option<String>,
}

impl SubjectRow {
    /// The row of `subject`.
    pub fn of(subject: &Subject) -> Self {
        SubjectRow {
            subject: subject.name.clone(),
            content_checksum: subject.content_checksum().map(|sum| sum.to_string()),
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
    /// Those that are a consequence of another path's difference.
    pub cascade: usize,
    /// Those that are unexplained.
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
    /// What exactly differs, one phrase per line.
    pub details: Vec<String>,
    /// The packages that own the path on either side, as NEVRA.
    pub packages: Vec<String>,
    /// What A has there.
    pub a: Option<SideRow>,
    /// What B has there.
    pub b: Option<SideRow>,
    /// Why it was expected to differ; `null` if it was not.
    pub expected: Option<ExpectedRow>,
    /// Both contents side by side, on request; not in JSON.
    #[serde(skip)]
    pub excerpt: Option<Excerpt>,
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
    /// A plugin knows the file, but its normal form does not remove the difference.
    Known {
        /// The plugin.
        plugin: &'static str,
        /// What it says.
        lines: Vec<String>,
        /// The cause that many paths have in common, if it is such a cause.
        #[serde(skip)]
        common: Option<&'static CommonCause>,
    },
    /// It is a consequence of the difference at another path.
    Cascade {
        /// That path.
        of: String,
        /// How it follows.
        how: Consequence,
    },
    /// The cause is unknown.
    Unexplained,
}

/// What one side has at a path.
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
    /// Its value in A as GVariant text; `null` if it is missing.
    pub a: Option<String>,
    /// Its value in B.
    pub b: Option<String>,
    /// Why it may differ between two builds of one configuration; `null` if it should not.
    pub expected: Option<&'static str>,
    /// Whether it makes the subjects differ.
    pub counts: bool,
}

/// The key for differing composefs digests in formats without a better place.
pub(in crate::report) const COMPOSEFS: &str = "(composefs digest)";

/// Keys that differ between builds of one configuration, and why.
const VARYING: &[(&str, &str)] = &[
    ("(body)", "free text"),
    ("(parent)", "the commit before it"),
    ("(subject)", "free text"),
    ("(timestamp)", "the time of the build, unless SOURCE_DATE_EPOCH is set"),
    ("coreos-assembler.config-gitrev", "the configuration's revision"),
    ("ostree.collection-binding", "the collection it was made for"),
    ("ostree.composefs.digest.v0", "the composefs image of the tree, which follows the tree"),
    ("ostree.container.image-config", "the image it was imported from"),
    ("ostree.importer.version", "the version of the importer"),
    ("ostree.manifest", "the image it was imported from"),
    ("ostree.manifest-digest", "the image it was imported from"),
    ("ostree.ref-binding", "the refs it was made for"),
    ("ostree.sizes", "compressed sizes, which depend on the compressor"),
    ("rpmostree.advisories", "advisories as the repositories had them"),
    ("rpmostree.initramfs-args", "arguments of dracut, temporary paths among them"),
    ("rpmostree.inputhash", "a hash of the inputs, repository metadata among them"),
    ("rpmostree.rpmdb.pkglist", "the package list, in the rpmdb as well"),
    ("rpmostree.rpmmd-repos", "times of the repositories' metadata"),
    ("version", "the build's own version"),
    ("xa.download-size", "the size of a download, which follows the compressor of objects"),
    ("xa.from_commit", "the commit that flatpak made it from (build-commit-from)"),
    ("xa.installed-size", "the sizes of the files, which follow the tree"),
    ("xa.metadata", "the file metadata of the tree"),
    ("xa.ref", "the ref that it was exported to"),
];

impl Metadata {
    /// The keys in which two commits differ, sorted. A key that is known to vary between builds
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
}

impl Comparison {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "reprofix-check-1";

    /// A comparison of two subjects without any difference yet.
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
            composefs: None,
            disks: None,
            warnings: Vec::new(),
            composed: false,
        }
    }

    /// Records under which epoch normal forms are made, with warnings about it.
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
            Cause::Known { .. } | Cause::Common { .. } => &mut self.counts.known,
            Cause::Cascade { .. } => &mut self.counts.cascade,
            Cause::Unexplained => &mut self.counts.unexplained,
        } += 1;
        self.differences.push(row(explained, packages));
    }

    /// Adds differences of metadata outside the trees.
    pub fn add_metadata(&mut self, found: Vec<Metadata>) {
        self.metadata.extend(found);
        self.settle();
    }

    /// Adds the composefs digests, in which `fix` makes the same paths equal.
    pub fn add_composefs(&mut self, mut pair: Pair) {
        let fixed = |path: &str| {
            let below = path.strip_prefix('/').unwrap_or(path);
            let row = self.differences.iter().find(|row| row.path == below);
            row.is_some_and(|row| matches!(row.cause, CauseRow::Fixed { .. }))
        };
        pair.settle(&fixed);
        if !pair.same {
            let [a, b] = [&pair.a, &pair.b].map(|side| Some(side.digest.clone()));
            let key = COMPOSEFS.to_owned();
            self.metadata.push(Metadata { key, a, b, expected: None, counts: true });
        }
        self.composefs = Some(pair);
        self.settle();
    }

    /// Determines whether the subjects are the same, once everything was added.
    pub fn settle(&mut self) {
        let unexpected = self.counts.paths - self.counts.expected;
        let of_trees = unexpected == 0 && !self.metadata.iter().any(|m| m.counts);
        self.same = of_trees && self.disks.is_none();
    }
}

fn row(explained: Explained, packages: Vec<String>) -> Row {
    let difference = &explained.difference;
    Row {
        path: show_below(&difference.path),
        changes: difference.changes.clone(),
        cause: match &explained.cause {
            Cause::Fixed { plugins } => CauseRow::Fixed { plugins: plugins.clone() },
            Cause::Known { plugin, lines } => {
                CauseRow::Known { plugin, lines: lines.clone(), common: None }
            }
            Cause::Common { plugin, cause, lines } => {
                CauseRow::Known { plugin, lines: lines.clone(), common: Some(cause) }
            }
            Cause::Cascade { of, how } => CauseRow::Cascade { of: show_below(of), how: *how },
            Cause::Unexplained => CauseRow::Unexplained,
        },
        packages,
        a: difference.a.as_ref().map(side),
        b: difference.b.as_ref().map(side),
        expected: explained.expected.as_deref().map(ExpectedRow::from),
        details: explained.details,
        excerpt: explained.excerpt,
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
