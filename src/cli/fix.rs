//! `reprofix fix`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use super::{Choice, Outcome};
use crate::report::Progress;
use crate::run::fix::{Job, run};

#[derive(Debug, clap::Args)]
#[command(after_help = "Running it twice is harmless: the second run changes nothing.")]
pub(super) struct Args {
    /// The target root; `/` only inside a compose sandbox.
    #[arg(default_value = "/")]
    rootfs: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// Say what would change, and change nothing.
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Change nothing; exit 1 if something would change.
    #[arg(long)]
    check: bool,
    /// Write the report as JSON (`-`: standard output).
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// List every change, and compute the ostree content checksum that a commit of the tree will
    /// have, and the composefs digest that bootc seals (reads every file).
    #[arg(long)]
    report: bool,
    /// Threads to use. Default: one a processor.
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// Fail, changing nothing, if some file cannot be parsed.
    #[arg(long)]
    strict: bool,
    /// Rewrite files that are as their package shipped them, too.
    #[arg(long)]
    deep: bool,
    /// Work on the root of a running system.
    #[arg(long)]
    force_host_root: bool,
    /// Work on a directory that does not look like a root.
    #[arg(long)]
    any_directory: bool,
    /// No progress, no summary.
    #[arg(long, short)]
    quiet: bool,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        super::use_threads(self.jobs)?;
        super::writable([&self.json])?;
        let job = Job {
            root: self.rootfs,
            flags: self.choice.flags(),
            dry_run: self.dry_run || self.check,
            deep: self.deep,
            strict: self.strict,
            force_host_root: self.force_host_root,
            any_directory: self.any_directory,
            checksum: self.report,
        };
        let start = Instant::now();
        let report = run(&job, &Progress::new(self.quiet))?;
        let took = start.elapsed();
        for warning in report.warnings() {
            super::warn(&warning);
        }
        if !self.quiet {
            report.spent.iter().for_each(|line| super::say(line));
        }
        if let Some(file) = &self.json {
            super::write_json(file, &report)?;
        }
        let json_on_stdout = self.json.is_some_and(|f| f == std::path::Path::new("-"));
        if !self.quiet && !json_on_stdout {
            super::print(&report.human(self.report || self.dry_run || self.check))?;
        }
        // For people only: what is kept of a run must not depend on how long it took.
        if !self.quiet && std::io::stderr().is_terminal() {
            super::say(&format!("{:.1} s", took.as_secs_f64()));
        }
        if !report.raced.is_empty() {
            bail!(
                "{} paths changed while we worked and were left alone; run again when nothing else \
                 writes to {}",
                report.raced.len(),
                report.root
            );
        }
        let finding = self.check && !(report.changes.is_empty() && report.recovered.is_empty());
        Ok(if finding { Outcome::Finding } else { Outcome::Same })
    }
}
