//! `reprofix config`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::output::Output;
use super::{Choice, Outcome, complete};
use crate::config;
use crate::disk::Root;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The target root, whose treefile is read.
    #[arg(default_value = "/", add = complete::directory())]
    rootfs: PathBuf,
    /// Print the JSON schema of the configuration instead.
    #[arg(long)]
    schema: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        if self.schema {
            super::write_json("-".as_ref(), &config::schema())?;
            return Ok(Outcome::Same);
        }
        let root = Root::open(&self.rootfs)
            .with_context(|| format!("opening root directory {}", self.rootfs.display()))?;
        let flags = self.choice.flags();
        let found = config::in_force(&flags, crate::env::source_date_epoch(), &root)?;
        found.warnings.iter().for_each(|w| super::warn(w));
        self.output.report(&found.json(), || found.text())?;
        Ok(Outcome::Same)
    }
}
