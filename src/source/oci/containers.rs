//! Container storage of podman, buildah and CRI-O, read without them.
//!
//! Follows containers/storage 1.43 to 1.60: `DRIVER-images/images.json` lists images, whose
//! manifests and configurations are beside it, `DRIVER-layers/layers.json` lists layers. A layer is
//! stored unpacked; `ID.tar-split.gz` has the rest of its archive, from which the original plain
//! bytes can be assembled. Their compression is lost.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::digest::Digest;
use super::files::{Files, Part};
use super::limits::{self, Meter};
use super::store;
use crate::format::tar::split::{Crc, Piece, Pieces};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawImage {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    big_data_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawLayer {
    id: String,
    #[serde(default)]
    diff_digest: String,
}

/// The storage of one driver.
pub(super) struct Containers {
    driver: String,
    pub(super) index: Vec<u8>,
    /// Files of manifests, lists and configurations.
    documents: BTreeMap<Digest, String>,
    /// Ids of layers by their diff_ids.
    layers: BTreeMap<Digest, String>,
    /// Meters the records: what is assembled from them is larger, and does not count.
    meter: Arc<Meter>,
}

impl Containers {
    /// The driver whose `DRIVER-images/images.json` exists.
    pub(super) fn driver(files: &Files) -> anyhow::Result<Option<String>> {
        for name in files.list("")? {
            let driver = name.strip_suffix(b"-images").and_then(|d| std::str::from_utf8(d).ok());
            if let Some(driver) = driver
                && files.has(&format!("{driver}-images/images.json"))?
            {
                return Ok(Some(driver.to_owned()));
            }
        }
        Ok(None)
    }

    pub(super) fn open(files: &Files) -> anyhow::Result<Option<Self>> {
        let Some(driver) = Self::driver(files)? else { return Ok(None) };
        let images: Vec<RawImage> = list(files, &format!("{driver}-images/images.json"))?;
        ensure!(!images.is_empty(), "{driver}-images/images.json lists no image");
        let mut documents = BTreeMap::new();
        let mut entries = Vec::new();
        for image in &images {
            let dir = format!("{driver}-images/{}", single(&image.id)?);
            documents.extend(documents_of(image, &dir)?);
            let manifest = files.small(format!("{dir}/manifest"), limits::MANIFEST_BYTES)?;
            // An image that is being written has no manifest yet.
            let Some(manifest) = manifest else { continue };
            let digest = Digest::of(&manifest);
            documents.insert(digest.clone(), format!("{dir}/manifest"));
            let names = image.names.iter().flatten();
            entries.extend(names.map(|name| (digest.clone(), Some(name.clone()))));
            if image.names.as_ref().is_none_or(Vec::is_empty) {
                entries.push((digest, None));
            }
        }
        ensure!(!entries.is_empty(), "the storage has no complete image");
        let index = store::index_of(entries.iter().map(|(d, name)| (d, name.as_deref())))?;
        let layers = layers(files, &driver)?;
        Ok(Some(Containers { driver, index, documents, layers, meter: Arc::default() }))
    }

    /// Whether there is a layer with this diff_id.
    pub(super) fn is_layer(&self, digest: &Digest) -> bool {
        self.layers.contains_key(digest)
    }

    /// A document, or a layer assembled in a temporary file.
    pub(super) fn blob(&self, files: &Arc<Files>, digest: &Digest) -> anyhow::Result<Option<Part>> {
        if let Some(name) = self.documents.get(digest) {
            return files.file(name);
        }
        let Some(mut layer) = self.layer(files, digest)? else { return Ok(None) };
        let mut file = crate::disk::scratch(None).context("creating a temporary file")?;
        let size = io::copy(&mut layer, &mut file)?;
        file.flush()?;
        Ok(Some(Part::new(Arc::new(file), 0, size)))
    }

    /// The plain bytes of the layer with this diff_id; `None` if there is no such layer.
    pub(super) fn layer(
        &self,
        files: &Arc<Files>,
        digest: &Digest,
    ) -> anyhow::Result<Option<Assembled>> {
        let Some(id) = self.layers.get(digest) else { return Ok(None) };
        let driver = &self.driver;
        let split = format!("{driver}-layers/{id}.tar-split.gz");
        let records = files.file(&split)?;
        let records = records.with_context(|| {
            format!(
                "no {split}, without which the archive of layer {digest} cannot be assembled: \
                 skopeo copy containers-storage:IMAGE oci:LAYOUT:TAG"
            )
        })?;
        let root = match driver.as_str() {
            "vfs" => format!("vfs/dir/{id}"),
            "btrfs" => format!("btrfs/subvolumes/{id}"),
            driver => format!("{driver}/{id}/diff"),
        };
        let left = records.size();
        let meter = Arc::clone(&self.meter);
        let records = Records { gzip: MultiGzDecoder::new(records), left, meter };
        let pieces = Pieces::new(BufReader::new(records));
        let (files, now) = (Arc::clone(files), Now::Bytes(Vec::new(), 0));
        Ok(Some(Assembled { files, root, split, pieces, now }))
    }
}

fn list<T: for<'de> Deserialize<'de>>(files: &Files, name: &str) -> anyhow::Result<Vec<T>> {
    let bytes = files.small(name, limits::STORAGE_BYTES)?;
    let bytes = bytes.with_context(|| format!("no {name}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("parsing {name}"))
}

/// Checks that an id is a single path component.
fn single(id: &str) -> anyhow::Result<&str> {
    let fine = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
    ensure!(fine, "{id:?} is not an id of an image or a layer");
    Ok(id)
}

/// The files of documents named after their digests: `sha256:…` (a configuration) and
/// `manifest-sha256:…`.
fn documents_of(image: &RawImage, dir: &str) -> anyhow::Result<Vec<(Digest, String)>> {
    let names = image.big_data_names.as_deref().unwrap_or_default();
    let place = |name: &String| {
        let digest = Digest::parse(name.strip_prefix("manifest-").unwrap_or(name))?;
        Some((digest, format!("{dir}/={}", STANDARD.encode(name))))
    };
    ensure!(
        names.len() <= limits::DESCRIPTORS,
        "{dir} has more than {} files",
        limits::DESCRIPTORS
    );
    Ok(names.iter().filter_map(place).collect())
}

fn layers(files: &Files, driver: &str) -> anyhow::Result<BTreeMap<Digest, String>> {
    let mut all = BTreeMap::new();
    let name = format!("{driver}-layers/layers.json");
    for layer in list::<RawLayer>(files, &name)? {
        let id = single(&layer.id).with_context(|| format!("in {name}"))?;
        if let Some(diff_id) = Digest::parse(&layer.diff_digest) {
            all.entry(diff_id).or_insert_with(|| id.to_owned());
        }
    }
    Ok(all)
}

/// The records of a layer, decompressed as far as their size allows.
struct Records {
    gzip: MultiGzDecoder<Part>,
    left: u64,
    meter: Arc<Meter>,
}

impl Read for Records {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.gzip.read(buf)?;
        let left = self.gzip.get_ref().size();
        let counted = self.meter.count(self.left - left, n as u64);
        self.left = left;
        counted.map_err(|error| io::Error::new(io::ErrorKind::FileTooLarge, error)).map(|()| n)
    }
}

/// A layer's archive, assembled while it is read.
pub(super) struct Assembled {
    files: Arc<Files>,
    root: String,
    split: String,
    pieces: Pieces<BufReader<Records>>,
    now: Now,
}

/// What is being read.
enum Now {
    Bytes(Vec<u8>, usize),
    File(Content),
}

/// The content of a file, checked against its size and checksum.
struct Content {
    place: String,
    from: Part,
    crc: Crc,
    expected: Option<u64>,
}

impl Content {
    fn open(
        files: &Files,
        root: &str,
        path: &[u8],
        size: u64,
        sum: Option<u64>,
    ) -> io::Result<Self> {
        let place = format!("{root}/{}", String::from_utf8_lossy(path));
        let found = files.file([root.as_bytes(), b"/", path].concat());
        let found = found.map_err(|error| changed(&place, &format!("{error:#}")))?;
        let from = found.ok_or_else(|| changed(&place, "is not there"))?;
        if from.size() != size {
            let why = format!("has {} bytes and had {size}", from.size());
            return Err(changed(&place, &why));
        }
        Ok(Content { place, from, crc: Crc::default(), expected: sum })
    }

    /// Reads more; 0 at the end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        self.crc.update(&buf[..n]);
        match self.from.size() {
            left if n == 0 && left > 0 => Err(changed(&self.place, "became shorter")),
            0 if n == 0 && self.expected.is_some_and(|sum| sum != self.crc.sum()) => {
                Err(changed(&self.place, "has other bytes than it had"))
            }
            _ => Ok(n),
        }
    }
}

/// The error for storage that was changed after the layer was unpacked.
fn changed(place: &str, why: &str) -> io::Error {
    let why = format!("{place} {why}: it was changed after unpacking; pull the image again");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Assembled {
    /// Goes on to the next record; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let piece = self.pieces.next_piece();
        let piece = piece.map_err(|error| {
            io::Error::new(error.kind(), format!("{}, unpacked: {error}", self.split))
        })?;
        self.now = match piece {
            None => return Ok(false),
            Some(Piece::Bytes(bytes)) => Now::Bytes(bytes, 0),
            Some(Piece::File { size: 0, .. }) => Now::Bytes(Vec::new(), 0),
            Some(Piece::File { path, size, crc }) => {
                Now::File(Content::open(&self.files, &self.root, &path, size, crc)?)
            }
        };
        Ok(true)
    }
}

impl Read for Assembled {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let n = match &mut self.now {
                Now::Bytes(bytes, at) => {
                    let n = buf.len().min(bytes.len() - *at);
                    buf[..n].copy_from_slice(&bytes[*at..*at + n]);
                    *at += n;
                    n
                }
                Now::File(content) => content.read(buf)?,
            };
            if n > 0 || !self.advance()? {
                return Ok(n);
            }
        }
    }
}
