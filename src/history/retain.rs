//! Retention: removes old runs and texts, and returns free space.

use anyhow::Result;
use rusqlite::{TransactionBehavior, params};
use serde::Deserialize;

use super::History;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Retention {
    /// Runs per stream.
    pub runs: u32,
    /// Days that build output is kept.
    pub log_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { runs: 1000, log_days: 30 }
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Runs removed.
    pub runs: usize,
    /// Texts removed.
    pub texts: usize,
}

impl History {
    /// Removes what `keep` does not cover, as of `now`, and returns free pages to the file system.
    /// Running runs stay. Safe with other writers.
    pub fn retain(&mut self, keep: Retention, now: i64) -> Result<Retained> {
        let change = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let runs = change.execute(
            "DELETE FROM run WHERE verdict <> 'running' AND id IN
               (SELECT id FROM (SELECT id, row_number() OVER
                  (PARTITION BY stream ORDER BY id DESC) AS age FROM run) WHERE age > ?1)",
            [keep.runs.max(1)],
        )?;
        let before = now - i64::from(keep.log_days) * 86_400;
        let logs = change.execute(
            "UPDATE run SET log = NULL WHERE log IS NOT NULL AND started < ?1",
            params![before],
        )?;
        let texts = if runs + logs > 0 { sweep(&change)? } else { 0 };
        change.commit()?;
        self.db.execute_batch("PRAGMA incremental_vacuum")?;
        Ok(Retained { runs, texts })
    }

    /// Rewrites the file without its free pages (`VACUUM`). It needs as much space again meanwhile,
    /// and waits for other writers.
    pub fn vacuum(&mut self) -> Result<()> {
        Ok(self.db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?)
    }
}

/// Removes texts and names that nothing refers to.
fn sweep(change: &rusqlite::Transaction<'_>) -> Result<usize> {
    let texts = change.execute(
        "DELETE FROM text WHERE id NOT IN (SELECT packages FROM run WHERE packages IS NOT NULL
           UNION SELECT log FROM run WHERE log IS NOT NULL
           UNION SELECT text FROM difference WHERE text IS NOT NULL)",
        [],
    )?;
    change.execute(
        "DELETE FROM name WHERE id NOT IN (SELECT path FROM difference
           UNION SELECT kind FROM difference UNION SELECT cause FROM difference
           UNION SELECT plugin FROM difference WHERE plugin IS NOT NULL
           UNION SELECT package FROM difference WHERE package IS NOT NULL)",
        [],
    )?;
    Ok(texts)
}
