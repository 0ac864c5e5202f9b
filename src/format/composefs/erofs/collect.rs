//! The inodes of a tree in the order in which each version numbers them.

use std::collections::{BTreeMap, VecDeque};

use super::attrs::{Attr, Attrs};
use super::inode::{Dirent, Inode, Kind, Listing};
use super::{
    BLOCK, BLOCK_DEVICE, CHARACTER, CHUNK_MAX, Content, DIRECTORY, Digest, Directory, FIFO, Meta,
    Node, NotAnImage, SOCKET, Tree, Version, links,
};

/// The inodes of a tree while they are collected.
pub(super) struct Collector<'t> {
    pub(super) tree: &'t Tree,
    pub(super) version: Version,
    pub(super) links: Vec<u32>,
    pub(super) inodes: Vec<Inode<'t>>,
    /// Where each leaf is in `inodes`.
    pub(super) of_leaf: Vec<Option<usize>>,
}

impl<'t> Collector<'t> {
    pub(super) fn new(tree: &'t Tree, version: Version) -> Self {
        let of_leaf = vec![None; tree.leaves.len()];
        Collector { tree, version, links: links(tree), inodes: Vec::new(), of_leaf }
    }

    pub(super) fn directory(&mut self, directory: &'t Directory) -> Result<usize, NotAnImage> {
        self.push(&directory.meta, Kind::Directory(Listing::default()), 0, None)
    }

    /// The place of a leaf, which is collected where it is met first.
    pub(super) fn leaf(
        &mut self,
        leaf: usize,
        kind: Option<Kind<'t>>,
    ) -> Result<usize, NotAnImage> {
        if let Some(place) = self.of_leaf[leaf] {
            return Ok(place);
        }
        let tree = self.tree;
        let (meta, content) = (&tree.leaves[leaf].meta, &tree.leaves[leaf].content);
        let mut digest = None;
        let kind = kind.unwrap_or(match content {
            Content::Inline(bytes) => Kind::File(bytes),
            Content::External { size, digest: of } => {
                digest = Some(of);
                Kind::External(*size)
            }
            Content::Symlink(target) => Kind::Symlink(target),
            Content::Character(device) => Kind::Special(CHARACTER, *device),
            Content::Block(device) => Kind::Special(BLOCK_DEVICE, *device),
            Content::Fifo => Kind::Special(FIFO, 0),
            Content::Socket => Kind::Special(SOCKET, 0),
        });
        match (&kind, content) {
            (Kind::External(size), _) if *size > CHUNK_MAX => return Err(NotAnImage::TooLarge),
            (Kind::Symlink(target), _) if target.len() as u64 > BLOCK => {
                return Err(NotAnImage::TooLong("the target of a symbolic link"));
            }
            (_, Content::Character(0)) if self.links[leaf] > 1 => {
                return Err(NotAnImage::LinkedWhiteout);
            }
            _ => {}
        }
        let place = self.push(meta, kind, self.links[leaf], digest)?;
        self.of_leaf[leaf] = Some(place);
        Ok(place)
    }

    pub(super) fn push(
        &mut self,
        meta: &'t Meta,
        kind: Kind<'t>,
        links: u32,
        digest: Option<&Digest>,
    ) -> Result<usize, NotAnImage> {
        let mut attrs = Attrs::default();
        if let Some(digest) = digest {
            attrs.add(b"trusted.overlay.metacopy", &metacopy(digest), self.version)?;
            attrs.add(b"trusted.overlay.redirect", &redirect(digest), self.version)?;
        }
        for (name, value) in &meta.xattrs {
            match name.strip_prefix(b"trusted.overlay.") {
                // Overlayfs gives the tree's own attributes back under their names.
                Some(rest) => {
                    let escaped = [b"trusted.overlay.overlay.", rest].concat();
                    attrs.add(&escaped, value, self.version)?;
                }
                None => attrs.add(name, value, self.version)?,
            }
        }
        self.inodes.push(Inode { meta, kind, links, attrs });
        Ok(self.inodes.len() - 1)
    }

