//! `tar`: archives that are files in the tree.

use std::collections::BTreeMap;

use super::kinds::rewriter::Rewriter;
use crate::format::tar::clamp::{self as tar, Item, Member};
use crate::normal::globs::{counted, ends_with_any};
use crate::normal::{Page, Verdict};

static PAGE: Page = Page {
    name: "tar",
    summary: "clamps times in tar archives in the tree, and sorts their members",
    default: false,
    paths: "*.tar that begin like archives; compressed ones are left alone",
    varies: "A modification time for each member; in extension headers times of access and change, \
             and the process number of the tool. The order of members and of their attributes, and \
             which name of a hard-link group has the content.",
    why: "tar stores what `stat` says about each file, in the order of the disk; so do mkosi's archives.",
    done: "Times later than SOURCE_DATE_EPOCH become SOURCE_DATE_EPOCH, records of access and \
           change are removed, GNU tar's PaxHeaders.NUMBER becomes PaxHeaders. Members are sorted \
           by name and records by key; the first name of a hard-link group has its content, and \
           the others link to it. An archive keeps its order if a name occurs twice, a header \
           applies to everything after it, or a name that would have to change is not only in its \
           header. Content and owners stay. Off by default: an archive in an image was made on \
           purpose, and may be signed or have its digest recorded elsewhere.",
    lost: "The archive's digest changes.",
    upstream: "GNU tar: --mtime, --clamp-mtime, --sort=name, --pax-option=delete=atime,delete=ctime.",
    payload: false,
    options: &[],
};

/// The plugin.
pub(super) static TAR: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: true,
    named: |entry| ends_with_any(entry.name(), &["tar"]),
    is: tar::is_tar,
    verdict: |file, cx| Verdict::of_changed(tar::canonical(&file.bytes, cx.epoch.seconds().into())),
    explain: |a, b| match (tar::parse(a), tar::parse(b)) {
        (Ok((a, _)), Ok((b, _))) => compare(&a, &b),
        _ => Vec::new(),
    },
};

/// What differs by name, or the order if nothing else does.
fn compare(a: &[Member<'_>], b: &[Member<'_>]) -> Vec<String> {
    let (left, right) = (tar::items(a), tar::items(b));
    let map = |items: &'_ [Item<'_>]| -> BTreeMap<Vec<u8>, usize> {
        items.iter().enumerate().map(|(n, item)| (item.name.clone(), n)).collect()
    };
    let (x, y) = (map(&left), map(&right));
    let only = |x: &BTreeMap<Vec<u8>, usize>, y: &BTreeMap<Vec<u8>, usize>, side: &str| {
        let names = x.keys().filter(|name| !y.contains_key(*name)).map(Vec::as_slice);
        counted(names, &format!("members only in the {side}"))
    };
    let both: Vec<(&Item<'_>, &Item<'_>)> =
        x.iter().filter_map(|(name, n)| Some((&left[*n], &right[*y.get(name)?]))).collect();
    let content = |items: &'_ [Item<'_>], names: &BTreeMap<Vec<u8>, usize>, item: &Item<'_>| {
        let holder = item.link.as_ref().and_then(|link| names.get(link)).map(|n| &items[*n]);
        holder.unwrap_or(item).member.content.to_vec()
    };
    let differ = |differs: &dyn Fn(&Item<'_>, &Item<'_>) -> bool, what| {
        let found = both.iter().filter(|(x, y)| differs(x, y)).map(|(x, _)| x.name.as_slice());
        counted(found, what)
    };
    let linked = |x: &Item<'_>, y: &Item<'_>| x.group.is_some() && x.group == y.group;
    let rest = |x: &Item<'_>, y: &Item<'_>| {
        let linked = linked(x, y);
        x.member.rest(linked) != y.member.rest(linked)
    };
    let records = |item: &Item<'_>| -> Vec<Vec<u8>> {
        item.extensions.iter().map(|e| e.content.to_vec()).collect()
    };
    let mut said: Vec<String> = [
        only(&x, &y, "first"),
        only(&y, &x, "second"),
        differ(
            &|p, q| content(&left, &x, p) != content(&right, &y, q),
            "members differ in content",
        ),
        differ(&|p, q| p.member.mtime() != q.member.mtime(), "members differ in time"),
        differ(&rest, "members differ in mode, owner, size or target"),
        differ(
            &|p, q| !linked(p, q) && records(p) != records(q),
            "members differ in extension records, or in their order",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let names = |items: &[Item<'_>]| items.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    if said.is_empty() && names(&left) != names(&right) {
        said.push("the same members, in another order".to_owned());
    }
    said.extend(differ(
        &|p, q| linked(p, q) && p.link.is_none() != q.link.is_none(),
        "names of hard-link groups have the content on one side and are links on the other",
    ));
    said
}
