//! `opm verify`: the stored digest against what opm will compute.

mod command;
mod modes;
mod print;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;

pub(super) use command::Command;

use super::access::{self, Denied, User};
use super::document::GoVersion;
use super::tree::{self, Directory};
use super::{digest, pogreb};
use crate::image::flattened::Flattened;
use crate::image::unpack::{Model, Tree, unpack};
use crate::source::oci::{Image, Images, Keep, Layer, layers};
use crate::tree::Kind;

/// Where a catalog's two directories are.
#[derive(Clone, Debug, Serialize)]
pub struct Places {
    /// The catalog, `/configs` by default.
    pub configs: String,
    /// The cache, `/tmp/cache` by default: the directory that holds `digest` or `pogreb.v1/`.
    pub cache: String,
    /// Whether opm is told to use a cache: not by a command that serves without `--cache-dir`.
    pub used: bool,
}

/// A cache's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Format {
    /// `CACHE/digest`, `CACHE/cache/*.json`: the digest covers mode bits.
    #[serde(rename = "json")]
    Json,
    /// `CACHE/pogreb.v1/`: the digest covers documents and records only.
    #[serde(rename = "pogreb.v1")]
    Pogreb,
}

/// What to expect of a catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every runtime computes the stored digest.
    Stable,
    /// vfs computes the stored digest, overlay another.
    BreaksOnOverlay,
    /// overlay computes the stored digest, vfs another.
    BreaksOnVfs,
    /// No runtime computes the stored digest: the cache was made of other files.
    Stale,
    /// There is no cache.
    Missing,
    /// Files are right, and a user that clusters run opm as cannot open them.
    CannotBeRead,
    /// The image's command serves without a cache: opm makes one at every start.
    Unused,
}

/// The digest under one unpacker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// `disk`, `vfs`, `overlay`, `umoci` or `fsgroup`.
    pub model: String,
    /// What opm computes there.
    pub computed: Option<String>,
    /// Whether that is the stored digest.
    pub matches: bool,
    /// Why there is nothing to compute: this unpacker refuses the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// A path that makes digests differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blame {
    /// The path; directories end in a slash.
    pub path: String,
    /// What is the matter with it.
    pub why: String,
}

/// One catalog's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The platform of the image; `-` on disk.
    pub platform: String,
    /// Where catalog and cache are.
    #[serde(flatten)]
    pub places: Places,
    /// The cache's format; none if the cache is missing.
    pub format: Option<Format>,
    /// The digest stored beside the cache.
    pub stored: Option<String>,
    /// What is computed, by unpacker.
    pub rows: Vec<Row>,
    /// The answer.
    pub verdict: Verdict,
    /// What the verdict would be if opm were given the cache's directory; only where it is not.
    pub otherwise: Option<Verdict>,
    /// The paths to blame, the first one mattering most.
    pub blame: Vec<Blame>,
    /// What users cannot open or write.
    pub denied: Vec<Denied>,
}

/// The answers for all images asked about.
#[derive(Clone, Debug, Serialize)]
pub struct Checks {
    /// In the order of the layout.
    pub catalogs: Vec<Check>,
}

/// Checks a catalog that is unpacked on disk. Modes are taken as they are there.
///
/// `users` are those that have to open it; an arbitrary one of group 0 if none is given.
pub fn on_disk(configs: &Path, cache: &Path, users: &[User]) -> anyhow::Result<Checks> {
    let text = |path: &Path| path.display().to_string();
    let places = Places { configs: text(configs), cache: text(cache), used: true };
    let Some(catalog) = tree::on_disk(configs)? else {
        bail!("{} is not a directory", configs.display());
    };
    let cached = tree::on_disk(cache)?;
    let root = Path::new("");
    let catalog = Directory::of(&catalog, root)?.context("it went away while it was read")?;
    let cached = cached.as_ref().map(|cached| Directory::of(cached, root)).transpose()?.flatten();
    let pair = Pair { configs: catalog, cache: cached };
    let (format, stored) = pair.stored()?;
    let computed = pair.computed(format)?;
    let row = Row { model: "disk".into(), matches: computed == stored, computed, refusal: None };
    let places_on_disk =
        [(configs, Some(&pair.configs), None), (cache, pair.cache.as_ref(), format)];
    let denied = access::denied_on_disk(users, &places_on_disk);
    let verdict = match (format, row.matches) {
        (None, _) => Verdict::Missing,
        (_, true) if !denied.is_empty() => Verdict::CannotBeRead,
        (_, true) => Verdict::Stable,
        (_, false) => Verdict::Stale,
    };
    let blame = match (verdict, &stored) {
        (Verdict::Stale, Some(stored)) => pair.guess(format, stored, &places)?,
        _ => Vec::new(),
    };
    let rows = vec![row];
    let platform = "-".to_owned();
    let otherwise = None;
    let check = Check { platform, places, format, stored, rows, verdict, otherwise, blame, denied };
    Ok(Checks { catalogs: vec![check] })
}

