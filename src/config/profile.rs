//! Profiles: settings that belong together under one name. Any other setting overrides a profile's.

use anyhow::{Context as _, Result};

use super::{Flags, Origin, Settings, unknown};

/// Plugins and options under one name.
#[derive(Debug)]
pub struct Profile {
    /// The name.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Plugins that run, though they are off by default.
    pub with: &'static [&'static str],
    /// Options: plugin, option and value.
    pub set: &'static [(&'static str, &'static str, &'static str)],
}

/// Every profile.
pub static PROFILES: &[Profile] = &[Profile {
    name: "composefs",
    summary: "one composefs digest for two builds: every time is set, attributes that overlayfs and \
              downloads left are removed",
    with: &["xattrs"],
    set: &[("mtime", "set", "all")],
}];

/// The profile that was asked for: on the command line, otherwise in the first file that names one.
///
/// # Errors
///
/// For an unknown profile; the error says where it was asked for.
pub(super) fn asked(
    flags: &Flags,
    files: &[(Settings, Origin)],
) -> Result<Option<&'static Profile>> {
    let flag = flags.profile.iter().map(|name| (name, &Origin::Flag));
    let files = files.iter().filter_map(|(s, origin)| Some((s.profile.as_ref()?, origin)));
    let Some((name, origin)) = flag.chain(files).next() else { return Ok(None) };
    let found = PROFILES.iter().find(|profile| profile.name == name);
    let unknown = || {
        let names = || PROFILES.iter().map(|profile| profile.name);
        match unknown::nearest(name, names()) {
            Some(near) => format!("unknown profile {name:?} in {origin}; did you mean {near:?}?"),
            None => {
                let all = names().collect::<Vec<_>>().join(", ");
                format!("unknown profile {name:?} in {origin}; there is {all}")
            }
        }
    };
    found.with_context(unknown).map(Some)
}
