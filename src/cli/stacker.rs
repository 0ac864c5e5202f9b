//! `reprofix stacker`.

use std::path::PathBuf;

use anyhow::Result;

use super::Outcome;
use super::output::Output;
use crate::image::stacker::{check, fix};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check whether all types of every layer lead to the same directories (rules E1 to E6).
    Check(Check),
    /// Drop layer types that an import left behind.
    Fix(Fix),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// stacker's roots directory.
    #[arg(long, value_name = "DIR", default_value = "roots")]
    roots: PathBuf,
    /// stacker's OCI layout.
    #[arg(long, value_name = "DIR")]
    oci: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct Fix {
    /// stacker's roots directory.
    #[arg(long, value_name = "DIR", default_value = "roots")]
    roots: PathBuf,
    /// Say what would change, but change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.command {
            Command::Check(args) => {
                args.output.emit(&check::check(&args.roots, args.oci.as_deref())?)
            }
            Command::Fix(args) => args.output.emit(&fix::fix(&args.roots, args.dry_run)?),
        }
    }
}
