//! The modes that keep bytecode and make it independent of the build.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{Name, source_name, stem};
use crate::format::Malformed;
use crate::format::pyc::{self, Pyc, Validity};
use crate::format::time::utc;
use crate::normal::{File, Verdict};
use crate::tree::{Entry, Kind};

/// What happens to the header, and whether the code is put into normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The time in the header becomes 0.
    ZeroMtime,
    /// The time in the header becomes 0, and the code is put into normal form.
    Rewrite,
    /// The header gets the source's hash, never to be checked, and the code is put into normal
    /// form.
    UncheckedHash,
}

impl Mode {
    /// The mode of that name, if it is one of these.
    pub(super) fn of(name: &str) -> Option<Mode> {
        match name {
            "zero-mtime" => Some(Mode::ZeroMtime),
            "rewrite" => Some(Mode::Rewrite),
            "unchecked-hash" => Some(Mode::UncheckedHash),
            _ => None,
        }
    }
}

/// The verdict on one name.
pub(super) fn verdict(name: &Name, mode: Mode, file: &File<'_>) -> io::Result<Verdict> {
    if *name == Name::Dir || file.entry.kind != Kind::File {
        return Ok(Verdict::Keep);
    }
    if is_temporary(file.entry) {
        return Ok(Verdict::Remove);
    }
    if !pyc::is_pyc(&file.bytes) {
        return Ok(Verdict::Report("not bytecode of Python 3.7 or later: kept".to_owned()));
    }
    let (parsed, body) = match body(mode, &file.bytes) {
        Ok(read) => read,
        Err(what) => return Ok(Verdict::Unparsed(what)),
    };
    Ok(match validity(name, mode, &parsed, file)? {
        Ok(validity) => {
            let normal = Pyc { body: &body, ..parsed }.with(validity);
            Verdict::of(Ok(normal), &file.bytes)
        }
        Err(stale) => Verdict::Report(stale),
    })
}

/// Whether it is a temporary file `NAME.pyc.NUMBER`, which importlib would have renamed.
fn is_temporary(entry: &Entry) -> bool {
    let name = entry.name();
    stem(name).is_some_and(|stem| name.len() > stem.len() + b".pyc".len())
}

/// The original file, and its code in the mode's normal form.
fn body(mode: Mode, bytes: &[u8]) -> Result<(Pyc<'_>, Vec<u8>), Malformed> {
    let parsed = pyc::parse(bytes)?;
    let body = match mode {
        Mode::ZeroMtime => parsed.check().map(|()| parsed.body.to_vec()),
        Mode::Rewrite | Mode::UncheckedHash => parsed.canonical_body(),
    }?;
    Ok((parsed, body))
}

/// The new header, or why there is none: the bytecode does not belong to its source.
fn validity(
    name: &Name,
    mode: Mode,
    parsed: &Pyc<'_>,
    file: &File<'_>,
) -> io::Result<Result<Validity, String>> {
    let source = source(name, file.entry);
    let found = file.tree.lookup(&source)?.filter(|e| e.kind == Kind::File);
    let Some(found) = found else {
        // A module itself, or an orphan: neither is compared with a source.
        return Ok(Ok(without_time(parsed.validity)));
    };
    if let Validity::Time { size, .. } = parsed.validity
        && size != found.size as u32
    {
        return Ok(Err(format!(
            "compiled from another source, of {size} bytes: Python compiles it again"
        )));
    }
    if mode != Mode::UncheckedHash {
        return Ok(Ok(without_time(parsed.validity)));
    }
    let Some(text) = file.tree.read(&source)? else {
        return Ok(Ok(without_time(parsed.validity)));
    };
    let now = pyc::source_hash(parsed.magic, &text);
    match parsed.validity {
        Validity::Hash { hash, .. } if hash != now => {
            Ok(Err("compiled from another source, which has another hash".to_owned()))
        }
        _ => Ok(Ok(Validity::Hash { checked: false, hash: now })),
    }
}

fn without_time(validity: Validity) -> Validity {
    match validity {
        Validity::Time { size, .. } => Validity::Time { mtime: 0, size },
        hash @ Validity::Hash { .. } => hash,
    }
}

/// Where the source of a bytecode file would be: `DIR/__pycache__/NAME.TAG[.opt-N].pyc` is from
/// `DIR/NAME.py`.
fn source(name: &Name, entry: &Entry) -> PathBuf {
    let mut source = match name {
        Name::Beside(stem) => stem.clone(),
        Name::Dir | Name::Cached => {
            let module = entry.name().split(|b| *b == b'.').next().unwrap_or_default();
            let above = entry.path.parent().and_then(|dir| dir.parent());
            above.map(|dir| dir.join(source_name(module))).unwrap_or_default()
        }
    }
    .into_os_string();
    source.push(OsStr::from_bytes(b".py"));
    source.into()
}

/// What differs between two bytecode files; `untouched` says whether the mode leaves the code as it
/// is.
pub(super) fn explain(a: &[u8], b: &[u8], untouched: bool) -> Vec<String> {
    let (Ok(x), Ok(y)) = (pyc::parse(a), pyc::parse(b)) else { return Vec::new() };
    let mut out = Vec::new();
    if x.magic != y.magic {
        let version = |pyc: &Pyc<'_>| match pyc::version(pyc.magic) {
            Some((major, minor)) => format!("{major}.{minor} ({})", pyc.magic),
            None => format!("unknown ({})", pyc.magic),
        };
        return vec![format!("Python versions {} and {}", version(&x), version(&y))];
    }
    match (x.validity, y.validity) {
        (a, b) if a == b => {}
        (Validity::Time { mtime: t, size: m }, Validity::Time { mtime: u, size: n }) => {
            if t != u {
                let [a, b] = [t, u].map(|time| utc(time.into()));
                out.push(format!("source times {a} and {b} in the header"));
            }
            if m != n {
                out.push(format!("source sizes {m} and {n} in the header"));
            }
        }
        (Validity::Hash { .. }, Validity::Hash { .. }) => {
            out.push("source hashes in the header, or whether they are checked".to_owned());
        }
        _ => out.push("one checks its source by time, the other by hash".to_owned()),
    }
    if x.body != y.body {
        out.push(code(&x, &y, untouched));
    }
    out
}

fn code(x: &Pyc<'_>, y: &Pyc<'_>, untouched: bool) -> String {
    let forms = (x.canonical_body(), y.canonical_body());
    if let (Ok(a), Ok(b)) = &forms
        && a == b
    {
        let how = "equal code: marks of references, order in sets or interned strings".to_owned();
        return if untouched { how + "; pycache.mode=rewrite makes them equal" } else { how };
    }
    match (x.source_path(), y.source_path()) {
        (Some(a), Some(b)) if a != b => {
            let (a, b) = (String::from_utf8_lossy(&a), String::from_utf8_lossy(&b));
            format!("compiled as {a} and {b}")
        }
        _ => "the code differs".to_owned(),
    }
}
