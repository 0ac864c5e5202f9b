//! Compares JSON documents.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::class::Class;
use crate::image::times;
use crate::report::check::Metadata;
use crate::text::shorten;

/// A place at which two documents differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The place in the usual notation: `history[0].created`.
    pub(super) place: String,
    /// The keys that lead there, without list indices.
    keys: Vec<String>,
    pub(super) a: Option<Value>,
    pub(super) b: Option<Value>,
}

impl Difference {
    /// `history[0].created: A → B`.
    pub(super) fn line(&self) -> String {
        let value = |value: &Option<Value>| match value {
            None => "absent".to_owned(),
            Some(value) => shorten(&value.to_string(), 120),
        };
        format!("{}: {} → {}", self.place, value(&self.a), value(&self.b))
    }

    /// Its class: time or history, another name of a media type, or else configuration.
    pub(super) fn class(&self) -> Class {
        let time = self.is(&["created"]) && self.keys.len() == 1;
        let noted = match &self.keys[..] {
            [.., map, key] => {
                (map == "Labels" || map == "annotations") && times::KEYS.contains(&&**key)
            }
            _ => false,
        };
        if time || noted || self.is(&["history"]) {
            Class::TimesAndHistory
        } else if self.renames_media_type() {
            Class::MediaType
        } else {
            Class::Configuration
        }
    }

    /// The difference as a row of commit metadata. A configuration counts, as in any image.
    pub(super) fn metadata(&self, strict: bool) -> Metadata {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        let expected = match self.class() {
            Class::TimesAndHistory => Some("the time of the build, or its history"),
            Class::MediaType => Some("another name of the same media type"),
            _ => None,
        };
        Metadata {
            key: format!("image: {}", self.place),
            a: text(&self.a),
            b: text(&self.b),
            counts: strict || expected.is_none(),
            expected,
        }
    }

    /// Whether the path to it begins with `keys`.
    pub(super) fn is(&self, keys: &[&str]) -> bool {
        self.keys.len() >= keys.len() && self.keys.iter().zip(keys).all(|(a, b)| a == b)
    }

    /// Whether annotations are missing from a Docker document, which cannot have any.
    pub(super) fn lost_by_docker(&self, [a, b]: [bool; 2]) -> bool {
        let whole = self.keys.last().is_some_and(|key| key == "annotations");
        whole && (a && self.a.is_none() || b && self.b.is_none())
    }

    /// Whether two media types, Docker's and OCI's, mean the same.
    fn renames_media_type(&self) -> bool {
        let text = |value: &Option<Value>| match value {
            None => Some(String::new()),
            Some(value) => value.as_str().map(str::to_owned),
        };
        let essence = |value: &Option<Value>| essence(&self.keys, &text(value)?);
        let names_one = self.keys.last().is_some_and(|key| key == "mediaType");
        names_one && essence(&self.a).is_some() && essence(&self.a) == essence(&self.b)
    }
}

