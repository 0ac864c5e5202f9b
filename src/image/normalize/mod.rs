//! `oci normalize`: an image that two builds of one input agree on.
//!
//! Times later than the epoch become the epoch, in layers, configuration and history; PAX `atime`
//! and `ctime` go; every layer has entries for its directories, each name once, in one order, and
//! no whiteout that unpackers read differently. Only what must change is changed: a layer in normal
//! form keeps its blob, a header that needs another time keeps all its other bytes. Documents are
//! written as JSON with sorted keys and OCI's media types.

mod document;
mod group;
mod layer;
mod output;
mod pack;
mod report;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

pub use layer::Changes;
pub use report::{LayerRow, Normalized, Row};

use crate::disk::NewDir;
use crate::env::SourceDateEpoch;
use crate::format::tar::Member;
use crate::source::Prefix;
use crate::source::oci::{Compression, Image, Images, Layer, Part};
use output::Output;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// No time in the image is later.
    pub epoch: SourceDateEpoch,
    /// How layers are compressed that are written anew: [`Compression::Gzip`] or
    /// [`Compression::Zstd`].
    pub compression: Compression,
    /// Compress all layers anew, so that no other compressor's bytes are left.
    pub recompress: bool,
    /// Keep attestations and artifacts, whose own statements still name the old digests.
    pub attestations: bool,
}

/// A layer to put on top of an image, and what the layers below lose for it.
pub struct Lift {
    /// Paths taken out of all layers, with all below them.
    pub without: Vec<Vec<u8>>,
    /// The members of the new layer, sorted, and their content.
    pub members: Vec<(Member, Content)>,
    /// What its history says.
    pub created_by: String,
    /// What becomes of the configuration beside.
    pub config: Option<Edit>,
}

/// A change of a configuration.
pub type Edit = fn(&mut Value) -> anyhow::Result<()>;

/// Content of a member that is put on top.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Part of a layer below.
    Part(Part),
}

/// What to lift out of an image; `None` for nothing.
type Lifter<'a> = dyn Fn(&Image, &[Layer]) -> anyhow::Result<Option<Lift>> + 'a;

/// Writes what `subject` selects in normal form to `out`, which must not exist: `oci:DIR[:TAG]`,
/// `oci-archive:FILE[:TAG]` or a directory.
///
/// # Errors
///
/// If an image cannot be read or is not what its digests say; nothing is left then.
pub fn normalize(subject: &Images, out: &str, options: Options) -> anyhow::Result<Normalized> {
    lifted(subject, out, options, &|_, _| Ok(None))
}

/// Normalizes, like [`normalize`], with a layer on top that removes paths from those below.
pub(crate) fn lifted(
    subject: &Images,
    out: &str,
    options: Options,
    lift: &Lifter<'_>,
) -> anyhow::Result<Normalized> {
    let target = Target::parse(out);
    let writing = || format!("writing {}", target.path.display());
    let dir = NewDir::beside(target.path).with_context(writing)?;
    dir.create_dir_all("blobs/sha256")?;
    let renamed = BTreeMap::new();
    let mut writer = Output { store: &subject.store, dir, options, lift, renamed };
    let report = writer
        .subject(subject, target.tag)
        .with_context(|| format!("normalising {}", subject.store.path().display()))?;
    writer.finish(&target).with_context(writing)?;
    Ok(report)
}

/// Where the result goes.
struct Target<'a> {
    path: &'a Path,
    tag: Option<&'a str>,
    archive: bool,
}

impl<'a> Target<'a> {
    fn parse(text: &'a str) -> Self {
        let (archive, rest) = match Prefix::split(text) {
            (Some(Prefix::OciArchive), start) => (true, &text[start..]),
            (Some(Prefix::Oci), start) => (false, &text[start..]),
            _ => (false, text),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && !tag.is_empty() => (path, Some(tag)),
            _ => (rest, None),
        };
        Target { path: Path::new(path), tag, archive }
    }
}
