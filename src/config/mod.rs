//! The settings of a run: where each value came from, and which one wins.
//!
//! Four places, first one wins: command line, environment (SOURCE_DATE_EPOCH only),
//! `metadata.reprofix` in the treefile that rpm-ostree leaves in the tree, `reprofix.toml`. The
//! last two have the same keys: [`Settings`].

mod place;
mod profile;
mod schema;
mod unknown;

pub use profile::PROFILES;
use profile::Profile;
pub use schema::schema;
pub use unknown::nearest;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::env::SourceDateEpoch;
use crate::globs::Globs;
use crate::normal::Context;
use crate::normal::Plugin;
use crate::plugins;
use crate::tree::{TREEFILE, Tree};
use crate::vouchers::Rules;

/// The keys of `reprofix.toml` and of `metadata.reprofix` in a treefile.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Seconds since 1970-01-01 UTC.
    pub source_date_epoch: Option<serde_json::Value>,
    /// The name of a profile, which all other settings override.
    pub profile: Option<String>,
    /// Only these plugins, whatever their defaults.
    pub plugin: Vec<String>,
    /// Not these plugins.
    pub skip: Vec<String>,
    /// Globs of paths below the root that stay as they are.
    pub keep: Vec<String>,
    /// Globs of paths whose bytes stay as they are, because something outside the tree vouches for
    /// them.
    pub vouched: Vec<String>,
    /// Globs of paths that may change no matter what vouches for them.
    pub overrule: Vec<String>,
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
    /// A profile that was asked for.
    Profile(&'static str),
    /// The plugin's own default.
    Default,
    /// No place sets it: the reason for this value.
    Assumed(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::Environment => f.write_str("environment"),
            Origin::Treefile(path) => write!(f, "{}, metadata.reprofix", path.display()),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Profile(name) => write!(f, "profile {name}"),
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
    /// `--profile`.
    pub profile: Option<String>,
    /// `--plugin`, in order.
    pub plugin: Vec<String>,
    /// `--with`, in order.
    pub with: Vec<String>,
    /// `--skip`, in order.
    pub skip: Vec<String>,
    /// `--keep`, in order.
    pub keep: Vec<String>,
    /// `--vouched`, in order.
    pub vouched: Vec<String>,
    /// `--overrule`, in order.
    pub overrule: Vec<String>,
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
    /// The plugins that do not run, in registry order, and what keeps them out.
    pub off: Vec<(&'static dyn Plugin, Origin)>,
    /// Globs of paths that stay as they are, from every place.
    pub keep: Vec<(String, Origin)>,
    /// Globs of paths that something outside the tree vouches for, from every place.
    pub vouched: Vec<(String, Origin)>,
    /// Globs of paths that may change no matter what vouches for them, from every place.
    pub overrule: Vec<(String, Origin)>,
    /// Options that were set, by (plugin, option).
    pub options: BTreeMap<(String, String), (String, Origin)>,
    /// Warnings, for example that SOURCE_DATE_EPOCH is empty.
    pub warnings: Vec<String>,
}

impl InForce {
    /// The context that plugins get.
    pub fn context(&self) -> Context {
        let mut cx = Context::new(self.epoch.0);
        cx.options = self.options.iter().map(|(k, (v, _))| (k.clone(), v.clone())).collect();
        cx.plugins = self.chain();
        // They were checked when the configuration was read.
        let compiled = |key, all| globs(key, all).ok().flatten();
        let vouched = compiled("vouched", &self.vouched);
        cx.vouching = Rules::new(vouched, compiled("overrule", &self.overrule));
        match compiled("keep", &self.keep) {
            Some(keep) => cx.keeping(keep),
            None => cx,
        }
    }

    /// The configuration as TOML, each value with its origin.
    pub fn text(&self) -> String {
        let mut out = format!("source-date-epoch = {}  # {}\n", self.epoch.0, self.epoch.1);
        let lists = [&self.keep, &self.vouched, &self.overrule];
        for (key, all) in ["keep", "vouched", "overrule"].into_iter().zip(lists) {
            for (glob, origin) in all {
                let _ = writeln!(out, "# {key} {glob:?} from {origin}");
            }
            let globs: Vec<_> = all.iter().map(|(glob, _)| glob).collect();
            let _ = writeln!(out, "{key} = {globs:?}");
        }
        let on = self.plugins.iter().map(|(p, origin)| (p.page(), true, origin));
        let off = self.off.iter().map(|(p, origin)| (p.page(), false, origin));
        let mut all: Vec<_> = on.chain(off).collect();
        all.sort_by_key(|(page, ..)| {
            plugins::REGISTRY.iter().position(|p| p.page().name == page.name)
        });
        for (page, enabled, origin) in all {
            let _ = writeln!(out, "\n[plugins.{}]\nenabled = {enabled}  # {origin}", page.name);
            for option in page.options {
                let key = (page.name.to_owned(), option.name.to_owned());
                let default = (option.default.to_owned(), Origin::Default);
                let (value, origin) = self.options.get(&key).unwrap_or(&default);
                let _ = writeln!(out, "{} = {value:?}  # {origin}", option.name);
            }
        }
        out
    }

    /// The configuration as `config --json` writes it, each value with its origin.
    pub fn json(&self) -> Value {
        let globs = |all: &[(String, Origin)]| {
            let row = |(glob, origin): &(String, Origin)| json!({"glob": glob, "from": origin.to_string()});
            all.iter().map(row).collect::<Vec<_>>()
        };
        let plugin = |name: &str| {
            let on = self.plugins.iter().map(|(p, origin)| (p, true, origin));
            let off = self.off.iter().map(|(p, origin)| (p, false, origin));
            let (_, enabled, origin) = on.chain(off).find(|(p, ..)| p.page().name == name)?;
            Some(json!({"name": name, "enabled": enabled, "from": origin.to_string()}))
        };
        let option = |((plugin, name), (value, origin)): (&(String, String), &(String, Origin))| json!({"plugin": plugin, "option": name, "value": value, "from": origin.to_string()});
        json!({
            "schema": "reprofix-in-force-1",
            "source_date_epoch": {"seconds": self.epoch.0.seconds(), "from": self.epoch.1.to_string()},
            "keep": globs(&self.keep),
            "vouched": globs(&self.vouched),
            "overrule": globs(&self.overrule),
            "plugins": plugins::names().filter_map(plugin).collect::<Vec<_>>(),
            "options": self.options.iter().map(option).collect::<Vec<_>>(),
        })
    }

    /// Whether a plugin in force needs to know which packages are installed.
    pub fn asks_packages(&self) -> bool {
        self.plugins.iter().any(|(plugin, _)| plugin.asks_packages())
    }

    /// The plugins alone.
    pub fn chain(&self) -> Vec<&'static dyn Plugin> {
        self.plugins.iter().map(|(p, _)| *p).collect()
    }
}

/// Determines the settings in force. `env_epoch` is the environment's SOURCE_DATE_EPOCH, `tree` the
/// tree to work on.
///
/// # Errors
///
/// Naming the place and the key: for a file that does not parse, an unknown key, plugin, option or
/// value, an invalid epoch, or no epoch anywhere.
pub fn in_force(flags: &Flags, env_epoch: Option<OsString>, tree: &dyn Tree) -> Result<InForce> {
    in_force_or(flags, env_epoch, tree, None)
}

/// Determines the settings in force like [`in_force`], with an epoch for when none is given.
pub fn in_force_or(
    flags: &Flags,
    env_epoch: Option<OsString>,
    tree: &dyn Tree,
    fallback: Option<(SourceDateEpoch, Origin)>,
) -> Result<InForce> {
    let files = settings(flags.config.as_deref(), tree)?;
    let mut warnings = Vec::new();
    let epoch = epoch(flags, env_epoch, &files, fallback, &mut warnings)?;
    let profile = profile::asked(flags, &files)?;
    let (plugins, off) = selection(flags, &files, profile)?;
    let keep = everywhere("keep", &flags.keep, &files, |s| &s.keep)?;
    let vouched = everywhere("vouched", &flags.vouched, &files, |s| &s.vouched)?;
    let overrule = everywhere("overrule", &flags.overrule, &files, |s| &s.overrule)?;
    let options = options(flags, &files, profile)?;
    Ok(InForce { epoch, plugins, off, keep, vouched, overrule, options, warnings })
}

/// Every glob of one key: the places add to each other.
fn everywhere(
    key: &str,
    flags: &[String],
    files: &[(Settings, Origin)],
    of: fn(&Settings) -> &Vec<String>,
) -> Result<Vec<(String, Origin)>> {
    let flags = flags.iter().map(|glob| (glob.clone(), Origin::Flag));
    let files = files.iter().flat_map(|(s, o)| of(s).iter().map(|glob| (glob.clone(), o.clone())));
    let all: Vec<_> = flags.chain(files).collect();
    globs(key, &all)?;
    Ok(all)
}

fn globs(key: &str, all: &[(String, Origin)]) -> Result<Option<Globs>> {
    for (glob, origin) in all {
        if glob.starts_with('/') {
            bail!("{key} {glob:?} in {origin}: paths are below the root, without a leading slash");
        }
        Globs::try_new([glob.as_str()])
            .with_context(|| format!("{key} {glob:?} in {origin} is not a glob"))?;
    }
    match all.is_empty() {
        true => Ok(None),
        false => Ok(Some(Globs::try_new(all.iter().map(|(glob, _)| glob.as_str()))?)),
    }
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
        found.push((parse(file, &text)?, Origin::File(file.to_owned())));
    }
    for (settings, origin) in &found {
        check_names(settings).with_context(|| format!("in {origin}"))?;
    }
    Ok(found)
}

