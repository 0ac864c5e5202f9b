//! Models of how runtimes unpack an image's layers.
//!
//! Three unpackers represent all: containers-storage with its vfs and overlay drivers (podman,
//! buildah, CRI-O) and umoci. The OCI layer specification does not say what happens to a directory
//! that a layer uses without an entry, and in which order a layer's whiteouts act. Nothing is
//! written: the trees are models, which tests compare with the real tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::format::tar::{Member, Type, parent};
use crate::source::oci::Layer;

/// An unpacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// containers-storage, driver vfs: every layer applied to a copy of the tree below it.
    Vfs,
    /// containers-storage, driver overlay: every layer in a separate directory, merged by the
    /// kernel.
    Overlay,
    /// umoci: like vfs, but whiteouts act only on lower layers.
    Umoci,
}

impl Model {
    /// All of them.
    pub const ALL: [Model; 3] = [Model::Vfs, Model::Overlay, Model::Umoci];
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Model::Vfs => "vfs",
            Model::Overlay => "overlay",
            Model::Umoci => "umoci",
        })
    }
}

/// What is at a path of an unpacked tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its type, never a hard link.
    pub kind: Type,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Number of the layer it comes from, lowest 0.
    pub layer: usize,
    /// Number of the member in that layer; `None` for a directory that no entry made.
    pub member: Option<usize>,
}

/// An unpacked tree; the root has the empty path.
pub type Tree = BTreeMap<Arc<[u8]>, Node>;

/// Why an unpacker stops with an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Number of the layer, lowest 0.
    pub layer: usize,
    /// The member it stops at.
    pub path: String,
    /// Why.
    pub why: &'static str,
}

/// The name of a global PAX header that is unpacked as a file.
pub(super) const GLOBAL_HEADER: &str = "pax_global_header";
const NO_DIRECTORY: &str = "its parent is not a directory";
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";

/// The role of a member by its name.
pub(super) enum Role {
    /// An ordinary member.
    Plain,
    /// Hides what lower layers have at this path.
    Whiteout(Vec<u8>),
    /// Hides what lower layers have in this directory.
    Opaque(Vec<u8>),
}

pub(super) fn role(path: &[u8]) -> Role {
    let dir = parent(path);
    let name = path.get(dir.len() + usize::from(!dir.is_empty())..).unwrap_or_default();
    if name == OPAQUE {
        return Role::Opaque(dir.to_vec());
    }
    match name.strip_prefix(WHITEOUT) {
        Some(hidden) => Role::Whiteout(join(dir, hidden)),
        None => Role::Plain,
    }
}

/// The tree of `layers`, lowest first, by the image specification, on which all unpackers mostly
/// agree.
pub fn flatten(layers: &[Layer]) -> Result<Tree, Refusal> {
    let mut tree = Disk::new(layers);
    for (number, layer) in layers.iter().enumerate() {
        apply(&mut tree, number, layer, Model::Umoci)?;
    }
    Ok(tree.nodes)
}

/// The tree to which `model` unpacks `layers`, lowest first.
pub fn unpack(layers: &[Layer], model: Model) -> Result<Tree, Refusal> {
    let mut tree = Disk::new(layers);
    for (number, layer) in layers.iter().enumerate() {
        if model == Model::Umoci && layer.has_globals {
            let (path, why) = (GLOBAL_HEADER.to_owned(), "it does not support global PAX headers");
            return Err(Refusal { layer: number, path, why });
        }
        if model != Model::Umoci {
            refuse_duplicates(number, layer)?;
        }
        match model {
            Model::Vfs | Model::Umoci => apply(&mut tree, number, layer, model)?,
            Model::Overlay => merge(&mut tree, diff(layers, number, layer)?),
        }
    }
    Ok(tree.nodes)
}

/// Refuses duplicate names, like containers-storage, whose list of each layer's names (tar-split)
/// does not allow them.
fn refuse_duplicates(number: usize, layer: &Layer) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    match layer.members.iter().find(|m| !seen.insert(&m.path)) {
        Some(member) => Err(refusal(number, member, "a second entry of this name in one layer")),
        None => Ok(()),
    }
}

