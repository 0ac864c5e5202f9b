//! `opm verify`: the stored digest against what opm will compute.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;

use super::access::{self, Denied, User};
use super::document::Go;
use super::tree::Directory;
use super::{digest, pogreb};
use crate::image::unpack::{Model, Tree, unpack};
use crate::image::{Findings, table};
use crate::source::oci::{Image, Keep, Layer, Subject, layers};
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
pub fn on_disk(configs: &Path, cache: &Path) -> anyhow::Result<Checks> {
    let text = |path: &Path| path.display().to_string();
    let places = Places { configs: text(configs), cache: text(cache), used: true };
    let Some(catalog) = Directory::on_disk(configs)? else {
        bail!("{} is not a directory", configs.display());
    };
    let pair = Pair { configs: catalog, cache: Directory::on_disk(cache)? };
    let (format, stored) = pair.stored()?;
    let computed = pair.computed(format)?;
    let row = Row { model: "disk".into(), matches: computed == stored, computed, refusal: None };
    let verdict = match (format, row.matches) {
        (None, _) => Verdict::Missing,
        (_, true) => Verdict::Stable,
        (_, false) => Verdict::Stale,
    };
    let blame = match (verdict, &stored) {
        (Verdict::Stale, Some(stored)) => pair.guess(format, stored, &places)?,
        _ => Vec::new(),
    };
    let rows = vec![row];
    let platform = "-".to_owned();
    let (otherwise, denied) = (None, Vec::new());
    let check = Check { platform, places, format, stored, rows, verdict, otherwise, blame, denied };
    Ok(Checks { catalogs: vec![check] })
}

