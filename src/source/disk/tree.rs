//! The tree of a disk: every name of every file system that is read, each where it is mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, Part};
use crate::format::filesystem::{FileSystem, Inode};
use crate::tree::digest::PathBudget;
use crate::tree::{Entry, Kind, Time, Tree, WHOLE_MAX};

/// Bytes of all contents, at most: a small image can claim any number of them.
const CONTENT_MAX: u64 = 256 << 30;

/// What is at a path: an inode of a part, or a directory that only holds others.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The part's place in the list and the handle of the inode in it.
    pub at: Option<(usize, u64)>,
    /// What it says.
    pub inode: Inode,
}

/// The tree of a disk.
pub struct DiskTree {
    disk: Arc<Disk>,
    names: BTreeMap<PathBuf, Vec<OsString>>,
}

/// Reads the names and inodes of every file system, and says what is left out.
///
/// # Errors
///
/// If one is damaged, where directories lead to one another, and as [`PathBudget::add`] says.
pub(super) fn read(parts: &[Part]) -> io::Result<(BTreeMap<PathBuf, Node>, Vec<String>)> {
    let (mut nodes, mut remarks) = (BTreeMap::new(), Vec::new());
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|n| parts[*n].place.clone());
    for n in order {
        let part = &parts[n];
        if let Some(why) = &part.refused {
            remarks.push(format!("{part}: {why}; its bytes are compared"));
        }
        let (Some(filesystem), Some(place)) = (&part.filesystem, &part.place) else { continue };
        let mut found = Names::of(&**filesystem)
            .map_err(|e| io::Error::new(e.kind(), format!("{part}: {e}")))?;
        if place.as_os_str().is_empty() {
            remarks.extend(found.show_deployment());
        }
        remarks.extend(found.others.iter().map(|line| format!("{part}: {line}")));
        let place = free(&nodes, place, n);
        let below = |path: &Path| match path.as_os_str().is_empty() {
            true => place.clone(),
            false => place.join(path),
        };
        let placed = found
            .nodes
            .into_iter()
            .map(|(path, (handle, inode))| (below(&path), Node { at: Some((n, handle)), inode }));
        nodes.extend(placed);
    }
    add_parents(&mut nodes);
    Ok((nodes, remarks))
}

impl DiskTree {
    /// The tree of `disk`.
    pub fn new(disk: Arc<Disk>) -> Self {
        let mut names: BTreeMap<PathBuf, Vec<OsString>> = BTreeMap::new();
        for path in disk.nodes.keys() {
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                names.entry(parent.to_owned()).or_default().push(name.to_owned());
            }
        }
        names.values_mut().for_each(|names| names.sort());
        DiskTree { disk, names }
    }

    fn at(&self, path: &Path) -> Option<(&Node, &dyn FileSystem, u64)> {
        let node = self.disk.nodes.get(path)?;
        let (part, handle) = node.at?;
        Some((node, self.disk.parts[part].filesystem.as_deref()?, handle))
    }

    /// The same error, with the partition it happened in.
    fn located(&self, path: &Path, error: io::Error) -> io::Error {
        match self.disk.nodes.get(path).and_then(|node| node.at) {
            Some((part, _)) => {
                io::Error::new(error.kind(), format!("{}: {error}", self.disk.parts[part]))
            }
            None => error,
        }
    }

    fn content(&self, path: &Path, format: u32, most: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((node, filesystem, handle)) = self.at(path) else { return Ok(None) };
        if node.inode.mode & 0o170_000 != format {
            return Ok(None);
        }
        if node.inode.size > most {
            let what = format!("{} bytes are more than are read whole", node.inode.size);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let mut out = Vec::new();
        let read = filesystem.stream(handle, &mut |piece| out.extend_from_slice(piece));
        read.map_err(|e| self.located(path, e))?;
        Ok(Some(out))
    }
}

/// The place of a part, another one where it would cover names that are there.
fn free(nodes: &BTreeMap<PathBuf, Node>, place: &Path, n: usize) -> PathBuf {
    let covers = !place.as_os_str().is_empty()
        && nodes.range(place.to_owned()..).nth(1).is_some_and(|(path, _)| path.starts_with(place))
        || nodes.get(place).is_some_and(|node| !node.inode.is_dir());
    if covers { PathBuf::from(format!("partition-{}", n + 1)) } else { place.to_owned() }
}

/// Adds the directories above each place that are in no file system.
fn add_parents(nodes: &mut BTreeMap<PathBuf, Node>) {
    let inode = Inode {
        number: 0,
        mode: 0o040_755,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: Time { sec: 0, nsec: 0 },
        links: 1,
        device: 0,
    };
    let paths: BTreeSet<PathBuf> =
        nodes.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
    for path in paths.into_iter().chain([PathBuf::new()]) {
        nodes.entry(path).or_insert(Node { at: None, inode });
    }
}

/// The names of one file system.
struct Names {
    nodes: BTreeMap<PathBuf, (u64, Inode)>,
    /// Device nodes, pipes and sockets, which no commit holds.
    others: Vec<String>,
}

