//! The expectations file, `reprofix-expect.toml`: differences that are known and accepted until
//! some day.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use toml::value::{Datetime, Value};

use super::{Cause, Consequence, Explained};
use crate::format::time::Date;
use crate::tree::show;
use crate::{normal::globs::Globs, plugins};

/// The file that is read if none is named.
pub const DEFAULT: &str = "reprofix-expect.toml";
/// The largest file, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// One entry of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// A glob over paths below the root, as written.
    pub path: String,
    /// The plugin that must be the cause, if one is named.
    pub plugin: Option<String>,
    /// Why the difference is accepted.
    pub reason: String,
    /// The last day on which it is accepted.
    pub expires: Date,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    expect: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    path: String,
    plugin: Option<String>,
    reason: String,
    expires: Value,
}

/// The entries of one file.
#[derive(Debug)]
pub struct Expectations {
    entries: Vec<(Arc<Expected>, Globs)>,
    used: Vec<usize>,
    today: Date,
}

impl Expectations {
    /// Parses the entries in `text`; those that expired before `today` match nothing.
    ///
    /// # Errors
    ///
    /// For an unknown key, an invalid glob, an unknown plugin, an empty reason, or a time instead
    /// of a date.
    pub fn parse(text: &str, today: Date) -> Result<Self> {
        let file: RawFile = toml::from_str(text)?;
        let entries: Result<Vec<_>> = (1..)
            .zip(file.expect)
            .map(|(n, raw)| entry(raw).with_context(|| format!("entry {n}")))
            .collect();
        let entries = entries?;
        Ok(Expectations { used: vec![0; entries.len()], entries, today })
    }

    /// Marks what is expected among `all`: the paths that an entry matches, and other paths at
    /// which the same two objects differ.
    pub fn mark(&mut self, all: &mut [Explained]) {
        for explained in &mut *all {
            explained.expected = self.find(explained);
        }
        let by_path: std::collections::BTreeMap<_, _> = all
            .iter()
            .filter_map(|e| Some((e.difference.path.clone(), e.expected.clone()?)))
            .collect();
        for explained in all {
            if let (Cause::Cascade { of, how: Consequence::SameObjects }, None) =
                (&explained.cause, &explained.expected)
            {
                explained.expected = by_path.get(of).cloned();
            }
        }
    }

    fn find(&mut self, explained: &Explained) -> Option<Arc<Expected>> {
        let path = subject(&explained.difference.path);
        let holds = |(entry, globs): &&(Arc<Expected>, Globs)| {
            entry.expires >= self.today
                && entry.plugin.as_ref().is_none_or(|p| is_cause(&explained.cause, p))
                && globs.all(path.as_bytes()).next().is_some()
        };
        let at = self.entries.iter().position(|e| holds(&e))?;
        self.used[at] += 1;
        Some(Arc::clone(&self.entries[at].0))
    }

    /// Warnings about entries that have expired or match nothing, in their order.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |((entry, _), used): (&(Arc<Expected>, Globs), &usize)| {
            let path = &entry.path;
            if entry.expires < self.today {
                let (day, why) = (entry.expires, &entry.reason);
                return Some(format!(
                    "expectation {path:?} ({why}) expired on {day}: renew it or remove it"
                ));
            }
            (*used == 0).then(|| format!("expectation {path:?} matches nothing: remove it"))
        };
        self.entries.iter().zip(&self.used).filter_map(remark).collect()
    }
}

fn entry(raw: RawEntry) -> Result<(Arc<Expected>, Globs)> {
    let Value::Datetime(Datetime { date: Some(date), time: None, .. }) = raw.expires else {
        bail!("expires is {}; write a date without quotes, as in 2027-03-01", raw.expires);
    };
    if raw.reason.trim().is_empty() {
        bail!("the reason is empty; say why this may differ");
    }
    if let Some(plugin) = &raw.plugin
        && plugins::find(plugin).is_none()
    {
        bail!("there is no plugin {plugin:?}; `reprofix plugins` lists them");
    }
    let glob = raw.path.strip_prefix('/').unwrap_or(&raw.path);
    let glob = if glob.is_empty() { "." } else { glob };
    let globs =
        Globs::try_new([glob]).with_context(|| format!("path {:?} is no glob", raw.path))?;
    let expires = Date(i64::from(date.year), date.month, date.day);
    let expected = Expected { path: raw.path, plugin: raw.plugin, reason: raw.reason, expires };
    Ok((Arc::new(expected), globs))
}

/// A path as globs match it, which is how reports show it.
fn subject(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { show(path) }
}

fn is_cause(cause: &Cause, name: &str) -> bool {
    match cause {
        Cause::Fixed { plugins } => plugins.contains(&name),
        Cause::Known { plugin, .. } | Cause::Common { plugin, .. } => *plugin == name,
        Cause::Cascade { .. } | Cause::Unexplained => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Date = Date(2026, 11, 25);

    fn error(text: &str) -> String {
        format!("{:#}", Expectations::parse(text, DAY).expect_err("is refused"))
    }

    #[test]
    fn days_are_counted() {
        for (time, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_709_251_200, "2024-03-01"),
            (4_102_444_799, "2099-12-31"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(Date::of_second(time).to_string(), day);
        }
        assert!(Date(2026, 9, 30) < Date(2026, 11, 1));
    }

    #[test]
    fn a_bad_entry_is_named() {
        let entry = |more: &str| format!("[[expect]]\npath = \"a\"\nreason = \"r\"\n{more}");
        assert!(error(&entry("expires = 2026-01-01\nowner = 1")).contains("unknown field `owner`"));
        assert!(error(&entry("expires = 2026-01-01T00:00:00Z")).contains("write a date"));
        let quoted = error(&entry("expires = \"2026-01-01\""));
        assert!(quoted.ends_with("write a date without quotes, as in 2027-03-01"), "{quoted}");
        assert!(error(&entry("expires = 2026-01-01\nplugin = \"x\"")).contains("no plugin \"x\""));
        let open = "[[expect]]\npath = \"[\"\nreason = \"r\"\nexpires = 2026-01-01";
        assert!(error(open).contains("entry 1: path \"[\" is no glob"), "{}", error(open));
        assert!(error("[[expect]]\npath = \"a\"\nexpires = 2026-01-01").contains("reason"));
    }

    #[test]
    fn expired_and_unused_entries_are_told() {
        let text = "[[expect]]\npath = \"/a\"\nreason = \"old\"\nexpires = 2026-11-24\n\
                    [[expect]]\npath = \"b\"\nreason = \"r\"\nexpires = 2026-11-25\n";
        let remarks = Expectations::parse(text, DAY).expect("parses").remarks();
        assert_eq!(remarks.len(), 2);
        assert!(remarks[0].contains("\"/a\" (old) expired on 2026-11-24"), "{remarks:?}");
        assert!(remarks[1].contains("\"b\" matches nothing"), "{remarks:?}");
    }
}
