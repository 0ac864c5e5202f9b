//! `reprofix record`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Outcome;
use super::output::Output;
use crate::record::{Job, libostree};
use crate::source::cosa::{Build, Recorded};
use crate::source::merkle::Merkle as _;
use crate::source::ostree::{Commit, Repository};

#[derive(Debug, clap::Args)]
#[command(after_help = "Adds ostree-content-checksum to the meta.json of coreos-assembler, and \
nothing else: any other key would make cosa refuse the file. Epoch and plugins go into \
reprofix.json beside it.

Run it directly after `cosa build` or `cosa import`: a cosa process that \
has read the old meta.json refuses to write it back.")]
#[command(override_usage = "\
reprofix record --workdir <DIR> [--build <ID>] [--arch <ARCH>] [OPTIONS]
       reprofix record --meta <FILE> --repo <DIR> [OPTIONS]")]
#[group(id = "place", required = true, multiple = true, args = ["meta", "workdir"])]
pub(super) struct Args {
    /// The build's meta.json.
    #[arg(long, value_name = "FILE", conflicts_with = "workdir", requires = "repo")]
    meta: Option<PathBuf>,
    /// A work directory of coreos-assembler: the build's meta.json, and its tmp/repo.
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// The build. Default: the latest.
    #[arg(long, value_name = "ID", requires = "workdir")]
    build: Option<String>,
    /// Only builds of this architecture. Default: the build's only one.
    #[arg(long, value_name = "ARCH", requires = "workdir")]
    arch: Option<String>,
    /// The repository with the commit. Default: tmp/repo in the work directory.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    /// The ref whose commit it is. Default: the commit that meta.json names.
    #[arg(long = "ref", value_name = "REF")]
    branch: Option<String>,
    /// The commit, instead of a ref.
    #[arg(long, conflicts_with = "branch")]
    commit: Option<String>,
    /// Record even if meta.json names another commit. One image imported twice has two merge
    /// commits with the same content: this records the content of one for the build of the other.
    #[arg(long)]
    other_commit: bool,
    /// A report that `fix --json` wrote for this build's tree (may be repeated): its epoch and its
    /// plugins go into reprofix.json.
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

impl Args {
    pub(super) fn exec(self) -> Result<Outcome> {
        let (meta, repo) = self.places()?;
        let repository = Repository::open(&repo)?;
        let named = self.branch.or(self.commit);
        let rev = match named {
            Some(rev) => rev,
            None => {
                let commit = Recorded::read(&meta)?.commit;
                commit
                    .with_context(|| format!("no ostree-commit in {}", meta.display()))?
                    .to_string()
            }
        };
        let id = repository.resolve(Some(&rev))?;
        let content = libostree::content_checksum(&repo, &id)?;
        let ours = Commit::open(repository, id)?.root().content_checksum();
        ensure!(
            ours == content,
            "commit {id} has content checksum {content} according to libostree and {ours} according to reprofix: please report this"
        );
        let mut job = Job::new(&meta, id, content);
        job.other_commit = self.other_commit;
        job.reports = self.report;
        let done = job.run()?;
        let verb = if done.changed { "recorded in" } else { "was already in" };
        let report = json!({
            "schema": "reprofix-recorded-1",
            "meta": meta.display().to_string(),
            "sidecar": done.sidecar.display().to_string(),
            "ostree-commit": id.to_string(),
            "ostree-content-checksum": content.to_string(),
            "changed": done.changed,
        });
        self.output.report(&report, || {
            format!("content checksum {content} {verb} {}\n", meta.display())
        })?;
        Ok(Outcome::Same)
    }

    /// The meta.json and the repository.
    fn places(&self) -> Result<(PathBuf, PathBuf)> {
        let (meta, cache) = match (&self.meta, &self.workdir) {
            (Some(meta), _) => (meta.clone(), None),
            (None, Some(workdir)) => {
                let build = Build::find(workdir, self.build.as_deref(), self.arch.as_deref())?;
                (build.meta(), Some(build.repo()))
            }
            (None, None) => anyhow::bail!("give --meta or --workdir"),
        };
        let repo = self.repo.clone().or(cache).context("give --repo")?;
        Ok((meta, repo))
    }
}
