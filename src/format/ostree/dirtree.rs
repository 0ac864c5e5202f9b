//! Dirtrees: `(a(say)a(sayay))`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use super::framing::{Array, encode_array, frame, split, unframe};
use super::{Checksum, c_string};
use crate::format::Malformed;

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory: dirtree and dirmeta.
    Dir(Checksum, Checksum),
    /// A file or a symbolic link: its file object.
    Leaf(Checksum),
}

/// A dirtree: the names in a directory and the objects they stand for.
///
/// It is kept as the bytes of the object, whose names are found by its own offsets: so a large
/// directory costs one allocation, and comparing two of them costs reading them.
#[derive(Clone, PartialEq, Eq)]
pub struct Dirtree {
    bytes: Vec<u8>,
    /// Where the array of files ends, and that of directories.
    ends: [usize; 2],
}

/// A name and what it stands for.
type NamedNode<'a> = (&'a [u8], Node);

impl Dirtree {
    /// The dirtree of these files (name, file object) and directories (name, dirtree, dirmeta),
    /// each list sorted bytewise.
    pub fn new(files: &[(Vec<u8>, Checksum)], dirs: &[(Vec<u8>, Checksum, Checksum)]) -> Self {
        let mut bytes = Vec::new();
        encode_array(&mut bytes, files, |out, (name, file)| {
            let start = out.len();
            let end = c_string(out, name);
            out.extend_from_slice(&file.0);
            frame(out, start, &[end]);
        });
        let files_end = bytes.len();
        encode_array(&mut bytes, dirs, |out, (name, tree, meta)| {
            let start = out.len();
            let end = c_string(out, name);
            out.extend_from_slice(&tree.0);
            out.extend_from_slice(&meta.0);
            frame(out, start, &[end + 32, end]);
        });
        let ends = [files_end, bytes.len()];
        frame(&mut bytes, 0, &[files_end]);
        Dirtree { bytes, ends }
    }

    /// The dirtree object in `bytes`: names plain, sorted and unique, or it is malformed.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let ([files_end], body) = unframe::<1>(&bytes, 0)?;
        let (files, dirs) = split(body, files_end, 0)?;
        let (files, dirs) = (Array::parse(files, 0)?, Array::parse(dirs, files_end)?);
        let mut last: &[u8] = b"";
        for (at, element) in files.iter() {
            last = following(last, file(element, at)?.0, at)?;
        }
        last = b"";
        for (at, element) in dirs.iter() {
            let at = files_end + at;
            last = following(last, dir(element, at)?.0, at)?;
            if find(&files, |element| Some(file(element, 0).ok()?.0.cmp(last))).is_some() {
                return Err(Malformed::at(at, "a name is a file's and a directory's"));
            }
        }
        Ok(Dirtree { ends: [files_end, body.len()], bytes })
    }

    /// The bytes of the object.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Names of files and symbolic links, and their file objects, sorted bytewise.
    pub fn files(&self) -> impl Iterator<Item = (&[u8], Checksum)> {
        self.arrays()[0].iter().filter_map(|(_, element)| file(element, 0).ok())
    }

    /// Names of directories, their dirtrees and dirmetas, sorted bytewise.
    pub fn dirs(&self) -> impl Iterator<Item = (&[u8], Checksum, Checksum)> {
        self.arrays()[1].iter().filter_map(|(_, element)| dir(element, 0).ok())
    }

    /// All names in bytewise order, files and directories together, and what they stand for.
    pub fn names(&self) -> impl Iterator<Item = (&[u8], Node)> {
        let [files, dirs] = self.arrays();
        let mut files = files.iter().filter_map(|(_, element)| leaf(element)).peekable();
        let mut dirs = dirs.iter().filter_map(|(_, element)| directory(element)).peekable();
        std::iter::from_fn(move || match (files.peek(), dirs.peek()) {
            (Some(f), Some(d)) if d.0 < f.0 => dirs.next(),
            (None, Some(_)) => dirs.next(),
            _ => files.next(),
        })
    }

    /// What `name` stands for here.
    pub fn get(&self, name: &[u8]) -> Option<Node> {
        let [files, dirs] = self.arrays();
        if let Some(element) = find(&files, |element| Some(file(element, 0).ok()?.0.cmp(name))) {
            return leaf(element).map(|found| found.1);
        }
        let element = find(&dirs, |element| Some(dir(element, 0).ok()?.0.cmp(name)))?;
        directory(element).map(|found| found.1)
    }

    /// The names that stand for different things in two directories, sorted, and what they stand
    /// for in each. Where the bytes of both are the same no name is looked at.
    pub fn differences<'a>(&'a self, other: &'a Self) -> BTreeMap<&'a [u8], [Option<Node>; 2]> {
        let mut all = BTreeMap::new();
        let ([files, dirs], [theirs, below]) = (self.arrays(), other.arrays());
        unequal(&files, &theirs, leaf, &mut all);
        unequal(&dirs, &below, directory, &mut all);
        all
    }

    fn arrays(&self) -> [Array<'_>; 2] {
        let [files, dirs] = self.ends;
        [&self.bytes[..files], &self.bytes[files..dirs]].map(Array::of)
    }
}

