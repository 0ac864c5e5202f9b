//! `reprofix check`.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use super::output::Output;
use super::{Choice, Outcome, complete};
use crate::check::{Budget, Diffoscope};
use crate::compare::{Compared, alone, compare};
use crate::report::check::Comparison;
use crate::report::outline::Outline;
use crate::report::{Progress, html, junit, markdown, sarif};
use crate::run::check::{Job, audit};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Subjects:
  ostree:REPO[:REF|COMMIT]      a commit; without REF, the repository's only ref
  cosa:WORKDIR[:BUILD[/ARCH]]   a build of coreos-assembler; without BUILD, the latest
  dir:PATH                      a directory, as a commit of it would be
  file:PATH                     a single file: an rpm, a boot image, a UKI, a jar, an ELF file, …
  rpmdb:PATH                    an rpm database: its file of packages, or the directory of it
  oci:LAYOUT[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], dir:FOLDER of skopeo
                                an ostree commit in an image; two images that are not both
                                commits compare with one another, platform by platform
  registry:STORAGE[:REPOSITORY[:TAG]]
                                the same in a registry's storage, or in oc-mirror's archives of it
  containers-storage:[ROOT]NAME the same in the storage of podman, buildah and CRI-O; without ROOT in
                                /var/lib/containers/storage: storage.conf is not read
  PATH[:REF|:BUILD|:TAG]        whatever is there
An image in a registry is copied first: skopeo copy --all docker://IMAGE oci:LAYOUT:TAG

What is mounted in a directory is not part of it. Of one subject: whether it is in normal form (what `fix` would change), and whether it has the \
content checksum that its meta.json records. What a plugin only reports is listed and does not \
count. Of operator catalogs in images: whether all platforms hold the same bundles.

Expectations (reprofix-expect.toml) are entries of a glob, a reason and a last day, and the plugin \
that must be the cause, if any:
  [[expect]]
  path = \"usr/lib/modules/*/extra/**\"
  reason = \"signed with a key of its own in every build\"
  expires = 2027-03-01")]
