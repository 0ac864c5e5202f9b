//! Queries: lists, one run, flaky streams.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rusqlite::{OptionalExtension, Params, Row, params};
use serde::Serialize;

use super::{Class, Difference, History, Run};

/// Runs of one stream that had equal inputs and unequal verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaky {
    /// The stream.
    pub stream: String,
    /// The inputs' digest.
    pub inputs: String,
    /// Runs that reproduced.
    pub good: Vec<i64>,
    /// Runs that did not.
    pub bad: Vec<i64>,
}

/// The columns of a [`Run`], in the order of [`run_of`].
const RUN: &str = "SELECT id, stream, architecture, kind, verdict, started, seconds, version,
    plugins, host, work, token, epoch, inputs, subject_a, subject_b, checksum_a, checksum_b,
    variations, skipped, notes, detail, culprit, composefs_a, composefs_b FROM run";

impl History {
    /// The last `limit` runs, newest first; only of `stream` if it is given.
    pub fn runs(&self, stream: Option<&str>, limit: u32) -> Result<Vec<Run>> {
        let filter = "WHERE ?1 IS NULL OR stream = ?1 ORDER BY id DESC LIMIT ?2";
        self.select(filter, params![stream, limit])
    }

    /// One run.
    pub fn run(&self, id: i64) -> Result<Run> {
        match self.select("WHERE id = ?1", [id])?.pop() {
            Some(run) => Ok(run),
            None => bail!("{}: there is no run {id}; `history` lists them", self.path.display()),
        }
    }

    /// The runs that have not ended, or were killed.
    pub fn running(&self) -> Result<Vec<Run>> {
        self.select("WHERE verdict = 'running' ORDER BY id", [])
    }

