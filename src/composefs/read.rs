//! Reads a directory or a commit as composefs sees it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rayon::prelude::*;

use crate::format::composefs::{Content, Directory, INLINE_MAX, Leaf, Meta, Node, Tree, Verity};
use crate::parallel::try_map;
use crate::tree::{Entry, Kind, digest};

/// Reads all of `tree`. Files are hashed in parallel, each inode once; `done` is called after each.
///
/// If the source has no times (a commit), all times are 0.
///
/// # Errors
///
/// If the tree cannot be read; the message names the path.
pub fn of_directory(tree: &dyn crate::tree::Tree, done: &(dyn Fn() + Sync)) -> io::Result<Tree> {
    let entries = digest::walk(tree)?;
    let (first, of_entry) = inodes(&entries);
    let leaves = try_map(first.par_iter(), |entry| {
        let leaf = leaf(tree, entry).map_err(|e| digest::at(&entry.path, e))?;
        done();
        Ok::<_, io::Error>(leaf)
    })?;
    let mut begun: BTreeMap<&Path, BTreeMap<Vec<u8>, Node>> = BTreeMap::new();
    let mut root = Directory::default();
    // Backwards, so a directory comes after its content.
    for (entry, leaf) in entries.iter().zip(&of_entry).rev() {
        let node = match leaf {
            Some(leaf) => Node::Leaf(*leaf),
            None => {
                let meta = meta(tree, entry).map_err(|e| digest::at(&entry.path, e))?;
                let entries = begun.remove(&*entry.path).unwrap_or_default();
                Node::Directory(Directory { meta, entries })
            }
        };
        match (entry.path.parent(), node) {
            (Some(parent), node) => {
                drop(begun.entry(parent).or_default().insert(entry.name().to_vec(), node));
            }
            (None, Node::Directory(directory)) => root = directory,
            (None, Node::Leaf(_)) => {}
        }
    }
    Ok(Tree { root, leaves })
}

/// The first name of each inode that is not a directory, and for each entry the index of its inode.
fn inodes(entries: &[Entry]) -> (Vec<&Entry>, Vec<Option<usize>>) {
    let mut first: Vec<&Entry> = Vec::new();
    let mut linked: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.kind == Kind::Dir {
            places.push(None);
            continue;
        }
        let next = first.len();
        let place = match entry.inode.filter(|inode| inode.nlink.get() > 1) {
            Some(inode) => *linked.entry((inode.dev, inode.ino)).or_insert(next),
            None => next,
        };
        if place == next {
            first.push(entry);
        }
        places.push(Some(place));
    }
    (first, places)
}

fn meta(tree: &dyn crate::tree::Tree, entry: &Entry) -> io::Result<Meta> {
    let time = entry.mtime.unwrap_or(crate::tree::Time { sec: 0, nsec: 0 });
    Ok(Meta {
        mode: (entry.mode & 0o7777) as u16,
        uid: entry.uid,
        gid: entry.gid,
        seconds: time.sec,
        nanoseconds: time.nsec,
        xattrs: tree.xattrs(&entry.path)?.into_iter().collect(),
    })
}

fn leaf(tree: &dyn crate::tree::Tree, entry: &Entry) -> io::Result<Leaf> {
    let gone = || io::Error::other("it changed while it was read");
    let content = match entry.mode & 0o170_000 {
        0o100_000 if entry.size <= INLINE_MAX => {
            Content::Inline(tree.read(&entry.path)?.ok_or_else(gone)?)
        }
        0o100_000 => {
            let mut verity = Verity::default();
            let mut size = 0;
            let there = tree.stream(&entry.path, &mut |piece| {
                verity.update(piece);
                size += piece.len() as u64;
            })?;
            if !there || size != entry.size {
                return Err(gone());
            }
            Content::External { digest: verity.finish(), size }
        }
        0o120_000 => {
            let target = tree.readlink(&entry.path)?.ok_or_else(gone)?;
            Content::Symlink(target.as_os_str().as_bytes().to_vec())
        }
        0o020_000 => Content::Character(tree.device(&entry.path)?.ok_or_else(gone)?),
        0o060_000 => Content::Block(tree.device(&entry.path)?.ok_or_else(gone)?),
        0o010_000 => Content::Fifo,
        _ => Content::Socket,
    };
    Ok(Leaf { meta: meta(tree, entry)?, content })
}