/// Adds to `all` what only one of two sorted arrays has.
fn unequal<'a>(
    ours: &Array<'a>,
    theirs: &Array<'a>,
    named: fn(&'a [u8]) -> Option<NamedNode<'a>>,
    all: &mut BTreeMap<&'a [u8], [Option<Node>; 2]>,
) {
    let mut add = |side: usize, found: Option<NamedNode<'a>>| {
        if let Some((name, node)) = found {
            all.entry(name).or_default()[side] = Some(node);
        }
    };
    let name = |element: &'a [u8]| named(element).map(|(name, _)| name);
    let (mut a, mut b) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((_, x)), Some((_, y))) if x == y => {
                a.next();
                b.next();
                continue;
            }
            (Some((_, x)), Some((_, y))) => name(x).cmp(&name(y)),
        };
        if order.is_le() {
            add(0, a.next().and_then(|(_, x)| named(x)));
        }
        if order.is_ge() {
            add(1, b.next().and_then(|(_, y)| named(y)));
        }
    }
}

fn leaf(element: &[u8]) -> Option<NamedNode<'_>> {
    file(element, 0).ok().map(|(name, file)| (name, Node::Leaf(file)))
}

fn directory(element: &[u8]) -> Option<NamedNode<'_>> {
    dir(element, 0).ok().map(|(name, tree, meta)| (name, Node::Dir(tree, meta)))
}

impl Default for Dirtree {
    /// That of an empty directory.
    fn default() -> Self {
        Dirtree::new(&[], &[])
    }
}

impl fmt::Debug for Dirtree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.names().map(|(name, node)| (String::from_utf8_lossy(name), node)))
            .finish()
    }
}

/// The element that `order` calls equal, of a sorted array.
fn find<'a>(array: &Array<'a>, order: impl Fn(&[u8]) -> Option<Ordering>) -> Option<&'a [u8]> {
    let (mut from, mut to) = (0, array.len());
    while from < to {
        let middle = from + (to - from) / 2;
        let element = array.get(middle);
        match order(element)? {
            Ordering::Less => from = middle + 1,
            Ordering::Greater => to = middle,
            Ordering::Equal => return Some(element),
        }
    }
    None
}

/// A file's name and object, in an element that stands at `at`.
fn file(element: &[u8], at: usize) -> Result<(&[u8], Checksum), Malformed> {
    let ([end], body) = unframe::<1>(element, at)?;
    let (name, file) = split(body, end, at)?;
    Ok((ended(name, at)?, checksum(file, at)?))
}

/// A directory's name, dirtree and dirmeta, in an element that stands at `at`.
fn dir(element: &[u8], at: usize) -> Result<(&[u8], Checksum, Checksum), Malformed> {
    let ([tree_end, name_end], body) = unframe::<2>(element, at)?;
    let (rest, meta) = split(body, tree_end, at)?;
    let (name, tree) = split(rest, name_end, at)?;
    Ok((ended(name, at)?, checksum(tree, at)?, checksum(meta, at)?))
}

/// A name without the NUL behind it.
fn ended(name: &[u8], at: usize) -> Result<&[u8], Malformed> {
    name.strip_suffix(b"\0").ok_or_else(|| Malformed::at(at, "name has no end"))
}

/// `name`, which must be a plain file name and come after `last`.
fn following<'a>(last: &[u8], name: &'a [u8], at: usize) -> Result<&'a [u8], Malformed> {
    let odd = name.is_empty() || name == b"." || name == b"..";
    if odd || memchr::memchr2(b'/', 0, name).is_some() {
        return Err(Malformed::at(at, "name is not a plain file name"));
    }
    match last < name {
        true => Ok(name),
        false => Err(Malformed::at(at, "the names of a dirtree are not sorted and unique")),
    }
}

/// The checksum that is all of `bytes`.
pub(super) fn checksum(bytes: &[u8], at: usize) -> Result<Checksum, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed::at(at, "checksum is not 32 bytes"))?;
    Ok(Checksum(bytes))
}
