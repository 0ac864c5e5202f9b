//! The floors of the house: which module may import which, as ARCHITECTURE.md lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

#[test]
fn no_module_imports_what_is_above_it() {
    let floors = floors();
    let place = |name: &str| floors.iter().position(|floor| floor == name);
    let mut wrong = BTreeSet::new();
    for (module, used) in imports() {
        let own = place(&module).unwrap_or_else(|| panic!("ARCHITECTURE.md lists no `{module}`"));
        for other in used {
            let below = place(&other).is_some_and(|other| other < own);
            if !below {
                wrong.insert((module.clone(), other));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up (module, what it imports): {wrong:?}");
}

#[test]
fn every_floor_is_a_module() {
    let modules: BTreeSet<_> = imports().into_keys().collect();
    for floor in floors() {
        let there = ["", ".rs"].map(|end| Path::new("src").join(format!("{floor}{end}")));
        assert!(there.iter().any(|path| path.exists()), "ARCHITECTURE.md lists `{floor}`");
        assert!(modules.contains(&floor), "{floor}: no source was read");
    }
}

/// The modules from the ground up: the one line in ARCHITECTURE.md that has them between `·`.
fn floors() -> Vec<String> {
    let text = std::fs::read_to_string("ARCHITECTURE.md").expect("reads");
    let line = text.lines().find(|line| line.matches(" · ").count() > 10).expect("the floors");
    line.split(" · ").map(|floor| floor.trim_matches(['`', ' ', '.']).to_owned()).collect()
}

/// What each module at the top of `src` imports of the others, its tests apart.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let import = Regex::new(r"\bcrate::(\{[^;]*\};|[a-z_0-9]+)").expect("compiles");
    let name = Regex::new(r"(?:^\{|,)\s*([a-z_0-9]+)").expect("compiles");
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in walkdir::WalkDir::new("src").sort_by_file_name() {
        let entry = entry.expect("walks");
        let path = entry.path().strip_prefix("src").expect("below").to_owned();
        let first = path.iter().next().map(|f| f.to_string_lossy().into_owned());
        let module = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
        let source = path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs");
        if !source || ["lib", "main", "bin"].contains(&module.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("reads");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: String = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let used = all.entry(module.clone()).or_default();
        for found in import.captures_iter(&code) {
            let names = &found[1];
            match names.starts_with('{') {
                true => used.extend(name.captures_iter(names).map(|n| n[1].to_owned())),
                false => drop(used.insert(names.to_owned())),
            }
        }
        used.remove(&module);
    }
    all
}
