//! What a shell may complete: plugins, streams, runs, subjects, files.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;

use anyhow::{Context as _, Result};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _,
};

use crate::plugins::REGISTRY;
use crate::source::{Prefix, prefixes};

/// Prints what may be at `index` of the words of a command line, each on one line: the word, and
/// after a tab what it is. A shell that cannot be answered gets nothing.
pub(super) fn answer(words: Vec<OsString>, index: usize) -> Result<()> {
    let here = std::env::current_dir().ok();
    let mut command = super::command();
    let found = clap_complete::engine::complete(&mut command, words, index, here.as_deref());
    let mut out = std::io::stdout().lock();
    for candidate in found.unwrap_or_default() {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        writeln!(out, "{value}\t{help}").context("writing standard output")?;
    }
    Ok(())
}

/// A file, or `-`.
pub(super) fn file() -> ArgValueCompleter {
    ArgValueCompleter::new(PathCompleter::any().stdio())
}

/// A directory.
pub(super) fn directory() -> ArgValueCompleter {
    ArgValueCompleter::new(PathCompleter::dir())
}

/// The names of plugins.
pub(super) fn plugins() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let pages = REGISTRY.iter().map(|plugin| plugin.page());
        pages.map(|page| candidate(page.name, page.summary)).collect()
    })
}

/// What has a page: the plugins, and `vouchers`.
pub(super) fn pages() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let mut all: Vec<_> = REGISTRY
            .iter()
            .map(|plugin| candidate(plugin.page().name, plugin.page().summary))
            .collect();
        all.push(candidate("vouchers", "who vouches for bytes, so that no plugin changes them"));
        all
    })
}

/// `PLUGIN.OPTION=VALUE`, of each option that each plugin has.
pub(super) fn settings() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let pages = REGISTRY.iter().map(|plugin| plugin.page());
        let options = pages.flat_map(|page| page.options.iter().map(|option| (page.name, option)));
        let all = options.flat_map(|(plugin, option)| {
            let start = format!("{plugin}.{}=", option.name);
            let values = option.values.iter().map(move |value| format!("{start}{value}"));
            let open = option.values.is_empty().then(|| format!("{plugin}.{}=", option.name));
            values.chain(open).map(|text| candidate(&text, option.help))
        });
        beginning_with(typed, all)
    })
}

/// A subject: one of the prefixes, with a path behind it, or a bare path.
pub(super) fn subject() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| subjects(typed, prefixes()))
}

/// An image: one of the prefixes of images, with a path behind it, or a bare path.
pub(super) fn image() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        subjects(typed, prefixes().filter(|(prefix, _)| prefix.is_image()))
    })
}

fn subjects(
    typed: &OsStr,
    prefixes: impl Iterator<Item = (Prefix, &'static str)> + Clone,
) -> Vec<CompletionCandidate> {
    let text = typed.to_string_lossy();
    let (written, start) = Prefix::split(text.as_bytes());
    if let Some(written) = written.filter(|written| prefixes.clone().any(|(p, _)| p == *written)) {
        let paths = PathCompleter::any().complete(OsStr::new(&text[start..]));
        return paths.into_iter().map(|path| path.add_prefix(written.written())).collect();
    }
    let kinds = prefixes.map(|(prefix, what)| candidate(prefix.written(), what));
    let mut all = beginning_with(typed, kinds);
    all.extend(PathCompleter::any().complete(typed));
    all
}

/// The streams of the nightly job's configuration.
#[cfg(feature = "nightly")]
pub(super) fn streams() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let config = crate::nightly::config::Config::load(&place());
        let streams = config.map(|config| config.stream).unwrap_or_default();
        streams.iter().map(|stream| candidate(&stream.name, "")).collect()
    })
}

/// The runs of the history, the newest first.
#[cfg(feature = "nightly")]
pub(super) fn runs() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let file = after(&["--history"]).map(std::path::PathBuf::from);
        let file =
            file.or_else(|| Some(crate::nightly::config::Config::load(&place()).ok()?.history));
        let history = file.and_then(|file| crate::history::History::open_existing(&file).ok());
        let runs = history.and_then(|history| history.runs(None, RUNS).ok()).unwrap_or_default();
        let about = |run: &crate::history::Run| {
            let day = &crate::format::time::utc(run.started)[..10];
            format!("{} {} {day}", run.stream, run.verdict)
        };
        runs.iter().map(|run| candidate(&run.id.to_string(), &about(run))).collect()
    })
}

/// Runs offered, at most.
#[cfg(feature = "nightly")]
const RUNS: u32 = 50;

/// The nightly job's configuration, as the words so far name it.
#[cfg(feature = "nightly")]
fn place() -> std::path::PathBuf {
    after(&["--nightly", "--config"]).unwrap_or_else(|| "nightly.toml".into()).into()
}

/// The value of the first of these options among our own words.
#[cfg(feature = "nightly")]
fn after(options: &[&str]) -> Option<OsString> {
    let words: Vec<OsString> = std::env::args_os().collect();
    options.iter().find_map(|option| {
        let joined = format!("{option}=");
        words.iter().enumerate().find_map(|(index, word)| match word.to_str()? {
            word if word == *option => words.get(index + 1).cloned(),
            word => word.strip_prefix(&joined).map(Into::into),
        })
    })
}

fn candidate(value: &str, about: &str) -> CompletionCandidate {
    let about = (!about.is_empty()).then(|| about.to_owned().into());
    CompletionCandidate::new(value).help(about)
}

fn beginning_with(
    typed: &OsStr,
    all: impl Iterator<Item = CompletionCandidate>,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    all.filter(|candidate| candidate.get_value().to_string_lossy().starts_with(&*typed)).collect()
}

/// The script with which a shell asks us; `None` for shells that take a fixed list.
pub(super) fn script(shell: clap_complete::Shell) -> Option<&'static str> {
    use clap_complete::Shell;
    match shell {
        Shell::Bash => Some(include_str!("complete/reprofix.bash")),
        Shell::Zsh => Some(include_str!("complete/_reprofix")),
        Shell::Fish => Some(include_str!("complete/reprofix.fish")),
        _ => None,
    }
}
