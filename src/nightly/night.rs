//! One night: builds every stream twice, compares and records.
//!
//! A run is a row that says `running` from before its first file exists until its end, and a lock
//! file that its process holds meanwhile. If the lock of such a row is free, its process is gone:
//! the next run ends what is left of it, clears its directory and closes the row.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::bisect::{self, Trial};
use super::build::{self, Built, Failure, Plan};
use super::compare::{self, Compared, Request};
use super::config::{Config, Keep, Stream, is_name};
use super::vary::{self, Side, Variation};
use super::{inputs, mounts, procs, signals, tail};
use crate::config::Flags;
use crate::disk;
use crate::env;
use crate::history::{Class, Finish, History, Run, Verdict};
use crate::report::check::Comparison;

/// Bytes at the end of each build's output that the history keeps.
const LOG_TAIL: u64 = 64 << 10;

/// Seconds after which a running row of another machine counts as dead.
const FORGOTTEN: i64 = 7 * 86_400;

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only these streams; all if empty.
    pub streams: Vec<String>,
    /// Bisect every stream that differs.
    pub bisect: bool,
}

/// A run that has ended, with its comparison.
pub(crate) struct Ended {
    /// Its row in the history.
    pub run: Run,
    /// The whole report, if the comparison was made.
    pub report: Option<Comparison>,
}

/// Runs the streams one after another and calls `say` after each. A signal to stop ends the current
/// one, and no other is begun.
///
/// # Errors
///
/// If nothing can be recorded or a stream's configuration cannot work; a failure in a build is a
/// verdict.
pub(crate) fn run(
    config: &Config,
    options: &Options,
    say: &mut dyn FnMut(&Run),
) -> Result<Vec<Ended>> {
    let streams = chosen(config, &options.streams)?;
    procs::become_reaper().context("becoming the reaper of the builds' processes")?;
    let creating = || format!("creating {}", config.work.display());
    disk::create_dir_all(&config.work).with_context(creating)?;
    let mut history = History::open(&config.history)?;
    for run in recover(&mut history)? {
        say(&run);
    }
    let mut ended = Vec::new();
    signals::listen().context("listening for signals")?;
    for stream in streams {
        if signals::asked() {
            break;
        }
        let night = Night { config, stream, bisect: options.bisect || stream.bisect };
        let one = night.run(&mut history)?;
        say(&one.run);
        ended.push(one);
    }
    Ok(ended)
}

/// Records the comparison of two existing subjects.
pub(crate) fn compare(history: &Path, stream: &str, request: &Request) -> Result<Ended> {
    ensure!(is_name(stream), "{stream:?} cannot be a stream's name");
    let mut history = History::open(history)?;
    let mut run = Run::start(stream, "compare");
    run.token = token();
    run.epoch = request.flags.epoch.as_ref().and_then(|epoch| epoch.parse().ok());
    let started = Instant::now();
    let mut finish = Finish::default();
    let compared = compare::compare(request);
    let report = note(&mut run, &mut finish, request, compared);
    run.seconds = started.elapsed().as_secs_f64();
    // The row is written only now, so that no row must be closed if this run is killed.
    history.begin(&mut run)?;
    history.finish(&run, &finish)?;
    Ok(Ended { run, report })
}

/// The class of all these runs: the worst one.
pub(crate) fn class(ended: &[Ended]) -> Class {
    ended.iter().map(|one| one.run.verdict.class()).max().unwrap_or(Class::Good)
}

fn chosen<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Stream>> {
    for name in names {
        let known: Vec<&str> = config.stream.iter().map(|s| s.name.as_str()).collect();
        let known = known.join(", ");
        ensure!(
            config.stream.iter().any(|s| s.name == *name),
            "unknown stream {name:?}; the configuration has {known}"
        );
    }
    let wanted = |s: &&Stream| names.is_empty() || names.contains(&s.name);
    let streams: Vec<&Stream> = config.stream.iter().filter(wanted).collect();
    ensure!(!streams.is_empty(), "the configuration has no [[stream]]");
    for stream in &streams {
        stream.is_ready().with_context(|| format!("stream {:?}", stream.name))?;
    }
    Ok(streams)
}

/// Closes and returns every run whose process is gone.
fn recover(history: &mut History) -> Result<Vec<Run>> {
    let (host, now) = (env::host_name(), env::unix_time());
    let mut closed = Vec::new();
    for run in history.running()? {
        let here = run.host == host;
        if !here && now - run.started < FORGOTTEN {
            continue;
        }
        let lock = lock_of(Path::new(&run.work));
        if here && lock.exists() && disk::flock(&lock)?.is_none() {
            continue;
        }
        if here && !run.work.is_empty() {
            procs::kill_marked(&run.token)?;
            clear(Path::new(&run.work))?;
        }
        if history.interrupt(run.id)? {
            history.forget_work(run.id)?;
            closed.push(history.run(run.id)?);
        }
    }
    Ok(closed)
}

