//! The inside of an image as a tree, for plugins that look around.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::format::Malformed;
use crate::format::initramfs::{self, Image, spooled};
use crate::tree::{Entry, Kind, Time, Tree};

/// An image that was read, as a tree. Of archives with the same path, the last counts, as for the
/// kernel.
pub struct ImageTree<'a, S> {
    nodes: BTreeMap<&'a [u8], (&'a initramfs::Entry, u64, u32)>,
    spool: &'a Mutex<S>,
}

impl<'a, S> ImageTree<'a, S> {
    /// The tree of `image`, whose content is in `spool`.
    ///
    /// # Errors
    ///
    /// If its hard links contradict each other.
    pub fn new(image: &'a Image, spool: &'a Mutex<S>) -> Result<Self, Malformed> {
        Ok(ImageTree { nodes: image.contents()?, spool })
    }

    /// All paths, sorted bytewise.
    pub fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        self.nodes.keys().copied()
    }
}

/// An entry of an image as plugins see it.
pub(super) fn entry(entry: &initramfs::Entry, size: u32) -> Entry {
    let header = &entry.header;
    let name = if entry.name == b"." { &[][..] } else { &entry.name };
    Entry {
        path: PathBuf::from(OsString::from_vec(name.to_vec())),
        kind: Kind::of_mode(header.mode),
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        size: size.into(),
        mtime: Some(Time { sec: header.mtime.into(), nsec: 0 }),
        inode: None,
    }
}

fn name(path: &Path) -> &[u8] {
    match path.as_os_str().as_bytes() {
        b"" => b".",
        name => name,
    }
}

impl<S: Read + Seek> ImageTree<'_, S> {
    fn content(&self, path: &Path, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        let node = self.nodes.get(name(path));
        let Some((_, data, size)) = node.filter(|n| Kind::of_mode(n.0.header.mode) == kind) else {
            return Ok(None);
        };
        spooled(self.spool, *data, *size).map(Some)
    }
}

impl<S: Read + Seek + Send> Tree for ImageTree<'_, S> {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self.nodes.get(name(path)).map(|(found, _, size)| entry(found, *size)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut prefix = path.as_os_str().as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let below = self.nodes.range(&prefix[..]..).map_while(|(n, _)| n.strip_prefix(&prefix[..]));
        let first = |rest: &[u8]| rest.split(|b| *b == b'/').next().map(<[u8]>::to_vec);
        let names: BTreeSet<Vec<u8>> =
            below.filter_map(first).filter(|n| !n.is_empty() && n != b".").collect();
        Ok(names.iter().map(|n| OsStr::from_bytes(n).to_owned()).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.content(path, Kind::File)
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let target = self.content(path, Kind::Symlink)?;
        Ok(target.map(|t| PathBuf::from(OsString::from_vec(t))))
    }

    fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }
}
