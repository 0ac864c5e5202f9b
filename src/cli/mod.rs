//! The commands, one file each: arguments and their execution, without logic.
//!
//! Exit codes, everywhere: 0 the same, sound or done; 1 a finding; 2 it could not be done.

mod advice;
mod check;
mod complete;
mod composefs;
mod config;
mod explain;
mod fix;
mod generate;
#[cfg(feature = "nightly")]
mod history;
mod initramfs;
mod manual;
#[cfg(feature = "nightly")]
mod nightly;
mod oci;
mod opm;
mod output;
mod pages;
mod past;
mod plugins;
mod record;
mod rpmdb;
mod stacker;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{ArgMatches, Args as _, FromArgMatches as _};

/// A command: its name, its line in the help, its arguments, and the function that runs it.
struct Command {
    name: &'static str,
    about: &'static str,
    arguments: fn(clap::Command) -> clap::Command,
    run: fn(&ArgMatches) -> Result<Outcome>,
}

macro_rules! commands {
    ($($(#[$when:meta])* $name:literal, $args:ty, $about:literal;)*) => {
        &[$($(#[$when])* Command {
            name: $name,
            about: $about,
            // Shared options would otherwise bring their own descriptions.
            arguments: |command| with_exit_codes(<$args>::augment_args(command).about($about), $name),
            run: |matches| match <$args>::from_arg_matches(matches) {
                Ok(args) => args.exec(),
                Err(error) => error.exit(),
            },
        }),*]
    };
}

/// All commands, in the order of the help.
const COMMANDS: &[Command] = commands! {
    "fix", fix::Args, "Bring a root filesystem into normal form";
    "oci", oci::Args, "List, verify, lint and normalize images, platform by platform";
    "check", check::Args, "Compare two builds and explain why they differ, or audit one";
    "record", record::Args, "Write a commit's content checksum into its build's meta.json";
    #[cfg(feature = "nightly")]
    "nightly", nightly::Args, "Build every stream twice under varied conditions, compare, record and notify";
    #[cfg(feature = "nightly")]
    "history", history::Args, "Show the history of the nightly job";
    "composefs", composefs::Args, "Compute the composefs digest that a sealed image must carry, or explain a mismatch";
    "opm", opm::Args, "Check whether an operator catalog starts under every runtime, or write one that does";
    "stacker", stacker::Args, "Check whether stacker's next build mounts the right layers, or drop stale layer types";
    "plugins", plugins::Args, "List the plugins";
    "explain", explain::Args, "Print a plugin's page: what varies, why, what is done about it, what is lost";
    "config", config::Args, "Print the configuration in force for a tree as TOML, with the origin of each value";
    "initramfs", initramfs::Args, "List, compare and rewrite boot images";
    "rpmdb", rpmdb::Args, "Print an rpm database as text, or compare two package by package";
    "completions", generate::CompletionsArgs, "Print shell completions";
    "man", generate::ManArgs, "Write the man pages, one per command";
};

/// The result of a command, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Exit code 0: the same, sound or done.
    Same,
    /// A finding: 1.
    Finding,
}

/// Parses the command line, runs the command and returns its exit code.
pub fn main() -> ExitCode {
    let words = past::respelled(std::env::args_os().collect());
    let matches = command().try_get_matches_from(&words);
    let matches = matches.unwrap_or_else(|error| advice::exit(&error, &words));
    let named = |(name, matches)| Some((COMMANDS.iter().find(|c| c.name == name)?, matches));
    let outcome = match matches.subcommand().and_then(named) {
        Some((command, matches)) => (command.run)(matches),
        None => unreachable!("clap asks for a command"),
    };
    match outcome {
        Ok(Outcome::Same) => ExitCode::SUCCESS,
        Ok(Outcome::Finding) => ExitCode::from(1),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let red = anstyle::AnsiColor::Red.on_default().bold();
            say(&format!("{red}error:{red:#} {error:#}"));
            advice::not_allowed(&error).into_iter().for_each(|what| say(&format!("  tip: {what}")));
            ExitCode::from(2)
        }
    }
}

/// Whether standard output was closed: `reprofix … | head` is not a failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}

/// The whole command line. A command's arguments are made only when needed: those of all commands
/// take as long as a small comparison.
fn command() -> clap::Command {
    let commands = COMMANDS.iter();
    clap::Command::new("reprofix")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Makes ostree/rpm composes come out the same, and says why when they do not")
        .after_help("Exit codes: 0 the same, sound or done; 1 a finding; 2 it could not be done.")
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(commands.map(|c| clap::Command::new(c.name).about(c.about).defer(c.arguments)))
}

