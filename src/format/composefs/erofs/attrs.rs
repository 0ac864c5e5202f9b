//! Extended attributes of inodes, and those that several inodes share.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use xxhash_rust::xxh32::xxh32;

use super::inode::Inode;
use super::write::ImageBuffer;
use super::{ATTRS_HEADER, FILTER_SEED, LUSTRE, NotAnImage, PREFIXES, Version};

/// An extended attribute: its name is a prefix by number and the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attr {
    pub(super) prefix: u8,
    pub(super) suffix: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Attr {
    pub(super) fn new(name: &[u8], value: &[u8], version: Version) -> Result<Self, NotAnImage> {
        // The C tool, which V1 follows, has no number for Lustre's.
        let known = |prefix: &usize| version == Version::V2 || *prefix != LUSTRE;
        let rest = |prefix: usize| Some((prefix, name.strip_prefix(PREFIXES[prefix])?));
        let found = (0..PREFIXES.len()).rev().filter(known).find_map(rest);
        let (prefix, suffix) = found.unwrap_or((0, name));
        if suffix.len() > usize::from(u8::MAX) || value.len() > usize::from(u16::MAX) {
            return Err(NotAnImage::TooLong("an extended attribute"));
        }
        Ok(Attr { prefix: prefix as u8, suffix: suffix.to_owned(), value: value.to_owned() })
    }

    /// Its bit in the filter of an inode's names.
    pub(super) fn bit(&self) -> u32 {
        1 << (xxh32(&self.suffix, FILTER_SEED + u32::from(self.prefix)) % 32)
    }

    /// By the whole name, then by the value's length, then by the value: the C tool's order.
    pub(super) fn by_name(&self, other: &Self) -> Ordering {
        let name = |attr: &Self| {
            let prefix = PREFIXES[usize::from(attr.prefix)];
            prefix.iter().copied().chain(attr.suffix.iter().copied()).collect::<Vec<u8>>()
        };
        let value = |attr: &Self| (attr.value.len(), attr.value.clone());
        name(self).cmp(&name(other)).then_with(|| value(self).cmp(&value(other)))
    }

    pub(super) fn size(&self) -> u64 {
        (4 + self.suffix.len() as u64 + self.value.len() as u64).next_multiple_of(4)
    }

    pub(super) fn write(&self, out: &mut ImageBuffer) {
        out.put(&[self.suffix.len() as u8, self.prefix]);
        out.u16(self.value.len() as u16);
        out.put(&self.suffix);
        out.put(&self.value);
        out.align(4);
    }
}

/// The attributes of an inode.
#[derive(Default)]
pub(super) struct Attrs {
    /// Those in the inode.
    pub(super) own: Vec<Attr>,
    /// Places in the table of shared ones.
    pub(super) shared: Vec<usize>,
    pub(super) filter: u32,
}

impl Attrs {
    pub(super) fn add(
        &mut self,
        name: &[u8],
        value: &[u8],
        version: Version,
    ) -> Result<(), NotAnImage> {
        let attr = Attr::new(name, value, version)?;
        self.filter |= attr.bit();
        self.own.push(attr);
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        match self.own.is_empty() && self.shared.is_empty() {
            true => 0,
            false => {
                let own: u64 = self.own.iter().map(Attr::size).sum();
                ATTRS_HEADER + 4 * self.shared.len() as u64 + own
            }
        }
    }

    /// The number in the inode's header.
    pub(super) fn count(&self) -> u16 {
        match self.size() {
            0 => 0,
            size => (1 + (size - ATTRS_HEADER) / 4) as u16,
        }
    }

    pub(super) fn write(&self, out: &mut ImageBuffer, reference: impl Fn(usize) -> u32) {
        if self.size() == 0 {
            return;
        }
        out.u32(!self.filter);
        out.put(&[self.shared.len() as u8]);
        out.put(&[0; 7]);
        for place in &self.shared {
            out.u32(reference(*place));
        }
        for attr in &self.own {
            attr.write(out);
        }
    }
}

/// Takes attributes that several inodes have into one table, which is given.
pub(super) fn share(inodes: &mut [Inode<'_>], version: Version) -> Vec<Attr> {
    if version == Version::V1 {
        for inode in inodes.iter_mut() {
            inode.attrs.own.sort_by(Attr::by_name);
        }
    }
    let mut users: BTreeMap<&Attr, usize> = BTreeMap::new();
    for attr in inodes.iter().flat_map(|inode| &inode.attrs.own) {
        *users.entry(attr).or_default() += 1;
    }
    let several = users.into_iter().filter(|(_, users)| *users > 1);
    let mut table: Vec<Attr> = several.map(|(attr, _)| attr.clone()).collect();
    if version == Version::V1 {
        table.sort_by(|a, b| b.by_name(a));
    }
    let places: BTreeMap<&Attr, usize> = table.iter().zip(0..).collect();
    for inode in inodes.iter_mut() {
        let Attrs { own, shared, .. } = &mut inode.attrs;
        own.retain(|attr| match places.get(attr) {
            Some(place) => {
                shared.push(*place);
                false
            }
            None => true,
        });
    }
    drop(places);
    table
}
