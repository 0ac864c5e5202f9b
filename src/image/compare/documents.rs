//! Compares the documents of two images: manifests, configurations, lists.

use anyhow::Context as _;
use serde_json::Value;

use super::json;
use crate::source::oci::{Image, Store, limits};
use crate::source::ostree::{Encapsulated, Encapsulation, encapsulation};

/// The documents of an image, as JSON, and the commit in its labels.
pub(super) struct Documents {
    /// `null` in a docker-archive.
    pub(super) manifest: Value,
    pub(super) config: Value,
    /// The list it is in; `null` without one.
    pub(super) list: Value,
    /// The descriptor that leads to it; `null` in a docker-archive.
    pub(super) entry: Value,
    pub(super) ostree: Option<Encapsulated>,
    /// Why the labels that name a commit are those of another image.
    pub(super) stale: Option<String>,
}

impl Documents {
    pub(super) fn read(store: &Store, image: &Image) -> anyhow::Result<Self> {
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

/// The differences between two images' documents, except for what is compared separately.
pub(super) fn differences(
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

/// Whether a label or annotation differs because it repeats a property of the image's commit: its
/// name, its last layer, its version, the hash of its inputs.
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

/// Docker's media types or OCI's, of manifest, configuration and layers.
pub(super) fn family(image: &Image) -> (Option<bool>, bool, bool) {
    let docker = |media_type: &str| media_type.contains("vnd.docker.");
    let config = image.config.as_ref().map_or("", |c| &c.media_type);
    let layers = image.layers.iter().any(|l| docker(&l.media_type));
    // A docker-archive has no media types.
    match &image.manifest {
        Some(_) => (Some(docker(&image.media_type)), docker(config), layers),
        None => (None, false, false),
    }
}
