//! `reprofix fix`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use super::output::Output;
use super::{Choice, Outcome, complete};
use crate::report::Progress;
use crate::run::fix::{Job, run};
use crate::text::counted;

#[derive(Debug, clap::Args)]
#[command(after_help = "Running it twice is harmless: the second run changes nothing.")]
pub(super) struct Args {
    /// The target root; `/` only inside a compose sandbox.
    #[arg(default_value = "/", add = complete::directory())]
    rootfs: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// Say what would change, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Change nothing; exit 1 if something would change.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    output: Output,
    /// List every change, and compute the ostree content checksum that a commit of the tree will
    /// have, and the composefs digest that bootc seals (reads every file).
    #[arg(long, alias = "report")]
    checksums: bool,
    /// Threads to use. Default: one a processor.
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// Fail, changing nothing, if some file cannot be parsed.
    #[arg(long)]
    strict: bool,
    /// Rewrite files that are as their package shipped them, too.
    #[arg(long)]
    deep: bool,
    /// Take the compressed bytes of a boot image that an earlier compose left, where what they unpack
    /// to is what would be compressed, byte for byte: an image, or a subject with images.
    #[arg(long, value_name = "IMAGE|SUBJECT")]
    reuse: Option<std::ffi::OsString>,
    /// Work on the root of a running system.
    #[arg(long)]
    force_host_root: bool,
    /// Work on a directory that does not look like a root.
    #[arg(long)]
    any_directory: bool,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        super::use_threads(self.jobs)?;
        super::writable([&self.output.json])?;
        let job = Job {
            root: self.rootfs,
            flags: self.choice.flags(),
            dry_run: self.dry_run || self.check,
            deep: self.deep,
            strict: self.strict,
            force_host_root: self.force_host_root,
            any_directory: self.any_directory,
            checksum: self.checksums,
            reuse: self.reuse,
        };
        let start = Instant::now();
        let report = run(&job, &Progress::new(self.output.quiet))?;
        let took = start.elapsed();
        for warning in report.warnings() {
            super::warn(&warning);
        }
        if !self.output.quiet {
            report.spent.iter().for_each(|line| super::say(line));
        }
        let all = self.checksums || self.dry_run || self.check;
        self.output.report(&report, || report.human(all))?;
        // For people only: what is kept of a run must not depend on how long it took.
        if !self.output.quiet && std::io::stderr().is_terminal() {
            super::say(&format!("{:.1} s", took.as_secs_f64()));
        }
        if !report.raced.is_empty() {
            bail!(
                "left alone, since they changed while we worked: {}; run again when nothing else \
                 writes to {}",
                counted(report.raced.len(), "path"),
                report.root
            );
        }
        let finding = self.check && !(report.changes.is_empty() && report.recovered.is_empty());
        Ok(if finding { Outcome::Finding } else { Outcome::Same })
    }
}
