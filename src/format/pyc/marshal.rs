//! Marshalled code objects, versions 4 and 5 of the format, as a graph.
//!
//! Follows `Python/marshal.c`. An object is a type byte and what belongs to it. The type byte's
//! high bit puts the object on a list, and a later reference names its place there. Only what a
//! code object can hold is understood.

use std::collections::{BTreeMap, HashMap, hash_map};

use foldhash::fast::RandomState;

use crate::format::Malformed;
use crate::format::bytes::{Cursor, Order};

/// How deep objects may lie in each other.
pub const DEPTH_MAX: usize = 200;
/// How many objects a file may have; memory is about 120 bytes for each.
pub const OBJECTS_MAX: usize = 1_000_000;
/// Bytes that the elements of sets may take together, when written for being sorted.
const SORTED_MAX: usize = 4 << 20;

const FLAG: u8 = 0x80;

/// How a version of Python writes a code object: integers, objects, the first line, objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) ints: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

/// Among the objects of a code object, in every layout: the path of the source.
const SOURCE_PATH: usize = 6;

/// A place in [`Graph::nodes`].
type Id = u32;

#[derive(Clone, Debug)]
struct Node<'a> {
    /// The type byte of the normal form, without the flag.
    kind: u8,
    /// What follows the type byte, for a code object the integers before its objects.
    data: &'a [u8],
    /// A code object's first line.
    line: &'a [u8],
    /// The objects in it: a range of [`Graph::children`].
    children: (u32, u32),
    /// How often it occurs.
    uses: u32,
}

/// An object and all that are in it.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    layout: Layout,
    /// How many bytes it was read from: about what it is written in.
    bytes: usize,
    nodes: Vec<Node<'a>>,
    children: Vec<Id>,
    root: Id,
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    graph: Graph<'a>,
    /// The objects on the list; `None` while one is being read.
    refs: Vec<Option<Id>>,
    /// Children of the objects being read.
    open: Vec<Id>,
    /// The strings so far: equal ones become one object, as whether the compiler found an equal
    /// string to share depends on what it compiled before.
    strings: HashMap<(u8, &'a [u8]), Id, RandomState>,
}

/// Reads one object, which takes all of `bytes`.
pub(super) fn parse(bytes: &[u8], layout: Layout) -> Result<Graph<'_>, Malformed> {
    let (nodes, children) = (Vec::new(), Vec::new());
    let graph = Graph { layout, bytes: bytes.len(), nodes, children, root: 0 };
    let mut parser = Parser {
        cursor: Cursor::new(Order::Little, bytes),
        graph,
        refs: Vec::new(),
        open: Vec::new(),
        strings: HashMap::default(),
    };
    let root = parser.object(0)?;
    if parser.graph.node(root).kind != b'c' {
        return Err(Malformed::at(0, "no code object"));
    }
    if !parser.cursor.rest().is_empty() {
        return Err(Malformed::at(parser.cursor.offset(), "bytes after the code object"));
    }
    Ok(Graph { root, ..parser.graph })
}

impl<'a> Parser<'a> {
    fn object(&mut self, depth: usize) -> Result<Id, Malformed> {
        let start = self.cursor.offset();
        if depth > DEPTH_MAX {
            return Err(Malformed::at(start, format!("objects nest more than {DEPTH_MAX} deep")));
        }
        let byte = self.cursor.u8("object")?;
        let (kind, flagged) = (byte & !FLAG, byte & FLAG != 0);
        if kind == b'r' {
            let at = self.cursor.u32("reference")? as usize;
            let known = self.refs.get(at).copied().flatten().filter(|_| !flagged);
            let id = known.ok_or_else(|| Malformed::at(start, "reference to no object"))?;
            self.graph.nodes[id as usize].uses += 1;
            return Ok(id);
        }
        // An object's place on the list is before those of the objects in it.
        let place = flagged.then(|| {
            self.refs.push(None);
            self.refs.len() - 1
        });
        let mut node = Node { kind, data: &[], line: &[], children: (0, 0), uses: 1 };
        match kind {
            // The writer never marks these, and the reader would not count them.
            b'N' | b'F' | b'T' | b'S' | b'.' if !flagged => {}
            b'(' | b'>' | b')' | b':' => self.items(&mut node, start, depth)?,
            b'c' => self.code(&mut node, depth)?,
            _ => node.data = self.leaf(kind, start)?,
        }
        node.kind = canonical_kind(&node);
        let id = self.place(node, start)?;
        if let Some(place) = place {
            self.refs[place] = Some(id);
        }
        Ok(id)
    }

