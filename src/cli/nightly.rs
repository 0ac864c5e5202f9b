//! `reprofix nightly`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::json;

use super::output::{Output, show};
use super::{Choice, Outcome, complete};
use crate::history::{Class, History, Run};
use crate::nightly::compare::Request;
use crate::nightly::config::Config;
use crate::nightly::night::{self, Ended, Options};
use crate::nightly::{feed, manifest, pages, publish, rebuild, units, vary};
use crate::source::{Spec, Subject};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A stream that fails before it could tell, or a notification that fails, is exit code 2. \
docs/nightly.md describes nightly.toml, the pages and the record."
)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    place: ConfigArgs,
    /// Only this stream (may be repeated).
    #[arg(long, value_name = "NAME", add = complete::streams())]
    stream: Vec<String>,
    /// Find which variations are enough to make the builds differ, for every stream that differs.
    #[arg(long)]
    bisect: bool,
    /// Tell nobody: no webhook, no mail, no annotation.
    #[arg(long)]
    no_notify: bool,
    #[command(flatten)]
    output: Output,
}

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
struct ConfigArgs {
    /// The nightly job's configuration.
    #[arg(long, value_name = "FILE", alias = "config", default_value = "nightly.toml")]
    nightly: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Compare two finished builds and record that: last night's official one and a rebuild.
    Compare(Box<CompareArgs>),
    /// Publish what rebuilderd needs of coreos-assembler's builds, and print its package feed.
    Feed(FeedArgs),
    /// Print a subject's canonical manifest, which rebuilderd compares.
    Manifest {
        /// The subject.
        #[arg(add = complete::subject())]
        subject: OsString,
    },
    /// Build once what a *.rebuild.json names, and write its manifest: rebuilderd's backend.
    Rebuild(RebuildArgs),
    /// Say why two manifests differ: in diffoscope's place.
    Explain {
        /// The published manifest.
        published: PathBuf,
        /// The rebuilt one.
        rebuilt: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Write the pages again from the history.
    Pages(ConfigArgs),
    /// List the variations, and which of them are possible here.
    Variations(Output),
}

#[derive(Debug, clap::Args)]
struct CompareArgs {
    /// The first subject.
    #[arg(add = complete::subject())]
    a: OsString,
    /// The second subject.
    #[arg(add = complete::subject())]
    b: OsString,
    /// The stream under which it is recorded.
    #[arg(long, value_name = "NAME", add = complete::streams())]
    stream: String,
    /// The nightly job's configuration: where history, pages and notifications are.
    #[arg(long, value_name = "FILE", default_value = "nightly.toml")]
    nightly: PathBuf,
    /// The expectations file of `check`.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    #[command(flatten)]
    choice: Choice,
    /// Tell nobody: no webhook, no mail, no annotation.
    #[arg(long)]
    no_notify: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct FeedArgs {
    /// Work directories of coreos-assembler.
    #[arg(required = true)]
    workdir: Vec<PathBuf>,
    /// Where manifests and recipes are written.
    #[arg(long, short, value_name = "DIR", add = complete::directory())]
    out: PathBuf,
    /// Where that directory is served.
    #[arg(long, value_name = "URL")]
    url: String,
    /// rebuilderd's distribution: the name of the workers' backend.
    #[arg(long, value_name = "NAME", default_value = "reprofix")]
    distribution: String,
    /// Only builds of this architecture: a feed has one.
    #[arg(long, value_name = "ARCH", alias = "architecture")]
    arch: Option<String>,
    /// The stream of the workers' nightly.toml that rebuilds. Default: the build's name.
    #[arg(long, value_name = "NAME", add = complete::streams())]
    stream: Option<String>,
}

#[derive(Debug, clap::Args)]
struct RebuildArgs {
    /// The recipe, as `nightly feed` published it.
    recipe: PathBuf,
    /// Where the manifest goes; builds work below it.
    #[arg(long, short, value_name = "DIR", add = complete::directory())]
    out: PathBuf,
    #[command(flatten)]
    place: ConfigArgs,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.action {
            None => self.night(),
            Some(Action::Compare(args)) => args.exec(),
            Some(Action::Feed(args)) => args.exec(),
            Some(Action::Manifest { subject }) => {
                let subject = Subject::open(&Spec::parse(&subject)?, &|| ())?;
                super::print(&manifest::of(&subject)?)?;
                Ok(Outcome::Same)
            }
            Some(Action::Rebuild(args)) => {
                let config = Config::load(&args.place.nightly)?;
                super::print(&rebuild::rebuild(&config, &args.recipe, &args.out)?)?;
                Ok(Outcome::Same)
            }
            Some(Action::Explain { published, rebuilt, output }) => {
                let text = rebuild::explain(&published, &rebuilt)?;
                let same = text.is_empty();
                let report = json!({"schema": "reprofix-manifests-1", "same": same, "text": text});
                output.report(&report, || text)?;
                Ok(if same { Outcome::Same } else { Outcome::Finding })
            }
            Some(Action::Pages(place)) => {
                let config = Config::load(&place.nightly)?;
                let dir = config.pages.as_deref();
                let dir = dir.context("the configuration has no `pages`, their directory")?;
                let history = History::open_existing(&config.history)?;
                pages::write(&history, dir, config.base_url.as_deref())?;
                Ok(Outcome::Same)
            }
            Some(Action::Variations(output)) => variations(&output),
        }
    }

