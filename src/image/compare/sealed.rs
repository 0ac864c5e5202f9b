//! The composefs digests of two images of which either is sealed.

use anyhow::Result;
use serde_json::Value;

use super::Pair;
use super::documents::Documents;
use crate::composefs::is_uki;
use crate::report::composefs;
use crate::run::composefs::{Opened, paired};
use crate::source::oci::{Image, Keep, Store, layers};

/// Labels of images that bootc boots: they may have a unified kernel image.
const BOOTABLE: [&str; 2] = ["containers.bootc", "ostree.bootable"];
/// A label with the digest that an image was sealed with.
const LABEL: &str = "containers.composefs.fsverity";
/// What annotations with such digests begin with.
const ANNOTATIONS: &str = "composefs.";

type Side<'a> = (&'a Store, &'a Image, &'a Documents);

/// Both digests, if either image has a unified kernel image or a label or annotation with a
/// composefs digest.
///
/// # Errors
///
/// Where a digest cannot be computed.
pub(super) fn compare(sides: [Side<'_>; 2], pair: &Pair) -> Result<Option<composefs::Pair>> {
    let seen = pair.layers.iter().any(|layer| layer.has_uki);
    if !seen && !is_sealed(sides[0])? && !is_sealed(sides[1])? {
        return Ok(None);
    }
    let open = |(store, image, _): Side<'_>| {
        let name = format!("{} {}", store.path().display(), image.platform_name());
        Opened::image(name, store, image)
    };
    paired(open(sides[0])?, open(sides[1])?).map(Some)
}

fn is_sealed((store, image, documents): Side<'_>) -> Result<bool> {
    let labels = &documents.config["config"]["Labels"];
    let keys = |value: &Value, f: &dyn Fn(&str) -> bool| {
        value.as_object().is_some_and(|all| all.keys().any(|key| f(key)))
    };
    let named = |key: &str| key == LABEL || key.starts_with(ANNOTATIONS);
    if keys(labels, &named) || keys(&documents.manifest["annotations"], &named) {
        return Ok(true);
    }
    // Reading all layers for their names is for images that may have one.
    if !keys(labels, &|key| BOOTABLE.contains(&key)) {
        return Ok(false);
    }
    let layers = layers(store, image, Keep::Members)?;
    let mut members = layers.iter().flat_map(|layer| &layer.members);
    Ok(members.any(|member| str::from_utf8(&member.path).is_ok_and(is_uki)))
}
