//! Where an answer about images goes.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Outcome;
use crate::image::Findings;

/// The option that every command with an answer takes.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Write the answer as JSON to FILE; - is standard output, in place of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Output {
    /// Prints `findings`, and says whether there were any.
    pub(super) fn emit(&self, findings: &impl Findings) -> Result<Outcome> {
        if let Some(path) = &self.json {
            super::write_json(path, findings)?;
        }
        if self.json.as_deref() != Some(Path::new("-")) {
            let mut out = std::io::stdout().lock();
            findings.print(&mut out).context("writing standard output")?;
            out.flush().context("writing standard output")?;
        }
        Ok(if findings.sound() { Outcome::Same } else { Outcome::Finding })
    }
}
