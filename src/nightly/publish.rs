//! After the runs: statements, pages, metrics, notifications, and retention.

use anyhow::{Context, Result};

use super::config::Config;
use super::night::Ended;
use super::{attest, metrics, notify, pages};
use crate::history::{History, Run, Verdict};
use crate::{disk, env};

/// Makes all outputs in the configuration; returns the failures. A failure of one part does not
/// prevent the others.
///
/// # Errors
///
/// If the history cannot be opened.
pub(crate) fn publish(config: &Config, ended: &[Ended], quiet: bool) -> Result<Vec<String>> {
    let mut history = History::open(&config.history)?;
    let mut failed = Vec::new();
    let mut note = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            failed.push(format!("{what}: {error:#}"));
        }
    };
    for one in ended {
        note("report", reports(config, one));
        note("attestation", statement(config, &one.run));
    }
    note("retention", history.retain(config.retention, env::unix_time()).map(|_| ()));
    note("pages", write_pages(config, &history));
    note("metrics", write_metrics(config, &history));
    if !quiet {
        // The person who interrupts a run knows.
        let news = ended.iter().map(|one| &one.run);
        let runs: Vec<&Run> = news.filter(|run| run.verdict != Verdict::Interrupted).collect();
        failed.extend(notify::tell(config, &mut history, &runs)?);
    }
    Ok(failed)
}

/// Writes the whole report of a run beside its page; the history keeps only a part.
fn reports(config: &Config, one: &Ended) -> Result<()> {
    let (Some(pages), Some(report)) = (&config.pages, &one.report) else { return Ok(()) };
    pages::write_report(pages, one.run.id, report)
}

fn statement(config: &Config, run: &Run) -> Result<()> {
    let Some(attestation) = &config.attestation else { return Ok(()) };
    let file = attest::write(attestation, run, notify::page(config, run.id).as_deref())?;
    match (&config.pages, file) {
        (Some(pages), Some(file)) => pages::write_statement(pages, run.id, &file),
        _ => Ok(()),
    }
}

fn write_pages(config: &Config, history: &History) -> Result<()> {
    let Some(dir) = &config.pages else { return Ok(()) };
    pages::write(history, dir, config.base_url.as_deref())
}

fn write_metrics(config: &Config, history: &History) -> Result<()> {
    let Some(file) = &config.notify.prometheus else { return Ok(()) };
    let text = metrics::text(history)?;
    disk::atomic_write(file, text.as_bytes(), 0o644)
        .with_context(|| format!("writing {}", file.display()))
}
