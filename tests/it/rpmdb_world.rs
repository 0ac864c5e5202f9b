//! Random histories of a package set, at the level of records, for the tests of all backends.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reprofix::format::rpmdb::header::{Header, tag};
use reprofix::format::rpmdb::{INSTALLTID_INDEX, Logical};

/// A package of a fixture and the rows that the indexes hold of it: table, index in the tag, key.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) blob: Vec<u8>,
    pub(crate) rows: Vec<(String, u32, Vec<u8>)>,
}

/// The packages of a database by their number.
pub(crate) fn known(db: &Logical<'_>) -> Vec<Known> {
    let mut packages: BTreeMap<u32, Known> = BTreeMap::new();
    for package in &db.packages {
        let known = Known { blob: package.blob.whole().into_owned(), rows: Vec::new() };
        packages.insert(package.hnum, known);
    }
    for (table, rows) in &db.indexes {
        for row in rows {
            let known = packages.get_mut(&row.hnum).unwrap();
            known.rows.push((table.clone(), row.idx, row.key.to_vec()));
        }
    }
    packages.into_values().collect()
}

impl Known {
    /// The package as installed at `time`.
    pub(crate) fn at(&self, time: u32) -> Known {
        let mut new = self.clone();
        for place in Header::parse(&self.blob).unwrap().times().unwrap() {
            new.blob[place].copy_from_slice(&time.to_be_bytes());
        }
        for (table, _, key) in &mut new.rows {
            if table == INSTALLTID_INDEX {
                *key = time.to_le_bytes().to_vec();
            }
        }
        assert!(Header::parse(&new.blob).unwrap().get(tag::INSTALLTID).is_some());
        new
    }
}

/// Packages by their place in a list, each installed or, if it is, erased: what is left is the
/// set that the history leads to.
pub(crate) fn histories(packages: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..packages, 0..3 * packages)
}

/// What a history leads to, installed in order: the shortest history of the same set.
pub(crate) fn shortest(history: &[usize]) -> Vec<usize> {
    let times = |package| history.iter().filter(|&&other| other == package).count();
    let mut left: Vec<usize> = history.to_vec();
    left.sort_unstable();
    left.dedup();
    left.retain(|&package| times(package) % 2 == 1);
    left
}

/// One step of a history.
pub(crate) enum Event<'a> {
    /// This package came, with this number.
    Install(u32, &'a Known),
    /// The package of this number went.
    Erase(u32, &'a Known),
}

/// Plays a history as rpm numbers it: every package that comes gets the next number.
pub(crate) fn play(
    world: &[Known],
    history: &[usize],
    start: u32,
    each: &mut dyn FnMut(Event<'_>),
) {
    let mut installed: BTreeMap<usize, (u32, Known)> = BTreeMap::new();
    for (hnum, &package) in (1..).zip(history) {
        match installed.remove(&package) {
            Some((hnum, known)) => each(Event::Erase(hnum, &known)),
            None => {
                let known = world[package].at(start + hnum / 3);
                each(Event::Install(hnum, &known));
                installed.insert(package, (hnum, known));
            }
        }
    }
}
