//! How two trees that should have the same digest differ, entry by entry, grouped by cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{LABEL, View};
use crate::format::composefs::{Content, Directory, Leaf, Meta, Node, Tree};
use crate::plugins;

/// One way in which entries of one type deviate, with their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// What deviates.
    pub cause: Cause,
    /// The type of the entries.
    pub kind: Kind,
    /// The paths, sorted.
    pub paths: Vec<String>,
    /// The first path's values on both sides.
    pub example: String,
}

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character or block device.
    Device,
    /// A FIFO or a socket.
    Special,
}

/// What can deviate in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is in the first view only.
    OnlyFirst,
    /// It is in the second view only.
    OnlySecond,
    /// It is a whiteout of overlayfs in one view only.
    Whiteout,
    /// Its type.
    Type,
    /// The content of a file, the target of a link or a device's number.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// The SELinux label.
    Label,
    /// File capabilities.
    Capability,
    /// Attributes that overlayfs or a download left behind; one may make a directory opaque.
    LeftOver,
    /// Other extended attributes.
    Attributes,
    /// The time of extraction instead of that of the layers.
    Extraction,
    /// The nanoseconds of the modification time.
    Nanoseconds,
    /// The modification time.
    Time,
    /// The number of names of a file.
    Links,
}

/// What the report says about a cause: the phrase after the number of entries, the plugin that
/// handles it, whether `fix` with the profile composefs removes it, and what to do.
struct Answer {
    phrase: &'static str,
    plugin: Option<&'static str>,
    fixable: bool,
    advice: &'static str,
}

const PROFILE: &str = "run `reprofix fix --profile composefs` before the layers are made";

impl Cause {
    fn answer(self) -> Answer {
        let unfixable = |phrase, advice| Answer { phrase, plugin: None, fixable: false, advice };
        let known = |phrase, plugin, advice| Answer {
            phrase,
            plugin: Some(plugin),
            fixable: false,
            advice,
        };
        let fixable =
            |phrase, plugin, advice| Answer { phrase, plugin: Some(plugin), fixable: true, advice };
        match self {
            Cause::OnlyFirst => unfixable("only in the first", ONE_TREE),
            Cause::OnlySecond => unfixable("only in the second", ONE_TREE),
            Cause::Whiteout => known(
                "whiteout of overlayfs in only one",
                "xattrs",
                "copy the tree from a mounted overlay, not from its upper directory",
            ),
            Cause::Type => unfixable("another type", ONE_TREE),
            Cause::Content => unfixable("another content", ONE_TREE),
            Cause::Mode => unfixable("other permission bits", AS_ROOT),
            Cause::Owner => unfixable("another owner", AS_ROOT),
            Cause::Label => known(
                "another SELinux label",
                "selinux",
                "labels come from the policy in the tree: its file_contexts differ",
            ),
            Cause::Capability => unfixable(
                "other file capabilities",
                "keep security.capability when the tree is copied or extracted",
            ),
            Cause::LeftOver => {
                fixable("attributes that overlayfs or a download left behind", "xattrs", PROFILE)
            }
            Cause::Attributes => unfixable(
                "other extended attributes",
                "attributes were lost or added when the tree was copied or extracted",
            ),
            Cause::Extraction => fixable(
                "time of extraction",
                "mtime",
                "the layers record another time (bootc issue 2194): run `reprofix fix --profile \
                 composefs` before the layers are made, and let the tool write them with that time",
            ),
            Cause::Nanoseconds => fixable("nanoseconds of the modification time", "mtime", PROFILE),
            Cause::Time => fixable("another modification time", "mtime", PROFILE),
            Cause::Links => unfixable(
                "another number of hard links",
                "a step in between split hard links: keep them, or split them earlier",
            ),
        }
    }

    /// The plugin that handles it.
    pub fn plugin(self) -> Option<&'static str> {
        self.answer().plugin
    }

    /// Whether `fix` with the profile composefs removes it.
    pub fn is_fixable(self) -> bool {
        self.answer().fixable
    }

    /// What to do.
    pub fn advice(self) -> &'static str {
        self.answer().advice
    }
}

const ONE_TREE: &str = "the two are not the same tree: seal what is shipped, after the last change";
const AS_ROOT: &str = "the tree was copied or extracted without its modes or owners: do it as root";

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.answer().phrase)
    }
}

impl Kind {
    /// `1 directory`, `5,267 directories`.
    pub fn counted(self, n: usize) -> String {
        let [one, many] = match self {
            Kind::Directory => ["directory", "directories"],
            Kind::File => ["file", "files"],
            Kind::Symlink => ["symbolic link", "symbolic links"],
            Kind::Device => ["device node", "device nodes"],
            Kind::Special => ["special file", "special files"],
        };
        let digits = n.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        format!("{text} {}", if n == 1 { one } else { many })
    }
}

