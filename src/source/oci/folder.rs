//! Folders that skopeo writes for `dir:PATH`: the manifest, and every blob under its hex digits.
//!
//! Follows the directory transport 1.1 of containers/image: `manifest.json` is the image's manifest
//! or its list, `HEX.manifest.json` are the manifests of a list.

use anyhow::Context as _;

use super::digest::Digest;
use super::files::{Files, Part};
use super::{limits, store};

/// The folder's manifest.
pub(super) struct Folder {
    manifest: Digest,
    pub(super) index: Vec<u8>,
}

impl Folder {
    /// Whether there is a `version` file of such a folder.
    pub(super) fn is_one(files: &Files) -> anyhow::Result<bool> {
        const MARK: &[u8] = b"Directory Transport Version:";
        let Some(version) = files.file("version")? else { return Ok(false) };
        let small = version.size() <= 256;
        Ok(small && version.whole(256)?.starts_with(MARK))
    }

    pub(super) fn open(files: &Files) -> anyhow::Result<Option<Self>> {
        if !Self::is_one(files)? {
            return Ok(None);
        }
        let bytes = files.small("manifest.json", limits::MANIFEST_BYTES)?;
        let bytes = bytes.context("no manifest.json beside version: copy the image again")?;
        let manifest = Digest::of(&bytes);
        let index = store::index_of([(&manifest, None)].into_iter())?;
        Ok(Some(Folder { manifest, index }))
    }

    pub(super) fn blob(&self, files: &Files, digest: &Digest) -> anyhow::Result<Option<Part>> {
        let hex = digest.hex();
        if *digest == self.manifest {
            return files.file("manifest.json");
        }
        match files.file(hex)? {
            Some(found) => Ok(Some(found)),
            None => files.file(format!("{hex}.manifest.json")),
        }
    }
}