    /// The streams, sorted.
    pub fn streams(&self) -> Result<Vec<String>> {
        let mut query = self.db.prepare("SELECT DISTINCT stream FROM run ORDER BY stream")?;
        let rows = query.query_map([], |r| r.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last run of `stream` that reproduced.
    pub fn last_good(&self, stream: &str) -> Result<Option<Run>> {
        let filter = "WHERE stream = ?1 AND verdict IN ('reproducible', 'expected')
                      ORDER BY id DESC LIMIT 1";
        Ok(self.select(filter, [stream])?.pop())
    }

    /// A run's differences, in the report's order. Their texts are shortened to `text_limit`
    /// bytes.
    pub fn differences(&self, run: i64, text_limit: usize) -> Result<Vec<Difference>> {
        self.first_differences(run, usize::MAX, text_limit)
    }

    /// The first `limit` of [`History::differences`].
    pub fn first_differences(
        &self,
        run: i64,
        limit: usize,
        text_limit: usize,
    ) -> Result<Vec<Difference>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let filter = "WHERE d.run = ?1 AND d.seq < ?2 ORDER BY d.seq";
        self.differences_where(filter, params![run, limit], text_limit)
    }

    /// The difference of `path` in a run, if there is one.
    pub(super) fn difference(
        &self,
        run: i64,
        path: &str,
        text_limit: usize,
    ) -> Result<Option<Difference>> {
        let filter = "WHERE d.path = (SELECT id FROM name WHERE name = ?2) AND d.run = ?1
                      ORDER BY d.seq LIMIT 1";
        Ok(self.differences_where(filter, params![run, path], text_limit)?.pop())
    }

    fn differences_where(
        &self,
        filter: &str,
        params: impl Params,
        text_limit: usize,
    ) -> Result<Vec<Difference>> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT p.name, k.name, c.name, g.name, n.name, CASE WHEN {} THEN t.zlib END
             FROM difference d JOIN name p ON p.id = d.path JOIN name k ON k.id = d.kind
             JOIN name c ON c.id = d.cause LEFT JOIN name g ON g.id = d.plugin
             LEFT JOIN name n ON n.id = d.package LEFT JOIN text t ON t.id = d.text {filter}",
            text_limit > 0
        ))?;
        let mut rows = query.query(params)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut difference = difference_of(row)?;
            if let Some(zlib) = row.get_ref(5)?.as_blob_or_null()? {
                difference.text = shortened(&self.inflate(zlib)?, text_limit).into_owned();
            }
            found.push(difference);
        }
        Ok(found)
    }

    /// The number of differences of each of the last `limit` runs of `stream`, oldest first.
    pub fn counts(&self, stream: &str, limit: u32) -> Result<Vec<(Run, u64)>> {
        let mut runs = self.runs(Some(stream), limit)?;
        runs.reverse();
        runs.into_iter().map(|run| self.count(run.id).map(|count| (run, count))).collect()
    }

    /// The number of differences of a run.
    pub fn count(&self, run: i64) -> Result<u64> {
        let mut query = self.db.prepare_cached("SELECT count(*) FROM difference WHERE run = ?1")?;
        let count: i64 = query.query_row([run], |r| r.get(0))?;
        Ok(u64::try_from(count)?)
    }

    /// The end of a run's build output.
    pub fn log(&self, run: i64) -> Result<String> {
        let id = self.column(run, "log")?;
        self.text(id)
    }

    /// The packages of a run's first subject: name and version. Empty if none were recorded.
    pub fn packages(&self, run: i64) -> Result<BTreeMap<String, String>> {
        let text = self.package_lines(run)?;
        Ok(versions_in(&text)
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect())
    }

    /// [`History::packages`] as stored: `name version` lines, sorted by name.
    pub(super) fn package_lines(&self, run: i64) -> Result<String> {
        self.text(self.column(run, "packages")?)
    }

    fn column(&self, run: i64, name: &str) -> Result<Option<i64>> {
        let query = format!("SELECT {name} FROM run WHERE id = ?1");
        Ok(self.db.query_row(&query, [run], |r| r.get(0)).optional()?.flatten())
    }

    /// The paths among the first `shown` differences of any run, sorted.
    pub fn paths_shown(&self, shown: usize) -> Result<Vec<String>> {
        let mut query = self.db.prepare_cached(
            "SELECT name FROM name WHERE id IN (SELECT path FROM difference WHERE seq < ?1)
             ORDER BY name",
        )?;
        let rows = query.query_map([i64::try_from(shown)?], |r| r.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Every path with the number of runs in which it differed, the most frequent first.
    pub fn paths(&self) -> Result<Vec<(String, u64)>> {
        self.tally("path")
    }

    /// Every package that owned a difference, with the number of its differences, the highest
    /// first.
    pub fn packages_seen(&self) -> Result<Vec<(String, u64)>> {
        self.tally("package")
    }

    fn tally(&self, column: &str) -> Result<Vec<(String, u64)>> {
        let mut query = self.db.prepare(&format!(
            "SELECT n.name, t.times FROM
               (SELECT {column} AS id, count(DISTINCT run) AS times FROM difference
                WHERE {column} IS NOT NULL GROUP BY {column}) t
             JOIN name n ON n.id = t.id ORDER BY t.times DESC, n.name"
        ))?;
        let rows = query.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last `limit` differences of a path, newest first, with their runs.
    pub fn of_path(&self, path: &str, limit: u32) -> Result<Vec<(i64, Difference)>> {
        self.of("path", path, limit)
    }

    /// The last `limit` differences in files of a package, newest first, with their runs.
    pub fn of_package(&self, package: &str, limit: u32) -> Result<Vec<(i64, Difference)>> {
        self.of("package", package, limit)
    }

    fn of(&self, column: &str, name: &str, limit: u32) -> Result<Vec<(i64, Difference)>> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT p.name, k.name, c.name, g.name, n.name, d.run
             FROM difference d JOIN name p ON p.id = d.path JOIN name k ON k.id = d.kind
             JOIN name c ON c.id = d.cause LEFT JOIN name g ON g.id = d.plugin
             LEFT JOIN name n ON n.id = d.package
             WHERE d.{column} = (SELECT id FROM name WHERE name = ?1)
             ORDER BY d.run DESC, d.seq LIMIT ?2"
        ))?;
        let rows = query.query_map(params![name, limit], |r| Ok((r.get(5)?, difference_of(r)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Streams in which equal inputs gave unequal verdicts, over the last `limit` runs of each.
    pub fn flaky(&self, limit: u32) -> Result<Vec<Flaky>> {
        let mut found = Vec::new();
        for stream in self.streams()? {
            let mut by_inputs: BTreeMap<String, Flaky> = BTreeMap::new();
            for run in self.runs(Some(&stream), limit)?.into_iter().rev() {
                let entry = by_inputs.entry(run.inputs.clone()).or_insert_with(|| Flaky {
                    stream: stream.clone(),
                    inputs: run.inputs.clone(),
                    good: Vec::new(),
                    bad: Vec::new(),
                });
                match run.verdict.class() {
                    Class::Good => entry.good.push(run.id),
                    Class::Bad => entry.bad.push(run.id),
                    Class::Failed | Class::Open => (),
                }
            }
            let flaky = |f: &Flaky| !f.inputs.is_empty() && !f.good.is_empty() && !f.bad.is_empty();
            found.extend(by_inputs.into_values().filter(flaky));
        }
        Ok(found)
    }

    fn select(&self, filter: &str, params: impl Params) -> Result<Vec<Run>> {
        let mut query = self.db.prepare_cached(&format!("{RUN} {filter}"))?;
        let rows = query.query_map(params, run_of)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Names and versions of stored package lines.
pub(super) fn versions_in(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines.lines().filter_map(|line| line.split_once(' '))
}

fn run_of(row: &Row<'_>) -> rusqlite::Result<Run> {
    let verdict: String = row.get(4)?;
    let json = |column| -> rusqlite::Result<String> { row.get(column) };
    Ok(Run {
        id: row.get(0)?,
        stream: row.get(1)?,
        architecture: row.get(2)?,
        kind: row.get(3)?,
        verdict: verdict.parse().map_err(|e: String| damaged(4, e))?,
        started: row.get(5)?,
        seconds: row.get(6)?,
        version: row.get(7)?,
        plugins: row.get(8)?,
        host: row.get(9)?,
        work: row.get(10)?,
        token: row.get(11)?,
        epoch: row.get(12)?,
        inputs: row.get(13)?,
        subject_a: row.get(14)?,
        subject_b: row.get(15)?,
        checksum_a: row.get(16)?,
        checksum_b: row.get(17)?,
        variations: row.get(18)?,
        skipped: list(&json(19)?, 19)?,
        notes: list(&json(20)?, 20)?,
        detail: row.get(21)?,
        culprit: row.get(22)?,
        composefs_a: row.get(23)?,
        composefs_b: row.get(24)?,
    })
}

/// A list stored as JSON; empty until the run has ended.
fn list<T: serde::de::DeserializeOwned>(json: &str, column: usize) -> rusqlite::Result<Vec<T>> {
    match json.is_empty() {
        true => Ok(Vec::new()),
        false => serde_json::from_str(json).map_err(|e| damaged(column, e.to_string())),
    }
}

fn damaged(column: usize, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, why.into())
}

fn difference_of(row: &Row<'_>) -> rusqlite::Result<Difference> {
    Ok(Difference {
        path: row.get(0)?,
        kind: row.get(1)?,
        cause: row.get(2)?,
        plugin: row.get(3)?,
        package: row.get(4)?,
        text: String::new(),
    })
}

/// Shortens `text` to its beginning and end with a note about what is missing.
pub(super) fn shortened(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(limit / 2);
    let tail = text.ceil_char_boundary(text.len() - limit / 2);
    let missing = tail - head;
    Cow::Owned(format!("{}\n[… {missing} bytes left out …]\n{}", &text[..head], &text[tail..]))
}
