//! The part of a walk that plugins want.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::normal::Chain;
use crate::tree::{Entry, Kind};

/// The part of a walk that plugins want: each inode with all its names in the tree.
///
/// Memory: eight bytes per inode and name.
#[derive(Debug)]
pub struct Wanted<'e> {
    pub(super) entries: &'e [Entry],
    /// Indices in `entries`, inode by inode.
    names: Vec<u32>,
    /// Where in `names` each inode ends.
    ends: Vec<u32>,
}

impl<'e> Wanted<'e> {
    /// Asks every plugin about each of `entries`, a walk sorted by path. No I/O.
    pub fn of(entries: &'e [Entry], chain: &Chain<'_>) -> Self {
        let wanted: Vec<bool> = entries.par_iter().map(|e| chain.wants(e)).collect();
        let mut linked: BTreeMap<(u64, u64), u32> = BTreeMap::new();
        let mut asked: Vec<bool> = Vec::new();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (place, (entry, wanted)) in (0..).zip(entries.iter().zip(wanted)) {
            // A directory, and anything without an inode, has one name.
            let inode = entry.inode.filter(|i| i.nlink.get() > 1 && entry.kind != Kind::Dir);
            let next = asked.len() as u32;
            let group = match inode {
                None if !wanted => continue,
                None => next,
                Some(inode) => *linked.entry((inode.dev, inode.ino)).or_insert(next),
            };
            match asked.get_mut(group as usize) {
                Some(asked) => *asked |= wanted,
                None => asked.push(wanted),
            }
            pairs.push((group, place));
        }
        pairs.retain(|(group, _)| asked[*group as usize]);
        pairs.sort_unstable();
        let mut ends = Vec::new();
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            ends.push(ends.last().copied().unwrap_or(0) + group.len() as u32);
        }
        Wanted { entries, names: pairs.into_iter().map(|(_, place)| place).collect(), ends }
    }

    /// The names of an inode.
    pub(super) fn names(&self, inode: usize) -> Vec<&'e Entry> {
        let start = inode.checked_sub(1).map_or(0, |before| self.ends[before]);
        let places = &self.names[start as usize..self.ends[inode] as usize];
        places.iter().map(|place| &self.entries[*place as usize]).collect()
    }

    /// The number of inodes that some plugin wants.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether no plugin wants anything.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}
