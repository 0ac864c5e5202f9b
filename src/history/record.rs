//! What the history stores: a run, its verdict, its differences.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// How a run ended. Only a finished comparison says anything about reproducibility.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The subjects are the same.
    Reproducible,
    /// They differ, but only in ways that the expectations file names.
    Expected,
    /// They differ.
    Different,
    /// The run is in progress.
    #[default]
    Running,
    /// A build step failed.
    BuildFailed,
    /// A build took longer than its time limit.
    TimedOut,
    /// A build wrote more output than its limit.
    LogLimit,
    /// The file system of the work directory was full.
    DiskFull,
    /// A build left processes behind and the subjects differ: they may have done it.
    LeftProcesses,
    /// The subjects could not be compared.
    CompareFailed,
    /// The run was killed before it ended.
    Interrupted,
}

/// What a verdict means for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing to do: exit code 0.
    Good,
    /// A finding: exit code 1.
    Bad,
    /// It could not be determined: exit code 2.
    Failed,
    /// Not known yet.
    Open,
}

/// Every verdict, its name in the database and in JSON, and what it means.
const VERDICTS: &[(Verdict, &str, Class)] = &[
    (Verdict::Reproducible, "reproducible", Class::Good),
    (Verdict::Expected, "expected", Class::Good),
    (Verdict::Different, "different", Class::Bad),
    (Verdict::Running, "running", Class::Open),
    (Verdict::BuildFailed, "build-failed", Class::Failed),
    (Verdict::TimedOut, "timed-out", Class::Failed),
    (Verdict::LogLimit, "log-limit", Class::Failed),
    (Verdict::DiskFull, "disk-full", Class::Failed),
    (Verdict::LeftProcesses, "left-processes", Class::Failed),
    (Verdict::CompareFailed, "compare-failed", Class::Failed),
    (Verdict::Interrupted, "interrupted", Class::Failed),
];

impl Verdict {
    /// What it means.
    pub fn class(self) -> Class {
        VERDICTS.iter().find(|v| v.0 == self).map_or(Class::Failed, |v| v.2)
    }

    /// Its name in the database, JSON and pages.
    pub fn name(self) -> &'static str {
        VERDICTS.iter().find(|v| v.0 == self).map_or("", |v| v.1)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = VERDICTS.iter().find(|v| v.1 == name).map(|v| v.0);
        found.ok_or_else(|| {
            format!("unknown verdict {name:?}; was the history written by a newer reprofix?")
        })
    }
}

/// One run, without its differences and large texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// Its number in this history.
    pub id: i64,
    /// The stream.
    pub stream: String,
    /// The architecture, as `uname -m` names it.
    pub architecture: String,
    /// `build` or `compare`.
    pub kind: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Seconds since 1970-01-01 UTC.
    pub started: i64,
    /// Duration in seconds.
    pub seconds: f64,
    /// The version of reprofix.
    pub version: String,
    /// Plugins in force, comma-separated.
    pub plugins: String,
    /// The machine's node name.
    pub host: String,
    /// Its work directory on that host.
    pub work: String,
    /// Marks its processes: `REPROFIX_RUN` in their environment.
    #[serde(skip)]
    pub token: String,
    /// SOURCE_DATE_EPOCH of the builds.
    pub epoch: Option<u32>,
    /// SHA-256 of everything that should determine the result: runs with equal inputs and unequal
    /// verdicts are flaky.
    pub inputs: String,
    /// The first subject.
    pub subject_a: String,
    /// The second subject.
    pub subject_b: String,
    /// The first subject's ostree content checksum.
    pub checksum_a: Option<String>,
    /// The second's.
    pub checksum_b: Option<String>,
    /// The first subject's composefs digest, if bootc can boot it.
    pub composefs_a: Option<String>,
    /// The second's.
    pub composefs_b: Option<String>,
    /// Variations in force, comma-separated.
    pub variations: String,
    /// Variations asked for but not possible here, and why.
    pub skipped: Vec<(String, String)>,
    /// Remarks.
    pub notes: Vec<String>,
    /// One line on what happened.
    pub detail: String,
    /// What `--bisect` found: the smallest set of variations that breaks reproducibility,
    /// comma-separated; empty if none is needed.
    pub culprit: Option<String>,
}

impl Run {
    /// A run that starts now.
    pub fn start(stream: &str, kind: &str) -> Self {
        Run {
            stream: stream.to_owned(),
            architecture: crate::env::machine(),
            kind: kind.to_owned(),
            started: crate::env::unix_time(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: crate::env::host_name(),
            ..Run::default()
        }
    }
}

/// One path in which two subjects differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The path, as [`crate::tree::show`] gives it.
    pub path: String,
    /// `added`, `removed`, `content`, `metadata`, …
    pub kind: String,
    /// Why, in a few words.
    pub cause: String,
    /// The plugin that explains it.
    pub plugin: Option<String>,
    /// The name of the package that owns the path, without a version.
    pub package: Option<String>,
    /// What differs, in detail.
    pub text: String,
}

impl Difference {
    /// Its cause in the terms of the glossary; text from another version of reprofix is kept as it
    /// is.
    pub fn cause_words(&self) -> String {
        let plugin = self.plugin.as_ref().map(|name| format!(": {name}")).unwrap_or_default();
        match self.cause.as_str() {
            "fixed" => format!("fixable{plugin}"),
            "known" => format!("explained, not fixable{plugin}"),
            "cascade" => "consequence".to_owned(),
            cause => format!("{cause}{plugin}"),
        }
    }
}

impl Run {
    /// The result of bisection: each set of variations that was found to be enough; `None` if there
    /// was no bisection.
    pub fn bisected(&self) -> Option<String> {
        let set = |names: &str| match names.contains(',') {
            true => format!("enough together: {}", names.replace(',', ", ")),
            false => format!("enough alone: {names}"),
        };
        self.culprit.as_ref().map(|found| match found.is_empty() {
            true => "no variation is needed".to_owned(),
            false => found.split(';').map(set).collect::<Vec<_>>().join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_says_what_was_shown() {
        let said = |found: Option<&str>| {
            Run { culprit: found.map(str::to_owned), ..Run::default() }.bisected()
        };
        assert_eq!(said(None), None);
        assert_eq!(said(Some("")).as_deref(), Some("no variation is needed"));
        let both = "enough alone: clock; enough alone: umask";
        assert_eq!(said(Some("clock;umask")).as_deref(), Some(both));
        let together = "enough together: host, user";
        assert_eq!(said(Some("host,user")).as_deref(), Some(together));
    }

    #[test]
    fn verdict_names_round_trip() {
        for (verdict, name, _) in VERDICTS {
            assert_eq!(name.parse(), Ok(*verdict));
            assert_eq!(serde_json::to_string(verdict).unwrap(), format!("{name:?}"));
        }
        assert!("fine".parse::<Verdict>().is_err());
    }
}
