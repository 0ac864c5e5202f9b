//! Plugins that bring one kind of file into a normal form, and explain differences between two.

use std::io;

use crate::normal::{Context, File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// A plugin made of a page and functions over bytes.
pub(in crate::plugins) struct Rewriter {
    /// The page.
    pub(in crate::plugins) page: &'static Page,
    /// Whether the ending of the name alone decides, wherever the file is.
    pub(in crate::plugins) by_ending: bool,
    /// Whether a regular file has a name of this kind.
    pub(in crate::plugins) named: fn(&Entry) -> bool,
    /// Whether the content begins like this kind of file; any other file of such a name is left
    /// alone.
    pub(in crate::plugins) is: fn(&[u8]) -> bool,
    /// The verdict on such a file.
    pub(in crate::plugins) verdict: fn(&File<'_>, &Context) -> Verdict,
    /// What differs between two of them, one phrase per line.
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
