//! `check X` of operator catalogs: whether all platforms have the same bundles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Context as _;
use serde::Serialize;

use super::opm::bundles::{self, lacking};
use crate::source::oci::{Digest, Image, Images};

/// Every catalog of a subject; `check X --json` writes it.
#[derive(Debug, Serialize)]
pub struct Catalogs {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// The version of reprofix.
    pub version: &'static str,
    /// The subject, as written.
    pub subject: String,
    /// Whether all platforms of each catalog have the same bundles.
    pub same: bool,
    /// The catalogs, in the order of the indexes.
    pub catalogs: Vec<Catalog>,
}

/// One catalog.
#[derive(Debug, Serialize)]
pub struct Catalog {
    /// Its tags.
    pub names: BTreeSet<String>,
    /// The list of its platforms; `None` for a single image.
    pub list: Option<Digest>,
    /// Its platforms, sorted.
    pub platforms: Vec<Platform>,
}

/// One platform of a catalog.
#[derive(Debug, Serialize)]
pub struct Platform {
    /// The platform.
    pub platform: String,
    /// Digest of its manifest.
    pub manifest: Option<Digest>,
    /// The number of its bundles.
    pub bundles: usize,
    /// Names of the bundles that another platform has and this one lacks, sorted.
    pub lacks: BTreeSet<String>,
}

/// Names of bundles by platform and manifest.
type Bundles = BTreeMap<(String, Option<Digest>), BTreeSet<String>>;

/// Reads the catalogs among the images that `images` selects; `None` if there is no catalog.
///
/// # Errors
///
/// If a catalog cannot be read.
pub(crate) fn catalogs(name: &str, images: &Images) -> anyhow::Result<Option<Catalogs>> {
    let mut groups: Vec<(&Image, Bundles)> = Vec::new();
    for image in images.selected().filter(|image| image.is_image()) {
        // Images missing from a sparse layout are skipped.
        if image.notes.iter().any(|note| note.starts_with("sparse")) {
            continue;
        }
        let platform = image.platform_name();
        let found = bundles::of_image(images, image)
            .with_context(|| format!("reading the catalog of {platform}"))?;
        let Some(found) = found else { continue };
        let key = (platform, image.manifest.clone());
        let same = |group: &&mut (&Image, _)| image.list.is_some() && group.0.list == image.list;
        match groups.iter_mut().find(same) {
            Some((_, platforms)) => drop(platforms.insert(key, found)),
            None => groups.push((image, [(key, found)].into())),
        }
    }
    let catalogs: Vec<Catalog> = groups
        .into_iter()
        .map(|(image, all)| Catalog {
            names: image.names.clone(),
            list: image.list.clone(),
            platforms: platforms(all),
        })
        .collect();
    let same = catalogs.iter().flat_map(|catalog| &catalog.platforms).all(|p| p.lacks.is_empty());
    Ok((!catalogs.is_empty()).then(|| Catalogs {
        schema: "reprofix-catalogs-1",
        version: env!("CARGO_PKG_VERSION"),
        subject: name.to_owned(),
        same,
        catalogs,
    }))
}

fn platforms(all: Bundles) -> Vec<Platform> {
    let counts: Vec<usize> = all.values().map(BTreeSet::len).collect();
    let lacks = lacking(all).into_iter().zip(counts);
    lacks
        .map(|(((platform, manifest), lacks), bundles)| Platform {
            platform,
            manifest,
            bundles,
            lacks,
        })
        .collect()
}

impl Catalogs {
    /// The report for a terminal, with at most `limit` bundles per platform.
    pub fn human(&self, limit: usize) -> String {
        let mut out = String::new();
        for catalog in &self.catalogs {
            let names: Vec<&str> = catalog.names.iter().map(String::as_str).collect();
            let list = catalog.list.as_ref().map_or("-", Digest::as_str);
            let _ = writeln!(out, "catalog {} (list {list})", names.join(" "));
            for Platform { platform, bundles, lacks, .. } in &catalog.platforms {
                let _ = writeln!(out, "  {platform}: {bundles} bundles");
                for bundle in lacks.iter().take(limit) {
                    let _ = writeln!(out, "    lacks {bundle}, which another platform has");
                }
                if lacks.len() > limit {
                    let more = lacks.len() - limit;
                    let _ = writeln!(out, "    … and {more} more; --limit 0 lists all");
                }
            }
        }
        let verdict = match self.same {
            true => "the platforms of each catalog have the same bundles",
            false => "platforms of a catalog have different bundles",
        };
        let _ = writeln!(out, "{verdict}");
        out
    }
}
