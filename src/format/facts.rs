//! The content of a generated file as named facts, by which two files are compared.
//!
//! Index and cache formats have no field that may be changed without their generator, but their
//! content can be compared: readers of such formats add facts to [`Facts::of`] or
//! [`Facts::counted`], and [`Facts::compare`] names those that differ.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Malformed;
use crate::text::is_hidden;

/// The most names in one line.
const LISTED: usize = 5;
/// The most bytes of a name or value in a line.
const SHOWN: usize = 80;

/// The most bytes of names and values per byte of a file: a hostile file may refer to one string
/// many times.
const EXPANSION: usize = 64;

/// The facts of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    list: Vec<Fact>,
    /// Bytes that names and values may still take; `None` once that is exceeded.
    room: Option<usize>,
    /// Whether they are kept, or only counted.
    kept: bool,
}

/// One fact of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fact {
    /// The kind of thing, as a plural: "libraries".
    pub kind: &'static str,
    /// Its name. Several facts may have the same name; then their order counts.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether the value may be shown, or only that it differs.
    pub shown: bool,
}

impl Facts {
    /// Empty facts of the file `bytes`, whose size limits them.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Facts { kept: true, ..Self::counted(bytes) }
    }

    /// Facts that are counted but not kept, to check whether the file `bytes` can be read.
    pub(crate) fn counted(bytes: &[u8]) -> Self {
        let room = bytes.len().saturating_mul(EXPANSION).saturating_add(1 << 16);
        Facts { list: Vec::new(), room: Some(room), kept: false }
    }

    /// Empty facts of the same kind for what the file unpacks to.
    pub(crate) fn inside(&self, bytes: &[u8]) -> Self {
        Facts { kept: self.kept, ..Self::counted(bytes) }
    }

    /// The facts, unless they took more room than an honest file needs.
    pub(crate) fn finish(self) -> Result<Self, Malformed> {
        match self.room {
            Some(_) => Ok(self),
            None => Err(Malformed::at(0, "the file says more than 64 times its size")),
        }
    }

    /// Reserves room for a fact; `false` if there is none left.
    fn fits(&mut self, bytes: usize) -> bool {
        self.room = self.room.and_then(|room| room.checked_sub(bytes));
        self.room.is_some()
    }

    /// Adds a fact whose value people can read.
    pub(crate) fn text(
        &mut self,
        kind: &'static str,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) {
        let (name, value) = (name.as_ref(), value.as_ref());
        if self.fits(name.len() + value.len()) && self.kept {
            self.list.push(Fact { kind, name: name.into(), value: value.into(), shown: true });
        }
    }

    /// Adds a fact whose value is only compared, by its digest.
    pub(crate) fn opaque(&mut self, kind: &'static str, name: impl AsRef<str>, value: &[u8]) {
        let name = name.as_ref();
        if self.fits(name.len() + value.len()) && self.kept {
            let value = Sha256::digest(value)[..16].escape_ascii().to_string();
            self.list.push(Fact { kind, name: name.into(), value, shown: false });
        }
    }

    /// How two files differ: one line for the facts of a kind that only one has, one line per
    /// differing fact up to five per kind, and one line if only the order differs.
    pub(crate) fn compare(&self, other: &Facts) -> Vec<String> {
        let mut kinds: Vec<&str> = self.list.iter().chain(&other.list).map(|f| f.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds.into_iter().flat_map(|kind| compare_kind(kind, self, other)).collect()
    }

    fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Fact> {
        self.list.iter().filter(move |f| f.kind == kind)
    }

    /// The facts of a kind by name.
    fn by_name(&self, kind: &str) -> BTreeMap<&str, Vec<&Fact>> {
        let mut map: BTreeMap<&str, Vec<&Fact>> = BTreeMap::new();
        for fact in self.of_kind(kind) {
            map.entry(&fact.name).or_default().push(fact);
        }
        map
    }
}

