//! `feed.xml`: an Atom feed (RFC 4287) with one entry per change of verdict.

use maud::{Markup, PreEscaped, html};

use super::View;
use crate::format::ostree::Checksum;
use crate::format::time::utc;
use crate::history::{Class, Run};
use crate::nightly::trimmed;

/// The most entries.
const ENTRIES: usize = 50;

/// The feed. Links are relative if the base URL is not known.
pub(super) fn feed(cx: &View<'_>) -> String {
    let base = cx.base.map(|base| format!("{}/", trimmed(base))).unwrap_or_default();
    let mut changes: Vec<(&Run, Option<&Run>)> =
        cx.streams.values().flat_map(|r| changes(r)).collect();
    changes.sort_by_key(|(run, _)| std::cmp::Reverse(run.id));
    changes.truncate(ENTRIES);
    let updated = changes.first().map_or(0, |(run, _)| run.started);
    // The first run's mark identifies the history as long as that run is kept.
    let id = uuid(cx.runs.last().map_or("", |run| &run.token));
    let feed = html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"))
        feed xmlns="http://www.w3.org/2005/Atom" {
            title { "Nightly reproducibility" }
            id { (id) }
            updated { (utc(updated)) }
            author { name { "reprofix" } }
            (link("self", &format!("{base}feed.xml")))
            (link("alternate", &format!("{base}index.html")))
            @for (run, before) in changes { (entry(run, before, &base)) }
        }
    };
    let mut text = feed.into_string();
    text.push('\n');
    text
}

/// Runs of one stream whose verdict differs from that of the ended run before, newest first.
fn changes<'a>(runs: &[&'a Run]) -> Vec<(&'a Run, Option<&'a Run>)> {
    let ended = runs.iter().copied().filter(|run| run.verdict.class() != Class::Open);
    let ended: Vec<&Run> = ended.collect();
    let before = |i: usize| ended.get(i + 1).copied();
    let pairs = ended.iter().enumerate().map(|(i, run)| (*run, before(i)));
    pairs.filter(|(run, before)| before.is_none_or(|b| b.verdict != run.verdict)).collect()
}

fn entry(run: &Run, before: Option<&Run>, base: &str) -> Markup {
    let was = before.map(|run| format!(" (was {})", run.verdict)).unwrap_or_default();
    html! {
        entry {
            title { (run.stream) " is " (run.verdict) (was) }
            id { (uuid(&run.token)) }
            updated { (utc(run.started)) }
            (link("alternate", &format!("{base}run/{}.html", run.id)))
            summary { (plain(&run.detail)) }
        }
    }
}

/// An empty element of Atom: that of HTML would not be closed.
fn link(rel: &str, href: &str) -> Markup {
    html! {
        (PreEscaped("<link rel=\"")) (rel) (PreEscaped("\" href=\"")) (href) (PreEscaped("\"/>"))
    }
}

/// Removes control characters, which XML does not allow.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'), " ")
}

/// A permanent name from a run's mark: a version 8 UUID (RFC 9562).
fn uuid(token: &str) -> String {
    let h = Checksum::of(token.as_bytes()).to_string();
    format!("urn:uuid:{}-{}-8{}-a{}-{}", &h[..8], &h[8..12], &h[13..16], &h[17..20], &h[20..32])
}
