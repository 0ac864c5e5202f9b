//! `reprofix rpmdb`.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Outcome;
use super::output::Output;
use crate::format::rpmdb::dump::{self, Times};
use crate::packages::{Comparison, Database};

#[derive(Debug, clap::Args)]
#[command(after_help = "A database is a package file (rpmdb.sqlite, Packages.db, Packages), a \
directory with one, or the root of a tree. The backends sqlite, ndb and Berkeley DB are supported.")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a database: one block per package, tags by name, index rows by package.
    ///
    /// Packages are sorted and their numbers omitted: databases with the same content print the
    /// same, except for the times of installation.
    Dump {
        /// The database.
        database: PathBuf,
        /// Print the times of installation as `-`.
        #[arg(long)]
        no_times: bool,
    },
    /// Compare two databases package by package; exit 1 if they differ.
    Diff {
        /// The first database.
        a: PathBuf,
        /// The second database.
        b: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.command {
            Command::Dump { database, no_times } => dump(&database, no_times),
            Command::Diff { a, b, output } => compare(&a, &b, &output),
        }
    }
}

fn dump(path: &Path, no_times: bool) -> Result<Outcome> {
    let database = Database::open(path)?;
    let reading = || format!("reading the database of {}", path.display());
    let logical = database.logical().with_context(reading)?;
    let times = if no_times { Times::Blanked } else { Times::Shown };
    let mut out = BufWriter::new(std::io::stdout().lock());
    dump::write(&logical, times, &mut out)
        .context("writing standard output")?
        .with_context(reading)?;
    out.flush().context("writing standard output")?;
    Ok(Outcome::Same)
}

fn compare(a: &Path, b: &Path, output: &Output) -> Result<Outcome> {
    let names = [a, b].map(|path| path.display().to_string());
    let found = Comparison::of(names, &Database::open(a)?, &Database::open(b)?)?;
    output.report(&found, || found.human())?;
    Ok(if found.same { Outcome::Same } else { Outcome::Finding })
}
