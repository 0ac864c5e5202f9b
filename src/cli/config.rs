//! `reprofix config`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Choice, Outcome};
use crate::config;
use crate::fsx::Root;

/// Print what is in force for a tree, and where each value came from.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The target root, whose treefile is read.
    #[arg(default_value = "/")]
    rootfs: PathBuf,
    #[command(flatten)]
    choice: Choice,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        let root = Root::open(&self.rootfs)
            .with_context(|| format!("opening root directory {}", self.rootfs.display()))?;
        let flags = self.choice.flags();
        let found = config::in_force(&flags, crate::env::source_date_epoch(), &root)?;
        let mut out = format!("source-date-epoch = {}  # {}\n", found.epoch.0, found.epoch.1);
        for (plugin, origin) in &found.plugins {
            let _ = writeln!(out, "plugins.{}.enabled = true  # {origin}", plugin.page().name);
        }
        for ((plugin, option), (value, origin)) in &found.options {
            let _ = writeln!(out, "plugins.{plugin}.{option} = {value:?}  # {origin}");
        }
        found.warnings.iter().for_each(|w| super::warn(w));
        super::print(&out)?;
        Ok(Outcome::Same)
    }
}
