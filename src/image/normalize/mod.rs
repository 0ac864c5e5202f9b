//! `oci normalize`: writes an image that is the same for two builds of the same input.
//!
//! Times later than the epoch become the epoch, in layers, configuration and history; PAX `atime`
//! and `ctime` are removed; every layer has entries for its directories, each name once, in a fixed
//! order, and no whiteout that unpackers interpret differently. Only what must change is changed: a
//! layer in normal form keeps its blob, a header that needs another time keeps all its other bytes.
//! Documents are written as JSON with sorted keys and OCI's media types.

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

/// The options of `oci normalize`.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The latest time in the image.
    pub epoch: SourceDateEpoch,
    /// The compression of rewritten layers: [`Compression::Gzip`] or [`Compression::Zstd`].
    pub compression: Compression,
    /// Compress all layers again, so that no other compressor's bytes remain.
    pub recompress: bool,
    /// Keep attestations and artifacts, whose statements still name the old digests.
    pub attestations: bool,
}

/// A layer to put on top of an image, and what is removed from the layers below.
pub struct Lift {
    /// Paths removed from all layers, with all below them.
    pub without: Vec<Vec<u8>>,
    /// The members of the new layer, sorted, and their content.
    pub members: Vec<(Member, Content)>,
    /// The entry in the history.
    pub created_by: String,
    /// A change of the configuration.
    pub config: Option<Edit>,
}

/// A change of a configuration.
pub type Edit = fn(&mut Value) -> anyhow::Result<()>;

/// Content of a member of the new layer.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Part of a layer below.
    Part(Part),
}

/// Determines what to lift out of an image; `None` for nothing.
type Lifter<'a> = dyn Fn(&Image, &[Layer]) -> anyhow::Result<Option<Lift>> + 'a;

/// Writes what `subject` selects in normal form to `out`, which must not exist: `oci:DIR[:TAG]`,
/// `oci-archive:FILE[:TAG]` or a directory.
///
/// # Errors
///
/// If an image cannot be read or does not match its digests; nothing is left behind then.
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

/// The destination of the result.
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