/// What differs between two trees, grouped by cause and type; empty if both have the same digest.
/// `views` says how each was read.
pub fn compare([a, b]: [&Tree; 2], views: [View; 2]) -> Vec<Deviation> {
    let mut comparison =
        Comparison { trees: [a, b], names: [names(a), names(b)], views, found: BTreeMap::new() };
    comparison.directories(&a.root, &b.root, "");
    comparison.found.into_values().collect()
}

/// The number of names of each leaf.
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
    views: [View; 2],
    found: BTreeMap<(Cause, Kind), Deviation>,
}

impl Comparison<'_> {
    fn add(&mut self, cause: Cause, kind: Kind, path: &str, example: impl FnOnce() -> String) {
        let found = self.found.entry((cause, kind)).or_insert_with(|| Deviation {
            cause,
            kind,
            paths: Vec::new(),
            example: example(),
        });
        found.paths.push(if path.is_empty() { "/".to_owned() } else { path.to_owned() });
    }

    fn directories(&mut self, a: &Directory, b: &Directory, path: &str) {
        self.meta(&a.meta, &b.meta, Kind::Directory, path);
        let both = a.entries.keys().chain(b.entries.keys());
        let names: BTreeSet<&Vec<u8>> = both.collect();
        for name in names {
            let path = format!("{path}/{}", name.escape_ascii());
            match (a.entries.get(name), b.entries.get(name)) {
                (Some(x), Some(y)) => self.nodes(x, y, &path),
                (Some(x), None) => self.only(0, x, Cause::OnlyFirst, &path),
                (None, Some(y)) => self.only(1, y, Cause::OnlySecond, &path),
                (None, None) => {}
            }
        }
    }

    fn only(&mut self, side: usize, node: &Node, cause: Cause, path: &str) {
        let (kind, whiteout) = match node {
            Node::Directory(_) => (Kind::Directory, false),
            Node::Leaf(leaf) => {
                let content = &self.trees[side].leaves[*leaf].content;
                (kind(content), *content == Content::Character(0))
            }
        };
        self.add(if whiteout { Cause::Whiteout } else { cause }, kind, path, String::new);
    }

    fn nodes(&mut self, a: &Node, b: &Node, path: &str) {
        match (a, b) {
            (Node::Directory(x), Node::Directory(y)) => self.directories(x, y, path),
            (Node::Leaf(x), Node::Leaf(y)) => {
                let (m, n) = (self.names[0][*x], self.names[1][*y]);
                let (x, y) = (&self.trees[0].leaves[*x], &self.trees[1].leaves[*y]);
                if m != n {
                    self.add(Cause::Links, kind(&x.content), path, || format!("{m} and {n}"));
                }
                self.leaves(x, y, path);
            }
            (Node::Directory(_), _) => self.add(Cause::Type, Kind::Directory, path, String::new),
            (Node::Leaf(x), _) => {
                let kind = kind(&self.trees[0].leaves[*x].content);
                self.add(Cause::Type, kind, path, String::new);
            }
        }
    }

    fn leaves(&mut self, a: &Leaf, b: &Leaf, path: &str) {
        let (kind, other) = (kind(&a.content), kind(&b.content));
        let is_device = |c: &Content| matches!(c, Content::Character(_) | Content::Block(_));
        let alike = std::mem::discriminant(&a.content) == std::mem::discriminant(&b.content);
        if kind != other || !alike && (is_device(&a.content) || kind == Kind::Special) {
            return self.add(Cause::Type, kind, path, String::new);
        }
        if a.content != b.content {
            self.add(Cause::Content, kind, path, String::new);
        }
        self.meta(&a.meta, &b.meta, kind, path);
    }

    fn meta(&mut self, a: &Meta, b: &Meta, kind: Kind, path: &str) {
        if a.mode != b.mode {
            self.add(Cause::Mode, kind, path, || format!("{:04o} and {:04o}", a.mode, b.mode));
        }
        if (a.uid, a.gid) != (b.uid, b.gid) {
            let owners = || format!("{}:{} and {}:{}", a.uid, a.gid, b.uid, b.gid);
            self.add(Cause::Owner, kind, path, owners);
        }
        if let Some(cause) = self.time(a, b) {
            self.add(cause, kind, path, || format!("{} and {}", moment(a), moment(b)));
        }
        let mut attributes: BTreeMap<Cause, Vec<&[u8]>> = BTreeMap::new();
        for name in a.xattrs.keys().chain(b.xattrs.keys()) {
            let found = attributes.entry(of_attribute(name)).or_default();
            if a.xattrs.get(name) != b.xattrs.get(name) && !found.contains(&&name[..]) {
                found.push(name);
            }
        }
        for (cause, names) in attributes.into_iter().filter(|(_, names)| !names.is_empty()) {
            let shown = names.iter().map(|name| name.escape_ascii().to_string());
            self.add(cause, kind, path, || shown.collect::<Vec<_>>().join(", "));
        }
    }

    /// How two times differ. An extraction sets later times than the layers record.
    fn time(&self, a: &Meta, b: &Meta) -> Option<Cause> {
        let [x, y] = [a, b].map(|meta| (meta.seconds, meta.nanoseconds));
        let extracted = match self.views {
            [View::Layers, View::Directory] => y > x,
            [View::Directory, View::Layers] => x > y,
            _ => false,
        };
        match () {
            () if x == y => None,
            () if x.0 == y.0 => Some(Cause::Nanoseconds),
            () if extracted => Some(Cause::Extraction),
            () => Some(Cause::Time),
        }
    }
}

