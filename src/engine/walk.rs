//! The one walk: every name below a root, sorted, from as many threads as there are.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use walkdir::WalkDir;

use crate::disk::Root;
use crate::env;
use crate::parallel::try_map;
use crate::tree::{self, Entry, Inode, Kind, Time};

/// Directories this deep are handed to threads of their own: `usr/lib`, `usr/share`, …
const SHARD_DEPTH: usize = 2;

/// A part of the tree that lies on one file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Below the root; empty for the root itself.
    pub path: PathBuf,
}

/// Every entry below `anchors`, the anchors included, sorted by path component (a directory
/// before what is in it). What is mounted below an anchor is left out, the mount points too: other
/// file systems, and files and directories of the same one that a container engine binds there.
///
/// Memory: one [`Entry`] a name, about 160 bytes and the path. Fails on the first directory that
/// cannot be read: a walk that missed something must not be called complete.
pub fn walk(root: &Root, anchors: &[Anchor]) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mounts = env::mounts_below(root.path());
    for anchor in anchors {
        let top = root.path().join(&anchor.path);
        let dev = top.symlink_metadata()?.dev();
        let mut shards = Vec::new();
        for found in outside(&mounts, dev, walker(&top).max_depth(SHARD_DEPTH)) {
            let found = found?;
            let entry = entry_of(root.path(), &found)?;
            if on(dev, &entry) {
                if found.depth() == SHARD_DEPTH && entry.kind == Kind::Dir {
                    shards.push(found.into_path());
                }
                entries.push(entry);
            }
        }
        let below = |shard: &PathBuf| -> io::Result<Vec<Entry>> {
            let inside = outside(&mounts, dev, walker(shard).min_depth(1));
            let all = inside.map(|found| entry_of(root.path(), &found?));
            all.filter(|entry| entry.as_ref().map_or(true, |e| on(dev, e))).collect()
        };
        entries.extend(try_map(shards.par_iter(), below)?.into_iter().flatten());
    }
    // A few long runs in order: a stable sort merges them.
    entries.sort_by(|a, b| tree::order(&a.path, &b.path));
    Ok(entries)
}

fn walker(top: &Path) -> WalkDir {
    let walker = WalkDir::new(top).same_file_system(true).follow_links(false);
    walker.follow_root_links(false).sort_by_file_name()
}

/// Without what of the same device is mounted below where the walk begins. What is of another
/// device is given and not entered: to skip it here would skip the directory that it is in.
fn outside(
    mounts: &BTreeSet<PathBuf>,
    dev: u64,
    walk: WalkDir,
) -> impl Iterator<Item = walkdir::Result<walkdir::DirEntry>> {
    let bound = move |found: &walkdir::DirEntry| {
        mounts.contains(found.path()) && found.metadata().is_ok_and(|meta| meta.dev() == dev)
    };
    walk.into_iter().filter_entry(move |found| found.depth() == 0 || !bound(found))
}

fn on(dev: u64, entry: &Entry) -> bool {
    entry.inode.is_some_and(|i| i.dev == dev)
}

fn entry_of(root: &Path, found: &walkdir::DirEntry) -> io::Result<Entry> {
    let meta = found.metadata()?;
    let path = found.path().strip_prefix(root).map_err(io::Error::other)?;
    Ok(Entry {
        path: path.to_owned(),
        kind: Kind::of_mode(meta.mode()),
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        size: meta.size(),
        mtime: Some(Time { sec: meta.mtime(), nsec: meta.mtime_nsec() as u32 }),
        inode: Some(Inode {
            dev: meta.dev(),
            ino: meta.ino(),
            nlink: meta.nlink(),
            ctime: Time { sec: meta.ctime(), nsec: meta.ctime_nsec() as u32 },
        }),
    })
}
