//! The storage of a registry on disk, or in the archives that oc-mirror writes.
//!
//! Follows distribution (docker-registry) 2.8, "registry/storage/paths": below
//! `docker/registry/v2`, `repositories/NAME/_manifests/tags/TAG/current/link` and
//! `…/revisions/sha256/HEX/link` contain one digest each, whose bytes are
//! `blobs/sha256/HE/HEX/data`. oc-mirror's `mirror_NNNNNN.tar` contain such a tree without blobs of
//! earlier archives.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};

use super::digest::Digest;
use super::files::{Files, Part};
use super::layout::Image;
use super::{limits, store};

/// The most path components of a repository's name (a name has 255 characters).
const NAME_DEPTH: usize = 128;
/// The most bytes of a link.
const LINK_BYTES: u64 = 256;

/// Tags and revisions of all repositories, or of the selected one.
pub(super) struct Registry {
    root: &'static str,
    pub(super) index: Vec<u8>,
}

impl Registry {
    /// The directory in which the storage begins; `None` if there is no storage.
    pub(super) fn root(files: &Files) -> anyhow::Result<Option<&'static str>> {
        for root in ["docker/registry/v2/", "registry/v2/", "v2/", ""] {
            let below = |name: &str| files.list(&format!("{root}{name}"));
            // A directory has both; an archive may have no new blob.
            let bare = root.is_empty() && below("blobs/sha256")?.is_empty();
            if !bare && !below("repositories")?.is_empty() {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    /// Lists the storage. `selector` is `REPOSITORY[:TAG]`, or a tag.
    pub(super) fn open(files: &Files, selector: Option<&str>) -> anyhow::Result<Option<Self>> {
        let Some(root) = Self::root(files)? else { return Ok(None) };
        let mut found = Found { files, root, manifests: BTreeMap::new(), seen: 0 };
        match selector.map(|text| found.repository(text)).transpose()?.flatten() {
            Some(name) => found.of_repository(&name)?,
            None => found.below("", 0)?,
        }
        ensure!(!found.manifests.is_empty(), "the registry's storage has no image");
        let entries = found.manifests.iter();
        let index = store::index_of(entries.map(|(name, digest)| (digest, Some(&**name))))?;
        Ok(Some(Registry { root, index }))
    }

    pub(super) fn blob(&self, files: &Files, digest: &Digest) -> anyhow::Result<Option<Part>> {
        let (algorithm, hex) = (digest.algorithm(), digest.hex());
        let start = &hex[..2];
        files.file(format!("{}blobs/{algorithm}/{start}/{hex}/data", self.root))
    }
}

/// Whether `asked` selects `name` (`REPOSITORY:TAG` or `REPOSITORY@DIGEST`): by the whole name, the
/// repository, or the tag.
pub(super) fn is_named(name: &str, asked: &str) -> bool {
    let parts = name.split_once('@').or_else(|| name.rsplit_once(':'));
    name == asked || parts.is_some_and(|(repository, tag)| asked == repository || asked == tag)
}

/// Drops revisions to which a tag leads, or a list among the revisions of the same repository.
pub(super) fn keep_unreached(images: &mut Vec<Image>) {
    // `REPOSITORY:TAG`, or `REPOSITORY@DIGEST` of a revision.
    let place = |image: &Image| -> Option<(String, bool)> {
        let name = image.names.first()?;
        match name.split_once('@') {
            Some((repository, _)) => Some((repository.to_owned(), true)),
            None => Some((name.rsplit_once(':')?.0.to_owned(), false)),
        }
    };
    let (mut by_tag, mut by_list) = (BTreeSet::new(), BTreeSet::new());
    for image in images.iter() {
        if let Some((repository, revision)) = place(image) {
            let key = (repository, image.manifest.clone());
            match (revision, image.path.len()) {
                (false, _) => drop(by_tag.insert(key)),
                (true, 1) => {}
                (true, _) => drop(by_list.insert(key)),
            }
        }
    }
    images.retain(|image| {
        let Some((repository, true)) = place(image) else { return true };
        let key = (repository, image.manifest.clone());
        !by_tag.contains(&key) && (image.path.len() > 1 || !by_list.contains(&key))
    });
}

struct Found<'a> {
    files: &'a Files,
    root: &'a str,
    /// The manifests by `REPOSITORY:TAG`, and by `REPOSITORY@DIGEST` for every revision.
    manifests: BTreeMap<String, Digest>,
    seen: usize,
}

impl Found<'_> {
    /// The repository that a selector names, if it names one.
    fn repository(&self, selector: &str) -> anyhow::Result<Option<String>> {
        let shorter = selector.rsplit_once(':').map(|(name, _)| name);
        for name in [Some(selector), shorter].into_iter().flatten() {
            let clean =
                name.split('/').all(|part| !part.is_empty() && !part.starts_with(['_', '.']));
            if clean && !self.list(&format!("{name}/_manifests"))?.is_empty() {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }

    fn list(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let place = format!("{}repositories/{name}", self.root);
        let names = self.files.list(place.trim_end_matches('/'))?.into_iter();
        let text = |name| String::from_utf8(name).with_context(|| format!("a name in {place}"));
        names.map(text).collect()
    }

    /// Lists every repository at `name` and below.
    fn below(&mut self, name: &str, depth: usize) -> anyhow::Result<()> {
        ensure!(
            depth <= NAME_DEPTH,
            "repositories are nested more than {NAME_DEPTH} deep: refused"
        );
        for child in self.list(name)? {
            self.seen += 1;
            ensure!(
                self.seen <= limits::ARCHIVE_MEMBERS,
                "more than {} directories of repositories: refused",
                limits::ARCHIVE_MEMBERS
            );
            if child == "_manifests" {
                self.of_repository(name)?;
            } else if !child.starts_with('_') {
                let between = if name.is_empty() { "" } else { "/" };
                self.below(&format!("{name}{between}{child}"), depth + 1)?;
            }
        }
        Ok(())
    }

    fn of_repository(&mut self, name: &str) -> anyhow::Result<()> {
        for tag in self.list(&format!("{name}/_manifests/tags"))? {
            // A tag that is being deleted has a directory but no link.
            if let Some(digest) =
                self.link(&format!("{name}/_manifests/tags/{tag}/current/link"))?
            {
                self.add(format!("{name}:{tag}"), digest)?;
            }
        }
        let revisions = format!("{name}/_manifests/revisions");
        for algorithm in self.list(&revisions)? {
            for hex in self.list(&format!("{revisions}/{algorithm}"))? {
                let link = format!("{revisions}/{algorithm}/{hex}/link");
                if let Some(digest) = self.link(&link)? {
                    self.add(format!("{name}@{digest}"), digest)?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, digest: Digest) -> anyhow::Result<()> {
        self.manifests.insert(name, digest);
        let most = limits::DESCRIPTORS;
        ensure!(
            self.manifests.len() <= most,
            "more than {most} tags and revisions: choose a repository (registry:PATH:REPOSITORY)"
        );
        Ok(())
    }

    fn link(&self, name: &str) -> anyhow::Result<Option<Digest>> {
        let place = format!("{}repositories/{name}", self.root);
        let Some(bytes) = self.files.small(&place, LINK_BYTES)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let digest = super::layout::parse_digest(text.trim());
        digest.map(Some).with_context(|| format!("reading {place}"))
    }
}