/// Removes a run's directory and its lock.
fn clear(work: &Path) -> Result<()> {
    mounts::remove(work).with_context(|| format!("removing {}", work.display()))?;
    Ok(disk::remove_file(&lock_of(work))?)
}

fn lock_of(work: &Path) -> PathBuf {
    let mut name = work.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// A unique mark for a run and its processes.
pub(super) fn token() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = env::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{} {} {now} {count}", env::host_name(), std::process::id());
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// One stream's run.
struct Night<'a> {
    config: &'a Config,
    stream: &'a Stream,
    bisect: bool,
}

impl Night<'_> {
    fn run(&self, history: &mut History) -> Result<Ended> {
        let mut run = Run::start(&self.stream.name, "build");
        run.token = token();
        let work = self.config.work.join(format!("{}-{}", self.stream.name, run.token));
        run.work = work.display().to_string();
        if let Some(architecture) = &self.stream.architecture {
            run.architecture.clone_from(architecture);
        }
        self.forget(history)?;
        // The lock is held before the row says so.
        let lock = disk::flock(&lock_of(&work)).context("locking the run's directory")?;
        history.begin(&mut run)?;
        let started = Instant::now();
        let mut finish = Finish::default();
        let report = match self.attempt(&work, &mut run, &mut finish) {
            Ok(report) => report,
            Err(failure) => {
                run.verdict = failure.verdict;
                run.detail = failure.detail;
                None
            }
        };
        run.seconds = started.elapsed().as_secs_f64();
        finish.log = logs(&work);
        self.tidy(&work, &mut run)?;
        history.finish(&run, &finish)?;
        drop(lock);
        disk::remove_file(&lock_of(&work))?;
        Ok(Ended { run, report })
    }

    /// Removes builds that earlier runs of the stream on this machine kept for inspection.
    fn forget(&self, history: &mut History) -> Result<()> {
        for run in history.runs(Some(&self.stream.name), 30)? {
            let here = run.host == env::host_name() && !run.work.is_empty();
            if here && run.verdict != Verdict::Running {
                clear(Path::new(&run.work))?;
                history.forget_work(run.id)?;
            }
        }
        Ok(())
    }

    fn attempt(
        &self,
        work: &Path,
        run: &mut Run,
        finish: &mut Finish,
    ) -> Result<Option<Comparison>, Failure> {
        let setup = |e: anyhow::Error| Failure::of_setup(&e);
        let io = |e: io::Error| Failure::of_io("setting up", &e);
        let recipe = self.stream.recipe().map_err(setup)?;
        let epoch = self.stream.epoch().map_err(setup)?;
        let wanted = self.stream.variations().map_err(setup)?;
        let scratch = work.join("probe");
        disk::create_dir_all(&scratch).map_err(io)?;
        let (wanted, spared) = vary::spare(wanted, self.stream.spares());
        let (variations, mut skipped) = vary::possible(wanted, &scratch);
        skipped.extend(spared);
        mounts::remove(&scratch).map_err(io)?;
        run.epoch = Some(epoch.seconds());
        run.variations = vary::names(&variations);
        run.skipped = skipped;
        run.inputs = inputs::digest(self.stream, &recipe, epoch, &run.variations).map_err(io)?;
        let plan =
            Plan { stream: self.stream, recipe: &recipe, run: work, token: &run.token, epoch };
        let built = both(&plan, &variations, "a", "b")?;
        let request = self.request(&built);
        let compared = compare::compare(&request);
        let differs = matches!(&compared, Ok(c) if c.verdict == Verdict::Different);
        if differs && self.bisect && !variations.is_empty() {
            run.culprit = self.enough(&plan, &variations);
        }
        let report = note(run, finish, &request, compared);
        blame_processes(run, &built);
        Ok(report)
    }

    fn request(&self, built: &[Built; 2]) -> Request {
        let flags = Flags {
            epoch: self.stream.epoch().ok().map(|epoch| epoch.to_string()),
            config: self.stream.config.clone(),
            skip: self.stream.skip.clone(),
            ..Flags::default()
        };
        let subject = |built: &Built| OsString::from(&built.subject);
        let [a, b] = built;
        Request {
            a: subject(a),
            b: subject(b),
            flags,
            expect: self.stream.expect.clone(),
            excerpts: self.config.pages.is_some(),
        }
    }

    /// The sets of variations that are enough to make two more builds differ, separated by
    /// semicolons; `None` if a signal to stop comes before they are found.
    fn enough(&self, plan: &Plan<'_>, variations: &[&'static Variation]) -> Option<String> {
        let mut count = 0;
        let all: Vec<usize> = (0..variations.len()).collect();
        let pick = |set: &[usize]| set.iter().map(|at| variations[*at]).collect::<Vec<_>>();
        let found = bisect::enough(&all, |set| {
            count += 1;
            let (a, b) = (format!("trial-{count}-a"), format!("trial-{count}-b"));
            let trial = self.trial(plan, &pick(set), &a, &b);
            for dir in [a.as_str(), b.as_str(), "build", "another-and-longer-path"] {
                // Remaining files take space; the end of the run removes them or says why not.
                let _ = mounts::remove(&plan.run.join(dir));
            }
            trial
        });
        let names: Vec<String> = found.iter().map(|set| vary::names(&pick(set))).collect();
        (!signals::asked()).then(|| names.join(";"))
    }

    fn trial(&self, plan: &Plan<'_>, set: &[&'static Variation], a: &str, b: &str) -> Trial {
        let Ok(built) = both(plan, set, a, b) else { return Trial::Unknown };
        match compare::compare(&self.request(&built)) {
            Ok(compared) if compared.verdict == Verdict::Different => Trial::Differs,
            Ok(_) => Trial::Same,
            Err(_) => Trial::Unknown,
        }
    }

    /// Keeps or removes the run's directory. If the disk was full it is always removed: the history
    /// needs the space.
    fn tidy(&self, work: &Path, run: &mut Run) -> Result<()> {
        let worth_a_look = run.verdict.class() != Class::Good
            && !matches!(run.verdict, Verdict::DiskFull | Verdict::Interrupted);
        if self.stream.keep == Keep::Failed && worth_a_look {
            return Ok(());
        }
        match mounts::remove(work) {
            Ok(_) => run.work.clear(),
            Err(error) => run.notes.push(format!("{} is left: {error}", work.display())),
        }
        Ok(())
    }
}

