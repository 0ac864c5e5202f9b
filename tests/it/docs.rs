//! The documents say what is true: commands, options, paths, tests, examples.
#![cfg(feature = "ostree")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;

const BIN: &str = env!("CARGO_BIN_EXE_reprofix");
const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/flows.md"];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    let path = project().join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn documents() -> Vec<(&'static str, String)> {
    DOCUMENTS.iter().map(|name| (*name, text(name))).collect()
}

/// The text between code fences of a language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = Regex::new(&format!("(?ms)^```{language}\n(.*?)^```")).unwrap();
    fence.captures_iter(document).map(|c| c[1].to_owned()).collect()
}

/// Lines of shell in a document: in fences, and in backticks that start with the program's name.
fn commands(document: &str) -> Vec<String> {
    let mut found: Vec<String> = ["sh", "Dockerfile"]
        .iter()
        .flat_map(|language| blocks(document, language))
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.split(" # ").next().unwrap_or_default().trim_end().to_owned())
        .collect();
    let inline = Regex::new("`(reprofix [^`\n]*)`").unwrap();
    found.extend(inline.captures_iter(document).map(|c| c[1].to_owned()));
    found
}

fn help(subcommand: &[&str]) -> Option<String> {
    let output = Command::new(BIN).args(subcommand).arg("--help").output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// The subcommand of a line, its help, and the line's words; `None` if it runs no reprofix.
fn invocation(line: &str) -> Option<(String, String)> {
    let call = Regex::new(r"(?:^|[\s/;&])reprofix(?:-static)?((?: [a-z][a-z-]*)+|$)").unwrap();
    let words = call.captures(line)?.get(1)?.as_str().to_owned();
    let words: Vec<&str> = words.split_whitespace().collect();
    let first = *words.first()?;
    let top = help(&[]).unwrap();
    assert!(top.contains(&format!("\n  {first}")), "there is no such command: {line}");
    // `reprofix rpmdb dump`: as many words as are commands.
    let nested = words.get(1).and_then(|second| {
        let outer = help(&[first])?;
        outer.contains(&format!("\n  {second}")).then(|| help(&[first, second]).unwrap())
    });
    Some((first.to_owned(), nested.or_else(|| help(&[first])).unwrap()))
}

#[test]
fn documented_commands_and_options_exist() {
    let option = Regex::new(r"(?:^|\s)(--[a-z][a-z-]*)").unwrap();
    let mut seen = 0;
    for (name, document) in documents() {
        for line in commands(&document) {
            let Some((command, help)) = invocation(&line) else { continue };
            let after = &line[line.find(&command).unwrap()..];
            for option in option.captures_iter(after) {
                assert!(help.contains(&option[1]), "{name}: {command} has no {}", &option[1]);
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

/// The README's table has a row for every command of its file's program.
#[test]
fn every_command_is_in_the_readme() {
    let readme = text("README.md");
    let listing = help(&[]).unwrap();
    let commands = listing.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = commands.lines().filter_map(|l| l.strip_prefix("  ")?.split(' ').next());
    for name in names.filter(|n| !n.is_empty() && *n != "help") {
        assert!(readme.contains(&format!("`reprofix {name}")), "README.md lacks {name}");
    }
}

#[test]
fn documented_make_targets_exist() {
    let makefile = text("Makefile");
    let target = Regex::new(r"(?m)(?:^|`)make ([a-z-]+)((?: [a-z-]+)*)").unwrap();
    let mut seen = BTreeSet::new();
    for (name, document) in documents() {
        for found in target.captures_iter(&document) {
            for word in found[1].split(' ').chain(found[2].split_whitespace()) {
                let rule = Regex::new(&format!("(?m)^{word}:")).unwrap();
                assert!(rule.is_match(&makefile), "{name}: no target {word}");
                seen.insert(word.to_owned());
            }
        }
    }
    assert!(seen.contains("demo") && seen.contains("test"), "{seen:?}");
}

#[test]
fn links_and_paths_of_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)\)").unwrap();
    let path =
        Regex::new(r"`((?:src|tests|docs|hooks|treefiles|benches)/[A-Za-z0-9_./-]*)`").unwrap();
    for (name, document) in documents() {
        let dir = project().join(name).parent().unwrap().to_owned();
        for found in link.captures_iter(&document) {
            assert!(dir.join(&found[1]).exists(), "{name}: {}", &found[1]);
        }
        for found in path.captures_iter(&document) {
            // Names in capitals stand for any name.
            let stands_for = found[1].split('/').any(|part| part.starts_with("NAME"));
            let built = &found[1] == "hooks/reprofix-static";
            let capitals = found[1].contains("PLUGIN");
            if !(stands_for || built || capitals) {
                assert!(project().join(&found[1]).exists(), "{name}: {}", &found[1]);
            }
        }
    }
}

/// Each test that ARCHITECTURE.md names as the holder of an invariant is there.
#[test]
fn the_tests_that_hold_the_invariants_exist() {
    let architecture = text("ARCHITECTURE.md");
    let table = architecture.split("## What may never happen").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().filter(|l| l.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 6, "one row an invariant");
    for row in rows {
        assert!(named_tests(row) > 0, "no test is named: {row}");
    }
}

/// How many tests a row names, all of which exist: a file in backticks, then what is in it.
fn named_tests(row: &str) -> usize {
    let word = Regex::new("`([^`]+)`").unwrap();
    let (mut file, mut tests) = (None, 0);
    for found in word.captures_iter(row) {
        let name = &found[1];
        if name.contains('/') || name.ends_with(".toml") {
            file = Some(name.to_owned());
            assert!(project().join(name).exists(), "{name}");
        } else if let Some(file) = &file {
            let (word, source) = match file.ends_with(".rs") {
                true => (format!("fn {name}("), text(file)),
                false => (name.to_owned(), text(file)),
            };
            assert!(source.contains(&word), "{file} has no {name}");
            tests += 1;
        }
    }
    tests
}

/// Each of the README's promises is one sentence, beside the tests that hold it.
#[test]
fn the_tests_that_hold_the_promises_exist() {
    let readme = text("README.md");
    let table = readme.split("## Promises").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().filter(|l| l.starts_with("| ")).skip(1).collect();
    assert!(rows.len() >= 12, "one row a promise");
    for row in rows {
        let [_, promise, held, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("not two columns: {row}")
        };
        let promise = promise.trim();
        let one = promise.strip_suffix('.').is_some_and(|rest| !rest.contains(". "));
        assert!(one, "not one sentence: {promise}");
        assert!(named_tests(held) > 0, "no test is named: {row}");
    }
    let pycache = readme.lines().find(|l| l.starts_with("| `pycache` removes packaged bytecode"));
    let pycache = pycache.expect("the promise that is broken by design");
    for mode in ["`unowned`", "`zero-mtime`", "`rewrite`", "`unchecked-hash`", " s of processor"] {
        assert!(pycache.contains(mode), "{mode}");
    }
}

/// The README's configuration is one, and its treefile's metadata reads as it says.
#[test]
fn the_readmes_examples_are_taken() {
    let readme = text("README.md");
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let treefile = root.join("usr/share/rpm-ostree/treefile.json");
    fs::create_dir_all(treefile.parent().unwrap()).unwrap();
    let config: PathBuf = dir.path().join("reprofix.toml");
    for example in blocks(&readme, "toml") {
        fs::write(&config, example).unwrap();
        let mut run = Command::new(BIN);
        run.arg("config").arg(&root).arg("--config").arg(&config);
        let output = run.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let yaml = blocks(&readme, "yaml").concat();
    assert!(yaml.contains("metadata:\n  reprofix:\n    source-date-epoch: 1700000000\n"), "{yaml}");
    let metadata = r#"{"metadata": {"reprofix": {"source-date-epoch": 1700000000}}}"#;
    fs::write(&treefile, metadata).unwrap();
    let jq = Regex::new("`jq ([^ `]+) /usr/share/rpm-ostree/treefile.json`").unwrap();
    let filter = jq.captures(&readme).expect("an example with jq")[1].to_owned();
    let output = Command::new("jq").arg("-c").arg(&filter).arg(&treefile).output();
    let output = output.expect("jq is installed");
    assert_eq!(output.stdout, b"{\"source-date-epoch\":1700000000}\n", "{output:?}");
    let mut run = Command::new(BIN);
    run.arg("config").arg(&root).current_dir(&root).env_remove("SOURCE_DATE_EPOCH");
    let said = String::from_utf8(run.output().unwrap().stdout).unwrap();
    assert!(said.contains("source-date-epoch = 1700000000"), "{said}");
}

/// Three columns a row: package in Debian, package in Fedora, what for.
#[test]
fn packages_of_both_distributions_are_named() {
    let table = text("tests/e2e/packages.tsv");
    let rows: Vec<&str> = table.lines().filter(|l| !l.starts_with('#')).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let columns: Vec<&str> = row.split('\t').collect();
        assert_eq!(columns.len(), 3, "{row}");
        assert!(columns.iter().all(|c| !c.is_empty() && c.trim() == *c), "{row}");
    }
}