    /// The object's place: for a string that of the first equal one.
    fn place(&mut self, node: Node<'a>, start: usize) -> Result<Id, Malformed> {
        // Within OBJECTS_MAX.
        let next = self.graph.nodes.len() as Id;
        if text(&node).is_some() {
            match self.strings.entry((node.kind, node.data)) {
                hash_map::Entry::Occupied(same) => {
                    let id = *same.get();
                    self.graph.nodes[id as usize].uses += 1;
                    return Ok(id);
                }
                hash_map::Entry::Vacant(new) => new.insert(next),
            };
        }
        if self.graph.nodes.len() >= OBJECTS_MAX {
            return Err(Malformed::at(start, format!("more than {OBJECTS_MAX} objects")));
        }
        self.graph.nodes.push(node);
        Ok(next)
    }

    /// A tuple, a frozen set or a slice.
    fn items(&mut self, node: &mut Node<'a>, start: usize, depth: usize) -> Result<(), Malformed> {
        let rest = self.cursor.rest();
        let (width, count) = match node.kind {
            b')' => (1, usize::from(self.cursor.u8("tuple")?)),
            b':' => (0, 3),
            _ => (4, self.cursor.u32("items")? as usize),
        };
        if count > self.cursor.rest().len() {
            return Err(Malformed::at(start, format!("{count} items do not fit the file")));
        }
        node.data = &rest[..width];
        let open = self.open.len();
        self.objects(count, depth)?;
        node.children = self.close(open);
        Ok(())
    }

    fn code(&mut self, node: &mut Node<'a>, depth: usize) -> Result<(), Malformed> {
        let Layout { ints, before, after } = self.graph.layout;
        node.data = self.cursor.take(4 * ints, "code object")?;
        let open = self.open.len();
        self.objects(before, depth)?;
        node.line = self.cursor.take(4, "code object")?;
        self.objects(after, depth)?;
        node.children = self.close(open);
        Ok(())
    }

    fn objects(&mut self, count: usize, depth: usize) -> Result<(), Malformed> {
        for _ in 0..count {
            let id = self.object(depth + 1)?;
            self.open.push(id);
        }
        Ok(())
    }

    /// Moves the children read since `open` to their parent's range.
    fn close(&mut self, open: usize) -> (u32, u32) {
        let children = &mut self.graph.children;
        let start = children.len() as u32;
        children.extend(self.open.drain(open..));
        (start, children.len() as u32)
    }

    /// What belongs to an object that holds no others.
    fn leaf(&mut self, kind: u8, start: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.cursor.rest();
        let what = "object";
        match kind {
            b'i' => drop(self.cursor.take(4, what)?),
            b'I' | b'g' => drop(self.cursor.take(8, what)?),
            b'y' => drop(self.cursor.take(16, what)?),
            b'l' => {
                let digits = self.cursor.u32(what)?.cast_signed().unsigned_abs() as usize;
                self.cursor.take(digits.saturating_mul(2), what)?;
            }
            b's' | b't' | b'u' | b'a' | b'A' => {
                let len = self.cursor.u32(what)? as usize;
                self.cursor.take(len, what)?;
            }
            b'z' | b'Z' => {
                let len = self.cursor.u8(what)?;
                self.cursor.take(len.into(), what)?;
            }
            _ => {
                let kind = char::from(kind).escape_default();
                return Err(Malformed::at(start, format!("no object of bytecode: type '{kind}'")));
            }
        }
        Ok(&rest[..rest.len() - self.cursor.rest().len()])
    }
}

