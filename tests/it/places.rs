//! Which plugins look into trees whose `usr` has another name, as docs/limits.md has it.

use std::collections::{BTreeMap, BTreeSet};

use reprofix::normal::{Context, Want};
use reprofix::plugins::REGISTRY;
use reprofix::tree::Kind;

use crate::cases::{EPOCH, load};
use crate::evidence::{cases, fuzz_paths, pairs};
use crate::sources::entry;

/// The paths that show what a plugin looks at: of its golden cases, its pair, its fuzzer.
fn samples(plugin: &str) -> BTreeSet<String> {
    let mut trees: Vec<_> = cases(plugin).into_iter().map(|case| load(&case, "in")).collect();
    let pair = pairs().into_iter().find(|(name, _)| name == plugin);
    trees.extend(pair.into_iter().flat_map(|(_, pair)| [load(&pair, "a"), load(&pair, "b")]));
    let paths = trees.iter().flat_map(|tree| tree.entries()).map(|entry| entry.path);
    let paths = paths.map(|path| path.to_string_lossy().into_owned());
    paths.chain(fuzz_paths(plugin)).collect()
}

/// What plugins do in the `files` of a flatpak, as the document has it: names by the first word of a
/// list.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../docs/limits.md");
    let (_, section) = text.split_once("## Trees whose `usr` has another name").expect("there");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let list = |line: &str| {
        let (word, names) = line.strip_prefix("- **")?.split_once(":**")?;
        let names = names.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((word.to_owned(), names))
    };
    section.lines().filter_map(list).collect()
}

#[test]
fn plugins_look_into_the_files_of_a_flatpak_as_the_document_says() {
    let cx = Context::new(EPOCH);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for plugin in REGISTRY {
        let name = plugin.page().name;
        let wants = |path: &str| {
            let kinds = [Kind::File, Kind::Dir, Kind::Symlink];
            kinds.iter().any(|kind| plugin.wants(&entry(path, *kind), &cx) != Want::No)
        };
        let in_files = |path: &str| match path.split_once('/')? {
            ("usr", rest) => Some(format!("files/{rest}")),
            ("etc", _) => Some(format!("files/{path}")),
            _ => None,
        };
        let wanted = samples(name).into_iter().filter(|path| wants(path));
        let there: Vec<bool> = wanted.filter_map(|path| Some(wants(&in_files(&path)?))).collect();
        let word = match there.iter().filter(|wanted| **wanted).count() {
            _ if there.is_empty() => "Of other folders",
            0 => "Not there",
            n if n == there.len() => "There as in usr",
            _ => "In part",
        };
        found.entry(word.to_owned()).or_default().insert(name.to_owned());
    }
    assert_eq!(documented(), found, "docs/limits.md and the plugins");
}
