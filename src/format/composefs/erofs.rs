//! The EROFS image of a tree, byte for byte as composefs's own tools write it: the digest of these
//! bytes is what is sealed.
//!
//! An image is a header, a superblock, the inodes (each with its attributes and what of its content
//! is inline), attributes that several inodes share, and blocks of directories and long links.
//! Where an inode begins depends on those before it, so its place is computed first and
//! everything is written afterwards.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use xxhash_rust::xxh32::xxh32;

use super::{Content, Digest, Directory, Meta, Node, Tree, Version, links};

const BLOCK: u64 = 4096;
/// Inodes begin at multiples of this; their number is their place divided by it.
const SLOT: u64 = 32;
/// Where the superblock is.
const SUPERBLOCK: u64 = 1024;
/// Bytes of a directory entry without its name.
const DIRENT: u64 = 12;
/// Bytes of the list of attributes of an inode before the attributes.
const ATTRS_HEADER: u64 = 12;
/// A directory's last entries are inline up to so many bytes.
const INLINE_ENTRIES_MAX: u64 = 2048;
/// The largest file that one chunk covers: chunks have up to 2^(12 + 31) bytes.
const CHUNK_MAX: u64 = 1 << 43;

/// Starts of attribute names that EROFS writes as a number: the place in this list.
const PREFIXES: [&[u8]; 7] = [
    b"",
    b"user.",
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"trusted.",
    b"lustre.",
    b"security.",
];
const ACL: [u8; 2] = [2, 3];
const LUSTRE: usize = 5;
const FILTER_SEED: u32 = 0x25bb_e08f;

/// EROFS's types of directory entries.
const REGULAR: u8 = 1;
const DIRECTORY: u8 = 2;
const CHARACTER: u8 = 3;
const BLOCK_DEVICE: u8 = 4;
const FIFO: u8 = 5;
const SOCKET: u8 = 6;
const SYMLINK: u8 = 7;

/// Layouts of an inode's content.
const PLAIN: u16 = 0;
const INLINE: u16 = 4;
const CHUNKED: u16 = 8;

/// Why a tree has no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnImage {
    /// An overlay whiteout (character device 0:0) that has several names.
    #[error("a whiteout (character device 0:0) has several names, which composefs refuses")]
    LinkedWhiteout,
    /// A file larger than one chunk.
    #[error("a file is larger than 8 TiB")]
    TooLarge,
    /// A name, an attribute or a link that does not fit its field.
    #[error("{0} is longer than EROFS can hold")]
    TooLong(&'static str),
}

/// The image of `tree`. What it takes in memory is about 200 bytes an inode.
///
/// Fails where the format cannot hold the tree.
pub fn image(tree: &Tree, version: Version) -> Result<Vec<u8>, NotAnImage> {
    let mut inodes = match version {
        Version::V1 => breadth_first(tree)?,
        Version::V2 => depth_first(tree)?,
    };
    let acl = inodes.iter().flat_map(|i| &i.attrs.own).any(|attr| ACL.contains(&attr.prefix));
    let shared = share(&mut inodes, version);
    let time = inodes.iter().map(|i| (i.meta.seconds as u64, i.meta.nanoseconds)).min();
    let writer = Writer { version, inodes, shared, time: time.unwrap_or_default() };
    let places = writer.places();
    Ok(writer.write(&places, acl && version == Version::V1))
}

/// An inode as it is to be written.
struct Inode<'t> {
    meta: &'t Meta,
    kind: Kind<'t>,
    links: u32,
    attrs: Attrs,
}

/// What an inode is, by how its content is stored.
enum Kind<'t> {
    Directory(Listing<'t>),
    File(&'t [u8]),
    External(u64),
    Symlink(&'t [u8]),
    /// A device, pipe or socket: its type and device number.
    Special(u8, u32),
    /// An overlay whiteout of the tree: an empty file with attributes that say so.
    Whiteout,
}

impl Kind<'_> {
    fn file_type(&self) -> u8 {
        match self {
            Kind::Directory(_) => DIRECTORY,
            Kind::File(_) | Kind::External(_) | Kind::Whiteout => REGULAR,
            Kind::Symlink(_) => SYMLINK,
            Kind::Special(file_type, _) => *file_type,
        }
    }

    fn format_bits(&self) -> u16 {
        match self.file_type() {
            REGULAR => 0o100_000,
            DIRECTORY => 0o040_000,
            CHARACTER => 0o020_000,
            BLOCK_DEVICE => 0o060_000,
            FIFO => 0o010_000,
            SOCKET => 0o140_000,
            _ => 0o120_000,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Kind::Directory(listing) => listing.size,
            Kind::File(bytes) | Kind::Symlink(bytes) => bytes.len() as u64,
            Kind::External(size) => *size,
            Kind::Special(..) | Kind::Whiteout => 0,
        }
    }
}

/// A directory's entries, cut into blocks.
#[derive(Default)]
struct Listing<'t> {
    blocks: Vec<Vec<Dirent<'t>>>,
    /// The last ones, where they are inline.
    inline: Vec<Dirent<'t>>,
    size: u64,
}

