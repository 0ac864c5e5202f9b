//! `stacker check`: whether the next build mounts the same layers whichever type it picks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::metadata::{Config, LayerDescriptor, Manifest, Metadata, files, parse};
use crate::format::tar::Reader;
use crate::image::Findings;
use crate::source::oci::{Hasher, Plain};
use crate::text::counted;

/// A rule, numbered as in the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Rule {
    /// Types have different numbers of layers.
    E1,
    /// A type has a manifest but no configuration, although the layer was built.
    E2,
    /// Layers, diff_ids and history of a type do not agree.
    E3,
    /// Types have different numbers of layers made from directories.
    E4,
    /// A directory that a build mounts is missing, or types name different directories for one layer.
    E5,
    /// What a build would mount depends on the type it picks: unsafe.
    E6,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The stacker layer: a directory of the roots.
    pub layer: String,
    /// The rule that it breaks.
    pub rule: Rule,
    /// What is wrong.
    pub what: String,
}

/// The result for all layers in the roots.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Names of the checked layers.
    pub layers: Vec<String>,
    /// The findings, sorted by layer and rule.
    pub findings: BTreeSet<Finding>,
}

/// Checks every layer below `roots`. With `oci`, a layer also counts as present if its blob is
/// there.
pub fn check(roots: &Path, oci: Option<&Path>) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for (name, file) in files(roots)? {
        let metadata = parse(&file)?;
        report.findings.extend(layer(&name, &metadata, Some(roots), oci));
        report.layers.push(name);
    }
    Ok(report)
}

/// Checks one layer's metadata. Without `roots`, layers are distinguished only by number.
pub fn layer(
    name: &str,
    metadata: &Metadata,
    roots: Option<&Path>,
    oci: Option<&Path>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |rule, what| findings.push(Finding { layer: name.to_owned(), rule, what });
    let lengths: BTreeMap<&str, usize> =
        metadata.manifests().map(|(of, manifest)| (of, manifest.digests().len())).collect();
    if let Some(what) = uneven(&lengths, "layers") {
        add(Rule::E1, what);
    }
    for (of, manifest) in metadata.manifests() {
        match metadata.config(of) {
            None if metadata.has_built_oci_output => {
                let what = format!("{of} has a manifest but no config: left behind by an import");
                add(Rule::E2, what);
            }
            None => {}
            Some(config) => {
                if let Some(what) = disagreement(of, manifest, config) {
                    add(Rule::E3, what);
                }
            }
        }
    }
    let made = metadata.overlay_dir_layers.iter().flatten();
    let made = made.map(|(of, layers)| (&**of, layers.as_ref().map_or(0, Vec::len))).collect();
    if let Some(what) = uneven(&made, "layers made from directories") {
        add(Rule::E4, what);
    }
    let roots = roots.filter(|roots| any_directory(roots));
    if let Some(roots) = roots {
        let missing =
            directories(metadata, roots, oci).into_iter().chain(required(metadata, roots));
        missing.for_each(|what| add(Rule::E5, what));
    }
    let picks: BTreeMap<&str, Vec<String>> =
        metadata.manifests().map(|(of, manifest)| (of, mounted(manifest, roots))).collect();
    if picks.values().collect::<BTreeSet<_>>().len() > 1 {
        add(Rule::E6, describe(metadata, &picks));
    }
    findings
}

/// The directories that a build mounts if it picks `manifest`, lowest first; without roots, as many
/// numbers. stacker treats a layer without a directory as empty and continues without it.
pub fn mounted(manifest: &Manifest, roots: Option<&Path>) -> Vec<String> {
    let place = |(number, digest): (usize, &str)| match roots {
        Some(roots) => resolved(roots, digest),
        None => Some(number.to_string()),
    };
    manifest.digests().enumerate().filter_map(place).collect()
}

/// The target of `sha256_HEX/overlay`, if it exists. stacker links the types of one layer together.
fn resolved(roots: &Path, digest: &str) -> Option<String> {
    let name = digest.replace(':', "_");
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let place = roots.join(name).join("overlay").canonicalize().ok()?;
    Some(place.display().to_string())
}

/// Whether the roots contain any layer's directory; metadata alone was copied from elsewhere.
fn any_directory(roots: &Path) -> bool {
    let entries = roots.read_dir().into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path().join("overlay")).any(|place| place.is_dir())
}

/// Directories without which stacker does not start: those of built layers, and of layers made from
/// directories.
fn required(metadata: &Metadata, roots: &Path) -> Vec<String> {
    let name = |name: &str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let there = |layer: &str| name(layer) && roots.join(layer).join("overlay").is_dir();
    let built = metadata.built_layers.iter().flatten().filter(|layer| !there(layer));
    let built = built.map(|layer| format!("built layer {layer} has no directory: no build starts"));
    let made = metadata.overlay_dir_layers.iter().flatten().flat_map(|(of, layers)| {
        let missing = |layer: &&LayerDescriptor| resolved(roots, &layer.digest).is_none();
        layers.iter().flatten().filter(missing).map(move |layer| {
            format!("{of}: {} of overlay_dirs has no directory: no build starts", layer.digest)
        })
    });
    built.chain(made).collect()
}

