//! `ar`: static libraries and other Unix archives.

use std::collections::BTreeMap;

use super::kinds::rewriter::Rewriter;
use crate::format::ar::{self, Member};
use crate::normal::globs::{counted, ends_with_any};
use crate::normal::{Page, Verdict};

static PAGE: Page = Page {
    name: "ar",
    summary: "removes times and owners from static libraries",
    default: true,
    paths: "*.a, *.rlib that begin like archives (a linker script called libm.a does not)",
    varies: "A time, an owner, a group and a mode for each member; the time of the symbol table.",
    why: "`ar` without D, and `ranlib` without -D, record the object files as they were in the \
          build directory.",
    done: "Time, owner and group become 0 and the mode 644, as `ar D` writes them. Names, order \
           and content stay; thin archives are treated the same.",
    lost: "When each object was made: make's `lib.a(member.o)` rules would build them again.",
    upstream: "binutils configured with --enable-deterministic-archives, as in most distributions, \
               does this by default.",
    payload: false,
    options: &[],
};

/// The plugin.
pub(super) static AR: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: true,
    named: |entry| ends_with_any(entry.name(), &["a", "rlib"]),
    is: ar::is_ar,
    verdict: |file, _| Verdict::of_changed(ar::canonical(&file.bytes)),
    explain: |a, b| match (ar::parse(a), ar::parse(b)) {
        (Ok(a), Ok(b)) => compare(&a, &b),
        _ => Vec::new(),
    },
};

/// A member's name, and the number of earlier members with the same name.
type Key = (Vec<u8>, usize);

fn compare(a: &[Member<'_>], b: &[Member<'_>]) -> Vec<String> {
    let (left, right) = (by_name(a), by_name(b));
    let differ = |differs: fn(&Member<'_>, &Member<'_>) -> bool| {
        let both = left.iter().filter_map(|(k, l)| Some((&k.0[..], *l, *right.get(k)?)));
        both.filter(move |(_, x, y)| differs(x, y)).map(|(name, ..)| name)
    };
    let order = |members: &[Member<'_>]| -> Vec<_> {
        members.iter().map(|m| m.name(members).to_vec()).collect()
    };
    let moved = left.keys().eq(right.keys()) && order(a) != order(b);
    [
        counted(only(&left, &right), "members only in the first"),
        counted(only(&right, &left), "members only in the second"),
        counted(differ(|x, y| x.content != y.content), "members differ in content"),
        counted(differ(|x, y| x.mtime() != y.mtime()), "members differ in time"),
        counted(differ(|x, y| x.owner() != y.owner()), "members differ in owner or mode"),
        moved.then(|| "order of members differs".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn by_name<'m>(members: &'m [Member<'m>]) -> BTreeMap<Key, &'m Member<'m>> {
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut by_name = BTreeMap::new();
    for member in members {
        let name = member.name(members).to_vec();
        let nth = seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
        by_name.insert((name, *nth), member);
    }
    by_name
}

fn only<'k, M>(
    these: &'k BTreeMap<Key, M>,
    those: &'k BTreeMap<Key, M>,
) -> impl Iterator<Item = &'k [u8]> {
    these.keys().filter(|k| !those.contains_key(*k)).map(|k| &k.0[..])
}
