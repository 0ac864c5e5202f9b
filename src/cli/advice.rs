//! Advice on command lines that do not parse, and on runs without permission.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;

use super::{COMMANDS, say};
use crate::source::Prefix;

/// Says what is wrong with a command line, and what was probably meant. The exit code is 2, or 0 if
/// help was requested.
pub(super) fn exit(error: &clap::Error, words: &[OsString]) -> ! {
    // Printing may fail: the exit code is the same.
    let _ = error.print();
    if let Some(hint) = hint(error.kind(), words) {
        say(&format!("\n  tip: {hint}"));
    }
    std::process::exit(error.exit_code())
}

fn hint(kind: ErrorKind, words: &[OsString]) -> Option<String> {
    let words: Vec<_> = words.iter().skip(1).map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let is_command = |word: &&str| COMMANDS.iter().any(|command| command.name == *word);
    let first = words.first().filter(|word| **word != "help")?;
    if let Some(at) = words.iter().position(&is_command).filter(|at| *at > 0) {
        let mut right = words.clone();
        let command = right.remove(at);
        return Some(format!("the command comes first: reprofix {command} {}", right.join(" ")));
    }
    match (kind, *first) {
        (ErrorKind::InvalidSubcommand, "history") if number(&words) => {
            Some(format!("`reprofix history show {}` shows one run", words[1]))
        }
        (ErrorKind::InvalidSubcommand, word) if names_subject(word) && !is_command(&word) => {
            Some(format!(
                "the command comes first: `reprofix check {word}` compares or audits, `reprofix \
                 fix {word}` changes"
            ))
        }
        (ErrorKind::UnknownArgument, "fix") => {
            Some("`fix` takes one root filesystem; `reprofix check A B` compares two builds".into())
        }
        (ErrorKind::UnknownArgument, "check") if bare(&words) > 2 => Some(
            "`check` takes one subject or two; `reprofix nightly` compares each night's builds"
                .into(),
        ),
        (ErrorKind::UnknownArgument, "record") if bare(&words) > 0 => {
            Some("give a work directory of coreos-assembler as `--workdir DIR`".into())
        }
        _ => None,
    }
}

fn number(words: &[&str]) -> bool {
    words.get(1).is_some_and(|word| word.parse::<i64>().is_ok())
}

/// The number of words after the command that are not options.
fn bare(words: &[&str]) -> usize {
    words.iter().skip(1).filter(|word| !word.starts_with('-')).count()
}

/// Whether a word names a subject: an existing path, or a prefix of subjects.
fn names_subject(word: &str) -> bool {
    let prefixed = Prefix::split(word).0.is_some();
    prefixed || word.contains('/') || Path::new(word).exists()
}

/// What to do if permission was denied, unless we are root.
pub(super) fn not_allowed(error: &anyhow::Error) -> Option<&'static str> {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    let mut denied = io.filter(|io| io.kind() == std::io::ErrorKind::PermissionDenied);
    let root = rustix::process::geteuid().is_root();
    (denied.next().is_some() && !root).then_some(
        "you are not root: run it with sudo, or, for files of a rootless build, as `buildah \
         unshare reprofix …`",
    )
}
