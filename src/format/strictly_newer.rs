//! Compiled files whose readers compare their times with those of what they were compiled from.
//!
//! A time that becomes SOURCE_DATE_EPOCH together with another's turns "older than" into "as old
//! as". A reader that wants the compiled file strictly newer would take it no more, so its source
//! keeps its distance. A reader that takes what is as old would take a stale file, which it did not
//! take before, so that one keeps its distance.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Endings of sources, and those of the compiled files.
///
/// Clojure's `RT.load` loads `ns__init.class` only if it is later than `ns.clj`, in directories and
/// in archives.
const STRICT: [(&str, &str); 2] = [(".clj", "__init.class"), (".cljc", "__init.class")];

/// Endings of compiled files that are taken unless they are older than their source, and what takes
/// their place in its name: of zsh, Emacs, Guile, ASDF, Chez Scheme, SWI-Prolog.
const NOT_OLDER: [(&str, &[&str]); 6] = [
    (".zwc", &[""]),
    (".elc", &[".el", ".el.gz"]),
    (".go", &[".scm"]),
    (".fasl", &[".lisp"]),
    (".so", &[".ss", ".sls", ".scm"]),
    (".qlf", &[".pl"]),
];

/// Seconds that keep two times apart in every format: a zip time is even.
pub(crate) const APART: i64 = 2;

/// The name of the file that has to stay newer than the source called `name`.
pub(crate) fn of_source(name: &[u8]) -> Option<Vec<u8>> {
    STRICT.iter().find_map(|(source, compiled)| {
        Some([name.strip_suffix(source.as_bytes())?, compiled.as_bytes()].concat())
    })
}

/// What the file at `path` may have been compiled from: its reader takes it unless it is older.
pub(crate) fn sources_of(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let named = |stem: &[u8], ending: &str| {
        path.with_file_name(OsString::from_vec([stem, ending.as_bytes()].concat()))
    };
    for (compiled, sources) in NOT_OLDER {
        if let Some(stem) = name.strip_suffix(compiled.as_bytes()).filter(|stem| !stem.is_empty()) {
            return sources.iter().map(|ending| named(stem, ending)).collect();
        }
    }
    // libselinux: `file_contexts.bin` beside the text, and those of other kinds.
    if let Some(text) = name.strip_suffix(b".bin")
        && memchr::memmem::find(text, b"_contexts").is_some()
    {
        return vec![named(text, "")];
    }
    let dir = path.parent().unwrap_or(Path::new(""));
    // GTK looks into the folders of a theme unless its cache is as new as their parent.
    if name == b"icon-theme.cache" {
        return vec![dir.to_owned()];
    }
    racket(dir, name).into_iter().collect()
}

/// The source of `compiled/m_rkt.zo`, which is `m.rkt`.
fn racket(dir: &Path, name: &[u8]) -> Option<PathBuf> {
    let above = dir.parent().filter(|_| dir.file_name() == Some(OsStr::new("compiled")))?;
    let stem = name.strip_suffix(b".zo")?;
    let ending = memchr::memrchr(b'_', stem)?;
    let source = [&stem[..ending], b".", &stem[ending + 1..]].concat();
    Some(above.join(OsStr::from_bytes(&source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_by_the_name() {
        let sources = |path: &str| sources_of(Path::new(path));
        assert_eq!(sources("usr/a.zwc"), [Path::new("usr/a")]);
        assert_eq!(sources("a.elc"), [Path::new("a.el"), Path::new("a.el.gz")]);
        assert_eq!(sources("c/compiled/m_x_rkt.zo"), [Path::new("c/m_x.rkt")]);
        assert_eq!(sources("t/icon-theme.cache"), [Path::new("t")]);
        let contexts = "etc/selinux/t/contexts/files/file_contexts";
        assert_eq!(sources(&format!("{contexts}.bin")), [Path::new(contexts)]);
        for none in ["a.bin", "m_rkt.zo", ".zwc", "a.so.1", ""] {
            assert!(sources(none).is_empty(), "{none}");
        }
    }
}
