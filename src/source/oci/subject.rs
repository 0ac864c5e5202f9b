//! How a user names an image.

use std::path::Path;

use anyhow::{bail, ensure};

use super::digest::Digest;
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
    /// The digest asked for: a manifest's, or that of a list on the way.
    pub digest: Option<Digest>,
    /// The platform asked for.
    pub platform: Option<Platform>,
}

/// What a user may write before a path.
pub const PREFIXES: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];
/// Where images are that are not read in place, by the prefixes of container tools.
const ELSEWHERE: [&str; 6] =
    ["docker://", "docker-daemon:", "containers-storage:", "atomic:", "sif:", "ostree://"];

/// What to do with the name of an image in a registry, which is not read in place; `None` where
/// `text` is not one, or is a path that is there.
pub fn registry(text: &str) -> Option<String> {
    const COPY: &str = "first, with all its platforms: skopeo copy --all";
    if ELSEWHERE.iter().any(|prefix| text.starts_with(prefix)) {
        let copy = format!("copy it into a layout {COPY} {text} oci:LAYOUT:TAG");
        return Some(format!("{text} is not read in place: {copy}"));
    }
    let (host, rest) = text.split_once('/')?;
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let host = name.chars().all(label)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && port.parse::<u16>().is_ok()
        && (name.contains('.') || name.len() < host.len() || name == "localhost");
    (host && !rest.is_empty() && !Path::new(name).exists()).then(|| {
        format!(
            "there is no path {text}; an image in a registry is copied into a layout {COPY} \
             docker://{text} oci:LAYOUT:TAG"
        )
    })
}

/// A path, and the tag or the digest that may follow it: `PATH:TAG`, `PATH@DIGEST`.
fn split(text: &str) -> (&str, Option<&str>, Option<Digest>) {
    let rest = PREFIXES.iter().find_map(|p| text.strip_prefix(p)).unwrap_or(text);
    if Path::new(rest).exists() {
        return (rest, None, None);
    }
    let digest = |(path, digest)| Some((path, Digest::parse(digest)?));
    if let Some((path, digest)) = rest.rsplit_once('@').and_then(digest) {
        return (path, None, Some(digest));
    }
    match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag), None),
        None => (rest, None, None),
    }
}

/// Whether an image's name is the one asked for, also by the short form that skopeo takes of names in
/// a docker-archive.
fn is_named(name: &str, asked: &str) -> bool {
    const DEFAULT: [&str; 4] = ["docker.io/library/", "docker.io/", "localhost/", ""];
    let short = |prefix: &&str| {
        let short = name.strip_prefix(prefix)?;
        (short == asked || short.strip_suffix(":latest") == Some(asked)).then_some(())
    };
    name == asked || (name.contains('/') && DEFAULT.iter().find_map(short).is_some())
}

impl Subject {
    /// Opens `oci:PATH[:TAG]`, `oci:PATH@DIGEST`, `oci-archive:PATH[:TAG]`, `docker-archive:PATH[:TAG]` or a bare
    /// path. `platform` is `OS/ARCHITECTURE[/VARIANT]`.
    pub fn open(text: &str, platform: Option<&str>) -> anyhow::Result<Self> {
        if let Some(what) = registry(text) {
            bail!(what);
        }
        let (path, tag, digest) = split(text);
        let platform = match platform {
            None => None,
            Some(text) => match Platform::parse(text) {
                Some(platform) => Some(platform),
                None => bail!("{text:?} is not a platform; write OS/ARCHITECTURE[/VARIANT]"),
            },
        };
        let store = Store::open(Path::new(path))?;
        let images = images(&store)?;
        let subject = Subject { store, images, tag: tag.map(str::to_owned), digest, platform };
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
            let named = |tag: &String| image.names.iter().any(|name| is_named(name, tag));
            let at = |d: &Digest| image.path.contains(d) || image.list.as_ref() == Some(d);
            self.tag.as_ref().is_none_or(named)
                && self.digest.as_ref().is_none_or(at)
                && self.platform.as_ref().is_none_or(|p| image.platform.as_ref() == Some(p))
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
        let digest = self.digest.as_ref().map(|d| format!("digest {d}"));
        let both: Vec<String> = tag.into_iter().chain(digest).chain(platform).collect();
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