/// Checks the catalog in every image that `subject` selects. Places not given are taken from the
/// image's label and command line.
pub fn in_images(
    subject: &Subject,
    configs: Option<&str>,
    cache: Option<&str>,
) -> anyhow::Result<Checks> {
    let mut catalogs = Vec::new();
    for image in subject.selected().filter(|i| i.is_image()) {
        if let Some(fault) = image.faults.first() {
            bail!("{}: {fault}", subject.store.path().display());
        }
        let run = Command::of_image(subject, image)?;
        let places = run.places(configs, cache);
        let layers = layers(&subject.store, image, Keep::Spool)?;
        catalogs.push(in_layers(image, places, run.user.as_deref(), &layers)?);
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
    layers: &[Layer],
) -> anyhow::Result<Check> {
    let mut rows = Vec::new();
    let mut trees: BTreeMap<Model, Tree> = BTreeMap::new();
    let (mut format, mut stored) = (None, None);
    for model in Model::ALL {
        let (computed, refusal) = match unpack(layers, model) {
            Err(refusal) => {
                let at = format!("layer {}, {}: {}", refusal.layer, refusal.path, refusal.why);
                (None, Some(at))
            }
            Ok(tree) => {
                let pair = Pair::in_image(&places, &tree, layers)?;
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
            blame = differences(&places, layers, vfs, overlay);
        }
        (Verdict::Stale, Some(vfs), _) => {
            let pair = Pair::in_image(&places, vfs, layers)?;
            if let Some(stored) = &stored {
                blame = pair.guess(format, stored, &places)?;
            }
        }
        _ => {}
    }
    let mut denied = Vec::new();
    if let Some(tree) = trees.get(&Model::Vfs).or(trees.get(&Model::Umoci)) {
        let users = User::all(user, tree, layers);
        denied = access::denied(&users, &places, format.filter(|_| places.used), tree);
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

/// What an image runs.
pub(super) struct Command {
    /// The command line, the words of a shell's `-c` apart.
    words: Vec<String>,
    /// The label `operators.operatorframework.io.index.configs.v1`.
    label: Option<String>,
    /// The user.
    pub(super) user: Option<String>,
}

/// Flags of `opm serve` that take a word of their own.
const WITH_VALUE: [&str; 7] =
    ["--cache-dir", "--port", "-p", "--pprof-addr", "--termination-log", "-t", "--timeout-seconds"];

impl Command {
    pub(super) fn of_image(subject: &Subject, image: &Image) -> anyhow::Result<Self> {
        let mut command = Command { words: Vec::new(), label: None, user: None };
        let Some(config) = &image.config else { return Ok(command) };
        let limit = crate::source::oci::limits::CONFIG_BYTES;
        let bytes = subject.store.small(&config.name, limit)?.unwrap_or_default();
        let parsed: serde_json::Value =
            serde_json::from_slice(&bytes).context("parsing the image's config")?;
        let run = &parsed["config"];
        command.label = run["Labels"][super::bundles::LABEL].as_str().map(str::to_owned);
        command.user = run["User"].as_str().map(str::to_owned);
        let words = ["Entrypoint", "Cmd"].iter().filter_map(|key| run[key].as_array()).flatten();
        let words: Vec<&str> = words.filter_map(|word| word.as_str()).collect();
        for (i, word) in words.iter().enumerate() {
            let shell = i >= 2 && words[i - 1] == "-c" && words[i - 2].ends_with("sh");
            match shell {
                true => {
                    let inner = word.split([' ', '\t', '\n', ';', '&']).filter(|w| !w.is_empty());
                    command.words.extend(inner.map(|w| w.trim_matches(['"', '\'']).to_owned()));
                }
                false => command.words.push((*word).to_owned()),
            }
        }
        Ok(command)
    }

    /// Where catalog and cache are: what the user says, or the command line, or the label, or
    /// the defaults of `opm generate dockerfile`. The word after `serve` wins over the label, as it
    /// does with opm.
    pub(super) fn places(&self, configs: Option<&str>, cache: Option<&str>) -> Places {
        let serve = self.words.iter().position(|word| word == "serve");
        let after = serve.map_or(&[][..], |at| &self.words[at + 1..]);
        let mut served = None;
        let mut given = None;
        let mut words = after.iter();
        while let Some(word) = words.next() {
            let value = match word.split_once('=') {
                Some(("--cache-dir", value)) => Some(value.to_owned()),
                _ if WITH_VALUE.contains(&&**word) => {
                    let value = words.next().cloned();
                    value.filter(|_| word == "--cache-dir")
                }
                _ if !word.starts_with('-') => {
                    served.get_or_insert_with(|| word.clone());
                    None
                }
                _ => None,
            };
            given = value.filter(|dir| !dir.is_empty()).or(given);
        }
        let used = cache.is_some() || serve.is_none() || given.is_some();
        let own = |text: Option<&str>| text.map(str::to_owned);
        Places {
            configs: own(configs)
                .or(served)
                .or_else(|| self.label.clone())
                .unwrap_or_else(|| "/configs".to_owned()),
            cache: own(cache).or(given).unwrap_or_else(|| "/tmp/cache".to_owned()),
            used,
        }
    }
}

/// A catalog and its cache.
pub(super) struct Pair<'a> {
    pub(super) configs: Directory<'a>,
    pub(super) cache: Option<Directory<'a>>,
}

impl<'a> Pair<'a> {
    pub(super) fn in_image(
        places: &Places,
        tree: &Tree,
        layers: &'a [Layer],
    ) -> anyhow::Result<Self> {
        let configs = Directory::in_image(&places.configs, tree, layers)?;
        let configs = configs.with_context(|| {
            format!("the image has no {}: not a catalog, or give --configs", places.configs)
        })?;
        Ok(Pair { configs, cache: Directory::in_image(&places.cache, tree, layers)? })
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
                let now = pogreb::digest(&self.configs, &db, Go::Now)?;
                let old = pogreb::digest(&self.configs, &db, Go::Old)?;
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

    /// Which modes, the same for all directories and for all files of the catalog or of the cache, would
    /// make the stored digest right: what another umask, `COPY --chmod` or `cp -r` leave.
    fn guess_uniform(
        &self,
        cache: &Directory<'_>,
        stored: &str,
        places: &Places,
    ) -> anyhow::Result<Option<Blame>> {
        // Bytes that are digested at most.
        const BUDGET: u64 = 4 << 30;
        let mut left = BUDGET;
        let mut spend = |directory: &Directory<'_>| {
            let cost = directory.bytes() + 4096;
            let affordable = cost <= left;
            left = left.saturating_sub(cost);
            affordable
        };
        let forms = uniform();
        let mut catalogs = Vec::new();
        for form in &forms {
            if spend(&self.configs) {
                catalogs.push((form, digest::of_catalog(&form.applied(&self.configs))?));
            }
        }
        let found = |catalog: &Uniform, cached: &Uniform| -> Blame {
            // Of the cache only this counts.
            let (inner, files) =
                (format!("{}/cache", trimmed(&places.cache)), cache.subdirectory("cache"));
            let files = files.iter().map(|files| (&inner, files, cached));
            let roots: Vec<_> =
                [(&places.configs, &self.configs, catalog)].into_iter().chain(files).collect();
            let mut changed = roots.iter().flat_map(|(root, directory, form)| {
                let forms = form.applied(directory);
                let items = directory.iter().zip(forms.iter().map(|(_, item)| item.mode));
                let other = items.filter(|((_, item), mode)| item.mode != *mode);
                other
                    .map(|((path, item), mode)| blame(root, &path, item.kind, item.mode, mode))
                    .collect::<Vec<_>>()
            });
            match (changed.next(), changed.next()) {
                (Some(only), None) => only,
                _ => Blame {
                    path: format!("{}/ and {}/", trimmed(&places.configs), trimmed(&places.cache)),
                    why: format!(
                        "with {} in the catalog and {} in the cache the stored digest is right",
                        catalog.words(),
                        cached.words()
                    ),
                },
            }
        };
        // One umask for both is likelier than two.
        let one = catalogs.iter().map(|(form, state)| (*form, *state, *form));
        let two = forms.iter().flat_map(|c| catalogs.iter().map(move |(f, state)| (*f, *state, c)));
        for (catalog, state, cached) in one.chain(two) {
            if !spend(cache) {
                return Ok(None);
            }
            if digest::with_cache(state, &cached.applied(cache))? == stored {
                return Ok(Some(found(catalog, cached)));
            }
        }
        Ok(None)
    }

    /// Which single mode, put back to a usual one, would make the stored digest right.
    fn guess(
        &self,
        format: Option<Format>,
        stored: &str,
        places: &Places,
    ) -> anyhow::Result<Vec<Blame>> {
        const USUAL: &[(Kind, &[u32])] = &[
            (Kind::Dir, &[0o755, 0o775, 0o750, 0o770, 0o700, 0o777]),
            (Kind::File, &[0o644, 0o664, 0o640, 0o660, 0o600]),
        ];
        // Every try digests everything once.
        const BUDGET: u64 = 1 << 30;
        let Some(cache) = self.cache.as_ref().filter(|_| format == Some(Format::Json)) else {
            return Ok(Vec::new());
        };
        if let Some(found) = self.guess_uniform(cache, stored, places)? {
            return Ok(vec![found]);
        }
        let bytes = self.configs.bytes() + cache.bytes() + 4096;
        let mut tries = BUDGET / bytes;
        for (root, directory) in [(&places.configs, &self.configs), (&places.cache, cache)] {
            let in_configs = std::ptr::eq(directory, &self.configs);
            for (path, item) in directory.iter() {
                let modes = USUAL.iter().find(|(kind, _)| *kind == item.kind).map(|(_, m)| *m);
                for &usual in modes.unwrap_or_default().iter().filter(|&&m| m != item.mode) {
                    if tries == 0 {
                        return Ok(Vec::new());
                    }
                    tries -= 1;
                    let change = |p: &[u8], _, mode| if p == path { usual } else { mode };
                    let (configs, cache) = match in_configs {
                        true => (self.configs.with_modes(change), cache.clone()),
                        false => (self.configs.clone(), cache.with_modes(change)),
                    };
                    if digest::json(&configs, &cache)? == stored {
                        return Ok(vec![blame(root, &path, item.kind, item.mode, usual)]);
                    }
                }
            }
        }
        Ok(Vec::new())
    }
}

/// Modes that all directories and all files have; `None` for those that they have.
struct Uniform {
    modes: Option<(u32, u32)>,
}

impl Uniform {
    fn applied<'a>(&self, directory: &Directory<'a>) -> Directory<'a> {
        let Some((dirs, files)) = self.modes else { return directory.clone() };
        directory.with_modes(|_, kind, mode| match kind {
            Kind::Dir => dirs,
            Kind::File => files,
            _ => mode,
        })
    }

    fn words(&self) -> String {
        match self.modes {
            None => "the modes that are there".to_owned(),
            Some((dirs, files)) => format!("directories {dirs:04o} and files {files:04o}"),
        }
    }
}

/// Modes that whole directories come to have, the likeliest first.
fn uniform() -> Vec<Uniform> {
    const DIRS: [u32; 5] = [0o755, 0o775, 0o700, 0o750, 0o770];
    const FILES: [u32; 5] = [0o644, 0o664, 0o600, 0o640, 0o660];
    let mut all: Vec<(u32, u32)> = DIRS.into_iter().zip(FILES).collect();
    for dirs in DIRS.into_iter().chain(DIRS.map(|mode| mode | 0o2000)) {
        let more = FILES.into_iter().map(|files| (dirs, files));
        let more: Vec<_> = more.filter(|pair| !all.contains(pair)).collect();
        all.extend(more);
    }
    let as_is = Uniform { modes: None };
    [as_is].into_iter().chain(all.into_iter().map(|pair| Uniform { modes: Some(pair) })).collect()
}

fn trimmed(root: &str) -> &str {
    root.trim_end_matches('/')
}

fn blame(root: &str, path: &[u8], kind: Kind, is: u32, was: u32) -> Blame {
    let slash = if kind == Kind::Dir { "/" } else { "" };
    let inner = String::from_utf8_lossy(path);
    let between = if inner.is_empty() { "" } else { "/" };
    let root = trimmed(root);
    let why = format!("mode is {is:04o}; with {was:04o} the stored digest is right");
    Blame { path: format!("{root}{between}{inner}{slash}"), why }
}

impl Check {
    /// What to do, in one line.
    pub fn remedy(&self) -> &'static str {
        match self.verdict {
            Verdict::Stable => "nothing to do",
            Verdict::Unused
                if matches!(self.otherwise, Some(Verdict::Stable | Verdict::Missing)) =>
            {
                "nothing to do; with a cache in the image and --cache-dir opm starts sooner"
            }
            Verdict::Unused => {
                "nothing to do as long as no --cache-dir is given; reprofix opm fix --drop-cache takes \
                 the cache out"
            }
            Verdict::CannotBeRead => {
                "reprofix opm fix IMAGE -o OUT gives group 0 the owner's bits; or chgrp -R 0 and \
                 chmod -R g=u before the layer is made"
            }
            Verdict::BreaksOnOverlay | Verdict::BreaksOnVfs => {
                "reprofix opm fix IMAGE -o OUT; or give every layer entries for its directories \
                 (COPY whole directories, do not append single files)"
            }
            Verdict::Stale if !self.blame.is_empty() => {
                "put the modes back (reprofix opm fix writes an image with usual ones), or build the \
                 cache again: opm serve CONFIGS --cache-dir=CACHE --cache-only"
            }
            Verdict::Stale | Verdict::Missing => {
                "build the cache from this catalog: opm serve CONFIGS --cache-dir=CACHE --cache-only"
            }
        }
    }
}

