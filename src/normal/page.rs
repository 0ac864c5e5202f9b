//! A plugin's documentation and options, as data.

/// A plugin's page: its whole documentation as data. `reprofix explain NAME` prints it.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The name, as in `--plugin NAME`.
    pub name: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// Whether it is on by default.
    pub default: bool,
    /// The paths it looks at, for people.
    pub paths: &'static str,
    /// What varies between two builds.
    pub varies: &'static str,
    /// Why it varies.
    pub why: &'static str,
    /// What is done about it.
    pub done: &'static str,
    /// What is lost by that.
    pub lost: &'static str,
    /// The state upstream: the version that fixed it, or where it is discussed.
    pub upstream: &'static str,
    /// Whether a rewrite may touch files that are as their package shipped them. If `false`, such
    /// payload, which is the same in every build, stays as it is without `--deep`.
    pub payload: bool,
    /// The options it takes.
    pub options: &'static [Opt],
}

/// One option of a plugin: `--set PLUGIN.NAME=VALUE`, or `[plugins.PLUGIN]` in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The name after the dot.
    pub name: &'static str,
    /// The values it takes, or an empty list for free text.
    pub values: &'static [&'static str],
    /// The value when none is given.
    pub default: &'static str,
    /// One line: what it chooses.
    pub help: &'static str,
}
