//! Plugins that read a format in order to explain it, and never change it.

use std::sync::OnceLock;

use super::pattern::Globs;
use super::{File, Page, Plugin, Verdict, Want};
use crate::engine::Context;
use crate::format::Malformed;
use crate::format::facts::Facts;
use crate::tree::{Entry, Kind};

/// What a format's reader gives.
pub(super) type Reader = fn(&[u8]) -> Result<Facts, Malformed>;

/// A plugin made of a page, globs over logical paths, and a reader.
pub(super) struct Known {
    page: &'static Page,
    paths: &'static [&'static str],
    reader: Reader,
    /// [`Want::Bytes`]: a file that the reader does not understand is a warning. [`Want::Entry`]:
    /// the file is read only to be explained, since it is big.
    want: Want,
    globs: OnceLock<Globs>,
}

impl Known {
    /// A plugin whose files are read in each run, so that damaged ones are reported.
    pub(super) const fn new(
        page: &'static Page,
        paths: &'static [&'static str],
        reader: Reader,
    ) -> Self {
        Known { page, paths, reader, want: Want::Bytes, globs: OnceLock::new() }
    }

    /// The same, for files too big to be read unless two builds differ in them.
    pub(super) const fn unread(mut self) -> Self {
        self.want = Want::Entry;
        self
    }
}

impl Plugin for Known {
    fn page(&self) -> &'static Page {
        self.page
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let globs = || self.globs.get_or_init(|| Globs::new(self.paths.iter().copied()));
        let ours = entry.kind == Kind::File && globs().all(&entry.logical()).next().is_some();
        if ours { self.want } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, _cx: &Context) -> Verdict {
        match self.want {
            Want::Bytes => match (self.reader)(&file.bytes) {
                Ok(_) => Verdict::Keep,
                Err(what) => Verdict::Unparsed(what),
            },
            Want::Entry | Want::Stream | Want::No => Verdict::Keep,
        }
    }

    fn about(&self, _entry: &Entry) -> Option<&'static str> {
        Some(self.page.why)
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        compare(self.reader, &a.content(), &b.content())
    }
}

/// What a format's reader finds to differ; nothing where it does not understand both sides.
pub(super) fn compare(reader: Reader, a: &[u8], b: &[u8]) -> Vec<String> {
    let (Ok(left), Ok(right)) = (reader(a), reader(b)) else { return Vec::new() };
    let lines = left.compare(&right);
    match lines.is_empty() && a != b {
        true => vec!["both say the same, in another layout".to_owned()],
        false => lines,
    }
}
