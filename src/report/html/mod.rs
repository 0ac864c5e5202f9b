//! A comparison as one self-contained page for a browser.
//!
//! The rows are in the page as JSON and are drawn as they come into view, so that ten thousand of
//! them do not slow it down. The content policy allows only its own script, which puts text from
//! builds only into text nodes: a hostile path or file content stays text.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::check::{CauseRow, Comparison, ExpectedRow, Metadata, Row, SideRow, SubjectRow, Title};
use crate::check::{Change, Excerpt};
use crate::plugins;
use crate::text::shorten;

const TITLE: &str = "reprofix check";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The most paths per cause in the part for browsers without JavaScript.
const PLAIN: usize = 20;
/// The most packages under one heading of their comparison.
const PACKAGES: usize = 500;

/// The complete page of `report`. The same report gives the same bytes.
pub(crate) fn page(report: &Comparison) -> String {
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; img-src data:; base-uri \
         'none'; form-action 'none'",
        STANDARD.encode(Sha256::digest(SCRIPT))
    );
    let data = serde_json::to_string(&Data::of(report)).unwrap_or_else(|_| "{}".to_owned());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content={ "reprofix " (report.version) };
                title { (TITLE) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(report))
                main {
                    noscript {
                        p { "Without JavaScript only the first paths are shown." }
                        pre { (report.human(PLAIN)) }
                    }
                    (app())
                    @if let Some(found) = &report.packages { (packages(found)) }
                    @if !report.metadata.is_empty() { (metadata(&report.metadata)) }
                    (notes(report))
                }
                footer {
                    p {
                        "Made by reprofix " (report.version) ". Paths are text; bytes that are not UTF-8 come as "
                        code { "\\xNN" } "."
                    }
                }
                // In a script element only `<` can end the text.
                script type="application/json" id="data" { (PreEscaped(data.replace('<', "\\u003c"))) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    html! { (text) }.into_string()
}

/// What was compared, and what came out.
fn header(report: &Comparison) -> Markup {
    let next = super::next::actions(report);
    html! {
        header {
            div.bar {
                h1 { (TITLE) }
                button #theme type="button" class="plain" { "Theme: system" }
            }
            dl.subjects {
                dt { "A" } dd { (subject(&report.a)) }
                dt { "B" } dd { (subject(&report.b)) }
            }
            p.verdict.(if report.same { "same" } else { "differs" }) { strong { (commands(&report.verdict())) } }
            @if !next.is_empty() {
                h2 { "Next" }
                ol.next { @for action in next { li { (commands(&action)) } } }
            }
        }
    }
}

