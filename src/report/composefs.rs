//! The report on composefs digests.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::composefs::{Deviation, Unlisted, View};

/// The most paths to list in a row.
const SHOWN: usize = 20;

/// Whether all views of an image have the same digest, and whether it is sealed with it; `composefs
/// check --json` writes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The generation of bootc, by its first release.
    pub bootc: &'static str,
    /// The subject.
    pub subject: ViewedSubject,
    /// The unified kernel images in it.
    pub ukis: Vec<UkiRow>,
    /// The other views of it, and what deviates there.
    pub views: Vec<ViewRow>,
    /// Directories whose time an extraction may change, with the layer (lowest 1) that adds to them.
    pub unlisted: Vec<UnlistedRow>,
    /// Whether nothing that counts deviates; if so, the exit code is 0, otherwise 1.
    pub same: bool,
}

/// A subject as it was read, and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewedSubject {
    /// The subject, resolved.
    pub subject: String,
    /// `directory` or `layers`.
    pub view: &'static str,
    /// Its digest: 128 hexadecimal digits.
    pub digest: String,
}

/// Another view, compared with the first.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ViewRow {
    /// What was read.
    #[serde(flatten)]
    pub viewed: ViewedSubject,
    /// What deviates, by cause; empty if it has the same digest.
    pub deviations: Vec<Row>,
}

/// A unified kernel image.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct UkiRow {
    /// Its path.
    pub path: String,
    /// Whether bootc accepts it for this image; `null` if it carries no digest.
    pub boots: Option<bool>,
    /// The digests on its command line.
    pub claims: Vec<ClaimRow>,
}

/// A digest on a command line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClaimRow {
    /// The argument as written.
    pub argument: String,
    /// What it is the digest of.
    pub of: DigestOf,
    /// What was changed since, by cause, if known.
    pub deviations: Vec<Row>,
}

/// What a digest on a command line is the digest of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum DigestOf {
    /// Of this image, for this generation of bootc.
    This,
    /// Of this image, for another generation.
    Generation {
        /// The generation, by its first release.
        bootc: &'static str,
    },
    /// Of its lowest layers: others were added after the seal.
    LowestLayers {
        /// Their number.
        layers: usize,
        /// The present number of layers.
        of: usize,
    },
    /// Of the other given view.
    View {
        /// That view.
        subject: String,
    },
    /// Of none of these.
    Unknown,
    /// Not known: bootc ignores its hash.
    OtherHash,
    /// Nothing: bootc does not understand it.
    Malformed {
        /// Why.
        why: String,
    },
}

/// The entries of one type that deviate in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Their number and type, and what deviates: `5,267 directories: time of extraction`.
    pub cause: String,
    /// The number of entries.
    pub entries: usize,
    /// The first paths, twenty at most.
    pub paths: Vec<String>,
    /// All paths.
    #[serde(skip)]
    all: Vec<String>,
    /// The values of the first entry on both sides.
    pub example: String,
    /// The plugin that handles it; `null` if there is none.
    pub plugin: Option<&'static str>,
    /// Whether `fix` with the profile composefs removes it.
    pub fixable: bool,
    /// What to do.
    pub advice: &'static str,
}

/// A directory that a layer changes without listing it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct UnlistedRow {
    /// Its path.
    pub path: String,
    /// The layer's number, lowest 1.
    pub layer: usize,
}

/// The digests of two builds, compared by `check A B` if either is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The generation of bootc, by its first release.
    pub bootc: &'static str,
    /// The first.
    pub a: ViewedSubject,
    /// The second.
    pub b: ViewedSubject,
    /// Whether both are the same.
    pub same: bool,
    /// What deviates, by cause.
    pub deviations: Vec<Row>,
}

/// The name of a view.
pub(crate) fn word(view: View) -> &'static str {
    match view {
        View::Directory => "directory",
        View::Layers => "layers",
    }
}

impl From<Deviation> for Row {
    fn from(deviation: Deviation) -> Self {
        let Deviation { cause, kind, paths: all, example } = deviation;
        let entries = all.len();
        let paths = all.iter().take(SHOWN).cloned().collect();
        Row {
            cause: format!("{}: {cause}", kind.counted(entries)),
            entries,
            paths,
            all,
            example,
            plugin: cause.plugin(),
            fixable: cause.is_fixable(),
            advice: cause.advice(),
        }
    }
}

impl From<Unlisted> for UnlistedRow {
    fn from(unlisted: Unlisted) -> Self {
        UnlistedRow { path: unlisted.path, layer: unlisted.layer }
    }
}