/// A directory entry: a name and the inode's place in the list of inodes.
#[derive(Clone, Copy)]
struct Dirent<'t> {
    name: &'t [u8],
    inode: usize,
    file_type: u8,
}

impl<'t> Listing<'t> {
    fn new(mut entries: Vec<Dirent<'t>>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.name);
        let mut blocks = Vec::new();
        let (mut block, mut used) = (Vec::new(), 0);
        for entry in entries {
            let takes = DIRENT + entry.name.len() as u64;
            if used + takes > BLOCK {
                blocks.push(std::mem::take(&mut block));
                used = 0;
            }
            block.push(entry);
            used += takes;
        }
        if used > INLINE_ENTRIES_MAX {
            blocks.push(std::mem::take(&mut block));
            used = 0;
        }
        let size = BLOCK * blocks.len() as u64 + used;
        Listing { blocks, inline: block, size }
    }

    fn entries(&self) -> impl Iterator<Item = &Dirent<'t>> {
        self.blocks.iter().flatten().chain(&self.inline)
    }
}

/// An extended attribute: its name is a prefix by number and the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attr {
    prefix: u8,
    suffix: Vec<u8>,
    value: Vec<u8>,
}

impl Attr {
    fn new(name: &[u8], value: &[u8], version: Version) -> Result<Self, NotAnImage> {
        // The C tool, which V1 follows, has no number for Lustre's.
        let known = |prefix: &usize| version == Version::V2 || *prefix != LUSTRE;
        let rest = |prefix: usize| Some((prefix, name.strip_prefix(PREFIXES[prefix])?));
        let found = (0..PREFIXES.len()).rev().filter(known).find_map(rest);
        let (prefix, suffix) = found.unwrap_or((0, name));
        if suffix.len() > usize::from(u8::MAX) || value.len() > usize::from(u16::MAX) {
            return Err(NotAnImage::TooLong("an extended attribute"));
        }
        Ok(Attr { prefix: prefix as u8, suffix: suffix.to_owned(), value: value.to_owned() })
    }

    /// Its bit in the filter of an inode's names.
    fn bit(&self) -> u32 {
        1 << (xxh32(&self.suffix, FILTER_SEED + u32::from(self.prefix)) % 32)
    }

    /// By the whole name, then by the value's length, then by the value: the C tool's order.
    fn by_name(&self, other: &Self) -> Ordering {
        let name = |attr: &Self| {
            let prefix = PREFIXES[usize::from(attr.prefix)];
            prefix.iter().copied().chain(attr.suffix.iter().copied()).collect::<Vec<u8>>()
        };
        let value = |attr: &Self| (attr.value.len(), attr.value.clone());
        name(self).cmp(&name(other)).then_with(|| value(self).cmp(&value(other)))
    }

    fn size(&self) -> u64 {
        (4 + self.suffix.len() as u64 + self.value.len() as u64).next_multiple_of(4)
    }

    fn write(&self, out: &mut Out) {
        out.put(&[self.suffix.len() as u8, self.prefix]);
        out.u16(self.value.len() as u16);
        out.put(&self.suffix);
        out.put(&self.value);
        out.align(4);
    }
}

/// The attributes of an inode.
#[derive(Default)]
struct Attrs {
    /// Those in the inode.
    own: Vec<Attr>,
    /// Places in the table of shared ones.
    shared: Vec<usize>,
    filter: u32,
}

impl Attrs {
    fn add(&mut self, name: &[u8], value: &[u8], version: Version) -> Result<(), NotAnImage> {
        let attr = Attr::new(name, value, version)?;
        self.filter |= attr.bit();
        self.own.push(attr);
        Ok(())
    }

    fn size(&self) -> u64 {
        match self.own.is_empty() && self.shared.is_empty() {
            true => 0,
            false => {
                let own: u64 = self.own.iter().map(Attr::size).sum();
                ATTRS_HEADER + 4 * self.shared.len() as u64 + own
            }
        }
    }

