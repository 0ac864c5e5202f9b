//! `oci verify`: is every blob what its digest, size and diff_id say.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};

use anyhow::Context as _;
use serde::Serialize;

use super::Findings;
use super::compare::is_archive;
use crate::format::tar::Reader;
use crate::source::oci::{Descriptor, Digest, Fault, Hasher, Images, Plain, Store, for_each_chunk};
use crate::text::counted;

/// What a verification found.
#[derive(Debug, Default, Serialize)]
pub struct Verification {
    /// Manifests, configurations and layers looked at, each once.
    pub blobs: usize,
    /// Bytes of layers as stored.
    pub stored: u64,
    /// Bytes of layers unpacked.
    pub plain: u64,
    /// What is wrong, sorted, each fault once.
    pub faults: BTreeSet<Fault>,
    /// Shapes that programs refuse or read in different ways, in words, each once.
    pub oddities: BTreeSet<String>,
}

/// Reads every blob of the entries that `subject` selects: size, digest, and for the layers of
/// images the diff_id and the structure of the tar archive.
///
/// # Errors
///
/// On what no tool should read on: members that leave the root, decompression bombs.
pub fn verify(subject: &Images) -> anyhow::Result<Verification> {
    let mut report = Verification::default();
    let mut seen = BTreeSet::new();
    for image in subject.selected() {
        report.blobs += 1 + usize::from(image.config.is_some());
        report.faults.extend(image.faults.iter().cloned());
        report.oddities.extend(image.oddities.iter().map(|oddity| oddity.words(image)));
        for (i, layer) in image.layers.iter().enumerate() {
            let diff_id = image.diff_ids.get(i).filter(|_| image.is_image());
            if seen.insert((layer.name.clone(), diff_id.cloned())) {
                report.blobs += 1;
                let fault = check(&subject.store, layer, diff_id, &mut report)
                    .with_context(|| format!("verifying layer {}", layer.digest))?;
                report.faults.extend(fault);
            }
        }
    }
    Ok(report)
}

/// One layer. `Err` for what is fatal, `Ok(Some)` for a fault.
fn check(
    store: &Store,
    layer: &Descriptor,
    diff_id: Option<&Digest>,
    report: &mut Verification,
) -> anyhow::Result<Option<Fault>> {
    let digest = || layer.digest.to_string();
    let missing = || Ok(Some(Fault::Missing { what: "layer", digest: digest() }));
    let stored = layer.digest.hasher();
    // A docker-archive and container storage give no size, and no digest but the diff_id.
    let named = layer.size >= 0;
    if named || diff_id.is_none() {
        let Some(part) = store.open_file(&layer.name)? else { return missing() };
        let found = part.size();
        if named && layer.size as u64 != found {
            let expected = layer.size;
            return Ok(Some(Fault::Size { what: "layer", digest: digest(), expected, found }));
        }
        if diff_id.is_none() {
            // Not an image's: bytes only.
            report.stored += found;
            return Ok(corrupt(layer, hash(part, stored)?));
        }
    }
    let Some(diff_id) = diff_id else { return missing() };
    let Some(plain) = store.plain(&layer.name, stored, diff_id.hasher())? else {
        return missing();
    };
    match walk(plain, is_archive(layer)) {
        Ok(sums) => {
            report.stored += sums.size;
            report.plain += sums.plain;
            if let Some(fault) = corrupt(layer, sums.digest).filter(|_| named) {
                return Ok(Some(fault));
            }
            Ok((sums.diff_id != *diff_id).then(|| Fault::DiffId {
                digest: digest(),
                expected: diff_id.to_string(),
                found: sums.diff_id,
            }))
        }
        Err(error) if is_fatal(&error) => Err(error.into()),
        Err(error) => {
            let fault = match store.open_file(&layer.name).ok().flatten().filter(|_| named) {
                Some(part) => corrupt(layer, hash(part, layer.digest.hasher())?),
                None => None,
            };
            let reason = error.to_string();
            let unreadable = || Fault::Unreadable { what: "layer", digest: digest(), reason };
            Ok(Some(fault.unwrap_or_else(unreadable)))
        }
    }
}

/// Bombs and escapes: input that is not damaged but hostile.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::FileTooLarge | ErrorKind::InvalidFilename)
}

fn walk(mut plain: Plain, tar: bool) -> io::Result<crate::source::oci::Sums> {
    if tar {
        let mut reader = Reader::new(&mut plain);
        while reader.next_member()?.is_some() {}
    }
    plain.finish()
}

fn corrupt(layer: &Descriptor, found: Digest) -> Option<Fault> {
    let digest = layer.digest.to_string();
    (found != layer.digest).then_some(Fault::Corrupt { what: "layer", digest, found })
}

fn hash(from: impl Read, mut hasher: Hasher) -> io::Result<Digest> {
    for_each_chunk(from, u64::MAX, |bytes| hasher.update(bytes))?;
    Ok(hasher.finish())
}

impl Findings for Verification {
    fn sound(&self) -> bool {
        self.faults.is_empty() && self.oddities.is_empty()
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for fault in &self.faults {
            writeln!(out, "fault: {fault}")?;
        }
        for oddity in &self.oddities {
            writeln!(out, "shape: {oddity}")?;
        }
        let verdict = if self.faults.is_empty() { "sound" } else { "not sound" };
        let (blobs, faults) = (counted(self.blobs, "blob"), counted(self.faults.len(), "fault"));
        writeln!(out, "{verdict}: {blobs}, {} of layers, {faults}", counted(self.plain, "byte"))
    }
}
