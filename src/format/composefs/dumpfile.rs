//! The text form of a tree: `composefs-dump(5)`, which `mkcomposefs --from-file` reads.

use std::fmt::Write as _;

use super::{Content, Directory, Meta, Node, Tree, links};

/// `tree` as text, one line per entry, a directory before its content.
pub fn dumpfile(tree: &Tree) -> String {
    let mut dump =
        Dump { tree, links: links(tree), first: vec![None; tree.leaves.len()], out: String::new() };
    dump.directory(&tree.root, &mut b"/".to_vec());
    dump.out
}

struct Dump<'t> {
    tree: &'t Tree,
    links: Vec<u32>,
    /// The first path of each leaf.
    first: Vec<Option<Vec<u8>>>,
    out: String,
}

impl Dump<'_> {
    fn directory(&mut self, directory: &Directory, path: &mut Vec<u8>) {
        let below = |node: &&Node| matches!(node, Node::Directory(_));
        let links = 2 + directory.entries.values().filter(below).count();
        self.line(path, 0, 0o040_000, links as u32, 0, &directory.meta, [&None, &None], None);
        for (name, node) in &directory.entries {
            let end = path.len();
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend(name);
            match node {
                Node::Directory(directory) => self.directory(directory, path),
                Node::Leaf(leaf) => self.leaf(*leaf, path),
            }
            path.truncate(end);
        }
    }

    fn leaf(&mut self, number: usize, path: &[u8]) {
        let leaf = &self.tree.leaves[number];
        if let Some(first) = &self.first[number] {
            let (path, first) = (escaped(path), escaped(first));
            // Of further names only the path they link to counts.
            let _ = writeln!(self.out, "{path} 0 @120000 - - - - 0.0 {first} - -");
            return;
        }
        self.first[number] = Some(path.to_owned());
        let mut hex = None;
        let (format, size, device, payload, content) = match &leaf.content {
            Content::Inline(bytes) => (0o100_000, bytes.len() as u64, 0, None, Some(bytes.clone())),
            Content::External { digest, size } => {
                let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let place = format!("{}/{}", &name[..2], &name[2..]).into_bytes();
                hex = Some(name);
                (0o100_000, *size, 0, Some(place), None)
            }
            Content::Symlink(target) => {
                (0o120_000, target.len() as u64, 0, Some(target.clone()), None)
            }
            Content::Character(device) => (0o020_000, 0, *device, None, None),
            Content::Block(device) => (0o060_000, 0, *device, None, None),
            Content::Fifo => (0o010_000, 0, 0, None, None),
            Content::Socket => (0o140_000, 0, 0, None, None),
        };
        let links = self.links[number];
        let texts = [&payload, &content];
        self.line(path, size, format, links, device, &leaf.meta, texts, hex.as_deref());
    }

    #[allow(clippy::too_many_arguments)] // the columns of a line
    fn line(
        &mut self,
        path: &[u8],
        size: u64,
        format: u32,
        links: u32,
        device: u32,
        meta: &Meta,
        [payload, content]: [&Option<Vec<u8>>; 2],
        digest: Option<&str>,
    ) {
        let mode = format | u32::from(meta.mode);
        let text = |text: &Option<Vec<u8>>| optional(text.as_deref().unwrap_or_default());
        let (Meta { uid, gid, seconds, nanoseconds, .. }, path) = (meta, escaped(path));
        let (payload, content, digest) = (text(payload), text(content), digest.unwrap_or("-"));
        let _ = write!(
            self.out,
            "{path} {size} {mode:o} {links} {uid} {gid} {device} {seconds}.{nanoseconds} {payload} \
             {content} {digest}"
        );
        for (name, value) in &meta.xattrs {
            let [name, value] = [name, value].map(|text| escaped(text).replace('=', r"\x3d"));
            let _ = write!(self.out, " {name}={value}");
        }
        self.out.push('\n');
    }
}

/// A text that may be absent, which is written as a dash.
fn optional(bytes: &[u8]) -> String {
    match bytes {
        b"" => "-".to_owned(),
        b"-" => r"\x2d".to_owned(),
        _ => escaped(bytes),
    }
}

/// Escapes bytes that are not visible ASCII, and the backslash.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str(r"\\"),
            b'\n' => out.push_str(r"\n"),
            b'\r' => out.push_str(r"\r"),
            b'\t' => out.push_str(r"\t"),
            b'!'..=b'~' => out.push(char::from(*byte)),
            _ => drop(write!(out, r"\x{byte:02x}")),
        }
    }
    out
}