/// Parses a settings file. An error names the line and the key.
fn parse(file: &Path, text: &str) -> Result<Settings> {
    let located = |error: toml::de::Error| anyhow!(place::located(file, text, &error));
    let value: Value = toml::from_str(text).map_err(located)?;
    let settings = read(&value).map_err(|error| match toml::from_str::<Settings>(text) {
        Err(own) if own.message().starts_with("invalid type") => located(own),
        _ => error.context(format!("parsing configuration {}", file.display())),
    })?;
    let _: place::Switches = toml::from_str(text).map_err(located)?;
    Ok(settings)
}

fn from_treefile(tree: &dyn Tree) -> Result<Option<Settings>> {
    let reading = || format!("reading {TREEFILE}");
    let Some(bytes) = tree.read(Path::new(TREEFILE)).with_context(reading)? else {
        return Ok(None);
    };
    let treefile: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| format!("parsing {TREEFILE}"))?;
    let Some(ours) = treefile.pointer("/metadata/reprofix") else { return Ok(None) };
    let settings =
        read(ours).with_context(|| format!("parsing metadata.reprofix in {TREEFILE}"))?;
    Ok(Some(settings))
}

/// Reads the settings from a parsed file; the error for an unknown key suggests the nearest known
/// one.
fn read(value: &serde_json::Value) -> Result<Settings> {
    unknown::check(value)?;
    Ok(Settings::deserialize(value)?)
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
        let names = plugins::REGISTRY.iter().map(|p| p.page().name);
        match unknown::nearest(name, names) {
            Some(near) => format!("unknown plugin {name:?}; did you mean {near:?}?"),
            None => format!("unknown plugin {name:?}; `reprofix plugins` lists them"),
        }
    })
}

