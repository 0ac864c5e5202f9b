//! The nightly record at size: how long the pages take, and what each page asks of the database.
//!
//! `cargo bench --bench nightly [-- RUNS...]`; by default 1,000 and 10,000 runs of 100 differences
//! each, over ten streams. It fails where 1,000 runs take 2 seconds or more to render, or one
//! page's queries 50 milliseconds or more.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use reprofix::history::{Difference, Finish, History, Run, Verdict, by_stream};
use reprofix::nightly::pages;

const DIFFERENCES: usize = 100;
const STREAMS: usize = 10;
/// Distinct paths: what differs one night mostly differs the next.
const PATHS: usize = 500;

fn difference(run: usize, n: usize) -> Difference {
    let path = (run / 50 * 7 + n * 3) % PATHS;
    Difference {
        path: format!("usr/lib/module-{:02}/some/longer/path/file-{path:04}.conf", path % 40),
        kind: "content".into(),
        cause: if path.is_multiple_of(3) { "unexplained" } else { "fixed" }.into(),
        plugin: (!path.is_multiple_of(3)).then(|| "pycache".into()),
        package: Some(format!("package-{:02}", path % 40)),
        text: format!("byte {} differs: {run:x} and {:x}", path * 17, run * 31 + n),
    }
}

/// A history of `count` runs.
fn fill(path: &Path, count: usize) -> History {
    let mut history = History::open(path).unwrap();
    (0..count).for_each(|n| add(&mut history, n));
    history
}

/// Run `n`. A package changes every twenty nights.
fn add(history: &mut History, n: usize) {
    let version = |p: usize| (n / STREAMS + p) / 20;
    let packages: BTreeMap<String, String> = (0..500)
        .map(|p| (format!("package-{p:02}"), format!("1.{}-1.x86_64", version(p))))
        .collect();
    let mut run = Run::start(&format!("stream-{}", n % STREAMS), "build");
    run.token = format!("token-{n}");
    run.started = 1_700_000_000 + (n / STREAMS * 86_400) as i64;
    history.begin(&mut run).unwrap();
    run.verdict = Verdict::Different;
    run.inputs = format!("{n}");
    run.detail = format!("{DIFFERENCES} paths");
    let differences = (0..DIFFERENCES).map(|i| difference(n, i)).collect();
    let log = format!("the end of the log of run {n}\n").repeat(50);
    history.finish(&run, &Finish { differences, packages, log }).unwrap();
}

/// Files and bytes below a directory.
fn written(dir: &Path) -> (u64, u64) {
    let files =
        walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
    let sizes = files.filter(|file| file.is_file()).map(|file| file.len());
    sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
}

fn timed<T>(what: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = what();
    (value, start.elapsed())
}

/// What each kind of page asks, and the slowest of its kind.
fn queries(history: &History) -> Vec<(&'static str, Duration)> {
    let newest = history.runs(None, 1).unwrap()[0].clone();
    let streams = history.streams().unwrap();
    let paths = history.paths().unwrap();
    let packages = history.packages_seen().unwrap();
    let slowest = |all: Vec<Duration>| all.into_iter().max().unwrap_or_default();
    let overview = || {
        streams.iter().for_each(|s| drop(history.counts(s, 30).unwrap()));
        history.flaky(30).unwrap();
        let runs = history.runs(None, 50).unwrap();
        let counts = runs.iter().map(|run| history.count(run.id).unwrap());
        std::hint::black_box(counts.sum::<u64>());
    };
    let stream = |s: &String| {
        history.counts(s, 30).unwrap();
        let runs = history.runs(Some(s), 100).unwrap();
        let counts = runs.iter().map(|run| history.count(run.id).unwrap());
        std::hint::black_box(counts.sum::<u64>());
    };
    let runs = history.runs(None, u32::MAX).unwrap();
    let all = by_stream(&runs);
    let path = |(path, _): &(String, u64)| {
        history.blame_among(path, &all).unwrap();
        history.of_path(path, 100).unwrap();
    };
    let package = |(name, _): &(String, u64)| drop(history.of_package(name, 100).unwrap());
    vec![
        ("overview", timed(overview).1),
        ("a stream", slowest(streams.iter().map(|s| timed(|| stream(s)).1).collect())),
        ("a run", timed(|| history.first_differences(newest.id, 200, 2000).unwrap()).1),
        ("a path", slowest(paths.iter().take(50).map(|p| timed(|| path(p)).1).collect())),
        ("a package", slowest(packages.iter().take(50).map(|p| timed(|| package(p)).1).collect())),
        ("list of paths", timed(|| (history.paths(), history.paths_shown(200))).1),
        ("list of packages", timed(|| history.packages_seen()).1),
    ]
}

fn main() {
    // Cargo passes `--bench`.
    let mut counts: Vec<usize> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![1_000, 10_000];
    }
    let mut missed = false;
    for count in counts {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history.db");
        let (mut history, took) = timed(|| fill(&file, count));
        let size = std::fs::metadata(&file).unwrap().len();
        println!("{count} runs of {DIFFERENCES} differences: {size} bytes, recorded in {took:.1?}");
        let site = dir.path().join("pages");
        let (_, first) = timed(|| pages::write(&history, &site, None).unwrap());
        let (_, again) = timed(|| pages::write(&history, &site, None).unwrap());
        let (files, bytes) = written(&site);
        println!("  all pages, {files} files of {bytes} bytes: {first:.2?}; again: {again:.2?}");
        (0..STREAMS).for_each(|n| add(&mut history, count + n));
        let (_, next) = timed(|| pages::write(&history, &site, None).unwrap());
        println!("  after the next night: {next:.2?}");
        missed |= count == 1_000 && first >= Duration::from_secs(2);
        for (what, took) in queries(&history) {
            println!("  queries of {what}: {took:.1?}");
            missed |= count == 1_000 && took >= Duration::from_millis(50);
        }
    }
    if missed {
        println!("too slow: 1,000 runs must render in 2 s, and a page's queries take 50 ms");
        std::process::exit(1);
    }
}
