//! From `index.json` down to the images of a layout, whatever its shape.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::digest::Digest;
use super::fault::Fault;
use super::limits;
use super::model::{REF_NAME, RawConfig, RawDescriptor, RawDocument, Shape};
use super::oddity::Oddity;
use super::platform::Platform;
use super::store::{Form, Store};

/// A blob that an image needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    /// As written; may be empty.
    pub media_type: String,
    /// Of the bytes as stored.
    pub digest: Digest,
    /// Bytes as stored; -1 where nothing says (docker-archives, container storage): then the digest
    /// is that of the plain bytes.
    pub size: i64,
    /// The file in the store.
    #[serde(skip)]
    pub name: String,
    /// Annotations, sorted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What an entry of a layout is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An image, which may be selected.
    Image,
    /// A BuildKit attestation: listed, never selected.
    Attestation,
    /// Platform `unknown/unknown`: listed, never selected.
    Unknown,
    /// Something else in an image's clothes, with its type: listed, never selected.
    Artifact(String),
}

/// One manifest of a layout and how it is reached.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Tags (`org.opencontainers.image.ref.name`) of the entry that leads here, sorted.
    pub names: BTreeSet<String>,
    /// Digests from the entry in `index.json` down to the manifest.
    pub path: Vec<Digest>,
    /// Digest of the list that holds it, as pushed: what a multi-architecture pull names.
    pub list: Option<Digest>,
    /// Digest of the manifest: what a pull for one platform names. `None` in a docker-archive.
    pub manifest: Option<Digest>,
    /// Media type of the manifest.
    pub media_type: String,
    /// The nearest descriptor's platform, or the configuration's.
    pub platform: Option<Platform>,
    /// Image or not.
    pub kind: Kind,
    /// Annotations of the entry that leads here, its name left out, sorted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The configuration. Its digest is the image ID; it cannot be pulled.
    pub config: Option<Descriptor>,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The layers' identity: digests of their plain bytes, lowest first.
    pub diff_ids: Vec<Digest>,
    /// What is wrong on the way here; such an image cannot be selected.
    pub faults: Vec<Fault>,
    /// What a reader should know: ambiguity, sparseness.
    pub notes: Vec<String>,
    /// What programs read in different ways.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub oddities: BTreeSet<Oddity>,
}

impl Image {
    /// Whether a platform or tag may select it.
    pub fn is_image(&self) -> bool {
        self.kind == Kind::Image
    }

    /// The platform as text, `-` if nothing tells.
    pub fn platform_name(&self) -> String {
        self.platform.as_ref().map_or_else(|| "-".to_owned(), Platform::to_string)
    }

    /// The digest that names it: the manifest's, or the configuration's.
    pub fn id(&self) -> Option<&Digest> {
        self.manifest.as_ref().or(self.config.as_ref().map(|c| &c.digest))
    }
}

/// The images of a store, in the order of its indexes. Missing and corrupt blobs are faults of the
/// images they belong to.
///
/// # Errors
///
/// On what no reader should follow: cycles, depth, size, number; an empty index.
pub fn images(store: &Store) -> anyhow::Result<Vec<Image>> {
    let mut walk = Walk { store, images: Vec::new(), descriptors: 0 };
    let Some(index) = store.small("index.json", limits::MANIFEST_BYTES)? else {
        return super::docker::images(store);
    };
    let path = store.path().display();
    let top: RawDocument =
        serde_json::from_slice(&index).with_context(|| format!("{path}: parsing index.json"))?;
    ensure!(
        top.manifests.is_some() || top.config.is_none(),
        "{path}: index.json is an image's manifest and no index: put it into blobs/ under its digest, \
         and write an index.json that names it"
    );
    let entries = top.manifests.with_context(|| format!("{path}: index.json has no manifests"))?;
    ensure!(
        !entries.is_empty(),
        "{path}: index.json lists no manifest: an empty layout; copy an image into it first"
    );
    // An index.json that gives platforms and no tags is the list itself.
    let tagged = |e: &RawDescriptor| e.annotation(REF_NAME).is_some();
    let is_list =
        entries.iter().all(|e| !tagged(e)) && entries.iter().any(|e| e.platform.is_some());
    let list = (is_list && entries.len() > 1).then(|| Digest::of(&index));
    for entry in &entries {
        let names = entry.annotation(REF_NAME).map(str::to_owned).into_iter().collect();
        walk.entry(entry, &Route { names, path: Vec::new(), list: list.clone(), platform: None })?;
    }
    if matches!(store.form(), Form::Registry(_)) {
        super::registry::keep_unreached(&mut walk.images);
    }
    let shared = shared_tags(&entries);
    let mut images = merge(walk.images);
    note_ambiguity(&mut images);
    let bare = matches!(store.form(), Form::Layout) && !store.has("oci-layout")?;
    for image in images.iter_mut().filter(|image| image.is_image()) {
        let shape = [
            (Oddity::NoLayoutFile, bare),
            (Oddity::SharedTag, !image.names.is_disjoint(&shared)),
            (Oddity::NestedLists, image.path.len() > 2),
            (Oddity::IndexIsList, image.path.len() == 1 && image.list.is_some()),
        ];
        image.oddities.extend(shape.iter().filter(|(_, is)| *is).map(|(oddity, _)| *oddity));
    }
    Ok(images)
}

