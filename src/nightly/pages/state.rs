//! The state of each stream: one line at a glance, and `index.json`.

use std::collections::BTreeSet;

use anyhow::Result;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::{View, class, ended, mark, stream};
use crate::format::time::{Date, utc};
use crate::history::{Class, Run};
use crate::text::counted;

/// The most differences to read for their causes, which are enough for a summary.
const LOOKED_AT: usize = 1000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The state of a stream after its last run.
pub(super) struct State<'a> {
    name: &'a str,
    /// The last run that ended.
    last: &'a Run,
    /// The last run with a result, and the first run of the unbroken sequence with the same result.
    told: Option<(&'a Run, &'a Run)>,
    /// The number of differing paths, and the causes: `fixable: rpmdb`.
    paths: u64,
    causes: BTreeSet<String>,
}

impl<'a> State<'a> {
    /// The state of a stream; `None` before its first run ends.
    pub(super) fn of(cx: &View<'a>, name: &'a str) -> Result<Option<Self>> {
        let runs = cx.known.runs_of(name);
        let ended = || runs.iter().copied().filter(|run| run.verdict.class() != Class::Open);
        let Some(last) = ended().next() else { return Ok(None) };
        let telling =
            || ended().filter(|run| matches!(run.verdict.class(), Class::Good | Class::Bad));
        let told = telling().next().map(|now| {
            let same = telling().take_while(|run| run.verdict.class() == now.verdict.class());
            (now, same.last().unwrap_or(now))
        });
        let mut state = State { name, last, told, paths: 0, causes: BTreeSet::new() };
        if let Some((now, _)) = told {
            state.paths = cx.history.count(now.id)?;
            let found = cx.history.first_differences(now.id, LOOKED_AT, 0)?;
            state.causes = found.iter().map(|found| found.cause_words()).collect();
        }
        Ok(Some(state))
    }

    /// One line: the state, since when, how many paths, and why.
    pub(super) fn line(&self, up: &str) -> Markup {
        let run = |run: &Run, text: &str| {
            html! { a href={ (up) "run/" (run.id) ".html" } { (text) (run.id) } " (" (day(run)) ")" }
        };
        let failed = self.last.verdict.class() == Class::Failed;
        html! {
            span.verdict.(class(self.last.verdict)) aria-hidden="true" { (mark(self.last.verdict)) }
            " "
            @if up.is_empty() { b { (stream::link(self.name, up)) } " " }
            @if failed {
                (self.last.verdict.name()) " in " (run(self.last, "run ")) ": there was no result"
                @if self.told.is_some() { "; before, " }
            }
            @if let Some((now, since)) = self.told {
                @match now.verdict.class() {
                    Class::Good => { "reproducible since " (run(since, "run ")) },
                    _ => { "not reproducible since " (run(since, "run ")) },
                }
                @if self.paths > 0 { ": " (self.why()) }
            }
            "."
        }
    }

    /// The number of paths and their causes, at most three.
    fn why(&self) -> String {
        let causes: Vec<&str> = self.causes.iter().take(3).map(String::as_str).collect();
        let more = if self.causes.len() > 3 { ", …" } else { "" };
        format!("{}, {}{more}", counted(self.paths, "path"), causes.join(", "))
    }

    fn json(&self) -> Value {
        let run = |run: &Run| {
            json!({"run": run.id, "started": utc(run.started), "verdict": run.verdict,
                "page": format!("run/{}.html", run.id)})
        };
        let word = |class| match class {
            Class::Good => "reproducible",
            Class::Bad => "different",
            Class::Failed | Class::Open => "failed",
        };
        json!({
            "stream": self.name,
            "page": format!("stream/{}.html", self.name),
            "state": word(self.last.verdict.class()),
            "last": run(self.last),
            "told": self.told.map(|(now, _)| run(now)),
            "since": self.told.map(|(_, since)| run(since)),
            "paths": self.paths,
            "causes": self.causes,
        })
    }
}

/// The day of a run: `14 Oct`.
fn day(run: &Run) -> String {
    let Date(_, month, day) = Date::of_second(run.started);
    let month = MONTHS.get(usize::from(month).wrapping_sub(1));
    format!("{day} {}", month.copied().unwrap_or_default())
}

/// The state of every stream that has one.
pub(super) fn all<'a>(cx: &View<'a>) -> Result<Vec<State<'a>>> {
    let names = cx.known.streams.keys();
    let states = names.map(|name| State::of(cx, name)).collect::<Result<Vec<_>>>()?;
    Ok(states.into_iter().flatten().collect())
}

/// `index.json`.
pub(super) fn index(cx: &View<'_>) -> Result<String> {
    let streams = all(cx)?.iter().map(State::json).collect::<Vec<_>>();
    let last = cx.runs.iter().map(ended).max().map(utc);
    let index = json!({"schema": "reprofix-pages-1", "written": last, "streams": streams});
    // Names come from builds: even if read as HTML, they must not contain tags.
    let text = serde_json::to_string_pretty(&index)?;
    Ok(text.replace('<', "\\u003c").replace('>', "\\u003e") + "\n")
}