    fn night(self) -> Result<Outcome> {
        let config = Config::load(&self.place.nightly)?;
        let options = Options { streams: self.stream, bisect: self.bisect };
        let mut said = Ok(());
        let ended = night::run(&config, &options, &mut |run| {
            if said.is_ok() && self.output.speaks() {
                said = show(&line(run));
            }
        })?;
        said?;
        write(&self.output, &ended)?;
        finish(&config, &ended, self.no_notify)
    }
}

impl CompareArgs {
    fn exec(self) -> Result<Outcome> {
        let config = Config::load(&self.nightly)?;
        let request = Request {
            a: self.a,
            b: self.b,
            flags: self.choice.flags(),
            expect: self.expect,
            excerpts: config.pages.is_some(),
        };
        let ended = night::compare(&config.history, &self.stream, &request)?;
        if self.output.speaks() {
            show(&line(&ended.run))?;
        }
        let ended = [ended];
        write(&self.output, &ended)?;
        finish(&config, &ended, self.no_notify)
    }
}

impl FeedArgs {
    fn exec(self) -> Result<Outcome> {
        let job = feed::Job {
            workdirs: self.workdir,
            out: self.out,
            url: self.url,
            distribution: self.distribution,
            stream: self.stream,
            architecture: self.arch,
        };
        super::write_json(std::path::Path::new("-"), &feed::publish(&job)?)?;
        Ok(Outcome::Same)
    }
}

/// Writes the runs as JSON, if that was asked for.
fn write(output: &Output, ended: &[Ended]) -> Result<()> {
    let Some(file) = &output.json else { return Ok(()) };
    let runs: Vec<_> = ended.iter().map(|ended| &ended.run).collect();
    super::write_json(file, &json!({"schema": "reprofix-nightly-1", "runs": runs}))
}

/// What is done after the runs, and the exit code.
fn finish(config: &Config, ended: &[Ended], quiet: bool) -> Result<Outcome> {
    let failed = publish::publish(config, ended, quiet)?;
    failed.iter().for_each(|what| super::warn(what));
    match night::class(ended) {
        Class::Failed | Class::Open => anyhow::bail!("not every stream could be compared"),
        Class::Bad => Ok(Outcome::Finding),
        Class::Good if failed.is_empty() => Ok(Outcome::Same),
        Class::Good => {
            anyhow::bail!("every stream reproduced, but not everything after that worked")
        }
    }
}

/// One run on one line.
fn line(run: &Run) -> String {
    let detail = if run.detail.is_empty() { "" } else { ": " };
    let mut text = format!(
        "run {} {}: {}{detail}{} ({})\n",
        run.id,
        run.stream,
        run.verdict,
        run.detail,
        units::duration(run.seconds)
    );
    if let Some(found) = run.bisected() {
        text.push_str(&format!("  what makes the builds differ: {found}\n"));
    }
    for (variation, why) in &run.skipped {
        text.push_str(&format!("  not varied: {variation}: {why}\n"));
    }
    for note in &run.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}

fn variations(output: &Output) -> Result<Outcome> {
    let scratch = crate::disk::private_dir().context("making a directory to try them in")?;
    let all = vary::VARIATIONS.iter().collect();
    let (_, skipped) = vary::possible(all, scratch.path());
    let mut text = String::new();
    let mut rows = Vec::new();
    for variation in vary::VARIATIONS {
        let why = skipped.iter().find(|(name, _)| name == variation.name).map(|(_, why)| why);
        let mut state = why.map(|why| format!("\n    not here: {why}")).unwrap_or_default();
        if let Some(reason) = variation.extra {
            state.push_str(&format!("\n    not by default: {reason}"));
        }
        text.push_str(&format!("{:16} {}{state}\n", variation.name, variation.help));
        let (name, help) = (variation.name, variation.help);
        rows.push(json!({"name": name, "help": help, "possible": why.is_none(), "why_not": why,
            "by_default": variation.extra.is_none(), "why_not_by_default": variation.extra}));
    }
    let report = json!({"schema": "reprofix-variations-1", "variations": rows});
    output.report(&report, || text)?;
    Ok(Outcome::Same)
}
