//! A tree in memory, loaded from a directory of the checkout and changed by a plan.
//!
//! A checkout keeps neither times, owners nor empty directories: `times` gives the first, the
//! other two are 0 and absent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use reprofix::tree::{Entry, Kind, Time, Tree};

/// A node: its content or target, and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
    pub(crate) mtime: Time,
}

/// Paths below the root, the root itself (empty path) included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemTree(pub(crate) BTreeMap<PathBuf, Node>);

impl MemTree {
    /// Loads what stands below `dir`; every time is `mtime`.
    pub(crate) fn load(dir: &Path, mtime: Time) -> Self {
        let mut tree = MemTree::default();
        for found in walkdir::WalkDir::new(dir) {
            let found = found.expect("a readable case");
            let path = found.path().strip_prefix(dir).expect("below").to_owned();
            let kind = found.file_type();
            let (kind, data) = if kind.is_dir() {
                (Kind::Dir, Vec::new())
            } else if kind.is_symlink() {
                let target = std::fs::read_link(found.path()).expect("a link");
                (Kind::Symlink, target.into_os_string().into_encoded_bytes())
            } else {
                (Kind::File, std::fs::read(found.path()).expect("a readable file"))
            };
            tree.0.insert(path, Node { kind, data, mtime });
        }
        tree
    }

    /// Adds a directory and those above it.
    pub(crate) fn add_dir(&mut self, path: impl AsRef<Path>) {
        let mtime = Time { sec: 0, nsec: 0 };
        for dir in path.as_ref().ancestors() {
            let node = Node { kind: Kind::Dir, data: Vec::new(), mtime };
            self.0.entry(dir.to_owned()).or_insert(node);
        }
    }

    /// Adds a file, and the directories above it.
    pub(crate) fn add(&mut self, path: impl Into<PathBuf>, data: impl Into<Vec<u8>>) {
        let (path, mtime) = (path.into(), Time { sec: 0, nsec: 0 });
        self.add_dir(path.parent().expect("a directory"));
        self.0.insert(path, Node { kind: Kind::File, data: data.into(), mtime });
    }

    /// Writes the tree below `dir`.
    pub(crate) fn store(&self, dir: &Path) {
        for (path, node) in &self.0 {
            let path = dir.join(path);
            match node.kind {
                Kind::Dir => std::fs::create_dir_all(&path),
                Kind::Symlink => {
                    let target = String::from_utf8(node.data.clone()).expect("UTF-8");
                    std::os::unix::fs::symlink(target, &path)
                }
                _ => std::fs::write(&path, &node.data),
            }
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }

    /// All entries, sorted by path.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.iter().map(|(path, node)| entry(path, node)).collect()
    }

    /// Removes `path`, a directory only if nothing is below it.
    pub(crate) fn remove(&mut self, path: &Path) {
        let below =
            self.0.range(path.to_owned()..).nth(1).is_some_and(|(p, _)| p.starts_with(path));
        if !below {
            self.0.remove(path);
        }
    }
}

fn entry(path: &Path, node: &Node) -> Entry {
    let bits = match node.kind {
        Kind::File => 0o100_644,
        Kind::Dir => 0o040_755,
        Kind::Symlink => 0o120_777,
        Kind::Other => 0o010_644,
    };
    Entry {
        path: path.to_owned(),
        kind: node.kind,
        mode: bits,
        uid: 0,
        gid: 0,
        size: node.data.len() as u64,
        mtime: Some(node.mtime),
        inode: None,
    }
}

impl Tree for MemTree {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self.0.get(path).map(|node| entry(path, node)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let below = self.0.keys().filter(|p| p.parent() == Some(path));
        Ok(below.filter_map(|p| p.file_name()).map(OsString::from).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).filter(|n| n.kind == Kind::File).map(|n| n.data.clone()))
    }

    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        use std::os::unix::ffi::OsStringExt;
        let link = self.0.get(path).filter(|n| n.kind == Kind::Symlink);
        Ok(link.map(|n| OsString::from_vec(n.data.clone()).into()))
    }

    fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }
}
