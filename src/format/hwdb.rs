//! `hwdb.bin`, udev's hardware database.
//!
//! Follows systemd's `src/libsystemd/sd-hwdb/hwdb-internal.h`: little-endian, a header, the nodes
//! of a trie with their children and values one after another, and all strings at the end. Since
//! systemd 233 a value records the file that it came from, as a path.

use std::collections::{BTreeMap, BTreeSet};

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::facts::Facts;

const SIGNATURE: &[u8] = b"KSLPHHRH";
const HEADER: u64 = 80;
/// A value with the file that it came from.
const VALUE2: u64 = 32;
/// Folders of hwdb files, a folder before those whose path is a suffix of its own.
const FOLDERS: [&[u8]; 5] = [
    b"/usr/local/lib/udev/hwdb.d/",
    b"/usr/lib/udev/hwdb.d/",
    b"/etc/udev/hwdb.d/",
    b"/run/udev/hwdb.d/",
    b"/lib/udev/hwdb.d/",
];
/// The longest key, in bytes.
const DEPTH: usize = 4096;

/// A database and the places of its parts.
#[derive(Clone, Debug)]
pub(crate) struct Hwdb<'a> {
    file: Mapped<'a>,
    child_size: u64,
    value_size: u64,
    root: u64,
    /// Where the strings begin.
    strings: u64,
    /// The offsets of the names of source files.
    files: BTreeSet<u64>,
}

/// Reads every node.
///
/// # Errors
/// [`Malformed`] unless the nodes fill the part that the header names and all offsets point to
/// strings in the file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Hwdb<'_>, Malformed> {
    if !bytes.starts_with(SIGNATURE) {
        return Err(Malformed::at(0, "not a hardware database"));
    }
    let file = Mapped { bytes, order: Order::Little };
    let field = |n: u64| file.u64(8 * n, "header");
    if field(2)? != bytes.len() as u64 {
        return Err(Malformed::at(16, "the header names another size"));
    }
    if (field(3)?, field(4)?) != (HEADER, 24)
        || !matches!((field(5)?, field(6)?), (16, 16 | VALUE2))
    {
        return Err(Malformed::at(24, "unknown sizes of records"));
    }
    let (root, nodes) = (field(7)?, field(8)?);
    let strings = HEADER.checked_add(nodes).filter(|s| *s <= bytes.len() as u64);
    let strings = strings.ok_or_else(|| Malformed::at(64, "the nodes do not fit the file"))?;
    if field(9)? != bytes.len() as u64 - strings {
        return Err(Malformed::at(72, "the strings do not fill the file"));
    }
    // If the last string ends, all do.
    if bytes.last().is_some_and(|last| *last != 0) {
        return Err(Malformed::at(bytes.len(), "the last string does not end"));
    }
    let (child_size, value_size) = (field(5)?, field(6)?);
    let mut hwdb = Hwdb { file, child_size, value_size, root, strings, files: BTreeSet::new() };
    let (mut files, mut last) = (BTreeSet::new(), None);
    hwdb.each_pointer(|at, offset, is_file| {
        if !(strings..bytes.len() as u64).contains(&offset) {
            return Err(Malformed::at(at, "a string is not among the strings"));
        }
        // It is mostly the same again.
        if is_file && last.replace(offset) != Some(offset) {
            files.insert(offset);
        }
        Ok(())
    })?;
    hwdb.files = files;
    Ok(hwdb)
}

impl<'a> Hwdb<'a> {
    /// Calls `each` for every offset of a string, in file order: with its place, the offset, and
    /// whether the string is the name of a source file.
    fn each_pointer(
        &self,
        mut each: impl FnMut(u64, u64, bool) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut at = HEADER;
        while at < self.strings {
            let node = self.file.slice(at, 24, "node")?;
            let (children, values) = (u64::from(node[8]), number(node, 2));
            let mut value = at + 24 + children * self.child_size;
            let end = values.checked_mul(self.value_size).and_then(|len| value.checked_add(len));
            let end = end.filter(|end| *end <= self.strings);
            let end =
                end.ok_or_else(|| Malformed::at(at, "a node does not fit among the nodes"))?;
            each(at, number(node, 0), false)?;
            let records = self.file.slice(value, end - value, "values")?;
            for record in records.chunks_exact(self.value_size as usize) {
                each(value, number(record, 0), false)?;
                each(value + 8, number(record, 1), false)?;
                if self.value_size == VALUE2 {
                    each(value + 16, number(record, 2), true)?;
                }
                value += self.value_size;
            }
            at = end;
        }
        Ok(())
    }

