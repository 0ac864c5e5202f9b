//! The record as static pages: no server, no script, nothing from elsewhere.
//!
//! `index.html` (each stream's state, streams × nights, trend, newest runs), `index.json` (the
//! states, for programs), `stream/NAME.html`, `run/N.html` with the
//! whole report of `check` as `run/N.report.html` and `.json`, `path/HASH.html` and
//! `package/HASH.html` (HASH: the first 16 digits of the name's SHA-256), `paths.html`,
//! `packages.html`, `badge/STREAM.svg`, `feed.xml` (Atom). Every text comes from a build and is
//! hostile: maud escapes it, and the pages' content security policy allows no script and no style
//! but `style.css`. Build output is in no page.
//!
//! The same history gives the same bytes, and a page that has not changed is not written. A run
//! that has ended stays as it is: its page names, at its end, what it was made from, and is not even
//! made again while that holds. Of a site that is as it was left, by a history that has not changed,
//! nothing is made at all (`seal`).

mod atom;
mod badge;
mod chart;
mod name;
mod overview;
mod run;
mod seal;
mod state;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::disk;
use crate::format::ostree::Checksum;
use crate::format::time::utc;
use crate::history::{Class, History, Run, Streams, Verdict, by_stream};
use crate::nightly::tail;
use crate::report::check::Comparison;
use crate::report::html as report_page;
use seal::Seal;

/// Nights in the calendar, and runs in a trend and in the search for flaky streams.
pub(super) const NIGHTS: u32 = 30;
/// Differences that a run's page shows; `N.report.html` has all.
const SHOWN: usize = 200;
/// Runs listed on a path's, a package's and a stream's page.
const LISTED: u32 = 100;

/// Folders in which pages come and go.
const FOLDERS: [&str; 3] = ["run", "path", "package"];

/// Writes the whole report of run `id`.
pub(super) fn write_report(dir: &Path, id: i64, report: &Comparison) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report)?;
    json.push(b'\n');
    let site = Site::open(dir)?;
    let [html_file, json_file] = reports(id);
    site.put(&json_file, &json)?;
    site.put(&html_file, report_page::page(report).as_bytes())
}

/// Writes every page below `dir` that is not there as it should be, on all processors. `base` is
/// where they will be seen, for the feed.
///
/// # Errors
///
/// Where the history cannot be read or a page not be written; pages are replaced one by one.
pub fn write(history: &History, dir: &Path, base: Option<&str>) -> Result<()> {
    let site = Site::open(dir)?;
    let seal = Seal::new(history, &site, base)?;
    if seal.holds()? {
        return Ok(());
    }
    let runs = history.runs(None, u32::MAX)?;
    let flaky = history.flaky(NIGHTS)?.into_iter().map(|f| f.stream).collect();
    let known = SiteData {
        runs: &runs,
        streams: by_stream(&runs),
        flaky,
        reports: site.whole_reports()?,
        statements: site.statements()?,
        base,
    };
    let pages = pages(history, &known)?;
    let next = AtomicUsize::new(0);
    let path = history.path();
    let worked = rayon::broadcast(|_| -> Result<()> {
        let history = &History::reader(path)?;
        let view = View { history, known: &known };
        while let Some(page) = pages.get(next.fetch_add(1, Ordering::Relaxed)) {
            page.write(&view, &site)?;
        }
        Ok(())
    });
    worked.into_iter().collect::<Result<()>>()?;
    let whole = runs.iter().map(|run| run.id).filter(|id| known.reports.contains(id));
    let signed = runs.iter().map(|run| run.id).filter(|id| known.statements.contains(id));
    let beside = whole.flat_map(reports).chain(signed.map(statement_file));
    let kept = pages.iter().map(Page::file).chain(beside).collect();
    FOLDERS.iter().try_for_each(|folder| site.sweep(folder, &kept))?;
    let kept =
        |of: &BTreeSet<i64>| runs.iter().map(|r| r.id).filter(|id| of.contains(id)).collect();
    seal.close([&known.reports, &known.statements].map(kept))
}

