//! `check oci:A oci:B`: why two images differ, platform by platform.
//!
//! Images are paired by platform across layout shapes and media families. Two of one platform are
//! the same if the chains of their diff_ids and their configurations are, times aside: compressed
//! digests and history differ in every build that nobody pinned. Where both encapsulate ostree
//! commits of one content checksum, that settles the layers of the commits, and nothing else.

mod class;
mod documents;
mod json;
mod layers;
mod pair;
mod print;
mod sealed;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde::Serialize;

pub use class::Class;
pub use layers::LayerPair;
pub(super) use layers::{RUN_TIMES, is_archive};

use crate::image::opm::bundles::{lacking, of_image};
use crate::report::Progress;
use crate::report::check::{Comparison, Metadata};
use crate::report::composefs;
use crate::run::check::Job;
use crate::source::is_commit;
use crate::source::oci::{Digest, Image, Images};
use crate::source::ostree::Encapsulated;
use documents::{Documents, differences};
use pair::{pair, settled};

/// Two subjects compared; `check A B --json` writes it. Everything is in a stable order.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name and version of this schema; the number rises when a field changes its meaning.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The first subject, as written.
    pub a: String,
    /// The second.
    pub b: String,
    /// Whether every platform of one is in the other and the same there.
    pub same: bool,
    /// One a platform that both have, sorted by platform.
    pub pairs: Vec<Pair>,
    /// Platforms that only A has.
    pub only_a: Vec<String>,
    /// Platforms that only B has.
    pub only_b: Vec<String>,
    /// Catalogs whose platforms hold different bundles.
    pub catalogs: Vec<Bundles>,
    /// Other things worth saying.
    pub warnings: Vec<String>,
}

/// One platform in both subjects.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The platform.
    pub platform: String,
    /// What A has.
    pub a: Side,
    /// What B has.
    pub b: Side,
    /// Whether nothing differs that counts.
    pub same: bool,
    /// `identical`, `X only`, or all classes.
    pub verdict: String,
    /// The ways in which they differ.
    pub classes: BTreeSet<Class>,
    /// What exactly differs in manifest and configuration, one phrase a line.
    pub details: Vec<String>,
    /// The layers that are not the same, if both images have as many.
    pub layers: Vec<LayerPair>,
    /// Path by path, if content differs.
    pub paths: Option<Box<Comparison>>,
    /// The composefs digests, if either is sealed and their layers differ.
    pub composefs: Option<composefs::Pair>,
}

/// One side of a pair.
#[derive(Debug, Serialize)]
pub struct Side {
    /// Its tags.
    pub names: BTreeSet<String>,
    /// Digest of the list that holds it.
    pub list: Option<Digest>,
    /// Digest of the manifest; none in a docker-archive.
    pub manifest: Option<Digest>,
    /// Digest of the configuration.
    pub config: Option<Digest>,
    /// The layers' identity.
    pub diff_ids: Vec<Digest>,
    /// The ostree commit that it encapsulates.
    pub ostree: Option<Encapsulated>,
}

/// Bundles that one platform of a catalog lacks and another has.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Bundles {
    /// `A` or `B`.
    pub side: &'static str,
    /// The platform.
    pub platform: String,
    /// Names of the bundles that it lacks, sorted.
    pub lacks: BTreeSet<String>,
}

/// Compares all images that two subjects select. `job` says how differing files are explained, and
/// whether metadata counts ([`Job::strict_metadata`]).
///
/// # Errors
///
/// If an image cannot be read or is not what its digests say.
pub fn compare(
    [name_a, name_b]: [&str; 2],
    a: &Images,
    b: &Images,
    job: &Job,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let mut report = Report {
        schema: "reprofix-images-1",
        version: env!("CARGO_PKG_VERSION"),
        a: name_a.to_owned(),
        b: name_b.to_owned(),
        same: true,
        pairs: Vec::new(),
        only_a: Vec::new(),
        only_b: Vec::new(),
        catalogs: Vec::new(),
        warnings: Vec::new(),
    };
    let (left, right) = (by_platform(a)?, by_platform(b)?);
    let (mut only_a, mut only_b) = (Vec::new(), Vec::new());
    for platform in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        match (left.get(platform), right.get(platform)) {
            (Some(x), Some(y)) => {
                let (x, y) = choose(platform, x, y)?;
                let warnings = &mut report.warnings;
                report.pairs.push(pair(platform, (a, x), (b, y), job, progress, warnings)?);
            }
            (Some(_), None) => only_a.push(platform.clone()),
            _ => only_b.push(platform.clone()),
        }
    }
    (report.only_a, report.only_b) = (only_a, only_b);
    report.warnings.extend(beside_images(a, b));
    for (side, subject) in [("A", a), ("B", b)] {
        report.catalogs.extend(bundles(side, subject, &mut report.warnings)?);
    }
    let sound = report.catalogs.is_empty() && report.pairs.iter().all(|p| p.same);
    report.same = sound && report.only_a.is_empty() && report.only_b.is_empty();
    progress.finish();
    Ok(report)
}

