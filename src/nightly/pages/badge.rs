//! A stream's badge: a small self-contained SVG.

use anyhow::Result;
use maud::html;

use super::View;
use crate::history::{Class, Run};

/// Approximate width of a letter of 11 pixels in a common sans-serif font.
const LETTER: usize = 7;
const LABEL: &str = "reproducible";

/// The text of a badge and its background colour, on which white text has a contrast of at least
/// 4.5.
fn says(cx: &View<'_>, name: &str, run: Option<&&Run>) -> Result<(String, &'static str)> {
    let Some(run) = run else { return Ok(("unknown".to_owned(), "#595f69")) };
    if cx.flaky.contains(name) {
        return Ok(("flaky".to_owned(), "#8a5a00"));
    }
    Ok(match run.verdict.class() {
        Class::Good => ("yes".to_owned(), "#146c2e"),
        Class::Bad => (format!("no, {} differ", cx.history.count(run.id)?), "#a11616"),
        Class::Failed | Class::Open => (run.verdict.name().to_owned(), "#595f69"),
    })
}

/// The badge of the stream's last ended run.
pub(super) fn of(cx: &View<'_>, name: &str) -> Result<String> {
    let ended = cx.runs_of(name).iter().find(|run| run.verdict.class() != Class::Open);
    let (value, colour) = says(cx, name, ended)?;
    let (left, right) = (LABEL.len() * LETTER + 12, value.len() * LETTER + 12);
    let (middle, width) = (left / 2, left + right);
    let said = format!("{name} {LABEL}: {value}");
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height="20" role="img" aria-label=(said) {
            title { (said) }
            rect width=(left) height="20" fill="#3b4048" {}
            rect x=(left) width=(right) height="20" fill=(colour) {}
            g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle" {
                text x=(middle) y="14" { (LABEL) }
                text x=(left + right / 2) y="14" { (value) }
            }
        }
    };
    Ok(svg.into_string())
}
