//! The JSON schema of `reprofix.toml` and of `metadata.reprofix`, made from the registry.

use serde_json::{Map, Value, json};

use super::PROFILES;
use crate::normal::{Opt, Page};
use crate::plugins::REGISTRY;

/// The schema (draft-07): for editors, and for checking a treefile before a compose. A test ensures
/// that the shipped `docs/schema/reprofix-config-1.json` is the same.
pub fn schema() -> Value {
    let names: Vec<_> = REGISTRY.iter().map(|p| p.page().name).collect();
    let list =
        |what: &str| json!({ "type": "array", "items": { "enum": names }, "description": what });
    let profiles = PROFILES.iter().map(|p| format!("{}: {}.", p.name, p.summary));
    let profiles =
        format!("The profile, which all other settings override. {}", profiles.collect::<String>());
    let plugins: Map<_, _> =
        REGISTRY.iter().map(|p| (p.page().name.to_owned(), plugin(p.page()))).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "reprofix.toml, and metadata.reprofix in a treefile",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "source-date-epoch": {
                "type": ["integer", "string"],
                "minimum": 0,
                "maximum": u32::MAX,
                "pattern": "^[0-9]+$",
                "description": "No time in the tree may be later: seconds since 1970-01-01 UTC.",
            },
            "profile": {
                "enum": PROFILES.iter().map(|p| p.name).collect::<Vec<_>>(),
                "description": profiles,
            },
            "plugin": list("Only these plugins, whatever their defaults."),
            "skip": list("Not these plugins."),
            "keep": globs("Globs of paths below the root that stay as they are: * is anything but \
                a slash, ** anything, {a,b} a choice."),
            "vouched": globs("Globs of paths whose bytes stay as they are, because something \
                that `reprofix explain vouchers` does not list vouches for them."),
            "overrule": globs("Globs of paths that may change no matter what vouches for them; \
                the report says what no longer verifies."),
            "plugins": {
                "type": "object",
                "additionalProperties": false,
                "properties": plugins,
            },
        },
    })
}

fn globs(what: &str) -> Value {
    json!({
        "type": "array",
        "items": { "type": "string", "pattern": "^[^/]" },
        "description": what,
    })
}

fn plugin(page: &Page) -> Value {
    let enabled = json!({ "type": "boolean", "default": page.default });
    let options = page.options.iter().map(|o| (o.name.to_owned(), option(o)));
    let properties: Map<_, _> =
        std::iter::once(("enabled".to_owned(), enabled)).chain(options).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "description": page.summary,
        "properties": properties,
    })
}

fn option(option: &Opt) -> Value {
    let mut value = json!({ "description": option.help, "default": option.default });
    match option.values.is_empty() {
        // A number counts as its text.
        true => value["type"] = json!(["string", "number", "boolean"]),
        false => value["enum"] = json!(option.values),
    }
    value
}
