//! Globs for the tables of plugins, and regular expressions from their options.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use regex::bytes::Regex;

use crate::text::in_singular;
use crate::tree::Entry;

/// Many globs, over paths as bytes.
///
/// `*` is anything but a slash, `**` anything, `?` one byte but a slash, `{a,b}` a choice,
/// `[…]` a class. A glob matches the whole path.
#[derive(Debug)]
pub(crate) struct Globs {
    globs: Vec<Glob>,
    /// For each glob, every alternative of what its paths can begin and end with.
    ends: Vec<Ends>,
}

/// One glob. Its expression is compiled only when a path may match.
#[derive(Debug)]
struct Glob {
    glob: String,
    compiled: OnceLock<Regex>,
}

/// What a path that a glob matches begins and ends with, which rules out most paths. This is
/// checked a hundred times per path, so the bytes that are compared first are stored here, not
/// behind a pointer.
#[derive(Debug)]
struct Ends {
    /// The last byte of the start and the first of the end, or 0 if empty. They differ sooner than
    /// the others: paths have their beginnings and ends in common.
    probes: [u8; 2],
    lengths: [u16; 2],
    glob: u32,
    texts: Box<[String; 2]>,
}

impl Ends {
    fn new(glob: usize, start: String, end: String) -> Self {
        let length = |text: &str| u16::try_from(text.len()).unwrap_or(u16::MAX);
        let first = |byte: Option<&u8>| byte.copied().unwrap_or_default();
        Ends {
            probes: [first(start.as_bytes().last()), first(end.as_bytes().first())],
            lengths: [length(&start), length(&end)],
            glob: glob as u32,
            texts: Box::new([start, end]),
        }
    }

    fn fit(&self, path: &[u8]) -> bool {
        let [start, end] = self.lengths.map(usize::from);
        let begins = start == 0 || path.get(start - 1) == Some(&self.probes[0]);
        let at = path.len().wrapping_sub(end);
        let ends = end == 0 || path.get(at) == Some(&self.probes[1]);
        let [start, end] = &*self.texts;
        begins && ends && path.starts_with(start.as_bytes()) && path.ends_with(end.as_bytes())
    }
}

impl Globs {
    /// A table of globs.
    ///
    /// # Panics
    /// When a malformed glob is first needed: the tables are constants, and a test compiles each.
    pub(crate) fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of(globs.into_iter().map(Glob::new).collect())
    }

    fn of(globs: Vec<Glob>) -> Self {
        let mut all = Vec::new();
        for (index, glob) in globs.iter().enumerate() {
            for start in starts(&glob.glob) {
                let ends = ends(&glob.glob).into_iter();
                all.extend(ends.map(|end| Ends::new(index, start.clone(), end)));
            }
        }
        Globs { globs, ends: all }
    }

    /// Globs that a person wrote. The error is the message of the regex compiler.
    pub(crate) fn try_new<'a>(
        globs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, regex::Error> {
        let compiled = |glob| {
            let glob = Glob::new(glob);
            let regex = Regex::new(&to_regex(&glob.glob))?;
            Ok(Glob { compiled: regex.into(), ..glob })
        };
        globs.into_iter().map(compiled).collect::<Result<_, _>>().map(Globs::of)
    }

    /// Whether a glob matches the path of `entry`, as it is or as a booted system has it (`etc/…`
    /// for `usr/etc/…`).
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let matches = |path: &[u8]| self.all(path).next().is_some();
        matches(&entry.logical()) || matches(entry.path.as_os_str().as_bytes())
    }

    /// The indices of the globs that match all of `path`, in their order.
    pub(crate) fn all(&self, path: &[u8]) -> impl Iterator<Item = usize> {
        let mut asked = None;
        let fitting = self.ends.iter().filter(|ends| ends.fit(path)).map(|ends| ends.glob as usize);
        fitting.filter(move |glob| {
            asked.replace(*glob) != Some(*glob) && self.globs[*glob].regex().is_match(path)
        })
    }
}

impl Glob {
    fn new(glob: &str) -> Self {
        Glob { glob: glob.to_owned(), compiled: OnceLock::new() }
    }

    fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| match Regex::new(&to_regex(&self.glob)) {
            Ok(regex) => regex,
            Err(error) => panic!("a constant glob does not compile: {error}"),
        })
    }
}

fn is_special(c: char) -> bool {
    "*?[]{}".contains(c)
}

/// What a path that the glob matches can begin with.
fn starts(glob: &str) -> Vec<String> {
    let literal = |text: &str| text.split(is_special).next().unwrap_or_default().to_owned();
    match glob.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((choices, rest)) if !choices.contains(is_special) => {
            choices.split(',').map(|choice| choice.to_owned() + &literal(rest)).collect()
        }
        _ => vec![literal(glob)],
    }
}

/// What a path that the glob matches can end with.
fn ends(glob: &str) -> Vec<String> {
    let literal = |text: &str| text.rsplit(is_special).next().unwrap_or_default().to_owned();
    match glob.strip_suffix('}').and_then(|rest| rest.rsplit_once('{')) {
        Some((rest, choices)) if !choices.contains(is_special) => {
            choices.split(',').map(|choice| literal(rest) + choice).collect()
        }
        _ => vec![literal(glob)],
    }
}

