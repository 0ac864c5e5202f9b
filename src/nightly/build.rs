//! One build: a fresh directory, the steps, the subject.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::config::{Step, Stream};
use super::exec::{self, End, Limits, Log};
use super::launch::{Launch, placed};
use super::mounts;
use super::preset::Recipe;
use crate::disk;
use crate::env::SourceDateEpoch;
use crate::history::Verdict;

/// What the two builds of a run have in common.
pub(crate) struct Plan<'a> {
    /// The stream.
    pub stream: &'a Stream,
    /// Its steps and subject.
    pub recipe: &'a Recipe,
    /// The run's own directory.
    pub run: &'a Path,
    /// The mark of its processes.
    pub token: &'a str,
    /// For SOURCE_DATE_EPOCH.
    pub epoch: SourceDateEpoch,
}

/// A successful build.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// Its subject.
    pub subject: String,
    /// Names of processes that it left running.
    pub left: Vec<String>,
}

/// A failed build.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The kind of failure.
    pub verdict: Verdict,
    /// One line on what happened.
    pub detail: String,
}

impl Failure {
    /// A failure of a build step or of what it needs.
    fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        Failure { verdict, detail: detail.into() }
    }

    /// A failure because something that the stream needs is missing or wrong.
    pub(super) fn of_setup(error: &anyhow::Error) -> Self {
        Failure::new(Verdict::BuildFailed, format!("before the builds: {error:#}"))
    }

    /// A failure of reprofix itself while building `name`.
    pub(super) fn of_io(name: &str, error: &io::Error) -> Self {
        let verdict = if is_full(error) { Verdict::DiskFull } else { Verdict::BuildFailed };
        Failure::new(verdict, format!("build {name}: {error}"))
    }
}

/// Whether an error says that no space, or no quota, is left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Builds once. `name` is the name of the build's directory afterwards; its output goes to
/// `NAME.log` beside it.
///
/// Every build is made in the same directory, unless its path is varied, and moved away afterwards:
/// two builds share nothing, but have the same path.
pub(crate) fn build(plan: &Plan<'_>, name: &str, launch: &Launch) -> Result<Built, Failure> {
    let failed = |error: io::Error| Failure::of_io(name, &error);
    let places = Places::create(plan.run, name, launch).map_err(failed)?;
    let limits = Limits {
        deadline: Instant::now() + Duration::from_secs(plan.stream.time_limit.0),
        log: plan.stream.log_limit.0,
        free: plan.stream.min_free.0,
    };
    if exec::is_full(&limits, plan.run) {
        let detail = format!("build {name}: less than min-free was left before it began");
        return Err(Failure::new(Verdict::DiskFull, detail));
    }
    let mounted = match launch.disorder {
        Some(reverse) => {
            Some(mounts::disorderfs(&places.below, &places.work, reverse).map_err(failed)?)
        }
        None => None,
    };
    let left = steps(plan, name, launch, &places, &limits)?;
    if let Some(mounted) = mounted {
        mounted.unmount().map_err(failed)?;
    }
    let dir = plan.run.join(name);
    disk::rename(&places.below, &dir).map_err(failed)?;
    let subject = placed(OsStr::new(&plan.recipe.subject), &dir).to_string_lossy().into_owned();
    Ok(Built { subject, left })
}

/// Runs every step; returns the names of processes that they left running.
fn steps(
    plan: &Plan<'_>,
    name: &str,
    launch: &Launch,
    places: &Places,
    limits: &Limits,
) -> Result<Vec<String>, Failure> {
    let failed = |error: io::Error| Failure::of_io(name, &error);
    let mut log = Log::create(&plan.run.join(format!("{name}.log"))).map_err(failed)?;
    let mut left = Vec::new();
    let count = plan.recipe.steps.len();
    for (n, step) in plan.recipe.steps.iter().enumerate() {
        let n = n + 1;
        log.say(&format!("=== build {name}, step {n} of {count}")).map_err(failed)?;
        let mut command =
            launch.command(&words(step, &places.work), &places.scratch).map_err(failed)?;
        command
            .envs(&plan.recipe.env)
            .env("REPROFIX_RUN", plan.token)
            .env("REPROFIX_STREAM", &plan.stream.name)
            .env("REPROFIX_WORK", &places.work)
            .env("SOURCE_DATE_EPOCH", plan.epoch.to_string())
            .env("TMPDIR", &places.tmp)
            // A variation overrides the stream's settings.
            .envs(&launch.env);
        let ended = exec::run(command, &log, limits, &places.work).map_err(failed)?;
        left.extend(ended.left);
        let (verdict, what) = match ended.end {
            End::Exit(status) if status.success() => continue,
            End::Exit(status) => (Verdict::BuildFailed, exec::ended(status)),
            End::NotStarted(why) => (Verdict::BuildFailed, why),
            End::TimedOut => {
                let limit = plan.stream.time_limit.0;
                (Verdict::TimedOut, format!("not done after {limit} s"))
            }
            End::LogLimit => {
                let limit = plan.stream.log_limit.0;
                (Verdict::LogLimit, format!("more than {limit} bytes of output"))
            }
            End::DiskFull => (Verdict::DiskFull, "no space left".to_owned()),
            End::Interrupted => {
                (Verdict::Interrupted, "reprofix received a signal to stop".to_owned())
            }
        };
        return Err(Failure::new(verdict, format!("build {name}, step {n} of {count}: {what}")));
    }
    Ok(left)
}

fn words(step: &Step, work: &Path) -> Vec<OsString> {
    match step {
        Step::Script(text) => ["/bin/sh", "-euc", text].map(OsString::from).into(),
        Step::Command(words) => words.iter().map(|w| placed(OsStr::new(w), work)).collect(),
    }
}

/// The directories of one build.
struct Places {
    /// The directory of its files.
    below: PathBuf,
    /// The directory in which it sees them, which differs only under disorderfs.
    work: PathBuf,
    /// TMPDIR.
    tmp: PathBuf,
    /// A directory for files that the launch needs.
    scratch: PathBuf,
}

impl Places {
    fn create(run: &Path, name: &str, launch: &Launch) -> io::Result<Self> {
        let pick = |elsewhere: bool, here: &str, there: &str| {
            run.join(if elsewhere { there } else { here })
        };
        let work =
            pick(launch.directories.elsewhere, "build", "another-and-longer-path/to/the/build");
        let tmp = pick(launch.directories.tmp_elsewhere, "tmp", "another-and-longer-path/to/tmp");
        let below = match launch.disorder {
            Some(_) => run.join("below-disorderfs"),
            None => work.clone(),
        };
        let scratch = run.join(format!("{name}.scratch"));
        mounts::remove(&tmp)?;
        for dir in [&work, &tmp, &below, &scratch] {
            disk::create_dir_all(dir)?;
        }
        Ok(Places { below, work, tmp, scratch })
    }
}
