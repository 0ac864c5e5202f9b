//! `mime.cache`, which `update-mime-database` writes.
//!
//! Follows the shared MIME-info specification, section "The cache files": big-endian, a header of
//! nine offsets, tables of records, strings; and a tenth offset, which is not in the specification,
//! of what `update-mime-database` writes last: the strings of all types.

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

/// The deepest nesting of a tree in the file; globs and magic rules are far shallower.
const DEPTH: usize = 256;

/// Aliases, parents, literals, globs, magic rules, namespaces and icons.
///
/// # Errors
/// [`Malformed`] if an offset leaves the file, or the tree of suffixes is deeper than 256.
pub(crate) fn parse(bytes: &[u8], facts: Facts) -> Result<Facts, Malformed> {
    let file = Mapped { bytes, order: Order::Big };
    let version = (file.u16(0, "header")?, file.u16(2, "header")?);
    if !matches!(version, (1, 0..=2)) {
        return Err(Malformed::at(0, "not a MIME cache of version 1.0 to 1.2"));
    }
    let mut reader = Reader { file, facts, left: bytes.len() };
    reader.facts.text("header", "version", format!("{}.{}", version.0, version.1));
    reader.pairs(4, "aliases")?;
    reader.parents()?;
    reader.weighted(12, "literal names")?;
    reader.suffixes()?;
    reader.weighted(20, "globs")?;
    reader.magic()?;
    reader.namespaces()?;
    if version.1 >= 1 {
        reader.pairs(32, "icons")?;
        reader.pairs(36, "generic icons")?;
    }
    if version.1 >= 2 {
        reader.types()?;
    }
    reader.facts.finish()
}

struct Reader<'a> {
    file: Mapped<'a>,
    facts: Facts,
    /// Tree nodes that may still be visited, at most as many as the file has bytes.
    left: usize,
}

impl Reader<'_> {
    fn u32(&self, at: u64) -> Result<u64, Malformed> {
        self.file.u32(at, "table").map(u64::from)
    }

    fn string(&self, at: u64) -> Result<String, Malformed> {
        self.file.text(self.u32(at)?, "string")
    }

    /// The records of the table whose offset is at `field`.
    fn table(
        &self,
        field: u64,
        size: u64,
        what: &str,
    ) -> Result<impl Iterator<Item = u64> + use<>, Malformed> {
        let at = self.u32(field)?;
        let count = self.file.count(at, size, what)?;
        self.file.slice(at + 4, count * size, what)?;
        Ok((0..count).map(move |n| at + 4 + n * size))
    }

    fn pairs(&mut self, field: u64, kind: &'static str) -> Result<(), Malformed> {
        for at in self.table(field, 8, kind)? {
            let (name, value) = (self.string(at)?, self.string(at + 4)?);
            self.facts.text(kind, name, value);
        }
        Ok(())
    }

    fn weighted(&mut self, field: u64, kind: &'static str) -> Result<(), Malformed> {
        for at in self.table(field, 12, kind)? {
            let value = format!("{} ({:#x})", self.string(at + 4)?, self.u32(at + 8)?);
            let name = self.string(at)?;
            self.facts.text(kind, name, value);
        }
        Ok(())
    }

    fn parents(&mut self) -> Result<(), Malformed> {
        for at in self.table(8, 8, "parents")? {
            let name = self.string(at)?;
            for parent in self.table(at + 4, 4, "parents")? {
                let parent = self.string(parent)?;
                self.facts.text("parents", name.clone(), parent);
            }
        }
        Ok(())
    }

    fn suffixes(&mut self) -> Result<(), Malformed> {
        let at = self.u32(16)?;
        let (count, first) = (self.file.count(at, 12, "suffixes")?, self.u32(at + 4)?);
        self.branch(first, count, &mut Vec::new())
    }

    /// Adds the nodes from `first` on; `tail` has the characters so far, the last one first.
    fn branch(&mut self, first: u64, count: u64, tail: &mut Vec<char>) -> Result<(), Malformed> {
        for at in (0..count).map(|n| first + n * 12) {
            let room = self.left.checked_sub(1).filter(|_| tail.len() < DEPTH);
            self.left = room.ok_or_else(|| Malformed::at(at, "the tree of suffixes is too big"))?;
            match self.u32(at)? {
                0 => {
                    let name: String = tail.iter().rev().collect();
                    let value = format!("{} ({:#x})", self.string(at + 4)?, self.u32(at + 8)?);
                    self.facts.text("suffixes", name, value);
                }
                letter => {
                    let letter = u32::try_from(letter).ok().and_then(char::from_u32);
                    tail.push(letter.unwrap_or(char::REPLACEMENT_CHARACTER));
                    let (children, first) = (self.u32(at + 4)?, self.u32(at + 8)?);
                    self.branch(first, children, tail)?;
                    tail.pop();
                }
            }
        }
        Ok(())
    }

    fn magic(&mut self) -> Result<(), Malformed> {
        let at = self.u32(24)?;
        let (count, first) = (self.file.count(at, 16, "magic rules")?, self.u32(at + 8)?);
        for at in (0..count).map(|n| first + n * 16) {
            let mut rule = self.u32(at)?.to_be_bytes().to_vec();
            self.matchlets(self.u32(at + 12)?, self.u32(at + 8)?, 0, &mut rule)?;
            let name = self.string(at + 4)?;
            self.facts.opaque("magic rules", name, &rule);
        }
        Ok(())
    }

    /// Appends a list of match conditions, without its offsets.
    fn matchlets(
        &mut self,
        first: u64,
        count: u64,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        for at in (0..count).map(|n| first + n * 32) {
            let room = self.left.checked_sub(1).filter(|_| depth < DEPTH);
            self.left = room.ok_or_else(|| Malformed::at(at, "the magic rules are too many"))?;
            out.extend(self.file.slice(at, 16_u64, "magic rule")?);
            let len = self.u32(at + 12)?;
            out.extend(self.file.slice(self.u32(at + 16)?, len, "magic value")?);
            match self.u32(at + 20)? {
                0 => out.push(0),
                mask => out.extend(self.file.slice(mask, len, "magic mask")?),
            }
            let (children, below) = (self.u32(at + 24)?, self.u32(at + 28)?);
            out.extend(children.to_be_bytes());
            self.matchlets(below, children, depth + 1, out)?;
        }
        Ok(())
    }

    /// Checks that the last table is complete. Old files have strings in place of its offset, which
    /// give a number far beyond any file's size.
    fn types(&mut self) -> Result<(), Malformed> {
        const NO_STRING: u64 = 1 << 24;
        if self.u32(40)? < NO_STRING {
            self.table(40, 4, "types").map(drop)?;
        }
        Ok(())
    }

    fn namespaces(&mut self) -> Result<(), Malformed> {
        for at in self.table(28, 12, "namespaces")? {
            let name = format!("{} {}", self.string(at)?, self.string(at + 4)?);
            let value = self.string(at + 8)?;
            self.facts.text("namespaces", name, value);
        }
        Ok(())
    }
}