/// The cause of a difference in the attribute of this name.
fn of_attribute(name: &[u8]) -> Cause {
    match name {
        LABEL => Cause::Label,
        b"security.capability" => Cause::Capability,
        name if plugins::is_left_over(name) => Cause::LeftOver,
        _ => Cause::Attributes,
    }
}

fn kind(content: &Content) -> Kind {
    match content {
        Content::Inline(_) | Content::External { .. } => Kind::File,
        Content::Symlink(_) => Kind::Symlink,
        Content::Character(_) | Content::Block(_) => Kind::Device,
        Content::Fifo | Content::Socket => Kind::Special,
    }
}

/// Seconds and nanoseconds since 1970-01-01 UTC.
fn moment(meta: &Meta) -> String {
    format!("{}.{:09}", meta.seconds, meta.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(content: Content, attribute: Option<&str>, nanoseconds: u32) -> Leaf {
        let xattrs = attribute.map(|name| (name.as_bytes().to_vec(), b"x".to_vec()));
        let meta = Meta { nanoseconds, xattrs: xattrs.into_iter().collect(), ..Meta::default() };
        Leaf { meta, content }
    }

    fn tree(leaves: Vec<(&str, Leaf)>) -> Tree {
        let mut tree = Tree::default();
        for (name, leaf) in leaves {
            tree.root.entries.insert(name.as_bytes().to_vec(), Node::Leaf(tree.leaves.len()));
            tree.leaves.push(leaf);
        }
        tree
    }

    fn found(a: &Tree, b: &Tree) -> Vec<(Cause, Kind, Option<&'static str>, bool)> {
        let all = compare([a, b], [View::Directory; 2]);
        all.iter().map(|d| (d.cause, d.kind, d.cause.plugin(), d.cause.is_fixable())).collect()
    }

    #[test]
    fn each_plugin_answers_for_what_it_knows() {
        let device = || Content::Character(0x103);
        for (attribute, cause, plugin, fixable) in [
            ("trusted.overlay.opaque", Cause::LeftOver, Some("xattrs"), true),
            ("security.selinux", Cause::Label, Some("selinux"), false),
            ("security.capability", Cause::Capability, None, false),
            ("user.component", Cause::Attributes, None, false),
        ] {
            let a = tree(vec![("x", leaf(device(), Some(attribute), 0))]);
            let b = tree(vec![("x", leaf(device(), None, 0))]);
            assert_eq!(found(&a, &b), [(cause, Kind::Device, plugin, fixable)], "{attribute}");
        }
        let a = tree(vec![("x", leaf(device(), None, 0))]);
        let b = tree(vec![("x", leaf(device(), None, 5))]);
        assert_eq!(found(&a, &b), [(Cause::Nanoseconds, Kind::Device, Some("mtime"), true)]);
        let whiteout = tree(vec![("x", leaf(Content::Character(0), None, 0))]);
        let expected = [(Cause::Whiteout, Kind::Device, Some("xattrs"), false)];
        assert_eq!(found(&tree(Vec::new()), &whiteout), expected);
        let other = tree(vec![("x", leaf(Content::Block(0x103), None, 0))]);
        assert_eq!(found(&a, &other), [(Cause::Type, Kind::Device, None, false)]);
    }

    #[test]
    fn the_time_of_an_extraction_is_later_than_that_of_the_layers() {
        let at = |seconds| {
            let mut tree = Tree::default();
            tree.root.meta.seconds = seconds;
            tree
        };
        let cause = |views| compare([&at(0), &at(9)], views)[0].cause;
        assert_eq!(cause([View::Layers, View::Directory]), Cause::Extraction);
        assert_eq!(cause([View::Directory, View::Layers]), Cause::Time);
        assert_eq!(cause([View::Layers; 2]), Cause::Time);
    }

    #[test]
    fn many_are_counted_with_commas() {
        assert_eq!(Kind::Directory.counted(1), "1 directory");
        assert_eq!(Kind::Directory.counted(5267), "5,267 directories");
        assert_eq!(Kind::File.counted(1_234_567), "1,234,567 files");
        assert_eq!(Kind::File.counted(123), "123 files");
    }
}