impl Findings for Checks {
    fn sound(&self) -> bool {
        self.catalogs.iter().all(|c| matches!(c.verdict, Verdict::Stable | Verdict::Unused))
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for check in &self.catalogs {
            let verdict = match check.verdict {
                Verdict::Stable => "stable",
                Verdict::BreaksOnOverlay => "breaks on overlay",
                Verdict::BreaksOnVfs => "breaks on vfs",
                Verdict::Stale => "stale",
                Verdict::Missing => "missing: there is no cache",
                Verdict::CannotBeRead => "cannot be read by every user",
                Verdict::Unused => "no cache is used: the command has no --cache-dir",
            };
            let format = match check.format {
                Some(Format::Json) => "json",
                Some(Format::Pogreb) => "pogreb.v1",
                None => "none",
            };
            let Places { configs, cache, .. } = &check.places;
            writeln!(out, "{}: {verdict}", check.platform)?;
            writeln!(out, "  catalog {configs}, cache {cache}, format {format}")?;
            let stored = check.stored.as_deref().unwrap_or("-");
            let mut rows = vec![vec!["  stored".to_owned(), stored.to_owned(), String::new()]];
            for row in &check.rows {
                let verdict = match (row.matches, &row.refusal) {
                    (_, Some(refusal)) => format!("cannot unpack it: {refusal}"),
                    (true, None) => "matches".to_owned(),
                    (false, None) if check.format.is_none() => String::new(),
                    (false, None) if row.model == "fsgroup" => {
                        "cache requires rebuild (where copied into a volume with an fsGroup)".into()
                    }
                    (false, None) => "cache requires rebuild".to_owned(),
                };
                let computed = row.computed.as_deref().unwrap_or("-").to_owned();
                rows.push(vec![format!("  {}", row.model), computed, verdict]);
            }
            table(out, &rows)?;
            for blame in &check.blame {
                writeln!(out, "  because of {}: {}", blame.path, blame.why)?;
            }
            access::print(&check.denied, out)?;
            if let Some(otherwise) = check.otherwise
                && !matches!(otherwise, Verdict::Stable | Verdict::Missing)
            {
                writeln!(out, "  would be refused with --cache-dir={cache}")?;
            }
            writeln!(out, "  remedy: {}", check.remedy())?;
        }
        Ok(())
    }
}