    /// The number in the inode's header.
    fn count(&self) -> u16 {
        match self.size() {
            0 => 0,
            size => (1 + (size - ATTRS_HEADER) / 4) as u16,
        }
    }

    fn write(&self, out: &mut Out, reference: impl Fn(usize) -> u32) {
        if self.size() == 0 {
            return;
        }
        out.u32(!self.filter);
        out.put(&[self.shared.len() as u8]);
        out.put(&[0; 7]);
        for place in &self.shared {
            out.u32(reference(*place));
        }
        for attr in &self.own {
            attr.write(out);
        }
    }
}

/// The inodes of a tree while they are collected.
struct Collector<'t> {
    tree: &'t Tree,
    version: Version,
    links: Vec<u32>,
    inodes: Vec<Inode<'t>>,
    /// Where each leaf is in `inodes`.
    of_leaf: Vec<Option<usize>>,
}

impl<'t> Collector<'t> {
    fn new(tree: &'t Tree, version: Version) -> Self {
        let of_leaf = vec![None; tree.leaves.len()];
        Collector { tree, version, links: links(tree), inodes: Vec::new(), of_leaf }
    }

    fn directory(&mut self, directory: &'t Directory) -> Result<usize, NotAnImage> {
        self.push(&directory.meta, Kind::Directory(Listing::default()), 0, None)
    }

