//! Path patterns for plugins' tables, and regular expressions from their options.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use regex::bytes::{Regex, RegexSet};

/// Many globs at once, over paths as bytes.
///
/// `*` is anything but a slash, `**` anything, `?` one byte but a slash, `{a,b}` a choice,
/// `[…]` a class. A glob matches the whole path.
#[derive(Debug)]
pub(crate) struct Globs(RegexSet);

impl Globs {
    /// Compiles a table of globs.
    ///
    /// # Panics
    /// If one is malformed: the tables are constants, and a test compiles each.
    pub(super) fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Self {
        match RegexSet::new(globs.into_iter().map(to_regex)) {
            Ok(set) => Globs(set),
            Err(error) => panic!("a constant table of globs does not compile: {error}"),
        }
    }

    /// Compiles globs that a person wrote. The error is the expression's own message.
    pub(crate) fn try_new<'a>(
        globs: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, regex::Error> {
        RegexSet::new(globs.into_iter().map(to_regex)).map(Globs)
    }

    /// The indices of the globs that match all of `path`, in their order.
    pub(crate) fn all(&self, path: &[u8]) -> impl Iterator<Item = usize> + use<> {
        self.0.matches(path).into_iter()
    }
}

/// The regular expression of one glob.
fn to_regex(glob: &str) -> String {
    let mut out = String::from("(?s-u)^");
    let (mut class, mut choice) = (false, false);
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ']' => (class, _) = (false, out.push(c)),
            _ if class => out.push(c),
            '[' => (class, _) = (true, out.push(c)),
            '*' if chars.next_if_eq(&'*').is_some() => out.push_str(".*"),
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '{' => (choice, _) = (true, out.push_str("(?:")),
            '}' => (choice, _) = (false, out.push(')')),
            ',' if choice => out.push('|'),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out.push('$');
    out
}

/// Whether `name` ends with a dot and one of `endings`, which are in lower case; the name's own
/// case does not matter. No allocation.
pub(super) fn ends_with_any(name: &[u8], endings: &[&str]) -> bool {
    let Some(dot) = name.iter().rposition(|b| *b == b'.') else { return false };
    endings.iter().any(|e| name[dot + 1..].eq_ignore_ascii_case(e.as_bytes()))
}

/// What an explanation says of the members of an archive that something holds for: how many, and
/// the first; `None` if there are none.
pub(super) fn counted<'n>(names: impl IntoIterator<Item = &'n [u8]>, what: &str) -> Option<String> {
    let mut names = names.into_iter();
    let first = String::from_utf8_lossy(names.next()?);
    let count = 1 + names.count();
    let more = if count > 1 { ", …" } else { "" };
    Some(format!("{count} {what}: {first}{more}"))
}

/// The compiled form of a regular expression that an option holds, kept for the next path.
///
/// Searched unanchored in the logical path as bytes. An error is the expression's own message.
pub(super) fn option_regex(pattern: &str) -> Result<Regex, String> {
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
