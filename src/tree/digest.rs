//! The content checksum of any tree, recomputed: what `ostree commit` of it would give.
//!
//! One walk lists the tree; file objects are hashed in parallel; directories follow, deepest first.
//! There is no recursion, so only the system's limit on path lengths bounds a tree's depth.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::{Entry, Kind, Tree};
use crate::format::ostree::{Attrs, Checksum, Dirtree, FileHasher, Root};
use crate::parallel::try_map;

/// The most names in a tree. A commit of a few objects, one directory in another over and over, can
/// have any number of paths: more is an attack or a mistake.
const NAMES_MAX: usize = 4_000_000;
const BYTES_MAX: usize = 512 << 20;
/// The longest path in bytes: the system's own limit, which bounds a tree's depth.
const PATH_MAX: usize = 4096;

/// All checksums of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digested {
    /// The root's dirtree and dirmeta.
    pub root: Root,
    /// Every directory's dirtree by its path; the root's path is empty.
    pub dirs: BTreeMap<PathBuf, Arc<Dirtree>>,
}

impl Digested {
    /// # Errors
    ///
    /// Naming the path, if a name cannot be in a commit: ostree's names are UTF-8.
    pub fn committable(&self) -> io::Result<()> {
        for (dir, tree) in &self.dirs {
            let mut names = tree.names().map(|(name, _)| name);
            if let Some(name) = names.find(|name| std::str::from_utf8(name).is_err()) {
                let path = super::show(&dir.join(OsStr::from_bytes(name)));
                let what = "a name that is not UTF-8 cannot be in a commit; rename it";
                return Err(io::Error::new(io::ErrorKind::Unsupported, format!("/{path}: {what}")));
            }
        }
        Ok(())
    }
}

/// Computes every checksum of `tree`, calling `done` after each file and symbolic link.
///
/// The result depends on names, owners, modes, xattrs and content only.
///
/// # Errors
///
/// If the tree cannot be read or has a FIFO, socket or device node, which ostree does not store;
/// the message names the path.
pub fn digest(tree: &dyn Tree, done: &(dyn Fn() + Sync)) -> io::Result<Digested> {
    let entries = walk(tree)?;
    let objects: Vec<Checksum> = try_map(entries.par_iter(), |entry| {
        let object = object(tree, entry).map_err(|e| at(&entry.path, e))?;
        if entry.kind != Kind::Dir {
            done();
        }
        Ok::<_, io::Error>(object)
    })?;
    let entries: Vec<&Entry> = entries.iter().collect();
    Ok(assemble(&entries, &objects))
}

/// The checksums of a part of `tree`: of `entries`, sorted like [`walk`], each with whether its own
/// checksum is wanted. The others are directories, whose own checksums are zero.
///
/// # Errors
///
/// Those of [`digest`].
pub fn of_part(tree: &dyn Tree, entries: &[(Entry, bool)]) -> io::Result<Digested> {
    let objects: Vec<Checksum> = try_map(entries.par_iter(), |(entry, wanted)| match wanted {
        true => object(tree, entry).map_err(|e| at(&entry.path, e)),
        false => Ok(Checksum([0; 32])),
    })?;
    let entries: Vec<&Entry> = entries.iter().map(|(entry, _)| entry).collect();
    Ok(assemble(&entries, &objects))
}

/// Every entry of `tree`, the root first, each directory before its content, names sorted bytewise
/// within a directory.
///
/// # Errors
///
/// If the tree cannot be read, and those of [`PathBudget::add`]; the message names the path.
pub fn walk(tree: &dyn Tree) -> io::Result<Vec<Entry>> {
    match walk_from(tree, Path::new(""))? {
        entries if entries.is_empty() => Err(gone(Path::new(""))),
        entries => Ok(entries),
    }
}

fn gone(path: &Path) -> io::Error {
    at(path, io::Error::new(io::ErrorKind::NotFound, "it went away"))
}

