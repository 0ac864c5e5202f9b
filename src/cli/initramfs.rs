//! `reprofix initramfs`.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::output::Output;
use super::{Choice, Outcome};
use crate::env::SourceDateEpoch;
use crate::format::initramfs::Error;
use crate::normal::Context;
use crate::plugins::default_context;
use crate::plugins::initramfs::{
    self, Cost, Difference, boot_image, diff, explain_sections, list, same, unpack, unpacked,
};
use crate::run::earlier;
use crate::tree::Seekable;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the archives and entries of boot images, or of the initramfs in a unified kernel image.
    Ls {
        /// The images.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Show the tree that the kernel unpacks instead: one path per line, with the digest of its
        /// content.
        #[arg(long)]
        unpacked: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Compare two boot images entry by entry, or two unified kernel images section by section;
    /// exit 1 if they differ.
    Diff {
        /// The first image.
        a: PathBuf,
        /// The second image.
        b: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Write the canonical form of a boot image, and say what it cost.
    Rewrite {
        /// The image.
        image: PathBuf,
        /// The output file; it may be the image itself.
        #[arg(long, short, value_name = "FILE", required_unless_present = "place")]
        out: Option<PathBuf>,
        /// The output file, in the spelling before --out.
        #[arg(hide = true, conflicts_with = "out")]
        place: Option<PathBuf>,
        /// Take the compressed bytes of an earlier image, where what they unpack to is what would be
        /// compressed, byte for byte: an image, or a subject with images.
        #[arg(long, value_name = "IMAGE|SUBJECT")]
        reuse: Option<std::ffi::OsString>,
        #[command(flatten)]
        choice: Box<Choice>,
        #[command(flatten)]
        output: Output,
    },
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.command {
            Command::Ls { files, unpacked, output } => {
                let images =
                    files.iter().map(|file| ls(file, unpacked)).collect::<Result<Vec<_>>>()?;
                let (text, json): (Vec<_>, Vec<_>) = images.into_iter().unzip();
                let report = json!({"schema": "reprofix-initramfs-list-1", "images": json});
                output.report(&report, || text.concat())?;
                Ok(Outcome::Same)
            }
            Command::Diff { a, b, output } => {
                let found = compare(&a, &b)?;
                let report = json!({
                    "schema": "reprofix-initramfs-diff-1",
                    "same": found.is_empty(),
                    "differences": found.iter().map(as_json).collect::<Vec<_>>(),
                });
                output.report(&report, || said(&found))?;
                Ok(if found.is_empty() { Outcome::Same } else { Outcome::Finding })
            }
            Command::Rewrite { image, out, place, reuse, choice, output } => {
                let out = out.or(place).context("give --out")?;
                let cost = rewrite(&image, &out, reuse.as_deref(), &choice)?;
                let report = json!({
                    "schema": "reprofix-initramfs-rewrite-1",
                    "changed": cost.outcome.changed,
                    "bytes_before": cost.outcome.before,
                    "bytes": if cost.outcome.changed { cost.outcome.len } else { cost.outcome.before },
                });
                output.report(&report, || format!("{cost}\n"))?;
                Ok(Outcome::Same)
            }
        }
    }
}

fn open(file: &Path) -> Result<Box<dyn Seekable>> {
    ensure!(
        !file.is_dir(),
        "{} is a directory; the boot image of a tree is usr/lib/modules/VERSION/initramfs.img in it",
        file.display()
    );
    Ok(Box::new(File::open(file).with_context(|| format!("reading {}", file.display()))?))
}

/// Times are shown as they are, so no epoch is needed.
fn context() -> Context {
    default_context(SourceDateEpoch::new(u32::MAX))
}

/// Lists one image, for people and for machines.
fn ls(file: &Path, as_unpacked: bool) -> Result<(String, Value)> {
    let what = || format!("reading {} as an initramfs", file.display());
    let mut image = boot_image(open(file)?).with_context(what)?;
    let found = unpack(&mut image, &context()).with_context(what)?;
    let text = match as_unpacked {
        true => unpacked(&found.image).map_err(Error::from).with_context(what)?,
        false => list(&found.image, &found.spool).with_context(what)?,
    };
    let segments = initramfs::segments(&found.image);
    Ok((text, json!({"file": file.display().to_string(), "segments": segments})))
}

fn compare(first: &Path, second: &Path) -> Result<Vec<Difference>> {
    let what = || format!("comparing {} and {}", first.display(), second.display());
    let (mut a, mut b) = (open(first)?, open(second)?);
    if same(&mut a, &mut b).with_context(what)? {
        return Ok(Vec::new());
    }
    if let Some(lines) = explain_sections(&mut *a, &mut *b, &context()).with_context(what)? {
        let line = |what| Difference { path: None, what, inside: Vec::new() };
        return Ok(lines.into_iter().map(line).collect());
    }
    let (mut a, mut b) = (boot_image(a).with_context(what)?, boot_image(b).with_context(what)?);
    diff(&mut *a, &mut *b, &context()).with_context(what)
}

fn said(found: &[Difference]) -> String {
    match found {
        [] => "same\n".to_owned(),
        found => found.iter().map(|difference| format!("{difference}\n")).collect(),
    }
}

fn as_json(difference: &Difference) -> Value {
    let Difference { path, what, inside } = difference;
    json!({"path": path, "what": what, "inside": inside})
}

fn rewrite(image: &Path, output: &Path, reuse: Option<&OsStr>, choice: &Choice) -> Result<Cost> {
    let settings = crate::config::in_force(
        &choice.flags(),
        crate::env::source_date_epoch(),
        &crate::tree::NOTHING,
    )?;
    let (mut cx, mut warnings) = (settings.context(), settings.warnings.clone());
    if let Some(subject) = reuse {
        cx.earlier = Arc::new(earlier::read(subject, &cx, &mut warnings)?);
    }
    warnings.iter().for_each(|w| super::warn(w));
    initramfs::rewrite(image, output, &cx).with_context(|| format!("rewriting {}", image.display()))
}