/// Whether a layer is an empty archive, for which stacker makes no directory, judged by its name or
/// its blob.
fn is_empty(digest: &str, diff_id: Option<&String>, oci: Option<&Path>) -> bool {
    // 1024 zero bytes, plain and as compressed by Docker since 2015.
    const PLAIN: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    const GZIP: &str = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    const EMPTY: [&str; 2] = [PLAIN, GZIP];
    let known = |name: &str| EMPTY.contains(&name);
    let blob = || {
        let file = File::open(oci?.join("blobs").join(digest.replace(':', "/"))).ok()?;
        let plain = Plain::new(file, Hasher::default(), Hasher::default(), Arc::default());
        Some(matches!(Reader::new(plain).next_member(), Ok(None)))
    };
    known(digest) || diff_id.is_some_and(|d| known(d)) || blob() == Some(true)
}

fn directories(metadata: &Metadata, roots: &Path, oci: Option<&Path>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut places: BTreeMap<usize, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for (of, manifest) in metadata.manifests() {
        let diff_ids = metadata.config(of).and_then(|config| config.rootfs.diff_ids.as_ref());
        for (number, digest) in manifest.digests().enumerate() {
            let place = resolved(roots, digest);
            if place.is_none() && is_empty(digest, diff_ids.and_then(|d| d.get(number)), oci) {
                continue;
            }
            if place.is_none() {
                let blob = oci.map(|oci| oci.join("blobs").join(digest.replace(':', "/")));
                let blob = match blob.map(|b| b.is_file()) {
                    Some(true) => "; its blob is in the OCI layout",
                    Some(false) => "; its blob is not in the OCI layout either",
                    None => "",
                };
                findings.push(format!(
                    "{of}: layer {number} ({digest}) has no directory: builds ignore it{blob}"
                ));
            }
            let place = place.unwrap_or_else(|| "nowhere".to_owned());
            places.entry(number).or_default().entry(place).or_default().push(of);
        }
    }
    for (number, places) in places.iter().filter(|(_, places)| places.len() > 1) {
        let all: Vec<String> = places
            .iter()
            .map(|(place, types)| format!("{} at {place}", types.join(", ")))
            .collect();
        findings.push(format!("layer {number} is {}", all.join("; ")));
    }
    findings
}

fn describe(metadata: &Metadata, picks: &BTreeMap<&str, Vec<String>>) -> String {
    let longest = metadata.manifests().max_by_key(|(_, m)| m.digests().len());
    let counts: Vec<String> = picks
        .iter()
        .map(|(of, chain)| format!("{of} mounts {}", counted(chain.len(), "layer")))
        .collect();
    let mut what = format!("unsafe: {}", counts.join(", "));
    if let Some((of, longest)) = longest {
        let shortest = picks.values().map(Vec::len).min().unwrap_or_default();
        let lost: Vec<&str> = longest.digests().skip(shortest).collect();
        if !lost.is_empty() {
            what += &format!("; a build may ignore {} of {of}", lost.join(", "));
        }
    }
    what
}

fn uneven(lengths: &BTreeMap<&str, usize>, of: &str) -> Option<String> {
    let different = lengths.values().collect::<BTreeSet<_>>().len() > 1;
    let each: Vec<String> = lengths.iter().map(|(name, n)| format!("{name} has {n}")).collect();
    different.then(|| format!("types have different numbers of {of}: {}", each.join(", ")))
}

fn disagreement(of: &str, manifest: &Manifest, config: &Config) -> Option<String> {
    let layers = manifest.digests().len();
    let diff_ids = config.rootfs.diff_ids.as_ref().map_or(0, Vec::len);
    let history = config.history.iter().flatten().filter(|step| !step.empty_layer).count();
    (layers != diff_ids || layers != history).then(|| {
        let (layers, diff_ids) = (counted(layers, "layer"), counted(diff_ids, "diff_id"));
        format!("{of} has {layers}, {diff_ids}, {} of history", counted(history, "step"))
    })
}

impl Findings for Report {
    fn sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for name in &self.layers {
            let own: Vec<&Finding> = self.findings.iter().filter(|f| f.layer == *name).collect();
            let verdict = match own.iter().any(|f| f.rule == Rule::E6) {
                _ if own.is_empty() => "safe",
                true => "unsafe",
                false => "inconsistent",
            };
            writeln!(out, "{name}: {verdict}")?;
            for finding in &own {
                writeln!(out, "  {:?}: {}", finding.rule, finding.what)?;
            }
        }
        if !self.sound() {
            writeln!(
                out,
                "remedy: reprofix stacker fix, or remove the layer's directory and build"
            )?;
        }
        Ok(())
    }
}