    pub(super) fn entry(&self, name: &'t [u8], inode: usize) -> Result<Dirent<'t>, NotAnImage> {
        if name.len() > usize::from(u8::MAX) {
            return Err(NotAnImage::TooLong("a name"));
        }
        Ok(Dirent { name, inode, file_type: self.inodes[inode].kind.file_type() })
    }

    /// Gives a directory its entries, now that they have their places.
    pub(super) fn fill(&mut self, directory: usize, parent: usize, mut entries: Vec<Dirent<'t>>) {
        for (name, inode) in [(&b"."[..], directory), (b"..", parent)] {
            entries.push(Dirent { name, inode, file_type: DIRECTORY });
        }
        let listing = Listing::new(entries);
        let directories = listing.entries().filter(|entry| entry.file_type == DIRECTORY).count();
        self.inodes[directory].links = directories as u32;
        self.inodes[directory].kind = Kind::Directory(listing);
    }
}

/// `struct ovl_metacopy`: the fs-verity digest of the file that overlayfs shows.
pub(super) fn metacopy(digest: &Digest) -> Vec<u8> {
    let size = 4 + digest.len() as u8;
    // Version, length, flags, SHA-512.
    [&[0, size, 0, 2], &digest[..]].concat()
}

/// Where the file is in the store of objects.
pub(super) fn redirect(digest: &Digest) -> Vec<u8> {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/{}/{}", &hex[..2], &hex[2..]).into_bytes()
}

/// V2: a directory, then each of its children with all below it.
pub(super) fn depth_first(tree: &Tree) -> Result<Vec<Inode<'_>>, NotAnImage> {
    fn collect<'t>(
        all: &mut Collector<'t>,
        directory: &'t Directory,
        parent: Option<usize>,
    ) -> Result<usize, NotAnImage> {
        let own = all.directory(directory)?;
        let mut entries = Vec::with_capacity(directory.entries.len() + 2);
        for (name, node) in &directory.entries {
            let inode = match node {
                Node::Directory(below) => collect(all, below, Some(own))?,
                Node::Leaf(leaf) => all.leaf(*leaf, None)?,
            };
            entries.push(all.entry(name, inode)?);
        }
        all.fill(own, parent.unwrap_or(own), entries);
        Ok(own)
    }
    let mut all = Collector::new(tree, Version::V2);
    collect(&mut all, &tree.root, None)?;
    Ok(all.inodes)
}

/// The names of the 256 whiteouts that V1 has in the root: the directories of the store of objects,
/// which the mounted image must not show.
pub(super) fn stub_names() -> &'static [[u8; 2]; 256] {
    static NAMES: std::sync::OnceLock<[[u8; 2]; 256]> = std::sync::OnceLock::new();
    NAMES.get_or_init(|| {
        let digit = |n: usize| b"0123456789abcdef"[n];
        std::array::from_fn(|n| [digit(n >> 4), digit(n & 15)])
    })
}

/// V1: all of one depth before anything deeper.
pub(super) fn breadth_first(tree: &Tree) -> Result<Vec<Inode<'_>>, NotAnImage> {
    let mut all = Collector::new(tree, Version::V1);
    let homes = homes(tree, &all.links);
    let root = all.directory(&tree.root)?;
    let mut queue = VecDeque::from([(&tree.root, root, root)]);
    let mut listings = Vec::new();
    while let Some((directory, own, parent)) = queue.pop_front() {
        let mut names: BTreeMap<&[u8], Option<&Node>> =
            directory.entries.iter().map(|(name, node)| (&name[..], Some(node))).collect();
        if own == root {
            for stub in stub_names() {
                names.entry(stub).or_insert(None);
            }
        }
        let mut entries: Vec<(&[u8], InodeNumber)> = Vec::with_capacity(names.len() + 2);
        let mut hides = false;
        for (name, node) in names {
            let place = match node {
                None => InodeNumber::Known(all.stub(&tree.root.meta)?),
                Some(Node::Directory(below)) => {
                    let inode = all.directory(below)?;
                    queue.push_back((below, inode, own));
                    InodeNumber::Known(inode)
                }
                Some(Node::Leaf(leaf)) => {
                    let whiteout = tree.leaves[*leaf].content == Content::Character(0)
                        && !(own == root && all.looks_like_a_stub(name, *leaf));
                    hides |= whiteout;
                    match homes.get(leaf) {
                        // It is numbered where a walk in depth meets it first.
                        Some(home) if !std::ptr::eq(*home, directory) => InodeNumber::OfLeaf(*leaf),
                        _ if whiteout => InodeNumber::Known(all.whiteout(*leaf)?),
                        _ => InodeNumber::Known(all.leaf(*leaf, None)?),
                    }
                }
            };
            entries.push((name, place));
        }
        if hides {
            all.hides(own)?;
        }
        listings.push((own, parent, entries));
    }
    // Not earlier: the root's attributes are not escaped, and stubs do not take them over.
    all.inodes[root].attrs.add(b"trusted.overlay.opaque", b"y", Version::V1)?;
    for (own, parent, entries) in listings {
        let known = |(name, place): (_, InodeNumber)| match place {
            InodeNumber::Known(inode) => all.entry(name, inode),
            InodeNumber::OfLeaf(leaf) => all.entry(name, all.of_leaf[leaf].unwrap_or_default()),
        };
        let entries = entries.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        all.fill(own, parent, entries);
    }
    Ok(all.inodes)
}

