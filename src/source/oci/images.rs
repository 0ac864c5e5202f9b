//! How a user names an image.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::digest::Digest;
use super::layout::{Image, images};
use super::platform::Platform;
use super::registry;
use super::store::{Form, Store};
use crate::source::Prefix;

/// An open store with its images, and which of them the user asked for.
pub struct Images {
    /// Where the blobs are.
    pub store: Store,
    /// All entries, in the order of the indexes.
    pub images: Vec<Image>,
    /// The tag asked for; of a registry's storage, the repository or repository and tag.
    pub tag: Option<String>,
    /// The digest asked for: a manifest's, or that of a list on the way.
    pub digest: Option<Digest>,
    /// The platforms asked for; all if none is.
    pub platforms: Vec<Platform>,
}

/// Where images are that are not read in place, by the prefixes of container tools.
const ELSEWHERE: [&str; 5] = ["docker://", "docker-daemon:", "atomic:", "sif:", "ostree://"];

/// Where podman has its images as root.
const STORAGE: &str = "/var/lib/containers/storage";

/// Digits of an id, at least, by which an image of container storage may be called.
const ID_DIGITS: usize = 12;

/// What to do with the name of an image in a registry, which is not read in place; `None` where
/// `text` is not one, or is a path that is there.
pub fn to_copy(text: &str) -> Option<String> {
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

/// A path, and what chooses among the images that are there.
struct Selector<'a> {
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<Digest>,
}

impl<'a> Selector<'a> {
    /// Reads `PATH[:TAG][@DIGEST]`, and `[[DRIVER@]ROOT[+RUNROOT]]NAME` of container storage, where a
    /// name alone is one of the system's.
    fn parse(text: &'a str) -> Self {
        let (prefix, rest) = match Prefix::split(text) {
            (Some(prefix), start) if prefix.is_image() => (Some(prefix), &text[start..]),
            _ => (None, text),
        };
        if prefix == Some(Prefix::ContainersStorage) {
            if let Some((root, name)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
                let root = root.split_once('@').map_or(root, |(_, root)| root);
                let root = root.split_once('+').map_or(root, |(root, _)| root);
                return Self::chosen(root, name);
            }
            if !rest.starts_with(['/', '.']) {
                return Self::chosen(STORAGE, rest);
            }
        }
        if Path::new(rest).exists() {
            return Selector { path: rest, tag: None, digest: None };
        }
        let front = rest.rsplit_once('@').filter(|(_, digest)| Digest::parse(digest).is_some());
        let front = front.map_or(rest, |(front, _)| front);
        let path = match front.split_once(':') {
            Some((path, _)) if !Path::new(front).exists() => path,
            _ => front,
        };
        Self::chosen(path, rest[path.len()..].trim_start_matches(':'))
    }

    /// `[TAG][@DIGEST]` of what is at `path`.
    fn chosen(path: &'a str, selector: &'a str) -> Self {
        let (tag, digest) = match selector.rsplit_once('@') {
            Some((tag, digest)) => match Digest::parse(digest) {
                Some(digest) => (tag, Some(digest)),
                None => (selector, None),
            },
            None => (selector, None),
        };
        Selector { path, tag: Some(tag).filter(|tag| !tag.is_empty()), digest }
    }
}

/// Whether an image's name is the one asked for, also by the short form that skopeo takes of names in
/// a docker-archive, and podman of those in its storage.
fn is_named(name: &str, asked: &str) -> bool {
    const DEFAULT: [&str; 4] = ["docker.io/library/", "docker.io/", "localhost/", ""];
    let short = |prefix: &&str| {
        let short = name.strip_prefix(prefix)?;
        (short == asked || short.strip_suffix(":latest") == Some(asked)).then_some(())
    };
    name == asked || (name.contains('/') && DEFAULT.iter().find_map(short).is_some())
}

