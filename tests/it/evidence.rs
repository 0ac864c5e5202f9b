//! What shows that a plugin is right: its folder `tests/plugins/NAME`.
//!
//! `cases/CASE/{in,out}` are golden cases, `pair/{a,b}` are two runs of the real tool, `explained` is
//! what is said of the pair, `fuzz` has the paths under which a fuzzer shows it files, and
//! `evidence.toml` is an [`Evidence`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reprofix::normal::Want;
use reprofix::plugins::{REGISTRY, default_context, find};
use reprofix::tree::Kind;
use serde::Deserialize;

use crate::cases::{EPOCH, load, names};
use crate::sources::Source;

/// The file `evidence.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Evidence {
    /// Why there are no golden cases here, and where they are.
    pub(crate) cases: Option<String>,
    /// Why there is no pair here, and where it is.
    pub(crate) pair: Option<String>,
    /// What holds that two inputs of one meaning come to one output, if it is not `scramble`.
    pub(crate) confluence: Option<String>,
    /// Inputs that are changed at random in all that the page calls free, and come to one output.
    pub(crate) scramble: Vec<Scramble>,
    /// The format's own readers, which are given every golden file.
    pub(crate) reader: Vec<Reader>,
    /// Who else reads what the plugin leaves.
    pub(crate) read_by: Option<ReadBy>,
    /// What nobody can tell of a file that is cut.
    pub(crate) cuts: Cuts,
    /// The sources of difference that it answers: its rows of docs/sources.md.
    pub(crate) source: Vec<Source>,
}

/// An input to be changed at random.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scramble {
    /// A tree below the folder.
    pub(crate) input: String,
    /// The function of `confluence.rs` that changes a file of it.
    pub(crate) what: String,
    /// The plugin's options.
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// A program that reads golden files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reader {
    /// The case, below the folder.
    pub(crate) case: String,
    /// How the names of its files end.
    pub(crate) ending: String,
    /// The program and its arguments; `{}` is the file.
    pub(crate) command: Vec<String>,
}

/// How it is known that a format's own reader takes what a plugin leaves.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReadBy {
    /// A test, as FILE::NAME, asks the reader.
    Test(String),
    /// A program does, on a real system.
    Bed(String),
    /// No byte of a file is ever written.
    Unwritten,
    /// Files are removed or emptied; the table of the plugin says who makes each anew.
    Removed,
    /// Comments and lines of text that no reader can refuse.
    Lines,
}

/// Where a file may end without anybody being able to tell.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cuts {
    /// Ends of names of files that are lines of text: cut after a line, or to nothing, such a file is
    /// whole; cut within one, it is said to be damaged.
    pub(crate) lines: Vec<String>,
    /// Ends of names of text that people write: where it is cut, it reads as any other that is
    /// shorter. The page says so.
    pub(crate) free: Vec<String>,
    /// Ends of names of files of which everything from this byte on is for their own reader only.
    /// The page says so.
    pub(crate) opaque: BTreeMap<String, usize>,
    /// The plugin reads files of which many are not its own: what it leaves without a word may be
    /// any.
    pub(crate) unmarked: bool,
    /// Files end in zeros that nothing counts.
    pub(crate) padded: bool,
    /// Bytes of the mark by which a file is known for what it is. Cut before its end, it is any file,
    /// and nothing is to be said of it.
    pub(crate) mark: usize,
    /// The text that must be there before it is the plugin's file.
    pub(crate) header: Option<String>,
    /// Files of two parts: they are whole where they end within this range.
    pub(crate) whole: Vec<Whole>,
}

/// A file of two parts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whole {
    pub(crate) path: PathBuf,
    pub(crate) from: usize,
    #[serde(default = "no_end")]
    pub(crate) to: usize,
}

fn no_end() -> usize {
    usize::MAX
}

