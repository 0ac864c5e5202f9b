//! Members with their extension headers and hard-link groups, and their sorting.

use std::collections::BTreeMap;

use super::member::{Member, parse};
use super::{BLOCK, LINK, MAGIC, NAME, PREFIX, Records, summed};

/// A member with the extension headers before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// Its whole name.
    pub name: Vec<u8>,
    /// Its header and content.
    pub member: Member<'a>,
    /// Its own extension headers.
    pub extensions: Vec<Member<'a>>,
    /// The target of a hard link.
    pub link: Option<Vec<u8>>,
    /// The first name of its hard-link group, if it is in one.
    pub group: Option<Vec<u8>>,
}

impl<'a> Item<'a> {
    pub(super) fn new(member: Member<'a>, extensions: Vec<Member<'a>>) -> Self {
        let old = |kind| {
            let found = extensions.iter().find(|e| e.kind() == kind)?;
            Some(found.content.split(|b| *b == 0).next().unwrap_or_default().to_vec())
        };
        let record = |key: &[u8]| {
            let pax = extensions.iter().find(|e| e.kind() == b'x')?;
            let mut records = Records(pax.content);
            let found = records.find_map(|(_, k, v)| (k == key).then(|| v.to_vec()));
            found.filter(|value| !value.is_empty())
        };
        let plain = || match (&member.header[MAGIC], member.text(PREFIX)) {
            (b"ustar\0", prefix @ [_, ..]) => [prefix, b"/", member.name()].concat(),
            _ => member.name().to_vec(),
        };
        let name = record(b"path").or_else(|| old(b'L')).unwrap_or_else(plain);
        let target = || member.text(LINK).to_vec();
        let link = (member.kind() == b'1')
            .then(|| record(b"linkpath").or_else(|| old(b'K')).unwrap_or_else(target));
        Item { name, member, extensions, link, group: None }
    }

    /// Whether name and link are only in the header, so that they can be replaced by others of up
    /// to 100 bytes.
    pub(super) fn is_plain(&self) -> bool {
        let named = |e: &Member<'_>| {
            let mut records = Records(e.content);
            matches!(e.kind(), b'L' | b'K')
                || records.any(|(_, key, _)| matches!(key, b"path" | b"linkpath"))
        };
        self.member.name() == self.name && !self.extensions.iter().any(named)
    }

    pub(super) fn whole(&self) -> Vec<u8> {
        let parts = self.extensions.iter().chain([&self.member]);
        parts.flat_map(|member| member.whole.iter().copied()).collect()
    }

    /// This item with another name, and a link to `link` if it is one.
    pub(super) fn renamed(&self, name: &[u8], link: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for extension in &self.extensions {
            let mut header = extension.header.to_vec();
            let base =
                |name: &[u8]| name.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
            // GNU tar names it DIR/PaxHeaders/NAME.
            if let Some(dir) = extension.name().strip_suffix(&base(&self.name)[..]) {
                set(&mut header, NAME, &[dir, &base(name)].concat());
            }
            out.extend(summed(header));
            out.extend(&extension.whole[BLOCK..]);
        }
        let mut header = self.member.header.to_vec();
        set(&mut header, NAME, name);
        if self.link.is_some() {
            set(&mut header, LINK, link);
        }
        out.extend(summed(header));
        out.extend(&self.member.whole[BLOCK..]);
        out
    }
}

/// Writes text into a field of a header, truncated to its size.
pub(super) fn set(header: &mut [u8], field: std::ops::Range<usize>, text: &[u8]) {
    let text = &text[..text.len().min(field.len())];
    header[field.clone()].fill(0);
    header[field.start..field.start + text.len()].copy_from_slice(text);
}

/// Members with their extension headers and hard-link groups, in the order of the archive. Headers
/// for all members (`g`) and for the volume are separate items.
pub(crate) fn items<'a>(members: &[Member<'a>]) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'a>> = Vec::new();
    let mut extensions = Vec::new();
    for member in members {
        match member.kind() {
            b'x' | b'L' | b'K' => extensions.push(member.clone()),
            _ => items.push(Item::new(member.clone(), std::mem::take(&mut extensions))),
        }
    }
    let mut groups: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for item in &items {
        if let Some(target) = &item.link {
            let first = groups.entry(target.clone()).or_insert_with(|| target.clone());
            if item.name < *first {
                first.clone_from(&item.name);
            }
        }
    }
    for item in &mut items {
        item.group = groups.get(item.link.as_ref().unwrap_or(&item.name)).cloned();
    }
    items
}

/// The archive with its members sorted by name, and the content of each hard-link group at its
/// first name; `None` if that is not possible: two members have the same name, headers apply to
/// everything after them, or a name that would have to change is not only in its header.
pub(super) fn sorted(bytes: &[u8]) -> Option<Vec<u8>> {
    let (members, end) = parse(bytes).ok()?;
    let first = members.iter().take_while(|m| m.kind() == b'g').count();
    let known = |m: &Member<'_>| matches!(m.kind(), 0 | b'0'..=b'7' | b'S' | b'x' | b'L' | b'K');
    let last = members.last().is_some_and(|m| matches!(m.kind(), b'x' | b'L' | b'K'));
    if last || !members[first..].iter().all(known) {
        return None;
    }
    let items = items(&members[first..]);
    let by_name: BTreeMap<&[u8], &Item<'_>> = items.iter().map(|i| (&i.name[..], i)).collect();
    if by_name.len() < items.len() {
        return None;
    }
    let mut out: Vec<u8> = members[..first].iter().flat_map(|m| m.whole.to_vec()).collect();
    for (name, item) in &by_name {
        match &item.group {
            None => out.extend(item.whole()),
            Some(first) => out.extend(regrouped(name, item, first, &by_name)?),
        }
    }
    out.extend(&bytes[end..]);
    Some(out)
}

/// The item at `name` if `first` has the content of its group.
pub(super) fn regrouped(
    name: &[u8],
    item: &Item<'_>,
    first: &[u8],
    all: &BTreeMap<&[u8], &Item<'_>>,
) -> Option<Vec<u8>> {
    let holder = all.get(item.link.as_deref().unwrap_or(name));
    let Some(holder) = holder.filter(|holder| holder.link.is_none()) else {
        // The content is not in this archive.
        return item.link.is_some().then(|| item.whole());
    };
    let leader = all.get(first)?;
    if holder.name == first {
        return Some(item.whole());
    }
    let fits = |item: &Item<'_>| item.is_plain() && item.name.len() <= NAME.len();
    if ![holder, leader, &item].into_iter().all(|item| fits(item)) {
        return None;
    }
    Some(match name == first {
        true => holder.renamed(first, b""),
        // The name with the content becomes a link like the first name was.
        false if item.link.is_none() => leader.renamed(name, first),
        false => item.renamed(name, first),
    })
}
