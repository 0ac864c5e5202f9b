//! Btree files: all indexes since rpm 4.9.
//!
//! Metadata from byte 76: minimum keys a page (2), record length (0) and padding (a space), root
//! page. Items are aligned to four bytes and written from the end of the page. A leaf item is
//! length (2), type (1; bit 7 = deleted) and bytes, or two unused bytes, type 3, an unused byte,
//! first overflow page and length. An item of an inner page is length (2), type, an unused byte,
//! child page, an unused word, and a key that is not greater than any in that child: nothing for
//! the first child.

use super::page::{File, HEADER, NewFile, Page, Record, Visited, kind};
use crate::format::Malformed;
use crate::format::bytes::Order;
use crate::format::rpmdb::blob::Blob;

const INLINE: u8 = 1;
const OFF_PAGE: u8 = 3;
const DELETED: u8 = 0x80;

/// The records of a btree file in the order of their keys.
pub(super) fn read<'a>(file: &File<'a>) -> Result<Vec<Record<'a>>, Malformed> {
    let mut records = Vec::new();
    let mut visited = Visited::new(file);
    let root = file.page(file.meta(88)?, &mut visited)?;
    walk(file, root, &mut visited, &mut records)?;
    if let Some(pair) = records.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        let what = format!("keys are not in order: {:?}", String::from_utf8_lossy(&pair[1].0));
        return Err(Malformed::at(file.shape.page_size, what));
    }
    Ok(records)
}

fn walk<'a>(
    file: &File<'a>,
    page: Page<'a>,
    visited: &mut Visited,
    records: &mut Vec<Record<'a>>,
) -> Result<(), Malformed> {
    match (page.kind(), page.level()) {
        (kind::LEAF, 1) => leaf(file, page, visited, records),
        (kind::INTERNAL, 2..) => {
            for index in 0..page.entries()? {
                let at = page.item(index)?;
                // A key too long for the page has overflow pages of its own.
                if page.byte(at + 2)? & !DELETED == OFF_PAGE {
                    file.overflow(page.word(at + 16)?, page.word(at + 20)?, visited)?;
                }
                let child = file.page(page.word(at + 4)?, visited)?;
                if child.level() >= page.level() {
                    return Err(child.wrong(24, "child is not below its parent".into()));
                }
                walk(file, child, visited, records)?;
            }
            Ok(())
        }
        (kind, level) => {
            Err(page.wrong(25, format!("page of type {kind} and level {level} in a btree")))
        }
    }
}

/// Appends the records of a leaf, deleted ones left out.
fn leaf<'a>(
    file: &File<'a>,
    page: Page<'a>,
    visited: &mut Visited,
    records: &mut Vec<Record<'a>>,
) -> Result<(), Malformed> {
    let entries = page.entries()?;
    if !entries.is_multiple_of(2) {
        return Err(page.wrong(20, "key without a value".into()));
    }
    for index in (0..entries).step_by(2) {
        let (key, value) = (page.item(index)?, page.item(index + 1)?);
        if (page.byte(key + 2)? | page.byte(value + 2)?) & DELETED == 0 {
            let key = item(file, page, key, visited)?.into_whole();
            records.push((key, item(file, page, value, visited)?));
        }
    }
    Ok(())
}

fn item<'a>(
    file: &File<'a>,
    page: Page<'a>,
    at: usize,
    visited: &mut Visited,
) -> Result<Blob<'a>, Malformed> {
    match page.byte(at + 2)? {
        INLINE => Ok(page.slice(at + 3, page.half(at)?.into())?.into()),
        OFF_PAGE => file.overflow(page.word(at + 4)?, page.word(at + 8)?, visited),
        other => Err(page.wrong(at, format!("item of type {other}, which rpm does not use"))),
    }
}

/// Appends the tree and metadata to `out`: leaves as full as the order of keys fills them, the
/// root on page 1. `records` must be in the order of their keys, each key once.
pub(super) fn write(out: &mut NewFile, records: &[Record<'_>]) -> Result<(), Malformed> {
    let root = out.page()?;
    let mut leaves = Vec::new();
    let mut room = 0;
    for (key, value) in records {
        let items = [encode(out, key)?, encode(out, &value.whole())?];
        let size = items.iter().map(|item| 2 + item.len()).sum::<usize>();
        if room < size {
            leaves.push(Node { first: key, last: key, items: Items::default() });
            room = out.shape.page_size - HEADER;
        }
        room -= size;
        if let Some(leaf) = leaves.last_mut() {
            leaf.last = key;
            items.iter().for_each(|item| leaf.items.push(item));
        }
    }
    let mut nodes = place(out, leaves, root, 1)?;
    for (at, child) in nodes.iter().enumerate() {
        let neighbour = |at: Option<usize>| at.and_then(|at| nodes.get(at)).map_or(0, |n| n.page);
        out.link(child.page, neighbour(at.checked_sub(1)), neighbour(at.checked_add(1)));
    }
    let mut level = 1;
    while nodes.len() > 1 {
        level += 1;
        let parents = parents(out, &nodes)?;
        nodes = place(out, parents, root, level)?;
    }
    for (at, field) in [(76, 2), (84, u32::from(b' ')), (88, root)] {
        out.put32(0, at, field);
    }
    Ok(())
}

/// A page in the making: its items and the first and last key below it.
struct Node<'a> {
    first: &'a [u8],
    last: &'a [u8],
    items: Items,
}

