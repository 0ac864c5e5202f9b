//! The layers of an image, merged as bootc does it: by names alone, in the order of the archives,
//! without following any link.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;

use crate::format::composefs::{Content, Directory, INLINE_MAX, Leaf, Meta, Node, Tree, Verity};
use crate::format::tar::{Member, Type, parent as parent_of};
use crate::parallel::try_map;
use crate::source::oci::{Image, Keep, Layer, Store, layers};
use crate::tree::show;

/// An image's layers, ready to be merged.
pub struct Layered {
    layers: Vec<Layer>,
    /// The content of every member, in order, that is neither a directory nor a hard link.
    contents: Vec<Content>,
    /// The layer and the member of each content.
    made: Vec<(usize, usize)>,
}

/// A directory to which a layer adds something without having an entry for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unlisted {
    /// Its path, with a leading slash.
    pub path: String,
    /// The layer's number, lowest 1.
    pub layer: usize,
}

impl Layered {
    /// Reads the layers of `image` and hashes their contents.
    ///
    /// # Errors
    ///
    /// If a layer cannot be read.
    pub fn read(store: &Store, image: &Image) -> Result<Self> {
        let layers = layers(store, image, Keep::Spool)?;
        let (mut contents, mut made) = (Vec::new(), Vec::new());
        for (number, layer) in layers.iter().enumerate() {
            let found = contents_of(layer).with_context(|| format!("in layer {number}"))?;
            for (place, content) in found.into_iter().enumerate() {
                if let Some(content) = content {
                    contents.push(content);
                    made.push((number, place));
                }
            }
        }
        Ok(Layered { layers, contents, made })
    }

    /// The number of layers.
    pub fn count(&self) -> usize {
        self.layers.len()
    }

    /// The tree that results from the lowest `count` layers.
    ///
    /// # Errors
    ///
    /// If bootc would refuse a layer: a member's directory is a link, or no earlier member made it.
    pub fn lowest(&self, count: usize) -> Result<Tree> {
        let mut tree = Tree::default();
        let mut contents = self.contents.iter();
        for (number, layer) in self.layers.iter().enumerate().take(count) {
            for member in &layer.members {
                let content = match member.kind {
                    Type::Dir | Type::Hardlink => None,
                    _ => contents.next().cloned(),
                };
                put(&mut tree, member, content).with_context(|| {
                    let path = show(Path::new(OsStr::from_bytes(&member.path)));
                    format!("in layer {number}: member {path}")
                })?;
            }
        }
        Ok(tree)
    }

