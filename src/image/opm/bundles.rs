//! The bundles of a catalog.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use super::document::documents;
use super::tree::Directory;
use super::verify::Command;
use crate::image::flattened::Flattened;
use crate::image::unpack::flatten;
use crate::source::oci::{Image, Images, Keep, layers, limits};
use crate::tree::Kind;

/// The label of an image with the directory of its file-based catalog.
pub(crate) const LABEL: &str = "operators.operatorframework.io.index.configs.v1";

/// Names of the bundles (`olm.bundle`) in the catalog of `image`; `None` if it has no label of a
/// catalog.
///
/// # Errors
///
/// If a layer or a document cannot be read.
pub(crate) fn of_image(
    subject: &Images,
    image: &Image,
) -> anyhow::Result<Option<BTreeSet<String>>> {
    let Some(config) = &image.config else { return Ok(None) };
    let json = subject.store.json(&config.name, limits::CONFIG_BYTES)?;
    if !json["config"]["Labels"][LABEL].is_string() {
        return Ok(None);
    }
    let places = Command::of_image(subject, image)?.places(None, None);
    let layers = layers(&subject.store, image, Keep::Spool)?;
    let tree = flatten(&layers)
        .map_err(|r| anyhow::anyhow!("layer {} at {}: {}", r.layer, r.path, r.why))?;
    let tree = Flattened::of(&layers[..], tree);
    let configs = Directory::in_image(&places.configs, &tree)?;
    let configs = configs.with_context(|| format!("the image has no {}", places.configs))?;
    of_directory(&configs).map(Some)
}

/// Names of the bundles in a catalog.
pub(crate) fn of_directory(configs: &Directory<'_>) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (path, item) in configs.iter() {
        if item.kind != Kind::File || path.ends_with(b".indexignore") {
            continue;
        }
        documents(item.open()?, |document| {
            let name = document["name"].as_str();
            names.extend(name.filter(|_| document["schema"] == "olm.bundle").map(str::to_owned));
            Ok(())
        })
        .with_context(|| format!("reading {} of the catalog", String::from_utf8_lossy(&path)))?;
    }
    Ok(names)
}

/// The bundles of other catalogs that each of several catalogs lacks.
pub(crate) fn lacking<K>(all: BTreeMap<K, BTreeSet<String>>) -> Vec<(K, BTreeSet<String>)>
where
    K: Ord,
{
    let any: BTreeSet<String> = all.values().flatten().cloned().collect();
    all.into_iter().map(|(key, has)| (key, any.difference(&has).cloned().collect())).collect()
}