impl<'a> Graph<'a> {
    fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id as usize]
    }

    fn children(&self, node: &Node<'a>) -> &[Id] {
        &self.children[node.children.0 as usize..node.children.1 as usize]
    }

    /// The path of the root's source.
    pub(super) fn source_path(&self) -> Option<&'a [u8]> {
        let path = self.children(self.node(self.root)).get(SOURCE_PATH)?;
        text(self.node(*path))
    }

    /// The root in normal form.
    pub(super) fn canonical(&self) -> Result<Vec<u8>, Malformed> {
        let mut writer = Writer {
            graph: self,
            out: Vec::with_capacity(self.bytes),
            places: vec![None; self.nodes.len()],
            next: 0,
            budget: SORTED_MAX,
        };
        writer.object(self.root)?;
        Ok(writer.out)
    }
}

struct Writer<'g, 'a> {
    graph: &'g Graph<'a>,
    out: Vec<u8>,
    /// For each node that occurs more than once, its place on the list once it is written.
    places: Vec<Option<u32>>,
    next: u32,
    budget: usize,
}

impl<'g, 'a> Writer<'g, 'a> {
    fn object(&mut self, id: Id) -> Result<(), Malformed> {
        let node = self.graph.node(id);
        if let Some(place) = self.places[id as usize] {
            self.out.push(b'r');
            self.out.extend(place.to_le_bytes());
            return Ok(());
        }
        // These are never put on the list.
        let single = matches!(node.kind, b'N' | b'F' | b'T' | b'S' | b'.');
        let flag = if node.uses > 1 && !single {
            self.places[id as usize] = Some(self.next);
            self.next += 1;
            FLAG
        } else {
            0
        };
        self.out.push(node.kind | flag);
        self.out.extend(node.data);
        let children = self.graph.children(node);
        match node.kind {
            b'c' => {
                let (before, after) = children.split_at(self.graph.layout.before);
                before.iter().try_for_each(|c| self.object(*c))?;
                self.out.extend(node.line);
                after.iter().try_for_each(|c| self.object(*c))
            }
            b'>' => self.sorted(children)?.into_iter().try_for_each(|c| self.object(c)),
            _ => children.iter().try_for_each(|c| self.object(*c)),
        }
    }

    /// The elements of a set, sorted by how they are written without references.
    fn sorted(&mut self, children: &[Id]) -> Result<Vec<Id>, Malformed> {
        let mut keyed = BTreeMap::new();
        for id in children {
            let mut key = Vec::new();
            self.key(*id, &mut key)?;
            keyed.entry(key).or_insert_with(Vec::new).push(*id);
        }
        Ok(keyed.into_values().flatten().collect())
    }

    fn key(&mut self, id: Id, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let node = self.graph.node(id);
        let spent = 1 + node.data.len() + node.line.len();
        self.budget = self.budget.checked_sub(spent).ok_or_else(|| {
            Malformed::at(0, format!("elements of sets take more than {SORTED_MAX} bytes"))
        })?;
        out.push(node.kind);
        out.extend(node.data);
        out.extend(node.line);
        let children = self.graph.children(node);
        let children = if node.kind == b'>' { self.sorted(children)? } else { children.to_vec() };
        children.into_iter().try_for_each(|c| self.key(c, out))
    }
}

/// A string's text; `None` for another object.
fn text<'a>(node: &Node<'a>) -> Option<&'a [u8]> {
    match node.kind {
        b'z' | b'Z' => node.data.get(1..),
        b'a' | b'A' | b'u' | b't' => node.data.get(4..),
        _ => None,
    }
}

/// The type byte of the normal form: a string is interned where it could be an identifier, as the
/// compiler does it; code objects intern all their names when they are made.
fn canonical_kind(node: &Node<'_>) -> u8 {
    let Some(text) = text(node) else { return node.kind };
    let interned = text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    match (node.kind.to_ascii_lowercase(), interned) {
        (b'z', true) => b'Z',
        (b'a', true) => b'A',
        (b'u' | b't', true) => b't',
        (b'u' | b't', false) => b'u',
        (kind, _) => kind,
    }
}