/// Applies a layer to the tree of those below it.
pub(super) fn apply(
    tree: &mut Disk<'_>,
    number: usize,
    layer: &Layer,
    model: Model,
) -> Result<(), Refusal> {
    let umoci = model == Model::Umoci;
    // What this layer made; for umoci including the directories on the way.
    let mut made: BTreeSet<Arc<[u8]>> = BTreeSet::new();
    for (index, member) in layer.members.iter().enumerate() {
        let fail = |why| refusal(number, member, why);
        let hide = role(&member.path);
        if umoci && !matches!(hide, Role::Plain) {
            let path = tree.resolve(&member.path).map_err(fail)?;
            match role(&path) {
                Role::Opaque(dir) => tree.remove_unless(&dir, &made, false),
                Role::Whiteout(path) => tree.remove_unless(&path, &made, true),
                Role::Plain => {}
            }
            continue;
        }
        let path = tree.make_parents(&member.path, number).map_err(fail)?;
        match role(&path) {
            Role::Opaque(dir) => tree.remove_unless(&dir, &made, false),
            Role::Whiteout(path) => tree.remove(&path),
            Role::Plain => {
                let path: Arc<[u8]> =
                    if *path == *member.path { Arc::clone(&member.path) } else { path.into() };
                tree.put(&path, number, index, member).map_err(fail)?;
                if umoci {
                    let mut up = parent(&path);
                    while !up.is_empty() && made.insert(up.into()) {
                        up = parent(up);
                    }
                }
                made.insert(path);
            }
        }
    }
    let gone = |member: &&Member| {
        let here = tree.resolve(&member.path).ok();
        member.kind == Type::Dir && here.is_none_or(|path| !tree.nodes.contains_key(&*path))
    };
    match layer.members.iter().find(gone) {
        Some(member) if !umoci => {
            Err(refusal(number, member, "a whiteout of the same layer removed it again"))
        }
        _ => Ok(()),
    }
}

/// A layer in a separate directory, as the overlay driver unpacks it.
struct Diff<'a> {
    disk: Disk<'a>,
    whiteouts: BTreeSet<Vec<u8>>,
    opaque: BTreeSet<Vec<u8>>,
}

fn diff<'a>(layers: &'a [Layer], number: usize, layer: &Layer) -> Result<Diff<'a>, Refusal> {
    let mut diff =
        Diff { disk: Disk::new(layers), whiteouts: BTreeSet::new(), opaque: BTreeSet::new() };
    let whiteout = |layer, member| Node {
        kind: Type::Char,
        mode: 0,
        uid: 0,
        gid: 0,
        layer,
        member: Some(member),
    };
    for (index, member) in layer.members.iter().enumerate() {
        let fail = |why| refusal(number, member, why);
        let hide = role(&member.path);
        let path = match diff.disk.make_parents(&member.path, number) {
            Ok(path) => path,
            // `.wh.a` and then `a/.wh.b`: the second is not needed.
            Err(_) if matches!(hide, Role::Whiteout(_)) => continue,
            Err(why) => return Err(fail(why)),
        };
        match role(&path) {
            Role::Opaque(dir) => {
                diff.opaque.insert(dir);
            }
            Role::Whiteout(hidden) => {
                if diff.disk.nodes.contains_key(&*hidden) {
                    return Err(fail("the same layer made what this whiteout removes"));
                }
                diff.disk.nodes.insert(hidden.clone().into(), whiteout(number, index));
                diff.whiteouts.insert(hidden);
            }
            // The layer's own entry for the root is skipped.
            Role::Plain if path.is_empty() => {}
            Role::Plain => {
                diff.whiteouts.remove(&path);
                diff.disk.put(&path.into(), number, index, member).map_err(fail)?;
            }
        }
    }
    Ok(diff)
}

/// Merges `upper` over `tree` like overlayfs.
fn merge(tree: &mut Disk<'_>, upper: Diff<'_>) {
    for (path, node) in upper.disk.nodes {
        if upper.whiteouts.contains(&*path) {
            tree.remove(&path);
            continue;
        }
        let both = node.kind == Type::Dir && tree.is_dir(&path);
        if !both || upper.opaque.contains(&*path) {
            tree.remove(&path);
        }
        tree.nodes.insert(path, node);
    }
}

/// A file system in a map.
pub(super) struct Disk<'a> {
    pub(super) nodes: Tree,
    layers: &'a [Layer],
}

impl<'a> Disk<'a> {
    /// A root directory, owned by root with mode 0755, as storage drivers make it.
    pub(super) fn new(layers: &'a [Layer]) -> Self {
        let mut nodes = Tree::new();
        nodes.insert(Arc::from(&b""[..]), implied(0));
        Disk { nodes, layers }
    }

    fn is_dir(&self, path: &[u8]) -> bool {
        self.nodes.get(path).is_some_and(|n| n.kind == Type::Dir)
    }

    /// Removes `path` and all below it; of the root only its children.
    fn remove(&mut self, path: &[u8]) {
        let below: Vec<Arc<[u8]>> = self.below(path).cloned().collect();
        for path in below {
            self.nodes.remove(&path);
        }
        if !path.is_empty() {
            self.nodes.remove(path);
        }
    }

    fn below(&self, path: &[u8]) -> impl Iterator<Item = &Arc<[u8]>> + use<'_, 'a> {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let start: Arc<[u8]> = prefix.clone().into();
        let below = self.nodes.range(start..).map(|(path, _)| path);
        below.take_while(move |p| p.starts_with(&prefix)).filter(|p| !p.is_empty())
    }

