//! The merged layers of an image: the tree that a container sees, read in place.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::unpack::{Model, Node, Tree as Nodes, flatten, unpack};
use crate::format::tar::{Type, parent};
use crate::source::oci::{Image, Keep, Layer, Part, Store, layers_beside};
use crate::tree::{Entry, Kind, Seekable, Tree, show};

/// The tree of one image. It has no times: neither does a commit, and rebuilt layers seldom agree
/// on them.
pub struct Flattened<L = Vec<Layer>> {
    layers: L,
    nodes: Nodes,
    names: BTreeMap<Vec<u8>, Vec<OsString>>,
    others: BTreeMap<Vec<u8>, String>,
}

impl Flattened {
    /// Reads the layers of `image` and merges them like containers-storage on vfs, or like umoci if
    /// the former refuses a layer. An ostree repository in the lowest `settled` layers is left out.
    ///
    /// # Errors
    ///
    /// If a layer cannot be read, or neither of the two unpacks them.
    pub fn read(store: &Store, image: &Image, settled: usize) -> anyhow::Result<Self> {
        Self::beside(store, image, settled, BTreeMap::new())
    }

    /// Reads `image` as [`Flattened::read`] does, but for the layers that were read before, with their
    /// content, by number.
    ///
    /// # Errors
    ///
    /// Those of [`Flattened::read`].
    pub fn beside(
        store: &Store,
        image: &Image,
        settled: usize,
        read: BTreeMap<usize, Layer>,
    ) -> anyhow::Result<Self> {
        let layers = layers_beside(store, image, Keep::Spool, read)?;
        let mut nodes = match unpack(&layers, Model::Vfs) {
            Ok(nodes) => nodes,
            Err(refusal) => match flatten(&layers) {
                Ok(nodes) => nodes,
                Err(_) => bail!("layer {} at {}: {}", refusal.layer, refusal.path, refusal.why),
            },
        };
        drop_repository(&mut nodes, settled);
        let others = take_others(&layers, &mut nodes);
        Ok(Flattened { others, ..Self::of(layers, nodes) })
    }

    /// Device nodes and FIFOs, which are left out of the tree, each with a description.
    pub fn others(&self) -> &BTreeMap<Vec<u8>, String> {
        &self.others
    }

    /// Groups of names of the same file.
    pub fn hard_links(&self) -> BTreeSet<Vec<&[u8]>> {
        let mut groups: BTreeMap<(usize, usize), Vec<&[u8]>> = BTreeMap::new();
        for (path, node) in self.nodes.iter().filter(|(_, node)| node.kind == Type::File) {
            if let Some(member) = node.member {
                groups.entry((node.layer, member)).or_default().push(path);
            }
        }
        groups.into_values().filter(|names| names.len() > 1).collect()
    }

    /// Describes the first path that has another modification time in `other`.
    pub fn first_other_time(&self, other: &Self) -> Option<String> {
        let time = |flat: &Self, node: &Node| {
            flat.member(node).map(|(layer, member)| layer.members[member].mtime)
        };
        self.nodes.iter().find_map(|(path, node)| {
            let (x, y) = (time(self, node)?, time(other, other.nodes.get(path)?)?);
            let path = || show(Path::new(OsStr::from_bytes(path)));
            (x != y).then(|| {
                format!("modification time of {}: {} → {}", path(), { x.sec }, { y.sec })
            })
        })
    }
}

impl<L: AsRef<[Layer]>> Flattened<L> {
    /// The tree of `nodes`, with all that they have.
    pub(super) fn of(layers: L, nodes: Nodes) -> Self {
        let mut names: BTreeMap<Vec<u8>, Vec<OsString>> = BTreeMap::new();
        for path in nodes.keys().filter(|p| !p.is_empty()) {
            let dir = parent(path);
            let name = &path[dir.len() + usize::from(!dir.is_empty())..];
            names.entry(dir.to_vec()).or_default().push(OsStr::from_bytes(name).to_owned());
        }
        names.values_mut().for_each(|names| names.sort());
        Flattened { layers, nodes, names, others: BTreeMap::new() }
    }

    /// The layers that were laid over one another.
    pub(super) fn layers(&self) -> &[Layer] {
        self.layers.as_ref()
    }

