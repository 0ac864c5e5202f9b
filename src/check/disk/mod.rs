//! Two disk images byte by byte: every byte that differs is in one class, and the classes have a sum.

mod bytes;
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::describe::{disk as partitions, superblock};
use crate::format::filesystem::blocks::{Blocks, Part as Range};
use crate::format::gpt::{Role, Table};
use crate::format::verity;
use crate::source::disk::{Disk, Part};
use bytes::{Found, differing};
use uses::Uses;

/// What a byte that differs is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A field of the partition table.
    Table,
    /// A file system's identifiers, times and checksums.
    Identifiers,
    /// Blocks that are elsewhere, and the inodes, maps and directories that say where.
    Layout,
    /// The content of a path that differs.
    Contents,
    /// Free blocks, ends of blocks, and what is outside of partitions.
    Slack,
    /// Hash trees and signatures, which follow what they are of, and what is encrypted.
    Sealed,
    /// Anything else.
    Unexplained,
}

impl Class {
    /// Every class, in the order of reports.
    pub const ALL: [Class; 7] = [
        Class::Table,
        Class::Identifiers,
        Class::Layout,
        Class::Contents,
        Class::Slack,
        Class::Sealed,
        Class::Unexplained,
    ];

    /// The words of reports.
    pub fn words(self) -> &'static str {
        match self {
            Class::Table => "partition table",
            Class::Identifiers => "identifiers and times",
            Class::Layout => "layout: blocks elsewhere, inodes, maps, directories",
            Class::Contents => "contents",
            Class::Slack => "slack and unallocated",
            Class::Sealed => "hash trees, signed or encrypted",
            Class::Unexplained => "unexplained",
        }
    }
}

/// How many bytes of a class differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The class.
    pub class: Class,
    /// The bytes.
    pub bytes: u64,
}

/// What two disks differ in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disks {
    /// Bytes that differ.
    pub bytes: u64,
    /// The bytes of each class, also of those that no byte is in.
    pub classes: Vec<Count>,
    /// What differs in the table and in each partition, one phrase per line.
    pub lines: Vec<String>,
}

impl Disks {
    /// Whether anything differs.
    pub fn differ(&self) -> bool {
        self.bytes > 0 || !self.lines.is_empty()
    }

    /// Whether bytes differ that are in no other class.
    pub fn has_unexplained(&self) -> bool {
        let unexplained = |count: &Count| count.class == Class::Unexplained && count.bytes > 0;
        self.classes.iter().any(unexplained)
    }
}

/// A comparison on its way.
struct Work<'a> {
    /// Paths whose contents differ.
    paths: &'a BTreeSet<PathBuf>,
    counts: BTreeMap<Class, u64>,
    lines: Vec<String>,
}

/// Compares two disks, of whose trees `paths` have contents that differ.
///
/// # Errors
///
/// If one cannot be read.
pub fn compare(a: &Disk, b: &Disk, paths: &BTreeSet<PathBuf>) -> io::Result<Disks> {
    let mut work = Work { paths, counts: BTreeMap::new(), lines: Vec::new() };
    if a.blocks.size() != b.blocks.size() {
        work.lines.push(format!("sizes {} | {} bytes", a.blocks.size(), b.blocks.size()));
    }
    let mut roles = Vec::new();
    match (&a.table, &b.table) {
        (Some(x), Some(y)) => {
            work.lines.extend(partitions::tables(x, y));
            work.outside(a, b, x, y)?;
            for (p, q) in partitions::paired(x, y) {
                let (Some(p), Some(q)) = (p, q) else {
                    work.lines.extend(p.map(|p| format!("partition {p}: only in A")));
                    work.lines.extend(q.map(|q| format!("partition {q}: only in B")));
                    work.one_sided(p.map_or(b, |_| a), p.or(q).map(|p| p.number))?;
                    continue;
                };
                work.lines.extend(partitions::entries(p, q));
                if work.pair((a, part(a, p.number)), (b, part(b, q.number)))? {
                    roles.push(p.role());
                }
            }
        }
        (None, None) => {
            work.pair((a, a.parts.first()), (b, b.parts.first()))?;
        }
        _ => {
            work.lines.push("only one of them has a partition table".to_owned());
            work.raw(&a.blocks, &b.blocks, Class::Unexplained)?;
        }
    }
    work.lines.extend(partitions::verdict(|| root_hash(a), &roles));
    let classes = Class::ALL.map(|class| {
        let bytes = work.counts.get(&class).copied().unwrap_or_default();
        Count { class, bytes }
    });
    let bytes = classes.iter().map(|count| count.bytes).sum();
    Ok(Disks { bytes, classes: classes.into(), lines: work.lines })
}

fn part(disk: &Disk, number: u32) -> Option<&Part> {
    disk.parts.iter().find(|part| part.partition.as_ref().is_some_and(|p| p.number == number))
}

fn role(part: &Part) -> Role {
    part.partition.as_ref().map_or(Role::Data, |partition| partition.role())
}

/// Bytes of a hash tree or a signature that are read whole, at most.
const WHOLE_MAX: u64 = 256 << 20;