/// What two images that are ostree commits and nothing more say beside them; `None` unless both
/// texts name such images. Configurations count as those of any image; times, history and media
/// types only if `strict`.
///
/// # Errors
///
/// If the documents of an image cannot be read.
pub fn beside_commits([a, b]: [&str; 2], strict: bool) -> anyhow::Result<Option<Vec<Metadata>>> {
    if !is_commit(a) || !is_commit(b) {
        return Ok(None);
    }
    let (a, b) = (Images::open(a, None)?, Images::open(b, None)?);
    let (x, y) = (a.one()?, b.one()?);
    let (left, right) = (Documents::read(&a.store, x)?, Documents::read(&b.store, y)?);
    let found = differences((x, &left), (y, &right), settled(&left, &right));
    Ok(Some(found.iter().map(|difference| difference.metadata(strict)).collect()))
}

/// A word on attestations and artifacts, which are not compared, if there are others.
fn beside_images(a: &Images, b: &Images) -> Option<String> {
    let others = |subject: &Images| -> BTreeSet<Digest> {
        let others = subject.selected().filter(|image| !image.is_image());
        others.filter_map(|image| image.manifest.clone()).collect()
    };
    let (x, y) = (others(a), others(b));
    (x != y).then(|| {
        let (x, y) = (x.len(), y.len());
        format!(
            "attestations and artifacts beside the images differ ({x} in A, {y} in B): not compared"
        )
    })
}

/// Different images by platform; faults on the way to one are fatal.
fn by_platform(subject: &Images) -> anyhow::Result<BTreeMap<String, Vec<&Image>>> {
    let mut all: BTreeMap<String, Vec<&Image>> = BTreeMap::new();
    for image in subject.selected().filter(|i| i.is_image()) {
        if let Some(fault) = image.faults.first() {
            bail!("{}: {fault}", subject.store.path().display());
        }
        let of_platform = all.entry(image.platform_name()).or_default();
        if !of_platform.iter().any(|i| i.id() == image.id()) {
            of_platform.push(image);
        }
    }
    if all.is_empty() {
        bail!("{} selects no image", subject.store.path().display());
    }
    Ok(all)
}

/// The one image of each side, by tag if a platform has several.
fn choose<'a>(
    platform: &str,
    a: &[&'a Image],
    b: &[&'a Image],
) -> anyhow::Result<(&'a Image, &'a Image)> {
    if let ([x], [y]) = (a, b) {
        return Ok((x, y));
    }
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y)));
    let named: Vec<_> = pairs.filter(|(x, y)| !x.names.is_disjoint(&y.names)).collect();
    match named[..] {
        [pair] => Ok(pair),
        _ => bail!(
            "ambiguous: {} and {} different images for {platform}; choose with a tag (oci:LAYOUT:TAG)",
            a.len(),
            b.len()
        ),
    }
}

/// What each platform of a catalog lacks of the bundles that any other has.
fn bundles(
    side: &'static str,
    subject: &Images,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Vec<Bundles>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (platform, images) in by_platform(subject)? {
        let [image] = images[..] else { continue };
        match of_image(subject, image) {
            Ok(Some(bundles)) => drop(all.insert(platform, bundles)),
            Ok(None) => {}
            Err(error) => warnings.push(format!("{side}, {platform}: bundles not read: {error:#}")),
        }
    }
    let found = lacking(all).into_iter().filter(|(_, lacks)| !lacks.is_empty());
    Ok(found.map(|(platform, lacks)| Bundles { side, platform, lacks }).collect())
}
