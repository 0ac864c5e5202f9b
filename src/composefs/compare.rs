//! What two trees that should have one digest differ in, entry by entry and by cause.

use std::collections::BTreeMap;
use std::fmt;

use crate::format::composefs::{Content, Directory, Leaf, Meta, Node, Tree};
use crate::text::counted;

/// One way in which entries deviate, and the paths that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What deviates.
    pub cause: Cause,
    /// The paths, sorted.
    pub paths: Vec<String>,
    /// The first path's values on both sides.
    pub example: String,
}

/// What of an entry can deviate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is in the first view only.
    OnlyFirst,
    /// It is in the second view only.
    OnlySecond,
    /// Its type.
    Type,
    /// The content of a file, the target of a link or a device's number.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Attributes,
    /// The time of a directory.
    DirectoryTime,
    /// The time of anything else.
    Time,
    /// How many names a file has.
    Links,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::OnlyFirst => "only in the first",
            Cause::OnlySecond => "only in the second",
            Cause::Type => "another type",
            Cause::Content => "content",
            Cause::Mode => "permission bits",
            Cause::Owner => "owner",
            Cause::Attributes => "extended attributes",
            Cause::DirectoryTime => "times of directories",
            Cause::Time => "times of files and links",
            Cause::Links => "hard links",
        })
    }
}

impl Cause {
    /// What usually makes it deviate between two views of one image, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Cause::OnlyFirst | Cause::OnlySecond => {
                "the directory is not what the layers hold: seal the image that is shipped"
            }
            Cause::Type | Cause::Content => "the file was changed after the layer was made",
            Cause::Mode | Cause::Owner => {
                "the directory was extracted without its modes or owners: extract as root"
            }
            Cause::Attributes => {
                "attributes were lost or added when the directory was extracted; `fix` with \
                 xattrs enabled removes a build's own"
            }
            Cause::DirectoryTime => {
                "layers record another time than extraction leaves (bootc 2194): run `fix` with \
                 --set mtime.set=all before the layers are made"
            }
            Cause::Time => "run `fix` with --set mtime.set=all before the layers are made",
            Cause::Links => {
                "the directory was extracted without its hard links: keep them, or take them apart \
                 before the layers are made"
            }
        }
    }
}

/// What differs between two trees, grouped by cause; empty if both have one digest.
pub fn compare(a: &Tree, b: &Tree) -> Vec<Deviation> {
    let mut comparison =
        Comparison { trees: [a, b], names: [names(a), names(b)], found: BTreeMap::new() };
    comparison.directories(&a.root, &b.root, "");
    comparison.found.into_values().collect()
}

/// How many names each leaf has.
fn names(tree: &Tree) -> Vec<usize> {
    fn count(directory: &Directory, names: &mut [usize]) {
        for node in directory.entries.values() {
            match node {
                Node::Directory(below) => count(below, names),
                Node::Leaf(leaf) => names[*leaf] += 1,
            }
        }
    }
    let mut names = vec![0; tree.leaves.len()];
    count(&tree.root, &mut names);
    names
}

struct Comparison<'t> {
    trees: [&'t Tree; 2],
    names: [Vec<usize>; 2],
    found: BTreeMap<Cause, Deviation>,
}

impl Comparison<'_> {
    fn add(&mut self, cause: Cause, path: &str, example: impl FnOnce() -> String) {
        let found = self.found.entry(cause).or_insert_with(|| Deviation {
            cause,
            paths: Vec::new(),
            example: example(),
        });
        found.paths.push(if path.is_empty() { "/".to_owned() } else { path.to_owned() });
    }

    fn directories(&mut self, a: &Directory, b: &Directory, path: &str) {
        self.meta(&a.meta, &b.meta, path, Cause::DirectoryTime);
        let both = a.entries.keys().chain(b.entries.keys());
        let names: std::collections::BTreeSet<&Vec<u8>> = both.collect();
        for name in names {
            let path = format!("{path}/{}", name.escape_ascii());
            match (a.entries.get(name), b.entries.get(name)) {
                (Some(x), Some(y)) => self.nodes(x, y, &path),
                (Some(_), None) => self.add(Cause::OnlyFirst, &path, String::new),
                _ => self.add(Cause::OnlySecond, &path, String::new),
            }
        }
    }

    fn nodes(&mut self, a: &Node, b: &Node, path: &str) {
        match (a, b) {
            (Node::Directory(x), Node::Directory(y)) => self.directories(x, y, path),
            (Node::Leaf(x), Node::Leaf(y)) => {
                let (m, n) = (self.names[0][*x], self.names[1][*y]);
                if m != n {
                    self.add(Cause::Links, path, || {
                        format!("{} and {}", m, counted(n as u64, "name"))
                    });
                }
                let (x, y) = (&self.trees[0].leaves[*x], &self.trees[1].leaves[*y]);
                self.leaves(x, y, path);
            }
            _ => self.add(Cause::Type, path, String::new),
        }
    }

    fn leaves(&mut self, a: &Leaf, b: &Leaf, path: &str) {
        let regular = |c: &Content| matches!(c, Content::Inline(_) | Content::External { .. });
        let alike = std::mem::discriminant(&a.content) == std::mem::discriminant(&b.content)
            || regular(&a.content) && regular(&b.content);
        if !alike {
            return self.add(Cause::Type, path, String::new);
        }
        if a.content != b.content {
            self.add(Cause::Content, path, String::new);
        }
        self.meta(&a.meta, &b.meta, path, Cause::Time);
    }

    fn meta(&mut self, a: &Meta, b: &Meta, path: &str, time: Cause) {
        if a.mode != b.mode {
            self.add(Cause::Mode, path, || format!("{:04o} and {:04o}", a.mode, b.mode));
        }
        if (a.uid, a.gid) != (b.uid, b.gid) {
            let owners = || format!("{}:{} and {}:{}", a.uid, a.gid, b.uid, b.gid);
            self.add(Cause::Owner, path, owners);
        }
        if (a.seconds, a.nanoseconds) != (b.seconds, b.nanoseconds) {
            self.add(time, path, || format!("{} and {}", moment(a), moment(b)));
        }
        if a.xattrs != b.xattrs {
            self.add(Cause::Attributes, path, || attributes(a, b));
        }
    }
}

/// The names of the attributes that differ.
fn attributes(a: &Meta, b: &Meta) -> String {
    let differs = |name: &&Vec<u8>| a.xattrs.get(*name) != b.xattrs.get(*name);
    let all: std::collections::BTreeSet<&Vec<u8>> =
        a.xattrs.keys().chain(b.xattrs.keys()).filter(differs).collect();
    let names: Vec<String> = all.iter().map(|name| name.escape_ascii().to_string()).collect();
    names.join(", ")
}

/// Seconds and nanoseconds since 1970-01-01 UTC.
fn moment(meta: &Meta) -> String {
    format!("{}.{:09}", meta.seconds, meta.nanoseconds)
}
