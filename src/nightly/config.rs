//! `nightly.toml`: streams, limits, history, notifications.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;

use super::preset::{self, Recipe};
use super::units::{Bytes, Seconds};
use super::vary::{self, Variation};
use crate::config::nearest;
use crate::env::SourceDateEpoch;
use crate::history::Retention;

/// The whole file. Paths are relative to its directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The history's file.
    #[serde(default = "history")]
    pub history: PathBuf,
    /// The work directory of builds, with one directory per run.
    #[serde(default = "work")]
    pub work: PathBuf,
    /// The directory of the pages; without it no pages are written.
    pub pages: Option<PathBuf>,
    /// The URL of the pages, for links in the feed and in notifications.
    pub base_url: Option<String>,
    /// How much of the history is kept.
    #[serde(default)]
    pub retention: Retention,
    /// The notifications.
    #[serde(default)]
    pub notify: Notify,
    /// An in-toto statement for each run.
    pub attestation: Option<Attestation>,
    /// The streams to build.
    #[serde(default)]
    pub stream: Vec<Stream>,
    /// The directory of the file.
    #[serde(skip)]
    pub dir: PathBuf,
}

/// Who is notified, and when.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Notify {
    /// Notify about every run, not only about a change of verdict.
    pub always: bool,
    /// A webhook.
    pub webhook: Option<Webhook>,
    /// Mail.
    pub mail: Option<Mail>,
    /// Workflow annotations on standard output; by default if run by GitHub Actions.
    pub github: Option<bool>,
    /// A file for the Prometheus node exporter's textfile collector; always written.
    pub prometheus: Option<PathBuf>,
}

/// A webhook: a POST of JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Webhook {
    /// The URL; `http` or `https`.
    pub url: String,
    /// A file with the key of the HMAC-SHA-256 signature; a newline at its end is ignored.
    pub secret_file: Option<PathBuf>,
    /// The number of attempts, each after a longer pause.
    #[serde(default = "tries")]
    pub tries: u32,
}

/// Mail through a local sendmail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mail {
    /// Recipients.
    pub to: Vec<String>,
    /// Sender.
    pub from: String,
    /// The program.
    #[serde(default = "sendmail")]
    pub sendmail: PathBuf,
}

/// A signed in-toto statement for each run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Attestation {
    /// An Ed25519 private key, PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` makes it.
    pub key: PathBuf,
    /// The directory for the statements.
    pub dir: PathBuf,
}

/// A stream that is built and compared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stream {
    /// Its name: letters, digits, `.`, `_`, `-`, at most 64.
    pub name: String,
    /// The architecture, as in `uname -m`; by default this machine's.
    pub architecture: Option<String>,
    /// A known flow, see `preset::PRESETS`.
    pub preset: Option<String>,
    /// The preset's parameters.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
    /// The steps, instead of a preset's: each a shell script, or a command and its arguments.
    #[serde(default)]
    pub build: Vec<Step>,
    /// The subject that a build produces; `{work}` is its directory. By default the preset's.
    pub subject: Option<String>,
    /// Seconds since 1970-01-01 UTC for SOURCE_DATE_EPOCH; by default the environment's.
    pub source_date_epoch: Option<u32>,
    /// Additional environment variables of the builds.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files whose content determines the result: treefiles, lock files, the configuration.
    #[serde(default)]
    pub inputs: Vec<PathBuf>,
    /// The expectations file of `check`.
    pub expect: Option<PathBuf>,
    /// The configuration of the plugins for `check`, like `reprofix.toml`.
    pub config: Option<PathBuf>,
    /// Plugins that `check` runs without.
    #[serde(default)]
    pub skip: Vec<String>,
    /// Variations of the second build; `default` and `all` are several. By default `["default"]`.
    #[serde(default = "vary")]
    pub vary: Vec<String>,
    /// If the builds differ, find the smallest set of variations that causes it.
    #[serde(default)]
    pub bisect: bool,
    /// Time limit of one build.
    #[serde(default = "time_limit")]
    pub time_limit: Seconds,
    /// Output limit of one build.
    #[serde(default = "log_limit")]
    pub log_limit: Bytes,
    /// Free space that the work directory's file system must keep.
    #[serde(default = "min_free")]
    pub min_free: Bytes,
    /// Whether a run's builds stay on disk.
    #[serde(default)]
    pub keep: Keep,
}

