//! Two images, as `check oci:A oci:B` compares them, for the record.

use anyhow::Result;

use super::compare::{self, Compared};
use crate::history::{Difference, Verdict};
use crate::image::compare::{Pair, Report};
use crate::image::flattened::Flattened;
use crate::run::check::Job;
use crate::source::hashed::Hashed;
use crate::source::merkle::Merkle as _;
use crate::source::oci::Images;

/// What goes into the record of two images. The first one's tree gives content checksum and
/// packages.
///
/// # Errors
///
/// If A cannot be read, or is not one image where it is laid out as a tree.
pub(super) fn compared(report: Report, a: &Images, job: &Job) -> Result<Compared> {
    let tree = Hashed::new(Flattened::read(&a.store, a.one()?, 0)?, &|| ())?;
    let ours = tree.root().content_checksum();
    let paths = report.pairs.iter().find_map(|pair| pair.paths.as_deref()).cloned();
    let theirs = match &paths {
        Some(paths) => paths.b.content_checksum.clone(),
        None => report.same.then(|| ours.to_string()),
    };
    Ok(Compared {
        verdict: if report.same { Verdict::Reproducible } else { Verdict::Different },
        detail: detail(&report),
        plugins: compare::plugins(&job.flags, tree.tree())?,
        differences: differences(&report),
        packages: compare::packages(tree.tree())?,
        checksums: [Some(ours.to_string()), theirs],
        composefs: [None, None],
        warnings: report.warnings,
        report: paths,
    })
}

fn detail(report: &Report) -> String {
    let one = |pair: &Pair| {
        let paths = pair.paths.as_deref().map(compare::detail);
        let paths = paths.map(|said| format!("; {said}")).unwrap_or_default();
        format!("{}: {}{paths}", pair.platform, pair.verdict)
    };
    let pairs = report.pairs.iter().filter(|pair| !pair.same).map(one);
    let lone =
        |side, all: &[String]| (!all.is_empty()).then(|| format!("{side}: {}", all.join(", ")));
    let lone = [lone("only in A", &report.only_a), lone("only in B", &report.only_b)];
    pairs.chain(lone.into_iter().flatten()).collect::<Vec<_>>().join("; ")
}

/// Path by path, and a row for what each image says of itself.
fn differences(report: &Report) -> Vec<Difference> {
    let mut found = Vec::new();
    for pair in report.pairs.iter().filter(|pair| !pair.same) {
        let words: Vec<_> = pair.classes.iter().map(|class| class.words()).collect();
        let layers = pair.layers.iter().flat_map(|layer| {
            layer.details.iter().map(move |line| format!("layer {}: {line}", layer.number))
        });
        let lines: Vec<String> = pair.details.iter().cloned().chain(layers).collect();
        found.push(of_image(&pair.platform, words.join(", "), lines.join("\n")));
        found.extend(pair.paths.as_deref().into_iter().flat_map(compare::differences));
    }
    let lone = |all: &[String], kind: &str| -> Vec<Difference> {
        all.iter().map(|platform| of_image(platform, kind.to_owned(), String::new())).collect()
    };
    found.extend(lone(&report.only_a, "removed"));
    found.extend(lone(&report.only_b, "added"));
    found.extend(report.catalogs.iter().map(|catalog| {
        let lacks: Vec<_> = catalog.lacks.iter().cloned().collect();
        let text = format!("{} lacks the bundles {}", catalog.side, lacks.join(", "));
        of_image(&catalog.platform, "bundles".to_owned(), text)
    }));
    found
}

fn of_image(platform: &str, kind: String, text: String) -> Difference {
    let cause = "unexplained".to_owned();
    Difference { path: format!("(image) {platform}"), kind, cause, text, ..Difference::default() }
}
