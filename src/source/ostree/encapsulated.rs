//! The commit that an image encapsulates, found without unpacking more than leads to it.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::commit::fields;
use super::objects::Metadata;
use super::oci::{Image, Plain, Store, limits};
use super::tarred::{OBJECTS_MAX, ObjectKind, REMEDY, object, small};
use crate::format::ostree::{Checksum, Root};
use crate::format::tar::{Reader, Type};

/// The commit `wanted`, or the first one, of an archive: its name and its object.
pub(super) fn first_commit(
    plain: Plain,
    wanted: Option<&Checksum>,
) -> anyhow::Result<Option<(Checksum, Vec<u8>)>> {
    let mut reader = Reader::new(plain);
    let mut members = 0;
    while let Some(member) = reader.next_member()? {
        members += 1;
        ensure!(members <= OBJECTS_MAX, "more than {OBJECTS_MAX} members before a commit");
        let Some((sum, ObjectKind::Metadata(Metadata::Commit))) = object(&member.path) else {
            continue;
        };
        if wanted.is_none_or(|w| *w == sum) && member.kind == Type::File {
            let bytes = small(&mut reader, &member)?;
            let found = Checksum::of(&bytes);
            ensure!(
                found == sum,
                "object {sum}.commit is corrupt: its bytes have checksum {found}; {REMEDY}"
            );
            return Ok(Some((sum, bytes)));
        }
    }
    Ok(None)
}

/// The ostree commit that an image encapsulates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Encapsulated {
    /// Its checksum. Importing one image thrice gives three commits: never compared.
    pub commit: String,
    /// SHA-256 of its root's dirtree and dirmeta: what is compared.
    pub content_checksum: String,
    /// How many of the image's layers hold it, counted from the lowest.
    pub layers: usize,
    /// What it says beside its tree, as [`crate::source::CommitInfo::fields`].
    #[serde(skip)]
    pub fields: BTreeMap<String, String>,
}

/// What an image's labels say of a commit, held against its layers.
#[derive(Clone, Debug)]
pub enum Encapsulation {
    /// The labels name no commit.
    None,
    /// The layers hold the commit that the labels name.
    Commit(Encapsulated),
    /// The labels are another image's: why the layers do not hold what they name.
    Stale(String),
}

/// Which commit `image` encapsulates, and in which of its layers that ends (labels `ostree.commit`
/// and `ostree.final-diffid`).
///
/// # Errors
///
/// If a layer that should hold the commit is missing or cannot be read, or if the commit is
/// corrupt.
pub fn encapsulation(store: &Store, image: &Image) -> anyhow::Result<Encapsulation> {
    let labels = Labels::read(store, image)?;
    let Some(named) = &labels.commit else { return Ok(Encapsulation::None) };
    let stale = |why: String| Ok(Encapsulation::Stale(format!("label {COMMIT} is {named}, {why}")));
    let Some(last) = &labels.last else {
        return stale(format!("and no label {LAST} says in which layer that ends"));
    };
    let Some(layers) = labels.end(image) else {
        return stale(format!("and the layer in which that ends ({LAST}: {last}) is not there"));
    };
    for (layer, diff_id) in image.layers.iter().zip(&image.diff_ids).take(layers) {
        let plain = store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher())?;
        let plain =
            plain.with_context(|| format!("layer {} is missing: {REMEDY}", layer.digest))?;
        let found = first_commit(plain, None)
            .with_context(|| format!("looking for commit {named} in layer {}", layer.digest))?;
        let Some((sum, bytes)) = found else { continue };
        if sum.to_string() != *named {
            return stale(format!("and the layers hold commit {sum}"));
        }
        return Ok(Encapsulation::Commit(Encapsulated {
            commit: sum.to_string(),
            content_checksum: Root::parse_commit(&bytes)?.content_checksum().to_string(),
            layers,
            fields: fields(&bytes)?,
        }));
    }
    stale("and the layers hold no commit".to_owned())
}

/// The label that names the commit.
const COMMIT: &str = "ostree.commit";
/// The label that names the diff_id of the commit's last layer.
pub(super) const LAST: &str = "ostree.final-diffid";

/// What an image says of the commit in it.
pub(super) struct Labels {
    pub(super) commit: Option<String>,
    pub(super) last: Option<String>,
}

impl Labels {
    pub(super) fn read(store: &Store, image: &Image) -> anyhow::Result<Self> {
        let mut labels = Labels { commit: None, last: None };
        let Some(config) = &image.config else { return Ok(labels) };
        let Some(bytes) = store.small(&config.name, limits::CONFIG_BYTES)? else {
            return Ok(labels);
        };
        let json: serde_json::Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("config {} is no JSON", config.digest))?;
        let label = |key: &str| json["config"]["Labels"][key].as_str().map(str::to_owned);
        labels.commit = label(COMMIT);
        labels.last = label(LAST);
        Ok(labels)
    }

    /// The number of layers up to the one with which the commit ends.
    pub(super) fn end(&self, image: &Image) -> Option<usize> {
        let last = self.last.as_deref()?;
        image.diff_ids.iter().position(|d| d.as_str() == last).map(|at| at + 1)
    }
}