/// One build step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum Step {
    /// For `/bin/sh -euc`.
    Script(String),
    /// A program and its arguments; `{work}` in them is the build's directory.
    Command(Vec<String>),
}

/// Which builds stay on disk after their run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// None.
    Never,
    /// Those of runs that were not good; the stream's next run removes them.
    #[default]
    Failed,
}

fn history() -> PathBuf {
    "history.db".into()
}
fn work() -> PathBuf {
    "work".into()
}
fn sendmail() -> PathBuf {
    "/usr/sbin/sendmail".into()
}
fn tries() -> u32 {
    4
}
fn vary() -> Vec<String> {
    vec![vary::DEFAULT.to_owned()]
}
fn time_limit() -> Seconds {
    Seconds(4 * 3600)
}
fn log_limit() -> Bytes {
    Bytes(64 << 20)
}
fn min_free() -> Bytes {
    Bytes(64 << 20)
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// Naming the file, the stream and the key, and saying what would be right; nothing has been
    /// done then.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading {}; name it with --nightly", path.display()))?;
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = std::fs::canonicalize(dir).with_context(|| format!("{}", dir.display()))?;
        Self::parse(&text, dir).with_context(|| format!("{}", path.display()))
    }

    /// Reads and checks the file's text; `dir` is its directory.
    pub fn parse(text: &str, dir: PathBuf) -> Result<Self> {
        let mut config: Config = toml::from_str(text).map_err(|error| explained(&error))?;
        config.dir = dir;
        config.absolute();
        let mut names = std::collections::BTreeSet::new();
        for stream in &config.stream {
            stream.check().with_context(|| format!("stream {:?}", stream.name))?;
            ensure!(names.insert(&stream.name), "stream {:?} is defined twice", stream.name);
        }
        Ok(config)
    }

    fn absolute(&mut self) {
        let dir = self.dir.clone();
        let mut paths: Vec<&mut PathBuf> = vec![&mut self.history, &mut self.work];
        paths.extend(self.pages.as_mut());
        paths.extend(self.notify.prometheus.as_mut());
        paths.extend(self.notify.webhook.as_mut().and_then(|w| w.secret_file.as_mut()));
        if let Some(attestation) = &mut self.attestation {
            paths.extend([&mut attestation.key, &mut attestation.dir]);
        }
        for stream in &mut self.stream {
            paths.extend(stream.expect.as_mut());
            paths.extend(stream.config.as_mut());
            paths.extend(stream.inputs.iter_mut());
            let preset = stream.preset.as_deref().and_then(|name| preset::find(name).ok());
            preset.inspect(|preset| preset.place(&mut stream.with, &dir));
        }
        for path in paths {
            *path = dir.join(&*path);
        }
    }
}

impl Stream {
    fn check(&self) -> Result<()> {
        ensure!(
            is_name(&self.name),
            "a name has 1 to 64 letters, digits, '.', '_' and '-', and begins with a letter or \
             digit"
        );
        self.recipe()?;
        self.variations()?;
        ensure!(self.time_limit.0 > 0, "time-limit is 0; no build is that fast");
        for name in self.env.keys() {
            let bad = name.is_empty() || name.contains(['=', '\0']);
            ensure!(!bad, "env: {name:?} is not a name of a variable");
        }
        Ok(())
    }

    /// The steps and the subject: the preset's, the stream's own, or a mixture.
    pub fn recipe(&self) -> Result<Recipe> {
        let mut recipe = match &self.preset {
            Some(name) => preset::find(name)?.recipe(&self.with)?,
            None if self.with.is_empty() => Recipe::default(),
            None => bail!("`with` has parameters of a preset, but there is no `preset`"),
        };
        if !self.build.is_empty() {
            recipe.steps = self.build.clone();
        }
        recipe.env.extend(self.env.clone());
        if let Some(subject) = &self.subject {
            recipe.subject = subject.clone();
        }
        ensure!(!recipe.steps.is_empty(), "it has neither `build` nor `preset`");
        ensure!(
            recipe.subject.contains("{work}"),
            "`subject` is {:?}; it must name something below {{work}}, the build's own directory, \
             for example \"dir:{{work}}/rootfs\"",
            recipe.subject
        );
        for step in &recipe.steps {
            let empty = match step {
                Step::Script(text) => text.trim().is_empty(),
                Step::Command(words) => words.first().is_none_or(|w| w.is_empty()),
            };
            ensure!(!empty, "`build` has an empty step");
        }
        Ok(recipe)
    }

