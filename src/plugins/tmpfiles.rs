//! `tmpfiles`: what a line of tmpfiles.d made with what only its builder has.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::normal::{
    Consequence, Context, File, Follows, OtherDifferences, Page, Plugin, Verdict, Want,
};
use crate::tree::{Change, Difference, Entry, Kind, Side, Tree};

/// The plugin.
pub(super) struct Tmpfiles;

static PAGE: Page = Page {
    name: "tmpfiles",
    summary: "explains what lines of tmpfiles.d made with the builder's host name, boot id or kernel",
    default: true,
    paths: "what lines of {etc,usr/lib}/tmpfiles.d/*.conf name or write with %b, %H, %l, %m, %q or %v",
    varies: "Content and names of files, targets of links, names of directories.",
    why: "systemd-tmpfiles replaces %H by the host name of whoever runs it, %l by its short form, %q by \
          its pretty form, %b by the boot id, %m by the machine id and %v by the kernel's release. Run \
          during a compose (`systemd-tmpfiles --create --root`, or in a scriptlet) those are the \
          builder's.",
    done: "Nothing: which text an image should have instead, nobody can know. `check` names the line.",
    lost: "Nothing.",
    upstream: "By design: tmpfiles.d(5), specifiers. Use literal text in an image's lines, or leave such \
               a line to the first boot.",
    payload: false,
    options: &[],
};

/// Where lines are, in either form of a root.
const DIRS: [&str; 3] = ["usr/lib/tmpfiles.d", "etc/tmpfiles.d", "usr/etc/tmpfiles.d"];
/// Bytes of one file of lines that are read, at most.
const BYTES: u64 = 1 << 20;
/// The specifiers whose value is the builder's, and what that is.
const BUILDERS: [(u8, &str); 6] = [
    (b'b', "the builder's boot id"),
    (b'H', "the builder's host name"),
    (b'l', "the builder's short host name"),
    (b'm', "the builder's machine id"),
    (b'q', "the builder's pretty host name"),
    (b'v', "the builder's kernel"),
];

impl Plugin for Tmpfiles {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    /// The lines themselves; what they made may be anywhere.
    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let dir = entry.path.parent();
        let lines = entry.kind == Kind::File && entry.path.extension().is_some_and(|e| e == "conf");
        let known = lines && DIRS.iter().any(|known| dir == Some(Path::new(known)));
        if known { Want::Entry } else { Want::No }
    }

    fn canonical(&self, _file: &File<'_>, _cx: &Context) -> io::Result<Verdict> {
        Ok(Verdict::Keep)
    }

    fn followers(
        &self,
        open: &[&Difference],
        around: &OtherDifferences<'_>,
    ) -> Vec<Option<Follows>> {
        let lines: BTreeSet<Line> = around.trees.iter().flat_map(|tree| lines(*tree)).collect();
        let line =
            |difference: &Difference| lines.iter().find_map(|line| line.made(difference, around));
        open.iter().map(|difference| line(difference)).collect()
    }
}

/// A line with a specifier of the builder's.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    file: PathBuf,
    number: usize,
    kind: u8,
    path: Pattern,
    argument: Pattern,
}

/// A text with specifiers: what is fixed in it, and what stands between.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    /// The text before the first specifier and after each.
    pieces: Vec<Vec<u8>>,
    /// Those of [`BUILDERS`] in it.
    builders: Vec<u8>,
}

/// All such lines of a tree. What cannot be read has none.
fn lines(tree: &dyn Tree) -> Vec<Line> {
    let mut found = Vec::new();
    for dir in DIRS.map(Path::new) {
        let is_dir = |entry: Entry| entry.kind == Kind::Dir;
        let there = tree.lookup(dir).ok().flatten().is_some_and(is_dir);
        let names = if there { tree.list(dir).unwrap_or_default() } else { Vec::new() };
        for file in names.iter().map(|name| dir.join(name)) {
            let small = |entry: &Entry| entry.kind == Kind::File && entry.size <= BYTES;
            let small = tree.lookup(&file).ok().flatten().is_some_and(|entry| small(&entry));
            let text = if small { tree.read(&file).ok().flatten() } else { None };
            let text = text.unwrap_or_default();
            let numbered = text.split(|b| *b == b'\n').enumerate();
            found.extend(numbered.filter_map(|(n, line)| Line::of(&file, n + 1, line)));
        }
    }
    found
}

impl Line {
    /// A line of `file`; `None` if nothing in it is the builder's.
    fn of(file: &Path, number: usize, line: &[u8]) -> Option<Self> {
        let mut fields = Fields(line);
        let kind = *fields.next()?.first()?;
        let path = fields.next()?;
        for _ in 0..4 {
            fields.next();
        }
        let mut argument = unescaped(fields.0.trim_ascii());
        // What is written into a file that has more is looked for line by line.
        if kind == b'w' {
            argument.truncate(argument.trim_ascii_end().len());
        }
        let argument = Pattern::of(&argument);
        let path = Pattern::of(path.strip_prefix(b"/")?);
        let theirs = !path.builders.is_empty() || !argument.builders.is_empty();
        theirs.then(|| Line { file: file.to_owned(), number, kind, path, argument })
    }