/// Checks the catalog in every image that `subject` selects. Places not given are taken from the
/// image's label and command line.
pub fn in_images(
    subject: &Images,
    configs: Option<&str>,
    cache: Option<&str>,
    users: &[User],
) -> anyhow::Result<Checks> {
    let mut catalogs = Vec::new();
    for image in subject.selected().filter(|i| i.is_image()) {
        if let Some(fault) = image.faults.first() {
            bail!("{}: {fault}", subject.store.path().display());
        }
        let run = Command::of_image(subject, image)?;
        let places = run.places(configs, cache);
        let layers = layers(&subject.store, image, Keep::Spool)?;
        catalogs.push(in_layers(image, places, run.user.as_deref(), users, &layers)?);
    }
    if catalogs.is_empty() {
        bail!("{} selects no image", subject.store.path().display());
    }
    Ok(Checks { catalogs })
}

pub(super) fn in_layers(
    image: &Image,
    places: Places,
    user: Option<&str>,
    users: &[User],
    layers: &[Layer],
) -> anyhow::Result<Check> {
    let mut rows = Vec::new();
    let mut trees: BTreeMap<Model, Flattened<&[Layer]>> = BTreeMap::new();
    let (mut format, mut stored) = (None, None);
    for model in Model::ALL {
        let (computed, refusal) = match unpack(layers, model) {
            Err(refusal) => {
                let at = format!("layer {}, {}: {}", refusal.layer, refusal.path, refusal.why);
                (None, Some(at))
            }
            Ok(nodes) => {
                let tree = Flattened::of(layers, nodes);
                let pair = Pair::in_image(&places, &tree)?;
                if trees.is_empty() {
                    (format, stored) = pair.stored()?;
                }
                let computed = pair.computed(format)?;
                if model == Model::Vfs {
                    let copied = pair.with_setgid().computed(format)?;
                    rows.push(Row {
                        model: "fsgroup".into(),
                        matches: copied.is_some() && copied == stored,
                        computed: copied,
                        refusal: None,
                    });
                }
                trees.insert(model, tree);
                (computed, None)
            }
        };
        let matches = computed.is_some() && computed == stored;
        rows.push(Row { model: model.to_string(), computed, matches, refusal });
    }
    // What a volume does to modes is not the image's fault: last, and not judged.
    rows.sort_by_key(|row| row.model == "fsgroup");
    let right = |model: &str| rows.iter().any(|r| r.model == model && r.matches);
    let verdict = match (format, right("vfs"), right("overlay")) {
        (None, ..) => Verdict::Missing,
        (_, true, true) => Verdict::Stable,
        (_, true, false) => Verdict::BreaksOnOverlay,
        (_, false, true) => Verdict::BreaksOnVfs,
        (_, false, false) => Verdict::Stale,
    };
    let mut blame = Vec::new();
    match (verdict, trees.get(&Model::Vfs), trees.get(&Model::Overlay)) {
        (Verdict::BreaksOnOverlay | Verdict::BreaksOnVfs, Some(vfs), Some(overlay)) => {
            blame = differences(&places, layers, vfs.nodes(), overlay.nodes());
        }
        (Verdict::Stale, Some(vfs), _) => {
            let pair = Pair::in_image(&places, vfs)?;
            if let Some(stored) = &stored {
                blame = pair.guess(format, stored, &places)?;
            }
        }
        _ => {}
    }
    let mut denied = Vec::new();
    if let Some(tree) = trees.get(&Model::Vfs).or(trees.get(&Model::Umoci)) {
        let format = format.filter(|_| places.used);
        denied = access::denied(user, users, &places, format, tree.nodes(), layers);
    }
    let otherwise = (!places.used).then_some(verdict);
    let verdict = match verdict {
        _ if !places.used && denied.is_empty() => Verdict::Unused,
        _ if !places.used => Verdict::CannotBeRead,
        Verdict::Stable if !denied.is_empty() => Verdict::CannotBeRead,
        verdict => verdict,
    };
    let platform = image.platform_name();
    Ok(Check { platform, places, format, stored, rows, verdict, otherwise, blame, denied })
}

