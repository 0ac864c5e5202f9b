//! Indexes, manifests and configurations in normal form.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::Context as _;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::format::time::utc;
use crate::image::times::{self, clamp};
use crate::source::oci::{Compression, Digest, Image};

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation by which an attestation names its image.
const REFERENCE: &str = "vnd.docker.reference.digest";

/// Whether an annotation of a layer says something of its compressed bytes (the tables of zstd:chunked
/// and eStargz) or of how its builder wrote it (BuildKit's epoch): no more true of another blob.
pub(super) fn is_of_blob(key: &str) -> bool {
    const PARTS: [&str; 4] = ["zstd-chunked", "stargz", "buildkit/rewritten-", "uncompressed-size"];
    PARTS.iter().any(|part| key.contains(part))
}

/// A name as it is in the result: cosign names what is about an image after its digest. A list of
/// what is in the image (`.sbom`) is about the new one too; what a signature or an attestation says
/// of the old digest stays under that.
pub(super) fn follow_name(name: &str, renamed: &BTreeMap<String, String>) -> String {
    let follow = || {
        let (image, kind) = name.split_once('.')?;
        let now = renamed.get(&image.replacen('-', ":", 1))?;
        (kind == "sbom").then(|| format!("{}.{kind}", now.replacen(':', "-", 1)))
    };
    follow().unwrap_or_else(|| name.to_owned())
}

/// The media type of a layer.
pub(super) fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// JSON with sorted keys and no white space. Numbers stay as they were written.
pub(super) fn canonical(value: &Value) -> anyhow::Result<Vec<u8>> {
    serde_json::to_vec(&sorted(value)).context("writing JSON")
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries: BTreeMap<&String, &Value> = map.iter().collect();
            entries.into_iter().map(|(k, v)| (k.clone(), sorted(v))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The digest in a descriptor of ours.
pub(super) fn digest(descriptor: &Value) -> anyhow::Result<Digest> {
    descriptor["digest"].as_str().and_then(Digest::parse).context("a descriptor without digest")
}

/// Clamps the times of a configuration and names its layers.
pub(super) fn config(config: &mut Value, epoch: u32, diff_ids: &[&Digest]) -> anyhow::Result<()> {
    let map = config.as_object_mut().context("the configuration is no JSON object")?;
    map.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
    time(config.get_mut("created"), epoch);
    let steps = config.get_mut("history").and_then(Value::as_array_mut);
    for step in steps.into_iter().flatten() {
        time(step.get_mut("created"), epoch);
        copied(step.get_mut("created_by"));
    }
    texts(config.pointer_mut("/config/Labels"), epoch);
    Ok(())
}

/// An encapsulated ostree commit names its last layer in a label.
pub(super) fn follow_label(config: &mut Value, before: &Digest, after: &Digest) {
    let label = config.pointer_mut("/config/Labels/ostree.final-diffid");
    if let Some(label) = label.filter(|l| l.as_str() == Some(before.as_str())) {
        *label = after.as_str().into();
    }
}

/// Makes the history agree with the layers: the steps of those that are `gone` made none, and
/// `added` made the last one.
pub(super) fn history(config: &mut Value, gone: &[bool], added: Option<&String>, epoch: u32) {
    if added.is_none() && !gone.contains(&true) {
        return;
    }
    let Some(steps) = config.get_mut("history").and_then(Value::as_array_mut) else { return };
    let makes_layer = |step: &&mut Value| step["empty_layer"] != true;
    for (step, gone) in steps.iter_mut().filter(makes_layer).zip(gone) {
        if *gone {
            step["empty_layer"] = true.into();
        }
    }
    if let Some(text) = added {
        // A layer of ours from an earlier run, which the new one replaces.
        steps.retain(|s| s["empty_layer"] != true || s["created_by"] != text.as_str());
        steps.push(json!({"created": utc(epoch.into()), "created_by": text}));
    }
}

/// A manifest of these blobs.
pub(super) fn manifest(manifest: &mut Value, config: Value, layers: Vec<Value>, epoch: u32) {
    texts(manifest.get_mut("annotations"), epoch);
    manifest["schemaVersion"] = 2.into();
    manifest["mediaType"] = MANIFEST.into();
    manifest["config"] = config;
    manifest["layers"] = layers.into();
}

/// A list of these entries, with the annotations that `old` has.
pub(super) fn index(old: &Value, entries: Vec<Value>, epoch: u32) -> Value {
    let mut index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    if let Some(annotations) = old.get("annotations").filter(|a| a.is_object()) {
        index["annotations"] = annotations.clone();
        texts(index.get_mut("annotations"), epoch);
    }
    index
}

/// Gives a descriptor the platform and the annotations of `image`'s entry; an attestation's
/// reference follows its image.
pub(super) fn describe(descriptor: &mut Value, image: &Image, renamed: &BTreeMap<String, String>) {
    if let Some(platform) = image.platform.as_ref().filter(|_| image.list.is_some()) {
        descriptor["platform"] = json!(platform);
    }
    if !image.annotations.is_empty() {
        descriptor["annotations"] = json!(image.annotations);
        if let Some(reference) = descriptor["annotations"].get_mut(REFERENCE)
            && let Some(now) = reference.as_str().and_then(|old| renamed.get(old))
        {
            *reference = now.clone().into();
        }
    }
}

/// Takes the digest of what was copied out of a step's words (`COPY dir:HEX in /`, as buildah and
/// Docker's first builder write it): it is of the context, of which later steps of the same layer may
/// have changed everything. What is in the image has the layer's digest.
fn copied(words: Option<&mut Value>) {
    static DIGEST: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new("(#\\(nop\\) +(?:COPY|ADD)\\b.*?\\b(?:file|dir|multi)):[0-9a-f]{64}").ok()
    });
    if let (Some(Value::String(text)), Some(digest)) = (words, &*DIGEST)
        && let Cow::Owned(plain) = digest.replace_all(text, "$1")
    {
        *text = plain;
    }
}

/// Clamps a time. What is no time stays as it is.
fn time(value: Option<&mut Value>, epoch: u32) {
    if let Some(Value::String(text)) = value
        && let Some(clamped) = clamp(text, epoch)
    {
        *text = clamped;
    }
}

/// Clamps the labels or annotations that are known to hold a time.
fn texts(map: Option<&mut Value>, epoch: u32) {
    let Some(map) = map.and_then(Value::as_object_mut) else { return };
    for key in times::KEYS {
        time(map.get_mut(*key), epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_what_was_copied_goes_and_no_other() {
        let hex = "0123456789abcdef".repeat(4);
        for (before, after) in [
            (format!("/bin/sh -c #(nop) COPY dir:{hex} in / "), "/bin/sh -c #(nop) COPY dir in / "),
            (
                format!("/bin/sh -c #(nop)  ADD file:{hex} in /a"),
                "/bin/sh -c #(nop)  ADD file in /a",
            ),
            (
                format!("/bin/sh -c #(nop) COPY multi:{hex} in /a/"),
                "/bin/sh -c #(nop) COPY multi in /a/",
            ),
        ] {
            let mut words = Value::from(before);
            copied(Some(&mut words));
            assert_eq!(words, after);
        }
        for kept in [
            format!("/bin/sh -c fetch dir:{hex}"),
            format!("/bin/sh -c #(nop) LABEL dir:{hex}"),
            "/bin/sh -c #(nop) COPY dir:0123 in /".to_owned(),
            "COPY rootfs / # buildkit".to_owned(),
        ] {
            let mut words = Value::from(kept.clone());
            copied(Some(&mut words));
            assert_eq!(words, kept);
        }
    }
}