    /// Whether this line made what differs, and why that is so.
    fn made(&self, difference: &Difference, around: &OtherDifferences<'_>) -> Option<Follows> {
        let path = difference.path.as_os_str().as_bytes();
        let logical = path.strip_prefix(b"usr/").filter(|rest| rest.starts_with(b"etc/"));
        if !self.path.fits(logical.unwrap_or(path), false) {
            return None;
        }
        let only = |change: &Change| matches!(change, Change::OnlyA | Change::OnlyB);
        let builders = match difference.changes.iter().any(only) {
            true => &self.path.builders,
            false if self.wrote(difference, around) => &self.argument.builders,
            false => return None,
        };
        let name = |b: &u8| {
            let what = BUILDERS.iter().find(|(known, _)| known == b).map_or("", |(_, what)| what);
            format!("%{} ({what})", char::from(*b))
        };
        let names: Vec<_> = builders.iter().map(name).collect();
        (!names.is_empty()).then(|| Follows {
            of: self.file.clone(),
            how: Consequence::Tmpfiles,
            why: format!(
                "line {} there has {}: use literal text in an image's lines",
                self.number,
                names.join(" and ")
            ),
        })
    }

    /// Whether both sides hold what the line writes.
    fn wrote(&self, difference: &Difference, around: &OtherDifferences<'_>) -> bool {
        let sides = [&difference.a, &difference.b];
        let text = |n: usize, side: &Option<Side>| -> Option<Vec<u8>> {
            match self.kind {
                b'L' => Some(side.as_ref()?.target.as_ref()?.as_os_str().as_bytes().to_vec()),
                _ => around.trees[n].read(&difference.path).ok()?,
            }
        };
        let mut texts = sides.iter().enumerate().map(|(n, side)| text(n, side));
        let fits = |text: Option<Vec<u8>>| match (self.kind, text) {
            (b'f' | b'F' | b'L', Some(text)) => self.argument.fits(&text, true),
            // It may be one of many things that were written there.
            (b'w', Some(text)) => {
                text.split(|b| *b == b'\n').any(|line| self.argument.fits(line, true))
            }
            _ => false,
        };
        texts.all(fits)
    }
}

impl Pattern {
    fn of(text: &[u8]) -> Self {
        let mut pattern = Pattern { pieces: vec![Vec::new()], builders: Vec::new() };
        let mut bytes = text.iter().copied();
        while let Some(byte) = bytes.next() {
            match (byte, if byte == b'%' { bytes.next() } else { None }) {
                (b'%', Some(specifier)) if specifier != b'%' => {
                    if BUILDERS.iter().any(|(known, _)| *known == specifier) {
                        pattern.builders.push(specifier);
                    }
                    pattern.pieces.push(Vec::new());
                }
                _ => pattern.pieces.last_mut().into_iter().for_each(|piece| piece.push(byte)),
            }
        }
        pattern
    }

    /// Whether a text is this with something in place of each specifier; a path's have no slash.
    fn fits(&self, text: &[u8], slashes: bool) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return text.is_empty() };
        let Some(mut text) = text.strip_prefix(&first[..]) else { return false };
        let Some((last, middle)) = rest.split_last() else { return text.is_empty() };
        for piece in middle {
            let Some(at) = memchr::memmem::find(text, piece) else { return false };
            if !slashes && text[..at].contains(&b'/') {
                return false;
            }
            text = &text[at + piece.len()..];
        }
        text.strip_suffix(&last[..]).is_some_and(|value| slashes || !value.contains(&b'/'))
    }
}

/// The fields of a line: words, which may be in quotes.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0.trim_ascii_start();
        let quote = text.first().copied().filter(|b| matches!(b, b'"' | b'\''));
        let inner = if quote.is_some() { &text[1..] } else { text };
        let ends = |b: &u8| quote.map_or(b.is_ascii_whitespace(), |quote| *b == quote);
        let end = inner.iter().position(ends).unwrap_or(inner.len());
        self.0 = inner.get(end + 1..).unwrap_or_default();
        (!text.is_empty()).then_some(&inner[..end])
    }
}

/// What a line writes, its escapes replaced: those of C for a line's end, a tab, a backslash.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let escape = if byte == b'\\' { bytes.peek().copied() } else { None };
        let replaced = match escape {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b's') => b' ',
            Some(b'\\') => b'\\',
            _ => {
                out.push(byte);
                continue;
            }
        };
        bytes.next();
        out.push(replaced);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<Line> {
        Line::of(Path::new("usr/lib/tmpfiles.d/x.conf"), 1, text.as_bytes())
    }

    #[test]
    fn lines_with_what_is_the_builders_are_known() {
        for text in [
            "f /etc/built - - - - on %H",
            "f+ \"/etc/built\" 0644 root root - %b\\n",
            "d /var/lib/x-%v 0755 - - -",
            "L /etc/kernel-link - - - - ../boot/%v",
        ] {
            assert!(line(text).is_some(), "{text}");
        }
        for text in ["", "# f /x - - - - %H", "f /etc/x - - - - 100%% %w", "d /run/x"] {
            assert!(line(text).is_none(), "{text}");
        }
    }

    #[test]
    fn patterns_fit_what_stands_in_place_of_specifiers() {
        let fits = |pattern: &str, text: &str, slashes| {
            Pattern::of(pattern.as_bytes()).fits(text.as_bytes(), slashes)
        };
        assert!(fits("on %H, %v%%", "on alpha, 6.1-x%", true));
        assert!(!fits("on %H", "at alpha", true));
        assert!(fits("var/lib/%b/x", "var/lib/0123/x", false));
        assert!(!fits("var/lib/%b", "var/lib/0123/x", false));
        assert!(!fits("var/lib", "var/lib/x", false));
    }

    #[test]
    fn quotes_and_escapes_are_read() {
        let found = line("f '/etc/a b' - - - - %H\\tx\\n").expect("has one");
        assert!(found.path.fits(b"etc/a b", false));
        assert!(found.argument.fits(b"alpha\tx\n", true));
        assert!(line("f").is_none() && line("f x - - - - %H").is_none());
    }
}