/// The regular expression of one glob.
fn to_regex(glob: &str) -> String {
    let mut out = String::from("(?s-u)^");
    let (mut class, mut choices) = (false, 0);
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ']' => (class, _) = (false, out.push(c)),
            _ if class => out.push(c),
            '[' => (class, _) = (true, out.push(c)),
            '*' if chars.next_if_eq(&'*').is_some() => out.push_str(".*"),
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '{' => (choices, _) = (choices + 1, out.push_str("(?:")),
            '}' => (choices, _) = (choices - 1, out.push(')')),
            ',' if choices > 0 => out.push('|'),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('$');
    out
}

/// Whether `name` ends with a dot and one of `endings`, which are in lower case; the name's own
/// case does not matter. No allocation.
pub(crate) fn ends_with_any(name: &[u8], endings: &[&str]) -> bool {
    let Some(dot) = name.iter().rposition(|b| *b == b'.') else { return false };
    endings.iter().any(|e| name[dot + 1..].eq_ignore_ascii_case(e.as_bytes()))
}

/// Says how many members of an archive `what` applies to, and names the first; `None` if there are
/// none.
pub(crate) fn counted<'n>(names: impl IntoIterator<Item = &'n [u8]>, what: &str) -> Option<String> {
    let mut names = names.into_iter();
    let first = String::from_utf8_lossy(names.next()?);
    let count = 1 + names.count();
    Some(match count {
        1 => format!("1 {}: {first}", in_singular(what)),
        _ => format!("{count} {what}: {first}, …"),
    })
}

/// The compiled form of a regular expression that an option holds, kept for the next path.
///
/// It matches anywhere in the logical path as bytes. An error is the message of the regex compiler.
pub(crate) fn option_regex(pattern: &str) -> Result<Regex, String> {
    static COMPILED: Mutex<BTreeMap<String, Result<Regex, String>>> = Mutex::new(BTreeMap::new());
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = compiled.get(pattern) {
        return known.clone();
    }
    let new = Regex::new(&format!("(?-u){pattern}"))
        .map_err(|error| format!("is not a regular expression: {error}"));
    compiled.insert(pattern.to_owned(), new.clone());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_paths_in_order() {
        let globs = Globs::new(["etc/{passwd,group}-", "var/log/**", "var/log/*", "a/*.[ch]"]);
        assert_eq!(globs.all(b"etc/group-").next(), Some(0));
        assert_eq!(globs.all(b"etc/group").next(), None);
        assert_eq!(globs.all(b"var/log/a/b").next(), Some(1));
        assert_eq!(globs.all(b"var/log/\xff").next(), Some(1));
        assert_eq!(globs.all(b"a/b.c").next(), Some(3));
        assert_eq!(globs.all(b"a/b/b.c").next(), None);
        assert_eq!(globs.all(b"x/var/log/a").next(), None);
    }

    #[test]
    fn every_row_of_every_table_compiles() {
        let rows = crate::plugins::REGISTRY.iter().flat_map(|plugin| plugin.table());
        let globs: Vec<&str> = rows.map(|[glob, ..]| glob).collect();
        assert!(globs.len() > 20, "{globs:?}");
        Globs::try_new(globs).expect("constants");
    }

    #[test]
    fn the_ends_of_a_glob_are_only_what_must_be_there() {
        let yes = [
            "{a/{b,c},d}e de",
            "{a/{b,c},d}e a/ce",
            "{a,}b b",
            "{a,}b ab",
            "a{b,} a",
            "a{b,c} ac",
            "a* a",
            "a[b-d]e ace",
            "{a,b} b",
        ];
        let no = ["{a,}b cb", "a{b,c} ad", "{a,b}c* ac/d", "*{a,b} ba/c"];
        for (case, holds) in yes.map(|case| (case, true)).into_iter().chain(no.map(|c| (c, false)))
        {
            let (glob, path) = case.split_once(' ').expect("two words");
            assert_eq!(Globs::new([glob]).all(path.as_bytes()).next().is_some(), holds, "{case}");
        }
    }

    #[test]
    fn endings_are_whole_and_of_any_case() {
        assert!(ends_with_any(b"a.tar.GZ", &["zip", "gz"]));
        assert!(!ends_with_any(b"a.xgz", &["gz"]) && !ends_with_any(b"gz", &["gz"]));
        assert!(ends_with_any(b".gz", &["gz"]) && !ends_with_any(b"a.gz.x", &["gz"]));
    }

    #[test]
    fn a_bad_expression_says_so_every_time() {
        for _ in 0..2 {
            let error = option_regex("(").expect_err("unbalanced");
            assert!(error.contains("not a regular expression"), "{error}");
        }
        assert!(option_regex("^usr/.*x").is_ok_and(|r| r.is_match(b"usr/\xffx")));
    }
}