impl Names {
    fn of(filesystem: &dyn FileSystem) -> io::Result<Self> {
        let (mut nodes, mut others) = (BTreeMap::new(), Vec::new());
        let mut paths = PathBudget::default();
        let (mut dirs, mut files) = (BTreeSet::new(), BTreeSet::new());
        let mut content = 0_u64;
        let mut todo = vec![(PathBuf::new(), filesystem.root())];
        while let Some((path, handle)) = todo.pop() {
            let inode = filesystem.inode(handle)?;
            let wrong = |what: &str| {
                let text = format!("/{}: {what}", crate::tree::show(&path));
                io::Error::new(io::ErrorKind::InvalidData, text)
            };
            match Kind::of_mode(inode.mode) {
                Kind::Dir => {
                    if !dirs.insert(inode.number) {
                        return Err(wrong("a directory that is in another place, too"));
                    }
                    for (name, below) in filesystem.entries(handle)? {
                        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                            return Err(wrong("a name that cannot be one"));
                        }
                        let below_path = path.join(OsStr::from_bytes(&name));
                        paths.add(&below_path)?;
                        todo.push((below_path, below));
                    }
                }
                Kind::Other if path.as_os_str().is_empty() => {
                    return Err(wrong("the root is no directory"));
                }
                Kind::Other => {
                    let device = inode.device;
                    let (major, minor) =
                        (device >> 8 & 0xfff, device & 0xff | device >> 12 & !0xff);
                    others.push(format!(
                        "/{}: a device node, FIFO or socket (mode {:06o}, device {major}:{minor}), \
                         not compared",
                        crate::tree::show(&path),
                        inode.mode,
                    ));
                    continue;
                }
                Kind::File | Kind::Symlink => {
                    if files.insert(inode.number) {
                        content = content.saturating_add(inode.size);
                    }
                    if content > CONTENT_MAX {
                        return Err(wrong("claims to have more than 256 GiB with those before it"));
                    }
                }
            }
            if nodes.insert(path.clone(), (handle, inode)).is_some() {
                return Err(wrong("two names that are one"));
            }
        }
        others.sort();
        Ok(Names { nodes, others })
    }

    /// Shows a deployment of ostree as the running system would see it: at the root, with the rest of
    /// the file system at `sysroot`, without the repository's objects, which are names of the same
    /// files. Gives what was done.
    fn show_deployment(&mut self) -> Option<String> {
        let of_deployment = |path: &&PathBuf| {
            let parts: Vec<&[u8]> = path.iter().map(OsStr::as_bytes).collect();
            let is_name = |name: &[u8]| {
                let (sum, serial) = name.split_at_checked(64)?;
                let hex = sum.iter().all(u8::is_ascii_hexdigit);
                Some(
                    hex && serial.len() > 1
                        && serial[0] == b'.'
                        && serial[1..].iter().all(u8::is_ascii_digit),
                )
            };
            parts.len() == 5
                && [parts[0], parts[1], parts[3]] == [b"ostree", &b"deploy"[..], b"deploy"]
                && is_name(parts[4]) == Some(true)
        };
        let dirs = self.nodes.iter().filter(|(_, (_, inode))| inode.is_dir()).map(|(path, _)| path);
        let mut found = dirs.filter(of_deployment).cloned();
        let deployment = found.next()?;
        if found.next().is_some() {
            return Some("several deployments of ostree: each is compared by its name".to_owned());
        }
        drop(found);
        let objects = Path::new("ostree/repo/objects");
        let old = std::mem::take(&mut self.nodes);
        let (mut left_out, mut deployed) = (0, Vec::new());
        for (path, node) in old {
            match path.strip_prefix(&deployment) {
                Ok(rest) => deployed.push((rest.to_owned(), node)),
                Err(_) if path != objects && path.starts_with(objects) => left_out += 1,
                Err(_) => drop(self.nodes.insert(Path::new("sysroot").join(path), node)),
            }
        }
        if let Some(node) = self.nodes.remove(Path::new("sysroot/")) {
            self.nodes.insert("sysroot".into(), node);
        }
        for (path, node) in deployed {
            self.nodes.entry(path).or_insert(node);
        }
        let name = deployment.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Some(format!(
            "deployment {name} is compared as the running system sees it, the disk's root at \
             /sysroot without the {left_out} names of the repository's objects"
        ))
    }
}

impl Tree for DiskTree {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let Some(Node { inode, .. }) = self.disk.nodes.get(path) else { return Ok(None) };
        let kind = Kind::of_mode(inode.mode);
        Ok(Some(Entry {
            path: path.to_owned(),
            kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            size: if kind == Kind::Dir { 0 } else { inode.size },
            mtime: Some(inode.mtime),
            inode: None,
        }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        Ok(self.names.get(path).cloned().unwrap_or_default())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.content(path, 0o100_000, WHOLE_MAX)
    }

    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some((node, filesystem, handle)) = self.at(path) else { return Ok(false) };
        if Kind::of_mode(node.inode.mode) != Kind::File {
            return Ok(false);
        }
        filesystem.stream(handle, sink).map_err(|e| self.located(path, e))?;
        Ok(true)
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let target = self.content(path, 0o120_000, 65_536)?;
        Ok(target.map(|target| PathBuf::from(OsString::from_vec(target))))
    }

    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some((_, filesystem, handle)) = self.at(path) else { return Ok(Vec::new()) };
        let mut found = filesystem.xattrs(handle).map_err(|e| self.located(path, e))?;
        found.sort();
        Ok(found)
    }
}
