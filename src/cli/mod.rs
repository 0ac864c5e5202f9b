//! One file a command: its arguments and their execution, no logic.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod oci;
mod output;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Images per platform: list, verify, lint, normalize.
    Oci(oci::OciArgs),
}

/// Parses the command line, runs the command and gives its exit code.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Oci(args) => args.exec(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}
