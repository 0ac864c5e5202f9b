//! Golden cases: `tests/cases/PLUGIN/CASE/in` becomes `out`, and `out` stays as it is.
//!
//! Beside them, each optional: `options` (lines `NAME=VALUE`), `in.times` and `out.times` (lines
//! `SECONDS[.NANOSECONDS] PATH`, `.` the root; other paths have time 0 in both), `out.empty` (lines:
//! directories that are empty, which a checkout cannot hold), `notes` (lines
//! `PATH: the start of what is said of it`; where there is no such file, nothing may be said).
//!
//! With REPROFIX_BLESS set, a case without `out` gets one: read it before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use reprofix::engine::{Chain, Context, Form, Note, nothing_shipped};
use reprofix::env::SourceDateEpoch;
use reprofix::plugins::{Content, Plugin, REGISTRY, Step, find};
use reprofix::tree::{Kind, Time};

use crate::memtree::MemTree;

/// SOURCE_DATE_EPOCH of every case: 2020-09-13.
pub(crate) const EPOCH: SourceDateEpoch = SourceDateEpoch::new(1_600_000_000);

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// The sorted names in `dir`.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let read = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<String> =
        read.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Lines of an optional file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn context(plugin: &str, case: &Path) -> Context {
    let mut cx = Context::new(EPOCH);
    for line in lines(&case.join("options")) {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        cx.options.insert((plugin.to_owned(), name.to_owned()), value.to_owned());
    }
    cx
}

/// One side of a case or a pair, with its times and empty directories.
pub(crate) fn load(case: &Path, side: &str) -> MemTree {
    let mut tree = MemTree::load(&case.join(side), Time { sec: 0, nsec: 0 });
    for line in lines(&case.join(format!("{side}.empty"))) {
        tree.add_dir(line);
    }
    for line in lines(&case.join(format!("{side}.times"))) {
        let (time, path) = line.split_once(' ').expect("TIME PATH");
        let (sec, nsec) = time.split_once('.').unwrap_or((time, "0"));
        let mtime = Time { sec: sec.parse().expect("sec"), nsec: nsec.parse().expect("nsec") };
        let path = Path::new(path.strip_prefix('.').unwrap_or(path));
        tree.0.get_mut(path).unwrap_or_else(|| panic!("no {}", path.display())).mtime = mtime;
    }
    tree
}

/// Applies one plugin to a tree; what it says of each path.
pub(crate) fn run(
    plugin: &'static dyn Plugin,
    cx: &Context,
    tree: &mut MemTree,
) -> BTreeMap<PathBuf, String> {
    let chain = Chain { plugins: &[plugin], cx, shipped: &nothing_shipped };
    let before = tree.clone();
    let mut notes = BTreeMap::new();
    // Deepest first, so that a directory is judged after what it holds.
    for entry in before.entries().iter().rev() {
        let normal = chain.normal_form(&before, entry).expect("a tree in memory reads");
        for (_, note) in &normal.notes {
            let text = match note {
                Note::Report(why) => why.clone(),
                Note::Unparsed(what) => format!("unparsed: {what}"),
                Note::Shipped => "shipped".to_owned(),
            };
            notes.insert(entry.path.clone(), text);
        }
        apply(tree, &entry.path, normal.form);
        if let (Some(time), Some(node)) = (normal.mtime, tree.0.get_mut(&entry.path)) {
            node.mtime = time;
        }
    }
    notes
}

fn apply(tree: &mut MemTree, path: &Path, form: Form) {
    match form {
        Form::Kept => {}
        Form::Removed => tree.remove(path),
        Form::Bytes(content) => write(tree, path, content),
        Form::Steps(steps) => {
            for step in steps {
                match step {
                    Step::Write(path, content) => write(tree, &path, content),
                    Step::Remove(path) => tree.remove(&path),
                    Step::Unit(files) => {
                        files
                            .into_iter()
                            .for_each(|(path, bytes)| write(tree, &path, bytes.into()));
                    }
                    Step::Link(name, of) => {
                        let node = tree.0[&of].clone();
                        tree.0.insert(name, node);
                    }
                }
            }
        }
    }
}

fn write(tree: &mut MemTree, path: &Path, content: Content) {
    let bytes = content.bytes().expect("was written").into_owned();
    tree.0.get_mut(path).expect("a step writes what exists").data = bytes;
}

