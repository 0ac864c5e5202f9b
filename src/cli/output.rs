//! Where an answer goes.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::image::Findings;

/// The option that every command with an answer takes.
#[derive(Args, Debug)]
pub(super) struct Output {
    /// Write the answer as JSON to FILE; - is standard output, in place of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Output {
    /// Prints `findings` and gives the exit code: 0 sound, 1 not.
    pub(super) fn emit(&self, findings: &impl Findings) -> anyhow::Result<ExitCode> {
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        if let Some(path) = &self.json {
            let mut text = serde_json::to_string_pretty(findings).context("writing JSON")?;
            text.push('\n');
            let written = match to_stdout {
                true => io::stdout().lock().write_all(text.as_bytes()),
                false => File::create(path).and_then(|mut f| f.write_all(text.as_bytes())),
            };
            written.with_context(|| format!("writing {}", path.display()))?;
        }
        if !to_stdout {
            findings.print(&mut io::stdout().lock()).context("writing to standard output")?;
        }
        Ok(if findings.sound() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}
