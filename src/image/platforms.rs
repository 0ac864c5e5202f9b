//! `oci platforms`: which digest names which image.

use std::io::{self, Write};

use serde::Serialize;

use super::{Findings, table};
use crate::source::oci::{Digest, Image, Images, Kind, Oddity};

/// Every entry of a subject.
#[derive(Debug, Serialize)]
pub struct Platforms {
    /// The entries, in the order of the indexes.
    pub images: Vec<Image>,
}

/// Lists the entries that `subject` selects.
pub fn platforms(subject: &Images) -> Platforms {
    Platforms { images: subject.selected().cloned().collect() }
}

impl Findings for Platforms {
    /// Unsound: a fault on the way to an image, an ambiguous platform, or a shape that programs
    /// refuse. Missing blobs of a sparse
    /// layout are notes.
    fn sound(&self) -> bool {
        let sparse = |image: &Image| image.notes.iter().any(|n| n.starts_with("sparse"));
        let ambiguous = |image: &Image| image.notes.iter().any(|n| n.starts_with("ambiguous"));
        self.images
            .iter()
            .all(|i| !ambiguous(i) && i.oddities.is_empty() && (i.faults.is_empty() || sparse(i)))
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = [
            "PLATFORM",
            "KIND",
            "TYPE",
            "TOOLS NAME",
            "LIST",
            "MANIFEST",
            "CONFIG",
            "DIFF_IDS",
            "PATH",
            "NAMES",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.images.iter().map(row));
        table(out, &rows)?;
        for image in &self.images {
            let about = format!("{} {}", image.platform_name(), short(image.id()));
            for note in &image.notes {
                writeln!(out, "note: {about}: {note}")?;
            }
            for fault in &image.faults {
                writeln!(out, "fault: {about}: {fault}")?;
            }
            for oddity in &image.oddities {
                writeln!(out, "shape: {about}: {}", oddity.words(image))?;
            }
        }
        writeln!(
            out,
            "The list and manifest digests can be pulled; config digests are image IDs."
        )?;
        writeln!(out, "Content is the same where the diff_ids are; --json has every digest whole.")
    }
}

fn row(image: &Image) -> Vec<String> {
    let kind = match &image.kind {
        Kind::Image => "image".to_owned(),
        Kind::Attestation => "attestation".to_owned(),
        Kind::Unknown => "unknown".to_owned(),
        Kind::Artifact(of) => format!("artifact {of}"),
    };
    let list = |digests: &[Digest], by: &str| {
        let all: Vec<&str> = digests.iter().map(Digest::short).collect();
        if all.is_empty() { "-".to_owned() } else { all.join(by) }
    };
    vec![
        image.platform_name(),
        kind,
        family(&image.media_type),
        // What skopeo, buildah and oras name by a tag.
        match image.oddities.contains(&Oddity::IndexIsList) {
            true => "-".to_owned(),
            false => short(image.path.first()),
        },
        short(image.list.as_ref()),
        short(image.manifest.as_ref()),
        short(image.config.as_ref().map(|c| &c.digest)),
        list(&image.diff_ids, ","),
        list(&image.path, ">"),
        image.names.iter().cloned().collect::<Vec<_>>().join(" "),
    ]
}

/// The media type of a manifest, in short where it is a usual one.
fn family(media_type: &str) -> String {
    match media_type {
        "" => "-".to_owned(),
        text if text.starts_with("application/vnd.docker.distribution.manifest.") => {
            "Docker".to_owned()
        }
        text if text.starts_with("application/vnd.oci.image.manifest.") => "OCI".to_owned(),
        other => other.to_owned(),
    }
}

fn short(digest: Option<&Digest>) -> String {
    digest.map_or("-", Digest::short).to_owned()
}
