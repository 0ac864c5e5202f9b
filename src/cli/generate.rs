//! `reprofix completions` and `reprofix man`: both from the one definition of the command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap_complete::Shell;

use super::Outcome;
use crate::disk;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn exec(self) -> Result<Outcome> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "reprofix", &mut text);
        super::print(&String::from_utf8_lossy(&text))?;
        Ok(Outcome::Same)
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The directory to write them to; it is made if missing.
    dir: PathBuf,
}

impl ManArgs {
    pub(super) fn exec(self) -> Result<Outcome> {
        let writing = || format!("writing man pages to {}", self.dir.display());
        disk::create_dir_all(&self.dir).with_context(writing)?;
        let mut command = super::command().disable_help_subcommand(true);
        command.build();
        self.write(&command, "reprofix").with_context(writing)?;
        for sub in command.get_subcommands() {
            self.write(sub, &format!("reprofix-{}", sub.get_name())).with_context(writing)?;
        }
        Ok(Outcome::Same)
    }

    fn write(&self, command: &clap::Command, name: &str) -> Result<()> {
        let mut page = Vec::new();
        // An empty date: the page is the same whenever it is made.
        let man = clap_mangen::Man::new(command.clone()).title(name).date("");
        man.render(&mut page)?;
        disk::atomic_write(&self.dir.join(format!("{name}.1")), &page, 0o644)?;
        Ok(())
    }
}
