//! `overlay_metadata.json`, as stacker 1.x writes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The most bytes of one `overlay_metadata.json`.
const MOST_BYTES: u64 = 16 << 20;

/// A layer in a manifest.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Digest of the blob; the directory in the roots is named after it.
    pub digest: String,
}

/// The needed part of a manifest.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Manifest {
    /// The configuration's descriptor.
    pub config: Option<LayerDescriptor>,
    /// The layers, lowest first.
    #[serde(default)]
    pub layers: Option<Vec<LayerDescriptor>>,
}

impl Manifest {
    /// Digests of the layers, lowest first.
    pub fn digests(&self) -> impl ExactSizeIterator<Item = &str> {
        self.layers.as_deref().unwrap_or_default().iter().map(|l| &*l.digest)
    }
}

/// The needed part of a configuration.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Config {
    /// diff_ids.
    #[serde(default)]
    pub rootfs: Rootfs,
    /// History, one entry per step.
    #[serde(default)]
    pub history: Option<Vec<Step>>,
}

/// `rootfs` of a configuration.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rootfs {
    /// Digests of the plain layers.
    #[serde(default)]
    pub diff_ids: Option<Vec<String>>,
}

/// One step of a history.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Step {
    /// The step made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

/// One layer's metadata. Types are written `tar+false`, `squashfs+true`: format and verity.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    /// Manifest by type.
    #[serde(default)]
    pub manifests: Option<BTreeMap<String, Manifest>>,
    /// Configuration by type.
    #[serde(default)]
    pub configs: Option<BTreeMap<String, Config>>,
    /// Whether the types come from a finished build and not from an import.
    #[serde(default, rename = "HasBuiltOCIOutput")]
    pub has_built_oci_output: bool,
    /// Layers made from directories, by type.
    #[serde(default)]
    pub overlay_dir_layers: Option<BTreeMap<String, Option<Vec<LayerDescriptor>>>>,
    /// Layers that are not in any manifest yet, by name: their directories are mounted.
    #[serde(default)]
    pub built_layers: Option<Vec<String>>,
}

impl Metadata {
    /// Manifests by type.
    pub fn manifests(&self) -> impl Iterator<Item = (&str, &Manifest)> {
        self.manifests.iter().flatten().map(|(name, manifest)| (&**name, manifest))
    }

    /// The configuration of a type.
    pub fn config(&self, name: &str) -> Option<&Config> {
        self.configs.as_ref()?.get(name)
    }
}

/// The metadata files below `roots`: (name of the stacker layer, file), sorted.
pub fn files(roots: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let reading = || format!("reading {}, stacker's roots, which --roots names", roots.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(roots).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let file = entry.path().join("overlay_metadata.json");
        if file.symlink_metadata().is_ok_and(|m| m.is_file()) {
            found.push((entry.file_name().to_string_lossy().into_owned(), file));
        }
    }
    found.sort();
    ensure!(
        !found.is_empty(),
        "{} has no */overlay_metadata.json: give stacker's --roots-dir, after a first build",
        roots.display()
    );
    Ok(found)
}

/// The bytes of a metadata file.
pub fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reading = || format!("reading {}", file.display());
    let open = File::open(file).with_context(reading)?;
    open.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(reading)?;
    ensure!(bytes.len() as u64 <= MOST_BYTES, "{} has more than 16 MiB", file.display());
    Ok(bytes)
}

/// Parses a metadata file.
pub fn parse(file: &Path) -> anyhow::Result<Metadata> {
    serde_json::from_slice(&read(file)?).with_context(|| format!("parsing {}", file.display()))
}