/// Builds both sides under `variations`.
fn both(
    plan: &Plan<'_>,
    variations: &[&'static Variation],
    a: &str,
    b: &str,
) -> Result<[Built; 2], Failure> {
    let one = |name: &str, side| {
        let launch = vary::launch(variations, side)
            .map_err(|e| Failure::of_io(name, &io::Error::other(e)))?;
        build::build(plan, name, &launch)
    };
    Ok([one(a, Side::A)?, one(b, Side::B)?])
}

/// Adds the result of a comparison to the run.
fn note(
    run: &mut Run,
    finish: &mut Finish,
    request: &Request,
    compared: Result<Compared>,
) -> Option<Comparison> {
    let text = |subject: &OsString| subject.to_string_lossy().into_owned();
    run.subject_a = text(&request.a);
    run.subject_b = text(&request.b);
    match compared {
        Err(error) => {
            run.verdict = Verdict::CompareFailed;
            run.detail = format!("{error:#}");
            None
        }
        Ok(compared) => {
            run.verdict = compared.verdict;
            run.detail = compared.detail;
            run.plugins = compared.plugins;
            [run.checksum_a, run.checksum_b] = compared.checksums;
            [run.composefs_a, run.composefs_b] = compared.composefs;
            run.notes.extend(compared.warnings);
            finish.differences = compared.differences;
            finish.packages = compared.packages;
            compared.report
        }
    }
}

/// Changes the verdict if a build was still writing when it "ended", since a difference then proves
/// nothing.
fn blame_processes(run: &mut Run, built: &[Built; 2]) {
    for (side, built) in ["a", "b"].iter().zip(built) {
        if !built.left.is_empty() {
            let names = built.left.join(", ");
            run.notes.push(format!("build {side} left processes running, now ended: {names}"));
        }
    }
    if run.verdict == Verdict::Different && built.iter().any(|b| !b.left.is_empty()) {
        run.verdict = Verdict::LeftProcesses;
        run.detail =
            format!("{}; processes that a build left running may be the cause", run.detail);
    }
}

/// The ends of the builds' logs.
fn logs(work: &Path) -> String {
    let one = |name: &str| {
        let log = tail(&work.join(format!("{name}.log")), LOG_TAIL).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    };
    ["a", "b"].map(one).concat()
}

/// Waits before another attempt: 1 s, 2 s, 4 s, …
pub(super) fn pause(attempt: u32) {
    std::thread::sleep(Duration::from_secs(1 << attempt.min(6)));
}
