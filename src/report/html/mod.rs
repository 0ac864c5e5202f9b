//! A comparison as one self-contained page for a browser.
//!
//! The rows are in the page as JSON and are drawn as they come into view, so that ten thousand of
//! them do not slow it down. The content policy allows only its own script, which puts text from
//! builds only into text nodes: a hostile path or file content stays text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::check::{CauseRow, Comparison, ExpectedRow, Row, SideRow, SubjectRow, Title};
use crate::check::{Change, Excerpt};
use crate::plugins;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The most paths per cause in the part for browsers without JavaScript.
const PLAIN: usize = 20;
/// The most packages under one heading of their comparison.
const PACKAGES: usize = 500;

/// The complete page of `report`. The same report gives the same bytes.
pub fn page(report: &Comparison) -> String {
    let title = "reprofix check";
    let data = serde_json::to_string(&Data::of(report)).unwrap_or_else(|_| "{}".to_owned());
    let parts: BTreeMap<&str, String> = [
        ("script-hash", STANDARD.encode(Sha256::digest(SCRIPT))),
        ("version", escape(report.version)),
        ("title", title.to_owned()),
        ("style", STYLE.trim_end().to_owned()),
        ("a", subject(&report.a)),
        ("b", subject(&report.b)),
        ("outcome", if report.same { "same" } else { "differs" }.to_owned()),
        ("verdict", commands(&report.verdict())),
        ("next", next(report)),
        ("plain", escape(&report.human(PLAIN))),
        ("packages", packages(report)),
        ("metadata", metadata(report)),
        ("warnings", warnings(report)),
        // In a script element only a `<` can end the text.
        ("data", data.replace('<', "\\u003c")),
        ("script", SCRIPT.to_owned()),
    ]
    .into();
    fill(PAGE, &parts)
}

/// `template` with every `@NAME@` replaced once; replacements are not expanded again.
fn fill(template: &str, parts: &BTreeMap<&str, String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        out.push_str(before);
        match after.split_once('@').and_then(|(name, tail)| Some((parts.get(name)?, tail))) {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('@');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Text as HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn subject(row: &SubjectRow) -> String {
    let checksum = row.content_checksum.as_ref().map(|sum| {
        format!(" <span class=\"sum\">content checksum <code>{}</code></span>", escape(sum))
    });
    escape(&row.subject) + &checksum.unwrap_or_default()
}

fn next(report: &Comparison) -> String {
    let actions = super::next::actions(report);
    if actions.is_empty() {
        return String::new();
    }
    let items: String = actions.iter().map(|a| format!("<li>{}</li>", commands(a))).collect();
    format!("<h2>Next</h2>\n<ol class=\"next\">{items}</ol>")
}

/// A text for people as HTML: what is between backticks is code.
fn commands(text: &str) -> String {
    let part = |(at, part): (usize, &str)| match at % 2 {
        1 => format!("<code>{}</code>", escape(part)),
        _ => escape(part),
    };
    text.split('`').enumerate().map(part).collect()
}

/// How the package databases differ, as in the text report.
fn packages(report: &Comparison) -> String {
    let Some(found) = &report.packages else { return String::new() };
    let mut body = String::new();
    found.body(&mut body, PACKAGES);
    format!(
        "<section aria-labelledby=\"packages\"><h2 id=\"packages\">Packages ({} and {})</h2>\n\
         <pre class=\"packages\" tabindex=\"0\">{}</pre></section>",
        escape(&found.a),
        escape(&found.b),
        escape(&body)
    )
}

fn metadata(report: &Comparison) -> String {
    if report.metadata.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section aria-labelledby=\"meta\"><h2 id=\"meta\">Commit metadata, not part of the content \
         checksum</h2>\n<div class=\"meta\" tabindex=\"0\" role=\"region\" aria-labelledby=\"meta\">\
         <table><thead><tr><th scope=\"col\">key</th><th scope=\"col\">A</th><th scope=\"col\">B</th>\
         <th scope=\"col\">why it may differ</th></tr></thead><tbody>",
    );
    let value =
        |v: &Option<String>| escape(&crate::text::shorten(v.as_deref().unwrap_or("absent"), 300));
    for row in &report.metadata {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&row.key),
            value(&row.a),
            value(&row.b),
            escape(row.expected.unwrap_or("not known to vary"))
        );
    }
    out + "</tbody></table></div></section>"
}

fn warnings(report: &Comparison) -> String {
    let epoch = report.source_date_epoch.zip(report.source_date_epoch_from.as_ref());
    let epoch = epoch.map(|(epoch, from)| {
        format!("Normal forms were made with SOURCE_DATE_EPOCH={epoch} ({from}).")
    });
    let lines: String = epoch
        .iter()
        .chain(&report.warnings)
        .map(|line| format!("<li>{}</li>", escape(line)))
        .collect();
    if lines.is_empty() { lines } else { format!("<h2>Notes</h2><ul>{lines}</ul>") }
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
    fn what_is_put_in_is_not_replaced_again() {
        let parts = [("a", "@b@".to_owned()), ("b", "x@y".to_owned())].into();
        assert_eq!(fill("1 @a@ 2 @b@ 3@c@ me@example", &parts), "1 @b@ 2 x@y 3@c@ me@example");
    }

    #[test]
    fn the_script_holds_nothing_that_ends_it() {
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
        assert!(!STYLE.contains("</style"));
        for part in [PAGE, STYLE, SCRIPT] {
            assert!(!part.contains("http://") && !part.contains("https://"), "no network");
        }
    }
}
