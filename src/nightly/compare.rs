//! Compares two finished subjects like `check`, for the history.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::images;
use crate::compare::Compared as Both;
use crate::config::{self, Flags, Origin};
use crate::env::{self, SourceDateEpoch};
use crate::history::{Difference, Verdict};
use crate::packages::{Packages, split_nevra};
use crate::report::Progress;
use crate::report::check::{CauseRow, Comparison, Metadata, Row};
use crate::run::check::Job;
use crate::run::composefs;
use crate::source::Spec;
use crate::tree::Tree;

/// What to compare, and under which rules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The first subject, as written.
    pub a: OsString,
    /// The second.
    pub b: OsString,
    /// The epoch, plugins and options of `check`.
    pub flags: Flags,
    /// The expectations file of `check`.
    pub expect: Option<PathBuf>,
    /// Keep both contents side by side, for the report's page.
    pub excerpts: bool,
}

/// The result of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Compared {
    /// The whole report; for images only if their files differ.
    pub report: Option<Comparison>,
    /// Reproducible, expected or different.
    pub verdict: Verdict,
    /// The result in one line.
    pub detail: String,
    /// Names of the plugins in force, comma-separated.
    pub plugins: String,
    /// One row per path, and one per key of commit metadata that counts.
    pub differences: Vec<Difference>,
    /// The first subject's packages: name, and versions separated by blanks.
    pub packages: BTreeMap<String, String>,
    /// Both content checksums; `None` if they were not needed.
    pub checksums: [Option<String>; 2],
    /// Both composefs digests; `None` if bootc does not boot the subject.
    pub composefs: [Option<String>; 2],
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Compares two subjects.
///
/// # Errors
///
/// If a subject is unreadable or corrupt, or if the two cannot be compared.
pub(crate) fn compare(request: &Request) -> Result<Compared> {
    let job = Job {
        a: request.a.clone(),
        b: Some(request.b.clone()),
        flags: request.flags.clone(),
        expect: request.expect.clone(),
        excerpts: request.excerpts,
        checksums: true,
        ..Job::default()
    };
    let mut compared = match crate::compare::compare(&job, &[], &Progress::new(true))? {
        Both::Images { report, a } => images::compared(*report, &a, &job),
        Both::Trees { report, a } => trees(*report, a.merkle.tree(), &job),
    }?;
    for (side, text) in [&request.a, &request.b].into_iter().enumerate() {
        match Spec::parse(text).and_then(|spec| composefs::digest(&spec)) {
            Ok(digest) => compared.composefs[side] = digest,
            Err(error) => compared.warnings.push(format!("no composefs digest: {error:#}")),
        }
    }
    Ok(compared)
}

fn trees(report: Comparison, tree: &dyn Tree, job: &Job) -> Result<Compared> {
    Ok(Compared {
        verdict: verdict(&report),
        detail: detail(&report),
        plugins: plugins(&job.flags, tree)?,
        differences: differences(&report),
        packages: packages(tree)?,
        checksums: [&report.a, &report.b].map(|side| side.content_checksum.clone()),
        composefs: [None, None],
        warnings: report.warnings.clone(),
        report: Some(report),
    })
}

fn verdict(report: &Comparison) -> Verdict {
    match (report.same, report.differences.is_empty()) {
        (true, true) => Verdict::Reproducible,
        (true, false) => Verdict::Expected,
        (false, _) => Verdict::Different,
    }
}

pub(super) fn detail(report: &Comparison) -> String {
    match report.same && report.differences.is_empty() {
        true => String::new(),
        false => report.verdict(),
    }
}

pub(super) fn plugins(flags: &Flags, tree: &dyn Tree) -> Result<String> {
    let fallback = Some((SourceDateEpoch::new(0), Origin::Assumed("nothing is rewritten")));
    let in_force = config::in_force_or(flags, env::source_date_epoch(), tree, fallback)?;
    let names: Vec<_> = in_force.chain().iter().map(|plugin| plugin.page().name).collect();
    Ok(names.join(","))
}

pub(super) fn differences(report: &Comparison) -> Vec<Difference> {
    let rows = report.differences.iter().map(difference);
    rows.chain(report.metadata.iter().filter(|m| m.counts).map(of_metadata)).collect()
}

