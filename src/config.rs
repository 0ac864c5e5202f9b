//! What a run is told, where each value came from, and what wins.
//!
//! Four places, first one wins: command line, environment (SOURCE_DATE_EPOCH only),
//! `metadata.reprofix` in the treefile that rpm-ostree leaves in the tree, `reprofix.toml`. The
//! last two have the same keys: [`Settings`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::engine::Context;
use crate::env::SourceDateEpoch;
use crate::plugins::{self, Plugin};
use crate::tree::Tree;

/// Where rpm-ostree leaves the flattened treefile in the tree.
pub const TREEFILE: &str = "usr/share/rpm-ostree/treefile.json";

/// The keys of `reprofix.toml` and of `metadata.reprofix` in a treefile.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Seconds since 1970-01-01 UTC.
    pub source_date_epoch: Option<serde_json::Value>,
    /// Only these plugins, whatever their defaults.
    pub plugin: Vec<String>,
    /// Not these plugins.
    pub skip: Vec<String>,
    /// Per plugin: its options, and `enabled`.
    pub plugins: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// `metadata.reprofix` of the treefile at this path.
    Treefile(PathBuf),
    /// A configuration file.
    File(PathBuf),
    /// The plugin's own default.
    Default,
    /// Nobody said; why this value serves.
    Assumed(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Environment => f.write_str("environment"),
            Origin::Treefile(path) => write!(f, "{}, metadata.reprofix", path.display()),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Default => f.write_str("default"),
            Origin::Assumed(why) => f.write_str(why),
        }
    }
}

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--source-date-epoch`, unparsed.
    pub epoch: Option<String>,
    /// `--plugin`, in order.
    pub plugin: Vec<String>,
    /// `--skip`, in order.
    pub skip: Vec<String>,
    /// `--set PLUGIN.OPTION=VALUE`, in order.
    pub set: Vec<String>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// What is in force for one tree.
pub struct InForce {
    /// The epoch and its origin.
    pub epoch: (SourceDateEpoch, Origin),
    /// The plugins that run, in registry order, and what put them there.
    pub plugins: Vec<(&'static dyn Plugin, Origin)>,
    /// Options that were set, by (plugin, option).
    pub options: BTreeMap<(String, String), (String, Origin)>,
    /// Things worth saying: an empty SOURCE_DATE_EPOCH, for one.
    pub warnings: Vec<String>,
}

impl InForce {
    /// What plugins are told.
    pub fn context(&self) -> Context {
        let options = self.options.iter().map(|(k, (v, _))| (k.clone(), v.clone())).collect();
        Context { epoch: self.epoch.0, options }
    }

    /// The plugins alone.
    pub fn chain(&self) -> Vec<&'static dyn Plugin> {
        self.plugins.iter().map(|(p, _)| *p).collect()
    }
}

/// Finds out what is in force. `env_epoch` is the environment's SOURCE_DATE_EPOCH, `tree` the
/// tree to be worked on.
///
/// Errors name the place and the key: a file that does not parse, an unknown key, plugin, option
/// or value, an epoch that is none, no epoch anywhere.
pub fn in_force(flags: &Flags, env_epoch: Option<OsString>, tree: &dyn Tree) -> Result<InForce> {
    in_force_or(flags, env_epoch, tree, None)
}

/// As [`in_force`], with an epoch for where none is given anywhere.
pub fn in_force_or(
    flags: &Flags,
    env_epoch: Option<OsString>,
    tree: &dyn Tree,
    fallback: Option<(SourceDateEpoch, Origin)>,
) -> Result<InForce> {
    let files = settings(flags.config.as_deref(), tree)?;
    let mut warnings = Vec::new();
    let epoch = epoch(flags, env_epoch, &files, fallback, &mut warnings)?;
    let plugins = selection(flags, &files)?;
    Ok(InForce { epoch, plugins, options: options(flags, &files)?, warnings })
}

/// The treefile's and the configuration file's settings, in order of precedence.
fn settings(config: Option<&Path>, tree: &dyn Tree) -> Result<Vec<(Settings, Origin)>> {
    let mut found = Vec::new();
    if let Some(settings) = from_treefile(tree)? {
        found.push((settings, Origin::Treefile(TREEFILE.into())));
    }
    let default = Path::new("reprofix.toml");
    let file = config.or_else(|| default.exists().then_some(default));
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading configuration {}", file.display()))?;
        let settings: Settings = toml::from_str(&text)
            .with_context(|| format!("parsing configuration {}", file.display()))?;
        found.push((settings, Origin::File(file.to_owned())));
    }
    for (settings, origin) in &found {
        check_names(settings).with_context(|| format!("in {origin}"))?;
    }
    Ok(found)
}

fn from_treefile(tree: &dyn Tree) -> Result<Option<Settings>> {
    let reading = || format!("reading {TREEFILE}");
    let Some(bytes) = tree.read(Path::new(TREEFILE)).with_context(reading)? else {
        return Ok(None);
    };
    let treefile: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| format!("parsing {TREEFILE}"))?;
    let Some(ours) = treefile.pointer("/metadata/reprofix") else { return Ok(None) };
    let settings = Settings::deserialize(ours)
        .with_context(|| format!("parsing metadata.reprofix in {TREEFILE}"))?;
    Ok(Some(settings))
}

fn check_names(settings: &Settings) -> Result<()> {
    for name in settings.plugin.iter().chain(&settings.skip).chain(settings.plugins.keys()) {
        known(name)?;
    }
    for (plugin, options) in &settings.plugins {
        for (option, value) in options.iter().filter(|(o, _)| *o != "enabled") {
            check_option(plugin, option, &text_of(value))?;
        }
        if options.get("enabled").is_some_and(|v| !v.is_boolean()) {
            bail!("plugins.{plugin}.enabled is not true or false");
        }
    }
    Ok(())
}

/// The plugin, or an error with the nearest name.
fn known(name: &str) -> Result<&'static dyn Plugin> {
    plugins::find(name).with_context(|| {
        let names = || plugins::REGISTRY.iter().map(|p| p.page().name);
        let near = names().min_by_key(|n| distance(n, name)).filter(|n| distance(n, name) < 4);
        match near {
            Some(near) => format!("unknown plugin {name:?}; did you mean {near:?}?"),
            None => format!("unknown plugin {name:?}; `reprofix plugins` lists them"),
        }
    })
}

fn check_option(plugin: &str, option: &str, value: &str) -> Result<()> {
    let page = known(plugin)?.page();
    let Some(known) = page.options.iter().find(|o| o.name == option) else {
        let names: Vec<_> = page.options.iter().map(|o| o.name).collect();
        match names.is_empty() {
            true => bail!("plugin {plugin} has no options, {option:?} is unknown"),
            false => bail!("plugin {plugin} has no option {option:?}; it has {}", names.join(", ")),
        }
    };
    if !known.values.is_empty() && !known.values.contains(&value) {
        bail!("{plugin}.{option} is {value:?}; it takes {}", known.values.join(", "));
    }
    Ok(())
}

/// Levenshtein distance in bytes, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn epoch(
    flags: &Flags,
    env: Option<OsString>,
    files: &[(Settings, Origin)],
    fallback: Option<(SourceDateEpoch, Origin)>,
    warnings: &mut Vec<String>,
) -> Result<(SourceDateEpoch, Origin)> {
    if let Some(text) = &flags.epoch {
        return Ok((text.parse()?, Origin::Flag));
    }
    match env.map(|v| v.to_string_lossy().into_owned()) {
        Some(text) if text.is_empty() => warnings.push(
            "SOURCE_DATE_EPOCH is set but empty: taken as unset (it makes `ostree commit` fail)"
                .to_owned(),
        ),
        Some(text) => return Ok((text.parse()?, Origin::Environment)),
        None => {}
    }
    for (settings, origin) in files {
        if let Some(value) = &settings.source_date_epoch {
            let epoch = text_of(value).parse().with_context(|| format!("in {origin}"))?;
            return Ok((epoch, origin.clone()));
        }
    }
    if let Some(epoch) = fallback {
        return Ok(epoch);
    }
    bail!(
        "no SOURCE_DATE_EPOCH: give --source-date-epoch, or set it in the environment, as \
         metadata.reprofix.source-date-epoch in the treefile, or in reprofix.toml; reprofix never \
         uses the clock instead"
    )
}

fn selection(
    flags: &Flags,
    files: &[(Settings, Origin)],
) -> Result<Vec<(&'static dyn Plugin, Origin)>> {
    for name in flags.plugin.iter().chain(&flags.skip) {
        known(name)?;
    }
    let mut chosen = Vec::new();
    for &plugin in plugins::REGISTRY {
        if let Some(origin) = enabled(plugin, flags, files) {
            chosen.push((plugin, origin));
        }
    }
    Ok(chosen)
}

/// What puts the plugin in force; `None` if it is not.
fn enabled(plugin: &dyn Plugin, flags: &Flags, files: &[(Settings, Origin)]) -> Option<Origin> {
    let page = plugin.page();
    let names = |list: &[String]| list.iter().any(|n| n == page.name);
    if names(&flags.skip) {
        return None;
    }
    if !flags.plugin.is_empty() {
        return names(&flags.plugin).then_some(Origin::Flag);
    }
    for (settings, origin) in files {
        let table = settings.plugins.get(page.name).and_then(|t| t.get("enabled"));
        let switch = table.and_then(serde_json::Value::as_bool);
        match (names(&settings.skip), settings.plugin.is_empty(), switch) {
            (true, ..) | (_, true, Some(false)) => return None,
            (_, false, _) => return names(&settings.plugin).then(|| origin.clone()),
            (_, true, Some(true)) => return Some(origin.clone()),
            (_, true, None) => {}
        }
    }
    page.default.then_some(Origin::Default)
}

type Options = BTreeMap<(String, String), (String, Origin)>;

fn options(flags: &Flags, files: &[(Settings, Origin)]) -> Result<Options> {
    let mut all = Options::new();
    // Later ones win the map, so lowest precedence first.
    for (settings, origin) in files.iter().rev() {
        for (plugin, table) in &settings.plugins {
            for (option, value) in table.iter().filter(|(o, _)| *o != "enabled") {
                let key = (plugin.clone(), option.clone());
                all.insert(key, (text_of(value), origin.clone()));
            }
        }
    }
    for set in &flags.set {
        let parts = set.split_once('=').and_then(|(key, value)| {
            let (plugin, option) = key.split_once('.')?;
            Some((plugin, option, value))
        });
        let Some((plugin, option, value)) = parts else {
            bail!("--set {set:?} is not PLUGIN.OPTION=VALUE");
        };
        check_option(plugin, option, value)?;
        let key = (plugin.to_owned(), option.to_owned());
        all.insert(key, (value.to_owned(), Origin::Flag));
    }
    Ok(all)
}

/// A number or a string, as text: people write `mode = "remove"` and `source-date-epoch = 1`.
fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
