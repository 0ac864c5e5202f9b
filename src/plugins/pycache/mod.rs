//! `pycache`: Python bytecode that the build left behind.

mod rewrite;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use self::rewrite::Mode;
use crate::format::Malformed;
use crate::normal::Context;
use crate::normal::globs::option_regex;
use crate::normal::{File, Opt, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Pycache;

static PAGE: Page = Page {
    name: "pycache",
    summary: "removes Python bytecode, or makes it independent of the build",
    default: true,
    paths: "**/__pycache__/ and its *.pyc, *.pyo; *.pyc and *.pyo beside their source; anywhere in \
            the tree",
    varies: "Which bytecode files exist, and the header of each: 16 bytes with the modification \
             time of the source.",
    why: "A scriptlet runs Python as root, and the interpreter writes bytecode wherever it \
          imports, even over packaged bytecode. The header records the source's modification time, \
          and rpm-ostree gives empty files (each empty __init__.py) the time of the build.",
    done: "mode=remove: the __pycache__ directories and bytecode beside its source are removed. A \
           directory that contains anything else stays with it, a symbolic link called __pycache__ \
           is left alone, and bytecode without a source is a module: it is kept and reported. \
           mode=unowned: the same, but bytecode that is as its package shipped it stays. \
           mode=zero-mtime: the time in the header becomes 0, which is the time of every file of \
           an ostree checkout except empty ones; the code stays, so it suits bytecode that was \
           compiled in the same way: since Python 3.15 an import and compileall mark the first \
           byte of the code object differently, and need rewrite. mode=rewrite: also, unused \
           reference marks in the code are removed, sets are sorted, and strings are shared and \
           interned as the compiler does it. mode=unchecked-hash: the code as in rewrite, and the \
           header gets the hash of the source instead of its time, never to be checked: right for \
           any file times of the image, and for empty sources too. In these three modes \
           importlib's temporary files are removed, packaged bytecode is changed only with --deep, \
           and bytecode compiled from another source, judging by size or hash, is reported. Paths \
           that match the regular expression of the option keep stay.",
    lost: "remove and unowned: the first import after boot compiles again, and under a read-only \
           /usr every import does: a Python 3.11 that imports 224 modules of its library takes 0.4 \
           s of processor time instead of 0.08 s with bytecode of any mode. unchecked-hash: an \
           edited source counts only once it is compiled again. All: `rpm -V` says missing, or \
           changed, for packaged bytecode that was touched.",
    upstream: "Open: rpm-ostree issues 3502, 4285 and 5019; coreos-assembler issue 3332; the time \
               of empty files: ostree issue 2809; times zeroed on checkout: ostree issue 1469.",
    payload: false,
    options: &[
        Opt {
            name: "mode",
            values: &["remove", "unowned", "zero-mtime", "rewrite", "unchecked-hash"],
            default: "remove",
            help: "what happens to bytecode",
        },
        Opt {
            name: "keep",
            values: &[],
            default: "",
            help: "regular expression over paths (usr/etc is written etc): what it matches stays",
        },
    ],
};

impl Plugin for Pycache {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, cx: &Context) -> Want {
        match Name::of(entry) {
            None => Want::No,
            Some(_) if entry.kind != Kind::File => Want::Entry,
            Some(_) if cx.option(&PAGE, "mode") == "remove" => Want::Entry,
            // The engine skips files that are as their package shipped them only if content is
            // judged.
            Some(_) => Want::Bytes,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let Some(name) = Name::of(file.entry) else { return Ok(Verdict::Keep) };
        match kept(file.entry, cx) {
            Ok(true) => return Ok(Verdict::Keep),
            Ok(false) => {}
            Err(why) => return Ok(Verdict::Unparsed(Malformed::at(0, why))),
        }
        match Mode::of(cx.option(&PAGE, "mode")) {
            Some(mode) => rewrite::verdict(&name, mode, file),
            None => remove(&name, file),
        }
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, cx: &Context) -> Vec<String> {
        let mode = Mode::of(cx.option(&PAGE, "mode"));
        let untouched = !matches!(mode, Some(Mode::Rewrite | Mode::UncheckedHash));
        rewrite::explain(&a.content(), &b.content(), untouched)
    }
}

/// The kind of bytecode that a name indicates.
#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// A `__pycache__` directory.
    Dir,
    /// A file in a `__pycache__` directory.
    Cached,
    /// A file outside of such a directory, and where its source would be.
    Beside(PathBuf),
}

impl Name {
    /// Judges by name and kind; `None` if it is not bytecode.
    fn of(entry: &Entry) -> Option<Name> {
        let name = entry.name();
        match entry.kind {
            Kind::Other => None,
            Kind::Dir => (name == b"__pycache__").then_some(Name::Dir),
            Kind::File | Kind::Symlink => {
                let stem = stem(name)?;
                let parent = entry.path.parent().unwrap_or(Path::new(""));
                if parent.file_name() == Some(OsStr::new("__pycache__")) {
                    return Some(Name::Cached);
                }
                // Only importlib uses temporary names, and only in __pycache__.
                let beside = name.len() == stem.len() + b".pyc".len();
                beside.then(|| Name::Beside(parent.join(source_name(stem))))
            }
        }
    }
}

/// The name without its bytecode ending: `.pyc`, `.pyo`, or importlib's temporary `.pyc.NUMBER`.
fn stem(name: &[u8]) -> Option<&[u8]> {
    let digits = name.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let whole = match name[..name.len() - digits].strip_suffix(b".") {
        Some(rest) if digits > 0 => rest,
        _ => name,
    };
    whole.strip_suffix(b".pyc").or_else(|| whole.strip_suffix(b".pyo"))
}

fn source_name(stem: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(stem))
}

/// Whether the option `keep` matches the path.
fn kept(entry: &Entry, cx: &Context) -> Result<bool, String> {
    match cx.option(&PAGE, "keep") {
        "" => Ok(false),
        pattern => option_regex(pattern)
            .map(|regex| regex.is_match(&entry.logical()))
            .map_err(|error| format!("option pycache.keep {error}")),
    }
}

/// Mode remove.
fn remove(name: &Name, file: &File<'_>) -> io::Result<Verdict> {
    Ok(match name {
        Name::Dir | Name::Cached => Verdict::Remove,
        Name::Beside(stem) if has_source(stem, file)? => Verdict::Remove,
        Name::Beside(_) => Verdict::Report(
            "bytecode without a source is a module itself: kept; build the package with its \
             source, or with SOURCE_DATE_EPOCH set"
                .to_owned(),
        ),
    })
}

/// Whether `STEM.py` is in the tree as anything that Python can read.
fn has_source(stem: &Path, file: &File<'_>) -> io::Result<bool> {
    let mut source = stem.as_os_str().to_owned();
    source.push(".py");
    let found = file.tree.lookup(Path::new(&source))?;
    Ok(found.is_some_and(|entry| matches!(entry.kind, Kind::File | Kind::Symlink)))
}
