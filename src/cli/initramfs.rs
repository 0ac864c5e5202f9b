//! `reprofix initramfs`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Choice, Outcome};
use crate::env::SourceDateEpoch;
use crate::format::initramfs::Error;
use crate::normal::Context;
use crate::plugins::default_context;
use crate::plugins::initramfs::{
    self, boot_image, diff, explain_sections, list, same, unpack, unpacked,
};
use crate::tree::Seekable;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the archives and entries of images; of a unified kernel image, those of its initramfs.
    Ls {
        /// The images.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Show what the kernel unpacks them to instead: a path a line, with the digest of its
        /// content.
        #[arg(long)]
        unpacked: bool,
    },
    /// Compare two images entry by entry, two unified kernel images section by section; exit 1 if
    /// they differ.
    Diff {
        /// The first image.
        first: PathBuf,
        /// The second image.
        second: PathBuf,
    },
    /// Write the canonical form of an image, and say what it cost.
    Rewrite {
        /// The image.
        image: PathBuf,
        /// The file to write; it may be the image itself.
        output: PathBuf,
        #[command(flatten)]
        choice: Box<Choice>,
    },
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.command {
            Command::Ls { files, unpacked } => {
                files.iter().try_fold(Outcome::Same, |_, file| ls(file, unpacked))
            }
            Command::Diff { first, second } => compare(&first, &second),
            Command::Rewrite { image, output, choice } => rewrite(&image, &output, &choice),
        }
    }
}

fn open(file: &Path) -> Result<Box<dyn Seekable>> {
    Ok(Box::new(File::open(file).with_context(|| format!("reading {}", file.display()))?))
}

/// Times are shown as they are, so no epoch is asked for.
fn context() -> Context {
    default_context(SourceDateEpoch::new(u32::MAX))
}

fn ls(file: &Path, as_unpacked: bool) -> Result<Outcome> {
    let what = || format!("reading {} as an initramfs", file.display());
    let mut image = boot_image(open(file)?).with_context(what)?;
    let found = unpack(&mut image, &context()).with_context(what)?;
    super::print(&match as_unpacked {
        true => unpacked(&found.image).map_err(Error::from).with_context(what)?,
        false => list(&found.image, &found.spool).with_context(what)?,
    })?;
    Ok(Outcome::Same)
}

fn compare(first: &Path, second: &Path) -> Result<Outcome> {
    let what = || format!("comparing {} and {}", first.display(), second.display());
    let (mut a, mut b) = (open(first)?, open(second)?);
    let sections = match same(&mut a, &mut b).with_context(what)? {
        true => Some(Vec::new()),
        false => explain_sections(&mut *a, &mut *b, &context()).with_context(what)?,
    };
    if let Some(lines) = sections {
        lines.iter().try_for_each(|line| super::print(&format!("{line}\n")))?;
        return Ok(if lines.is_empty() { Outcome::Same } else { Outcome::Finding });
    }
    let (mut a, mut b) = (boot_image(a).with_context(what)?, boot_image(b).with_context(what)?);
    let differences = diff(&mut *a, &mut *b, &context()).with_context(what)?;
    for difference in &differences {
        super::print(&format!("{difference}\n"))?;
    }
    Ok(if differences.is_empty() { Outcome::Same } else { Outcome::Finding })
}

fn rewrite(image: &Path, output: &Path, choice: &Choice) -> Result<Outcome> {
    let settings = crate::config::in_force(
        &choice.flags(),
        crate::env::source_date_epoch(),
        &crate::tree::NOTHING,
    )?;
    settings.warnings.iter().for_each(|w| super::warn(w));
    let cost = initramfs::rewrite(image, output, &settings.context())
        .with_context(|| format!("rewriting {}", image.display()))?;
    super::print(&format!("{cost}\n"))?;
    Ok(Outcome::Same)
}
