//! Plugins that bring one kind of file into a normal form, and know what differs in two of them.

use std::io;

use crate::normal::{Context, File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// A plugin made of a page and functions over bytes.
pub(in crate::plugins) struct Rewriter {
    /// The page.
    pub(in crate::plugins) page: &'static Page,
    /// Whether the end of a name alone says that it is one, wherever it is.
    pub(in crate::plugins) by_ending: bool,
    /// Whether a regular file is named like one of these.
    pub(in crate::plugins) named: fn(&Entry) -> bool,
    /// Whether the content begins like one of these; any other file of such a name is left alone.
    pub(in crate::plugins) is: fn(&[u8]) -> bool,
    /// What becomes of such a file.
    pub(in crate::plugins) verdict: fn(&File<'_>, &Context) -> Verdict,
    /// What differs in two of them, a phrase a line.
    pub(in crate::plugins) explain: fn(&[u8], &[u8]) -> Vec<String>,
}

impl Plugin for Rewriter {
    fn page(&self) -> &'static Page {
        self.page
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        if entry.kind == Kind::File && (self.named)(entry) { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        Ok(match (self.is)(&file.bytes) {
            true => (self.verdict)(file, cx),
            false => Verdict::Keep,
        })
    }

    fn judges_bytes_alone(&self) -> bool {
        self.by_ending
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        (self.explain)(&a.content(), &b.content())
    }
}
