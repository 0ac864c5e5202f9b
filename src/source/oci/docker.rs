//! Archives written by `docker save` and `skopeo copy docker-archive:`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};

use super::digest::Digest;
use super::layout::{Descriptor, Image, Kind, parse_digest, read_config};
use super::limits;
use super::model::{DOCKER_MANIFEST, RawSaved};
use super::store::Store;

/// The images of a docker-archive. They have no manifest digest: a tool that pushes them makes a
/// manifest.
pub(super) fn images(store: &Store) -> anyhow::Result<Vec<Image>> {
    let path = store.path().display();
    let list = store.small("manifest.json", limits::MANIFEST_BYTES)?;
    let list = list.with_context(|| format!("{path}: no manifest.json"))?;
    let saved: Vec<RawSaved> =
        serde_json::from_slice(&list).with_context(|| format!("{path}: parsing manifest.json"))?;
    ensure!(!saved.is_empty(), "{path}: manifest.json lists no image");
    ensure!(saved.len() <= limits::DESCRIPTORS, "{path}: manifest.json lists too many images");
    saved.iter().map(|saved| image(store, saved)).collect()
}

fn image(store: &Store, saved: &RawSaved) -> anyhow::Result<Image> {
    let names = saved.repo_tags.clone().unwrap_or_default();
    let files = saved.layers.clone().unwrap_or_default();
    ensure!(files.len() <= limits::LAYERS, "more than {} layers: refused", limits::LAYERS);
    let mut image = Image {
        names: names.into_iter().collect(),
        path: Vec::new(),
        list: None,
        manifest: None,
        media_type: DOCKER_MANIFEST.to_owned(),
        platform: None,
        kind: Kind::Image,
        annotations: BTreeMap::new(),
        config: None,
        layers: Vec::new(),
        diff_ids: Vec::new(),
        faults: Vec::new(),
        notes: Vec::new(),
        oddities: BTreeSet::new(),
    };
    let config = config(&saved.config)?;
    // The layers' digests are the diff_ids that the configuration has in the same order.
    let blank = |file: &String| descriptor(file, Digest::of(b""));
    image.layers = files.iter().map(blank).collect();
    read_config(store, &config, &mut image)?;
    for (layer, diff_id) in image.layers.iter_mut().zip(&image.diff_ids) {
        layer.digest = diff_id.clone();
    }
    image.config = Some(config);
    Ok(image)
}

/// The configuration, `HEX.json` or `blobs/sha256/HEX` of newer writers.
fn config(file: &str) -> anyhow::Result<Descriptor> {
    let base = file.rsplit('/').next().unwrap_or_default();
    let hex = base.strip_suffix(".json").unwrap_or(base);
    Ok(descriptor(file, parse_digest(&format!("sha256:{hex}"))?))
}

fn descriptor(file: &str, digest: Digest) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest,
        size: -1,
        name: file.to_owned(),
        annotations: BTreeMap::new(),
    }
}