    /// The content of the regular file at `path` in `tree`, which comes from [`Layered::lowest`];
    /// `None` if there is no such file.
    pub fn content(&self, tree: &Tree, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(Node::Leaf(leaf)) = super::node(tree, path) else { return Ok(None) };
        let regular =
            matches!(tree.leaves[*leaf].content, Content::Inline(_) | Content::External { .. });
        let (layer, member) = self.made[*leaf];
        let Some(mut content) = self.layers[layer].content(member).filter(|_| regular) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Directories of `tree` for which the last layer that adds to them has no entry, sorted: bootc
    /// keeps the time that a lower layer recorded, but an extraction leaves its own.
    pub fn unlisted(&self, tree: &Tree) -> Vec<Unlisted> {
        let mut last: BTreeMap<&[u8], Option<usize>> = BTreeMap::new();
        for (layer, number) in self.layers.iter().zip(1..) {
            let paths = || layer.members.iter().map(|member| &member.path[..]);
            last.extend(paths().map(|path| (parent_of(path), Some(number))));
            last.extend(paths().map(|path| (path, None)));
        }
        let unlisted = |(path, layer): (&[u8], Option<usize>)| {
            let shown = path.escape_ascii().to_string();
            // The root's own time does not count: it gets that of /usr.
            let layer = layer.filter(|_| !path.is_empty())?;
            let there = matches!(super::node(tree, &shown), Some(Node::Directory(_)));
            there.then(|| Unlisted { path: format!("/{shown}"), layer })
        };
        last.into_iter().filter_map(unlisted).collect()
    }
}

/// The content of each member of a layer; `None` for a directory or a hard link.
fn contents_of(layer: &Layer) -> Result<Vec<Option<Content>>> {
    let all: Vec<usize> = (0..layer.members.len()).collect();
    try_map(all.par_iter(), |n| content(layer, *n))
}

fn content(layer: &Layer, number: usize) -> Result<Option<Content>> {
    let member = &layer.members[number];
    let device = || {
        let (major, minor) = member.device;
        // As the kernel encodes it for file systems.
        (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
    };
    Ok(Some(match member.kind {
        Type::Dir | Type::Hardlink => return Ok(None),
        Type::File => {
            ensure!(!member.sparse, "a sparse member; archive it without --sparse");
            let mut data = layer.content(number).context("its content was not kept")?;
            if member.size <= INLINE_MAX {
                let mut bytes = Vec::new();
                data.read_to_end(&mut bytes)?;
                Content::Inline(bytes)
            } else {
                let (digest, size) = Verity::of_reader(&mut data)?;
                Content::External { digest, size }
            }
        }
        Type::Symlink => Content::Symlink(member.link.clone()),
        Type::Char => Content::Character(device()),
        Type::Block => Content::Block(device()),
        Type::Fifo => Content::Fifo,
    }))
}

fn put(tree: &mut Tree, member: &Member, content: Option<Content>) -> Result<()> {
    let meta = meta(member)?;
    if member.path.is_empty() {
        ensure!(member.kind == Type::Dir, "the root is not a directory");
        tree.root.meta = meta;
        return Ok(());
    }
    let node = match (member.kind, content) {
        (Type::Dir, _) => Node::Directory(Directory { meta, ..Directory::default() }),
        (Type::Hardlink, _) => {
            let (directory, name) = place(&mut tree.root, &member.link)?;
            match directory.entries.get(name) {
                Some(Node::Leaf(leaf)) => Node::Leaf(*leaf),
                _ => bail!("links to {}, which is not a file", member.link.escape_ascii()),
            }
        }
        (_, Some(content)) => {
            tree.leaves.push(Leaf { meta, content });
            Node::Leaf(tree.leaves.len() - 1)
        }
        (_, None) => return Ok(()),
    };
    let (directory, name) = place(&mut tree.root, &member.path)?;
    match (name.strip_prefix(b".wh."), node) {
        (Some(b".wh..opq"), _) => directory.entries.clear(),
        (Some(hidden), _) => drop(directory.entries.remove(hidden)),
        (None, Node::Directory(new)) => match directory.entries.get_mut(name) {
            Some(Node::Directory(old)) => old.meta = new.meta,
            _ => drop(directory.entries.insert(name.to_vec(), Node::Directory(new))),
        },
        (None, node) => drop(directory.entries.insert(name.to_vec(), node)),
    }
    Ok(())
}

/// The parent directory of a path in a tree, and its last component.
fn place<'t, 'p>(root: &'t mut Directory, path: &'p [u8]) -> Result<(&'t mut Directory, &'p [u8])> {
    let mut parts = path.split(|byte| *byte == b'/');
    let name = parts.next_back().unwrap_or_default();
    let mut at = root;
    for part in parts {
        at = match at.entries.get_mut(part) {
            Some(Node::Directory(below)) => below,
            Some(Node::Leaf(_)) => {
                bail!("{} in its path is not a directory: bootc refuses it", part.escape_ascii())
            }
            None => bail!(
                "no earlier member made the directory {}: bootc refuses it",
                part.escape_ascii()
            ),
        };
    }
    Ok((at, name))
}

fn meta(member: &Member) -> Result<Meta> {
    let id = |id: u64| u32::try_from(id).context("an owner beyond 32 bits");
    Ok(Meta {
        mode: (member.mode & 0o7777) as u16,
        uid: id(member.uid)?,
        gid: id(member.gid)?,
        seconds: member.mtime.sec,
        nanoseconds: member.mtime.nsec,
        xattrs: member.xattrs.clone(),
    })
}