/// Tags that several entries have with different digests.
fn shared_tags(entries: &[RawDescriptor]) -> BTreeSet<String> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let named =
        entries.iter().filter_map(|entry| Some((entry.annotation(REF_NAME)?, &entry.digest)));
    let mut shared = BTreeSet::new();
    for (name, digest) in named {
        if *seen.entry(name).or_insert(digest) != digest {
            shared.insert(name.to_owned());
        }
    }
    shared
}

/// How a descriptor was reached.
#[derive(Clone)]
struct Route {
    names: BTreeSet<String>,
    path: Vec<Digest>,
    list: Option<Digest>,
    platform: Option<Platform>,
}

struct Walk<'a> {
    store: &'a Store,
    images: Vec<Image>,
    descriptors: usize,
}

impl Walk<'_> {
    fn entry(&mut self, entry: &RawDescriptor, above: &Route) -> anyhow::Result<()> {
        self.descriptors += 1;
        let most = limits::DESCRIPTORS;
        ensure!(self.descriptors <= most, "indexes list more than {most} manifests: refused");
        let digest = parse_digest(&entry.digest)?;
        ensure!(!above.path.contains(&digest), "index {digest} contains itself: cyclic layout");
        let mut way = above.clone();
        way.path.push(digest.clone());
        ensure!(
            way.path.len() <= limits::INDEX_DEPTH,
            "indexes are nested more than {} deep at {digest}: refused",
            limits::INDEX_DEPTH
        );
        let named = entry.platform.clone().filter(|p| !p.is_empty()).map(Platform::normal);
        way.platform = named.or(way.platform);
        let name = Store::blob_name(&digest);
        let (bytes, fault) =
            blob(self.store, &name, "manifest", entry.size, &digest, limits::MANIFEST_BYTES)?;
        let mut image = self.blank(entry, &way, digest);
        image.faults.extend(fault);
        let Some(bytes) = bytes else {
            image.notes.push("sparse: its manifest is not in the layout".to_owned());
            self.images.push(image);
            return Ok(());
        };
        // A corrupt document is still followed, so that cycles and every further fault show.
        match serde_json::from_slice::<RawDocument>(&bytes) {
            Ok(document) => self.document(document, entry, image, way),
            Err(error) => {
                image.faults.push(unreadable("manifest", &entry.digest, error));
                self.images.push(image);
                Ok(())
            }
        }
    }

    fn document(
        &mut self,
        document: RawDocument,
        entry: &RawDescriptor,
        mut image: Image,
        mut way: Route,
    ) -> anyhow::Result<()> {
        match document.shape(&entry.media_type) {
            Some(Shape::Index) => {
                let entries = document.manifests.unwrap_or_default();
                if !image.faults.is_empty() || entries.is_empty() {
                    if entries.is_empty() {
                        image.faults.push(unreadable(
                            "index",
                            &entry.digest,
                            "it lists no manifest",
                        ));
                    }
                    self.images.push(image);
                }
                way.list = way.path.last().cloned();
                entries.iter().try_for_each(|e| self.entry(e, &way))
            }
            Some(Shape::Manifest) => {
                self.manifest(document, &mut image)?;
                self.images.push(image);
                Ok(())
            }
            None => {
                let reason = "neither an index nor a manifest (schema 1 is not read)";
                image.faults.push(unreadable("manifest", &entry.digest, reason));
                self.images.push(image);
                Ok(())
            }
        }
    }

    fn manifest(&self, document: RawDocument, image: &mut Image) -> anyhow::Result<()> {
        if !document.media_type.is_empty() {
            image.media_type = document.media_type.clone();
        }
        if matches!(image.kind, Kind::Image | Kind::Artifact(_)) {
            image.kind = document.artifact().map_or(Kind::Image, Kind::Artifact);
        }
        let layers = document.layers.unwrap_or_default();
        ensure!(layers.len() <= limits::LAYERS, "more than {} layers: refused", limits::LAYERS);
        image.layers = layers.iter().map(descriptor).collect::<anyhow::Result<_>>()?;
        let Some(config) = &document.config else { return Ok(()) };
        let config = descriptor(config)?;
        if image.is_image() {
            let docker = image.media_type.contains("vnd.docker.");
            let zstd = docker && image.layers.iter().any(|l| l.media_type.ends_with("zstd"));
            let tar = |l: &Descriptor| l.media_type.is_empty() || l.media_type.contains("tar");
            let found = [
                (Oddity::NoPlatform, image.list.is_some() && image.platform.is_none()),
                (Oddity::DockerZstd, zstd),
                (Oddity::FilesystemLayer, !image.layers.iter().all(tar)),
            ];
            image.oddities.extend(found.iter().filter(|(_, is)| *is).map(|(oddity, _)| *oddity));
            read_config(self.store, &config, image)?;
        }
        if self.store.is_unpacked() && image.diff_ids.len() == image.layers.len() {
            image.layers = image.diff_ids.iter().map(plain_layer).collect();
        }
        image.config = Some(config);
        for layer in &image.layers {
            if !self.store.has(&layer.name)? {
                image.notes.push(format!("sparse: layer {} is not in the layout", layer.digest));
            }
        }
        Ok(())
    }

    fn blank(&self, entry: &RawDescriptor, way: &Route, digest: Digest) -> Image {
        let attests = entry.annotation("vnd.docker.reference.type").is_some();
        let unknown = way.platform.as_ref().is_some_and(Platform::is_unknown);
        let cosign = entry.annotation(REF_NAME).is_some_and(is_about_an_image);
        let kind = match entry {
            _ if attests || cosign => Kind::Attestation,
            _ if unknown => Kind::Unknown,
            e if !e.artifact_type.is_empty() => Kind::Artifact(e.artifact_type.clone()),
            _ => Kind::Image,
        };
        Image {
            names: way.names.clone(),
            path: way.path.clone(),
            list: way.list.clone(),
            manifest: Some(digest),
            media_type: entry.media_type.clone(),
            platform: way.platform.clone(),
            kind,
            annotations: {
                let mut all = entry.annotations.clone().unwrap_or_default();
                all.remove(REF_NAME);
                all
            },
            config: None,
            layers: Vec::new(),
            diff_ids: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
            oddities: BTreeSet::new(),
        }
    }
}