    /// The string that the pointer at `at` names.
    fn string(&self, at: u64) -> Result<&'a [u8], Malformed> {
        self.file.cstr(self.start(at)?, "string")
    }

    /// The start of the string at the pointer at `at`.
    fn start(&self, at: u64) -> Result<u64, Malformed> {
        let offset = self.file.u64(at, "string")?;
        match (self.strings..self.file.bytes.len() as u64).contains(&offset) {
            true => Ok(offset),
            false => Err(Malformed::at(at, "a string is not among the strings")),
        }
    }

    /// The prefixes that name the root of the build: the offset of each name, and the length of the
    /// part before the folder.
    fn prefixes(&self) -> Result<BTreeMap<u64, u64>, Malformed> {
        let mut found = BTreeMap::new();
        for offset in &self.files {
            let name = self.file.cstr(*offset, "file's name")?;
            let folder = FOLDERS.iter().find_map(|f| find_last(name, f)).unwrap_or(0);
            if folder > 0 {
                found.insert(*offset, folder as u64);
            }
        }
        Ok(found)
    }

    /// The database that systemd makes from the same files at `/`: without the path of the root in
    /// the names of files, and with later strings moved up. `None` if no name has such a path.
    ///
    /// # Errors
    /// [`Malformed`] if something else uses what would be removed.
    pub(crate) fn without_root(&self) -> Result<Option<Vec<u8>>, Malformed> {
        let cuts = self.prefixes()?;
        if cuts.is_empty() {
            return Ok(None);
        }
        let mut out = self.file.bytes.to_vec();
        self.each_pointer(|at, offset, _| {
            let before = cuts.range(..offset).next_back();
            if let Some((start, len)) = before
                && offset < start + len
            {
                return Err(Malformed::at(at, "a string is part of the root's path"));
            }
            let moved: u64 = cuts.range(..offset).map(|(_, len)| len).sum();
            put(&mut out, at, offset - moved);
            Ok(())
        })?;
        for (start, len) in cuts.iter().rev() {
            out.drain(*start as usize..(start + len) as usize);
        }
        let len = out.len() as u64;
        put(&mut out, 16, len);
        put(&mut out, 72, len - self.strings);
        Ok(Some(out))
    }

    /// The properties by match pattern, and the version of systemd that made the file.
    ///
    /// # Errors
    /// [`Malformed`] if the trie does not end.
    pub(crate) fn facts(&self, mut facts: Facts) -> Result<Facts, Malformed> {
        facts.text("header", "tool version", self.file.u64(8, "header")?.to_string());
        for file in &self.files {
            facts.text("source files", self.file.text(*file, "file's name")?, "");
        }
        let mut left = self.file.bytes.len();
        self.walk(self.root, &mut Vec::new(), &mut left, &mut facts)?;
        facts.finish()
    }

    fn walk(
        &self,
        at: u64,
        key: &mut Vec<u8>,
        left: &mut usize,
        facts: &mut Facts,
    ) -> Result<(), Malformed> {
        let room = left.checked_sub(24).filter(|_| key.len() <= DEPTH);
        *left = room.ok_or_else(|| Malformed::at(at, "the trie does not end"))?;
        let start = key.len();
        key.extend(self.string(at)?);
        let children = u64::from(self.file.slice(at, 24, "node")?[8]);
        for child in (0..children).map(|n| at + 24 + n * self.child_size) {
            key.push(self.file.slice(child, 1, "child")?[0]);
            self.walk(self.file.u64(child + 8, "child")?, key, left, facts)?;
            key.pop();
        }
        let first = at + 24 + children * self.child_size;
        let values = self.file.u64(at + 16, "node")?;
        for value in (0..values).map(|n| first + n * self.value_size) {
            let text = |at| self.string(at).map(String::from_utf8_lossy);
            let name = format!("{}{}", String::from_utf8_lossy(key), text(value)?);
            facts.text("properties", name, text(value + 8)?);
        }
        key.truncate(start);
        Ok(())
    }
}

/// The `n`th number of eight bytes in a record.
fn number(record: &[u8], n: usize) -> u64 {
    Order::Little.u64(record, 8 * n).unwrap_or(0)
}

fn put(out: &mut [u8], at: u64, value: u64) {
    if let Some(place) = out.get_mut(at as usize..at as usize + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn find_last(name: &[u8], part: &[u8]) -> Option<usize> {
    name.windows(part.len()).rposition(|w| w == part)
}
