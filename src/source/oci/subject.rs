//! How a user names an image.

use std::path::Path;

use anyhow::{bail, ensure};

use super::layout::{Image, images};
use super::platform::Platform;
use super::store::Store;

/// An open store with its images, and which of them the user asked for.
pub struct Subject {
    /// Where the blobs are.
    pub store: Store,
    /// All entries, in the order of the indexes.
    pub images: Vec<Image>,
    /// The tag asked for.
    pub tag: Option<String>,
    /// The platform asked for.
    pub platform: Option<Platform>,
}

/// What a user may write before a path.
pub const PREFIXES: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];
/// Where images are that are not read in place, by the prefixes of container tools.
pub const ELSEWHERE: [&str; 6] =
    ["docker://", "docker-daemon:", "containers-storage:", "atomic:", "sif:", "ostree://"];

/// A path and the tag that may follow it after a colon.
fn split(text: &str) -> (&str, Option<&str>) {
    let rest = PREFIXES.iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    match rest.split_once(':') {
        Some((path, tag)) if !Path::new(rest).exists() => (path, Some(tag)),
        _ => (rest, None),
    }
}

impl Subject {
    /// Opens `oci:PATH[:TAG]`, `oci-archive:PATH[:TAG]`, `docker-archive:PATH[:TAG]` or a bare
    /// path. `platform` is `OS/ARCHITECTURE[/VARIANT]`.
    pub fn open(text: &str, platform: Option<&str>) -> anyhow::Result<Self> {
        ensure!(
            !ELSEWHERE.iter().any(|p| text.starts_with(p)),
            "{text} is not read in place: copy it into a layout first, with all its platforms: \
             skopeo copy --all {text} oci:LAYOUT:TAG"
        );
        let (path, tag) = split(text);
        let platform = match platform {
            None => None,
            Some(text) => match Platform::parse(text) {
                Some(platform) => Some(platform),
                None => bail!("{text:?} is not a platform; write OS/ARCHITECTURE[/VARIANT]"),
            },
        };
        let store = Store::open(Path::new(path))?;
        let images = images(&store)?;
        let subject = Subject { store, images, tag: tag.map(str::to_owned), platform };
        ensure!(
            subject.selected().next().is_some(),
            "{text} has no entry for {}; it has {}",
            subject.asked(),
            subject.offers()
        );
        Ok(subject)
    }

    /// The entries that tag and platform leave, attestations and artifacts included.
    pub fn selected(&self) -> impl Iterator<Item = &Image> {
        self.images.iter().filter(|image| {
            let tag = self.tag.as_ref().is_none_or(|t| image.names.contains(t));
            tag && self.platform.as_ref().is_none_or(|p| image.platform.as_ref() == Some(p))
        })
    }

    /// The one image that tag and platform leave. Several different ones need a selector; faults
    /// on the way to it are fatal here.
    pub fn one(&self) -> anyhow::Result<&Image> {
        let mut found: Vec<&Image> = Vec::new();
        for image in self.selected().filter(|i| i.is_image()) {
            if !found.iter().any(|f| f.id() == image.id()) {
                found.push(image);
            }
        }
        match found[..] {
            [image] => match image.faults.first() {
                Some(fault) => bail!("{}: {fault}", self.store.path().display()),
                None => Ok(image),
            },
            [] => bail!("{}: no image for {}", self.store.path().display(), self.asked()),
            _ => bail!(
                "{} holds {} different images; choose one with --platform or :TAG ({})",
                self.store.path().display(),
                found.len(),
                self.offers()
            ),
        }
    }

    fn asked(&self) -> String {
        let tag = self.tag.as_ref().map(|t| format!("tag {t}"));
        let platform = self.platform.as_ref().map(|p| format!("platform {p}"));
        let both: Vec<String> = tag.into_iter().chain(platform).collect();
        if both.is_empty() { "anything".to_owned() } else { both.join(" and ") }
    }

    fn offers(&self) -> String {
        let name = |image: &Image| {
            let names: Vec<&str> = image.names.iter().map(String::as_str).collect();
            format!("{} [{}]", image.platform_name(), names.join(" "))
        };
        let mut offers: Vec<String> = self.images.iter().take(20).map(name).collect();
        offers.dedup();
        offers.join(", ")
    }
}
