//! How one path differs between two trees, as data.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Entry, Kind};
use crate::format::ostree::{Attrs, Checksum};

/// One way in which a path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The path exists only in A.
    OnlyA,
    /// The path exists only in B.
    OnlyB,
    /// The kind differs: file, directory or symbolic link.
    Type,
    /// The bytes of a file.
    Content,
    /// The target of a symbolic link.
    Target,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Xattr,
}

impl Change {
    /// Its name in reports.
    pub fn word(self) -> &'static str {
        match self {
            Change::OnlyA => "only in A",
            Change::OnlyB => "only in B",
            Change::Type => "type",
            Change::Content => "content",
            Change::Target => "target",
            Change::Mode => "mode",
            Change::Owner => "owner",
            Change::Xattr => "xattr",
        }
    }
}

/// What one side has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Owner, mode and xattrs.
    pub attrs: Attrs,
    /// A symbolic link's target.
    pub target: Option<PathBuf>,
    /// Bytes of content.
    pub size: u64,
    /// The object: a directory's dirmeta, anything else's file object.
    pub object: Checksum,
}

impl Side {
    /// What it is.
    pub fn kind(&self) -> Kind {
        Kind::of_mode(self.attrs.mode)
    }

    /// The entry that plugins see, without times: a commit has none, and a directory must compare
    /// with it.
    pub fn entry(&self, path: &Path) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: self.kind(),
            mode: self.attrs.mode,
            uid: self.attrs.uid,
            gid: self.attrs.gid,
            size: self.size,
            mtime: None,
            inode: None,
        }
    }
}

/// A path and how it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path below the root; empty for the root itself.
    pub path: PathBuf,
    /// What A has there.
    pub a: Option<Side>,
    /// What B has there.
    pub b: Option<Side>,
    /// The ways in which they differ, sorted; never empty.
    pub changes: Vec<Change>,
}
