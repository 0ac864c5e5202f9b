//! Golden cases: `tests/plugins/PLUGIN/cases/CASE/in` becomes `out`, and `out` stays as it is.
//!
//! Beside them, each optional: `options` (lines `NAME=VALUE`), `in.times` and `out.times` (lines
//! `SECONDS[.NANOSECONDS] PATH`, `.` the root; other paths have time 0 in both), `out.empty` (lines:
//! directories that are empty, which a checkout cannot hold), `notes` (lines
//! `PATH: the start of what is said of it`; where there is no such file, nothing may be said).
//!
//! With REPROFIX_BLESS set, a case without `out` gets one: read it before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use reprofix::env::SourceDateEpoch;
use reprofix::normal::{Chain, Context, Form, Note};
use reprofix::normal::{Content, Plugin, Step, Want};
use reprofix::plugins::{default_context, find};
use reprofix::tree::{Entry, Kind, Memory, Time, Tree};
use reprofix::vouchers::Vouchers;

use crate::evidence::{self, Cuts, Evidence};

/// SOURCE_DATE_EPOCH of every case: 2020-09-13.
pub(crate) const EPOCH: SourceDateEpoch = SourceDateEpoch::new(1_600_000_000);

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
    let mut cx = default_context(EPOCH);
    for line in lines(&case.join("options")) {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        cx.options.insert((plugin.to_owned(), name.to_owned()), value.to_owned());
    }
    cx
}

/// One side of a case or a pair, with its times and empty directories.
pub(crate) fn load(case: &Path, side: &str) -> Memory {
    let mut tree = crate::checkout::load(&case.join(side), Time { sec: 0, nsec: 0 });
    for line in lines(&case.join(format!("{side}.empty"))) {
        tree.add_dir(line);
    }
    for node in tree.0.values_mut() {
        node.mtime.get_or_insert(Time { sec: 0, nsec: 0 });
    }
    for line in lines(&case.join(format!("{side}.times"))) {
        let (time, path) = line.split_once(' ').expect("TIME PATH");
        let (sec, nsec) = time.split_once('.').unwrap_or((time, "0"));
        let mtime = Time { sec: sec.parse().expect("sec"), nsec: nsec.parse().expect("nsec") };
        let path = Path::new(path.strip_prefix('.').unwrap_or(path));
        tree.0.get_mut(path).unwrap_or_else(|| panic!("no {}", path.display())).mtime = Some(mtime);
    }
    tree
}

/// Applies one plugin to a tree; what it says of each path.
pub(crate) fn run(
    plugin: &'static dyn Plugin,
    cx: &Context,
    tree: &mut Memory,
) -> BTreeMap<PathBuf, String> {
    let chain = Chain { plugins: &[plugin], cx, vouchers: &Vouchers::nobody() };
    let before = tree.clone();
    let mut notes = BTreeMap::new();
    // Deepest first, so that a directory is judged after what it holds.
    for entry in before.entries().iter().rev() {
        let normal = chain.normal_form(&before, entry).expect("a tree in memory reads");
        for (_, note) in &normal.notes {
            let text = match note {
                Note::Report(why) => why.clone(),
                Note::Unparsed(what) => format!("unparsed: {what}"),
                Note::Vouched(voucher) => format!("vouched: {voucher}"),
                Note::Overruled(voucher) => format!("overruled: {voucher}"),
            };
            notes.insert(entry.path.clone(), text);
        }
        apply(tree, &entry.path, normal.form);
        if let (Some((_, time)), Some(node)) = (normal.mtime, tree.0.get_mut(&entry.path)) {
            node.mtime = Some(time);
        }
    }
    notes
}