/// Whether a tag is one of those that cosign gives: `sha256-HEX.sig`, `.att`, `.sbom`. A repository may
/// stand before it.
fn is_about_an_image(name: &str) -> bool {
    let tag = name.rsplit(':').next().unwrap_or_default();
    let of = |(name, kind): (&str, &str)| {
        let digest = Digest::parse(&name.replacen('-', ":", 1));
        digest.is_some() && ["sig", "att", "sbom"].contains(&kind)
    };
    tag.split_once('.').is_some_and(of)
}

/// Takes platform and diff_ids from an image's configuration.
pub(super) fn read_config(
    store: &Store,
    config: &Descriptor,
    image: &mut Image,
) -> anyhow::Result<()> {
    let limit = limits::CONFIG_BYTES;
    let (bytes, fault) = blob(store, &config.name, "config", config.size, &config.digest, limit)?;
    image.faults.extend(fault);
    let Some(bytes) = bytes else { return Ok(()) };
    let parsed: RawConfig = match serde_json::from_slice(&bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            image.faults.push(unreadable("config", config.digest.as_str(), error));
            return Ok(());
        }
    };
    let own = Some(parsed.platform.normal()).filter(|p| !p.is_empty());
    if let (Some(entry), Some(own)) = (&image.platform, &own)
        && (&entry.os, &entry.architecture) != (&own.os, &own.architecture)
    {
        image.oddities.insert(Oddity::OtherPlatform);
    }
    if own.is_none() {
        image.oddities.insert(Oddity::NoConfigPlatform);
    }
    image.platform = image.platform.take().or(own);
    let diff_ids = parsed.rootfs.unwrap_or_default().diff_ids.unwrap_or_default();
    let diff_ids: anyhow::Result<Vec<_>> = diff_ids.iter().map(|d| parse_digest(d)).collect();
    image.diff_ids = diff_ids?;
    if image.diff_ids.len() != image.layers.len() {
        image.faults.push(Fault::LayerCount {
            digest: image.id().map(Digest::to_string).unwrap_or_default(),
            layers: image.layers.len(),
            diff_ids: image.diff_ids.len(),
        });
    }
    Ok(())
}

