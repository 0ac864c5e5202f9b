//! `reprofix history`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::output::Output;
use super::{Outcome, complete};
use crate::format::time::utc;
use crate::history::{Difference, Flaky, History, Run, StreamBlame, Versions};
use crate::nightly::config::Config;
use crate::nightly::units::duration;

/// The most bytes of a difference's text, for people.
const TEXT: usize = 2000;

#[derive(Debug, clap::Args)]
#[command(mut_arg("json", |arg| arg.global(true)), mut_arg("quiet", |arg| arg.global(true)))]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The history. Default: that of --nightly.
    #[arg(long, value_name = "FILE", global = true)]
    history: Option<PathBuf>,
    /// The nightly job's configuration, which names the history.
    #[arg(
        long,
        value_name = "FILE",
        alias = "config",
        global = true,
        default_value = "nightly.toml"
    )]
    nightly: PathBuf,
    #[command(flatten)]
    output: Output,
    /// Only this stream.
    #[arg(long, value_name = "NAME", add = complete::streams())]
    stream: Option<String>,
    /// The most runs to list; 0 lists all.
    #[arg(long, value_name = "N", default_value_t = 30)]
    limit: u32,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// One run with its differences.
    Show {
        /// Its number.
        #[arg(add = complete::runs())]
        run: i64,
        /// Also show the end of the builds' output.
        #[arg(long)]
        log: bool,
    },
    /// Since which run a path differs, and which packages changed with it.
    Blame {
        /// The path below the root.
        path: String,
    },
    /// Streams in which equal inputs gave unequal verdicts.
    Flaky,
    /// Rewrite the file without the space of removed runs.
    Vacuum,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        let file = match &self.history {
            Some(file) => file.clone(),
            None => Config::load(&self.nightly)?.history,
        };
        let mut history = History::open_existing(&file)?;
        match &self.action {
            None => self.list(&history),
            Some(Action::Show { run, log }) => self.show(&history, *run, *log),
            Some(Action::Blame { path }) => self.blame(&history, path),
            Some(Action::Flaky) => self.flaky(&history),
            Some(Action::Vacuum) => {
                history.vacuum()?;
                Ok(Outcome::Same)
            }
        }
    }

    /// The most runs to read.
    fn limit(&self) -> u32 {
        if self.limit == 0 { u32::MAX } else { self.limit }
    }

    fn list(&self, history: &History) -> Result<Outcome> {
        let runs = history.runs(self.stream.as_deref(), self.limit())?;
        let mut text = String::new();
        let width = runs.iter().map(|run| run.stream.len()).max().unwrap_or(0);
        for run in &runs {
            let _ = writeln!(
                text,
                "{:>6}  {}  {:width$}  {:14}  {}",
                run.id,
                &utc(run.started)[..16].replace('T', " "),
                run.stream,
                run.verdict,
                run.detail
            );
        }
        if runs.is_empty() {
            text.push_str("no run\n");
        }
        self.output.report(&json!({"schema": "reprofix-history-1", "runs": runs}), || text)?;
        Ok(Outcome::Same)
    }

    fn show(&self, history: &History, id: i64, log: bool) -> Result<Outcome> {
        let run = history.run(id)?;
        let differences =
            history.differences(id, if self.output.json.is_some() { usize::MAX } else { TEXT })?;
        let mut json = json!({
            "schema": "reprofix-history-run-1",
            "run": run,
            "differences": differences,
            "packages": history.packages(id)?,
        });
        let mut text = shown(&run, &differences);
        if log {
            let log = history.log(id)?;
            text.push_str("\nthe end of the builds' output:\n");
            text.push_str(&log);
            json["log"] = log.into();
        }
        self.output.report(&json, || text)?;
        Ok(Outcome::Same)
    }

    fn blame(&self, history: &History, path: &str) -> Result<Outcome> {
        let blame = history.blame(path.trim_start_matches('/'))?;
        let text: String = blame.streams.iter().map(since).collect();
        self.output
            .report(&json!({"schema": "reprofix-history-blame-1", "blame": blame}), || text)?;
        Ok(Outcome::Same)
    }

    fn flaky(&self, history: &History) -> Result<Outcome> {
        let flaky = history.flaky(self.limit())?;
        let mut text: String = flaky.iter().map(line).collect();
        if flaky.is_empty() {
            text.push_str("no stream is flaky\n");
        }
        self.output
            .report(&json!({"schema": "reprofix-history-flaky-1", "flaky": flaky}), || text)?;
        Ok(if flaky.is_empty() { Outcome::Same } else { Outcome::Finding })
    }
}