fn difference(row: &Row) -> Difference {
    let words: Vec<_> = row.changes.iter().map(|change| change.word()).collect();
    let mut lines = Vec::new();
    let (cause, plugin) = match &row.cause {
        CauseRow::Fixed { plugins } => ("fixed", Some(plugins.join(","))),
        CauseRow::Known { plugin, lines: known, .. } => {
            lines.extend(known.iter().cloned());
            ("known", Some((*plugin).to_owned()))
        }
        CauseRow::Cascade { of, how } => {
            lines.push(format!("consequence of /{of}: {}", how.words()));
            ("cascade", None)
        }
        CauseRow::Unexplained => ("unexplained", None),
    };
    if let Some(expected) = &row.expected {
        lines.push(format!("expected until {}: {}", expected.expires, expected.reason));
    }
    lines.extend(row.details.iter().cloned());
    if !row.packages.is_empty() {
        lines.push(format!("packaged by {}", row.packages.join(", ")));
    }
    Difference {
        path: row.path.clone(),
        kind: words.join(", "),
        cause: if row.expected.is_some() { "expected" } else { cause }.to_owned(),
        plugin,
        package: row.packages.first().map(|nevra| split_nevra(nevra).0.to_owned()),
        text: lines.join("\n"),
    }
}

fn of_metadata(metadata: &Metadata) -> Difference {
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "absent".to_owned());
    Difference {
        path: format!("(commit metadata) {}", metadata.key),
        kind: "commit metadata".to_owned(),
        cause: "unexplained".to_owned(),
        text: format!("{} → {}", value(&metadata.a), value(&metadata.b)),
        ..Difference::default()
    }
}

/// The packages of a tree. A database that cannot be parsed has none, since the comparison reports
/// it already; one that cannot be read is an error.
pub(super) fn packages(tree: &dyn Tree) -> Result<BTreeMap<String, String>> {
    let packages = Packages::load(tree).context("reading the package database")?;
    let packages = packages.unwrap_or_default();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut all: Vec<_> = packages.nevras().collect();
    all.sort_unstable();
    for (name, version) in all.into_iter().map(split_nevra) {
        let versions = found.entry(name.to_owned()).or_default();
        if !versions.is_empty() {
            versions.push(' ');
        }
        versions.push_str(version);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::tree::{Entry, Kind};

    /// A tree with a package database, in which reading one of its directories fails.
    struct Failing(&'static str);

    impl Failing {
        fn ask<T>(&self, path: &Path, answer: T) -> io::Result<T> {
            match path == Path::new(self.0) {
                true => Err(io::Error::other("the disk is broken")),
                false => Ok(answer),
            }
        }
    }

    const INSTALLED: &str = "usr/lib/apk/db/installed";

    impl Tree for Failing {
        fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
            let kind = match path.to_str() {
                Some("bin") => Kind::Symlink,
                Some(INSTALLED) => Kind::File,
                _ => Kind::Dir,
            };
            let path = path.to_owned();
            let entry = Entry {
                path: path.clone(),
                kind,
                mode: 0o755,
                uid: 0,
                gid: 0,
                size: 0,
                mtime: None,
                inode: None,
            };
            self.ask(
                &path,
                Some(entry).filter(|_| path.starts_with("usr") || path.starts_with("bin")),
            )
        }
        fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
            self.ask(path, Vec::new())
        }
        fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
            let text = b"P:busybox\nV:1.37\nF:bin\nR:busybox\nF:usr/bin\nR:yes\n\n".to_vec();
            self.ask(path, Some(text).filter(|_| path == Path::new(INSTALLED)))
        }
        fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
            self.ask(path, Some("usr/bin".into()).filter(|_| path == Path::new("bin")))
        }
        fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_database_that_cannot_be_read_is_no_empty_one() {
        let found = packages(&Failing("none")).expect("reads");
        assert_eq!(found.get("busybox").map(String::as_str), Some("1.37"), "{found:?}");
        for broken in [INSTALLED, "var/lib/dpkg/info", "var/lib/pacman/local", "bin", "usr/bin"] {
            let error = packages(&Failing(broken)).expect_err(broken);
            let said = format!("{error:#}");
            assert!(said.contains("package database") && said.contains("broken"), "{said}");
        }
    }
}
