//! Indexes, manifests and configurations: only the fields that are needed.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::platform::Platform;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIGS: &[&str] =
    &["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A descriptor in an index or manifest. `digest` and `size` are required.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDescriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: i64,
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) artifact_type: String,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl RawDescriptor {
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// Any of the four documents that lead to an image; absent fields show which it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDocument {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) manifests: Option<Vec<RawDescriptor>>,
    pub(super) config: Option<RawDescriptor>,
    pub(super) layers: Option<Vec<RawDescriptor>>,
    #[serde(default)]
    pub(super) artifact_type: String,
}

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Index,
    Manifest,
}

impl RawDocument {
    /// The kind, judged first by fields (a missing or wrong `mediaType` is common), then by media
    /// type.
    pub(super) fn shape(&self, declared: &str) -> Option<Shape> {
        match (&self.manifests, &self.layers, &self.config) {
            (Some(_), None, None) => return Some(Shape::Index),
            (None, Some(_), Some(_)) => return Some(Shape::Manifest),
            _ => {}
        }
        let media_type = if self.media_type.is_empty() { declared } else { &self.media_type };
        match media_type {
            OCI_INDEX | DOCKER_LIST => Some(Shape::Index),
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Shape::Manifest),
            _ => None,
        }
    }

    /// An artifact's type, if the manifest is not an image's: its configuration is not an image
    /// configuration, or a layer is not part of a filesystem (signatures and attestations of cosign
    /// and BuildKit have an image configuration). `artifactType` and `subject` alone do not make an
    /// artifact: what unpacks to a tree is an image.
    pub(super) fn artifact(&self) -> Option<String> {
        let config = self.config.as_ref().map_or("", |c| &*c.media_type);
        let layers = self.layers.iter().flatten().map(|l| &*l.media_type);
        let foreign = (!config.is_empty() && !CONFIGS.contains(&config)).then_some(config);
        let foreign = foreign.or_else(|| layers.clone().find(|of| !is_filesystem(of)));
        let declared = Some(&*self.artifact_type).filter(|t| !t.is_empty());
        foreign.map(|of| declared.unwrap_or(of).to_owned())
    }
}

/// Whether layers of this media type are unpacked into an image's tree.
fn is_filesystem(media_type: &str) -> bool {
    const PARTS: [&str; 5] = ["image.layer", "image.rootfs", "tar", "squashfs", "erofs"];
    media_type.is_empty() || PARTS.iter().any(|part| media_type.contains(part))
}

/// An image configuration.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawConfig {
    #[serde(flatten)]
    pub(super) platform: Platform,
    pub(super) rootfs: Option<RawRootfs>,
}

/// `rootfs` of a configuration.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawRootfs {
    #[serde(default)]
    pub(super) diff_ids: Option<Vec<String>>,
}

/// One image in `manifest.json` of a docker-archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RawSaved {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
}
