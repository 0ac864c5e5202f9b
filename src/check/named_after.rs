//! Names that contain a checksum of content (`usr/lib/ostree-boot/vmlinuz-…-SHA256`): one file has
//! two names in two builds, because of what differs in it or beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Cause, Change, Consequence, Explained};
use crate::normal::{Form, Normal, Plugin, Step};

/// A name that `fix` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The old name.
    pub old: PathBuf,
    /// The new name.
    pub new: PathBuf,
    /// The plugin that moves it.
    pub by: &'static str,
}

/// The names that the steps of a normal form move.
pub(super) fn moves(normal: &Normal) -> Vec<Rename> {
    let (Form::Steps(steps), Some(by)) = (&normal.form, normal.steps_by) else {
        return Vec::new();
    };
    let moved = |step: &Step| match step {
        Step::Link(new, old) if steps.contains(&Step::Remove(old.clone())) => {
            Some(Rename { old: old.clone(), new: new.clone(), by })
        }
        _ => None,
    };
    steps.iter().filter_map(moved).collect()
}

/// One side of a comparison: the names that only it has.
struct OwnNames<'a> {
    change: Change,
    moves: BTreeMap<&'a Path, &'a Path>,
    /// The plugin that moves a name, or moves another name to it.
    movers: BTreeMap<&'a Path, &'static str>,
    /// The names after `fix`.
    lands: BTreeSet<&'a Path>,
    stems: BTreeSet<&'a [u8]>,
}

impl<'a> OwnNames<'a> {
    fn new(all: &'a [Explained], change: Change) -> Self {
        let here = || all.iter().filter(move |e| e.difference.changes == [change]);
        let all_moves = || here().flat_map(|e| &e.moves);
        let moves: BTreeMap<&Path, &Path> = all_moves().map(|m| (&*m.old, &*m.new)).collect();
        let to = all_moves().map(|m| (&*m.new, m.by));
        let movers = to.chain(all_moves().map(|m| (&*m.old, m.by))).collect();
        let paths = || here().map(|e| &*e.difference.path);
        let lands = paths().map(|p| moves.get(p).copied().unwrap_or(p)).collect();
        let stems = paths().filter_map(stem).collect();
        OwnNames { change, moves, movers, lands, stems }
    }

    fn lands(&self, path: &'a Path) -> &'a Path {
        self.moves.get(path).copied().unwrap_or(path)
    }
}

/// A path up to the checksum at its end; `None` if there is no checksum.
fn stem(path: &Path) -> Option<&[u8]> {
    let bytes = path.as_os_str().as_bytes();
    let (stem, digits) = bytes.split_at_checked(bytes.len().checked_sub(64)?)?;
    let hex = digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (hex && stem.ends_with(b"-")).then_some(stem)
}

/// The difference that a name with a checksum follows, according to the plugins.
fn root(all: &[Explained], plugins: &[&dyn Plugin]) -> Option<PathBuf> {
    let named = |e: &&Explained, dir: &str, name: &str| {
        let path = e.difference.path.as_os_str().as_bytes();
        path.starts_with(dir.as_bytes())
            && path.rsplit(|b| *b == b'/').next().is_some_and(|n| n.starts_with(name.as_bytes()))
    };
    let first = |(dir, name): &(&str, &str)| all.iter().find(|e| named(e, dir, name));
    let mut places = plugins.iter().flat_map(|plugin| plugin.named_after());
    places.find_map(first).map(|e| e.difference.path.clone())
}

/// Finds, among `all`, the names that differ only because they contain a checksum. They are fixed
/// if both sides get the same name, which then has the same content; otherwise they follow its
/// cause.
pub(super) fn follow(all: &mut [Explained], plugins: &[&dyn Plugin]) {
    let causes = judge(all, plugins);
    for (explained, cause) in all.iter_mut().zip(causes) {
        if let Some(cause) = cause {
            explained.cause = cause;
        }
    }
}

/// The new cause of each difference that has one.
fn judge(all: &[Explained], plugins: &[&dyn Plugin]) -> Vec<Option<Cause>> {
    let sides = [OwnNames::new(all, Change::OnlyA), OwnNames::new(all, Change::OnlyB)];
    let root = root(all, plugins);
    let cause = |explained: &Explained| {
        let path = &*explained.difference.path;
        let stem = stem(path)?;
        let here = sides.iter().find(|s| explained.difference.changes == [s.change])?;
        let there = sides.iter().find(|s| s.change != here.change)?;
        let mover = here.movers.get(path).or_else(|| there.movers.get(path)).copied();
        let moved = mover.is_some();
        if let Some(mover) = mover.filter(|_| there.lands.contains(here.lands(path))) {
            return Some(Cause::Fixed { plugins: vec![mover] });
        }
        let of = root.clone().filter(|root| root != path && there.stems.contains(stem));
        let open = matches!(explained.cause, Cause::Unexplained) || moved;
        match (of, &explained.cause) {
            (Some(of), _) if open => Some(Cause::Cascade { of, how: Consequence::Checksum }),
            // The name goes, but its replacement is not the same on both sides.
            (None, Cause::Fixed { .. }) if moved => Some(Cause::Unexplained),
            _ => None,
        }
    };
    all.iter().map(cause).collect()
}
