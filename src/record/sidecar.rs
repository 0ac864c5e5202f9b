//! `reprofix.json`, beside a build's meta.json: what meta.json has no key for.
//!
//! ```json
//! {
//!     "schema": "reprofix-record-1",
//!     "reprofix": "0.1.0",
//!     "ostree-commit": "64 hexadecimal digits",
//!     "ostree-content-checksum": "64 hexadecimal digits",
//!     "source-date-epoch": 1700000000,
//!     "plugins": [{"name": "pycache", "reprofix": "0.1.0", "changed": 0, "removed": 31, …}]
//! }
//! ```
//!
//! `source-date-epoch` is `null` and `plugins` empty where no report of `fix` was given. Plugins
//! are listed in the order in which they ran; one that ran both early and late is listed twice. The
//! same inputs give the same bytes.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use crate::format::ostree::Checksum;
use crate::report::fix::Report;
use crate::source::cosa::read_meta;

/// The schema's name and version.
pub const SCHEMA: &str = "reprofix-record-1";
/// The file's name. Never `meta.*.json`: coreos-assembler merges such files into meta.json.
pub const NAME: &str = "reprofix.json";

/// The sidecar's bytes.
pub fn encode(commit: &Checksum, content: &Checksum, runs: &FixReports) -> Result<Vec<u8>> {
    super::meta::encode(&json!({
        "schema": SCHEMA,
        "reprofix": env!("CARGO_PKG_VERSION"),
        "ostree-commit": commit.to_string(),
        "ostree-content-checksum": content.to_string(),
        "source-date-epoch": runs.epoch,
        "plugins": runs.plugins,
    }))
}

/// What the runs of `fix` on a build's tree did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FixReports {
    epoch: Option<Value>,
    plugins: Vec<Value>,
}

impl FixReports {
    /// Reads reports that `fix --json` wrote, in the order of the runs.
    ///
    /// # Errors
    ///
    /// If one is not such a report, was a dry run, or if two had different epochs.
    pub fn read(reports: &[impl AsRef<Path>]) -> Result<Self> {
        let mut runs = FixReports::default();
        for path in reports {
            let path = path.as_ref();
            runs.add(path).with_context(|| format!("report {}", path.display()))?;
        }
        Ok(runs)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let report: Value = serde_json::from_slice(&read_meta(path)?).context("it is no JSON")?;
        if report.get("schema").and_then(Value::as_str) != Some(Report::SCHEMA) {
            bail!("it is not a report of this version of `reprofix fix --json`");
        }
        if report.get("applied") != Some(&Value::Bool(true)) {
            bail!("it is of a run that changed nothing (--dry-run or --check)");
        }
        let epoch = report.get("source_date_epoch").context("it has no source_date_epoch")?;
        match &self.epoch {
            Some(before) if before != epoch => {
                bail!("its SOURCE_DATE_EPOCH is {epoch}, that of a report before it is {before}")
            }
            _ => self.epoch = Some(epoch.clone()),
        }
        let version = report.get("version").context("it has no version")?;
        let rows = report.get("plugins").and_then(Value::as_array).context("it has no plugins")?;
        for row in rows {
            let row = row.as_object().context("a plugin in it is not an object")?;
            self.plugins.push(Value::Object(with_version(row, version)));
        }
        Ok(())
    }
}

/// A plugin's row, with the version of reprofix, which is also the plugin's, after its name.
fn with_version(row: &Map<String, Value>, version: &Value) -> Map<String, Value> {
    let mut out = Map::new();
    let (name, counts): (Vec<_>, Vec<_>) = row.iter().partition(|(key, _)| *key == "name");
    let pair = |(key, value): (&String, &Value)| (key.clone(), value.clone());
    out.extend(name.into_iter().map(pair));
    out.insert("reprofix".to_owned(), version.clone());
    out.extend(counts.into_iter().map(pair));
    out
}
