//! `reprofix completions` and `reprofix man`, both made from the definition of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap_complete::Shell;

use super::{Outcome, complete, manual};
use crate::disk;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
    /// Complete the word with this number; for the shells' scripts.
    #[arg(long, hide = true, requires = "words")]
    at: Option<usize>,
    /// The words of the command line so far.
    #[arg(hide = true, last = true)]
    words: Vec<OsString>,
}

impl CompletionsArgs {
    pub(super) fn exec(self) -> Result<Outcome> {
        if let Some(at) = self.at {
            complete::answer(self.words, at)?;
            return Ok(Outcome::Same);
        }
        match complete::script(self.shell) {
            Some(script) => super::print(script)?,
            None => {
                let mut text = Vec::new();
                clap_complete::generate(self.shell, &mut super::command(), "reprofix", &mut text);
                super::print(&String::from_utf8_lossy(&text))?;
            }
        }
        Ok(Outcome::Same)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The directory to write them to; it is created if missing.
    #[arg(long, short, value_name = "DIR", required_unless_present = "dir")]
    out: Option<PathBuf>,
    /// The directory, in the spelling before --out.
    #[arg(hide = true, conflicts_with = "out")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(super) fn exec(self) -> Result<Outcome> {
        let dir = self.out.or(self.dir).context("give --out")?;
        let writing = || format!("writing man pages to {}", dir.display());
        disk::create_dir_all(&dir).with_context(writing)?;
        for (name, text) in manual::pages(super::command()) {
            disk::atomic_write(&dir.join(name), &text, 0o644).with_context(writing)?;
        }
        Ok(Outcome::Same)
    }
}
