//! A run's page.

use std::sync::LazyLock;

use anyhow::Result;
use maud::{Markup, html};

use super::{SHOWN, View, breaking, document, name, scrolling, stream, verdict};
use crate::format::ostree::Checksum;
use crate::format::time::utc;
use crate::history::{Class, Difference, Run};
use crate::nightly::units::duration;

/// Bytes of a difference's text.
const TEXT: usize = 2000;

/// When a run began.
pub(super) fn when(run: &Run) -> Markup {
    let time = utc(run.started);
    html! { time datetime=(time) { (&time[..10]) " " (&time[11..16]) } }
}

/// The page, unless `is_there` says that there is one that ends like it: the differences of a run
/// that has ended never change.
pub(super) fn page(
    cx: &View<'_>,
    run: &Run,
    is_there: impl Fn(&str) -> bool,
) -> Result<Option<String>> {
    let report = cx.reports.contains(&run.id);
    let end = end(run, report)?;
    if run.verdict.class() != Class::Open && is_there(&end) {
        return Ok(None);
    }
    let count = cx.history.count(run.id)?;
    let differences = cx.history.first_differences(run.id, SHOWN, TEXT)?;
    Ok(Some(text_of(run, count, &differences, report) + &end))
}

/// What a page ends with: a digest of what it is made from and of the form it is given. Half a page
/// does not end with it.
fn end(run: &Run, report: bool) -> Result<String> {
    static FORM: LazyLock<Checksum> = LazyLock::new(|| Checksum::of(sample().as_bytes()));
    let facts = serde_json::to_string(&(FORM.to_string(), report, run))?;
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
    text_of(&run, 2, &[difference], true)
}

/// `report`: whether the whole report stands beside it.
fn text_of(run: &Run, count: u64, differences: &[Difference], report: bool) -> String {
    let body = html! {
        p {
            (verdict(run.verdict))
            @if !run.detail.is_empty() { " " (run.detail) }
        }
        (facts(run))
        @for note in &run.notes { p { "Note: " (note) } }
        @for (variation, why) in &run.skipped {
            p { "Not varied: " code { (variation) } ", because " (why) }
        }
        @if report {
            p {
                "The whole report: " a href={ (run.id) ".report.html" } { "page" } ", "
                a href={ (run.id) ".report.json" } { "JSON" } "."
            }
        }
        @if count > 0 {
            h2 { (count) @if count == 1 { " path differs" } @else { " paths differ" } }
            (scrolling("Differences", &table(differences)))
            @if count > differences.len() as u64 {
                p.soft { (count - differences.len() as u64) " more are in the whole report." }
            }
        } @else if run.verdict.class() == Class::Good { p { "No path differs." } }
    };
    document(&format!("Run {} of {}", run.id, run.stream), "../", &body)
}

fn facts(run: &Run) -> Markup {
    let variations = run.variations.replace(',', ", ");
    let facts: [(&str, Option<String>); 13] = [
        ("Architecture", Some(run.architecture.clone())),
        ("Kind", Some(run.kind.clone())),
        ("Took", Some(duration(run.seconds))),
        ("SOURCE_DATE_EPOCH", run.epoch.map(|epoch| epoch.to_string())),
        ("Content of the first build", run.checksum_a.clone()),
        ("Content of the second build", run.checksum_b.clone()),
        ("composefs digest of the first build", run.composefs_a.clone()),
        ("composefs digest of the second build", run.composefs_b.clone()),
        ("Varied", (!variations.is_empty()).then_some(variations)),
        ("What makes them differ", run.bisected()),
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
