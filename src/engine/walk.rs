//! The one walk: lists every name below a root, sorted, with all threads.

use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::plan::at;
use crate::disk::Root;
use crate::parallel::try_map;
use crate::tree::{self, Entry, Kind, Tree};

/// Directories this deep are handed to threads of their own: `usr/lib`, `usr/share`, …
const SHARD_DEPTH: usize = 2;

/// Every entry of `root`, including the root itself, sorted by path component (a directory before
/// its content). Mounts in the root are left out together with their mount points: other file
/// systems, and files and directories that a container engine bind-mounts. The parts of a compose's
/// sandbox ([`Root::parts`]) are included, except those in `without`.
///
/// Each directory is opened from the root, through no symbolic link, and listed through its
/// descriptor. Memory: one [`Entry`] per name, 96 bytes and the path.
///
/// # Errors
///
/// For the first directory that cannot be read: a walk that missed something must not seem
/// complete.
pub fn walk(root: &Root, without: &[&Path]) -> io::Result<Vec<Entry>> {
    let mut runs = shards(root, Path::new(""), 0)?;
    for (part, _) in root.parts().filter(|(part, _)| !without.contains(part)) {
        runs.extend(shards(root, part, 0)?);
    }
    let mut entries = joined(runs);
    // The runs of one anchor are in order; those of several anchors are merged.
    entries.sort_by(|a, b| tree::order(&a.path, &b.path));
    Ok(entries)
}

/// Lists the directory at `path` and all below it, as runs that are in order one after the other.
fn shards(root: &Root, path: &Path, depth: usize) -> io::Result<Vec<Vec<Entry>>> {
    let gone = || at(path, &io::ErrorKind::NotFound.into());
    let mut run = vec![root.lookup(path)?.ok_or_else(gone)?];
    if depth == SHARD_DEPTH {
        below(root, &mut run)?;
        return Ok(vec![run]);
    }
    let mut parts: Vec<Vec<Entry>> = Vec::new();
    let add = &mut |entry: Entry| match parts.last_mut() {
        Some(files) if entry.kind != Kind::Dir && !is_dir(files) => files.push(entry),
        _ => parts.push(vec![entry]),
    };
    root.each_child(path, add).map_err(|e| at(path, &e))?;
    let inner = try_map(parts.into_par_iter(), |part| match is_dir(&part) {
        true => shards(root, &part[0].path, depth + 1),
        false => Ok(vec![part]),
    })?;
    Ok([run].into_iter().chain(inner.into_iter().flatten()).collect())
}

fn is_dir(part: &[Entry]) -> bool {
    part.first().is_some_and(|entry| entry.kind == Kind::Dir)
}

/// Adds all below the directory that `run` ends with. There is no recursion and only one directory
/// is open at a time, so a tree's depth costs nothing.
fn below(root: &Root, run: &mut Vec<Entry>) -> io::Result<()> {
    let mut todo: Vec<Entry> = Vec::new();
    loop {
        if let Some(dir) = run.last().filter(|last| last.kind == Kind::Dir) {
            let (dir, start) = (dir.path.clone(), todo.len());
            let mut add = |entry: Entry| match todo.len() == start && entry.kind != Kind::Dir {
                // The directory found last comes next.
                true => run.push(entry),
                false => todo.push(entry),
            };
            root.each_child(&dir, &mut add).map_err(|e| at(&dir, &e))?;
            todo[start..].reverse();
        }
        match todo.pop() {
            Some(next) => run.push(next),
            None => return Ok(()),
        }
    }
}

/// Merges all runs. The longest grows in place: it may contain nearly everything.
fn joined(mut runs: Vec<Vec<Entry>>) -> Vec<Entry> {
    let longest = (0..runs.len()).max_by_key(|n| runs[*n].len());
    let Some(longest) = longest else { return Vec::new() };
    let after = runs.split_off(longest + 1);
    let mut all = runs.pop().unwrap_or_default();
    let before: Vec<Entry> = runs.into_iter().flatten().collect();
    all.reserve_exact(before.len() + after.iter().map(Vec::len).sum::<usize>());
    all.splice(0..0, before);
    after.into_iter().for_each(|run| all.extend(run));
    all
}