/// The items of a page, one behind the other: a tree has too many for a vector each.
#[derive(Default)]
struct Items {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Items {
    fn push(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.ends.push(self.bytes.len());
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }
}

/// A page that has its place.
struct Child<'a> {
    first: &'a [u8],
    last: &'a [u8],
    page: u32,
}

/// Writes one level of the tree: a single page is the root.
fn place<'a>(
    out: &mut NewFile,
    mut nodes: Vec<Node<'a>>,
    root: u32,
    level: u8,
) -> Result<Vec<Child<'a>>, Malformed> {
    if nodes.is_empty() {
        nodes.push(Node { first: b"", last: b"", items: Items::default() });
    }
    let kind = if level == 1 { kind::LEAF } else { kind::INTERNAL };
    let single = nodes.len() == 1;
    let children = nodes.into_iter().map(|Node { first, last, items }| {
        let page = if single { root } else { out.page()? };
        out.header(page, level, kind);
        out.items(page, items.iter());
        Ok(Child { first, last, page })
    });
    children.collect()
}

/// The inner pages above `children`, each of at least two.
fn parents<'a>(out: &mut NewFile, children: &[Child<'a>]) -> Result<Vec<Node<'a>>, Malformed> {
    let separators = children.windows(2).map(|pair| shortest_above(pair[0].last, pair[1].first));
    let separators: Vec<&[u8]> = [&b""[..]].into_iter().chain(separators).collect();
    let longest = longest_inline(out.shape.page_size);
    let size = |at: usize| separators.get(at).map_or(0, |key| 2 + inner_size(key, longest));
    let mut nodes: Vec<Node<'a>> = Vec::new();
    let mut room = 0;
    for (at, child) in children.iter().enumerate() {
        // The last child never stands alone: the one before it goes with it.
        let with = if at + 2 == children.len() { size(at + 1) } else { 0 };
        if room < size(at) + with {
            nodes.push(Node { first: child.first, last: child.last, items: Items::default() });
            room = out.shape.page_size - HEADER;
        }
        room -= size(at);
        if let Some(node) = nodes.last_mut() {
            let key = if node.items.is_empty() { b"" } else { separators[at] };
            node.items.push(&inner(out, key, child.page)?);
            node.last = child.last;
        }
    }
    Ok(nodes)
}

/// The shortest start of `first` that is greater than `before`, which is less than `first`.
fn shortest_above<'a>(before: &[u8], first: &'a [u8]) -> &'a [u8] {
    let common = before.iter().zip(first).take_while(|(a, b)| a == b).count();
    first.get(..=common).unwrap_or(first)
}

/// The longest key or value kept in a page, so that two pairs fit.
fn longest_inline(page_size: usize) -> usize {
    (page_size - HEADER) / 4 - 10
}

/// A leaf item.
fn encode(out: &mut NewFile, value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let order = out.shape.order;
    if value.len() > longest_inline(out.shape.page_size) {
        return off_page(out, value);
    }
    let mut item = order.put16(value.len() as u16).to_vec();
    item.push(INLINE);
    item.extend_from_slice(value);
    item.resize(item.len().next_multiple_of(4), 0);
    Ok(item)
}

fn off_page(out: &mut NewFile, value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let first = out.overflow(value)?;
    let order: Order = out.shape.order;
    Ok([[0, 0, OFF_PAGE, 0], order.put32(first), order.put32(value.len() as u32)].concat())
}

fn inner_size(key: &[u8], longest: usize) -> usize {
    12 + if key.len() > longest { 12 } else { key.len().next_multiple_of(4) }
}

/// An item of an inner page.
fn inner(out: &mut NewFile, key: &[u8], child: u32) -> Result<Vec<u8>, Malformed> {
    let (kind, key) = match key.len() > longest_inline(out.shape.page_size) {
        true => (OFF_PAGE, off_page(out, key)?),
        false => (INLINE, key.to_vec()),
    };
    let order = out.shape.order;
    let mut item = order.put16(key.len() as u16).to_vec();
    item.extend_from_slice(&[kind, 0]);
    item.extend_from_slice(&order.put32(child));
    item.extend_from_slice(&[0; 4]);
    item.extend_from_slice(&key);
    item.resize(item.len().next_multiple_of(4), 0);
    Ok(item)
}
