//! A stream's page.

use anyhow::Result;
use maud::{Markup, html};

use super::state::State;
use super::{LISTED, NIGHTS, View, chart, document, overview, scrolling};

/// A link to a stream's page.
pub(super) fn link(name: &str, up: &str) -> Markup {
    html! { a href={ (up) "stream/" (name) ".html" } { (name) } }
}

/// The page.
pub(super) fn page(cx: &View<'_>, name: &str) -> Result<String> {
    let runs = cx.runs_of(name);
    let counts = cx.history.counts(name, NIGHTS)?;
    let listed = &runs[..runs.len().min(LISTED as usize)];
    let flaky = cx.history.flaky(NIGHTS)?.into_iter().filter(|f| f.stream == name);
    let body = html! {
        @if let Some(state) = State::of(cx, name)? { p { (state.line("../")) } }
        p { img src={ "../badge/" (name) ".svg" } alt={ "Badge of " (name) }; }
        @for flaky in flaky {
            p {
                span.verdict.failed { "flaky" } " Equal inputs (" code { (&flaky.inputs[..flaky.inputs.len().min(12)]) }
                ") reproduced in " (runs_of(&flaky.good)) ", and not in " (runs_of(&flaky.bad)) "."
            }
        }
        h2 { "Paths that differed" }
        (chart::trend(name, &counts))
        h2 { "Runs" }
        (scrolling("Runs", &overview::table(cx, listed, "../")?))
        @if runs.len() > listed.len() {
            p.soft { (runs.len() - listed.len()) " older runs are not listed." }
        }
    };
    Ok(document(name, "../", runs.first().map(|run| super::ended(run)), &body))
}

fn runs_of(ids: &[i64]) -> Markup {
    html! {
        "runs "
        @for (i, id) in ids.iter().enumerate() {
            @if i > 0 { ", " }
            a href={ "../run/" (id) ".html" } { (id) }
        }
    }
}
