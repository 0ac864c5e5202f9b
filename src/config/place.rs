//! Where a settings file is wrong, and what should be there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// What of a file is of one type whatever the plugin: read apart from the settings, whose values have
/// no place any more.
#[derive(Deserialize)]
pub(super) struct Switches {
    #[serde(default, rename = "plugins")]
    _plugins: BTreeMap<String, Switch>,
}

#[derive(Deserialize)]
struct Switch {
    #[serde(rename = "enabled")]
    _enabled: Option<bool>,
}

/// `error` about `text` on one line: the file, the line, the key, and what is expected.
pub(super) fn located(file: &Path, text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = &text.as_bytes()[..at];
    let number = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split_once('=').map_or(line, |(key, _)| key).trim();
    let what = error.message();
    let said =
        match what.strip_prefix("invalid type: ").and_then(|what| what.split_once(", expected ")) {
            Some((found, wanted)) => format!("it is the {found}; {}", expected(wanted)),
            None => what.replace('\n', "; "),
        };
    format!("{}, line {number}, {key}: {said}", file.display())
}

/// What to write, in the words of TOML.
fn expected(wanted: &str) -> String {
    let like = match wanted {
        "a sequence" => "a list, like [\"a\", \"b\"]",
        "a map" => "a table, like [plugins.pycache] with one key per line",
        "a string" => "a string in quotes",
        "a boolean" => "true or false",
        other => other,
    };
    format!("write {like}")
}