/// Adds the exit codes of a command and its subcommands, from the manual, to their help.
fn with_exit_codes(command: clap::Command, words: &str) -> clap::Command {
    let below: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = below.into_iter().fold(command, |command, name| {
        let words = format!("{words} {name}");
        command.mut_subcommand(name, |sub| with_exit_codes(sub, &words))
    });
    let Some(page) = pages::page(words).filter(|page| !page.exit[0].is_empty()) else {
        return command;
    };
    let [done, finding] = page.exit;
    let finding = if finding.is_empty() { String::new() } else { format!("1 {finding}; ") };
    let codes = format!("Exit codes: 0 {done}; {finding}2 {}.", pages::FAILED);
    let before = command.get_after_help().map(|text| format!("{text}\n\n")).unwrap_or_default();
    command.after_help(format!("{before}{codes}"))
}

/// Writes text for people to standard output.
fn print(text: &str) -> Result<()> {
    unless_closed(anstream::stdout().lock().write_all(text.as_bytes()))
}

/// Ignores a closed standard output (`reprofix … | head`), which does not change the outcome.
fn unless_closed(written: std::io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing standard output"),
    }
}

/// Writes a line to standard error. If that fails, only the exit code remains.
fn say(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Prints a warning on standard error.
fn warn(text: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default().bold();
    say(&format!("{yellow}warning:{yellow:#} {text}"));
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
        return unless_closed(std::io::stdout().write_all(bytes));
    }
    crate::disk::atomic_write(file, bytes, 0o644)
        .with_context(|| format!("writing {}", file.display()))
}

/// Checks before any work that all of these files can be written.
fn writable<'f>(files: impl IntoIterator<Item = &'f Option<PathBuf>>) -> Result<()> {
    let files = files.into_iter().flatten().filter(|file| *file != Path::new("-"));
    files.into_iter().try_for_each(|file| {
        let why = || format!("{} cannot be written; nothing was done", file.display());
        crate::disk::writable(file).with_context(why)
    })
}

/// The most threads per processor: more only wait for one another, and thousands overload a
/// machine.
const THREADS: usize = 16;

/// Uses `jobs` threads, if a number is given.
fn use_threads(jobs: Option<std::num::NonZeroUsize>) -> Result<()> {
    let Some(jobs) = jobs else { return Ok(()) };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = processors * THREADS;
    if jobs.get() > most {
        warn(&format!("--jobs {jobs}: only {most} threads are used, {THREADS} per processor"));
    }
    let jobs = jobs.get().min(most);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs);
    // One thread means this thread: then all calls of a run are in a fixed order.
    let pool = if jobs == 1 { pool.use_current_thread() } else { pool };
    pool.build_global().context("starting threads")
}

/// Arguments that choose what runs; shared by the commands that run plugins.
#[derive(Clone, Debug, clap::Args)]
struct Choice {
    /// No time in the tree may be later: seconds since 1970-01-01 UTC. Default: the environment's
    /// SOURCE_DATE_EPOCH, then metadata.reprofix in the treefile, then reprofix.toml.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    source_date_epoch: Option<String>,
    /// Settings that belong together: `composefs` sets every time and removes what overlayfs left,
    /// for sealed images. All other settings override it.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Run only this plugin (may be repeated, or several with commas).
    #[arg(long, value_name = "NAME", value_delimiter = ',', add = complete::plugins())]
    plugin: Vec<String>,
    /// Run this plugin too, though it is off by default (may be repeated, or several
    /// with commas).
    #[arg(long, value_name = "NAME", value_delimiter = ',', add = complete::plugins())]
    with: Vec<String>,
    /// Do not run this plugin (may be repeated, or several with commas).
    #[arg(long, value_name = "NAME", value_delimiter = ',', add = complete::plugins())]
    skip: Vec<String>,
    /// Leave paths below the root that match this glob as they are (may be repeated).
    #[arg(long, value_name = "GLOB")]
    keep: Vec<String>,
    /// Leave the bytes of files that match this glob as they are, because something that `reprofix
    /// explain vouchers` does not list vouches for them (may be repeated).
    #[arg(long, value_name = "GLOB")]
    vouched: Vec<String>,
    /// Change files that match this glob no matter what vouches for them, and say what no longer
    /// verifies (may be repeated).
    #[arg(long, value_name = "GLOB")]
    overrule: Vec<String>,
    /// Set a plugin's option (may be repeated).
    #[arg(long, value_name = "PLUGIN.OPTION=VALUE", add = complete::settings())]
    set: Vec<String>,
    /// Configuration file. Default: reprofix.toml in the current directory, if it exists.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Choice {
    fn flags(&self) -> crate::config::Flags {
        crate::config::Flags {
            epoch: self.source_date_epoch.clone(),
            profile: self.profile.clone(),
            plugin: self.plugin.clone(),
            with: self.with.clone(),
            skip: self.skip.clone(),
            keep: self.keep.clone(),
            vouched: self.vouched.clone(),
            overrule: self.overrule.clone(),
            set: self.set.clone(),
            config: self.config.clone(),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "nightly")]
mod tests;
