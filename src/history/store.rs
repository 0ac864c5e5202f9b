//! Records the beginning and end of runs.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, bail};
use flate2::write::ZlibEncoder;
use flate2::{Compression, FlushDecompress, Status};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, named_params, params};
use sha2::{Digest, Sha256};

use super::{Difference, History, Run, Verdict};

/// Largest text that is stored or read back, uncompressed: 64 MiB.
const MAX_TEXT: usize = 64 << 20;

/// Bytes to decompress at a time.
const INFLATED: usize = 4096;

/// The results of a run apart from its row.
#[derive(Clone, Debug, Default)]
pub struct Finish {
    /// Its differences, in the report's order.
    pub differences: Vec<Difference>,
    /// The first subject's packages: name and version.
    pub packages: BTreeMap<String, String>,
    /// The end of the builds' output.
    pub log: String,
}

impl History {
    /// Records that `run` has begun, and sets its number. If the process is killed after that, it
    /// leaves a row that [`History::interrupt`] closes.
    pub fn begin(&mut self, run: &mut Run) -> Result<()> {
        let change = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        change.execute(
            "INSERT INTO run
               (stream, architecture, kind, verdict, started, version, host, work, token)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                run.stream,
                run.architecture,
                run.kind,
                Verdict::Running.name(),
                run.started,
                run.version,
                run.host,
                run.work,
                run.token
            ],
        )?;
        run.id = change.last_insert_rowid();
        Ok(change.commit()?)
    }

    /// Records that run `id` has left nothing in its work directory.
    pub fn forget_work(&mut self, id: i64) -> Result<()> {
        self.db.execute("UPDATE run SET work = '' WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Records how `run` ended, completely or not at all.
    pub fn finish(&mut self, run: &Run, finish: &Finish) -> Result<()> {
        let change = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let packages = package_lines(&finish.packages);
        let packages = store_text(&change, &packages)?;
        let log = store_text(&change, &finish.log)?;
        change.execute(
            "UPDATE run SET architecture = :architecture, verdict = :verdict, seconds = :seconds,
               plugins = :plugins, work = :work, epoch = :epoch, inputs = :inputs,
               subject_a = :subject_a, subject_b = :subject_b, checksum_a = :checksum_a,
               checksum_b = :checksum_b, composefs_a = :composefs_a, composefs_b = :composefs_b,
               variations = :variations, skipped = :skipped,
               notes = :notes, detail = :detail, culprit = :culprit, packages = :packages,
               log = :log
             WHERE id = :id",
            named_params! {
                ":id": run.id,
                ":architecture": run.architecture,
                ":verdict": run.verdict.name(),
                ":seconds": run.seconds,
                ":plugins": run.plugins,
                ":work": run.work,
                ":epoch": run.epoch,
                ":inputs": run.inputs,
                ":subject_a": run.subject_a,
                ":subject_b": run.subject_b,
                ":checksum_a": run.checksum_a,
                ":checksum_b": run.checksum_b,
                ":composefs_a": run.composefs_a,
                ":composefs_b": run.composefs_b,
                ":variations": run.variations,
                ":skipped": serde_json::to_string(&run.skipped)?,
                ":notes": serde_json::to_string(&run.notes)?,
                ":detail": run.detail,
                ":culprit": run.culprit,
                ":packages": packages,
                ":log": log,
            },
        )?;
        store_differences(&change, run.id, &finish.differences)?;
        Ok(change.commit()?)
    }

    /// Closes a run that was killed; `false` if it has ended meanwhile.
    pub fn interrupt(&mut self, id: i64) -> Result<bool> {
        let changed = self.db.execute(
            "UPDATE run SET verdict = ?2, detail = 'it was killed, or its machine stopped'
             WHERE id = ?1 AND verdict = ?3",
            params![id, Verdict::Interrupted.name(), Verdict::Running.name()],
        )?;
        Ok(changed > 0)
    }

    /// The state of `stream` that was last sent to `channel`.
    pub fn told(&self, stream: &str, channel: &str) -> Result<Option<String>> {
        let query = "SELECT state FROM told WHERE stream = ?1 AND channel = ?2";
        Ok(self.db.query_row(query, [stream, channel], |r| r.get(0)).optional()?)
    }

    /// Records that `channel` was sent the `state` of `stream` as of run `id`.
    pub fn set_told(&mut self, stream: &str, channel: &str, state: &str, id: i64) -> Result<()> {
        self.db.execute(
            "INSERT INTO told (stream, channel, state, run) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET state = ?3, run = ?4",
            params![stream, channel, state, id],
        )?;
        Ok(())
    }

    /// The number of the last change of any run.
    pub fn last_change(&self) -> Result<i64> {
        Ok(self.db.query_row("SELECT number FROM change", [], |r| r.get(0))?)
    }

    /// What the pages in `folder` were sealed with.
    pub fn seal(&self, folder: &str) -> Result<Option<Vec<u8>>> {
        let query = "SELECT seal FROM pages WHERE folder = ?1";
        Ok(self.db.query_row(query, [folder], |r| r.get(0)).optional()?)
    }

    /// Records what the pages in `folder` are sealed with.
    pub fn set_seal(&self, folder: &str, seal: &[u8]) -> Result<()> {
        self.db.execute("INSERT OR REPLACE INTO pages VALUES (?1, ?2)", params![folder, seal])?;
        Ok(())
    }

    /// Reads a stored text.
    pub(super) fn text(&self, id: Option<i64>) -> Result<String> {
        let Some(id) = id else { return Ok(String::new()) };
        let query = "SELECT zlib FROM text WHERE id = ?1";
        let mut query = self.db.prepare_cached(query)?;
        let zlib: Option<Vec<u8>> = query.query_row([id], |r| r.get(0)).optional()?;
        zlib.map_or(Ok(String::new()), |zlib| self.inflate(&zlib))
    }

    /// Decompresses a stored text. All texts share one decompressor: most are short, and making one
    /// costs more than using it.
    pub(super) fn inflate(&self, zlib: &[u8]) -> Result<String> {
        let mut inflater = self.inflater.borrow_mut();
        inflater.reset(true);
        let mut out = Vec::new();
        loop {
            let (read, before) = (usize::try_from(inflater.total_in())?, out.len());
            out.reserve(INFLATED);
            let rest = zlib.get(read..).unwrap_or_default();
            let status = inflater.decompress_vec(rest, &mut out, FlushDecompress::None);
            let stuck = inflater.total_in() as usize == read && out.len() == before;
            match status.context("the history's text is damaged")? {
                Status::StreamEnd => break,
                _ if out.len() > MAX_TEXT + 1024 => break,
                _ if stuck => bail!("the history's text is damaged: it ends too early"),
                _ => (),
            }
        }
        Ok(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into()))
    }
}