pub(super) struct Args {
    /// The first subject.
    #[arg(add = complete::subject())]
    a: OsString,
    /// The second subject.
    #[arg(add = complete::subject())]
    b: Option<OsString>,
    #[command(flatten)]
    choice: Choice,
    /// A meta.json whose ostree-content-checksum the one subject must have.
    #[arg(long, value_name = "FILE", conflicts_with = "b")]
    meta: Option<PathBuf>,
    /// Of images: only this platform; it may be given several times.
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    platform: Vec<String>,
    /// Count every difference of commit metadata, legitimate ones too; of images: of times,
    /// history, compression and shape.
    #[arg(long)]
    strict_metadata: bool,
    /// Of two directories: compute their content checksums, too, which takes several times as long.
    #[arg(long, requires = "b")]
    checksums: bool,
    /// Show the content of files that hold secrets (password hashes, private keys, credentials), on
    /// a terminal only.
    #[arg(long, requires = "b",
        conflicts_with_all = ["json", "html", "markdown", "sarif", "junit"])]
    show_secrets: bool,
    /// Rewrite files that are as their package shipped them, too.
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    output: Output,
    /// Write one self-contained page for a browser, with both contents side by side.
    #[arg(long, value_name = "FILE", requires = "b")]
    html: Option<PathBuf>,
    /// Write Markdown, for an issue or a merge request (`-`: standard output).
    #[arg(long, value_name = "FILE", requires = "b")]
    markdown: Option<PathBuf>,
    /// Write SARIF 2.1.0, for a code host's findings.
    #[arg(long, value_name = "FILE", requires = "b")]
    sarif: Option<PathBuf>,
    /// Write JUnit XML, for a CI system's tests.
    #[arg(long, value_name = "FILE", requires = "b")]
    junit: Option<PathBuf>,
    /// Differences that are accepted for a time. Default: reprofix-expect.toml in the current
    /// directory, if it is there.
    #[arg(long, value_name = "FILE", requires = "b")]
    expect: Option<PathBuf>,
    /// Ask diffoscope about up to 25 files that nothing explains, each for a minute at most.
    #[arg(long, value_name = "PROGRAM", requires = "b", num_args = 0..=1, require_equals = true,
        default_missing_value = "diffoscope")]
    diffoscope: Option<PathBuf>,
    /// Seconds that diffoscope may take for all of them.
    #[arg(long, value_name = "SECONDS", requires = "diffoscope", default_value_t = 300)]
    diffoscope_timeout: u64,
    /// What explaining differences may take: a time (600s, 10m, 1h), memory for the contents of files
    /// (512MiB, 4GiB), or both. Every path that differs is listed whatever the budget; what was not
    /// looked into is named. Default: 1h,4GiB.
    #[arg(long, value_name = "TIME,SIZE", requires = "b")]
    budget: Option<Budget>,
    /// Paths listed for each cause, at most; 0 lists all.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Threads to use. Default: one a processor.
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        super::use_threads(self.jobs)?;
        super::writable(self.outputs())?;
        if self.show_secrets && !std::io::stdout().is_terminal() {
            bail!("--show-secrets is for a terminal: a file or a pipe would keep the secrets");
        }
        let job = Job {
            a: self.a.clone(),
            b: self.b.clone(),
            flags: self.choice.flags(),
            deep: self.deep,
            meta: self.meta.clone(),
            strict_metadata: self.strict_metadata,
            expect: self.expect.clone(),
            excerpts: self.html.is_some(),
            checksums: self.checksums,
            show_secrets: self.show_secrets,
            diffoscope: self.diffoscope.clone().map(|program| Diffoscope {
                program,
                timeout: Duration::from_secs(self.diffoscope_timeout),
            }),
            budget: self.budget.unwrap_or_default(),
        };
        let progress = Progress::new(self.output.quiet);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        if job.b.is_none() {
            if let Some(report) = alone(&job, &self.platform)? {
                self.say(&report, &[], || report.human(limit))?;
                return Ok(if report.same { Outcome::Same } else { Outcome::Finding });
            }
            let report = audit(&job, &progress)?;
            self.say(&report, &report.warnings, || report.human(limit))?;
            return Ok(if report.sound { Outcome::Same } else { Outcome::Finding });
        }
        let compared = compare(&job, &self.platform, &progress)?;
        match &compared {
            Compared::Trees { report, .. } => self.files(report, limit)?,
            Compared::Images { report, .. } => self.forms(&report.outline(limit))?,
        }
        self.say(&compared, compared.warnings(), || compared.human(limit))?;
        Ok(if compared.same() { Outcome::Same } else { Outcome::Finding })
    }

    fn outputs(&self) -> [&Option<PathBuf>; 5] {
        [&self.output.json, &self.html, &self.markdown, &self.sarif, &self.junit]
    }

    /// Writes the forms that were asked for beside text and JSON.
    fn files(&self, report: &Comparison, limit: usize) -> Result<()> {
        if let Some(file) = &self.html {
            super::write_text(file, &html::page(report))?;
        }
        if let Some(file) = &self.markdown {
            super::write_text(file, &markdown::markdown(report, limit))?;
        }
        if let Some(file) = &self.junit {
            super::write_text(file, &junit::junit(report))?;
        }
        if let Some(file) = &self.sarif {
            super::write_json(file, &sarif::sarif(report))?;
        }
        Ok(())
    }

    /// Writes the forms that were asked for of a comparison that is not path by path.
    fn forms(&self, outline: &Outline) -> Result<()> {
        if let Some(file) = &self.html {
            super::write_text(file, &outline.page())?;
        }
        if let Some(file) = &self.markdown {
            super::write_text(file, &outline.markdown())?;
        }
        if let Some(file) = &self.junit {
            super::write_text(file, &outline.junit())?;
        }
        if let Some(file) = &self.sarif {
            super::write_json(file, &outline.sarif())?;
        }
        Ok(())
    }

    /// Writes the report wherever it was asked for.
    fn say(
        &self,
        report: &impl serde::Serialize,
        warnings: &[String],
        human: impl Fn() -> String,
    ) -> Result<()> {
        warnings.iter().for_each(|w| super::warn(w));
        let dash = Some(Path::new("-"));
        let taken = self.outputs().iter().any(|file| file.as_deref() == dash);
        let output = Output { quiet: self.output.quiet || taken, ..self.output.clone() };
        output.report(report, human)
    }
}
