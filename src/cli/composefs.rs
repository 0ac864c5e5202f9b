//! `reprofix composefs`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::json;

use super::output::Output;
use super::{Outcome, complete, warn, write_text};
use crate::composefs::{GENERATIONS, Generation, generation};
use crate::run::composefs::{self as run, Opened};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Print the composefs digest that bootc computes for a tree or an image.
    #[command(after_help = "Subjects: dir:PATH, ostree:REPO[:REF], cosa:WORKDIR[:BUILD], \
oci:LAYOUT[:TAG], oci-archive:FILE[:TAG], or a bare path. For an image its layers are read, as \
during installation; for a directory its files, as when an image is sealed.")]
    Digest(DigestArgs),
    /// Check whether an image boots with the digest sealed in it, and whether a directory extracted
    /// from it has the same digest.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct DigestArgs {
    /// The tree or image.
    #[arg(add = complete::subject())]
    subject: OsString,
    /// The generation of bootc, by its first release; `reprofix composefs digest --help` lists
    /// them.
    #[arg(long, value_name = "RELEASE", default_value = GENERATIONS[0].name,
        value_parser = generation)]
    bootc: &'static Generation,
    /// The view of an image: `layers`, as during installation, or `directory`, as extracted from
    /// them. A directory and a commit have only one view.
    #[arg(long, value_name = "VIEW", value_parser = ["layers", "directory"])]
    view: Option<String>,
    /// Write what is hashed, as composefs-dump(5) (`-`: standard output).
    #[arg(long, value_name = "FILE", add = complete::file())]
    dumpfile: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The image or tree with the unified kernel image in it.
    #[arg(add = complete::subject())]
    subject: OsString,
    /// Another view of it: the directory to which it was extracted, or from which it was sealed.
    #[arg(add = complete::subject())]
    other: Option<OsString>,
    /// The generation of bootc, by its first release.
    #[arg(long, value_name = "RELEASE", default_value = GENERATIONS[0].name,
        value_parser = generation)]
    bootc: &'static Generation,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        match self.question {
            Question::Digest(args) => args.exec(),
            Question::Check(args) => args.exec(),
        }
    }
}

impl DigestArgs {
    fn exec(self) -> Result<Outcome> {
        let opened = Opened::parse(&self.subject)?;
        let sealed = match opened.extracted(self.bootc)? {
            None if self.view.as_deref() == Some("layers") => {
                bail!("{} has no layers: it is not an image", self.subject.display())
            }
            None => opened.into_sealed(self.bootc)?,
            Some(extracted) => {
                let layers = opened.into_sealed(self.bootc)?;
                let directory = self.view.as_deref() == Some("directory");
                let (sealed, other) =
                    if directory { (extracted, layers) } else { (layers, extracted) };
                if sealed.viewed.digest != other.viewed.digest {
                    warn(&format!("another view has another digest: {}", other.viewed));
                }
                sealed
            }
        };
        if let Some(file) = &self.dumpfile {
            write_text(file, &sealed.dumpfile())?;
        }
        let value = json!({
            "schema": "reprofix-composefs-digest-1",
            "subject": sealed.viewed.subject,
            "view": sealed.viewed.view,
            "bootc": self.bootc.name,
            "digest": sealed.viewed.digest,
        });
        self.output.report(&value, || format!("{}\n", sealed.viewed.digest))?;
        Ok(Outcome::Same)
    }
}

impl CheckArgs {
    fn exec(self) -> Result<Outcome> {
        let report = run::check(&self.subject, self.other.as_deref(), self.bootc)?;
        self.output.report(&report, || report.human())?;
        Ok(if report.same { Outcome::Same } else { Outcome::Finding })
    }
}
