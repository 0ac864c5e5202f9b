//! Plugins that read a format to explain it, and at most sort it.

use std::io;
use std::sync::OnceLock;

use crate::format::Malformed;
use crate::format::facts::Facts;
use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// A format's reader, which adds the content of a file to facts.
pub(in crate::plugins) type ReadFacts = fn(&[u8], Facts) -> Result<Facts, Malformed>;

/// A plugin made of a page, globs over logical paths, and a reader.
pub(in crate::plugins) struct Reader {
    page: &'static Page,
    paths: &'static [&'static str],
    reader: ReadFacts,
    /// [`Want::Bytes`]: a file that the reader cannot parse gives a warning. [`Want::Entry`]: the
    /// file is big, so it is read only to explain a difference.
    want: Want,
    globs: OnceLock<Globs>,
    /// Globs of more files that are read only to explain a difference.
    unread: &'static [&'static str],
    unread_globs: OnceLock<Globs>,
    /// Globs of those files that may be empty.
    empty: &'static [&'static str],
    empty_globs: OnceLock<Globs>,
    /// Makes the normal form of the files that are read in each run; if `None`, they stay as they
    /// are.
    rewriter: Option<Rewrite>,
}

/// A format's writer: the normal form of a file.
pub(in crate::plugins) type Rewrite = fn(&[u8]) -> Result<Vec<u8>, Malformed>;

impl Reader {
    /// A plugin whose files are read in each run, so that damaged ones are reported.
    pub(in crate::plugins) const fn new(
        page: &'static Page,
        paths: &'static [&'static str],
        reader: ReadFacts,
    ) -> Self {
        Reader {
            page,
            paths,
            reader,
            want: Want::Bytes,
            globs: OnceLock::new(),
            unread: &[],
            unread_globs: OnceLock::new(),
            empty: &[],
            empty_globs: OnceLock::new(),
            rewriter: None,
        }
    }

    /// Also brings the files into the normal form that `rewriter` makes.
    pub(in crate::plugins) const fn rewritten(mut self, rewriter: Rewrite) -> Self {
        self.rewriter = Some(rewriter);
        self
    }

    /// Adds files that are too many to be read unless two builds differ in them.
    pub(in crate::plugins) const fn and_unread(mut self, paths: &'static [&'static str]) -> Self {
        self.unread = paths;
        self
    }

    /// Names the files that may be empty. Any other empty file counts as damaged.
    pub(in crate::plugins) const fn may_be_empty(mut self, paths: &'static [&'static str]) -> Self {
        self.empty = paths;
        self
    }

    /// Reads files only if two builds differ in them, since they are too big.
    pub(in crate::plugins) const fn unread(mut self) -> Self {
        self.want = Want::Entry;
        self
    }
}

impl Plugin for Reader {
    fn page(&self) -> &'static Page {
        self.page
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match entry.kind == Kind::File {
            true if is_one(entry, &self.globs, self.paths) => self.want,
            true if is_one(entry, &self.unread_globs, self.unread) => Want::Entry,
            _ => Want::No,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        Ok(match self.wants(file.entry, cx) {
            Want::Bytes if file.bytes.is_empty() => {
                match is_one(file.entry, &self.empty_globs, self.empty) {
                    true => Verdict::Keep,
                    false => Verdict::Unparsed(Malformed::at(0, "the file is empty")),
                }
            }
            Want::Bytes => {
                let read = (self.reader)(&file.bytes, Facts::counted(&file.bytes));
                let normal = |_| self.rewriter.map(|make| make(&file.bytes)).transpose();
                match read.and_then(normal) {
                    Ok(Some(bytes)) if bytes != *file.bytes => Verdict::Rewrite(bytes),
                    Ok(_) => Verdict::Keep,
                    Err(what) => Verdict::Unparsed(what),
                }
            }
            Want::Magic(_) | Want::Entry | Want::Stream | Want::No => Verdict::Keep,
        })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        compare(self.reader, &a.content(), &b.content())
    }
}

fn is_one(entry: &Entry, globs: &OnceLock<Globs>, paths: &'static [&'static str]) -> bool {
    let globs = globs.get_or_init(|| Globs::new(paths.iter().copied()));
    globs.all(&entry.logical()).next().is_some()
}

/// The differences that a format's reader finds, or which side it cannot parse, and why.
pub(in crate::plugins) fn compare(reader: ReadFacts, a: &[u8], b: &[u8]) -> Vec<String> {
    let (left, right) = match (reader(a, Facts::of(a)), reader(b, Facts::of(b))) {
        (Ok(left), Ok(right)) => (left, right),
        (left, right) => {
            let sides = [("first", left.err()), ("second", right.err())];
            let told = |(side, why): (&str, Option<Malformed>)| {
                why.map(|why| format!("the {side} is damaged: {why}"))
            };
            return sides.into_iter().filter_map(told).collect();
        }
    };
    let lines = left.compare(&right);
    match lines.is_empty() && a != b {
        true => vec!["both have the same content in another layout".to_owned()],
        false => lines,
    }
}
