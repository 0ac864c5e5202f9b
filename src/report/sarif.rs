//! A comparison as SARIF 2.1.0 (OASIS), which code hosts show as findings.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::check::{CauseRow, Comparison, Metadata, Row, Title};
use crate::plugins;

/// The rule of metadata that counts.
const METADATA: &str = "metadata";

/// `report` as one SARIF run: one rule per cause, one result per path or key of commit metadata
/// that counts. Paths are URIs relative to the root of the tree (`ROOT`).
pub(crate) fn sarif(report: &Comparison) -> Value {
    let mut rules: BTreeMap<String, Value> = BTreeMap::new();
    for row in &report.differences {
        rules.entry(rule_id(row)).or_insert_with_key(|id| rule(id, row));
    }
    let mut results: Vec<_> = report.differences.iter().map(result).collect();
    let counted: Vec<_> = report.metadata.iter().filter(|m| m.counts).map(of_metadata).collect();
    if !counted.is_empty() {
        let text = "commit metadata that should not differ does";
        rules.insert(METADATA.to_owned(), described(METADATA, text, ""));
    }
    results.extend(counted);
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "reprofix",
                "version": report.version,
                "rules": rules.into_values().collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {"ROOT": {"description": {"text": "the root of the compared tree"}}},
            "results": results,
        }],
    })
}

/// The cause as a name: `fixable/pycache`, `unexplained`.
fn rule_id(row: &Row) -> String {
    match &row.cause {
        CauseRow::Fixed { plugins } => format!("fixable/{}", plugins.join("+")),
        CauseRow::Known { plugin, .. } => format!("explained/{plugin}"),
        CauseRow::Cascade { how, .. } => format!("consequence/{}", how.name()),
        CauseRow::Unexplained => "unexplained".to_owned(),
    }
}

fn rule(id: &str, row: &Row) -> Value {
    let (text, name) = match &row.cause {
        CauseRow::Fixed { plugins } => {
            ("`reprofix fix` would make both sides equal", plugins.first())
        }
        CauseRow::Known { plugin, .. } => ("explained by a plugin, not fixable", Some(plugin)),
        CauseRow::Cascade { how, .. } => (how.rule(), None),
        CauseRow::Unexplained => ("unexplained: nothing says why it differs", None),
    };
    let page = name.and_then(|name| plugins::find(name)).map(|p| p.page());
    let help = page.map_or(String::new(), |p| {
        format!("{}\n\nWhy: {}\n\nDone: {}\n\nUpstream: {}", p.varies, p.why, p.done, p.upstream)
    });
    described(id, text, &help)
}

fn described(id: &str, text: &str, help: &str) -> Value {
    json!({
        "id": id,
        "shortDescription": {"text": text},
        "help": {"text": if help.is_empty() { text } else { help }},
    })
}

/// The result for a key of commit metadata that counts, which is nowhere in the tree.
fn of_metadata(metadata: &Metadata) -> Value {
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "absent".to_owned());
    let (key, a, b) = (&metadata.key, value(&metadata.a), value(&metadata.b));
    json!({
        "ruleId": METADATA,
        "level": "error",
        "message": {"text": format!("{key}: {a} → {b}")},
        "locations": [{"logicalLocations": [{"fullyQualifiedName": key}]}],
        "partialFingerprints": {"path/v1": format!("(commit metadata) {key}")},
    })
}

fn result(row: &Row) -> Value {
    let changes: Vec<_> = row.changes.iter().map(|c| c.word()).collect();
    let message =
        format!("{}: {}\n{}", Title::of(row).word(), changes.join(", "), row.lines().join("\n"));
    let level = match row.cause {
        CauseRow::Unexplained => "error",
        CauseRow::Fixed { .. } | CauseRow::Known { .. } => "warning",
        CauseRow::Cascade { .. } => "note",
    };
    let mut result = json!({
        "ruleId": rule_id(row),
        "level": level,
        "message": {"text": message.trim_end()},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&row.path), "uriBaseId": "ROOT"},
        }}],
        "partialFingerprints": {"path/v1": row.path},
    });
    if let Some(expected) = &row.expected {
        result["suppressions"] = json!([{"kind": "external", "justification": expected.reason}]);
    }
    result
}

/// A path as a relative URI (RFC 3986): all but unreserved characters and `/` escaped.
fn uri(path: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(b).to_string()
        }
        b => format!("%{b:02X}"),
    };
    path.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("usr/a b/ß:%"), "usr/a%20b/%C3%9F%3A%25");
    }
}
