//! The command line as a whole: one name for one idea, and a manual that agrees with it.

use std::collections::{BTreeMap, BTreeSet};

use super::pages::all;

/// Every command by its words, `oci verify`, with its arguments.
fn commands() -> BTreeMap<String, clap::Command> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let mut all = BTreeMap::new();
    let mut open: Vec<(String, clap::Command)> = vec![(String::new(), command)];
    while let Some((words, command)) = open.pop() {
        for sub in command.get_subcommands() {
            open.push((format!("{words} {}", sub.get_name()).trim_start().to_owned(), sub.clone()));
        }
        all.insert(words, command);
    }
    all.remove("");
    all
}

#[test]
fn the_manual_has_each_command_and_no_other() {
    let named: BTreeSet<_> = all().map(|page| page.name.to_owned()).collect();
    assert_eq!(named, commands().into_keys().collect());
    assert!(named.len() >= 40, "{}", named.len());
    let pages = || all().flat_map(|page| page.see);
    let dead: Vec<_> = pages().filter(|see| !named.contains(**see)).collect();
    assert!(dead.is_empty(), "SEE ALSO: {dead:?}");
}

#[test]
fn every_example_is_a_command_line_of_its_command() {
    for page in all() {
        let group = page.exit[0].is_empty();
        assert_eq!(page.examples.is_empty(), group, "{}", page.name);
        for [line, _] in page.examples {
            let line =
                line.replace("buildah unshare ", "").replace("source <(", "").replace(')', "");
            let parsed = super::command().try_get_matches_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
            assert!(line.starts_with(&format!("reprofix {}", page.name)), "{line}: {}", page.name);
        }
    }
}

/// What an option takes, its letter, and where it was seen.
type Meaning = (Option<Vec<String>>, Option<char>, String);

/// What an option takes and its letter, wherever it is.
#[test]
fn an_option_means_one_thing_in_all_commands() {
    let mut seen: BTreeMap<String, Meaning> = BTreeMap::new();
    for (words, command) in commands() {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long() else { continue };
            let takes = arg.get_num_args().is_some_and(|n| n.takes_values());
            let names = arg.get_value_names().filter(|_| takes);
            let names = names.map(|names| names.iter().map(ToString::to_string).collect());
            // An image is written to a place that is named like a subject.
            let names = match (long, names) {
                ("out", Some(_)) => None,
                (_, names) => names,
            };
            let first = seen.entry(long.to_owned());
            let (value, letter, place) =
                first.or_insert((names.clone(), arg.get_short(), words.clone()));
            assert_eq!(
                (&names, &arg.get_short()),
                (&*value, &*letter),
                "--{long}: {words}, {place}"
            );
        }
    }
    for old in ["architecture", "report-file", "first", "second"] {
        assert!(!seen.contains_key(old), "--{old}");
    }
}

/// What a command writes is named by --out, what it reads by its place.
#[test]
fn where_a_result_goes_is_never_a_place_on_the_line() {
    for (words, command) in commands() {
        for arg in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
            let name = arg.get_id().as_str();
            assert!(!["output", "out", "dir", "place"].contains(&name), "{words}: {name}");
        }
    }
}

/// Commands that print something that is no report: text in a form of its own, a file's name.
const NO_REPORT: [&str; 9] = [
    "completions",
    "history vacuum",
    "man",
    "nightly feed",
    "nightly manifest",
    "nightly pages",
    "nightly rebuild",
    "rpmdb dump",
    "",
];

#[test]
fn every_command_that_reports_takes_json_and_has_a_schema() {
    for (words, command) in commands() {
        let page = super::pages::page(&words).expect("a page");
        let group = page.exit[0].is_empty();
        let json = command.get_arguments().any(|arg| arg.get_long() == Some("json"));
        let reports = !group && !NO_REPORT.contains(&words.as_str());
        assert_eq!(!page.schema.is_empty(), reports, "{words}: schema");
        // `history`'s subcommands inherit it.
        assert!(json || !reports, "{words}: --json");
        let file = format!("docs/schema/{}.json", page.schema);
        assert!(!reports || std::path::Path::new(&file).exists(), "{words}: {file}");
    }
}