/// Puts the attestation of run `id` beside its page.
pub(super) fn write_statement(dir: &Path, id: i64, statement: &Path) -> Result<()> {
    let reading = || format!("reading {}", statement.display());
    let bytes = std::fs::read(statement).with_context(reading)?;
    Site::open(dir)?.put(&statement_file(id), &bytes)
}

fn statement_file(id: i64) -> String {
    format!("run/{id}.intoto.json")
}

/// The whole report's files.
fn reports(id: i64) -> [String; 2] {
    ["html", "json"].map(|kind| format!("run/{id}.report.{kind}"))
}

/// One file of the site.
enum Page<'a> {
    Style,
    Overview,
    Index,
    Feed,
    Names(name::Kind),
    Stream(&'a str),
    Badge(&'a str),
    Run(&'a Run),
    Path(String),
    Package(String),
}

/// Every page, those that take long first.
fn pages<'a>(history: &History, known: &SiteData<'a>) -> Result<Vec<Page<'a>>> {
    let mut pages = vec![Page::Names(name::PATHS), Page::Names(name::PACKAGES)];
    pages.extend([Page::Overview, Page::Index, Page::Feed, Page::Style]);
    pages.extend(known.streams.keys().flat_map(|name| [Page::Stream(name), Page::Badge(name)]));
    let packages = history.packages_seen()?.into_iter();
    pages.extend(packages.map(|(name, _)| Page::Package(name)));
    pages.extend(history.paths_shown(SHOWN)?.into_iter().map(Page::Path));
    pages.extend(known.runs.iter().map(Page::Run));
    Ok(pages)
}

impl Page<'_> {
    fn file(&self) -> String {
        match self {
            Page::Style => "style.css".to_owned(),
            Page::Overview => "index.html".to_owned(),
            Page::Index => "index.json".to_owned(),
            Page::Feed => "feed.xml".to_owned(),
            Page::Names(kind) => kind.list(),
            Page::Stream(name) => format!("stream/{name}.html"),
            Page::Badge(name) => format!("badge/{name}.svg"),
            Page::Run(run) => format!("run/{}.html", run.id),
            Page::Path(name) => name::PATHS.file(name),
            Page::Package(name) => name::PACKAGES.file(name),
        }
    }

    fn write(&self, cx: &View<'_>, site: &Site) -> Result<()> {
        let file = self.file();
        let text = match self {
            Page::Style => include_str!("style.css").to_owned(),
            Page::Overview => overview::page(cx)?,
            Page::Index => state::index(cx)?,
            Page::Feed => atom::feed(cx),
            Page::Names(kind) => name::list(cx, *kind)?,
            Page::Stream(name) => stream::page(cx, name)?,
            Page::Badge(name) => badge::of(cx, name)?,
            Page::Run(run) => match run::page(cx, run, |end| site.ends_with(&file, end))? {
                Some(text) => text,
                None => return Ok(()),
            },
            Page::Path(name) => name::path(cx, name)?,
            Page::Package(name) => name::package(cx, name)?,
        };
        site.put(&file, text.as_bytes())
    }
}

/// What is known before the first page is written.
struct SiteData<'a> {
    /// Newest first.
    runs: &'a [Run],
    streams: Streams<'a>,
    flaky: BTreeSet<String>,
    /// Runs whose whole report is there.
    reports: BTreeSet<i64>,
    /// Runs whose attestation is there.
    statements: BTreeSet<i64>,
    base: Option<&'a str>,
}

/// What every page may look at.
struct View<'a> {
    history: &'a History,
    known: &'a SiteData<'a>,
}

impl<'a> Deref for View<'a> {
    type Target = SiteData<'a>;

    fn deref(&self) -> &SiteData<'a> {
        self.known
    }
}

