//! Shapes of layouts that programs refuse or interpret differently.

use serde::Serialize;

use super::layout::Image;

/// An unusual property of the way to an image. docs/oci.md says how each program interprets it,
/// which tests check with the programs themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oddity {
    /// A list in a list.
    NestedLists,
    /// `index.json` is the list itself.
    IndexIsList,
    /// Several entries of `index.json` have its tag.
    SharedTag,
    /// Its entry in the list has no platform.
    NoPlatform,
    /// Its entry and its configuration name different platforms.
    OtherPlatform,
    /// Its configuration has no platform.
    NoConfigPlatform,
    /// The layout has no file `oci-layout`.
    NoLayoutFile,
    /// A Docker manifest with layers in zstd.
    DockerZstd,
    /// A layer is a filesystem, not an archive.
    FilesystemLayer,
}

impl Oddity {
    /// What each program does, and the remedy.
    pub fn words(self, image: &Image) -> String {
        let outer = image.path.first().map_or("-", |digest| digest.short());
        match self {
            Oddity::NestedLists => format!(
                "a list in a list: skopeo, podman, oc-mirror and oras name the outer one, {outer}, and find \
                 no image in it; oci normalize writes one list"
            ),
            Oddity::IndexIsList => {
                "index.json is the list itself: skopeo, podman, oc-mirror, oras and umoci do not \
                 find a single image in it; oci normalize writes a list that index.json names"
                    .to_owned()
            }
            Oddity::SharedTag => {
                "its tag names several entries of index.json: skopeo and podman take the first, \
                 oras the last, umoci none; choose with @DIGEST; oci normalize writes one tag for \
                 one image, and joins several --platform"
                    .to_owned()
            }
            Oddity::NoPlatform => {
                "its entry in the list has no platform: skopeo, podman and oc-mirror take the first \
                 entry for every architecture, oras finds none; oci normalize writes the platform"
                    .to_owned()
            }
            Oddity::OtherPlatform => {
                "its entry in the list names another platform than its configuration: \
                 skopeo, oc-mirror and oras go by the entry, podman unpacks what it finds (buildah 1.28 \
                 refuses it); build it again"
                    .to_owned()
            }
            Oddity::NoConfigPlatform => {
                "its configuration has no os and architecture: umoci refuses it, oras finds no \
                 image for any platform, and skopeo does not read it from a docker-archive; build \
                 it again"
                    .to_owned()
            }
            Oddity::NoLayoutFile => {
                "the layout has no file oci-layout: umoci and oras refuse it; oci \
                 normalize writes one"
                    .to_owned()
            }
            Oddity::DockerZstd => {
                "Docker's media types with layers in zstd, which Docker never defined: podman and \
                 umoci refuse it, skopeo 1.9 too; oci normalize writes OCI's"
                    .to_owned()
            }
            Oddity::FilesystemLayer => {
                "a layer is a filesystem, not a tar archive: buildah, podman and umoci refuse it; \
                 only stacker and similar tools mount it"
                    .to_owned()
            }
        }
    }
}
