//! The JSON schemas of `docs/schema` against what the commands write.
//!
//! The words of JSON Schema that ours use, and no others: an unknown word fails the test that meets
//! it, so that nothing in a schema goes unchecked.

use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::{Value, json};

/// Everything in `value` that `docs/schema/NAME.json` forbids, with the place.
pub(crate) fn violations(name: &str, value: &Value) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{name}.json"));
    let text = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let schema: Value = serde_json::from_slice(&text).unwrap();
    let mut found = Vec::new();
    check(&schema, &schema, value, name, &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (word, rule) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "definitions" | "$id" => true,
            "properties" | "items" | "additionalProperties" => {
                below(root, schema, value, at, word, found);
                true
            }
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(path).expect("a definition"), value, at, found);
                true
            }
            "type" => types(rule).iter().any(|t| is(value, t)),
            "const" => value == rule,
            "oneOf" => {
                let broken = rule.as_array().unwrap().iter().map(|schema| {
                    let mut broken = Vec::new();
                    check(root, schema, value, at, &mut broken);
                    broken
                });
                let all: Vec<_> = broken.collect();
                // Which of them was meant is not known: the one that is nearest says it best.
                match all.iter().filter(|b| b.is_empty()).count() {
                    1 => true,
                    0 => {
                        found.extend(all.into_iter().min_by_key(Vec::len).unwrap());
                        true
                    }
                    _ => false,
                }
            }
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap()),
            "uniqueItems" => {
                value.as_array().is_none_or(|v| (1..v.len()).all(|n| !v[..n].contains(&v[n])))
            }
            "minItems" => value.as_array().is_none_or(|v| v.len() as u64 >= rule.as_u64().unwrap()),
            "pattern" => {
                let pattern = Regex::new(rule.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|v| pattern.is_match(v))
            }
            "required" => {
                for key in rule.as_array().unwrap() {
                    let has = value.get(key.as_str().unwrap()).is_some();
                    if value.is_object() && !has {
                        found.push(format!("{at}: {key} is missing"));
                    }
                }
                true
            }
            other => panic!("{at}: this test does not know the word {other}"),
        };
        if !holds {
            found.push(format!("{at}: {value} is against {word} {rule}"));
        }
    }
}

/// What the schema says of the members of an object or an array.
fn below(
    root: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
    word: &str,
    found: &mut Vec<String>,
) {
    if word == "items" {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            check(root, &schema["items"], item, &format!("{at}[{index}]"), found);
        }
        return;
    }
    let known = schema.get("properties").and_then(Value::as_object);
    for (key, member) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        match (word, known.and_then(|k| k.get(key)), &schema["additionalProperties"]) {
            ("properties", Some(rule), _) => check(root, rule, member, &at, found),
            ("additionalProperties", None, Value::Bool(false)) => {
                found.push(format!("{at} is not in the schema"));
            }
            ("additionalProperties", None, rule @ Value::Object(_)) => {
                check(root, rule, member, &at, found);
            }
            _ => {}
        }
    }
}

fn types(rule: &Value) -> Vec<&str> {
    match rule {
        Value::String(one) => vec![one],
        several => several.as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect(),
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type of JSON Schema: {other}"),
    }
}

/// The rules can be broken, each of them.
#[test]
fn a_broken_rule_is_found() {
    let good = json!({
        "schema": "reprofix-record-1", "reprofix": "1", "ostree-commit": "0".repeat(64),
        "ostree-content-checksum": "0".repeat(64), "source-date-epoch": null, "plugins": [],
    });
    assert_eq!(violations("reprofix-record-1", &good), Vec::<String>::new());
    for (key, bad) in [
        ("schema", json!("reprofix-record-2")),
        ("reprofix", json!(1)),
        ("ostree-commit", json!("0")),
        ("source-date-epoch", json!(-1)),
        ("plugins", json!([{"name": "pycache"}])),
        ("more", json!(1)),
    ] {
        let mut broken = good.clone();
        broken[key] = bad;
        assert_ne!(violations("reprofix-record-1", &broken), Vec::<String>::new(), "{key}");
    }
    let mut missing = good.clone();
    missing.as_object_mut().unwrap().remove("reprofix");
    assert_eq!(
        violations("reprofix-record-1", &missing),
        ["reprofix-record-1: \"reprofix\" is missing"]
    );
}

/// What every command writes with `--json` that needs no image: by its schema.
#[test]
fn reports_are_what_their_schemas_say() {
    let dir = tempfile::tempdir().unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(dir.path().join("root/usr")).unwrap();
    let images = home.join("tests/plugins/initramfs/pair");
    let image = |side: &str| first_image(&images.join(side)).display().to_string();
    let (a, b) = (image("a"), image("b"));
    for (schema, line) in [
        ("reprofix-plugins-1", vec!["plugins"]),
        ("reprofix-explain-1", vec!["explain", "pycache"]),
        ("reprofix-explain-1", vec!["explain", "vouchers"]),
        (
            "reprofix-in-force-1",
            vec!["config", "root", "--keep", "a", "--set", "pycache.mode=remove"],
        ),
        ("reprofix-fix-1", vec!["fix", "root"]),
        ("reprofix-audit-1", vec!["check", "root"]),
        ("reprofix-variations-1", vec!["nightly", "variations"]),
        ("reprofix-initramfs-list-1", vec!["initramfs", "ls", &a]),
        ("reprofix-initramfs-diff-1", vec!["initramfs", "diff", &a, &b]),
        ("reprofix-initramfs-diff-1", vec!["initramfs", "diff", &a, &a]),
        ("reprofix-initramfs-rewrite-1", vec!["initramfs", "rewrite", &a, "--out", "out.img"]),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.args(&line).args(["--json", "-"]).current_dir(dir.path());
        let out = command.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(out.status.code().is_some_and(|code| code < 2), "{line:?}: {out:?}");
        let value: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(violations(schema, &value), Vec::<String>::new(), "{line:?}");
        // In a file the same, and the text on standard output; with --quiet, nothing there.
        let file = dir.path().join("report.json");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.args(&line).arg("--json").arg(&file).arg("--quiet").current_dir(dir.path());
        let quiet = command.env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap();
        assert!(quiet.stdout.is_empty(), "{line:?}: {quiet:?}");
        assert!(fs::metadata(&file).unwrap().len() > 10, "{line:?}");
    }
}

/// The first file below a side of a pair.
fn first_image(dir: &Path) -> std::path::PathBuf {
    let files = walkdir::WalkDir::new(dir).sort_by_file_name().into_iter().flatten();
    let mut files = files.filter(|entry| entry.file_type().is_file());
    files.next().expect("a file").into_path()
}
