//! A file for the Prometheus node exporter's textfile collector.
//!
//! The format is Prometheus' text exposition format 0.0.4. It has every stream in the history, with
//! its last ended run.

use std::fmt::Write as _;

use anyhow::Result;

use crate::history::{Class, History, Run};

/// A gauge: its name, its help, and its value for a stream.
type Gauge = (&'static str, &'static str, fn(&Last) -> Option<f64>);

/// The last runs of a stream.
struct Last {
    run: Run,
    good: Option<i64>,
    differences: u64,
    flaky: bool,
}

const GAUGES: &[Gauge] = &[
    (
        "reproducible",
        "1 if the last run reproduced, 0 if it did not; absent if that is not known.",
        |last| match last.run.verdict.class() {
            Class::Good => Some(1.0),
            Class::Bad => Some(0.0),
            Class::Failed | Class::Open => None,
        },
    ),
    ("failed", "1 if the last run failed before there was a result.", |last| {
        Some(f64::from(u8::from(last.run.verdict.class() == Class::Failed)))
    }),
    ("flaky", "1 if equal inputs gave unequal verdicts among the last 30 runs.", |last| {
        Some(f64::from(u8::from(last.flaky)))
    }),
    ("differences", "Paths in which the last run's builds differ.", |last| {
        Some(last.differences as f64)
    }),
    ("duration_seconds", "How long the last run took.", |last| Some(last.run.seconds)),
    ("last_run_timestamp_seconds", "When the last run began.", |last| {
        Some(last.run.started as f64)
    }),
    ("last_good_timestamp_seconds", "When the last run that reproduced began.", |last| {
        last.good.map(|time| time as f64)
    }),
];

/// The file's text.
pub(crate) fn text(history: &History) -> Result<String> {
    let flaky = history.flaky(super::pages::NIGHTS)?;
    let mut all = Vec::new();
    for stream in history.streams()? {
        let runs = history.counts(&stream, super::pages::NIGHTS)?;
        let ended = runs.into_iter().rev().find(|(run, _)| run.verdict.class() != Class::Open);
        let Some((run, differences)) = ended else { continue };
        let good = history.last_good(&stream)?.map(|run| run.started);
        let flaky = flaky.iter().any(|f| f.stream == stream);
        all.push(Last { run, good, differences, flaky });
    }
    let mut out = String::new();
    for (name, help, value) in GAUGES {
        let _ = writeln!(out, "# HELP reprofix_nightly_{name} {help}");
        let _ = writeln!(out, "# TYPE reprofix_nightly_{name} gauge");
        for last in &all {
            if let Some(value) = value(last) {
                let (stream, arch) = (label(&last.run.stream), label(&last.run.architecture));
                let _ = writeln!(
                    out,
                    "reprofix_nightly_{name}{{stream=\"{stream}\",architecture=\"{arch}\"}} {value}"
                );
            }
        }
    }
    Ok(out)
}

/// A label's value, escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