/// `name version` lines, sorted.
fn package_lines(packages: &BTreeMap<String, String>) -> String {
    packages.iter().map(|(name, version)| format!("{name} {version}\n")).collect()
}

fn store_differences(change: &Transaction<'_>, run: i64, differences: &[Difference]) -> Result<()> {
    let mut insert = change.prepare(
        "INSERT INTO difference (run, seq, path, kind, cause, plugin, package, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (seq, difference) in differences.iter().enumerate() {
        let optional = |name: &Option<String>| {
            name.as_deref().map(|name| store_name(change, name)).transpose()
        };
        insert.execute(params![
            run,
            i64::try_from(seq)?,
            store_name(change, &difference.path)?,
            store_name(change, &difference.kind)?,
            store_name(change, &difference.cause)?,
            optional(&difference.plugin)?,
            optional(&difference.package)?,
            store_text(change, &difference.text)?,
        ])?;
    }
    Ok(())
}

fn store_name(change: &Transaction<'_>, name: &str) -> Result<i64> {
    let mut find = change.prepare_cached("SELECT id FROM name WHERE name = ?1")?;
    if let Some(id) = find.query_row([name], |r| r.get(0)).optional()? {
        return Ok(id);
    }
    change.prepare_cached("INSERT INTO name (name) VALUES (?1)")?.execute([name])?;
    Ok(change.last_insert_rowid())
}

/// Stores a text once, however often it occurs; an empty one not at all. The middle of a too long
/// text is replaced by a note.
fn store_text(change: &Transaction<'_>, text: &str) -> Result<Option<i64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = super::query::shortened(text, MAX_TEXT);
    let digest = Sha256::digest(text.as_bytes());
    let mut find = change.prepare_cached("SELECT id FROM text WHERE sha256 = ?1")?;
    if let Some(id) = find.query_row([digest.as_slice()], |r| r.get(0)).optional()? {
        return Ok(Some(id));
    }
    let zlib = deflate(text.as_bytes())?;
    change
        .prepare_cached("INSERT INTO text (sha256, size, zlib) VALUES (?1, ?2, ?3)")?
        .execute(params![digest.as_slice(), i64::try_from(text.len())?, zlib])?;
    Ok(Some(change.last_insert_rowid()))
}

fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
    out.write_all(bytes).and_then(|()| out.finish()).context("compressing a text")
}
