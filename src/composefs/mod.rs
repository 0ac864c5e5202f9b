//! The composefs digest of a tree or an image, computed before booting as bootc does it: a sealed
//! boot image carries it as `composefs=`.
//!
//! bootc reads an image in two ways. When it is sealed, its extracted directory is read
//! ([`of_directory`]); when it is installed, its layers are ([`Layered`]). Both are then prepared
//! for booting ([`for_boot`]), and both results must have the same digest.

mod compare;
mod labels;
mod layers;
mod read;
mod uki;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use anyhow::{Context as _, Result, bail};

pub use compare::{Cause, Deviation, Kind, compare};
pub use labels::Policy;
pub use layers::{Layered, Unlisted};
pub use read::of_directory;
pub use uki::{Claim, List, Meaning, Open, Uki, is_uki, ukis};

use crate::format::composefs::{self, Digest, Directory, Meta, Node, Tree, Verity, Version};

/// The attribute that holds the SELinux label.
const LABEL: &[u8] = b"security.selinux";
/// Directories whose content is not part of a booted image: one contains the boot image that
/// carries the digest, the other an ostree repository.
const EMPTIED: [&[u8]; 2] = [b"boot", b"sysroot"];

/// Releases of bootc that compute the same digests. An image sealed by one generation is refused by
/// another.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// The first release of this generation.
    pub name: &'static str,
    /// The layout of the image.
    pub version: Version,
    /// Which attributes of an extracted directory count.
    directory: CountedXattrs,
    /// Which attributes of layers count.
    layers: CountedXattrs,
    /// A description for people.
    pub summary: &'static str,
}

/// Which extended attributes count. SELinux labels come from the policy in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CountedXattrs {
    /// Only file capabilities.
    Capabilities,
    /// All.
    All,
}

/// The generations, the newest first.
pub static GENERATIONS: [Generation; 2] = [
    Generation {
        name: "1.16.4",
        version: Version::V1,
        directory: CountedXattrs::Capabilities,
        layers: CountedXattrs::Capabilities,
        summary: "format V1; times with nanoseconds; of attributes, file capabilities",
    },
    Generation {
        name: "1.16.0",
        version: Version::V2,
        directory: CountedXattrs::Capabilities,
        layers: CountedXattrs::All,
        summary: "format V2; times in whole seconds; of attributes, file capabilities of a \
                  directory, all of layers",
    },
];

/// The generation with this name, its first release, as in [`GENERATIONS`].
pub fn generation(name: &str) -> Result<&'static Generation> {
    let known = || GENERATIONS.map(|generation| generation.name).join(", ");
    let found = GENERATIONS.iter().find(|generation| generation.name == name);
    found.with_context(|| format!("{name:?} is not a generation of bootc; known: {}", known()))
}

/// How bootc reads an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As an extracted directory.
    Directory,
    /// Layer by layer.
    Layers,
}

/// Turns a tree into what bootc boots: the root has the metadata of `/usr`; `/run`, `/boot` and
/// `/sysroot` are empty; attributes that do not count are removed; labels are those of the policy.
///
/// # Errors
///
/// If `/usr`, `/boot` or `/sysroot` is missing, like bootc.
pub fn for_boot(
    tree: &mut Tree,
    generation: &Generation,
    view: View,
    policy: Option<&Policy>,
) -> Result<()> {
    let usr = directory(tree, b"usr")?.meta.clone();
    tree.root.meta = usr.clone();
    if tree.root.entries.contains_key(&b"run"[..]) {
        empty(tree, b"run", &usr)?;
    }
    let counted = match view {
        View::Directory => generation.directory,
        View::Layers => generation.layers,
    };
    if counted == CountedXattrs::Capabilities {
        each_meta(tree, &mut |meta| meta.xattrs.retain(|name, _| name == b"security.capability"));
    }
    for name in EMPTIED {
        empty(tree, name, &usr)?;
    }
    compact(tree);
    match policy {
        Some(policy) => policy.apply(tree),
        None => each_meta(tree, &mut |meta| drop(meta.xattrs.remove(LABEL))),
    }
    Ok(())
}

/// The image of a prepared tree, and its digest.
pub fn seal(tree: &Tree, generation: &Generation) -> Result<(Vec<u8>, Digest)> {
    let image = composefs::image(tree, generation.version)
        .context("this tree cannot be a composefs image")?;
    let digest = Verity::of(&image);
    Ok((image, digest))
}

/// A digest as bootc writes it: 128 hexadecimal digits.
pub fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is at `path`, below the root.
fn node<'t>(tree: &'t Tree, path: &str) -> Option<&'t Node> {
    let (mut at, mut found) = (Some(&tree.root), None);
    for part in path.split('/') {
        found = at?.entries.get(part.as_bytes());
        at = match found {
            Some(Node::Directory(below)) => Some(below),
            _ => None,
        };
    }
    found
}

/// The names in the directory at `path`; empty if there is no directory.
pub fn names(tree: &Tree, path: &str) -> Vec<OsString> {
    match node(tree, path) {
        Some(Node::Directory(directory)) => {
            directory.entries.keys().map(|name| OsString::from_vec(name.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn directory<'t>(tree: &'t mut Tree, name: &[u8]) -> Result<&'t mut Directory> {
    match tree.root.entries.get_mut(name) {
        Some(Node::Directory(directory)) => Ok(directory),
        _ => bail!(
            "there is no directory /{}, which bootc needs in an image that boots",
            String::from_utf8_lossy(name)
        ),
    }
}

/// Empties a directory and gives it the time of `/usr`.
fn empty(tree: &mut Tree, name: &[u8], usr: &Meta) -> Result<()> {
    let directory = directory(tree, name)?;
    directory.entries.clear();
    (directory.meta.seconds, directory.meta.nanoseconds) = (usr.seconds, usr.nanoseconds);
    Ok(())
}

fn each_meta(tree: &mut Tree, f: &mut dyn FnMut(&mut Meta)) {
    fn visit(directory: &mut Directory, f: &mut dyn FnMut(&mut Meta)) {
        f(&mut directory.meta);
        for node in directory.entries.values_mut() {
            if let Node::Directory(below) = node {
                visit(below, f);
            }
        }
    }
    visit(&mut tree.root, f);
    tree.leaves.iter_mut().for_each(|leaf| f(&mut leaf.meta));
}

/// Drops leaves that no directory refers to any more.
fn compact(tree: &mut Tree) {
    fn renumber(directory: &mut Directory, places: &mut BTreeMap<usize, usize>) {
        for node in directory.entries.values_mut() {
            match node {
                Node::Directory(below) => renumber(below, places),
                Node::Leaf(leaf) => {
                    let next = places.len();
                    *leaf = *places.entry(*leaf).or_insert(next);
                }
            }
        }
    }
    let mut places = BTreeMap::new();
    renumber(&mut tree.root, &mut places);
    let mut kept: Vec<_> = std::mem::take(&mut tree.leaves)
        .into_iter()
        .enumerate()
        .filter_map(|(old, leaf)| Some((*places.get(&old)?, leaf)))
        .collect();
    kept.sort_by_key(|(new, _)| *new);
    tree.leaves = kept.into_iter().map(|(_, leaf)| leaf).collect();
}