    /// Variations that do not work with the preset's tool, and why.
    pub fn spares(&self) -> &'static [(&'static str, &'static str)] {
        let preset = self.preset.as_deref().and_then(|name| preset::find(name).ok());
        preset.map_or(&[], |preset| preset.spares)
    }

    /// The requested variations, in the order of the table.
    pub fn variations(&self) -> Result<Vec<&'static Variation>> {
        vary::select(&self.vary)
    }

    /// # Errors
    ///
    /// Where a night of it could not begin: no epoch, a file that it names is not there, or the machine
    /// lacks what its preset needs.
    pub fn is_ready(&self) -> Result<()> {
        self.epoch()?;
        if let Some(name) = &self.preset {
            preset::find(name)?.is_ready(&self.with)?;
        }
        let named = [("expect", &self.expect), ("config", &self.config)];
        for (key, path) in named {
            if let Some(path) = path {
                ensure!(path.is_file(), "{key}: there is no file {}", path.display());
            }
        }
        Ok(())
    }

    /// The epoch of its builds.
    pub fn epoch(&self) -> Result<SourceDateEpoch> {
        if let Some(epoch) = self.source_date_epoch {
            return Ok(SourceDateEpoch::new(epoch));
        }
        let environment = crate::env::source_date_epoch().filter(|text| !text.is_empty());
        let text = environment.context(
            "no SOURCE_DATE_EPOCH: set source-date-epoch in the stream, or the variable",
        )?;
        Ok(text.to_string_lossy().parse()?)
    }
}

/// `error` with the key that was probably meant, where one is unknown.
fn explained(error: &toml::de::Error) -> anyhow::Error {
    let near = || {
        let (key, rest) = error.message().strip_prefix("unknown field `")?.split_once('`')?;
        let near = nearest(key, rest.split('`').skip(1).step_by(2))?;
        Some(format!("; did you mean `{near}`?"))
    };
    anyhow!("{}{}", error.to_string().trim_end(), near().unwrap_or_default())
}

/// Whether `name` can be a stream's name, and so a part of file names and addresses.
pub fn is_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(text, "/etc/reprofix".into())
    }

    #[test]
    fn a_small_file_has_sound_defaults() {
        let config = parse(
            "[[stream]]\nname = 'main'\nbuild = ['make']\nsubject = 'dir:{work}/root'\n\
             source-date-epoch = 1700000000\nvary = ['umask', 'clock']",
        )
        .unwrap();
        assert_eq!(config.history, Path::new("/etc/reprofix/history.db"));
        let stream = &config.stream[0];
        assert_eq!(stream.epoch().unwrap().seconds(), 1_700_000_000);
        let missing =
            Stream { expect: Some("/nowhere/expectations.toml".into()), ..stream.clone() };
        let error = missing.is_ready().unwrap_err().to_string();
        assert_eq!(error, "expect: there is no file /nowhere/expectations.toml");
        let names: Vec<_> = stream.variations().unwrap().iter().map(|v| v.name).collect();
        assert_eq!(names, ["clock", "umask"]);
        assert_eq!(stream.time_limit, Seconds(14_400));
    }

    #[test]
    fn what_cannot_work_is_refused_and_named() {
        let stream = |more: &str| format!("[[stream]]\nname = 'main'\n{more}\n");
        let good = "build = ['make']\nsubject = 'dir:{work}/root'";
        for (text, word) in [
            (stream("build = ['make']\nsubject = 'dir:/root'"), "{work}"),
            (stream("subject = 'dir:{work}'"), "neither"),
            (stream("preset = 'nix'"), "nix"),
            (stream(&format!("{good}\nvary = ['moon']")), "moon"),
            (stream(&format!("{good}\ntime-limit = '1y'")), "1y"),
            (stream(&format!("{good}\ncolour = 1")), "colour"),
            (stream(&format!("{good}\nvari = ['all']")), "did you mean `vary`?"),
            (stream(&format!("{good}\nwith = {{ a = 'b' }}")), "preset"),
            (stream("build = [' ']\nsubject = 'dir:{work}'"), "empty step"),
            (stream(good).repeat(2), "defined twice"),
            (stream(good).replace("main", "../x"), "letters"),
            (stream(&format!("{good}\nenv = {{ 'A=B' = '1' }}")), "A=B"),
        ] {
            let error = parse(&text).map(|_| ()).expect_err(&text);
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
    }
}