/// The inode of an entry, which may be numbered later.
pub(super) enum InodeNumber {
    Known(usize),
    OfLeaf(usize),
}

impl<'t> Collector<'t> {
    /// One of the whiteouts in the root.
    pub(super) fn stub(&mut self, root: &'t Meta) -> Result<usize, NotAnImage> {
        let place = self.push(root, Kind::Special(CHARACTER, 0), 1, None)?;
        let label = |attr: &Attr| attr.prefix == 6 && attr.suffix == b"selinux";
        let attrs = &mut self.inodes[place].attrs;
        attrs.own.retain(label);
        attrs.filter = attrs.own.iter().fold(0, |filter, attr| filter | attr.bit());
        Ok(place)
    }

    /// Whether a whiteout in the root is one that an earlier image brought along.
    pub(super) fn looks_like_a_stub(&self, name: &[u8], leaf: usize) -> bool {
        let (root, meta) = (&self.tree.root.meta, &self.tree.leaves[leaf].meta);
        let label: &[u8] = b"security.selinux";
        stub_names().iter().any(|stub| stub == name)
            && meta.mode == 0o644
            && (meta.uid, meta.gid) == (root.uid, root.gid)
            && (meta.seconds, meta.nanoseconds) == (root.seconds, root.nanoseconds)
            && meta.xattrs.get(label) == root.xattrs.get(label)
            && meta.xattrs.len() == usize::from(root.xattrs.contains_key(label))
    }

    /// A whiteout of the tree itself, which overlayfs shows as one.
    pub(super) fn whiteout(&mut self, leaf: usize) -> Result<usize, NotAnImage> {
        let place = self.leaf(leaf, Some(Kind::Whiteout))?;
        let attrs = &mut self.inodes[place].attrs;
        attrs.add(b"trusted.overlay.overlay.whiteout", b"", Version::V1)?;
        attrs.add(b"user.overlay.whiteout", b"", Version::V1)?;
        Ok(place)
    }

    /// Marks a directory that has whiteouts.
    pub(super) fn hides(&mut self, directory: usize) -> Result<(), NotAnImage> {
        let attrs = &mut self.inodes[directory].attrs;
        for (name, value) in [("whiteouts", ""), ("opaque", "x")] {
            for start in ["trusted.overlay.overlay.", "user.overlay."] {
                let name = format!("{start}{name}");
                attrs.add(name.as_bytes(), value.as_bytes(), Version::V1)?;
            }
        }
        Ok(())
    }
}

/// The directory in which a walk in depth first meets each leaf that has several names.
pub(super) fn homes<'t>(tree: &'t Tree, links: &[u32]) -> BTreeMap<usize, &'t Directory> {
    fn visit<'t>(
        directory: &'t Directory,
        links: &[u32],
        homes: &mut BTreeMap<usize, &'t Directory>,
    ) {
        for node in directory.entries.values() {
            match node {
                Node::Directory(below) => visit(below, links, homes),
                Node::Leaf(leaf) if links[*leaf] > 1 => {
                    homes.entry(*leaf).or_insert(directory);
                }
                Node::Leaf(_) => {}
            }
        }
    }
    let mut homes = BTreeMap::new();
    visit(&tree.root, links, &mut homes);
    homes
}
