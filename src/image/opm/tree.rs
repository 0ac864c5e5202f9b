//! The two directories of a catalog, in whatever tree they are: on a disk or in an image.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::disk::Root;
use crate::image::flattened::Flattened;
use crate::image::unpack::real;
use crate::source::dir;
use crate::source::oci::Layer;
use crate::tree::{Entry, Kind, Tree, show};

/// Files and directories that one catalog may have.
const MOST_ITEMS: usize = 500_000;

/// One directory: paths below it (the directory itself has the empty one) and what is there.
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
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    tree: &'a dyn Tree,
    path: PathBuf,
}

impl<'a> Item<'a> {
    fn new(tree: &'a dyn Tree, entry: Entry) -> Self {
        let Entry { kind, uid, gid, path, .. } = entry;
        let size = if kind == Kind::File { entry.size } else { 0 };
        Item { kind, mode: entry.mode & 0o7777, size, uid, gid, tree, path }
    }

    /// The content of a file; nothing of anything else.
    pub fn open(&self) -> io::Result<Box<dyn Read>> {
        if self.kind != Kind::File {
            return Ok(Box::new(io::empty()));
        }
        let content = self.tree.open(&self.path)?;
        Ok(content.ok_or(io::ErrorKind::NotFound)?)
    }

    /// The whole content, at most `limit` bytes.
    pub fn read(&self, limit: u64) -> anyhow::Result<Vec<u8>> {
        ensure!(self.size <= limit, "file of {} bytes; more than {limit} are refused", self.size);
        let mut bytes = Vec::new();
        self.open()?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Opens the directory at `path` on a disk as a tree; `None` if there is none.
pub(super) fn on_disk(path: &Path) -> anyhow::Result<Option<dir::Directory>> {
    if !path.is_dir() {
        return Ok(None);
    }
    // The root itself may be a link, as opm allows.
    let root = Root::open(path).with_context(|| format!("opening {}", path.display()))?;
    let tree = dir::Directory::new(root);
    if let Some(remark) = tree.remarks().first() {
        bail!("{}: {remark}; opm would read it: copy the catalog", path.display());
    }
    Ok(Some(tree))
}

impl<'a> Directory<'a> {
    /// Reads the directory at `root` in `tree`; `None` if nothing is there. Links in it are not
    /// followed.
    pub fn of(tree: &'a dyn Tree, root: &Path) -> anyhow::Result<Option<Self>> {
        let mut items = BTreeMap::new();
        let mut left = vec![root.to_owned()];
        while let Some(path) = left.pop() {
            let reading = || format!("reading {}", show(&path));
            let Some(entry) = tree.lookup(&path).with_context(reading)? else { continue };
            match entry.kind {
                Kind::Dir => {
                    let names = tree.list(&path).with_context(reading)?;
                    left.extend(names.iter().map(|name| path.join(name)));
                }
                _ if items.is_empty() => bail!("{} is not a directory in the image", show(root)),
                _ => {}
            }
            let below = path.strip_prefix(root).unwrap_or(&path);
            items.insert(key(below.as_os_str().as_bytes()), Item::new(tree, entry));
            ensure!(items.len() <= MOST_ITEMS, "more than {MOST_ITEMS} files: refused");
        }
        Ok((!items.is_empty()).then_some(Directory { items }))
    }

    /// The directory `root` of an unpacked image, links to it followed; `None` if there is none.
    pub fn in_image(root: &str, tree: &'a Flattened<&[Layer]>) -> anyhow::Result<Option<Self>> {
        let real = real(tree.nodes(), tree.layers(), root.as_bytes());
        let real = real.map_err(|why| anyhow::anyhow!("{root}: {why}"))?;
        Self::of(tree, Path::new(std::ffi::OsStr::from_bytes(&real)))
    }

    /// Paths and items in the order of opm's walk: depth first, names bytewise.
    pub fn iter(&self) -> impl Iterator<Item = (Vec<u8>, &Item<'a>)> {
        self.items.iter().map(|(key, item)| (key.join(&b'/'), item))
    }

    /// What is at `path`.
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

    /// The same with other mode bits: `change` gets path, kind and mode, and gives the mode.
    pub fn with_modes(&self, change: impl Fn(&[u8], Kind, u32) -> u32) -> Self {
        let mut changed = self.clone();
        for (key, item) in &mut changed.items {
            item.mode = change(&key.join(&b'/'), item.kind, item.mode);
        }
        changed
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.items.values().map(|i| i.size).sum()
    }
}

fn key(path: &[u8]) -> Key {
    path.split(|&b| b == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect()
}
