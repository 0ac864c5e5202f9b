//! The two directories of a catalog, on disk or in an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use crate::format::tar::Type;
use crate::image::unpack::{Tree as Unpacked, real};
use crate::source::oci::Layer;
use crate::tree::Kind;

/// The most files and directories of one catalog.
const MOST_ITEMS: usize = 500_000;

/// One directory: the items by their paths below it (the directory itself has the empty path).
#[derive(Clone)]
pub struct Directory<'a> {
    items: BTreeMap<Key, Item<'a>>,
}

/// A path as names, so that the order is that of a walk: every directory's names bytewise.
type Key = Vec<Vec<u8>>;

/// What is at a path.
#[derive(Clone)]
pub struct Item<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    /// Bytes of content of a file.
    pub size: u64,
    source: Source<'a>,
}

#[derive(Clone)]
enum Source<'a> {
    Nothing,
    Disk(PathBuf),
    Layer(&'a Layer, usize),
    Bytes(Vec<u8>),
}

impl Item<'_> {
    /// The content of a file.
    pub fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.source {
            Source::Nothing => Box::new(io::empty()),
            Source::Disk(path) => Box::new(File::open(path)?),
            Source::Bytes(bytes) => Box::new(&bytes[..]),
            Source::Layer(layer, member) => match layer.content(*member) {
                Some(part) => Box::new(part),
                None => return Err(io::Error::other("the layer's content was not kept")),
            },
        })
    }

    /// The whole content, at most `limit` bytes.
    pub fn read(&self, limit: u64) -> anyhow::Result<Vec<u8>> {
        ensure!(self.size <= limit, "file of {} bytes; more than {limit} are refused", self.size);
        let mut bytes = Vec::new();
        self.open()?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<'a> Directory<'a> {
    /// Reads the directory at `root`; `None` if it does not exist. Links in it are not followed.
    pub fn on_disk(root: &Path) -> anyhow::Result<Option<Self>> {
        if !root.is_dir() {
            return Ok(None);
        }
        let mut items = BTreeMap::new();
        // The root itself may be a link, as opm allows.
        let root = root.canonicalize().with_context(|| format!("opening {}", root.display()))?;
        for entry in walkdir::WalkDir::new(&root) {
            let entry = entry.with_context(|| format!("reading {}", root.display()))?;
            let metadata = entry.metadata()?;
            let mode = metadata.permissions().mode();
            let kind = Kind::of_mode(mode);
            let below = entry.path().strip_prefix(&root).unwrap_or(entry.path());
            let size = if kind == Kind::File { metadata.len() } else { 0 };
            let source = Source::Disk(entry.path().to_owned());
            let item = Item { kind, mode: mode & 0o7777, size, source };
            items.insert(key(below.as_os_str().as_bytes()), item);
            ensure!(items.len() <= MOST_ITEMS, "more than {MOST_ITEMS} files: refused");
        }
        Ok(Some(Directory { items }))
    }

    /// The directory `root` of an unpacked image, reached through links if necessary; `None` if it
    /// does not exist.
    pub fn in_image(
        root: &str,
        tree: &Unpacked,
        layers: &'a [Layer],
    ) -> anyhow::Result<Option<Self>> {
        let root =
            real(tree, layers, root.as_bytes()).map_err(|why| anyhow::anyhow!("{root}: {why}"))?;
        let root = &root[..];
        match tree.get(root).map(|n| n.kind) {
            None => return Ok(None),
            Some(Type::Dir) => {}
            Some(_) => bail!("{} is not a directory in the image", String::from_utf8_lossy(root)),
        }
        let below = [root, b"/"].concat();
        let inside = |path: &[u8]| path == root || path.starts_with(&below);
        let mut items = BTreeMap::new();
        let start: Arc<[u8]> = root.into();
        for (path, node) in tree.range(start..).take_while(|(p, _)| p.starts_with(root)) {
            if !inside(path) {
                continue;
            }
            let kind = match node.kind {
                Type::File => Kind::File,
                Type::Dir => Kind::Dir,
                Type::Symlink => Kind::Symlink,
                _ => Kind::Other,
            };
            let layer = layers.get(node.layer).zip(node.member);
            let size = layer.map_or(0, |(layer, member)| layer.members[member].size);
            let source = match layer {
                Some((layer, member)) if kind == Kind::File => Source::Layer(layer, member),
                _ => Source::Nothing,
            };
            let size = if kind == Kind::File { size } else { 0 };
            let rest = path.get(root.len() + 1..).unwrap_or_default();
            items.insert(key(rest), Item { kind, mode: node.mode, size, source });
        }
        Ok(Some(Directory { items }))
    }

    /// A directory made up of (path, mode, content), for tests and for writing: paths ending in a
    /// slash, and the empty one, are directories.
    pub fn made_of(items: impl IntoIterator<Item = (String, u32, Vec<u8>)>) -> Self {
        let item = |(path, mode, bytes): (String, u32, Vec<u8>)| {
            let dir = path.is_empty() || path.ends_with('/');
            let kind = if dir { Kind::Dir } else { Kind::File };
            let item = Item { kind, mode, size: bytes.len() as u64, source: Source::Bytes(bytes) };
            (key(path.trim_end_matches('/').as_bytes()), item)
        };
        Directory { items: items.into_iter().map(item).collect() }
    }

    /// Paths and items in the order of opm's walk: depth first, names bytewise.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<u8>, &Item<'a>)> {
        self.items.iter().map(|(key, item)| (key.join(&b'/'), item))
    }

    /// The item at `path`.
    pub fn get(&self, path: &str) -> Option<&Item<'a>> {
        self.items.get(&key(path.as_bytes()))
    }

    /// The directory `name` in this one.
    pub fn subdirectory(&self, name: &str) -> Option<Self> {
        let above = key(name.as_bytes());
        let inside = self.items.range(above.clone()..).take_while(|(k, _)| k.starts_with(&above));
        let items: BTreeMap<Key, Item<'a>> =
            inside.map(|(k, item)| (k[above.len()..].to_vec(), item.clone())).collect();
        items.get(&Key::new()).is_some_and(|i| i.kind == Kind::Dir).then_some(Directory { items })
    }

    /// Changes mode bits: `change` gets path, kind and mode, and returns the new mode.
    pub fn with_modes(&self, change: impl Fn(&[u8], Kind, u32) -> u32) -> Self {
        let mut changed = self.clone();
        for (key, item) in &mut changed.items {
            item.mode = change(&key.join(&b'/'), item.kind, item.mode);
        }
        changed
    }

    /// The total size of all files.
    pub fn bytes(&self) -> u64 {
        self.items.values().map(|i| i.size).sum()
    }
}

fn key(path: &[u8]) -> Key {
    path.split(|&b| b == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect()
}