impl Row {
    /// Two lines: what deviates, and what to do.
    pub fn lines(&self) -> [String; 2] {
        let mut first = format!("{}, the first {}", self.cause, self.paths[0]);
        if !self.example.is_empty() {
            let _ = write!(first, " ({})", self.example);
        }
        let answer = match (self.plugin, self.fixable) {
            (Some(plugin), true) => format!("fixable: {plugin}; {}", self.advice),
            (Some(plugin), false) => format!("explained by {plugin}, not fixable; {}", self.advice),
            (None, true) => "fixable, see the paths above".to_owned(),
            (None, false) => self.advice.to_owned(),
        };
        [first, format!("  {answer}")]
    }
}

impl fmt::Display for ViewedSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {} ({})", self.digest, self.subject, self.view)
    }
}

impl fmt::Display for DigestOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DigestOf::This => f.write_str("carries this digest"),
            DigestOf::Generation { bootc } => {
                write!(f, "carries the digest that bootc {bootc} computes for it")
            }
            DigestOf::LowestLayers { layers, of } => write!(
                f,
                "carries the digest of the lowest {layers} of {of} layers: the image was changed \
                 after the seal"
            ),
            DigestOf::View { subject } => {
                write!(f, "carries the digest of {subject}: it was sealed from there")
            }
            DigestOf::Unknown => f.write_str(
                "carries another digest, of none of these: it was sealed from another tree, or \
                 changed after the seal",
            ),
            DigestOf::OtherHash => {
                f.write_str("carries a digest with SHA-256, which bootc ignores")
            }
            DigestOf::Malformed { why } => write!(f, "carries what bootc refuses: {why}"),
        }
    }
}

impl Report {
    /// The schema's name and version.
    pub(crate) const SCHEMA: &'static str = "reprofix-composefs-1";

    /// The report for a terminal.
    pub(crate) fn human(&self) -> String {
        let mut out = format!("{}\n", self.subject);
        self.ukis.iter().for_each(|uki| uki.write(&mut out));
        for view in &self.views {
            let _ = writeln!(out, "{}", view.viewed);
            write_rows(&mut out, &view.deviations);
        }
        if let Some(first) = self.unlisted.first() {
            let many = crate::composefs::Kind::Directory.counted(self.unlisted.len());
            let _ = writeln!(
                out,
                "{many}: time of extraction, once it is extracted, the first {}\n  layer {} adds to \
                 it but has no entry for it: let the tool that makes the layer write one, or seal the digest computed from the layers",
                first.path, first.layer
            );
        }
        let _ = writeln!(out, "{}", if self.same { "same" } else { "not the same" });
        out
    }
}

impl UkiRow {
    fn write(&self, out: &mut String) {
        if self.claims.is_empty() {
            let _ = writeln!(out, "{}: carries no composefs digest", self.path);
        }
        for claim in &self.claims {
            let refused = self.boots == Some(false) && claim.of != DigestOf::OtherHash;
            let end = if refused { "; the machine will refuse to boot it" } else { "" };
            let _ = writeln!(out, "{}: {}{end}", self.path, claim.of);
            if claim.of != DigestOf::This {
                let _ = writeln!(out, "  {}", claim.argument);
            }
            write_rows(out, &claim.deviations);
        }
    }
}

impl Pair {
    /// Marks as fixable what deviates only at paths that `fix` makes equal.
    pub(super) fn settle(&mut self, fixed: &dyn Fn(&str) -> bool) {
        for row in self.deviations.iter_mut().filter(|row| row.plugin.is_none()) {
            row.fixable = row.all.iter().all(|path| fixed(path));
        }
    }

    /// The lines of a report: both digests if they differ, what deviates, and what `fix` does.
    pub fn lines(&self) -> Vec<String> {
        if self.same {
            let Pair { bootc, a, .. } = self;
            return vec![format!("composefs digest (bootc {bootc}): the same, {}", a.digest)];
        }
        let mut lines = vec![
            format!("composefs digests (bootc {}):", self.bootc),
            format!("  A {}", self.a),
            format!("  B {}", self.b),
        ];
        let rows = self.deviations.iter().flat_map(Row::lines);
        lines.extend(rows.map(|line| format!("  {line}")));
        lines.push(match self.deviations.iter().all(|row| row.fixable) {
            true => {
                "  `reprofix fix --profile composefs` on both makes the digests equal".to_owned()
            }
            false => {
                "  what is not fixable here is a difference between the trees themselves".to_owned()
            }
        });
        lines
    }
}

fn write_rows(out: &mut String, rows: &[Row]) {
    for line in rows.iter().flat_map(Row::lines) {
        let _ = writeln!(out, "  {line}");
    }
}
