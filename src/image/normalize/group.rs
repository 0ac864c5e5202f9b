//! Which images are written as one list.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use serde_json::Value;

use super::document;
use crate::source::oci::{Digest, Image, Images};

/// The images of one list, or one image that is in none.
pub(super) struct Group<'a> {
    /// The list that they were in.
    pub(super) list: Option<&'a Digest>,
    /// Whether they become a list, in one before or not.
    pub(super) joined: bool,
    pub(super) images: Vec<&'a Image>,
    /// The descriptors that lead to what was written.
    pub(super) members: Vec<Value>,
}

/// The groups of what `subject` selects. Several platforms asked for are one; of one, the list would be
/// another, so it is written without.
///
/// # Errors
///
/// If two images that are to be joined are for one platform.
pub(super) fn groups(subject: &Images) -> anyhow::Result<Vec<Group<'_>>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for image in subject.selected() {
        let list = image.list.as_ref().filter(|_| subject.platforms.is_empty());
        let joined = subject.platforms.len() > 1 && image.is_image();
        let together = |group: &&mut Group<'_>| match joined {
            true => group.joined,
            false => list.is_some() && group.list == list,
        };
        match groups.iter_mut().find(together) {
            Some(group) => group.images.push(image),
            None => groups.push(Group { list, joined, images: vec![image], members: Vec::new() }),
        }
    }
    groups.iter_mut().filter(|group| group.joined).try_for_each(Group::settle)?;
    Ok(groups)
}

impl Group<'_> {
    /// Orders images that are joined, so that it does not matter where they came from.
    fn settle(&mut self) -> anyhow::Result<()> {
        let key = |image: &Image| (image.platform.clone(), image.id().cloned());
        self.images.sort_by_key(|image| key(image));
        self.images.dedup_by_key(|image| key(image));
        for pair in self.images.windows(2) {
            ensure!(
                pair[0].platform != pair[1].platform,
                "several images for {}: choose with a tag (oci:LAYOUT:TAG)",
                pair[0].platform_name()
            );
        }
        let list = self.images[0].list.as_ref();
        self.list = list.filter(|_| self.images.iter().all(|image| image.list.as_ref() == list));
        Ok(())
    }

    /// The names that lead to it, following new digests: of images that are joined, those of all.
    /// A registry's `REPOSITORY@DIGEST` is none.
    pub(super) fn names(&self, renamed: &BTreeMap<String, String>) -> BTreeSet<String> {
        let everywhere =
            |name: &&String| !self.joined || self.images.iter().all(|i| i.names.contains(*name));
        let own = self.images.iter().flat_map(|image| &image.names);
        let own = own.filter(|name| !name.contains("@sha")).filter(everywhere);
        own.map(|name| document::follow_name(name, renamed)).collect()
    }
}
