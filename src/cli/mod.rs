//! One file a command: its arguments and their execution, no logic.
//!
//! Exit codes, everywhere: 0 the same, sound, done; 1 a finding; 2 it could not be done.

mod check;
mod config;
mod explain;
mod fix;
mod generate;
#[cfg(feature = "nightly")]
mod history;
mod initramfs;
#[cfg(feature = "nightly")]
mod nightly;
mod oci;
mod opm;
mod output;
mod plugins;
#[cfg(feature = "ostree")]
mod record;
mod rpmdb;
mod stacker;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand};

/// Makes ostree/rpm composes come out the same, and says why when they do not.
#[derive(Debug, Parser)]
#[command(name = "reprofix", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 the same, sound or done; 1 a finding; 2 it could not be done."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Made once a run: its size costs nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    Fix(fix::Args),
    Oci(oci::Args),
    Check(check::Args),
    #[cfg(feature = "ostree")]
    Record(record::Args),
    #[cfg(feature = "nightly")]
    Nightly(nightly::Args),
    #[cfg(feature = "nightly")]
    History(history::Args),
    Opm(opm::Args),
    Stacker(stacker::Args),
    Plugins(plugins::Args),
    Explain(explain::Args),
    Config(config::Args),
    Initramfs(initramfs::Args),
    Rpmdb(rpmdb::Args),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

/// What a command found, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The same, sound, done: 0.
    Same,
    /// A finding: 1.
    Finding,
}

/// Parses the command line, runs the command and gives its exit code.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Fix(args) => args.exec(),
        Command::Oci(args) => args.exec(),
        Command::Check(args) => args.exec(),
        #[cfg(feature = "ostree")]
        Command::Record(args) => args.exec(),
        #[cfg(feature = "nightly")]
        Command::Nightly(args) => args.exec(),
        #[cfg(feature = "nightly")]
        Command::History(args) => args.exec(),
        Command::Opm(args) => args.exec(),
        Command::Stacker(args) => args.exec(),
        Command::Plugins(args) => args.exec(),
        Command::Explain(args) => args.exec(),
        Command::Config(args) => args.exec(),
        Command::Initramfs(args) => args.exec(),
        Command::Rpmdb(args) => args.exec(),
        Command::Completions(args) => args.exec(),
        Command::Man(args) => args.exec(),
    };
    match outcome {
        Ok(Outcome::Same) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let red = anstyle::AnsiColor::Red.on_default().bold();
            anstream::eprintln!("{red}error:{red:#} {error:#}");
            ExitCode::from(2)
        }
    }
}

/// `reprofix … | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}

/// The whole command line, for man pages and completions.
fn command() -> clap::Command {
    Cli::command()
}

/// Writes text for people to standard output.
fn print(text: &str) -> Result<()> {
    anstream::stdout().lock().write_all(text.as_bytes()).context("writing standard output")
}

/// Says a warning on standard error.
fn warn(text: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    anstream::eprintln!("{yellow}warning:{yellow:#} {text}");
}

/// Writes JSON to `file`, or to standard output for `-`: two-space indent, a newline at the end.
fn write_json(file: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).context("serialising the report")?;
    text.push(b'\n');
    write_bytes(file, &text)
}

/// Writes text to `file`, or to standard output for `-`.
fn write_text(file: &Path, text: &str) -> Result<()> {
    write_bytes(file, text.as_bytes())
}

fn write_bytes(file: &Path, bytes: &[u8]) -> Result<()> {
    if file == Path::new("-") {
        return std::io::stdout().write_all(bytes).context("writing standard output");
    }
    crate::fsx::atomic_write(file, bytes, 0o644)
        .with_context(|| format!("writing {}", file.display()))
}

/// Arguments that choose what runs; shared by the commands that run plugins.
#[derive(Clone, Debug, clap::Args)]
struct Choice {
    /// No time in the tree may be later: seconds since 1970-01-01 UTC. Default: the environment's
    /// SOURCE_DATE_EPOCH, then metadata.reprofix in the treefile, then reprofix.toml.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    source_date_epoch: Option<String>,
    /// Run only this plugin (may be repeated).
    #[arg(long, value_name = "NAME")]
    plugin: Vec<String>,
    /// Do not run this plugin (may be repeated).
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
    /// Leave what this glob matches as it is, paths below the root (may be repeated).
    #[arg(long, value_name = "GLOB")]
    keep: Vec<String>,
    /// Set a plugin's option (may be repeated).
    #[arg(long, value_name = "PLUGIN.OPTION=VALUE")]
    set: Vec<String>,
    /// Configuration file. Default: reprofix.toml in the current directory, if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Choice {
    fn flags(&self) -> crate::config::Flags {
        crate::config::Flags {
            epoch: self.source_date_epoch.clone(),
            plugin: self.plugin.clone(),
            skip: self.skip.clone(),
            keep: self.keep.clone(),
            set: self.set.clone(),
            config: self.config.clone(),
        }
    }
}
