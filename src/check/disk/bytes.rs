//! Which bytes of two disks differ, and what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::Class;
use super::uses::{Is, Uses};
use crate::format::filesystem::blocks::Blocks;

/// Bytes that are compared at a time.
const PIECE: u64 = 256 << 10;
/// Fields that are named, at most.
const FIELDS_MAX: usize = 12;

/// Calls `each` with every run of bytes that differ, in order. What is a hole on both sides is not
/// read; what is behind the end of the shorter side counts where the other has data.
pub(super) fn differing(
    a: &dyn Blocks,
    b: &dyn Blocks,
    each: &mut dyn FnMut(Range<u64>) -> io::Result<()>,
) -> io::Result<()> {
    let end = a.size().min(b.size());
    let mut at = 0;
    while at < end {
        let next = [a.data(at)?, b.data(at)?];
        let Some(start) = next.iter().flatten().map(|data| data.start).min() else { break };
        let start = start.min(end);
        let stop = next.iter().flatten().map(|data| match data.start <= start {
            true => data.end,
            false => data.start,
        });
        let stop = stop.min().unwrap_or(end).min(end);
        at = start;
        while at < stop {
            let count = PIECE.min(stop - at) as usize;
            let (x, y) = (a.bytes(at, count)?, b.bytes(at, count)?);
            if x != y {
                runs(at, &x, &y, each)?;
            }
            at += count as u64;
        }
    }
    let longer = if a.size() > end { a } else { b };
    let mut at = end;
    while let Some(data) = longer.data(at)? {
        at = data.end;
        each(data)?;
    }
    Ok(())
}

fn runs(
    at: u64,
    x: &[u8],
    y: &[u8],
    each: &mut dyn FnMut(Range<u64>) -> io::Result<()>,
) -> io::Result<()> {
    let mut from = 0;
    while let Some(start) = (from..x.len()).find(|i| x[*i] != y[*i]) {
        let end = (start..x.len()).find(|i| x[*i] == y[*i]).unwrap_or(x.len());
        each(at + start as u64..at + end as u64)?;
        from = end;
    }
    Ok(())
}

/// What was found in two partitions.
#[derive(Default)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) first: u64,
    pub(super) counts: BTreeMap<Class, u64>,
    /// Whether any content differs in these partitions.
    has_contents: bool,
    fields: BTreeMap<String, u64>,
}

impl Found {
    pub(super) fn new(has_contents: bool) -> Self {
        Found { has_contents, ..Found::default() }
    }

    /// Counts a run of bytes that differ.
    pub(super) fn add(
        &mut self,
        run: Range<u64>,
        x: &mut Uses<'_>,
        y: &mut Uses<'_>,
        paths: &BTreeSet<PathBuf>,
    ) -> io::Result<()> {
        if self.bytes == 0 {
            self.first = run.start;
        }
        let mut at = run.start;
        while at < run.end {
            let ((p, end), (q, other)) = (x.at(at)?, y.at(at)?);
            let end = end.min(other).min(run.end).max(at + 1);
            let (class, name) = class(&p, &q, paths, self.has_contents);
            *self.counts.entry(class).or_default() += end - at;
            if let Some(name) = name {
                *self.fields.entry(name).or_default() += end - at;
            }
            self.bytes += end - at;
            at = end;
        }
        Ok(())
    }

    /// How much of each class, in words.
    pub(super) fn classes(&self) -> String {
        let shown = self.counts.iter().map(|(class, bytes)| format!("{} {bytes}", class.words()));
        shown.collect::<Vec<_>>().join("; ")
    }

    /// The fields and structures that differ, with the bytes of each: the largest ones.
    pub(super) fn fields(&self, format: Option<&str>) -> Option<String> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(name, bytes)| (std::cmp::Reverse(**bytes), (*name).clone()));
        let more = fields.len().saturating_sub(FIELDS_MAX);
        fields.truncate(FIELDS_MAX);
        let mut shown: Vec<_> =
            fields.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        let format = format.map(|format| format!("{format}: ")).unwrap_or_default();
        (!shown.is_empty()).then(|| format!("{format}bytes by field: {}", shown.join(", ")))
    }
}

/// The class of a byte by what it is on either side, and the name of a field.
fn class(p: &Is, q: &Is, paths: &BTreeSet<PathBuf>, has_contents: bool) -> (Class, Option<String>) {
    match (p, q) {
        (Is::Field(name), _) | (_, Is::Field(name)) => {
            (Class::Identifiers, Some((*name).to_owned()))
        }
        (Is::Content(path), _) | (_, Is::Content(path)) if paths.contains(path) => {
            (Class::Contents, None)
        }
        (Is::Packed, Is::Packed) if has_contents => (Class::Contents, None),
        (Is::Packed, Is::Packed) => (Class::Layout, None),
        (Is::Free, Is::Free) => (Class::Slack, None),
        (Is::Sealed, _) | (_, Is::Sealed) => (Class::Sealed, None),
        (Is::Unknown, _) | (_, Is::Unknown) => (Class::Unexplained, None),
        (Is::Metadata(name), _) | (_, Is::Metadata(name)) => {
            (Class::Layout, Some((*name).to_owned()))
        }
        _ => (Class::Layout, None),
    }
}