fn compare_kind(kind: &str, a: &Facts, b: &Facts) -> Vec<String> {
    let (left, right) = (a.by_name(kind), b.by_name(kind));
    let mut out = Vec::new();
    for (here, there, side) in [(&left, &right, "first"), (&right, &left, "second")] {
        let only: Vec<&str> = here.keys().filter(|n| !there.contains_key(*n)).copied().collect();
        if !only.is_empty() {
            out.push(format!("{kind} only in the {side}: {}", listed(&only)));
        }
    }
    let changed: Vec<_> = left
        .iter()
        .filter_map(|(name, x)| right.get(name).map(|y| (*name, x, y)))
        .filter(|(_, x, y)| values(x).ne(values(y)))
        .collect();
    out.extend(changed.iter().take(LISTED).map(|(name, x, y)| difference(kind, name, x, y)));
    if changed.len() > LISTED {
        out.push(format!("{kind}: {} more differ", changed.len() - LISTED));
    }
    let order = |facts: &Facts| facts.of_kind(kind).map(|f| f.name.clone()).collect::<Vec<_>>();
    if out.is_empty() && order(a) != order(b) {
        out.push(format!("the order of the {kind} differs"));
    }
    out
}

fn values<'f>(facts: &'f [&Fact]) -> impl Iterator<Item = &'f str> {
    facts.iter().map(|f| f.value.as_str())
}

fn difference(kind: &str, name: &str, a: &[&Fact], b: &[&Fact]) -> String {
    if a.iter().chain(b).any(|f| !f.shown) {
        return format!("{kind}: {} differs", short(name));
    }
    let text = |facts: &[&Fact]| short(&values(facts).collect::<Vec<_>>().join(", "));
    format!("{kind}: {}: {} and {}", short(name), text(a), text(b))
}

fn listed(names: &[&str]) -> String {
    let mut out = names.iter().take(LISTED).map(|n| short(n)).collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        out += &format!(" and {} more", names.len() - LISTED);
    }
    out
}

/// A name on one line, without anything that a terminal acts on.
fn short(text: &str) -> String {
    let clean = text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c });
    let line: String = clean.take(SHOWN).collect();
    if line.len() < text.len() && line.chars().count() == SHOWN { line + "…" } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(list: &[(&'static str, &str, &str)]) -> Facts {
        let mut facts = Facts::of(&[]);
        list.iter().for_each(|(kind, name, value)| facts.text(kind, *name, *value));
        facts
    }

    #[test]
    fn names_values_and_order_are_told_apart() {
        let a = facts(&[("icons", "x", "1"), ("icons", "y", "2"), ("icons", "w", "9")]);
        let b = facts(&[("icons", "y", "3"), ("icons", "x", "1"), ("icons", "z", "4")]);
        assert_eq!(
            a.compare(&b),
            ["icons only in the first: w", "icons only in the second: z", "icons: y: 2 and 3"]
        );
        let c = facts(&[("icons", "y", "2"), ("icons", "w", "9"), ("icons", "x", "1")]);
        assert_eq!(a.compare(&c), ["the order of the icons differs"]);
        assert!(a.compare(&a.clone()).is_empty());
    }

    #[test]
    fn a_file_that_says_one_thing_for_ever_is_refused() {
        let mut facts = Facts::of(&[0; 100]);
        let long = "x".repeat(1 << 12);
        (0..1000).for_each(|_| facts.text("keys", long.clone(), ""));
        assert!(facts.list.len() < 20);
        assert!(facts.finish().is_err());
    }

    #[test]
    fn long_lists_end() {
        let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let side = |value| {
            let mut facts = Facts::of(&[]);
            many.iter().for_each(|n| facts.text("keys", n.clone(), value));
            facts
        };
        let said = side("a").compare(&side("b"));
        assert_eq!((said.len(), said[5].as_str()), (6, "keys: 4 more differ"));
        let said = side("a").compare(&Facts::default());
        assert_eq!(said, ["keys only in the first: 0, 1, 2, 3, 4 and 4 more"]);
    }
}