/// A text for people: what is between backticks is code.
fn commands(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn subject(row: &SubjectRow) -> Markup {
    html! {
        (row.subject)
        @if let Some(sum) = &row.content_checksum {
            " " span.sum { "content checksum " code { (sum) } }
        }
    }
}

/// What the script fills.
fn app() -> Markup {
    html! {
        div #app hidden {
            div role="search" class="filters" aria-label="Filters" {
                div #causes role="group" aria-label="Cause" {}
                div.fields {
                    label { "Path " input #text type="search" autocomplete="off" spellcheck="false"; }
                    label { "Package " select #package {} }
                    label { "Kind " select #change {} }
                    button #expand type="button" { "Expand all" }
                    button #collapse type="button" { "Collapse all" }
                    span #status role="status" aria-live="polite" {}
                }
            }
            div.panes {
                div #scroll {
                    ul #tree role="tree" tabindex="0" aria-label="Paths that differ" {}
                }
                section #detail tabindex="-1" aria-label="The chosen path" {}
            }
            p.keys {
                "Keys: " kbd { "/" } " filter, "
                kbd { "↑" } " " kbd { "↓" } " " kbd { "Home" } " " kbd { "End" } " move, "
                kbd { "→" } " " kbd { "←" } " open and close, " kbd { "Enter" } " read, "
                kbd { "n" } " next unexplained path."
            }
        }
        div #print {}
    }
}

/// How the package databases differ, as in the text report.
fn packages(found: &crate::packages::Comparison) -> Markup {
    let mut body = String::new();
    found.body(&mut body, PACKAGES);
    html! {
        section aria-labelledby="packages" {
            h2 id="packages" { "Packages (" (found.a) " and " (found.b) ")" }
            pre.packages tabindex="0" { (body) }
        }
    }
}

fn metadata(rows: &[Metadata]) -> Markup {
    let value = |v: &Option<String>| shorten(v.as_deref().unwrap_or("absent"), 300);
    html! {
        section aria-labelledby="meta" {
            h2 #meta { "Commit metadata, not part of the content checksum" }
            div.meta tabindex="0" role="region" aria-labelledby="meta" {
                table {
                    thead {
                        tr {
                            @for head in ["key", "A", "B", "why it may differ"] {
                                th scope="col" { (head) }
                            }
                        }
                    }
                    tbody {
                        @for row in rows {
                            tr {
                                th scope="row" { (row.key) }
                                td { (value(&row.a)) }
                                td { (value(&row.b)) }
                                td { (row.expected.unwrap_or("not known to vary")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn notes(report: &Comparison) -> Markup {
    let epoch = report.source_date_epoch.zip(report.source_date_epoch_from.as_ref());
    html! {
        @if epoch.is_some() || !report.warnings.is_empty() {
            h2 { "Notes" }
            ul {
                @if let Some((epoch, from)) = epoch {
                    li { "Normal forms were made with SOURCE_DATE_EPOCH=" (epoch) " (" (from) ")." }
                }
                @for warning in &report.warnings { li { (warning) } }
            }
        }
    }
}

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'r> {
    rows: Vec<RowData<'r>>,
    causes: Vec<CauseData>,
    packages: Vec<&'r str>,
    plugins: BTreeMap<&'static str, PageData>,
    /// Whether some differing contents are not in the page.
    omitted: bool,
}

#[derive(Serialize)]
struct RowData<'r> {
    path: &'r str,
    changes: &'r [Change],
    cause: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    lines: &'r [String],
    details: &'r [String],
    packages: Vec<usize>,
    a: &'r Option<SideRow>,
    b: &'r Option<SideRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(rename = "look")]
    excerpt: Option<&'r Excerpt>,
}

#[derive(Serialize)]
struct CauseData {
    kind: &'static str,
    word: String,
    title: String,
    plugins: Vec<&'static str>,
}

#[derive(Serialize)]
struct PageData {
    summary: &'static str,
    rows: Vec<(&'static str, &'static str)>,
}

impl<'r> Data<'r> {
    fn of(report: &'r Comparison) -> Self {
        let titles: Vec<Title> = report.groups().into_keys().collect();
        let mut packages: Vec<&str> =
            report.differences.iter().flat_map(|r| &r.packages).map(String::as_str).collect();
        packages.sort_unstable();
        packages.dedup();
        let row = |row| RowData::of(row, &titles, &packages);
        let causes: Vec<CauseData> = titles.iter().map(|t| cause(t, report)).collect();
        let used = causes.iter().flat_map(|c| &c.plugins);
        Data {
            rows: report.differences.iter().map(row).collect(),
            plugins: used.filter_map(|name| Some((*name, page_data(name)?))).collect(),
            omitted: report.differences.iter().any(|r| r.excerpt.is_some()),
            causes,
            packages,
        }
    }
}

impl<'r> RowData<'r> {
    fn of(row: &'r Row, titles: &[Title], packages: &[&str]) -> Self {
        let title = Title::of(row);
        let expected = |e: &ExpectedRow| format!("expected until {}: {}", e.expires, e.reason);
        let index = |nevra: &String| packages.binary_search(&nevra.as_str()).unwrap_or_default();
        RowData {
            path: &row.path,
            changes: &row.changes,
            cause: titles.iter().position(|t| *t == title).unwrap_or_default(),
            of: match &row.cause {
                CauseRow::Cascade { of, .. } => Some(of),
                _ => None,
            },
            how: match &row.cause {
                CauseRow::Cascade { how, .. } => Some(how.words()),
                _ => None,
            },
            reason: row.expected.as_ref().map(expected),
            lines: match &row.cause {
                CauseRow::Known { lines, .. } => lines,
                _ => &[],
            },
            details: &row.details,
            packages: row.packages.iter().map(index).collect(),
            a: &row.a,
            b: &row.b,
            excerpt: row.excerpt.as_ref(),
        }
    }
}

/// A cause, and the plugins whose pages say more about it.
fn cause(title: &Title, report: &Comparison) -> CauseData {
    let first = report.differences.iter().find(|row| Title::of(row) == *title);
    CauseData {
        kind: title.kind(),
        word: title.word(),
        title: title.to_string(),
        plugins: match first.map(|row| &row.cause) {
            _ if *title == Title::Expected => Vec::new(),
            Some(CauseRow::Fixed { plugins }) => plugins.clone(),
            Some(CauseRow::Known { plugin, .. }) => vec![plugin],
            _ => Vec::new(),
        },
    }
}

fn page_data(name: &str) -> Option<PageData> {
    let page = plugins::find(name)?.page();
    let rows = vec![
        ("what varies", page.varies),
        ("why", page.why),
        ("what is done", page.done),
        ("what is lost", page.lost),
        ("upstream", page.upstream),
    ];
    Some(PageData { summary: page.summary, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_holds_nothing_that_ends_it() {
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
        assert!(!STYLE.contains("</style"));
        for part in [STYLE, SCRIPT] {
            assert!(!part.contains("http://") && !part.contains("https://"), "no network");
        }
    }
}
