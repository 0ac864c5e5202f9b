//! Differences that follow from others.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;

use crate::tree::{Change, Difference, Side, Tree};

/// The packages that own a path, as NEVRA.
pub type Owners<'a> = dyn Fn(&Path) -> BTreeSet<String> + Sync + 'a;

/// The other differences between two builds, for [`Plugin::followers`](super::Plugin::followers).
pub struct OtherDifferences<'a> {
    /// The plugin's own files that differ and that `fix` does not make equal, sorted.
    pub own: &'a [PathBuf],
    /// Every path whose content differs.
    pub contents: &'a BTreeSet<PathBuf>,
    /// The trees of both builds.
    pub trees: [&'a dyn Tree; 2],
    /// The packages that own a path in each build.
    pub owners: [&'a Owners<'a>; 2],
}

impl OtherDifferences<'_> {
    /// The target of a differing link, if the target's content differs too and the link only in its
    /// name or target.
    pub fn target(&self, difference: &Difference) -> Option<PathBuf> {
        let named = |change: &Change| {
            matches!(change, Change::OnlyA | Change::OnlyB | Change::Target | Change::Content)
        };
        let leads = |side: &Option<Side>| {
            let of = below_root(&difference.path, side.as_ref()?.target.as_deref()?)?;
            self.contents.contains(&of).then_some(of)
        };
        let same = difference.changes.iter().all(named);
        same.then(|| leads(&difference.a).or_else(|| leads(&difference.b))).flatten()
    }
}

/// How one difference follows from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consequence {
    /// The same two objects differ at both paths.
    SameObjects,
    /// The path's name contains a checksum of the other.
    Checksum,
    /// The path's package has another version, according to the package database.
    Package,
    /// The path's owner has another number, according to the account file.
    Account,
    /// The path's name is the build-id of the other.
    BuildId,
    /// The path's name contains its build's machine id, as the other's does.
    MachineId,
    /// A line of the other, a tmpfiles.d file, made the path from properties of the build machine.
    Tmpfiles,
}

impl Consequence {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Consequence::SameObjects => "same-objects",
            Consequence::Checksum => "checksum",
            Consequence::Package => "package",
            Consequence::Account => "account",
            Consequence::BuildId => "build-id",
            Consequence::MachineId => "machine-id",
            Consequence::Tmpfiles => "tmpfiles",
        }
    }

    /// What it is, without the other path.
    pub fn rule(self) -> &'static str {
        match self {
            Consequence::SameObjects => "consequence: the same two objects differ at another path",
            Consequence::Checksum => "consequence: the name contains a checksum of another file",
            Consequence::Package => "consequence: the file's package has another version",
            Consequence::Account => "consequence: the owner's account has another number",
            Consequence::BuildId => "consequence: the name is the build-id of another file",
            Consequence::MachineId => "consequence: the name contains the machine id of its build",
            Consequence::Tmpfiles => {
                "consequence: a line of tmpfiles.d writes properties of the build machine"
            }
        }
    }

    /// The phrase in reports.
    pub fn words(self) -> &'static str {
        match self {
            Consequence::SameObjects => "the same two objects differ there",
            Consequence::Checksum => "this name contains a checksum of that file",
            Consequence::Package => "its package has another version there",
            Consequence::Account => "its owner has another number there",
            Consequence::BuildId => "this name is the build-id of that file",
            Consequence::MachineId => {
                "this name contains the machine id of its build, as that one does"
            }
            Consequence::Tmpfiles => "a line there names or writes properties of the build machine",
        }
    }
}

/// A cause that differences have in common and none of them shows alone, in phrases for reports.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommonCause {
    /// What it is: "another umask".
    pub name: &'static str,
    /// Which property of a path it changes: "mode".
    pub changes: &'static str,
    /// What to do about all of them at once.
    pub remedy: &'static str,
    /// What restores paths to what their package has.
    pub restored: &'static str,
}

/// What a difference follows from, mostly another difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// The path of that difference.
    pub of: PathBuf,
    /// In which way.
    pub how: Consequence,
    /// Why, as a lower-case phrase.
    pub why: String,
}

/// The target of a link by its text alone; `None` if that is above the root.
fn below_root(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut at = match target.is_absolute() {
        true => PathBuf::new(),
        false => link.parent()?.to_owned(),
    };
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir if !at.pop() => return None,
            _ => {}
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_their_text_says() {
        let leads = |link: &str, target: &str| below_root(Path::new(link), Path::new(target));
        let build_id = "usr/lib/.build-id/ab/cd";
        assert_eq!(leads(build_id, "../../../bin/x"), Some("usr/bin/x".into()));
        assert_eq!(leads(build_id, "/usr/bin/x"), Some("usr/bin/x".into()));
        assert_eq!(leads("a", "../../x"), None);
    }
}
