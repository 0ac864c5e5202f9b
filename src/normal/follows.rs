//! Differences that follow from another one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::tree::Tree;

/// The packages that own a path, as NEVRA.
pub type Owners<'a> = dyn Fn(&Path) -> BTreeSet<String> + Sync + 'a;

/// What else differs between two builds, for [`Plugin::followers`](super::Plugin::followers).
pub struct Around<'a> {
    /// The plugin's own files that differ and that `fix` does not make equal, sorted.
    pub own: &'a [PathBuf],
    /// Every path whose content differs.
    pub contents: &'a BTreeSet<PathBuf>,
    /// The trees of both builds.
    pub trees: [&'a dyn Tree; 2],
    /// Who owns a path in each build.
    pub owners: [&'a Owners<'a>; 2],
}

/// The difference that another one follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// Its path.
    pub of: PathBuf,
    /// Why, as a lower-case phrase.
    pub why: String,
}
