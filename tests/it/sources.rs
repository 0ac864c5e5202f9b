//! `docs/sources.md` and the README's table of plugins: true of the registry, and complete.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use reprofix::normal::Context;
use reprofix::normal::{Plugin, Want};
use reprofix::plugins::{REGISTRY, find};
use reprofix::tree::{Entry, Kind, Time};

use crate::cases::EPOCH;

/// The numbers of the known sources; the list has never had the others. Later rows are ours.
const KNOWN: std::ops::RangeInclusive<u32> = 1..=65;
const UNUSED: [u32; 4] = [40, 43, 44, 48];

struct Row {
    number: u32,
    paths: Vec<String>,
    answer: String,
    plugins: Vec<String>,
    why: String,
}

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(project("docs/sources.md")).unwrap();
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let lines = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| #"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "{line}");
            Row {
                number: cells[0].parse().unwrap_or_else(|_| panic!("{line}")),
                paths: quoted(cells[2]),
                answer: cells[3].to_owned(),
                plugins: quoted(cells[4]),
                why: cells[5].to_owned(),
            }
        })
        .collect()
}

#[test]
fn every_known_source_is_answered_once() {
    let numbers: Vec<u32> = rows().iter().map(|row| row.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let want: Vec<u32> = KNOWN.filter(|n| !UNUSED.contains(n)).collect();
    assert_eq!(numbers[..want.len()], want);
    for row in rows() {
        let n = row.number;
        assert!(row.why.len() > 10, "{n} has no reason");
        match row.answer.as_str() {
            "fixed" | "reported" => {
                assert!(!row.plugins.is_empty() && !row.paths.is_empty(), "{n}")
            }
            "not ours" => assert!(row.plugins.is_empty() && row.paths.is_empty(), "{n}"),
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
    let cx = Context::new(EPOCH);
    for row in rows() {
        let named: Vec<&dyn Plugin> = row
            .plugins
            .iter()
            .map(|p| find(p).unwrap_or_else(|| panic!("{}: no plugin {p}", row.number)))
            .collect();
        let wants = |plugin: &dyn Plugin, path: &str| {
            [Kind::File, Kind::Symlink, Kind::Dir]
                .iter()
                .any(|kind| plugin.wants(&entry(path, *kind), &cx) != Want::No)
        };
        for path in &row.paths {
            assert!(named.iter().any(|p| wants(*p, path)), "{}: nobody wants {path}", row.number);
        }
        for plugin in named {
            let name = plugin.page().name;
            assert!(row.paths.iter().any(|p| wants(plugin, p)), "{}: {name}", row.number);
        }
    }
}

/// The rows of each plugin, by name, with their answers.
pub(crate) fn by_plugin() -> BTreeMap<String, Vec<(u32, String)>> {
    let mut map: BTreeMap<String, Vec<(u32, String)>> = BTreeMap::new();
    for row in rows() {
        for plugin in row.plugins {
            map.entry(plugin).or_default().push((row.number, row.answer.clone()));
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
    let others = rows().into_iter().filter(|r| r.answer == "not ours");
    let others: Vec<_> = others.map(|r| r.number.to_string()).collect();
    let _ = writeln!(
        out,
        "\nThe numbers are the rows of [docs/sources.md](docs/sources.md), which has an example and \
         the reason of each. Not ours, with reasons there: {}.",
        others.join(", ")
    );
    out
}

#[test]
fn the_readme_has_the_registrys_table() {
    let (begin, end) = ("<!-- plugins: begin -->\n", "<!-- plugins: end -->");
    let text = std::fs::read_to_string(project("README.md")).unwrap();
    let (before, rest) = text.split_once(begin).expect("the mark");
    let (inside, after) = rest.split_once(end).expect("the mark");
    if std::env::var_os("REPROFIX_BLESS").is_some() {
        std::fs::write(project("README.md"), [before, begin, &table(), end, after].concat())
            .unwrap();
        return;
    }
    assert_eq!(inside, table());
}
