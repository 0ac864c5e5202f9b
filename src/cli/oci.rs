//! `reprofix oci`.

use anyhow::Result;

use super::Outcome;
use super::output::Output;
use crate::image::{lint, platforms, verify};
use crate::source::oci::Subject;

/// Ask about images, platform by platform: which is which, is it whole, who unpacks it how.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Which digest names which image: list, manifest, config and layers of each platform.
    Platforms(One),
    /// Whether every blob has the size, digest and diff_id that it is said to have.
    Verify(One),
    /// What unpacks differently under different runtimes, and which layer is to blame.
    Lint(One),
}

#[derive(Debug, clap::Args)]
struct One {
    /// oci:LAYOUT[:TAG], oci-archive:FILE, docker-archive:FILE, or a path.
    subject: String,
    /// Only this platform.
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl One {
    fn open(&self) -> Result<Subject> {
        Subject::open(&self.subject, self.platform.as_deref())
    }
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match &self.command {
            Command::Platforms(one) => one.output.emit(&platforms::platforms(&one.open()?)),
            Command::Verify(one) => one.output.emit(&verify::verify(&one.open()?)?),
            Command::Lint(one) => one.output.emit(&lint::lint(&one.open()?)?),
        }
    }
}