/// A small blob with what is wrong about it; no bytes if it is missing.
fn blob(
    store: &Store,
    name: &str,
    what: &'static str,
    size: i64,
    digest: &Digest,
    limit: u64,
) -> anyhow::Result<(Option<Vec<u8>>, Option<Fault>)> {
    ensure!(
        size <= i64::try_from(limit).unwrap_or(i64::MAX),
        "{what} {digest} is said to have {size} bytes; more than {limit} are refused"
    );
    let text = digest.to_string();
    let Some(bytes) = store.small(name, limit)? else {
        return Ok((None, Some(Fault::Missing { what, digest: text })));
    };
    let mut hasher = digest.hasher();
    hasher.update(&bytes);
    let found = hasher.finish();
    let length = bytes.len() as u64;
    let fault = if size >= 0 && size as u64 != length {
        Some(Fault::Size { what, digest: text, expected: size, found: length })
    } else if found != *digest {
        Some(Fault::Corrupt { what, digest: text, found })
    } else {
        None
    };
    Ok((Some(bytes), fault))
}

pub(super) fn unreadable(what: &'static str, digest: &str, reason: impl ToString) -> Fault {
    Fault::Unreadable { what, digest: digest.to_owned(), reason: reason.to_string() }
}

pub(super) fn parse_digest(text: &str) -> anyhow::Result<Digest> {
    let shown: String = text.chars().take(80).collect();
    Digest::parse(text).with_context(|| format!("{shown:?} is not a sha256 or sha512 digest"))
}

fn descriptor(raw: &RawDescriptor) -> anyhow::Result<Descriptor> {
    let digest = parse_digest(&raw.digest)?;
    if raw.size < 0 {
        bail!("descriptor of {digest} has size {}", raw.size);
    }
    Ok(Descriptor {
        media_type: raw.media_type.clone(),
        name: Store::blob_name(&digest),
        digest,
        size: raw.size,
        annotations: raw.annotations.clone().unwrap_or_default(),
    })
}

/// A layer of which nothing is left but its plain bytes.
fn plain_layer(diff_id: &Digest) -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        digest: diff_id.clone(),
        size: -1,
        name: Store::blob_name(diff_id),
        annotations: BTreeMap::new(),
    }
}

/// Two names of one manifest in one list are one image.
fn merge(images: Vec<Image>) -> Vec<Image> {
    let mut out: Vec<Image> = Vec::new();
    for image in images {
        let same = |o: &&mut Image| o.manifest == image.manifest && o.list == image.list;
        match out.iter_mut().find(same) {
            Some(seen) => seen.names.extend(image.names),
            None => out.push(image),
        }
    }
    out
}

/// Different images for one platform in one list: which one a tool takes is chance.
fn note_ambiguity(images: &mut [Image]) {
    let mut seen: BTreeMap<(Option<Digest>, Option<Platform>), BTreeSet<Digest>> = BTreeMap::new();
    let key = |image: &Image| (image.list.clone(), image.platform.clone());
    let listed = |image: &Image| image.is_image() && image.list.is_some();
    for image in images.iter().filter(|i| listed(i)) {
        seen.entry(key(image)).or_default().extend(image.manifest.clone());
    }
    for image in images.iter_mut().filter(|i| listed(i)) {
        if seen.get(&key(image)).is_some_and(|manifests| manifests.len() > 1) {
            let platform = image.platform_name();
            image.notes.push(format!("ambiguous: its list has several images for {platform}"));
        }
    }
}
