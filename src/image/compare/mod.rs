//! `check oci:A oci:B`: why two images differ, platform by platform.
//!
//! Images are paired by platform across layout shapes and media families. Two of one platform are
//! the same if the chains of their diff_ids and their configurations are, times aside: compressed
//! digests and history differ in every build that nobody pinned. Where both encapsulate ostree
//! commits of one content checksum, that settles the layers of the commits, and nothing else.

mod class;
mod json;
mod layers;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

pub use class::Class;
pub use layers::LayerPair;
pub(super) use layers::{RUN_TIMES, is_archive};

use super::flat::Flat;
use crate::report::Progress;
use crate::report::check::{Comparison, Metadata};
use crate::run::check::{Job, compare_opened};
use crate::source::dir::Dir;
use crate::source::is_commit;
use crate::source::oci::{Digest, Image, Store, Subject, limits};
use crate::source::ostree::{Encapsulated, Encapsulation, encapsulation};

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
/// Fails if an image cannot be read or is not what its digests say.
pub fn compare(
    [name_a, name_b]: [&str; 2],
    a: &Subject,
    b: &Subject,
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
/// Fails if the documents of an image cannot be read.
pub fn beside_commits([a, b]: [&str; 2], strict: bool) -> anyhow::Result<Option<Vec<Metadata>>> {
    if !is_commit(a) || !is_commit(b) {
        return Ok(None);
    }
    let (a, b) = (Subject::open(a, None)?, Subject::open(b, None)?);
    let (x, y) = (a.one()?, b.one()?);
    let (left, right) = (Documents::read(&a.store, x)?, Documents::read(&b.store, y)?);
    let found = differences((x, &left), (y, &right), settled(&left, &right));
    Ok(Some(found.iter().map(|difference| difference.metadata(strict)).collect()))
}

/// A word on attestations and artifacts, which are not compared, if there are others.
fn beside_images(a: &Subject, b: &Subject) -> Option<String> {
    let others = |subject: &Subject| -> BTreeSet<Digest> {
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
fn by_platform(subject: &Subject) -> anyhow::Result<BTreeMap<String, Vec<&Image>>> {
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

fn pair(
    platform: &str,
    (from_a, a): (&Subject, &Image),
    (from_b, b): (&Subject, &Image),
    job: &Job,
    progress: &Progress,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Pair> {
    let docs_a = Documents::read(&from_a.store, a)?;
    let docs_b = Documents::read(&from_b.store, b)?;
    for (side, docs) in [("A", &docs_a), ("B", &docs_b)] {
        let stale = docs.stale.iter();
        warnings.extend(stale.map(|why| {
            format!("{side}, {platform}: {why}: compared layer by layer, as any image")
        }));
    }
    let settled = settled(&docs_a, &docs_b);
    let mut pair = Pair {
        platform: platform.to_owned(),
        a: side(a, docs_a.ostree.clone()),
        b: side(b, docs_b.ostree.clone()),
        same: false,
        verdict: String::new(),
        classes: BTreeSet::new(),
        details: Vec::new(),
        layers: Vec::new(),
        paths: None,
    };
    if !same_shape((from_a, a), (from_b, b)) {
        pair.classes.insert(Class::ListShape);
    }
    pair.documents((a, &docs_a), (b, &docs_b), settled);
    if a.manifest.is_none() || a.manifest != b.manifest {
        pair.layers((&from_a.store, a), (&from_b.store, b), settled)?;
        if pair.classes.is_empty() && a.id() != b.id() {
            pair.classes.insert(Class::Configuration);
        }
    }
    let deep = [Class::Content, Class::Layering].iter().any(|c| pair.classes.contains(c));
    let archives = a.layers.iter().chain(&b.layers).all(is_archive);
    if deep && archives {
        pair.paths((&from_a.store, a), (&from_b.store, b), settled, job, progress)?;
    }
    pair.verdict = class::headline(pair.classes.iter().copied());
    pair.same = pair.judge(job.strict_metadata, settled);
    Ok(pair)
}

/// How many layers of each hold a commit of one content: none, unless both do and where their
/// diff_ids are the same anyway.
fn settled(a: &Documents, b: &Documents) -> [usize; 2] {
    match (&a.ostree, &b.ostree) {
        (Some(x), Some(y)) if x.content_checksum == y.content_checksum => [x.layers, y.layers],
        _ => [0, 0],
    }
}

fn side(image: &Image, ostree: Option<Encapsulated>) -> Side {
    Side {
        names: image.names.clone(),
        list: image.list.clone(),
        manifest: image.manifest.clone(),
        config: image.config.as_ref().map(|c| c.digest.clone()),
        diff_ids: image.diff_ids.clone(),
        ostree,
    }
}

/// What is said of an image, as JSON, and the commit that it speaks of.
struct Documents {
    /// `null` in a docker-archive.
    manifest: Value,
    config: Value,
    /// The list that holds it; `null` without one.
    list: Value,
    /// The descriptor that leads to it; `null` in a docker-archive.
    entry: Value,
    ostree: Option<Encapsulated>,
    /// Why the labels that name a commit are another image's.
    stale: Option<String>,
}

impl Documents {
    fn read(store: &Store, image: &Image) -> anyhow::Result<Self> {
        let json = |digest| store.json(&Store::blob_name(digest), limits::MANIFEST_BYTES);
        let manifest = image.manifest.as_ref().map(json).transpose()?.unwrap_or_default();
        let config = image.config.as_ref().context("an image without a configuration")?;
        let config = store.json(&config.name, limits::CONFIG_BYTES)?;
        let index = match &image.path[..] {
            [] => Value::Null,
            [_] => store.json("index.json", limits::MANIFEST_BYTES)?,
            [.., above, _] => json(above)?,
        };
        let leads =
            |entry: &&Value| image.path.last().is_some_and(|d| entry["digest"] == d.as_str());
        let entry = index["manifests"].as_array().into_iter().flatten().find(leads).cloned();
        let (ostree, stale) = match encapsulation(store, image)? {
            Encapsulation::None => (None, None),
            Encapsulation::Commit(commit) => (Some(commit), None),
            Encapsulation::Stale(why) => (None, Some(why)),
        };
        let list = if image.list.is_some() { index } else { Value::Null };
        Ok(Documents { manifest, config, list, entry: entry.unwrap_or_default(), ostree, stale })
    }
}

/// Where two images' documents say different things, but for what is compared itself.
fn differences(
    (a, x): (&Image, &Documents),
    (b, y): (&Image, &Documents),
    settled: [usize; 2],
) -> Vec<json::Difference> {
    let mut found = json::configs(&x.config, &y.config);
    found.retain(|difference| !repeats_commit(difference, (a, x), (b, y)));
    if !x.manifest.is_null() && !y.manifest.is_null() {
        let from = if a.diff_ids == b.diff_ids { [0, 0] } else { settled };
        found.extend(json::manifests(&x.manifest, &y.manifest, from));
        found.extend(json::entries(&x.entry, &y.entry));
    }
    if !x.list.is_null() && !y.list.is_null() {
        found.extend(json::lists(&x.list, &y.list));
    }
    // Docker's documents have no annotations: a conversion loses them.
    let docker = [a, b].map(|image| family(image).0 == Some(true));
    found.retain(|difference| !(docker[0] != docker[1] && difference.lost_by_docker(docker)));
    found
}

/// Whether a label or annotation differs because it repeats what the image's own commit says: its name, its last
/// layer, its version, the hash of its inputs.
fn repeats_commit(
    difference: &json::Difference,
    (a, x): (&Image, &Documents),
    (b, y): (&Image, &Documents),
) -> bool {
    let (Some(one), Some(other)) = (&x.ostree, &y.ostree) else { return false };
    let label = |key: &str| {
        difference.is(&["config", "Labels", key]) || difference.is(&["annotations", key])
    };
    let said = |key: &str| {
        let repeats = |value: &Option<Value>, commit: &Encapsulated| {
            let text = value.as_ref().and_then(Value::as_str);
            text.is_some_and(|t| commit.fields.get(key).is_some_and(|f| *f == format!("'{t}'")))
        };
        repeats(&difference.a, one) && repeats(&difference.b, other)
    };
    label("ostree.commit")
        || (label("ostree.final-diffid") && a.diff_ids != b.diff_ids)
        || (label("rpmostree.inputhash") && said("rpmostree.inputhash"))
        || ((label("version") || label("org.opencontainers.image.version")) && said("version"))
}

/// Whether two images are reached in the same way: as many steps, through a list or not. Lists of
/// the same manifests must be the same bytes; those of others differ anyhow.
fn same_shape((from_a, a): (&Subject, &Image), (from_b, b): (&Subject, &Image)) -> bool {
    let steps = a.path.len() == b.path.len() && a.list.is_some() == b.list.is_some();
    let listed = |subject: &Subject, image: &Image| -> BTreeSet<Option<Digest>> {
        let all = subject.images.iter().filter(|i| i.list == image.list);
        all.map(|i| i.manifest.clone()).collect()
    };
    steps && (a.list == b.list || listed(from_a, a) != listed(from_b, b))
}

impl Pair {
    /// What manifests, configurations and lists say.
    fn documents(
        &mut self,
        (a, x): (&Image, &Documents),
        (b, y): (&Image, &Documents),
        settled: [usize; 2],
    ) {
        if family(a) != family(b) {
            self.classes.insert(Class::MediaType);
        }
        let config = |image: &Image| image.config.as_ref().map(|c| c.digest.clone());
        let written = [
            (x.config == y.config, config(a) != config(b)),
            (x.manifest == y.manifest && !x.manifest.is_null(), a.manifest != b.manifest),
        ];
        if written.contains(&(true, true)) {
            self.classes.insert(Class::JsonEncoding);
        }
        let found = differences((a, x), (b, y), settled);
        self.classes.extend(found.iter().map(json::Difference::class));
        self.details.extend(found.iter().map(json::Difference::line));
    }

    fn layers(
        &mut self,
        (store_a, a): (&Store, &Image),
        (store_b, b): (&Store, &Image),
        settled: [usize; 2],
    ) -> anyhow::Result<()> {
        let of_commit = [&a.diff_ids[..settled[0]], &b.diff_ids[..settled[1]]];
        let [from_a, from_b] = match of_commit[0] == of_commit[1] {
            true => [0, 0],
            false => {
                self.classes.insert(Class::Encapsulation);
                let [x, y] = settled;
                self.details.push(format!("layers of one commit: {x} → {y}, not compared"));
                settled
            }
        };
        let (x, y) = (a.layers.len() - from_a, b.layers.len() - from_b);
        if x != y {
            self.classes.insert(Class::Layering);
            self.details.push(format!("layers: {} → {}", a.layers.len(), b.layers.len()));
            return Ok(());
        }
        let one = a.layers.iter().zip(&a.diff_ids).skip(from_a);
        let other = b.layers.iter().zip(&b.diff_ids).skip(from_b);
        for (number, (x, y)) in one.zip(other).enumerate() {
            let number = from_a + number;
            let (one, other) = (a.manifest.is_none(), b.manifest.is_none());
            let x = layers::Side { store: store_a, layer: x.0, diff_id: x.1, unnamed: one };
            let y = layers::Side { store: store_b, layer: y.0, diff_id: y.1, unnamed: other };
            let found = layers::compare(number, x, y)?;
            self.classes.extend(&found.classes);
            if !found.classes.is_empty() {
                self.layers.push(found);
            }
        }
        Ok(())
    }

    /// Lays the layers over one another and compares path by path. One tree is a matter of its
    /// division into layers.
    fn paths(
        &mut self,
        (store_a, a): (&Store, &Image),
        (store_b, b): (&Store, &Image),
        settled: [usize; 2],
        job: &Job,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        // Objects of commits with one content differ where the commits do.
        let [from_a, from_b] =
            if self.classes.contains(&Class::Encapsulation) { settled } else { [0, 0] };
        let (x, y) = (Flat::read(store_a, a, from_a)?, Flat::read(store_b, b, from_b)?);
        let mut differ = x.others() != y.others();
        for (path, line) in x.others().iter().filter(|(p, l)| y.others().get(*p) != Some(l)) {
            self.details.push(format!("A: {}: {line}", String::from_utf8_lossy(path)));
        }
        for (path, line) in y.others().iter().filter(|(p, l)| x.others().get(*p) != Some(l)) {
            self.details.push(format!("B: {}: {line}", String::from_utf8_lossy(path)));
        }
        let linked = x.hard_links() != y.hard_links();
        let times = x.first_other_time(&y);
        let open = |store: &Store, image: &Image, flat| -> anyhow::Result<_> {
            progress.phase("hashing", 0);
            let merkle = Dir::new(flat, &|| progress.advance(1))?;
            let name = format!("{} {}", store.path().display(), image.platform_name());
            Ok(crate::source::Subject::new(name, Box::new(merkle)))
        };
        let report = compare_opened(job, &open(store_a, a, x)?, &open(store_b, b, y)?, progress)?;
        differ |= !report.same;
        if linked {
            self.details
                .push("names of one file are hard links in one, files in the other".to_owned());
        }
        if differ || linked {
            self.classes.insert(Class::Content);
        } else {
            self.is_layering(times);
        }
        self.paths = (!report.same).then(|| Box::new(report));
        Ok(())
    }

    /// The tree is one: what layers have and others lack is how it is divided.
    fn is_layering(&mut self, times: Option<String>) {
        let layers = self.layers.iter_mut().map(|layer| &mut layer.classes);
        for classes in layers.chain([&mut self.classes]) {
            if classes.remove(&Class::Content) {
                classes.insert(Class::Layering);
            }
        }
        if let Some(line) = times {
            self.classes.insert(Class::TimesAndHistory);
            self.details.push(line);
        }
    }

    fn judge(&self, strict: bool, settled: [usize; 2]) -> bool {
        const FREE: &[Class] = &[
            Class::ListShape,
            Class::MediaType,
            Class::Encapsulation,
            Class::Compression,
            Class::JsonEncoding,
        ];
        let same_layers = self.a.diff_ids == self.b.diff_ids
            || self.a.diff_ids[settled[0]..] == self.b.diff_ids[settled[1]..];
        let counts = |class: &Class| {
            let history = *class == Class::TimesAndHistory && same_layers;
            strict || !(FREE.contains(class) || history)
        };
        !self.classes.iter().any(counts)
    }
}

/// Docker's media types or OCI's, of manifest, configuration and layers.
fn family(image: &Image) -> (Option<bool>, bool, bool) {
    let docker = |media_type: &str| media_type.contains("vnd.docker.");
    let config = image.config.as_ref().map_or("", |c| &c.media_type);
    let layers = image.layers.iter().any(|l| docker(&l.media_type));
    // A docker-archive gives no media types.
    match &image.manifest {
        Some(_) => (Some(docker(&image.media_type)), docker(config), layers),
        None => (None, false, false),
    }
}

/// What each platform of a catalog lacks of the bundles that any other has.
fn bundles(
    side: &'static str,
    subject: &Subject,
    warnings: &mut Vec<String>,
) -> anyhow::Result<Vec<Bundles>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (platform, images) in by_platform(subject)? {
        let [image] = images[..] else { continue };
        match crate::image::opm::bundles::of_image(subject, image) {
            Ok(Some(bundles)) => drop(all.insert(platform, bundles)),
            Ok(None) => {}
            Err(error) => warnings.push(format!("{side}, {platform}: bundles not read: {error:#}")),
        }
    }
    let any: BTreeSet<String> = all.values().flatten().cloned().collect();
    let lacking = all.into_iter().filter_map(|(platform, has)| {
        let lacks: BTreeSet<String> = any.difference(&has).cloned().collect();
        (!lacks.is_empty()).then_some(Bundles { side, platform, lacks })
    });
    Ok(lacking.collect())
}