impl Images {
    /// Opens an image as it is written: a [`Prefix`] of images, a path, and what chooses among the
    /// images there (`:TAG`, `@DIGEST`, `:REPOSITORY[:TAG]`); or a bare path. A platform is
    /// `OS/ARCHITECTURE[/VARIANT]`; each of `platforms` must be there.
    pub fn open<'a>(
        text: &str,
        platforms: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        if let Some(what) = to_copy(text) {
            bail!(what);
        }
        let place = Selector::parse(text);
        let platform = |text: &str| {
            Platform::parse(text).with_context(|| {
                format!("{text:?} is not a platform; write OS/ARCHITECTURE[/VARIANT]")
            })
        };
        let mut platforms: Vec<Platform> =
            platforms.into_iter().map(platform).collect::<anyhow::Result<_>>()?;
        platforms.sort();
        platforms.dedup();
        let store = Store::open(Path::new(place.path), place.tag).with_context(|| {
            match Prefix::split(text) {
                (Some(Prefix::ContainersStorage), _) => {
                    format!("{text}; write containers-storage:[DRIVER@ROOT]NAME for another place")
                }
                _ => format!("opening {text}"),
            }
        })?;
        let images = images(&store)?;
        let tag = place.tag.map(str::to_owned);
        let subject = Images { store, images, tag, digest: place.digest, platforms };
        let there = |p: &Platform| subject.selected().any(|i| i.platform.as_ref() == Some(p));
        let missing = subject.platforms.iter().find(|platform| !there(platform));
        ensure!(
            subject.selected().next().is_some() && missing.is_none(),
            "{text} has no entry for {}; it has {}",
            subject.asked(missing),
            subject.offers()
        );
        Ok(subject)
    }

    /// The entries that tag, digest and platforms leave, attestations and artifacts included.
    pub fn selected(&self) -> impl Iterator<Item = &Image> {
        self.images.iter().filter(|image| {
            let at = |d: &Digest| image.path.contains(d) || image.list.as_ref() == Some(d);
            self.tag.as_ref().is_none_or(|tag| self.is_called(image, tag))
                && self.digest.as_ref().is_none_or(at)
                && (self.platforms.is_empty()
                    || image.platform.as_ref().is_some_and(|p| self.platforms.contains(p)))
        })
    }

    fn is_called(&self, image: &Image, asked: &str) -> bool {
        match self.store.form() {
            Form::Registry(_) => image.names.iter().any(|n| registry::is_named(n, asked)),
            // podman takes the beginning of an id.
            Form::Containers(_) if asked.len() >= ID_DIGITS => {
                let id = image.config.as_ref().map_or("", |config| config.digest.hex());
                id.starts_with(asked) || image.names.iter().any(|name| is_named(name, asked))
            }
            _ => image.names.iter().any(|name| is_named(name, asked)),
        }
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
            [] => bail!("{}: no image for {}", self.store.path().display(), self.asked(None)),
            _ => bail!(
                "{} holds {} different images; choose one with --platform or :TAG ({})",
                self.store.path().display(),
                found.len(),
                self.offers()
            ),
        }
    }

    /// What was asked for; of the platforms only the one that is `missing`, if one is.
    fn asked(&self, missing: Option<&Platform>) -> String {
        let tag = self.tag.as_ref().map(|t| format!("tag {t}"));
        let digest = self.digest.as_ref().map(|d| format!("digest {d}"));
        let platforms: Vec<String> = match missing {
            Some(platform) => vec![platform.to_string()],
            None => self.platforms.iter().map(Platform::to_string).collect(),
        };
        let platform =
            (!platforms.is_empty()).then(|| format!("platform {}", platforms.join(", ")));
        let all: Vec<String> = tag.into_iter().chain(digest).chain(platform).collect();
        if all.is_empty() { "anything".to_owned() } else { all.join(" and ") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_with_what_chooses_there() {
        let hex = "a".repeat(64);
        for (text, path, tag, digest) in [
            ("oci:/nowhere", "/nowhere", None, false),
            ("oci:/nowhere:v1", "/nowhere", Some("v1"), false),
            ("registry:/nowhere:a/b:v1", "/nowhere", Some("a/b:v1"), false),
            (&format!("registry:/nowhere:a/b@sha256:{hex}"), "/nowhere", Some("a/b"), true),
            (&format!("/nowhere@sha256:{hex}"), "/nowhere", None, true),
            ("oci:/:v1", "/", Some("v1"), false),
            ("containers-storage:tool:v1", STORAGE, Some("tool:v1"), false),
            ("containers-storage:/nowhere:tool:v1", "/nowhere", Some("tool:v1"), false),
            ("containers-storage:[vfs@/a+/b]tool:v1", "/a", Some("tool:v1"), false),
            ("containers-storage:[/a]", "/a", None, false),
        ] {
            let place = Selector::parse(text);
            assert_eq!(
                (place.path, place.tag, place.digest.is_some()),
                (path, tag, digest),
                "{text}"
            );
        }
    }
}
