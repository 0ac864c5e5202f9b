//! Compares two databases, package by package.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Database;
use crate::format::rpmdb::diff::{Class, Diff, diff};
use crate::format::rpmdb::ndb;
use crate::tree::Tree;

/// How two databases differ, in a stable order. `rpmdb diff --json` writes it, and `check --json`
/// as `packages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Name and version of this schema; the number rises when a field changes its meaning.
    pub schema: &'static str,
    /// The first database, as named.
    pub a: String,
    /// The second.
    pub b: String,
    /// How they are stored: `sqlite`, `ndb`, `bdb`.
    pub backends: [&'static str; 2],
    /// Whether every file is the same, byte for byte.
    pub same: bool,
    /// Whether the normal form would remove every difference.
    pub fixed: bool,
    /// The classes of what differs, sorted: packages, headers and indexes by content; install
    /// times, order and layout by history.
    pub classes: Vec<Class>,
    /// What differs, package by package.
    pub packages: Diff,
    /// Remarks, for example on what was not compared.
    pub notes: Vec<String>,
}

impl Comparison {
    /// The schema's name and version.
    pub const SCHEMA: &'static str = "reprofix-rpmdb-1";

    /// Compares two databases; the report calls them by `names`. Backends may differ.
    ///
    /// # Errors
    ///
    /// If a database cannot be read; the error names it.
    pub fn of(names: [String; 2], a: &Database, b: &Database) -> Result<Self> {
        let reading = |name: &String| format!("reading the database of {name}");
        let x = a.logical().with_context(|| reading(&names[0]))?;
        let y = b.logical().with_context(|| reading(&names[1]))?;
        let packages = diff(&x, &y).context("comparing")?;
        let same = a.backend == b.backend && a.main == b.main && a.sides == b.sides;
        let mut classes = packages.classes();
        if a.backend != b.backend {
            classes.push(Class::Backend);
        } else if classes.is_empty() && !same {
            classes.push(Class::Layout);
        }
        let fixed = classes.iter().all(|class| class.is_of_history());
        let [left, right] = names;
        let backends = [a, b].map(|database| database.backend.name());
        let notes = [(&left, a), (&right, b)].iter().filter_map(|(n, d)| note(n, d)).collect();
        let schema = Self::SCHEMA;
        Ok(Comparison {
            schema,
            a: left,
            b: right,
            backends,
            same,
            fixed,
            classes,
            packages,
            notes,
        })
    }

    /// The report for a terminal.
    pub fn human(&self) -> String {
        let mut out = String::new();
        for ((name, at), backend) in [("A", &self.a), ("B", &self.b)].iter().zip(self.backends) {
            let _ = writeln!(out, "{name} {at} ({backend})");
        }
        self.body(&mut out, usize::MAX);
        out
    }

    /// Appends what differs, without the databases' names and with at most `limit` packages per
    /// heading.
    pub fn body(&self, out: &mut String, limit: usize) {
        for (title, lines) in self.packages.groups() {
            let _ = writeln!(out, "  {title}");
            for line in lines.iter().take(limit) {
                let _ = writeln!(out, "    {line}");
            }
            if lines.len() > limit {
                let _ = writeln!(out, "    … and {} more", lines.len() - limit);
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "  {note}");
        }
        let classes: Vec<_> = self.classes.iter().map(|class| class.word()).collect();
        let verdict = match (self.same, self.fixed) {
            (true, _) => "same".to_owned(),
            (false, true) => {
                format!("differ only in {}: `reprofix fix` makes them equal", classes.join(", "))
            }
            (false, false) => format!("differ in {}", classes.join(", ")),
        };
        let _ = writeln!(out, "  {verdict}");
    }
}

/// How the databases of two trees differ; `None` if they do not differ or a tree has none.
///
/// # Errors
///
/// Those of [`Comparison::of`].
pub fn compare_trees(a: &dyn Tree, b: &dyn Tree) -> Result<Option<Comparison>> {
    let load = |tree| Database::of_tree(tree).context("reading an rpm database");
    let (Some(x), Some(y)) = (load(a)?, load(b)?) else { return Ok(None) };
    let names = [&x, &y].map(|database| format!("/{}", database.path.display()));
    let found = Comparison::of(names, &x, &y)?;
    Ok((!found.same).then_some(found))
}

/// Why a database's index rows were not compared.
fn note(name: &str, database: &Database) -> Option<String> {
    let index = database.side(super::NDB_INDEX);
    if database.backend != super::Backend::Ndb {
        return None;
    }
    let why = ndb::read(&database.main, index).ok()?.no_index?;
    Some(format!("{name}: {why}"))
}