fn check(plugin: &'static dyn Plugin, case: &Path) {
    let name = plugin.page().name;
    let cx = context(name, case);
    let mut got = load(case, "in");
    let notes = run(plugin, &cx, &mut got);
    if std::env::var_os("REPROFIX_BLESS").is_some() && !case.join("out").exists() {
        got.store(&case.join("out"));
    }
    let want = load(case, "out");
    assert_same(case, "first run", &got, &want);
    let again = run(plugin, &cx, &mut got);
    assert_same(case, "second run", &got, &want);
    let expected: Vec<(String, String)> = lines(&case.join("notes"))
        .iter()
        .map(|l| l.split_once(": ").expect("PATH: TEXT"))
        .map(|(p, t)| (p.to_owned(), t.to_owned()))
        .collect();
    assert_eq!(notes.len(), expected.len(), "{}: notes {notes:#?}", case.display());
    for (path, start) in &expected {
        let said = notes.get(Path::new(path)).map_or("nothing", String::as_str);
        assert!(said.starts_with(start), "{}: of {path}: {said}", case.display());
    }
    assert_eq!(again, notes, "{}: the second run says something else", case.display());
}

fn assert_same(case: &Path, when: &str, got: &MemTree, want: &MemTree) {
    let paths: BTreeSet<_> = got.0.keys().chain(want.0.keys()).collect();
    for path in paths {
        let (got, want) = (got.0.get(path), want.0.get(path));
        assert!(
            got == want,
            "{} {when}: {}:\n got {got:?}\nwant {want:?}",
            case.display(),
            path.display()
        );
    }
}

#[test]
fn every_case_comes_out_golden_and_stays() {
    for plugin in names(&cases()) {
        let found = find(&plugin).unwrap_or_else(|| panic!("tests/cases/{plugin}: no such plugin"));
        for case in names(&cases().join(&plugin)) {
            check(found, &cases().join(&plugin).join(case));
        }
    }
}

#[test]
fn every_plugin_has_a_case() {
    let have = names(&cases());
    for plugin in REGISTRY {
        let name = plugin.page().name;
        assert!(have.iter().any(|h| h == name), "no case: add tests/cases/{name}/CASE/{{in,out}}");
    }
}

/// Plugins whose files are lines of text: cut after a line, such a file is whole.
const LINES: &[&str] = &["accounts", "authselect", "gio-modules"];

/// Plugins that read the whole of their files, none of which has an end that may go.
const BINARY: &[&str] = &["cacerts", "fontconfig", "hwdb", "glib-schemas", "catalog"];

/// A file cut at any byte is left alone. If its plugin reads all of it, it is said not to be
/// understood.
#[test]
fn a_truncated_file_is_never_changed() {
    for name in names(&cases()) {
        let plugin = find(&name).expect("a plugin");
        for case in names(&cases().join(&name)) {
            let case = cases().join(&name).join(case);
            truncate(plugin, &context(&name, &case), &load(&case, "in"));
        }
    }
}

fn truncate(plugin: &'static dyn Plugin, cx: &Context, tree: &MemTree) {
    let chain = Chain { plugins: &[plugin], cx, shipped: &nothing_shipped };
    for entry in tree.entries().into_iter().filter(|e| e.kind == Kind::File) {
        let whole = chain.normal_form(tree, &entry).expect("reads");
        // Only what was read and understood can be cut.
        let rewritten = matches!(whole.form, Form::Bytes(ref b) if !b.is_empty());
        let whole_read = BINARY.contains(&plugin.page().name) && whole.notes.is_empty();
        let kept = whole.form == Form::Kept && whole_read;
        if !(rewritten || kept) {
            continue;
        }
        let data = tree.0[&entry.path].data.clone();
        let step = 1 + data.len() / 4096;
        for cut in (0..data.len()).step_by(step) {
            let lines = LINES.contains(&plugin.page().name) && data[..cut].contains(&b'\n');
            // Without zeros at its end, an archive is as whole as before.
            let padding = data[cut..].iter().all(|b| *b == 0);
            if lines || padding {
                continue;
            }
            let mut cut_tree = tree.clone();
            cut_tree.0.get_mut(&entry.path).expect("there").data.truncate(cut);
            let entry = reprofix::tree::Entry { size: cut as u64, ..entry.clone() };
            let normal = chain.normal_form(&cut_tree, &entry).expect("reads");
            let name = plugin.page().name;
            let path = entry.path.display();
            assert!(normal.form == Form::Kept, "{name}: {path} cut to {cut} bytes is changed");
            let told = matches!(normal.notes[..], [(_, Note::Unparsed(_))]);
            let must = BINARY.contains(&name);
            assert!(told || !must, "{name}: {path} cut to {cut} bytes is taken as whole");
        }
    }
}
