//! Blame: since when a path differs, and which packages changed then.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{Result, bail};
use rusqlite::OptionalExtension;
use serde::Serialize;

use super::query::versions_in;
use super::{Class, Difference, History, Run};

/// The most bytes of a difference's text in a [`StreamBlame`].
const TEXT: usize = 4096;

/// The most package changes to cache: paths that began to differ in the same run share them.
const REMEMBERED: usize = 64;

/// Since when a path differs, and what changed then.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blame {
    /// The path.
    pub path: String,
    /// One row for each stream in which it ever differed.
    pub streams: Vec<StreamBlame>,
}

/// The part of a [`Blame`] for one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamBlame {
    /// The stream.
    pub stream: String,
    /// The first run in which the path differed, in the unbroken sequence of such comparisons that
    /// lasts until now (or ended last).
    pub first: Run,
    /// The last comparison before that, in which the path was the same.
    pub last_good: Option<Run>,
    /// The number of runs in which it differed.
    pub times: u64,
    /// The last run in which it differed.
    pub last: i64,
    /// Whether it still differs in the stream's last comparison.
    pub still: bool,
    /// The difference, as in `first`.
    pub difference: Difference,
    /// Versions of its package before and after; `None` if the package is not known.
    pub package: Option<Versions>,
    /// Every other package that changed between `last_good` and `first`.
    pub changed: Vec<Versions>,
}

/// A package's versions in two runs; `None` if it was not installed or not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// The package's name.
    pub name: String,
    /// Before.
    pub before: Option<String>,
    /// After.
    pub after: Option<String>,
}

/// The packages of a run, and how they differ from those of the run before.
#[derive(Debug)]
pub(super) struct Changes {
    changed: Vec<Versions>,
    after: String,
    /// Whether there is an earlier run.
    known: bool,
}

/// Cached changes by the digests of the packages before and after.
pub(super) type Remembered = BTreeMap<(Option<Vec<u8>>, Vec<u8>), Rc<Changes>>;

impl Changes {
    fn between(before: Option<String>, after: String) -> Self {
        let old: BTreeMap<&str, &str> = versions_in(before.as_deref().unwrap_or("")).collect();
        let new: BTreeMap<&str, &str> = versions_in(&after).collect();
        let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
        let version = |of: &BTreeMap<&str, &str>, name| of.get(name).map(|v| (*v).to_owned());
        let changed = names.into_iter().filter(|name| old.get(name) != new.get(name));
        let changed = changed.map(|name| Versions {
            name: name.to_owned(),
            before: version(&old, name),
            after: version(&new, name),
        });
        Changes { changed: changed.collect(), known: before.is_some(), after }
    }

    /// Both versions of one package.
    fn of(&self, name: &str) -> Versions {
        if let Some(found) = self.changed.iter().find(|v| v.name == name) {
            return found.clone();
        }
        let same = versions_in(&self.after).find(|(package, _)| *package == name);
        let same = same.map(|(_, version)| version.to_owned());
        let before = same.clone().filter(|_| self.known);
        Versions { name: name.to_owned(), before, after: same }
    }
}

/// The runs of each stream, newest first.
pub type Streams<'a> = BTreeMap<&'a str, Vec<&'a Run>>;

/// Groups `runs`, which are sorted newest first, by stream.
pub fn by_stream(runs: &[Run]) -> Streams<'_> {
    let mut streams = Streams::new();
    for run in runs {
        streams.entry(&run.stream).or_default().push(run);
    }
    streams
}

impl History {
    /// Since when `path` differs, in every stream where it ever did.
    ///
    /// # Errors
    ///
    /// If the path never differed.
    pub fn blame(&self, path: &str) -> Result<Blame> {
        let runs = self.runs(None, u32::MAX)?;
        self.blame_among(path, &by_stream(&runs))
    }

    /// Since when a path differs, among runs that the caller has loaded.
    pub fn blame_among(&self, path: &str, streams: &Streams<'_>) -> Result<Blame> {
        let mut query = self.db.prepare_cached(
            "SELECT DISTINCT run FROM difference
             WHERE path = (SELECT id FROM name WHERE name = ?1)",
        )?;
        let differing = query.query_map([path], |r| r.get(0))?;
        let differing: BTreeSet<i64> = differing.collect::<Result<_, _>>()?;
        if differing.is_empty() {
            bail!(
                "{path}: no recorded run differed here; `reprofix history show RUN` lists the paths of a run"
            );
        }
        let mut seen = Vec::new();
        for (stream, runs) in streams {
            seen.extend(self.seen(path, stream, runs, &differing)?);
        }
        Ok(Blame { path: path.to_owned(), streams: seen })
    }

    /// Since when a path differs in one stream; `None` if it never did.
    fn seen(
        &self,
        path: &str,
        stream: &str,
        runs: &[&Run],
        differing: &BTreeSet<i64>,
    ) -> Result<Option<StreamBlame>> {
        let differs = |run: &&&Run| differing.contains(&run.id);
        let compared = |run: &&&Run| matches!(run.verdict.class(), Class::Good | Class::Bad);
        let Some(last) = runs.iter().position(|run| differs(&run)) else { return Ok(None) };
        let good = runs[last..].iter().position(|run| compared(&run) && !differs(&run));
        let since = good.map_or(&runs[last..], |good| &runs[last..last + good]);
        let first = since.iter().rfind(differs).unwrap_or(&runs[last]);
        let last_good = good.map(|good| runs[last + good]);
        let newest = runs.iter().find(compared);
        let difference = self.difference(first.id, path, TEXT)?.unwrap_or_default();
        let changes = self.changes(last_good.map(|run| run.id), first.id)?;
        let package = difference.package.as_ref().map(|name| changes.of(name));
        let others = |v: &&Versions| changes.known && Some(&v.name) != difference.package.as_ref();
        Ok(Some(StreamBlame {
            stream: stream.to_owned(),
            first: (*first).clone(),
            last_good: last_good.cloned(),
            times: runs.iter().filter(differs).count() as u64,
            last: runs[last].id,
            still: newest.is_some_and(|run| run.id == runs[last].id),
            package,
            changed: changes.changed.iter().filter(others).cloned().collect(),
            difference,
        }))
    }

    /// How the packages of two runs differ.
    fn changes(&self, before: Option<i64>, after: i64) -> Result<Rc<Changes>> {
        let digest = |run| self.packages_digest(run);
        let key = (before.map(digest).transpose()?, digest(after)?);
        if let Some(known) = self.remembered.borrow().get(&key) {
            return Ok(Rc::clone(known));
        }
        let old = before.map(|run| self.package_lines(run)).transpose()?;
        let found = Rc::new(Changes::between(old, self.package_lines(after)?));
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, Rc::clone(&found));
        Ok(found)
    }

    /// SHA-256 of a run's package lines; empty if it has none.
    fn packages_digest(&self, run: i64) -> Result<Vec<u8>> {
        let query = "SELECT sha256 FROM text WHERE id = (SELECT packages FROM run WHERE id = ?1)";
        let mut query = self.db.prepare_cached(query)?;
        Ok(query.query_row([run], |r| r.get(0)).optional()?.unwrap_or_default())
    }
}
