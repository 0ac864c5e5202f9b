//! Shapes of layouts that programs refuse, or read in different ways.

use serde::Serialize;

use super::layout::Image;

/// What is unusual about the way to an image. docs/oci.md has what each program makes of it, held by
/// the tests against the programs themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oddity {
    /// A list in a list.
    NestedLists,
    /// `index.json` is the list itself.
    IndexIsList,
    /// Several entries of `index.json` have its tag.
    SharedTag,
    /// Its entry in the list says no platform.
    NoPlatform,
    /// Its entry says another platform than its configuration.
    OtherPlatform,
    /// Its configuration says no platform.
    NoConfigPlatform,
    /// The layout has no file `oci-layout`.
    NoLayoutFile,
    /// A manifest of Docker's with layers in zstd.
    DockerZstd,
    /// A layer is a filesystem and no archive.
    FilesystemLayer,
}

impl Oddity {
    /// Which program does what, and what helps.
    pub fn words(self, image: &Image) -> String {
        let outer = image.path.first().map_or("-", |digest| digest.short());
        match self {
            Oddity::NestedLists => format!(
                "a list in a list: skopeo, podman, oc-mirror and oras name the outer one, {outer}, and find \
                 no image in it; oci normalize writes one list"
            ),
            Oddity::IndexIsList => {
                "index.json is the list itself: skopeo, podman, oc-mirror, oras and umoci find no \
                 one image in it; oci normalize writes a list that index.json names"
                    .to_owned()
            }
            Oddity::SharedTag => {
                "its tag names several entries of index.json: skopeo and podman take the first, oras \
                 the last, umoci none; choose with @DIGEST; oci normalize takes one tag for one image, and \
                 several --platform joined"
                    .to_owned()
            }
            Oddity::NoPlatform => {
                "its entry in the list says no platform: skopeo, podman and oc-mirror take the first \
                 entry for every architecture, oras finds none; oci normalize writes the platform"
                    .to_owned()
            }
            Oddity::OtherPlatform => {
                "its entry in the list says another platform than its configuration: \
                 skopeo, oc-mirror and oras go by the entry, podman unpacks what it finds (buildah 1.28 \
                 refuses it); build it again"
                    .to_owned()
            }
            Oddity::NoConfigPlatform => {
                "its configuration says no os and architecture: umoci refuses it, oras finds no image for \
                 any platform, and skopeo takes it from no docker-archive; build it again"
                    .to_owned()
            }
            Oddity::NoLayoutFile => {
                "the layout has no file oci-layout: umoci and oras refuse it; oci \
                 normalize writes one"
                    .to_owned()
            }
            Oddity::DockerZstd => {
                "Docker's media types with layers in zstd, which Docker never had: podman and umoci \
                 refuse it, skopeo 1.9 too; oci normalize writes OCI's"
                    .to_owned()
            }
            Oddity::FilesystemLayer => {
                "a layer is a filesystem and no tar archive: buildah, podman and \
                 umoci refuse it; only stacker and its like mount it"
                    .to_owned()
            }
        }
    }
}
