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
    /// As `Rewrite`, of a file too large to hold in memory.
    Spooled(Spooled),
    /// The normal form is absence. A directory goes only if everything in it goes.
    Remove,
    /// The modification time becomes this.
    Mtime(Time),
    /// Several paths change together, in this order; each step alone leaves a tree that its
    /// readers understand. The last step that writes the judged path gives its normal form.
    Steps(Vec<Step>),
    /// What becomes of it is decided together with this path, whose steps write it.
    With(PathBuf),
    /// These extended attributes go, by name; everything else stays.
    Xattrs(Vec<Vec<u8>>),
    /// The permission bits become these.
    Mode(u32),
    /// A known source of difference that no tool may fix here: why, and what to do instead.
    Report(String),
    /// Looks like this plugin's file but cannot be understood; it is left alone, with a warning.
    Unparsed(Malformed),
}

impl Verdict {
    /// The verdict on a file that is `before`, of which a format's writer made this normal form.
    pub(crate) fn of(normal: Result<Vec<u8>, Malformed>, before: &[u8]) -> Self {
        Self::of_changed(normal.map(|bytes| (bytes != before).then_some(bytes)))
    }

    /// The verdict of a writer that gives nothing where nothing changes.
    pub(crate) fn of_changed(normal: Result<Option<Vec<u8>>, Malformed>) -> Self {
        match normal {
            Ok(None) => Verdict::Keep,
            Ok(Some(bytes)) => Verdict::Rewrite(bytes),
            Err(what) => Verdict::Unparsed(what),
        }
    }

    /// Whether the plugin asks for a change of this path, not only says a word.
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
    /// The file at this path, which exists, gets this content.
    Write(PathBuf, Content),
    /// The name goes, if it is there.
    Remove(PathBuf),
    /// The name becomes another hard link of the second path.
    Link(PathBuf, PathBuf),
    /// These files, which exist, get these contents as one. The first is what the others describe:
    /// whenever the run is killed, no other stands beside a first that it does not belong to, and
    /// the next run finishes.
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
