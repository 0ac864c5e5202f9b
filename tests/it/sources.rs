//! `docs/sources.md` and the README's table of plugins: true of the registry, and complete.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use reprofix::normal::{Plugin, Want};
use reprofix::plugins::{REGISTRY, default_context, find};
use reprofix::tree::{Entry, Kind, Time};
use serde::Deserialize;

use crate::cases::EPOCH;
use crate::evidence::{self, Evidence};

/// The numbers of the known sources; the list has never had the others. Later rows are ours.
const KNOWN: std::ops::RangeInclusive<u32> = 1..=65;
const UNUSED: [u32; 4] = [40, 43, 44, 48];

/// A row of the table: `[[source]]` in a plugin's `evidence.toml`, or in `tests/not-ours.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Source {
    /// Stable; a new row takes the next one.
    number: u32,
    /// What varies.
    varies: String,
    /// Paths that the plugin wants.
    #[serde(default)]
    examples: Vec<String>,
    /// Other plugins that have a part in the answer.
    #[serde(default)]
    with: Vec<String>,
    /// `fixed` or `reported`.
    #[serde(default = "not_ours")]
    answer: String,
    /// Why, and what upstream did.
    why: String,
}

fn not_ours() -> String {
    "not ours".to_owned()
}

struct Row {
    source: Source,
    plugins: Vec<String>,
}

/// Sources that no plugin answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NotOurs {
    source: Vec<Source>,
}

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The rows by number, from the plugins' evidence.
fn rows() -> Vec<Row> {
    let of_plugin = |name: String| {
        let sources = Evidence::of(&name).source;
        sources.into_iter().map(move |source| {
            let plugins = [name.clone()].into_iter().chain(source.with.clone()).collect();
            Row { source, plugins }
        })
    };
    let mut rows: Vec<Row> = evidence::plugins().into_iter().flat_map(of_plugin).collect();
    let text = std::fs::read_to_string(project("tests/not-ours.toml")).unwrap();
    let others: NotOurs = toml::from_str(&text).unwrap_or_else(|e| panic!("not-ours.toml: {e}"));
    rows.extend(others.source.into_iter().map(|source| Row { source, plugins: Vec::new() }));
    rows.sort_by_key(|row| row.source.number);
    rows
}

/// The table of docs/sources.md.
fn sources_table() -> String {
    let mut out = String::from(
        "| # | what varies | for example | answer | plugin | why, and what upstream did |\n\
         |---|---|---|---|---|---|\n",
    );
    let cell = |all: &[String]| match all {
        [] => "–".to_owned(),
        all => format!("`{}`", all.join("`, `")),
    };
    for Row { source, plugins } in rows() {
        let Source { number, varies, examples, answer, why, .. } = source;
        let (examples, plugins) = (cell(&examples), cell(&plugins));
        let _ =
            writeln!(out, "| {number} | {varies} | {examples} | {answer} | {plugins} | {why} |");
    }
    out
}

#[test]
fn every_known_source_is_answered_once() {
    let numbers: Vec<u32> = rows().iter().map(|row| row.source.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "a number is used twice: {numbers:?}");
    let want: Vec<u32> = KNOWN.filter(|n| !UNUSED.contains(n)).collect();
    assert_eq!(numbers[..want.len()], want);
    for Row { source, plugins } in rows() {
        let n = source.number;
        assert!(source.why.len() > 10, "{n} has no reason");
        match source.answer.as_str() {
            "fixed" | "reported" => {
                assert!(!plugins.is_empty() && !source.examples.is_empty(), "{n}")
            }
            "not ours" => assert!(plugins.is_empty() && source.examples.is_empty(), "{n}"),
            other => panic!("{n}: {other:?} is no answer"),
        }
    }
}

/// The entry that a path of the table stands for. Only `mtime` looks at the time.
pub(crate) fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: PathBuf::from(path),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 1,
        mtime: Some(Time { sec: i64::from(EPOCH.seconds()) + 1, nsec: 0 }),
        inode: None,
    }
}

#[test]
fn the_plugins_of_a_row_want_its_paths() {
    let cx = default_context(EPOCH);
    for row in rows() {
        let named: Vec<&dyn Plugin> = row
            .plugins
            .iter()
            .map(|p| find(p).unwrap_or_else(|| panic!("{}: no plugin {p}", row.source.number)))
            .collect();
        let wants = |plugin: &dyn Plugin, path: &str| {
            [Kind::File, Kind::Symlink, Kind::Dir]
                .iter()
                .any(|kind| plugin.wants(&entry(path, *kind), &cx) != Want::No)
        };
        let number = row.source.number;
        for path in &row.source.examples {
            assert!(named.iter().any(|p| wants(*p, path)), "{number}: no plugin wants {path}");
        }
        for plugin in named {
            let name = plugin.page().name;
            assert!(row.source.examples.iter().any(|p| wants(plugin, p)), "{number}: {name}");
        }
    }
}

/// The rows of each plugin, by name, with their answers.
pub(crate) fn by_plugin() -> BTreeMap<String, Vec<(u32, String)>> {
    let mut map: BTreeMap<String, Vec<(u32, String)>> = BTreeMap::new();
    for row in rows() {
        for plugin in row.plugins {
            map.entry(plugin).or_default().push((row.source.number, row.source.answer.clone()));
        }
    }
    map
}

/// The README's table, from the registry and the sources.
fn table() -> String {
    let sources = by_plugin();
    let mut out = String::from(
        "| plugin | by default | what it does | fixes | reports |\n|---|---|---|---|---|\n",
    );
    for plugin in REGISTRY {
        let page = plugin.page();
        let numbers = |answer: &str| {
            let rows = sources.get(page.name).into_iter().flatten();
            let list: Vec<_> =
                rows.filter(|(_, a)| a == answer).map(|(n, _)| n.to_string()).collect();
            if list.is_empty() { "–".to_owned() } else { list.join(", ") }
        };
        let (fixes, reports) = (numbers("fixed"), numbers("reported"));
        let state = if page.default { "on" } else { "off" };
        let summary = page.summary;
        let _ = writeln!(out, "| `{}` | {state} | {summary} | {fixes} | {reports} |", page.name);
    }
    let others = rows().into_iter().filter(|r| r.source.answer == "not ours");
    let others: Vec<_> = others.map(|r| r.source.number.to_string()).collect();
    let _ = writeln!(
        out,
        "\nThe numbers are the rows of [docs/sources.md](docs/sources.md), which has an example and \
         the reason of each. Not ours, with reasons there: {}.",
        others.join(", ")
    );
    out
}

/// Holds what is between two marks of a file against `want`, or writes it there.
fn holds(file: &str, mark: &str, want: &str) {
    let (begin, end) = (format!("<!-- {mark}: begin -->\n"), format!("<!-- {mark}: end -->"));
    let text = std::fs::read_to_string(project(file)).unwrap();
    let (before, rest) = text.split_once(&begin).expect("the mark");
    let (inside, after) = rest.split_once(&end).expect("the mark");
    if std::env::var_os("REPROFIX_BLESS").is_some() {
        let new = [before, &begin, want, &end, after].concat();
        return std::fs::write(project(file), new).unwrap();
    }
    assert_eq!(inside, want, "{file} is not what the plugins say: REPROFIX_BLESS=1 writes it");
}

#[test]
fn the_readme_has_the_registrys_table() {
    holds("README.md", "plugins", &table());
}

#[test]
fn the_table_of_sources_is_that_of_the_plugins() {
    holds("docs/sources.md", "sources", &sources_table());
}