/// Walks what is at `start` and below, like [`walk`]; empty if nothing is there.
pub fn walk_from(tree: &dyn Tree, start: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut todo = vec![start.to_owned()];
    let mut paths = PathBudget::default();
    while let Some(path) = todo.pop() {
        let entry = match tree.lookup(&path).map_err(|e| at(&path, e))? {
            Some(entry) => entry,
            None if path == start => break,
            None => return Err(gone(&path)),
        };
        if entry.kind == Kind::Dir {
            let names = tree.list(&path).map_err(|e| at(&path, e))?;
            let from = todo.len();
            for name in names {
                let below = path.join(name);
                paths.add(&below)?;
                todo.push(below);
            }
            // The last one is taken first.
            todo[from..].reverse();
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// How many paths a tree may still have, and how long they may be together.
#[derive(Debug, Default)]
pub struct PathBudget {
    names: usize,
    bytes: usize,
}

impl PathBudget {
    /// Counts `path`.
    ///
    /// # Errors
    ///
    /// If the path has more than 4096 bytes, or after four million paths or 512 MiB of them: no
    /// real tree has so many, and each is kept in memory.
    pub fn add(&mut self, path: &Path) -> io::Result<()> {
        let length = path.as_os_str().len();
        (self.names, self.bytes) = (self.names + 1, self.bytes + length);
        let why = match () {
            () if length > PATH_MAX => "is longer than 4096 bytes",
            () if self.names > NAMES_MAX => "comes after four million others",
            () if self.bytes > BYTES_MAX => "comes after 512 MiB of others",
            () => return Ok(()),
        };
        let start: String = super::show(path).chars().take(200).collect();
        let what = format!("path /{start} {why}: take a part of this tree");
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

/// Owner, mode and xattrs of `entry`, as ostree stores them.
pub fn attrs(tree: &dyn Tree, entry: &Entry) -> io::Result<Attrs> {
    let mut xattrs = tree.xattrs(&entry.path)?;
    xattrs.sort();
    Ok(Attrs { uid: entry.uid, gid: entry.gid, mode: entry.mode, xattrs })
}

/// The dirmeta of a directory, or the file object of anything else.
fn object(tree: &dyn Tree, entry: &Entry) -> io::Result<Checksum> {
    let attrs = attrs(tree, entry)?;
    let changed = || io::Error::other("it changed while it was read");
    match entry.kind {
        Kind::Dir => Ok(Checksum::of(&attrs.encode_dirmeta())),
        Kind::Symlink => {
            let target = tree.readlink(&entry.path)?.ok_or_else(changed)?;
            Ok(FileHasher::new(&attrs, target.as_os_str().as_bytes()).finish())
        }
        Kind::File => {
            let mut hasher = FileHasher::new(&attrs, b"");
            let read = tree.stream(&entry.path, &mut |piece| hasher.update(piece))?;
            if !read {
                return Err(changed());
            }
            Ok(hasher.finish())
        }
        Kind::Other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a FIFO, socket or device node cannot be in a commit; remove it",
        )),
    }
}

/// The content of a directory: files and directories as a dirtree has them, last name first.
type Found = (Vec<(Vec<u8>, Checksum)>, Vec<(Vec<u8>, Checksum, Checksum)>);

/// Builds the dirtrees from the leaves up: walked backwards, a directory comes after its content.
fn assemble(entries: &[&Entry], objects: &[Checksum]) -> Digested {
    let mut begun: BTreeMap<&Path, Found> = BTreeMap::new();
    let mut dirs = BTreeMap::new();
    let mut root = Root { dirtree: Checksum([0; 32]), dirmeta: Checksum([0; 32]) };
    for (entry, object) in entries.iter().zip(objects).rev() {
        let name = entry.name().to_vec();
        let parent = entry.path.parent();
        if entry.kind != Kind::Dir {
            begun.entry(parent.unwrap_or(Path::new(""))).or_default().0.push((name, *object));
            continue;
        }
        let (mut files, mut below) = begun.remove(&*entry.path).unwrap_or_default();
        files.reverse();
        below.reverse();
        let tree = Dirtree::new(&files, &below);
        let dirtree = Checksum::of(tree.bytes());
        dirs.insert(entry.path.clone(), Arc::new(tree));
        match parent {
            Some(parent) => begun.entry(parent).or_default().1.push((name, dirtree, *object)),
            None => root = Root { dirtree, dirmeta: *object },
        }
    }
    Digested { root, dirs }
}

/// Adds the path at which `error` happened.
pub fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/{}: {error}", path.display()))
}
