//! The layers of an image, laid over one another as bootc does it: by names alone, in the order of
//! the archives, without following any link.

use std::ffi::OsStr;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;

use crate::format::composefs::{Content, Directory, INLINE_MAX, Leaf, Meta, Node, Tree, Verity};
use crate::format::tar::{Member, Type};
use crate::parallel::try_map;
use crate::source::oci::{Image, Keep, Layer, Store, layers};
use crate::tree::show;

/// An image's layers, laid over one another.
pub struct Layered {
    /// The tree that comes out.
    pub tree: Tree,
    layers: Vec<Layer>,
    /// The layer and the member that made each leaf.
    made: Vec<(usize, usize)>,
}

impl Layered {
    /// Reads the layers of `image`.
    ///
    /// Fails where a layer cannot be read, and where bootc refuses one: a member whose directory no
    /// member before it made, or is a link.
    pub fn read(store: &Store, image: &Image) -> Result<Self> {
        let layers = layers(store, image, Keep::Spool)?;
        let (mut tree, mut made) = (Tree::default(), Vec::new());
        for (number, layer) in layers.iter().enumerate() {
            let contents = contents(layer).with_context(|| format!("in layer {number}"))?;
            for (place, (member, content)) in layer.members.iter().zip(contents).enumerate() {
                put(&mut tree, member, content).with_context(|| {
                    let path = show(Path::new(OsStr::from_bytes(&member.path)));
                    format!("in layer {number}: member {path}")
                })?;
                made.resize(tree.leaves.len(), (number, place));
            }
        }
        Ok(Layered { tree, layers, made })
    }

    /// The content of the regular file at `path`, below the root; nothing where there is none.
    pub fn content(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(Node::Leaf(leaf)) = super::node(&self.tree, path) else { return Ok(None) };
        let regular = matches!(
            self.tree.leaves[*leaf].content,
            Content::Inline(_) | Content::External { .. }
        );
        let (layer, member) = self.made[*leaf];
        let Some(mut content) = self.layers[layer].content(member).filter(|_| regular) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// What each member of a layer is; nothing for a directory and for another name of a file.
fn contents(layer: &Layer) -> Result<Vec<Option<Content>>> {
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
            let (directory, name) = parent(&mut tree.root, &member.link)?;
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
    let (directory, name) = parent(&mut tree.root, &member.path)?;
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

/// The directory of a path, and its last component.
fn parent<'t, 'p>(
    root: &'t mut Directory,
    path: &'p [u8],
) -> Result<(&'t mut Directory, &'p [u8])> {
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
                "no member before it made the directory {}: bootc refuses it",
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