impl<'a> SiteData<'a> {
    fn runs_of(&self, stream: &str) -> &[&'a Run] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    /// When the last run ended.
    fn written(&self) -> Option<i64> {
        self.runs.iter().map(ended).max()
    }

    fn run(&self, id: i64) -> Option<&Run> {
        let at = self.runs.binary_search_by(|run| id.cmp(&run.id)).ok()?;
        self.runs.get(at)
    }
}

/// The directory of the pages.
struct Site {
    dir: PathBuf,
}

impl Site {
    fn open(dir: &Path) -> Result<Self> {
        for folder in FOLDERS.iter().chain(&["stream", "badge"]) {
            let folder = dir.join(folder);
            let creating = || format!("creating {}", folder.display());
            disk::create_dir_all(&folder).with_context(creating)?;
        }
        Ok(Site { dir: dir.to_owned() })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(name);
        let written = disk::refresh(&path, bytes, 0o644);
        written.map(|_| ()).with_context(|| format!("writing {}", path.display()))
    }

    /// Whether a page is there and ends with these bytes.
    fn ends_with(&self, name: &str, end: &str) -> bool {
        let found = tail(&self.dir.join(name), end.len() as u64);
        found.is_ok_and(|found| found == end.as_bytes())
    }

    fn names(&self, folder: &str) -> Result<Vec<String>> {
        let dir = self.dir.join(folder);
        let entries = std::fs::read_dir(&dir);
        let entries = entries.with_context(|| format!("reading {}", dir.display()))?;
        let name = |entry: io::Result<DirEntry>| Ok(entry?.file_name().to_string_lossy().into());
        entries.map(name).collect()
    }

    /// The runs whose whole report is there, page and JSON.
    fn whole_reports(&self) -> Result<BTreeSet<i64>> {
        let names: BTreeSet<String> = self.names("run")?.into_iter().collect();
        let id = |name: &String| name.strip_suffix(".report.html")?.parse().ok();
        let whole = |id: &i64| names.contains(&format!("{id}.report.json"));
        Ok(names.iter().filter_map(id).filter(whole).collect())
    }

    /// The runs whose attestation is there.
    fn statements(&self) -> Result<BTreeSet<i64>> {
        let names = self.names("run")?;
        let id = |name: &String| name.strip_suffix(".intoto.json")?.parse().ok();
        Ok(names.iter().filter_map(id).collect())
    }

    /// Removes pages of a folder that are not `kept`; nothing that we have not written.
    fn sweep(&self, folder: &str, kept: &BTreeSet<String>) -> Result<()> {
        for name in self.names(folder)? {
            let stem = name.split('.').next().unwrap_or_default();
            let ours = !stem.is_empty() && stem.bytes().all(|b| b.is_ascii_hexdigit());
            let beside = [".html", ".report.json", ".intoto.json"];
            let page = beside.iter().any(|end| name.ends_with(end));
            if ours && page && !kept.contains(&format!("{folder}/{name}")) {
                disk::remove_file(&self.dir.join(folder).join(name))?;
            }
        }
        Ok(())
    }
}

/// A page. `up` leads from its folder to the top: empty, or `../`. `written` is when the last run
/// ended that the page knows of: pages are written after each run, and by the same history with the
/// same bytes.
fn document(title: &str, up: &str, written: Option<i64>, body: &Markup) -> String {
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
                footer {
                    p {
                        @if let Some(second) = written { "Written after the run that ended " (time(second)) ". " }
                        "Times are UTC. reprofix " (env!("CARGO_PKG_VERSION")) "."
                    }
                }
            }
        }
    };
    let mut text = page.into_string();
    text.push('\n');
    text
}

/// A time of day.
fn time(second: i64) -> Markup {
    let text = utc(second);
    html! { time datetime=(text) { (&text[..10]) " " (&text[11..16]) } }
}

/// When a run ended, or began if it is going on.
fn ended(run: &Run) -> i64 {
    run.started + run.seconds as i64
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
    let Checksum([a, b, c, d, e, f, g, h, ..]) = Checksum::of(name.as_bytes());
    format!("{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
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
