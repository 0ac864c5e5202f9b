//! Where two JSON documents differ.

use std::collections::BTreeSet;

use serde_json::Value;

use super::class::Class;
use crate::image::times;
use crate::report::check::Metadata;
use crate::text::shorten;

/// A place at which two documents differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// The place as people write it: `history[0].created`.
    pub(super) place: String,
    /// The keys that lead there; list indices are left out.
    keys: Vec<String>,
    a: Option<Value>,
    b: Option<Value>,
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

    /// What it is: a time or history, or else configuration.
    pub(super) fn class(&self) -> Class {
        let key = |at: usize| self.keys.get(at).map_or("", String::as_str);
        let last = self.keys.last().map_or("", String::as_str);
        let time = key(0) == "created" && self.keys.len() == 1;
        match time || key(0) == "history" || times::KEYS.contains(&last) {
            true => Class::TimesAndHistory,
            false => Class::Configuration,
        }
    }

    /// The same as a row of commit metadata.
    pub(super) fn metadata(&self, strict: bool) -> Metadata {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
        let why = match self.class() {
            Class::TimesAndHistory => "the time of the build, or its history",
            _ => "what the image says beside the commit",
        };
        Metadata {
            key: format!("image: {}", self.place),
            a: text(&self.a),
            b: text(&self.b),
            expected: Some(why),
            counts: strict,
        }
    }

    fn is(&self, keys: &[&str]) -> bool {
        self.keys.len() >= keys.len() && self.keys.iter().zip(keys).all(|(a, b)| a == b)
    }
}

/// Differences of two image configurations but for those that follow from the layers.
pub(super) fn configs(a: &Value, b: &Value) -> Vec<Difference> {
    let follows = |d: &Difference| {
        d.is(&["rootfs", "diff_ids"]) || d.is(&["config", "Labels", "ostree.final-diffid"])
    };
    differences(a, b, &follows)
}

/// Differences of two manifests but for media types and what follows from their blobs.
pub(super) fn manifests(a: &Value, b: &Value) -> Vec<Difference> {
    const FOLLOWS: &[&[&str]] = &[
        &["mediaType"],
        &["config", "mediaType"],
        &["config", "digest"],
        &["config", "size"],
        &["layers"],
    ];
    differences(a, b, &|d| FOLLOWS.iter().any(|keys| d.is(keys)))
}

fn differences(a: &Value, b: &Value, skip: &dyn Fn(&Difference) -> bool) -> Vec<Difference> {
    let mut all = Vec::new();
    compare(Some(a), Some(b), String::new(), &mut Vec::new(), &mut all);
    all.retain(|d| !skip(d));
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
    use serde_json::json;

    use super::*;

    #[test]
    fn times_history_and_the_rest_are_told_apart() {
        let a = json!({"created": "x", "history": [{"created": "1"}], "config": {"Env": ["A=1"],
            "Labels": {"org.opencontainers.image.created": "1", "ostree.final-diffid": "1"}},
            "rootfs": {"diff_ids": ["1"]}});
        let b = json!({"created": "y", "history": [{"created": "2"}, {}], "config": {"Env": ["A=2"],
            "Labels": {"org.opencontainers.image.created": "2", "ostree.final-diffid": "2"}},
            "rootfs": {"diff_ids": ["2"]}});
        let found: Vec<_> = configs(&a, &b).iter().map(|d| (d.line(), d.class())).collect();
        let time = |line: &str| (line.to_owned(), Class::TimesAndHistory);
        let label = r#"config.Labels.org.opencontainers.image.created: "1" → "2""#;
        let want = [
            (r#"config.Env[0]: "A=1" → "A=2""#.to_owned(), Class::Configuration),
            time(label),
            time(r#"created: "x" → "y""#),
            time(r#"history[0].created: "1" → "2""#),
            time("history[1]: absent → {}"),
        ];
        assert_eq!(found, want);
        assert!(configs(&a, &a).is_empty());
    }
}
