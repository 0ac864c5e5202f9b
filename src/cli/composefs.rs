//! `reprofix composefs`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::output::Output;
use super::{Outcome, complete, write_text};
use crate::composefs::{GENERATIONS, Generation, generation};
use crate::run::composefs::{Comparison, Sealed};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, clap::Subcommand)]
enum Question {
    /// Print the composefs digest that bootc computes of a tree or an image.
    #[command(after_help = "\
Subjects: dir:PATH, ostree:REPO[:REF], cosa:WORKDIR[:BUILD], oci:LAYOUT[:TAG], \
oci-archive:FILE[:TAG], or a bare path. Of an image its layers are read, as at an installation; \
of a directory what it holds, as when an image is sealed.")]
    Digest(DigestArgs),
    /// Say whether an image boots with the digest that is sealed in it, and whether a directory
    /// extracted from it has the same one.
    Check(CheckArgs),
}

#[derive(Debug, clap::Args)]
struct DigestArgs {
    /// The tree or image.
    #[arg(add = complete::subject())]
    subject: OsString,
    /// The kind of bootc, by its first release; `reprofix composefs digest --help` lists them.
    #[arg(long, value_name = "RELEASE", default_value = GENERATIONS[0].name,
        value_parser = generation)]
    bootc: &'static Generation,
    /// Write what is hashed as composefs-dump(5) (`-`: standard output).
    #[arg(long, value_name = "FILE", add = complete::file())]
    dumpfile: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// The image, or the tree, with the unified kernel image in it.
    #[arg(add = complete::subject())]
    subject: OsString,
    /// Another view of it: the directory that it was extracted to, or sealed from.
    #[arg(add = complete::subject())]
    other: Option<OsString>,
    /// The kind of bootc, by its first release.
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
        let sealed = Sealed::open(&self.subject, self.bootc)?;
        if let Some(file) = &self.dumpfile {
            write_text(file, &sealed.dumpfile())?;
        }
        let value = json!({
            "schema": "reprofix-composefs-digest-1",
            "subject": sealed.name,
            "bootc": self.bootc.name,
            "digest": sealed.digest,
        });
        self.output.report(&value, || format!("{}\n", sealed.digest))?;
        Ok(Outcome::Same)
    }
}

impl CheckArgs {
    fn exec(self) -> Result<Outcome> {
        let sealed = Sealed::open(&self.subject, self.bootc)?;
        let mut agree = sealed.refused().next().is_none();
        let mut text = format!("{}  {}\n{}", sealed.digest, sealed.name, carried(&sealed));
        let images =
            sealed.ukis.iter().map(|uki| json!({"path": uki.path, "digests": uki.digests}));
        let mut report = json!({
            "schema": "reprofix-composefs-check-1",
            "bootc": self.bootc.name,
            "subject": sealed.name,
            "digest": sealed.digest,
            "kernel_images": images.collect::<Vec<_>>(),
            "boots": agree,
            "comparison": null,
        });
        if let Some(other) = &self.other {
            let other = Sealed::open(other, self.bootc)?;
            let comparison = Comparison::of(&sealed, &other, self.bootc);
            agree &= comparison.same;
            let _ = write!(text, "{}  {}\n{comparison}", other.digest, other.name);
            report["comparison"] = serde_json::to_value(&comparison)?;
        }
        self.output.report(&report, || text)?;
        Ok(if agree { Outcome::Same } else { Outcome::Finding })
    }
}

/// What each unified kernel image carries, a line each.
fn carried(sealed: &Sealed) -> String {
    let line = |uki: &crate::composefs::Uki| match &uki.digests[..] {
        [] => format!("{}: carries no composefs digest\n", uki.path),
        all if all.contains(&sealed.digest) => format!("{}: carries this digest\n", uki.path),
        all => {
            format!(
                "{}: carries {}: the machine will refuse to boot\n",
                uki.path,
                all.join(" and ")
            )
        }
    };
    sealed.ukis.iter().map(line).collect()
}