fn whole(part: &Part) -> io::Result<Vec<u8>> {
    part.blocks.head(part.blocks.size().min(WHOLE_MAX) as usize)
}

fn root_hash(disk: &Disk) -> Option<String> {
    let tree = disk.parts.iter().find(|part| role(part) == Role::Verity)?;
    Some(verity::read(&whole(tree).ok()?).ok()??.root_hash())
}

impl Work<'_> {
    fn count(&mut self, class: Class, bytes: u64) {
        *self.counts.entry(class).or_default() += bytes;
    }

    /// Counts what differs in two stretches as one class; gives how much.
    fn raw(&mut self, a: &Arc<dyn Blocks>, b: &Arc<dyn Blocks>, class: Class) -> io::Result<u64> {
        let mut bytes = 0;
        differing(&**a, &**b, &mut |run| {
            bytes += run.end - run.start;
            Ok(())
        })?;
        self.count(class, bytes);
        Ok(bytes)
    }

    /// A partition that only one disk has: its data are bytes that differ.
    fn one_sided(&mut self, disk: &Disk, number: Option<u32>) -> io::Result<()> {
        let Some(part) = number.and_then(|number| part(disk, number)) else { return Ok(()) };
        let nothing: Arc<dyn Blocks> = Arc::new(Vec::new());
        self.raw(&part.blocks, &nothing, Class::Contents).map(drop)
    }

    /// What is outside of partitions: the tables, and room.
    fn outside(&mut self, a: &Disk, b: &Disk, x: &Table, y: &Table) -> io::Result<()> {
        let end = a.blocks.size().min(b.blocks.size());
        let mut taken: Vec<std::ops::Range<u64>> =
            x.partitions.iter().chain(&y.partitions).map(|p| p.bytes.clone()).collect();
        // Behind the last partition, both end with a copy of the table.
        let last = taken.iter().map(|range| range.end).max().unwrap_or_default();
        taken.sort_by_key(|range| range.start);
        let head = (2 * x.sector + 16_384).min(end);
        let mut from = 0;
        let mut room = Vec::new();
        for range in taken {
            room.push(from..range.start.max(from));
            from = from.max(range.end);
        }
        let part = |disk: &Disk, range| -> Arc<dyn Blocks> {
            Arc::new(Range::new(Arc::clone(&disk.blocks), range))
        };
        for range in room {
            for (range, class) in [
                (range.start.min(440)..range.end.min(440), Class::Unexplained),
                (range.start.clamp(440, head)..range.end.clamp(440, head), Class::Table),
                (range.start.max(head)..range.end.max(head), Class::Slack),
            ] {
                self.raw(&part(a, range.clone()), &part(b, range), class)?;
            }
        }
        let copy = x.sector + 16_384;
        let behind = |disk: &Disk| disk.blocks.size().saturating_sub(copy).max(last);
        let (p, q) = (last..behind(a), last..behind(b));
        self.raw(&part(a, p), &part(b, q), Class::Slack)?;
        let tails = [a, b].map(|disk| part(disk, behind(disk)..disk.blocks.size()));
        self.raw(&tails[0], &tails[1], Class::Table).map(drop)
    }

    /// Two partitions of one number; whether any byte differs.
    fn pair(
        &mut self,
        (a, p): (&Disk, Option<&Part>),
        (b, q): (&Disk, Option<&Part>),
    ) -> io::Result<bool> {
        let (Some(p), Some(q)) = (p, q) else { return Ok(false) };
        let (mut x, mut y) = (Uses::of(a, p), Uses::of(b, q));
        let has_contents = self.paths.iter().any(|path| {
            [(a, p), (b, q)].iter().any(|(disk, part)| {
                let at = disk.nodes.get(path).and_then(|node| node.at);
                at.is_some_and(|(n, _)| std::ptr::eq(&disk.parts[n], *part))
            })
        });
        let mut found = Found::new(has_contents);
        differing(&*p.blocks, &*q.blocks, &mut |run| found.add(run, &mut x, &mut y, self.paths))?;
        if found.bytes == 0 {
            return Ok(false);
        }
        for (class, bytes) in &found.counts {
            self.count(*class, *bytes);
        }
        let sizes = match (p.blocks.size(), q.blocks.size()) {
            (x, y) if x == y => format!("{x} bytes"),
            (x, y) => format!("{x} → {y} bytes"),
        };
        let (first, bytes) = (found.first, found.bytes);
        self.lines.push(format!(
            "{p}: first difference at byte {first}: {sizes}, {bytes} of them differ: {}",
            found.classes()
        ));
        let heads = [p.blocks.head(4096)?, q.blocks.head(4096)?];
        let lines = match role(p) {
            Role::Data => superblock::fields(&heads[0], &heads[1]),
            other => partitions::known(other, &whole(p)?, &whole(q)?).unwrap_or_default(),
        };
        self.lines.extend(
            lines.into_iter().chain(found.fields(p.format)).map(|line| format!("{p}: {line}")),
        );
        Ok(true)
    }
}