fn shown(run: &Run, differences: &[Difference]) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "run {} of {} ({}): {}", run.id, run.stream, run.kind, run.verdict);
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let facts = [
        ("what happened", run.detail.clone()),
        ("began", utc(run.started)),
        ("took", duration(run.seconds)),
        ("on", format!("{} ({})", run.host, run.architecture)),
        ("epoch", run.epoch.map(|e| e.to_string()).unwrap_or_default()),
        ("content A", optional(&run.checksum_a)),
        ("content B", optional(&run.checksum_b)),
        ("composefs A", optional(&run.composefs_a)),
        ("composefs B", optional(&run.composefs_b)),
        ("varied", run.variations.clone()),
        ("plugins", run.plugins.clone()),
        ("inputs", run.inputs.clone()),
        ("builds kept in", run.work.clone()),
    ];
    for (label, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "  {label:14} {value}");
    }
    if let Some(found) = run.bisected() {
        let _ = writeln!(out, "  what makes the builds differ: {found}");
    }
    for (name, why) in &run.skipped {
        let _ = writeln!(out, "  not varied: {name}: {why}");
    }
    for note in &run.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    for d in differences {
        let package = d.package.as_ref().map(|p| format!("  {p}")).unwrap_or_default();
        // The root's own path is `.`.
        let path = if d.path == "." { "" } else { d.path.as_str() };
        let _ = writeln!(out, "\n/{}  [{}] {}{package}", path, d.kind, d.cause_words());
        for line in d.text.lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

fn since(seen: &StreamBlame) -> String {
    let mut out = String::new();
    let first = &seen.first;
    let state = if seen.still { "differs since" } else { "differed from" };
    let began = &utc(first.started)[..10];
    let _ = writeln!(out, "{}: {state} run {} ({began})", seen.stream, first.id);
    match &seen.last_good {
        Some(good) => {
            let _ = writeln!(out, "  the same in run {} ({})", good.id, &utc(good.started)[..10]);
        }
        None => out.push_str("  it was not the same in any run before\n"),
    }
    let runs = if seen.times == 1 { "run" } else { "runs" };
    let _ = writeln!(out, "  {} {runs}, the last {}", seen.times, seen.last);
    let d = &seen.difference;
    let _ = writeln!(out, "  {}: {}", d.kind, d.cause_words());
    if let Some(package) = &seen.package {
        let _ = writeln!(out, "  package {}", versions(package));
    }
    for package in &seen.changed {
        let _ = writeln!(out, "  changed with it: {}", versions(package));
    }
    out
}

fn versions(package: &Versions) -> String {
    let shown = |v: &Option<String>| v.clone().unwrap_or_else(|| "not known".to_owned());
    match package.before == package.after {
        true => format!("{} {} before and after", package.name, shown(&package.after)),
        false => {
            format!("{} {} → {}", package.name, shown(&package.before), shown(&package.after))
        }
    }
}

fn line(flaky: &Flaky) -> String {
    let ids = |ids: &[i64]| ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "{}: equal inputs reproduced in runs {} and not in runs {}\n",
        flaky.stream,
        ids(&flaky.good),
        ids(&flaky.bad)
    )
}
