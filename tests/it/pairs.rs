//! Two runs of the real tool: `tests/plugins/PLUGIN/pair/{a,b}`, made by the `make` beside them.
//!
//! The two sides differ, the plugin explains the difference, and makes them equal. A plugin that
//! can only report says so on both sides (`report-only` beside them); one that only explains
//! leaves both alone (`explain-only`).

use std::path::{Path, PathBuf};

use reprofix::normal::File;
use reprofix::plugins::{default_context, find};
use reprofix::tree::{Memory, Tree};

use crate::cases::{EPOCH, run};
use crate::evidence::{folder, pairs};

fn load(plugin: &str, side: &str) -> Memory {
    crate::cases::load(&folder(plugin).join("pair"), side)
}

#[test]
fn what_the_real_tool_made_twice_becomes_one() {
    let pairs = pairs();
    assert!(!pairs.is_empty());
    for (name, pair) in pairs {
        let plugin = find(&name).unwrap_or_else(|| panic!("pairs/{name}: no such plugin"));
        let cx = default_context(EPOCH);
        let (mut a, mut b) = (load(&name, "a"), load(&name, "b"));
        let differing = differing(&a, &b);
        assert!(!differing.is_empty(), "pairs/{name}: the sides are equal already");
        for path in &differing {
            let said = explain(&name, (&a, &b), path);
            assert!(!said.is_empty(), "pairs/{name}: {} is not explained", path.display());
        }
        let notes = (run(plugin, &cx, &mut a), run(plugin, &cx, &mut b));
        if pair.join("report-only").exists() {
            assert!(differing.iter().all(|p| notes.0.contains_key(p) && notes.1.contains_key(p)));
            continue;
        }
        if pair.join("explain-only").exists() {
            let left = (load(&name, "a"), load(&name, "b"));
            assert!(left == (a, b), "pairs/{name}: changed");
            assert!(notes.0.is_empty() && notes.1.is_empty(), "pairs/{name}: {notes:?}");
            continue;
        }
        assert!(a == b, "pairs/{name}: {:?} still differ; {notes:?}", self::differing(&a, &b));
        assert!(notes.0.is_empty() && notes.1.is_empty(), "pairs/{name}: {notes:?}");
    }
}

fn differing(a: &Memory, b: &Memory) -> Vec<PathBuf> {
    let paths = a.0.keys().chain(b.0.keys().filter(|p| !a.0.contains_key(*p)));
    paths.filter(|p| a.0.get(*p) != b.0.get(*p)).cloned().collect()
}

/// What the plugin says of a path that both sides have; a path on one side only needs no words.
fn explain(plugin: &str, (a, b): (&Memory, &Memory), path: &Path) -> Vec<String> {
    let entries = (a.lookup(path).expect("memory"), b.lookup(path).expect("memory"));
    let (Some(left), Some(right)) = entries else { return vec!["one side only".to_owned()] };
    let bytes = |tree: &Memory| tree.0[path].data.clone().into();
    let left = File { entry: &left, bytes: bytes(a), tree: a };
    let right = File { entry: &right, bytes: bytes(b), tree: b };
    find(plugin).expect("known").explain(&left, &right, &default_context(EPOCH))
}

/// What is said of the real pairs, word for word.
#[test]
fn explanations_name_the_field_that_differs() {
    for (name, pair) in pairs() {
        let mut said = String::new();
        let (a, b) = (load(&name, "a"), load(&name, "b"));
        for path in differing(&a, &b) {
            for line in explain(&name, (&a, &b), &path) {
                said += &format!("{}: {line}\n", path.display());
            }
        }
        let golden = pair.with_file_name("explained");
        if std::env::var_os("REPROFIX_BLESS").is_some() {
            std::fs::write(&golden, &said).expect("writable");
        }
        assert_eq!(said, std::fs::read_to_string(&golden).unwrap_or_default(), "{name}");
    }
}
