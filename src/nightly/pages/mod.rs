//! The record as static pages: no server, no script, nothing from elsewhere.
//!
//! `index.html` (streams × nights, trend, newest runs), `stream/NAME.html`, `run/N.html` with the
//! whole report of `check` as `run/N.report.html` and `.json`, `path/HASH.html` and
//! `package/HASH.html` (HASH: the first 16 digits of the name's SHA-256), `paths.html`,
//! `packages.html`, `badge/STREAM.svg`, `feed.xml` (Atom). Every text comes from a build and is
//! hostile: maud escapes it, and the pages' content security policy allows no script and no style
//! but `style.css`. Build output is in no page.
//!
//! The same history gives the same bytes, and a page that has not changed is not written.

mod atom;
mod badge;
mod chart;
mod name;
mod overview;
mod run;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::format::ostree::Checksum;
use crate::fsx;
use crate::history::{Class, History, Run, Verdict};
use crate::report::check::Comparison;
use crate::report::html as report_page;

/// Nights in the calendar, and runs in a trend and in the search for flaky streams.
pub(super) const NIGHTS: u32 = 30;
/// Differences that a run's page shows; `N.report.html` has all.
const SHOWN: usize = 200;
/// Runs listed on a path's, a package's and a stream's page.
const LISTED: u32 = 100;

/// Writes the whole report of run `id`.
pub(super) fn write_report(dir: &Path, id: i64, report: &Comparison) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    let site = Site { dir: dir.to_owned() };
    site.put(&format!("run/{id}.report.json"), &json)?;
    site.put(&format!("run/{id}.report.html"), report_page::page(report).as_bytes())
}

/// Writes every page below `dir`. `base` is where they will be seen, for the feed.
///
/// Fails where the history cannot be read or a page not be written; pages are replaced one by one.
pub fn write(history: &History, dir: &Path, base: Option<&str>) -> Result<()> {
    let site = Site { dir: dir.to_owned() };
    let runs = history.runs(None, u32::MAX)?;
    let flaky: BTreeSet<String> = history.flaky(NIGHTS)?.into_iter().map(|f| f.stream).collect();
    let mut streams: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
    for run in &runs {
        streams.entry(&run.stream).or_default().push(run);
    }
    let cx = View { history, runs: &runs, streams, flaky };
    site.put("style.css", include_bytes!("style.css"))?;
    site.put("index.html", overview::page(&cx)?.as_bytes())?;
    site.put("feed.xml", atom::feed(&cx, base).as_bytes())?;
    for (name, runs) in &cx.streams {
        site.put(&format!("stream/{name}.html"), stream::page(&cx, name, runs)?.as_bytes())?;
        site.put(&format!("badge/{name}.svg"), badge::of(&cx, name, runs)?.as_bytes())?;
    }
    let mut kept = BTreeSet::new();
    for run in &runs {
        let report = format!("run/{}.report", run.id);
        let files = ["html", "json"].map(|kind| format!("{report}.{kind}"));
        let has_report = files.iter().all(|file| site.dir.join(file).is_file());
        let page = format!("run/{}.html", run.id);
        site.put(&page, run::page(&cx, run, has_report)?.as_bytes())?;
        kept.extend(files);
        kept.insert(page);
    }
    site.put("paths.html", name::list(&cx, name::PATHS)?.as_bytes())?;
    site.put("packages.html", name::list(&cx, name::PACKAGES)?.as_bytes())?;
    for path in history.paths_shown(SHOWN)? {
        let file = name::PATHS.file(&path);
        site.put(&file, name::path(&cx, &path)?.as_bytes())?;
        kept.insert(file);
    }
    for (package, _) in history.packages_seen()? {
        let file = name::PACKAGES.file(&package);
        site.put(&file, name::package(&cx, &package)?.as_bytes())?;
        kept.insert(file);
    }
    ["run", "path", "package"].iter().try_for_each(|folder| site.sweep(folder, &kept))
}

/// What every page may look at.
struct View<'a> {
    history: &'a History,
    /// Newest first.
    runs: &'a [Run],
    /// Newest first, by stream.
    streams: BTreeMap<&'a str, Vec<&'a Run>>,
    flaky: BTreeSet<String>,
}

impl<'a> View<'a> {
    fn run(&self, id: i64) -> Option<&'a Run> {
        let at = self.runs.binary_search_by(|run| id.cmp(&run.id)).ok()?;
        self.runs.get(at)
    }
}

/// The directory of the pages.
struct Site {
    dir: PathBuf,
}

impl Site {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        let write = || {
            fsx::create_dir_all(path.parent().unwrap_or(&self.dir))?;
            fsx::refresh(&path, bytes, 0o644)
        };
        write().map(|_| ()).with_context(|| format!("writing {}", path.display()))
    }

    /// Removes pages of a folder that are not `kept`; nothing that we have not written.
    fn sweep(&self, folder: &str, kept: &BTreeSet<String>) -> Result<()> {
        let dir = self.dir.join(folder);
        let Ok(entries) = std::fs::read_dir(&dir) else { return Ok(()) };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let stem = name.split('.').next().unwrap_or_default();
            let ours = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_hexdigit());
            let page = name.ends_with(".html") || name.ends_with(".report.json");
            if ours && page && !kept.contains(&format!("{folder}/{name}")) {
                fsx::remove_file(&dir.join(name))?;
            }
        }
        Ok(())
    }
}

/// A page. `up` leads from its folder to the top: empty, or `../`.
fn document(title: &str, up: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'self'; img-src 'self' data:";
                title { (title) " – reprofix nightly" }
                link rel="stylesheet" href={ (up) "style.css" };
                link rel="icon" href="data:,";
                link rel="alternate" type="application/atom+xml" title="Changes of verdict"
                    href={ (up) "feed.xml" };
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    nav aria-label="Pages" {
                        a href={ (up) "index.html" } { "Overview" }
                        a href={ (up) "paths.html" } { "Paths" }
                        a href={ (up) "packages.html" } { "Packages" }
                        a href={ (up) "feed.xml" } { "Feed" }
                    }
                }
                main #main tabindex="-1" { h1 { (title) } (body) }
                footer { p { "Times are UTC. Written by reprofix " (env!("CARGO_PKG_VERSION")) "." } }
            }
        }
    };
    let mut text = page.into_string();
    text.push('\n');
    text
}

/// The mark of a verdict: told by shape as well as by colour.
fn mark(verdict: Verdict) -> &'static str {
    match verdict.class() {
        Class::Good => "✓",
        Class::Bad => "✗",
        Class::Failed => "!",
        Class::Open => "…",
    }
}

/// The style class of a verdict.
fn class(verdict: Verdict) -> &'static str {
    match verdict.class() {
        Class::Good => "good",
        Class::Bad => "bad",
        Class::Failed => "failed",
        Class::Open => "open",
    }
}

/// A verdict with its mark.
fn verdict(verdict: Verdict) -> Markup {
    html! {
        span.verdict.(class(verdict)) { span aria-hidden="true" { (mark(verdict)) } " " (verdict.name()) }
    }
}

/// The first 16 digits of the SHA-256 of a name: a file's name for it.
fn hash(name: &str) -> String {
    let mut digits = Checksum::of(name.as_bytes()).to_string();
    digits.truncate(16);
    digits
}

/// A table that scrolls sideways by itself, on small screens and by keyboard.
fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// Text that may break after each slash.
fn breaking(path: &str) -> Markup {
    let mut parts = path.split('/').peekable();
    html! {
        @while let Some(part) = parts.next() {
            (part) @if parts.peek().is_some() { "/" (PreEscaped("<wbr>")) }
        }
    }
}
