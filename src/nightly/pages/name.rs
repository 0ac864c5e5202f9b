//! The pages of paths and packages, and the lists of both.

use anyhow::Result;
use maud::{Markup, html};

use super::{LISTED, SHOWN, View, breaking, document, hash, scrolling, stream, verdict};
use crate::history::{Difference, StreamBlame, Versions};
use crate::text::counted;

/// A kind of name with pages: paths or packages.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    folder: &'static str,
    title: &'static str,
}

/// Paths.
pub(super) const PATHS: Kind = Kind { folder: "path", title: "Paths" };
/// Packages.
pub(super) const PACKAGES: Kind = Kind { folder: "package", title: "Packages" };

impl Kind {
    /// The file of the list.
    pub(super) fn list(self) -> String {
        format!("{}s.html", self.folder)
    }

    /// The file of the page for `name`, relative to the top.
    pub(super) fn file(self, name: &str) -> String {
        format!("{}/{}.html", self.folder, hash(name))
    }
}

/// The most names in a list.
const LIST: usize = 1000;

/// `paths.html` or `packages.html`.
pub(super) fn list(cx: &View<'_>, kind: Kind) -> Result<String> {
    let (all, linked) = match kind.folder {
        "path" => (cx.history.paths()?, Some(cx.history.paths_shown(SHOWN)?)),
        _ => (cx.history.packages_seen()?, None),
    };
    let has_page =
        |name: &String| linked.as_ref().is_none_or(|all| all.binary_search(name).is_ok());
    let table = html! {
        table {
            thead { tr { th scope="col" { (kind.title) } th.number scope="col" { "Runs" } } }
            tbody {
                @for (name, runs) in all.iter().take(LIST) {
                    tr {
                        td {
                            @if has_page(name) { a.path href=(kind.file(name)) { (breaking(name)) } }
                            @else { span.path { (breaking(name)) } }
                        }
                        td.number { (runs) }
                    }
                }
            }
        }
    };
    let body = html! {
        p { "Everything that ever differed, sorted by the number of runs in which it did." }
        @if all.is_empty() { p { "Nothing ever differed." } } @else { (scrolling(kind.title, &table)) }
        @if all.len() > LIST { p.soft { (all.len() - LIST) " more are not listed." } }
    };
    Ok(document(kind.title, "", cx.written(), &body))
}

/// A path's page.
pub(super) fn path(cx: &View<'_>, path: &str) -> Result<String> {
    let blame = cx.history.blame_among(path, &cx.streams)?;
    let rows = cx.history.of_path(path, LISTED)?;
    let body = html! {
        @for seen in &blame.streams { (since(seen)) }
        h2 { "Runs in which it differed" }
        (scrolling("Runs", &table(cx, &rows, false)))
    };
    Ok(document(path, "../", last(cx, &rows), &body))
}

/// A package's page.
pub(super) fn package(cx: &View<'_>, package: &str) -> Result<String> {
    let rows = cx.history.of_package(package, LISTED)?;
    let body = html! {
        h2 { "Its files that differed" }
        (scrolling("Runs", &table(cx, &rows, true)))
    };
    Ok(document(package, "../", last(cx, &rows), &body))
}

/// Since when a path differs in one stream.
fn since(seen: &StreamBlame) -> Markup {
    let run = |id: i64| html! { a href={ "../run/" (id) ".html" } { "run " (id) } };
    let changed = seen.changed.len();
    html! {
        h2 { (stream::link(&seen.stream, "../")) }
        p {
            @if seen.still { "Differs since " } @else { "No longer differs. It last began to in " }
            (run(seen.first.id)) " (" (super::run::when(&seen.first)) "), "
            @match &seen.last_good {
                Some(good) => { "and was the same in " (run(good.id)) "; " }
                None => "the first known run; ",
            }
            "it differed in " (seen.times) @if seen.times == 1 { " run" } @else { " runs" } " in all."
        }
        @if let Some(package) = &seen.package { p { "Its package: " (link(&package.name)) " " (versions(package)) "." } }
        @if changed > 0 {
            details {
                summary { (counted(changed, "other package")) " changed with it" }
                ul { @for package in seen.changed.iter().take(200) { li { (package.name) " " (versions(package)) } } }
            }
        }
    }
}

/// When the last of these runs ended.
fn last(cx: &View<'_>, rows: &[(i64, Difference)]) -> Option<i64> {
    rows.iter().filter_map(|(id, _)| cx.run(*id)).map(super::ended).max()
}

/// A link to the page of a package if it owned a difference; others have no page.
fn link(package: &str) -> Markup {
    html! { a href={ "../" (PACKAGES.file(package)) } { (package) } }
}

fn versions(package: &Versions) -> Markup {
    let shown = |v: &Option<String>| v.clone().unwrap_or_else(|| "not known".to_owned());
    html! {
        @if package.before == package.after { (shown(&package.after)) " before and after" }
        @else { (shown(&package.before)) " → " (shown(&package.after)) }
    }
}

fn table(cx: &View<'_>, rows: &[(i64, Difference)], paths: bool) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "Run" } th scope="col" { "Stream" } th scope="col" { "Verdict" }
                    @if paths { th scope="col" { "Path" } }
                    th scope="col" { "Differs in" } th scope="col" { "Why" }
                }
            }
            tbody {
                @for (id, difference) in rows {
                    tr {
                        td { a href={ "../run/" (id) ".html" } { "Run " (id) } }
                        @match cx.run(*id) {
                            Some(run) => {
                                td { (stream::link(&run.stream, "../")) } td { (verdict(run.verdict)) }
                            }
                            None => { td {} td {} }
                        }
                        @if paths { td.path { (breaking(&difference.path)) } }
                        td { (difference.kind) }
                        td {
                            (difference.cause_words())
                        }
                    }
                }
            }
        }
    }
}
