//! A run's page.

use std::sync::LazyLock;

use anyhow::Result;
use maud::{Markup, html};

use super::{SHOWN, View, breaking, document, ended, name, scrolling, stream, time, verdict};
use crate::format::ostree::Checksum;
use crate::history::{Class, Difference, Run};
use crate::nightly::units::duration;
use crate::text::counted;

/// Bytes of a difference's text.
const TEXT: usize = 2000;

/// When a run began.
pub(super) fn when(run: &Run) -> Markup {
    time(run.started)
}

/// The page, unless `is_there` says that there is one that ends like it: the differences of a run
/// that has ended never change.
pub(super) fn page(
    cx: &View<'_>,
    run: &Run,
    is_there: impl Fn(&str) -> bool,
) -> Result<Option<String>> {
    let beside = Attachments {
        report: cx.reports.contains(&run.id),
        statement: cx.statements.contains(&run.id),
    };
    let end = end(run, beside)?;
    if run.verdict.class() != Class::Open && is_there(&end) {
        return Ok(None);
    }
    let count = cx.history.count(run.id)?;
    let differences = cx.history.first_differences(run.id, SHOWN, TEXT)?;
    Ok(Some(text_of(run, count, &differences, beside) + &end))
}

/// What a page ends with: a digest of what it is made from and of the form it is given. Half a page
/// does not end with it.
fn end(run: &Run, beside: Attachments) -> Result<String> {
    static FORM: LazyLock<Checksum> = LazyLock::new(|| Checksum::of(sample().as_bytes()));
    let facts = serde_json::to_string(&(FORM.to_string(), beside.report, beside.statement, run))?;
    Ok(format!("<!-- of {} -->\n", Checksum::of(facts.as_bytes())))
}

/// A page that has every part that a page can have.
fn sample() -> String {
    let one = || Some("1".to_owned());
    let run = Run {
        epoch: Some(1),
        checksum_a: one(),
        checksum_b: one(),
        composefs_a: one(),
        composefs_b: one(),
        culprit: one(),
        variations: "a,b".to_owned(),
        plugins: "a,b".to_owned(),
        inputs: "1".to_owned(),
        detail: "1".to_owned(),
        skipped: vec![("a".to_owned(), "b".to_owned())],
        notes: vec!["1".to_owned()],
        ..Run::default()
    };
    let text = "1".to_owned();
    let difference = Difference { plugin: one(), package: one(), text, ..Difference::default() };
    text_of(&run, 2, &[difference], Attachments { report: true, statement: true })
}

/// What there is beside the page.
#[derive(Clone, Copy)]
struct Attachments {
    /// The whole report, as a page and as JSON.
    report: bool,
    /// The attestation.
    statement: bool,
}

/// The result first, then where more is, and the settings folded below.
fn text_of(run: &Run, count: u64, differences: &[Difference], beside: Attachments) -> String {
    let body = html! {
        p {
            (verdict(run.verdict))
            @if !run.detail.is_empty() { " " (run.detail) }
        }
        p.soft { (stream::link(&run.stream, "../")) ", began " (when(run)) ", took " (duration(run.seconds)) }
        @if let Some(found) = run.bisected() { p { "What makes the builds differ: " (found) } }
        @for note in &run.notes { p { "Note: " (note) } }
        @if count > 0 {
            h2 { (counted(count, "path")) @if count == 1 { " differs" } @else { " differ" } }
            (scrolling("Differences", &table(differences)))
            @if count > differences.len() as u64 {
                p.soft { (count - differences.len() as u64) " more are in the whole report." }
            }
        } @else if run.verdict.class() == Class::Good { p { "No path differs." } }
        (more(run, beside))
        details {
            summary { "Settings of this run" }
            (facts(run))
            @for (variation, why) in &run.skipped {
                p { "Not varied: " code { (variation) } ", because " (why) }
            }
        }
    };
    document(&format!("Run {} of {}", run.id, run.stream), "../", Some(ended(run)), &body)
}

/// Where the rest is: what has a page, and what only the machine of the job has.
fn more(run: &Run, beside: Attachments) -> Markup {
    html! {
        h2 { "More" }
        ul {
            @if beside.report {
                li {
                    "The whole report: " a href={ (run.id) ".report.html" } { "page" } ", "
                    a href={ (run.id) ".report.json" } { "JSON" }
                }
            }
            @if beside.statement {
                li { "The attestation: " a href={ (run.id) ".intoto.json" } { "in-toto statement" } }
            }
            li { "The builds’ log, which may hold secrets and is on no page: " code { "reprofix history show " (run.id) " --log" } }
            li { "The configuration: " code { "nightly.toml" } " on " (run.host) "; what was in force is in the settings" }
        }
    }
}

fn facts(run: &Run) -> Markup {
    let variations = run.variations.replace(',', ", ");
    let facts: [(&str, Option<String>); 12] = [
        ("Architecture", Some(run.architecture.clone())),
        ("Kind", Some(run.kind.clone())),
        ("Took", Some(duration(run.seconds))),
        ("SOURCE_DATE_EPOCH", run.epoch.map(|epoch| epoch.to_string())),
        ("Content of the first build", run.checksum_a.clone()),
        ("Content of the second build", run.checksum_b.clone()),
        ("composefs digest of the first build", run.composefs_a.clone()),
        ("composefs digest of the second build", run.composefs_b.clone()),
        ("Varied", (!variations.is_empty()).then_some(variations)),
        ("Plugins", Some(run.plugins.replace(',', ", ")).filter(|p| !p.is_empty())),
        ("Inputs", Some(run.inputs.clone()).filter(|i| !i.is_empty())),
        ("Made by", Some(format!("reprofix {} on {}", run.version, run.host))),
    ];
    html! {
        dl {
            dt { "Stream" } dd { (stream::link(&run.stream, "../")) }
            dt { "Began" } dd { (when(run)) }
            @for (label, value) in facts {
                @if let Some(value) = value { dt { (label) } dd { (value) } }
            }
        }
    }
}

fn table(differences: &[Difference]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Path" } th scope="col" { "Differs in" } th scope="col" { "Why" }
                    th scope="col" { "Package" }
                }
            }
            tbody { @for difference in differences { (row(difference)) } }
        }
    }
}

fn row(difference: &Difference) -> Markup {
    html! {
        tr {
            td {
                a.path href={ "../" (name::PATHS.file(&difference.path)) } { (breaking(&difference.path)) }
                @if !difference.text.is_empty() {
                    details { summary { "Details" } pre { (difference.text) } }
                }
            }
            td { (difference.kind) }
            td { (difference.cause_words()) }
            td {
                @if let Some(package) = &difference.package {
                    a href={ "../" (name::PACKAGES.file(package)) } { (package) }
                }
            }
        }
    }
}
