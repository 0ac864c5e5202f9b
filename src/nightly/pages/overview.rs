//! `index.html`.

use std::collections::BTreeMap;

use anyhow::Result;
use maud::{Markup, html};

use super::{NIGHTS, View, chart, class, document, mark, scrolling, stream, time, verdict};
use crate::format::time::Date;
use crate::history::{Class, Run};

/// The number of runs in the list at the end.
const NEWEST: usize = 50;

/// The page.
pub(super) fn page(cx: &View<'_>) -> Result<String> {
    let mut charts = Vec::new();
    for name in cx.streams.keys() {
        charts.push((*name, cx.history.counts(name, NIGHTS)?));
    }
    let states = super::state::all(cx)?;
    let newest: Vec<&Run> = cx.runs.iter().take(NEWEST).collect();
    let body = html! {
        @if let Some(second) = cx.written() {
            p.as-of { "As of " (time(second)) " UTC, when the last run ended. If that is more than a night ago, look at the timer." }
        }
        ul.glance { @for state in &states { li { (state.line("")) } } }
        p { (summary(cx)) }
        @if cx.runs.is_empty() { p { "There is no run yet." } }
        @else {
            h2 #nights { "The last " (NIGHTS) " nights" }
            (scrolling("Calendar of nights", &calendar(cx)))
            p.soft { "The newest night comes first. ✓ reproducible, ✗ different, ! failed without a result, … running, · no run" }
            h2 { "Paths that differed" }
            @for (name, counts) in &charts {
                figure { figcaption { (stream::link(name, "")) } (chart::trend(name, counts)) }
            }
            h2 { "Newest runs" }
            (scrolling("Newest runs", &table(cx, &newest, "")?))
        }
    };
    Ok(document("Nightly reproducibility", "", cx.written(), &body))
}

/// One sentence on the state of all streams.
fn summary(cx: &View<'_>) -> String {
    let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
    let last = |runs: &Vec<&Run>| {
        let ended = runs.iter().find(|run| run.verdict.class() != Class::Open);
        ended.map(|run| run.verdict.class())
    };
    for class in cx.streams.values().filter_map(last) {
        *counts.entry(class).or_default() += 1;
    }
    let count = |class| counts.get(&class).copied().unwrap_or(0);
    format!(
        "Of {} {}, {} reproduced in the last run, {} did not, {} failed without a result; {} {} \
         flaky.",
        cx.streams.len(),
        if cx.streams.len() == 1 { "stream" } else { "streams" },
        count(Class::Good),
        count(Class::Bad),
        count(Class::Failed),
        cx.flaky.len(),
        if cx.flaky.len() == 1 { "is" } else { "are" },
    )
}

/// Streams × nights; the last night is that of the newest run.
fn calendar(cx: &View<'_>) -> Markup {
    let last = cx.runs.iter().map(day).max().unwrap_or(0);
    // The newest first: a phone shows the left end of a wide table.
    let days: Vec<i64> = (last - i64::from(NIGHTS) + 1..=last).rev().collect();
    html! {
        table.calendar {
            thead {
                tr {
                    th scope="col" { "Stream" }
                    @for day in &days { th scope="col" { abbr title=(Date::of_day(*day)) { (format!("{:02}", Date::of_day(*day).2)) } } }
                }
            }
            tbody {
                @for (name, runs) in &cx.streams {
                    tr {
                        th scope="row" {
                            (stream::link(name, ""))
                            @if cx.flaky.contains(*name) { " " span.verdict.failed { "flaky" } }
                        }
                        @for day in &days { td { (cell(name, runs, *day)) } }
                    }
                }
            }
        }
    }
}

/// The last run of a day.
fn cell(name: &str, runs: &[&Run], wanted: i64) -> Markup {
    let at = runs.partition_point(|run| day(run) > wanted);
    let run = runs.get(at).filter(|run| day(run) == wanted);
    html! {
        @match run {
            None => span.none { "·" },
            Some(run) => {
                @let said = format!("{name}, {}: {}", Date::of_day(wanted), run.verdict);
                a.(class(run.verdict)) href={ "run/" (run.id) ".html" } title=(said) aria-label=(said) {
                    (mark(run.verdict))
                }
            }
        }
    }
}

fn day(run: &Run) -> i64 {
    run.started.div_euclid(86_400)
}

/// A table of runs.
pub(super) fn table(cx: &View<'_>, runs: &[&Run], up: &str) -> Result<Markup> {
    let mut rows = Vec::new();
    for run in runs {
        rows.push((run, cx.history.count(run.id)?));
    }
    Ok(html! {
        table {
            thead {
                tr {
                    th scope="col" { "Run" } th scope="col" { "Stream" } th scope="col" { "Began" }
                    th scope="col" { "Verdict" } th.number scope="col" { "Paths" } th scope="col" { "What happened" }
                }
            }
            tbody {
                @for (run, count) in rows {
                    tr {
                        td { a href={ (up) "run/" (run.id) ".html" } { "Run " (run.id) } }
                        td { (stream::link(&run.stream, up)) }
                        td { (super::run::when(run)) }
                        td { (verdict(run.verdict)) }
                        td.number { (count) }
                        td { (run.detail) }
                    }
                }
            }
        }
    })
}
