//! Reads a directory or a commit as composefs sees it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rayon::prelude::*;

use crate::format::composefs::{
    Batch, Content, Directory, INLINE_MAX, Leaf, Meta, Node, Tree, Verity,
};
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
    let leaves = try_map(first.par_chunks(TOGETHER), |entries| leaves(tree, entries, done))?;
    let leaves = leaves.into_iter().flatten().collect();
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

/// Files whose digests are computed together: most of a tree's are small.
const TOGETHER: usize = 32;
/// Bytes of one of them, at most.
const SMALL: u64 = 32 << 10;

/// The leaves of some entries, in their order.
fn leaves(
    tree: &dyn crate::tree::Tree,
    entries: &[&Entry],
    done: &(dyn Fn() + Sync),
) -> io::Result<Vec<Leaf>> {
    let (mut batch, mut places, mut content) = (Batch::default(), Vec::new(), Vec::new());
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        let at = |e| digest::at(&entry.path, e);
        let size = entry.size;
        if entry.mode & 0o170_000 == 0o100_000 && (INLINE_MAX + 1..=SMALL).contains(&size) {
            content.clear();
            let there = tree.stream(&entry.path, &mut |piece| content.extend_from_slice(piece));
            if !there.map_err(at)? || content.len() as u64 != size {
                return Err(at(gone()));
            }
            places.push(all.len());
            batch.add(&content);
            let content = Content::External { digest: [0; 64], size };
            all.push(Leaf { meta: meta(tree, entry).map_err(at)?, content });
        } else {
            all.push(leaf(tree, entry).map_err(at)?);
        }
        done();
    }
    for (place, computed) in places.into_iter().zip(batch.finish()) {
        if let Content::External { digest, .. } = &mut all[place].content {
            *digest = computed;
        }
    }
    Ok(all)
}

fn gone() -> io::Error {
    io::Error::other("it changed while it was read")
}

fn leaf(tree: &dyn crate::tree::Tree, entry: &Entry) -> io::Result<Leaf> {
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
