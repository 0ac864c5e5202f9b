//! The members of an image's layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::layout::{Descriptor, Image};
use super::limits;
use super::store::{Part, Store};
use super::stream::{Plain, Sums, for_each_chunk};
use crate::format::tar::{Member, Reader, Type};

/// SHA-256 of a file's content.
pub type Content = [u8; 32];

/// A layer that was read once from beginning to end: verified, its members in the order of the
/// archive.
pub struct Layer {
    /// Its digests and sizes.
    pub sums: Sums,
    /// Its members.
    pub members: Vec<Member>,
    /// The SHA-256 of each member's content, which is empty unless it is a file.
    pub contents: Vec<Content>,
    /// Whether it has a global PAX header, whose records apply to the members after it.
    pub has_globals: bool,
    /// The plain archive, in a temporary file without a name; only on request.
    spool: Option<Arc<File>>,
}

/// What to keep of a layer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Members,
    /// SHA-256 of every file.
    Digests,
    /// SHA-256 of every file, and the plain archive in a temporary file for [`Layer::content`].
    Spool,
}

impl Layer {
    /// The content of member number `index`. `None` unless the layer was read with [`Keep::Spool`].
    pub fn content(&self, index: usize) -> Option<Part> {
        let member = self.members.get(index)?;
        self.plain(member.data, member.size)
    }

    /// `size` bytes of the plain archive from `at` on. `None` unless the layer was read with
    /// [`Keep::Spool`].
    pub fn plain(&self, at: u64, size: u64) -> Option<Part> {
        Some(Part::new(Arc::clone(self.spool.as_ref()?), at, size))
    }

    /// Memory that its members take.
    pub fn footprint(&self) -> usize {
        self.members.iter().map(footprint).sum()
    }

    /// Where the last member ends in the plain archive.
    pub fn end(&self) -> u64 {
        let last = self.members.last();
        last.map_or(0, |m| m.data + m.size.next_multiple_of(crate::format::tar::BLOCK as u64))
    }
}

/// Reads all layers of `image`, lowest first.
///
/// # Errors
///
/// If a layer is missing, does not match its digest and diff_id, or is not a tar archive, or if the
/// members take too much memory.
pub fn layers(store: &Store, image: &Image, keep: Keep) -> anyhow::Result<Vec<Layer>> {
    layers_beside(store, image, keep, BTreeMap::new())
}

/// Reads all layers of `image` but those that were `read` before, by their number.
///
/// # Errors
///
/// Those of [`layers`].
pub fn layers_beside(
    store: &Store,
    image: &Image,
    keep: Keep,
    mut read: BTreeMap<usize, Layer>,
) -> anyhow::Result<Vec<Layer>> {
    let takes: usize = read.values().map(Layer::footprint).sum();
    let mut room = limits::MEMBER_BYTES.saturating_sub(takes);
    let pairs = image.layers.iter().zip(&image.diff_ids).enumerate();
    pairs
        .map(|(number, (layer, diff_id))| match read.remove(&number) {
            Some(layer) => Ok(layer),
            None => open(store, layer, diff_id, keep, &mut room),
        })
        .collect()
}

/// Reads one layer, like [`layers`].
pub fn layer(
    store: &Store,
    descriptor: &Descriptor,
    diff_id: &Digest,
    keep: Keep,
) -> anyhow::Result<Layer> {
    open(store, descriptor, diff_id, keep, &mut { limits::MEMBER_BYTES })
}

fn open(
    store: &Store,
    descriptor: &Descriptor,
    diff_id: &Digest,
    keep: Keep,
    room: &mut usize,
) -> anyhow::Result<Layer> {
    let digest = &descriptor.digest;
    let plain = store.plain(&descriptor.name, digest.hasher(), diff_id.hasher())?;
    let plain =
        plain.with_context(|| format!("layer {digest} is missing: copy the image again"))?;
    let layer = read(plain, keep, room)
        .with_context(|| format!("reading layer {digest} of {}", store.path().display()))?;
    ensure!(
        layer.sums.diff_id == *diff_id,
        "layer {digest} unpacks to diff_id {} but the config says {diff_id}",
        layer.sums.diff_id
    );
    Ok(layer)
}

fn read(plain: Plain, keep: Keep, room: &mut usize) -> anyhow::Result<Layer> {
    let spool = match keep {
        Keep::Spool => Some(crate::disk::scratch(None).context("creating a temporary file")?),
        _ => None,
    };
    let mut tee = Tee { plain, spool };
    let (mut members, mut contents) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(&mut tee);
    while let Some(member) = reader.next_member()? {
        let takes = footprint(&member);
        if takes > *room {
            bail!("the layers' members take more than {} bytes: refused", limits::MEMBER_BYTES);
        }
        *room -= takes;
        let mut content = Content::default();
        if keep != Keep::Members && member.kind == Type::File {
            let mut hasher = Sha256::new();
            for_each_chunk(&mut reader, member.size, |bytes| hasher.update(bytes))?;
            content = hasher.finalize().into();
        }
        contents.push(content);
        members.push(member);
    }
    let has_globals = reader.has_globals();
    // The bytes after the last member are part of the plain archive.
    io::copy(&mut tee, &mut io::sink())?;
    let Tee { plain, spool } = tee;
    let sums = plain.finish()?;
    Ok(Layer { sums, members, contents, has_globals, spool: spool.map(Arc::new) })
}

fn footprint(member: &Member) -> usize {
    member.footprint() + size_of::<Content>()
}

/// Copies what is read into a file.
struct Tee {
    plain: Plain,
    spool: Option<File>,
}

impl Read for Tee {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.plain.read(buf)?;
        if let Some(spool) = &mut self.spool {
            spool.write_all(&buf[..n])?;
        }
        Ok(n)
    }
}