    /// What the unpacker made of them.
    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The content of the file at `path`; `None` if there is no file.
    fn content(&self, path: &Path) -> io::Result<Option<Part>> {
        let file = self.node(path).filter(|node| node.kind == Type::File);
        let Some((layer, index)) = file.and_then(|node| self.member(node)) else { return Ok(None) };
        if layer.members[index].sparse {
            return Err(invalid(path, "a sparse member; archive it without --sparse"));
        }
        layer.content(index).ok_or_else(|| invalid(path, "not kept")).map(Some)
    }

    fn node(&self, path: &Path) -> Option<&Node> {
        self.nodes.get(path.as_os_str().as_bytes())
    }

    /// The member of its layer that made `node`.
    fn member(&self, node: &Node) -> Option<(&Layer, usize)> {
        Some((self.layers().get(node.layer)?, node.member?))
    }
}

/// Removes the objects of an ostree repository in the lowest `settled` layers, and directories with
/// nothing else.
fn drop_repository(nodes: &mut Nodes, settled: usize) {
    if settled == 0 {
        return;
    }
    let objects = |path: &[u8], node: &Node| {
        node.layer < settled && node.kind != Type::Dir && path.starts_with(b"sysroot/ostree/repo/")
    };
    nodes.retain(|path, node| !objects(path, node));
    let mut used: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, node) in nodes.iter().rev() {
        let here = path.starts_with(b"sysroot/ostree/repo") && node.kind == Type::Dir;
        if !(here && node.layer < settled && !used.contains(&**path)) {
            used.insert(parent(path).to_vec());
        }
    }
    nodes.retain(|path, node| {
        let here = path.starts_with(b"sysroot/ostree/repo") && node.kind == Type::Dir;
        !(here && node.layer < settled) || used.contains(&**path)
    });
}

/// Takes device nodes and FIFOs out of `nodes`: each described in a line.
fn take_others(layers: &[Layer], nodes: &mut Nodes) -> BTreeMap<Vec<u8>, String> {
    let mut others = BTreeMap::new();
    nodes.retain(|path, node| {
        let other = matches!(node.kind, Type::Char | Type::Block | Type::Fifo);
        if other {
            others.insert(path.to_vec(), describe(layers, node));
        }
        !other
    });
    others
}

fn describe(layers: &[Layer], node: &Node) -> String {
    let member = node.member.and_then(|m| layers.get(node.layer)?.members.get(m));
    let (major, minor) = member.map_or((0, 0), |m| m.device);
    let kind = match node.kind {
        Type::Char => "character device",
        Type::Block => "block device",
        _ => "FIFO",
    };
    format!("{kind} {major}:{minor}, mode {:04o}, owner {}:{}", node.mode, node.uid, node.gid)
}

impl<L: AsRef<[Layer]> + Sync> Tree for Flattened<L> {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let Some(node) = self.node(path) else { return Ok(None) };
        let member = self.member(node).map(|(layer, i)| &layer.members[i]);
        let (kind, bits, size) = match node.kind {
            Type::Dir => (Kind::Dir, 0o040_000, 0),
            Type::Symlink => (Kind::Symlink, 0o120_000, member.map_or(0, |m| m.link.len() as u64)),
            Type::File => (Kind::File, 0o100_000, member.map_or(0, |m| m.size)),
            _ => (Kind::Other, 0, 0),
        };
        let id = |id: u64| u32::try_from(id).map_err(|_| invalid(path, "owner beyond 32 bits"));
        Ok(Some(Entry {
            path: path.to_owned(),
            kind,
            mode: bits | node.mode,
            uid: id(node.uid)?,
            gid: id(node.gid)?,
            size,
            mtime: None,
            inode: None,
        }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.names.get(path.as_os_str().as_bytes()).cloned().unwrap_or_default())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let found = self.stream(path, &mut |piece| bytes.extend_from_slice(piece))?;
        Ok(found.then_some(bytes))
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable>>> {
        let content = self.content(path)?;
        Ok(content.map(|content| Box::new(content) as Box<dyn Seekable>))
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let link = self.node(path).filter(|n| n.kind == Type::Symlink);
        let member = link.and_then(|n| self.member(n)).map(|(layer, i)| &layer.members[i]);
        Ok(member.map(|m| PathBuf::from(OsString::from_vec(m.link.clone()))))
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let member = self.node(path).and_then(|n| self.member(n));
        let xattrs = member.map(|(layer, i)| layer.members[i].xattrs.clone()).unwrap_or_default();
        Ok(xattrs.into_iter().collect())
    }
}

fn invalid(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/{}: {what}", path.display()))
}