    /// Removes what is below `path` (and `path` itself if `whole`) but not in `made`, each with all
    /// below it.
    fn remove_unless(&mut self, path: &[u8], made: &BTreeSet<Arc<[u8]>>, whole: bool) {
        let mut doomed: Vec<Arc<[u8]>> = self.below(path).cloned().collect();
        doomed.retain(|p| !made.contains(p));
        if whole && !made.contains(path) {
            doomed = vec![path.into()];
        }
        for path in doomed {
            self.remove(&path);
        }
    }

    /// `path` with the links in its directories resolved, inside the root.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, &'static str> {
        let dir = parent(path);
        if dir.is_empty() || self.is_dir(dir) {
            return Ok(path.to_vec());
        }
        let name = &path[dir.len() + 1..];
        Ok(join(&real(&self.nodes, self.layers, dir)?, name))
    }

    /// The entry that made the directory at `path`; `None` if there is no entry.
    pub(super) fn directory(&self, path: &[u8]) -> Option<Member> {
        let node = self.nodes.get(path).filter(|n| n.kind == Type::Dir)?;
        let member = self.layers.get(node.layer)?.members.get(node.member?)?;
        Some(Member { path: path.into(), ..member.clone() })
    }

    /// Whether `member` is an existing directory with the same owner and mode.
    pub(super) fn has_directory(&self, member: &Member) -> bool {
        let same = |n: &Node| {
            n.kind == Type::Dir && (n.mode, n.uid, n.gid) == (member.mode, member.uid, member.gid)
        };
        member.kind == Type::Dir && self.nodes.get(&member.path).is_some_and(same)
    }

    /// Makes the missing directories above `path`, and returns its real path.
    fn make_parents(&mut self, path: &[u8], layer: usize) -> Result<Vec<u8>, &'static str> {
        let path = self.resolve(path)?;
        let mut missing = Vec::new();
        let mut dir = parent(&path);
        while !self.nodes.contains_key(dir) {
            missing.push(Arc::from(dir));
            dir = parent(dir);
        }
        if !self.is_dir(dir) {
            return Err(NO_DIRECTORY);
        }
        for dir in missing {
            self.nodes.insert(dir, implied(layer));
        }
        Ok(path)
    }

    /// Puts a member at `path`, replacing what is there unless both are directories.
    fn put(
        &mut self,
        path: &Arc<[u8]>,
        layer: usize,
        index: usize,
        member: &Member,
    ) -> Result<(), &'static str> {
        let mut node = Node {
            kind: member.kind,
            mode: if member.kind == Type::Symlink { 0o777 } else { member.mode },
            uid: member.uid,
            gid: member.gid,
            layer,
            member: Some(index),
        };
        if member.kind == Type::Hardlink {
            let target = self.resolve(&member.link)?;
            let target = self.nodes.get(&*target);
            node = *target.ok_or("its hard link's target is not in the same layer")?;
        }
        if !(node.kind == Type::Dir && self.is_dir(path)) {
            self.remove(path);
        }
        self.nodes.insert(Arc::clone(path), node);
        Ok(())
    }
}

/// The real path of a directory in a tree of `layers`, with symbolic links resolved below its root.
/// What is missing counts as a directory to make.
pub fn real(nodes: &Tree, layers: &[Layer], dir: &[u8]) -> Result<Vec<u8>, &'static str> {
    let target = |node: &Node| -> &[u8] {
        let member = node.member.and_then(|m| layers.get(node.layer)?.members.get(m));
        member.map_or(b"", |m| &m.link)
    };
    let mut left: Vec<&[u8]> = dir.rsplit(|&b| b == b'/').collect();
    let (mut at, mut hops) = (Vec::new(), 0);
    while let Some(part) = left.pop() {
        match part {
            b"" | b"." => continue,
            b".." => at.truncate(parent(&at).len()),
            part => {
                let here = join(&at, part);
                match nodes.get(&*here) {
                    Some(node) if node.kind == Type::Symlink => {
                        hops += 1;
                        let target = target(node);
                        if target.starts_with(b"/") {
                            at.clear();
                        }
                        left.extend(target.rsplit(|&b| b == b'/'));
                    }
                    Some(node) if node.kind != Type::Dir => return Err(NO_DIRECTORY),
                    _ => at = here,
                }
            }
        }
        if hops > 40 {
            return Err("too many symbolic links on the way");
        }
    }
    Ok(at)
}

/// A directory that no entry made.
fn implied(layer: usize) -> Node {
    Node { kind: Type::Dir, mode: 0o755, uid: 0, gid: 0, layer, member: None }
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() }
}

fn refusal(layer: usize, member: &Member, why: &'static str) -> Refusal {
    Refusal { layer, path: String::from_utf8_lossy(&member.path).into_owned(), why }
}