    /// The place of a leaf, which is collected where it is met first.
    fn leaf(&mut self, leaf: usize, kind: Option<Kind<'t>>) -> Result<usize, NotAnImage> {
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

    fn push(
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

    fn entry(&self, name: &'t [u8], inode: usize) -> Result<Dirent<'t>, NotAnImage> {
        if name.len() > usize::from(u8::MAX) {
            return Err(NotAnImage::TooLong("a name"));
        }
        Ok(Dirent { name, inode, file_type: self.inodes[inode].kind.file_type() })
    }

    /// Gives a directory its entries, now that they have their places.
    fn fill(&mut self, directory: usize, parent: usize, mut entries: Vec<Dirent<'t>>) {
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
fn metacopy(digest: &Digest) -> Vec<u8> {
    let size = 4 + digest.len() as u8;
    // Version, length, flags, SHA-512.
    [&[0, size, 0, 2], &digest[..]].concat()
}

/// Where the file is in the store of objects.
fn redirect(digest: &Digest) -> Vec<u8> {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/{}/{}", &hex[..2], &hex[2..]).into_bytes()
}

/// V2: a directory, then each of its children with all below it.
fn depth_first(tree: &Tree) -> Result<Vec<Inode<'_>>, NotAnImage> {
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
fn stub_names() -> &'static [[u8; 2]; 256] {
    static NAMES: std::sync::OnceLock<[[u8; 2]; 256]> = std::sync::OnceLock::new();
    NAMES.get_or_init(|| {
        let digit = |n: usize| b"0123456789abcdef"[n];
        std::array::from_fn(|n| [digit(n >> 4), digit(n & 15)])
    })
}

/// V1: all of one depth before anything deeper.
fn breadth_first(tree: &Tree) -> Result<Vec<Inode<'_>>, NotAnImage> {
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
        let mut entries: Vec<(&[u8], Place)> = Vec::with_capacity(names.len() + 2);
        let mut hides = false;
        for (name, node) in names {
            let place = match node {
                None => Place::Known(all.stub(&tree.root.meta)?),
                Some(Node::Directory(below)) => {
                    let inode = all.directory(below)?;
                    queue.push_back((below, inode, own));
                    Place::Known(inode)
                }
                Some(Node::Leaf(leaf)) => {
                    let whiteout = tree.leaves[*leaf].content == Content::Character(0)
                        && !(own == root && all.looks_like_a_stub(name, *leaf));
                    hides |= whiteout;
                    match homes.get(leaf) {
                        // It is numbered where a walk in depth meets it first.
                        Some(home) if !std::ptr::eq(*home, directory) => Place::OfLeaf(*leaf),
                        _ if whiteout => Place::Known(all.whiteout(*leaf)?),
                        _ => Place::Known(all.leaf(*leaf, None)?),
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
        let known = |(name, place): (_, Place)| match place {
            Place::Known(inode) => all.entry(name, inode),
            Place::OfLeaf(leaf) => all.entry(name, all.of_leaf[leaf].unwrap_or_default()),
        };
        let entries = entries.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
        all.fill(own, parent, entries);
    }
    Ok(all.inodes)
}

/// The inode of an entry, which may be numbered later.
enum Place {
    Known(usize),
    OfLeaf(usize),
}

impl<'t> Collector<'t> {
    /// One of the whiteouts in the root.
    fn stub(&mut self, root: &'t Meta) -> Result<usize, NotAnImage> {
        let place = self.push(root, Kind::Special(CHARACTER, 0), 1, None)?;
        let label = |attr: &Attr| attr.prefix == 6 && attr.suffix == b"selinux";
        let attrs = &mut self.inodes[place].attrs;
        attrs.own.retain(label);
        attrs.filter = attrs.own.iter().fold(0, |filter, attr| filter | attr.bit());
        Ok(place)
    }

    /// Whether a whiteout in the root is one that an earlier image brought along.
    fn looks_like_a_stub(&self, name: &[u8], leaf: usize) -> bool {
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
    fn whiteout(&mut self, leaf: usize) -> Result<usize, NotAnImage> {
        let place = self.leaf(leaf, Some(Kind::Whiteout))?;
        let attrs = &mut self.inodes[place].attrs;
        attrs.add(b"trusted.overlay.overlay.whiteout", b"", Version::V1)?;
        attrs.add(b"user.overlay.whiteout", b"", Version::V1)?;
        Ok(place)
    }

    /// Marks a directory that has whiteouts.
    fn hides(&mut self, directory: usize) -> Result<(), NotAnImage> {
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
fn homes<'t>(tree: &'t Tree, links: &[u32]) -> BTreeMap<usize, &'t Directory> {
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

/// Takes attributes that several inodes have into one table, which is given.
fn share(inodes: &mut [Inode<'_>], version: Version) -> Vec<Attr> {
    if version == Version::V1 {
        for inode in inodes.iter_mut() {
            inode.attrs.own.sort_by(Attr::by_name);
        }
    }
    let mut users: BTreeMap<&Attr, usize> = BTreeMap::new();
    for attr in inodes.iter().flat_map(|inode| &inode.attrs.own) {
        *users.entry(attr).or_default() += 1;
    }
    let several = users.into_iter().filter(|(_, users)| *users > 1);
    let mut table: Vec<Attr> = several.map(|(attr, _)| attr.clone()).collect();
    if version == Version::V1 {
        table.sort_by(|a, b| b.by_name(a));
    }
    let places: BTreeMap<&Attr, usize> = table.iter().zip(0..).collect();
    for inode in inodes.iter_mut() {
        let Attrs { own, shared, .. } = &mut inode.attrs;
        own.retain(|attr| match places.get(attr) {
            Some(place) => {
                shared.push(*place);
                false
            }
            None => true,
        });
    }
    drop(places);
    table
}

/// What is written, and what all inodes have in common.
struct Writer<'t> {
    version: Version,
    inodes: Vec<Inode<'t>>,
    shared: Vec<Attr>,
    /// The earliest time of all: an inode of that time may be compact.
    time: (u64, u32),
}

/// Where everything is, in bytes from the image's beginning.
struct Places {
    inodes: Vec<u64>,
    inodes_end: u64,
    shared: Vec<u64>,
    blocks: Vec<u64>,
    end: u64,
}

/// How an inode's content is stored.
struct Layout {
    layout: u16,
    /// Bytes right behind the attributes.
    inline: u64,
    /// Blocks elsewhere.
    blocks: u64,
}

impl Writer<'_> {
    fn is_compact(&self, inode: &Inode<'_>) -> bool {
        let short = |number: u32| number <= u32::from(u16::MAX);
        self.version == Version::V1
            && (inode.meta.seconds as u64, inode.meta.nanoseconds) == self.time
            && short(inode.links)
            && short(inode.meta.uid)
            && short(inode.meta.gid)
            && inode.kind.size() <= u64::from(u32::MAX)
    }

    /// Bytes of an inode before its content.
    fn head(&self, inode: &Inode<'_>) -> u64 {
        let header = if self.is_compact(inode) { 32 } else { 64 };
        header + inode.attrs.size()
    }

    fn layout(&self, inode: &Inode<'_>) -> Layout {
        let size = inode.kind.size();
        match &inode.kind {
            Kind::Directory(listing) => {
                let blocks = listing.blocks.len() as u64;
                let layout = if listing.inline.is_empty() { PLAIN } else { INLINE };
                Layout { layout, inline: size - blocks * BLOCK, blocks }
            }
            Kind::File(_) if size > 0 => Layout { layout: INLINE, inline: size, blocks: 0 },
            // One chunk, of which nothing is in this image.
            Kind::External(_) => Layout { layout: CHUNKED, inline: 4, blocks: 0 },
            Kind::Symlink(_) if self.version == Version::V1 && self.head(inode) + size >= BLOCK => {
                Layout { layout: PLAIN, inline: 0, blocks: 1 }
            }
            Kind::Symlink(_) => Layout { layout: INLINE, inline: size, blocks: 0 },
            Kind::File(_) | Kind::Special(..) | Kind::Whiteout => {
                Layout { layout: PLAIN, inline: 0, blocks: 0 }
            }
        }
    }

    fn places(&self) -> Places {
        let mut at = SUPERBLOCK + 128;
        let mut inodes = Vec::with_capacity(self.inodes.len());
        for inode in &self.inodes {
            at = self.begin(inode, at.next_multiple_of(SLOT));
            inodes.push(at);
            at = (at + self.head(inode) + self.layout(inode).inline).next_multiple_of(SLOT);
        }
        let inodes_end = at;
        let mut shared = Vec::with_capacity(self.shared.len());
        for attr in &self.shared {
            shared.push(at);
            at += attr.size();
        }
        at = at.next_multiple_of(BLOCK);
        let mut blocks = Vec::with_capacity(self.inodes.len());
        for inode in &self.inodes {
            blocks.push(at);
            at += self.layout(inode).blocks * BLOCK;
        }
        Places { inodes, inodes_end, shared, blocks, end: at }
    }

    /// Where an inode begins, at `at` or later: what is inline must not cross into another block.
    fn begin(&self, inode: &Inode<'_>, at: u64) -> u64 {
        let (head, size) = (self.head(inode), inode.kind.size());
        let Layout { layout, inline, blocks } = self.layout(inode);
        let symlink = matches!(inode.kind, Kind::Symlink(_));
        match self.version {
            Version::V2 if layout == INLINE => {
                let (last, end) = (at + head - 1, at + head + size % BLOCK);
                match last / BLOCK == end / BLOCK {
                    true => at,
                    false => (at + BLOCK - last % BLOCK).next_multiple_of(SLOT),
                }
            }
            Version::V2 => at,
            // A link begins in a block of its own rather than be cut, also where its target is not
            // behind it any more.
            Version::V1 if symlink && blocks > 0 => {
                match at / BLOCK == (at + head + size - 1) / BLOCK {
                    true => at,
                    false => at.next_multiple_of(BLOCK),
                }
            }
            Version::V1 if symlink => match at % BLOCK + head + inline > BLOCK {
                true => at.next_multiple_of(BLOCK),
                false => at,
            },
            Version::V1 => {
                let content = at + head;
                let room = content.next_multiple_of(BLOCK) - content;
                match room > 0 && room < inline {
                    true => at + room.next_multiple_of(SLOT),
                    false => at,
                }
            }
        }
    }

    fn write(&self, places: &Places, acl: bool) -> Vec<u8> {
        let mut out = Out(Vec::with_capacity(places.end as usize));
        self.write_header(&mut out, acl);
        self.write_superblock(&mut out, places);
        for (number, inode) in self.inodes.iter().enumerate() {
            out.to(places.inodes[number]);
            self.write_inode(&mut out, number, inode, places);
        }
        out.to(places.inodes_end);
        for attr in &self.shared {
            attr.write(&mut out);
        }
        for (inode, at) in self.inodes.iter().zip(&places.blocks) {
            out.to(*at);
            write_blocks(&mut out, inode, self.layout(inode).blocks, places);
        }
        out.to(places.end);
        out.0
    }

    fn write_header(&self, out: &mut Out, acl: bool) {
        let version = match self.version {
            Version::V1 => 1,
            Version::V2 => 2,
        };
        for word in [0xd078_629a, 1, u32::from(acl), version] {
            out.u32(word);
        }
        out.to(SUPERBLOCK);
    }

    fn write_superblock(&self, out: &mut Out, places: &Places) {
        let (time, attrs) = match self.version {
            Version::V1 => (self.time, (places.inodes_end / BLOCK) as u32),
            Version::V2 => ((0, 0), 0),
        };
        out.u32(0xe0f5_e1e2);
        out.u32(0);
        // Times, and filters of attribute names.
        out.u32(2 | 4);
        out.put(&[BLOCK.trailing_zeros() as u8, 0]);
        out.u16((places.inodes[0] / SLOT) as u16);
        out.u64(self.inodes.len() as u64);
        out.u64(time.0);
        out.u32(time.1);
        out.u32((places.end / BLOCK) as u32);
        out.u32(0);
        out.u32(attrs);
        out.to(SUPERBLOCK + 128);
    }

    fn write_inode(&self, out: &mut Out, number: usize, inode: &Inode<'_>, places: &Places) {
        let compact = self.is_compact(inode);
        let Layout { layout, blocks, .. } = self.layout(inode);
        let block = (places.blocks[number] / BLOCK) as u32;
        let value = match inode.kind {
            Kind::External(size) => self.chunk_bits(size),
            Kind::Special(_, device) => device,
            _ if blocks > 0 => block,
            _ => 0,
        };
        let serial = match self.version {
            Version::V1 => number as u32,
            Version::V2 => (places.inodes[number] / SLOT) as u32,
        };
        let meta = inode.meta;
        out.u16(layout | u16::from(!compact));
        out.u16(inode.attrs.count());
        out.u16(inode.kind.format_bits() | self.mode(inode));
        if compact {
            out.u16(inode.links as u16);
            out.u32(inode.kind.size() as u32);
            out.u32(0);
            out.u32(value);
            out.u32(serial);
            out.u16(meta.uid as u16);
            out.u16(meta.gid as u16);
            out.u32(0);
        } else {
            out.u16(0);
            out.u64(inode.kind.size());
            out.u32(value);
            out.u32(serial);
            out.u32(meta.uid);
            out.u32(meta.gid);
            out.u64(meta.seconds as u64);
            out.u32(if self.version == Version::V1 { meta.nanoseconds } else { 0 });
            out.u32(inode.links);
            out.put(&[0; 16]);
        }
        inode.attrs.write(out, |place| self.reference(places, place));
        match &inode.kind {
            Kind::Directory(listing) => write_entries(out, &listing.inline, places),
            Kind::File(bytes) => out.put(bytes),
            Kind::External(_) => out.u32(u32::MAX),
            Kind::Symlink(target) if blocks == 0 => out.put(target),
            Kind::Symlink(_) | Kind::Special(..) | Kind::Whiteout => {}
        }
    }

    /// The whiteouts in the root have a mode of their own.
    fn mode(&self, inode: &Inode<'_>) -> u16 {
        let stub = std::ptr::eq(inode.meta, self.inodes[0].meta);
        match inode.kind {
            Kind::Special(..) if stub => 0o644,
            _ => inode.meta.mode,
        }
    }

    /// How a shared attribute is named: its place in words of four bytes, from where V1 and V2 each
    /// begin to count.
    fn reference(&self, places: &Places, shared: usize) -> u32 {
        let from = match self.version {
            Version::V1 => places.inodes_end / BLOCK * BLOCK,
            Version::V2 => 0,
        };
        ((places.shared[shared] - from) / 4) as u32
    }

    /// The chunk's size as a power of two, counted from one block.
    fn chunk_bits(&self, size: u64) -> u32 {
        match self.version {
            Version::V1 => size.next_power_of_two().max(BLOCK).ilog2() - BLOCK.ilog2(),
            Version::V2 => 31,
        }
    }
}

fn write_blocks(out: &mut Out, inode: &Inode<'_>, blocks: u64, places: &Places) {
    match &inode.kind {
        Kind::Directory(listing) => {
            for block in &listing.blocks {
                write_entries(out, block, places);
                out.align(BLOCK);
            }
        }
        Kind::Symlink(target) if blocks > 0 => out.put(target),
        _ => {}
    }
}

/// Entries: all their heads, then all their names.
fn write_entries(out: &mut Out, entries: &[Dirent<'_>], places: &Places) {
    let mut name = DIRENT * entries.len() as u64;
    for entry in entries {
        out.u64(places.inodes[entry.inode] / SLOT);
        out.u16(name as u16);
        out.put(&[entry.file_type, 0]);
        name += entry.name.len() as u64;
    }
    for entry in entries {
        out.put(entry.name);
    }
}

/// The image as far as it is written; numbers are little-endian.
struct Out(Vec<u8>);

impl Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn u16(&mut self, number: u16) {
        self.put(&number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.put(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    /// Zeros up to a place.
    fn to(&mut self, place: u64) {
        self.0.resize(place as usize, 0);
    }

    fn align(&mut self, to: u64) {
        self.to((self.0.len() as u64).next_multiple_of(to));
    }
}