impl Evidence {
    /// A plugin's evidence; none for one without the file.
    pub(crate) fn of(plugin: &str) -> Self {
        let path = folder(plugin).join("evidence.toml");
        let Ok(text) = std::fs::read_to_string(&path) else { return Evidence::default() };
        toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

/// The folder of a plugin.
pub(crate) fn folder(plugin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins").join(plugin)
}

/// The names of the plugins that have a folder, sorted.
pub(crate) fn plugins() -> Vec<String> {
    names(&folder(""))
}

/// The golden cases of a plugin.
pub(crate) fn cases(plugin: &str) -> Vec<PathBuf> {
    let dir = folder(plugin).join("cases");
    let there = if dir.exists() { names(&dir) } else { Vec::new() };
    there.into_iter().map(|case| dir.join(case)).collect()
}

/// The plugins that have a pair made by the real tool, and where it is.
pub(crate) fn pairs() -> Vec<(String, PathBuf)> {
    let pair = |name: String| {
        let dir = folder(&name).join("pair");
        (name, dir)
    };
    plugins().into_iter().map(pair).filter(|(_, dir)| dir.exists()).collect()
}

/// The paths under which a fuzzer shows a plugin files.
pub(crate) fn fuzz_paths(plugin: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder(plugin).join("fuzz")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether some file of the plugin's cases is read by it.
fn reads(plugin: &str) -> bool {
    let (found, cx) = (find(plugin).expect("a plugin"), default_context(EPOCH));
    let wanted = |case: &PathBuf| {
        let files = load(case, "in").entries();
        files.iter().any(|e| e.kind == Kind::File && found.wants(e, &cx) == Want::Bytes)
    };
    cases(plugin).iter().any(wanted)
}

/// A module of `src/plugins` that is not declared is not compiled; one that is declared and not
/// registered is dead code, which the compiler reports.
#[test]
fn every_file_of_a_plugin_is_a_module_and_every_module_is_registered() {
    let text = std::fs::read_to_string("src/plugins/mod.rs").expect("reads");
    let (declared, registry) = text.split_once("pub static REGISTRY").expect("the list");
    let declared: Vec<_> = declared.lines().filter_map(|l| l.strip_suffix(';')).collect();
    let modules: BTreeSet<_> =
        declared.iter().filter_map(|l| Some(l.split_once("mod ")?.1.to_owned())).collect();
    let files = names(Path::new("src/plugins")).into_iter();
    let files = files.map(|name| name.trim_end_matches(".rs").to_owned()).filter(|n| n != "mod");
    assert_eq!(modules, files.collect(), "the modules, and the files of src/plugins");
    let registered: BTreeSet<_> = registry
        .lines()
        .take_while(|line| *line != "];")
        .filter_map(|line| Some(line.trim().strip_prefix('&')?.split("::").next()?.to_owned()))
        .collect();
    let kinds = BTreeSet::from(["kinds".to_owned()]);
    assert_eq!(&modules - &kinds, registered, "the modules, and those of REGISTRY");
}

/// All that some plugin lacks, reported at once.
#[test]
fn every_plugin_has_its_evidence() {
    let sources = crate::sources::by_plugin();
    let mut lacks = Vec::new();
    for plugin in REGISTRY {
        let name = plugin.page().name;
        let (evidence, folder) = (Evidence::of(name), folder(name));
        let mut need = |there: bool, what: &str| {
            if !there {
                lacks.push(format!("{name}: {what}"));
            }
        };
        let pair = folder.join("pair");
        let marked = ["explain-only", "report-only"].iter().any(|mark| pair.join(mark).exists());
        need(
            folder.join("cases").exists() != evidence.cases.is_some(),
            "a golden case cases/CASE/{in,out}, or `cases = \"where they are\"`",
        );
        need(
            pair.join("make").is_file() != evidence.pair.is_some(),
            "a pair by the real tool, pair/{a,b} and the script pair/make, or `pair = \"where it is\"`",
        );
        need(
            marked || evidence.scramble.is_empty() == evidence.confluence.is_some(),
            "[[scramble]], or `confluence = \"the test that holds it\"`, or an empty file pair/explain-only",
        );
        need(
            evidence.reader.is_empty() == evidence.read_by.is_some(),
            "[[reader]], or `read-by`: who reads what the plugin leaves",
        );
        need(
            !fuzz_paths(name).is_empty() || !reads(name) || UNFUZZED.contains(&name),
            "the file fuzz: paths under which a fuzzer shows it files",
        );
        need(sources.contains_key(name), "a [[source]], which is its row of docs/sources.md");
    }
    assert!(lacks.is_empty(), "missing in tests/plugins/NAME:\n{}", lacks.join("\n"));
}

/// Plugins whose parser has a target of its own, or that look at no byte of what they read.
const UNFUZZED: &[&str] = &["build-traces", "machine-state", "pycache"];

#[test]
fn plugins_want_their_fuzz_paths() {
    for name in plugins() {
        let plugin = find(&name).unwrap_or_else(|| panic!("tests/plugins/{name}: no such plugin"));
        for path in fuzz_paths(&name) {
            let entry = crate::sources::entry(&path, Kind::File);
            assert_ne!(plugin.wants(&entry, &default_context(EPOCH)), Want::No, "{name}: {path}");
        }
    }
}