/// The meaning of a media type apart from its family. That of a manifest itself may be omitted, and
/// has no meaning.
fn essence(keys: &[String], media_type: &str) -> Option<String> {
    if media_type.is_empty() {
        return (keys.len() == 1).then(|| "manifest.v1+json".to_owned());
    }
    const DOCKER: &[(&str, &str)] = &[
        ("application/vnd.docker.distribution.manifest.v2+json", "manifest.v1+json"),
        ("application/vnd.docker.distribution.manifest.list.v2+json", "index.v1+json"),
        ("application/vnd.docker.container.image.v1+json", "config.v1+json"),
        ("application/vnd.docker.image.rootfs.diff.tar", "layer.v1.tar"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", "layer.nondistributable.v1.tar"),
    ];
    let (bare, compression) = uncompressed(media_type);
    let docker = DOCKER.iter().find(|(docker, _)| *docker == bare).map(|(_, oci)| *oci);
    let bare = docker.or_else(|| bare.strip_prefix("application/vnd.oci.image."))?;
    Some(format!("{bare}{compression}"))
}

/// Splits a layer's media type from its compression.
fn uncompressed(media_type: &str) -> (&str, &'static str) {
    const ENDS: [(&str, &str); 4] =
        [("+gzip", "+gzip"), (".gzip", "+gzip"), ("+zstd", "+zstd"), (".zstd", "+zstd")];
    let found = ENDS.iter().find_map(|(end, how)| Some((media_type.strip_suffix(end)?, *how)));
    found.unwrap_or((media_type, ""))
}

/// Differences between two image configurations, except for the layers' identity, which is compared
/// layer by layer.
pub(super) fn configs(a: &Value, b: &Value) -> Vec<Difference> {
    let mut all = differences(a, b);
    all.retain(|d| !d.is(&["rootfs", "diff_ids"]));
    all
}

/// Differences between two manifests, except for what follows from their blobs, which are compared
/// separately. The first `from` layers of each are ignored.
pub(super) fn manifests(a: &Value, b: &Value, from: [usize; 2]) -> Vec<Difference> {
    let mut all = differences(&without(a, &["layers"]), &without(b, &["layers"]));
    all.retain(|d| !d.is(&["config", "digest"]) && !d.is(&["config", "size"]));
    let layers = |manifest: &Value, from: usize| -> Vec<Value> {
        manifest["layers"].as_array().into_iter().flatten().skip(from).cloned().collect()
    };
    let (x, y) = (layers(a, from[0]), layers(b, from[1]));
    if x.len() != y.len() {
        // The division into layers and their descriptors are compared elsewhere.
        return all;
    }
    for (number, (x, y)) in x.iter().zip(&y).enumerate() {
        let mut found = Vec::new();
        let place = format!("layers[{}]", from[0] + number);
        compare(Some(x), Some(y), place, &mut vec!["layers".to_owned()], &mut found);
        let one_blob = x["digest"] == y["digest"];
        found.retain(|d| !d.is(&["layers", "digest"]) && !d.is(&["layers", "size"]));
        // Another compression has another media type.
        let bare = |layer: &Value| {
            uncompressed(layer["mediaType"].as_str().unwrap_or_default()).0.to_owned()
        };
        let recompressed = !one_blob && bare(x) == bare(y);
        found.retain(|d| !recompressed || !d.is(&["layers", "mediaType"]));
        all.extend(found);
    }
    all
}

/// Differences between two indexes apart from their entries.
pub(super) fn lists(a: &Value, b: &Value) -> Vec<Difference> {
    let bare = |list: &Value| without(list, &["manifests", "schemaVersion", "mediaType"]);
    named("list", &bare(a), &bare(b))
}

/// Differences between the entries of two images, except for names and what is compared separately:
/// the manifest and its platform.
pub(super) fn entries(a: &Value, b: &Value) -> Vec<Difference> {
    let bare = |entry: &Value| {
        let mut bare = without(entry, &["digest", "size", "mediaType"]);
        for (map, known) in [("platform", PLATFORM), ("annotations", NAMES)] {
            let kept = without(&bare[map], known);
            let empty = kept.as_object().is_none_or(Map::is_empty);
            if let Some(map) = bare.as_object_mut().filter(|_| empty).map(|all| all.remove(map)) {
                drop(map);
            } else {
                bare[map] = kept;
            }
        }
        bare
    };
    named("entry", &bare(a), &bare(b))
}

const PLATFORM: &[&str] = &["os", "architecture", "variant", "os.version", "os.features"];
/// Annotations that name an image in its layout.
const NAMES: &[&str] =
    &["org.opencontainers.image.ref.name", "io.containerd.image.name", "containerd.io/ref"];

/// An object without some of its keys.
fn without(value: &Value, keys: &[&str]) -> Value {
    let kept = |map: &Map<String, Value>| -> Map<String, Value> {
        let kept = map.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    value.as_object().map_or_else(|| json!({}), |map| kept(map).into())
}

fn named(name: &str, a: &Value, b: &Value) -> Vec<Difference> {
    let mut all = Vec::new();
    compare(Some(a), Some(b), name.to_owned(), &mut vec![name.to_owned()], &mut all);
    all
}

fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    let mut all = Vec::new();
    compare(Some(a), Some(b), String::new(), &mut Vec::new(), &mut all);
    all
}

fn compare(
    a: Option<&Value>,
    b: Option<&Value>,
    place: String,
    keys: &mut Vec<String>,
    all: &mut Vec<Difference>,
) {
    match (a, b) {
        (Some(Value::Object(x)), Some(Value::Object(y))) => {
            let names: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for name in names {
                let dot = if place.is_empty() { "" } else { "." };
                keys.push(name.clone());
                compare(x.get(name), y.get(name), format!("{place}{dot}{name}"), keys, all);
                keys.pop();
            }
        }
        (Some(Value::Array(x)), Some(Value::Array(y))) => {
            for i in 0..x.len().max(y.len()) {
                compare(x.get(i), y.get(i), format!("{place}[{i}]"), keys, all);
            }
        }
        (a, b) if a == b => {}
        (a, b) => all.push(Difference { place, keys: keys.clone(), a: a.cloned(), b: b.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_history_and_the_rest_are_told_apart() {
        let a = json!({"created": "x", "history": [{"created": "1"}], "config": {"Env": ["A=1"],
            "Labels": {"org.opencontainers.image.created": "1", "build-date": {}}},
            "build-date": 1, "rootfs": {"diff_ids": ["1"]}});
        let b = json!({"created": "y", "history": [{"created": "2"}, {}], "config": {"Env": ["A=2"],
            "Labels": {"org.opencontainers.image.created": "2", "build-date": {}}},
            "build-date": 2, "rootfs": {"diff_ids": ["2"]}});
        let found: Vec<_> = configs(&a, &b).iter().map(|d| (d.line(), d.class())).collect();
        let time = |line: &str| (line.to_owned(), Class::TimesAndHistory);
        let label = r#"config.Labels.org.opencontainers.image.created: "1" → "2""#;
        let want = [
            ("build-date: 1 → 2".to_owned(), Class::Configuration),
            (r#"config.Env[0]: "A=1" → "A=2""#.to_owned(), Class::Configuration),
            time(label),
            time(r#"created: "x" → "y""#),
            time(r#"history[0].created: "1" → "2""#),
            time("history[1]: absent → {}"),
        ];
        assert_eq!(found, want);
        assert!(configs(&a, &a).is_empty());
    }

    #[test]
    fn only_media_types_of_one_thing_are_names_of_one_another() {
        let layer = |media_type: &str, digest: &str| json!({"layers": [{"mediaType": media_type, "digest": digest}]});
        let class = |a: &str, b: &str, other: &str| {
            let found = manifests(&layer(a, "1"), &layer(b, other), [0, 0]);
            found.first().map(Difference::class)
        };
        let (tar, gzip) = (
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
        );
        let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        assert_eq!(class(tar, gzip, "2"), None, "another compressor");
        assert_eq!(class(tar, gzip, "1"), Some(Class::Configuration), "one blob, one name wrong");
        assert_eq!(class(docker, gzip, "1"), Some(Class::MediaType));
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
        assert_eq!(class(gzip, foreign, "2"), Some(Class::Configuration));
        assert_eq!(class("text/plain", gzip, "2"), Some(Class::Configuration));
        let found = manifests(
            &json!({}),
            &json!({"mediaType": "application/vnd.oci.image.manifest.v1+json"}),
            [0, 0],
        );
        assert_eq!(found[0].class(), Class::MediaType);
    }
}
