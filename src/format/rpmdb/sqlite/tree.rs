//! Writes a b-tree from sorted rows: every page is as full as possible, so that the same rows give
//! the same bytes, whatever version of SQLite is linked.

use super::pages::{HEADER, Kind, PAGE, Page, Pages};
use super::record::{Value, push_varint, record};
use crate::format::Malformed;

/// A b-tree under construction. Everything here fails only if a database gets too large.
pub(super) struct Tree<'p> {
    pages: &'p mut Pages,
    /// The present leaf.
    leaf: Page,
    leaves: Vec<Child>,
    /// A table's largest row number so far.
    largest: u32,
    /// An index's last cell in the leaf.
    last: Vec<u8>,
    /// An index's cell that did not fit into the leaf: it will be between this leaf and the next.
    divider: Option<Vec<u8>>,
}

/// A page of a level, and what separates it from its right neighbour: its largest number, or the
/// record between the two; empty for the last one.
struct Child {
    page: u32,
    divider: Vec<u8>,
}

impl<'p> Tree<'p> {
    /// An empty table.
    pub(super) fn table(pages: &'p mut Pages) -> Result<Self, Malformed> {
        Self::begin(pages, Kind::TableLeaf)
    }

    /// An empty index.
    pub(super) fn index(pages: &'p mut Pages) -> Result<Self, Malformed> {
        Self::begin(pages, Kind::IndexLeaf)
    }

    fn begin(pages: &'p mut Pages, leaf: Kind) -> Result<Self, Malformed> {
        let leaf = pages.begin(leaf)?;
        Ok(Tree { pages, leaf, leaves: Vec::new(), largest: 0, last: Vec::new(), divider: None })
    }

    /// Adds a row to a table, with a number larger than those before.
    pub(super) fn row(&mut self, number: u32, values: &[Value<'_>]) -> Result<(), Malformed> {
        self.pages.row(number, values)?;
        if !self.pages.put(&mut self.leaf) {
            let mut divider = Vec::new();
            push_varint(&mut divider, self.largest.into());
            self.next_leaf(Kind::TableLeaf, divider)?;
            self.pages.put(&mut self.leaf);
        }
        self.largest = number;
        Ok(())
    }

    /// Adds a record to an index, which is larger than those before.
    pub(super) fn record(&mut self, values: &[Value<'_>]) -> Result<(), Malformed> {
        if let Some(divider) = self.divider.take() {
            self.next_leaf(Kind::IndexLeaf, divider)?;
        }
        self.pages.record(values)?;
        if self.pages.put(&mut self.leaf) {
            self.last.clone_from(&self.pages.cell);
        } else {
            self.divider = Some(self.pages.cell.clone());
        }
        Ok(())
    }

    fn next_leaf(&mut self, kind: Kind, divider: Vec<u8>) -> Result<(), Malformed> {
        self.leaves.push(Child { page: self.leaf.number, divider });
        self.leaf = self.pages.begin(kind)?;
        Ok(())
    }

    /// Writes the levels above the leaves of a table; returns its root page.
    pub(super) fn end_table(mut self) -> Result<u32, Malformed> {
        let leaves = self.all_leaves();
        self.above(leaves, Kind::TableInterior)
    }

    /// Writes the levels above the leaves of an index; returns its root page.
    pub(super) fn end_index(mut self) -> Result<u32, Malformed> {
        if let Some(right) = self.divider.take() {
            // No record is left for a leaf to its right, so it moves there, and the one before it
            // becomes the divider: no leaf is empty.
            let divider = std::mem::take(&mut self.last);
            self.pages.take_back(&mut self.leaf, divider.len());
            self.next_leaf(Kind::IndexLeaf, divider)?;
            self.pages.cell = right;
            self.pages.put(&mut self.leaf);
        }
        let leaves = self.all_leaves();
        self.above(leaves, Kind::IndexInterior)
    }

    fn all_leaves(&mut self) -> Vec<Child> {
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.push(Child { page: self.leaf.number, divider: Vec::new() });
        leaves
    }

    fn above(&mut self, mut level: Vec<Child>, kind: Kind) -> Result<u32, Malformed> {
        while level.len() > 1 {
            level = interior(self.pages, level, kind)?;
        }
        Ok(level.first().map_or(0, |root| root.page))
    }
}

/// Writes the table of the schema, whose rows are numbered from 1 and whose root is page 1.
pub(super) fn schema(pages: &mut Pages, rows: &[[Value<'_>; 5]]) -> Result<(), Malformed> {
    let rows = || (1..).zip(rows);
    let mut needed = Kind::TableLeaf.head();
    for (number, values) in rows() {
        needed += row_size(number, values);
    }
    if needed <= PAGE - HEADER {
        let mut root = pages.first(Kind::TableLeaf);
        for (number, values) in rows() {
            pages.row(number, values)?;
            pages.put(&mut root);
        }
        return Ok(());
    }
    let mut tree = Tree::table(pages)?;
    for (number, values) in rows() {
        tree.row(number, values)?;
    }
    let mut level = tree.all_leaves();
    // A single leaf that is too large for page 1 becomes its only child, as in SQLite.
    let room = PAGE - HEADER - Kind::TableInterior.head();
    while level.iter().rev().skip(1).map(cell).sum::<usize>() > room {
        level = interior(pages, level, Kind::TableInterior)?;
    }
    let root = pages.first(Kind::TableInterior);
    fill(pages, root, level);
    Ok(())
}

/// Bytes of a row's cell and its pointer; a row with overflow pages counts completely.
fn row_size(number: u32, values: &[Value<'_>]) -> usize {
    let mut bytes = Vec::new();
    record(&mut bytes, values);
    let length = bytes.len() as u64;
    push_varint(&mut bytes, length);
    push_varint(&mut bytes, number.into());
    bytes.len() + 2
}

/// The level above `level`.
fn interior(pages: &mut Pages, level: Vec<Child>, kind: Kind) -> Result<Vec<Child>, Malformed> {
    let mut above = Vec::new();
    for mut children in shares(level) {
        let page = pages.begin(kind)?;
        let divider = children.last_mut().map(|last| std::mem::take(&mut last.divider));
        above.push(Child { page: page.number, divider: divider.unwrap_or_default() });
        fill(pages, page, children);
    }
    Ok(above)
}

/// Fills an interior page with children that fit.
fn fill(pages: &mut Pages, mut page: Page, mut children: Vec<Child>) {
    let right = children.pop().map_or(0, |last| last.page);
    for child in children {
        pages.cell.clear();
        pages.cell.extend_from_slice(&child.page.to_be_bytes());
        pages.cell.extend_from_slice(&child.divider);
        pages.put(&mut page);
    }
    pages.set_right(&page, right);
}

/// Bytes of a child's cell and its pointer.
fn cell(child: &Child) -> usize {
    child.divider.len() + 6
}

/// The children of each page of the level above: as many as fit, at least two.
fn shares(level: Vec<Child>) -> Vec<Vec<Child>> {
    let mut shares: Vec<Vec<Child>> = Vec::new();
    let mut room = 0;
    for child in level {
        match shares.last_mut() {
            // Its left neighbour needs a cell if both are on the same page.
            Some(share) if share.last().map_or(0, cell) <= room => {
                room -= share.last().map_or(0, cell);
                share.push(child);
            }
            _ => {
                room = PAGE - Kind::TableInterior.head();
                shares.push(vec![child]);
            }
        }
    }
    if let [.., before, last] = &mut shares[..]
        && last.len() == 1
    {
        last.splice(..0, before.pop());
    }
    shares
}
