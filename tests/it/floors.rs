//! The floors of the house: which module may import which, as ARCHITECTURE.md lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;
use reprofix::plugins::REGISTRY;

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

/// A plugin says itself what follows it, what it shares and where it acts: whoever asks need not
/// know which one it is.
#[test]
fn no_plugin_is_known_by_its_name() {
    let names: BTreeSet<_> = REGISTRY.iter().map(|plugin| plugin.page().name).collect();
    // Where a plugin's name is another thing's too: formats, a consequence, an action.
    let other = [
        ("check/describe", ""),
        ("normal/follows.rs", "machine-id"),
        ("normal/follows.rs", "tmpfiles"),
        ("report/fix.rs", "xattrs"),
    ];
    let asking = ["normal", "engine", "check", "report", "run"];
    let text = Regex::new(r#""([a-z-]+)""#).expect("compiles");
    let mut known = Vec::new();
    for (path, code) in sources() {
        if !asking.iter().any(|floor| path.starts_with(floor)) {
            continue;
        }
        let spared = |name: &str| {
            other.iter().any(|(at, of)| path.starts_with(at) && (of.is_empty() || *of == name))
        };
        let found = text.captures_iter(&code).map(|found| found[1].to_owned());
        let found = found.filter(|name| names.contains(&**name) && !spared(name));
        known.extend(found.map(|name| (path.clone(), name)));
    }
    assert!(known.is_empty(), "plugins that are known by name: {known:?}");
}

/// The data's ways through `fix` and `check`: the first module of each step in ARCHITECTURE.md is
/// on a floor below the one before.
#[test]
fn the_data_goes_down_the_floors() {
    let floors = floors();
    let text = std::fs::read_to_string("ARCHITECTURE.md").expect("reads");
    let module = Regex::new(r"`([a-z_]+)").expect("compiles");
    let mut ways = 0;
    for way in text.split("\n## The data's way through ").skip(1) {
        let (_, way) = way.split_once('\n').expect("a heading");
        let steps = way.split("\n\n").find(|part| part.contains(" → ")).expect("steps");
        let steps = steps.replace('\n', " ");
        let of_step = |step: &str| {
            let name =
                module.captures(step).unwrap_or_else(|| panic!("{step}: no module"))[1].to_owned();
            let floor = floors.iter().position(|floor| *floor == name);
            floor.unwrap_or_else(|| panic!("{step}: {name} is not a floor"))
        };
        let steps: Vec<usize> = steps.split(" → ").map(of_step).collect();
        assert!(steps.len() > 8 && steps.is_sorted_by(|a, b| a > b), "a climb: {steps:?} in {way}");
        ways += 1;
    }
    assert_eq!(ways, 2);
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
    let climb = Regex::new(r"\b(super(?:::super)*)::(\{[^;]*\};|[a-z_0-9]+)").expect("compiles");
    let name = Regex::new(r"(?:^\{|,)\s*([a-z_0-9]+)").expect("compiles");
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, code) in sources() {
        let first = path.iter().next().map(|f| f.to_string_lossy().into_owned());
        let module = first.unwrap_or_default().trim_end_matches(".rs").to_owned();
        if ["lib", "main", "bin"].contains(&module.as_str()) {
            continue;
        }
        let used = all.entry(module.clone()).or_default();
        // `super::super::…` reaches the top as well, where it climbs as far as the file is deep.
        let own = path.file_stem().is_some_and(|stem| stem != "mod");
        let depth = path.iter().count() - usize::from(!own);
        let to_top = |supers: &str| supers.matches("super").count() >= depth;
        let climbs = climb.captures_iter(&code).filter(|found| to_top(&found[1]));
        let found = import.captures_iter(&code).map(|f| f.get(1)).chain(climbs.map(|f| f.get(2)));
        for names in found.flatten().map(|names| names.as_str()) {
            match names.starts_with('{') {
                true => used.extend(name.captures_iter(names).map(|n| n[1].to_owned())),
                false => drop(used.insert(names.to_owned())),
            }
        }
        used.remove(&module);
    }
    all
}

/// Every source below `src`, by its path there: code without comments and tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new("src").sort_by_file_name() {
        let entry = entry.expect("walks");
        let path = entry.path().strip_prefix("src").expect("below").to_owned();
        if path.extension().is_none_or(|e| e != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).expect("reads");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        all.push((path, code));
    }
    all
}
