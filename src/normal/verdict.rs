//! What a plugin makes of a path.

use std::path::{Path, PathBuf};

use super::{Content, Spooled};
use crate::format::Malformed;
use crate::tree::Time;

/// What a plugin makes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In normal form already.
    Keep,
    /// These bytes are the normal form.
    Rewrite(Vec<u8>),
    /// The normal form of a file that is too large for memory.
    Spooled(Spooled),
    /// It is removed. A directory is removed only if everything in it is.
    Remove,
    /// It gets this modification time.
    Mtime(Time),
    /// Several paths change together, in this order; each step alone leaves a tree that its
    /// readers understand. The last step that writes the judged path gives its normal form.
    Steps(Vec<Step>),
    /// It is decided together with this path, whose steps write it.
    With(PathBuf),
    /// The extended attributes with these names are removed; everything else stays.
    Xattrs(Vec<Vec<u8>>),
    /// It gets these permission bits.
    Mode(u32),
    /// A known source of difference that no tool may fix here: why, and what to do instead.
    Report(String),
    /// It looks like this plugin's file but cannot be parsed; it is left alone, with a warning.
    Unparsed(Malformed),
}

impl Verdict {
    /// The verdict on a file with content `before`, given its normal form from a format's writer.
    pub(crate) fn of(normal: Result<Vec<u8>, Malformed>, before: &[u8]) -> Self {
        Self::of_changed(normal.map(|bytes| (bytes != before).then_some(bytes)))
    }

    /// The verdict for a writer that returns `None` if nothing changes.
    pub(crate) fn of_changed(normal: Result<Option<Vec<u8>>, Malformed>) -> Self {
        match normal {
            Ok(None) => Verdict::Keep,
            Ok(Some(bytes)) => Verdict::Rewrite(bytes),
            Err(what) => Verdict::Unparsed(what),
        }
    }

    /// Whether the plugin wants to change this path, not only remark on it.
    pub fn changes(&self) -> bool {
        match self {
            Verdict::Rewrite(_)
            | Verdict::Spooled(_)
            | Verdict::Remove
            | Verdict::Mtime(_)
            | Verdict::Xattrs(_)
            | Verdict::Mode(_)
            | Verdict::Steps(_) => true,
            Verdict::Keep | Verdict::With(_) | Verdict::Report(_) | Verdict::Unparsed(_) => false,
        }
    }
}

/// One step of [`Verdict::Steps`], applied by the engine like any other change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Gives the existing file at this path this content.
    Write(PathBuf, Content),
    /// Removes the name, if it exists.
    Remove(PathBuf),
    /// Makes the name another hard link of the second path.
    Link(PathBuf, PathBuf),
    /// Gives these existing files these contents as one. The others describe the first: whenever
    /// the run is killed, none is beside a first file that it does not belong to, and the next run
    /// finishes.
    Unit(Vec<(PathBuf, Vec<u8>)>),
}

/// What is at a path after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewState<'s> {
    /// A file with this content.
    Bytes(&'s [u8]),
    /// A file with this content, too large for memory.
    Spooled(&'s Spooled),
    /// Nothing.
    Nothing,
    /// Another name of this path.
    Link(&'s Path),
}

impl Step {
    /// The paths that the step changes.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Step::Write(path, _) | Step::Remove(path) | Step::Link(path, _) => vec![path],
            Step::Unit(files) => files.iter().map(|(path, _)| path.as_path()).collect(),
        }
    }

    /// What is at `path` after the step; `None` if it does not change it.
    pub fn new_state(&self, path: &Path) -> Option<NewState<'_>> {
        match self {
            Step::Write(at, content) => (at == path).then_some(match content {
                Content::Held(bytes) => NewState::Bytes(bytes),
                Content::Spooled(spooled) => NewState::Spooled(spooled),
            }),
            Step::Remove(at) => (at == path).then_some(NewState::Nothing),
            Step::Link(at, of) => (at == path).then_some(NewState::Link(of)),
            Step::Unit(files) => {
                let own = files.iter().find(|(at, _)| at == path);
                own.map(|(_, bytes)| NewState::Bytes(bytes))
            }
        }
    }
}
