//! `reprofix oci`: images per platform.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::Output;
use crate::image::{platforms, verify};
use crate::source::oci::Subject;

/// Arguments of `reprofix oci`.
#[derive(Args, Debug)]
pub(super) struct OciArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Which digest names which image: list, manifest, config and layers of each platform.
    Platforms(One),
    /// Whether every blob has the size, digest and diff_id that it is said to have.
    Verify(One),
}

#[derive(Args, Debug)]
struct One {
    /// oci:LAYOUT[:TAG], oci-archive:FILE, docker-archive:FILE, or a path.
    subject: String,
    /// Only this platform: OS/ARCHITECTURE[/VARIANT].
    #[arg(long)]
    platform: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl One {
    fn open(&self) -> anyhow::Result<Subject> {
        Subject::open(&self.subject, self.platform.as_deref())
    }
}

impl OciArgs {
    /// Runs the command. 0: sound; 1: a finding; an error means that the input could not be read.
    pub(super) fn exec(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Platforms(one) => one.output.emit(&platforms::platforms(&one.open()?)),
            Command::Verify(one) => one.output.emit(&verify::verify(&one.open()?)?),
        }
    }
}