/// Paths of the catalog that vfs and overlay unpack differently, and the member that is why.
fn differences(places: &Places, layers: &[Layer], vfs: &Tree, overlay: &Tree) -> Vec<Blame> {
    let mut blame = Vec::new();
    let inside = |path: &[u8]| {
        [&places.configs, &places.cache].iter().any(|root| {
            let root = root.trim_matches('/').as_bytes();
            path.strip_prefix(root).is_some_and(|r| r.is_empty() || r[0] == b'/')
        })
    };
    for (path, there) in overlay.iter().filter(|(path, _)| inside(path)) {
        let shown = String::from_utf8_lossy(path);
        let why = match vfs.get(path) {
            None => "it is there under overlay only: a whiteout in the layer that made its \
                     directory again does not hide it"
                .to_owned(),
            Some(here) if here.mode == there.mode => continue,
            Some(here) => {
                let below = [path, &b"/"[..]].concat();
                let layer = &layers[there.layer];
                let culprit = layer.members.iter().find(|m| m.path.starts_with(&below));
                let culprit = culprit.filter(|_| there.member.is_none()).map(|member| {
                    let member = String::from_utf8_lossy(&member.path);
                    format!(
                        ": layer {} ({}) adds {member} without an entry for its directory",
                        there.layer, layer.sums.diff_id
                    )
                });
                format!(
                    "mode {:04o} on vfs, {:04o} on overlay{}",
                    here.mode,
                    there.mode,
                    culprit.unwrap_or_default()
                )
            }
        };
        let slash = if there.kind == crate::format::tar::Type::Dir { "/" } else { "" };
        blame.push(Blame { path: format!("{shown}{slash}"), why });
    }
    blame
}

/// A catalog and its cache.
pub(super) struct Pair<'a> {
    pub(super) configs: Directory<'a>,
    pub(super) cache: Option<Directory<'a>>,
}

impl<'a> Pair<'a> {
    pub(super) fn in_image(places: &Places, tree: &'a Flattened<&[Layer]>) -> anyhow::Result<Self> {
        let configs = Directory::in_image(&places.configs, tree)?;
        let configs = configs.with_context(|| {
            format!("the image has no {}: not a catalog, or give --configs", places.configs)
        })?;
        Ok(Pair { configs, cache: Directory::in_image(&places.cache, tree)? })
    }

    /// The cache's format and its stored digest. opm takes pogreb where both are there.
    pub(super) fn stored(&self) -> anyhow::Result<(Option<Format>, Option<String>)> {
        let Some(cache) = &self.cache else { return Ok((None, None)) };
        for (format, path) in [(Format::Pogreb, "pogreb.v1/digest"), (Format::Json, "digest")] {
            if let Some(item) = cache.get(path).filter(|i| i.kind == Kind::File) {
                let text = item.read(4096).with_context(|| format!("reading {path}"))?;
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                return Ok((Some(format), Some(text)));
            }
        }
        Ok((None, None))
    }

    /// The digest that opm computes.
    pub(super) fn computed(&self, format: Option<Format>) -> anyhow::Result<Option<String>> {
        let Some((format, cache)) = format.zip(self.cache.as_ref()) else { return Ok(None) };
        Ok(Some(match format {
            Format::Json => digest::json(&self.configs, cache)?,
            Format::Pogreb => {
                let db = cache.subdirectory("pogreb.v1/db").context("pogreb.v1/ has no db/")?;
                let now = pogreb::digest(&self.configs, &db, GoVersion::Now)?;
                let old = pogreb::digest(&self.configs, &db, GoVersion::Old)?;
                // The image's opm is the one that stored the digest.
                if self.stored()?.1.as_ref() == Some(&old) { old } else { now }
            }
        }))
    }

    /// As copied into a volume with an fsGroup: every directory inherits the set-group-ID bit.
    fn with_setgid(&self) -> Self {
        let set = |_: &[u8], kind, mode| if kind == Kind::Dir { mode | 0o2000 } else { mode };
        self.with_modes(set)
    }

    fn with_modes(&self, change: impl Fn(&[u8], Kind, u32) -> u32 + Copy) -> Self {
        let cache = self.cache.as_ref().map(|c| c.with_modes(change));
        Pair { configs: self.configs.with_modes(change), cache }
    }
}
