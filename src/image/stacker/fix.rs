//! `stacker fix`: drops stale layer types.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::check::{Finding, Rule, layer};
use super::metadata::{Metadata, files, parse, read};
use crate::disk::atomic_write;
use crate::image::Findings;

/// What was dropped, and the remaining findings.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fixed {
    /// The dropped types, as (layer, type).
    pub dropped: Vec<(String, String)>,
    /// What is still wrong: only a build can help.
    pub left: BTreeSet<Finding>,
}

/// Drops every type that a finished build left without a configuration, if another type has one.
/// Everything else in the rewritten file stays the same. `dry_run` only says what would be done.
pub fn fix(roots: &Path, dry_run: bool) -> anyhow::Result<Fixed> {
    let mut report = Fixed::default();
    // All files are read before the first is written.
    let mut parsed = Vec::new();
    for (name, file) in files(roots)? {
        let metadata = parse(&file)?;
        parsed.push((name, file, metadata));
    }
    for (name, file, mut metadata) in parsed {
        let stale = stale(&metadata);
        if !stale.is_empty() {
            if !dry_run {
                let text = without(&read(&file)?, &stale)?;
                let mode = file.metadata()?.permissions().mode() & 0o7777;
                atomic_write(&file, &text, mode)
                    .with_context(|| format!("writing {}", file.display()))?;
            }
            if let Some(manifests) = &mut metadata.manifests {
                manifests.retain(|of, _| !stale.contains(of));
            }
        }
        report.left.extend(layer(&name, &metadata, Some(roots), None));
        report.dropped.extend(stale.into_iter().map(|of| (name.clone(), of)));
    }
    Ok(report)
}

fn stale(metadata: &Metadata) -> BTreeSet<String> {
    let configured = metadata.manifests().any(|(of, _)| metadata.config(of).is_some());
    if !metadata.has_built_oci_output || !configured {
        return BTreeSet::new();
    }
    let without = metadata.manifests().filter(|(of, _)| metadata.config(of).is_none());
    without.map(|(of, _)| of.to_owned()).collect()
}

fn without(bytes: &[u8], stale: &BTreeSet<String>) -> anyhow::Result<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    for key in ["Manifests", "OverlayDirLayers"] {
        if let Some(map) = value.get_mut(key).and_then(Value::as_object_mut) {
            map.retain(|of, _| !stale.contains(of));
        }
    }
    serde_json::to_vec(&value).context("writing JSON")
}

impl Findings for Fixed {
    fn sound(&self) -> bool {
        self.left.is_empty()
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for (layer, of) in &self.dropped {
            writeln!(
                out,
                "{layer}: dropped {of}; a build with --layer-type {} then lacks what {layer} \
                 itself adds, until {layer} is removed and built for that type too",
                of.split('+').next().unwrap_or(of)
            )?;
        }
        for finding in &self.left {
            let Finding { layer, rule, what } = finding;
            writeln!(out, "{layer}: {rule:?}: {what}; only building it again helps")?;
        }
        if self.dropped.is_empty() && self.sound() {
            writeln!(out, "nothing to fix")?;
        }
        let unsafe_left = self.left.iter().any(|f| f.rule == Rule::E6);
        if unsafe_left {
            writeln!(out, "remedy: remove the unsafe layers' directories and build again")?;
        }
        Ok(())
    }
}