fn check_option(plugin: &str, option: &str, value: &str) -> Result<()> {
    let page = known(plugin)?.page();
    let Some(known) = page.options.iter().find(|o| o.name == option) else {
        let names: Vec<_> = page.options.iter().map(|o| o.name).collect();
        if names.is_empty() {
            bail!("plugin {plugin} has no options, {option:?} is unknown");
        }
        let hint = unknown::nearest(option, names.iter().copied().chain(["enabled"]))
            .map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        bail!("plugin {plugin} has no option {option:?}, it has {}{hint}", names.join(", "));
    };
    if !known.values.is_empty() && !known.values.contains(&value) {
        bail!("{plugin}.{option} is {value:?}; it takes {}", known.values.join(", "));
    }
    Ok(())
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

type Origins = Vec<(&'static dyn Plugin, Origin)>;

/// The plugins that run and those that do not.
fn selection(
    flags: &Flags,
    files: &[(Settings, Origin)],
    profile: Option<&Profile>,
) -> Result<(Origins, Origins)> {
    for name in flags.plugin.iter().chain(&flags.with).chain(&flags.skip) {
        known(name)?;
    }
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for &plugin in plugins::REGISTRY {
        let (enabled, origin) = enabled(plugin, flags, files, profile);
        if enabled { &mut on } else { &mut off }.push((plugin, origin));
    }
    Ok((on, off))
}

/// Whether the plugin is in force, and which place decides it.
fn enabled(
    plugin: &dyn Plugin,
    flags: &Flags,
    files: &[(Settings, Origin)],
    profile: Option<&Profile>,
) -> (bool, Origin) {
    let page = plugin.page();
    let names = |list: &[String]| list.iter().any(|n| n == page.name);
    if names(&flags.skip) {
        return (false, Origin::Flag);
    }
    if names(&flags.with) {
        return (true, Origin::Flag);
    }
    if !flags.plugin.is_empty() {
        return (names(&flags.plugin), Origin::Flag);
    }
    for (settings, origin) in files {
        let table = settings.plugins.get(page.name).and_then(|t| t.get("enabled"));
        let switch = table.and_then(serde_json::Value::as_bool);
        let answer = match (names(&settings.skip), settings.plugin.is_empty(), switch) {
            (true, ..) => Some(false),
            (_, false, _) => Some(names(&settings.plugin)),
            (_, true, switch) => switch,
        };
        if let Some(answer) = answer {
            return (answer, origin.clone());
        }
    }
    match profile.filter(|profile| profile.with.contains(&page.name)) {
        Some(profile) => (true, Origin::Profile(profile.name)),
        None => (page.default, Origin::Default),
    }
}

type Options = BTreeMap<(String, String), (String, Origin)>;

fn options(
    flags: &Flags,
    files: &[(Settings, Origin)],
    profile: Option<&Profile>,
) -> Result<Options> {
    let mut all = Options::new();
    // Later entries replace earlier ones in the map, so the lowest precedence comes first.
    if let Some(profile) = profile {
        let set = profile.set.iter().map(|(plugin, option, value)| {
            let key = ((*plugin).to_owned(), (*option).to_owned());
            (key, ((*value).to_owned(), Origin::Profile(profile.name)))
        });
        all.extend(set);
    }
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