fn apply(tree: &mut Memory, path: &Path, form: Form) {
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

fn write(tree: &mut Memory, path: &Path, content: Content) {
    let bytes = content.bytes().expect("was written").into_owned();
    tree.0.get_mut(path).expect("a step writes what exists").data = bytes;
}

fn check(plugin: &'static dyn Plugin, case: &Path) {
    let name = plugin.page().name;
    let cx = context(name, case);
    let mut got = load(case, "in");
    let notes = run(plugin, &cx, &mut got);
    if std::env::var_os("REPROFIX_BLESS").is_some() && !case.join("out").exists() {
        crate::checkout::store(&got, &case.join("out"));
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

fn assert_same(case: &Path, when: &str, got: &Memory, want: &Memory) {
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
    for plugin in evidence::plugins() {
        let found =
            find(&plugin).unwrap_or_else(|| panic!("tests/plugins/{plugin}: no such plugin"));
        evidence::cases(&plugin).iter().for_each(|case| check(found, case));
    }
}

/// A file cut at any byte is left alone, and said not to be understood.
#[test]
fn a_truncated_file_is_never_changed() {
    let mut wrong = Vec::new();
    for name in evidence::plugins() {
        let plugin = find(&name).expect("a plugin");
        for case in evidence::cases(&name) {
            wrong.extend(truncate(plugin, &context(&name, &case), &load(&case, "in")));
        }
    }
    for (name, pair) in evidence::pairs() {
        let plugin = find(&name).expect("a plugin");
        wrong.extend(truncate(plugin, &default_context(EPOCH), &load(&pair, "a")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A tree in which one file ends early.
struct Cut<'t> {
    tree: &'t Memory,
    path: &'t Path,
    length: usize,
}

impl Tree for Cut<'_> {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let found = self.tree.lookup(path)?;
        let size = self.length as u64;
        Ok(found.map(|entry| if path == self.path { Entry { size, ..entry } } else { entry }))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.tree.list(path)
    }
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match path == self.path {
            true => Ok(Some(self.tree.0[path].data[..self.length].to_vec())),
            false => self.tree.read(path),
        }
    }
    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        self.tree.readlink(path)
    }
    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.tree.xattrs(path)
    }
}

/// What went wrong, the first of each file.
fn truncate(plugin: &'static dyn Plugin, cx: &Context, tree: &Memory) -> Vec<String> {
    let files = tree.entries().into_iter().filter(|entry| entry.kind == Kind::File);
    files.filter_map(|entry| cuts(plugin, cx, tree, &entry)).collect()
}

/// What goes wrong first with a file that is cut at every byte, if the plugin understands it whole.
fn cuts(plugin: &'static dyn Plugin, cx: &Context, tree: &Memory, entry: &Entry) -> Option<String> {
    let name = plugin.page().name;
    let chain = Chain { plugins: &[plugin], cx, vouchers: &Vouchers::nobody() };
    let whole = chain.normal_form(tree, entry).expect("reads");
    let rewritten = matches!(whole.form, Form::Bytes(ref b) if !b.is_empty());
    let marks = Evidence::of(name).cuts;
    let read = !marks.unmarked && plugin.wants(entry, cx) == Want::Bytes;
    let understood = whole.form == Form::Kept && whole.notes.is_empty() && read;
    if !(rewritten || understood) {
        return None;
    }
    let data = &tree.0[&entry.path].data;
    let first = (0..data.len()).into_par_iter().find_map_first(|length| {
        if is_whole(&marks, &entry.path, data, length) {
            return None;
        }
        let cut = Cut { tree, path: &entry.path, length };
        let entry = Entry { size: length as u64, ..entry.clone() };
        let normal = chain.normal_form(&cut, &entry).expect("reads");
        let told = matches!(normal.notes[..], [(_, Note::Unparsed(_))]);
        let must = length >= marks.mark;
        match (&normal.form, told || !must) {
            (Form::Kept, true) => None,
            (Form::Kept, false) => Some((length, "is taken as whole")),
            _ => Some((length, "is changed")),
        }
    });
    let path = entry.path.display();
    first.map(|(at, what)| format!("{name}: {path} cut to {at} of {} bytes {what}", data.len()))
}

/// Whether what is left of a file is a whole one, so that nobody could know.
fn is_whole(cuts: &Cuts, path: &Path, data: &[u8], length: usize) -> bool {
    let file = path.to_string_lossy();
    let lines = cuts.lines.iter().any(|end| file.ends_with(end));
    let lines = lines && matches!(data[..length].last(), None | Some(b'\n'));
    let free = length > 0 && cuts.free.iter().any(|end| file.ends_with(end));
    let opaque = cuts.opaque.iter().any(|(end, from)| file.ends_with(end) && length >= *from);
    // Without zeros at its end, an archive is as whole as before.
    let padding = cuts.padded && data[length..].iter().all(|b| *b == 0);
    let parts = cuts.whole.iter().any(|w| w.path == path && (w.from..w.to).contains(&length));
    // Until its header is there, nothing says whose file it is.
    let header = |text: &String| memchr::memmem::find(&data[..length], text.as_bytes()).is_none();
    let any = cuts.header.as_ref().is_some_and(header);
    any || lines || free || opaque || padding || parts
}
