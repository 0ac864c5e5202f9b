//! `oci platforms`: lists the digests of images.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

use super::programs::{Answer, Program, answer};
use super::{Findings, table};
use crate::source::oci::{Digest, Image, Images, Kind};

/// Every entry of a subject.
#[derive(Debug, Serialize)]
pub struct Platforms {
    /// The entries, in the order of the indexes.
    pub images: Vec<Entry>,
    /// The selected program, if any.
    #[serde(skip)]
    program: Option<Program>,
}

/// One entry, and how programs interpret it.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The entry.
    #[serde(flatten)]
    pub image: Image,
    /// For an image, the digests that each program uses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Answer>,
}

/// Lists the entries that `subject` selects, and the digests that all known programs, or only
/// `program`, use for them.
pub fn platforms(subject: &Images, program: Option<Program>) -> Platforms {
    let asked =
        Program::ALL.into_iter().filter(|one| program.is_none_or(|program| *one == program));
    let asked: Vec<Program> = asked.collect();
    let entry = |image: &Image| {
        let asked = asked.iter().filter(|_| image.is_image());
        let programs = asked.map(|program| answer(*program, subject, image)).collect();
        Entry { image: image.clone(), programs }
    };
    Platforms { images: subject.selected().map(entry).collect(), program }
}

impl Platforms {
    /// Prints the digests that one program uses, image by image.
    fn of_program(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = ["PLATFORM", "NAMES", "DIGEST", "TAKES", "WHY"].map(str::to_owned);
        let whole = |digest: &Option<Digest>| {
            digest.as_ref().map_or("refuses".to_owned(), Digest::to_string)
        };
        let mut rows = vec![head.to_vec()];
        for Entry { image, programs } in &self.images {
            let names = image.names.iter().cloned().collect::<Vec<_>>().join(" ");
            rows.extend(programs.iter().map(|answer| {
                let why = answer.why.unwrap_or_default().to_owned();
                let (named, taken) = (whole(&answer.names), whole(&answer.takes));
                vec![image.platform_name(), names.clone(), named, taken, why]
            }));
        }
        let answers = self.images.iter().flat_map(|entry| &entry.programs);
        if let Some(answer) = answers.into_iter().next() {
            writeln!(out, "{} (DIGEST is what the tag means to it):", answer.program)?;
        }
        table(out, &rows)
    }
}

impl Findings for Platforms {
    /// `false` for a fault on the way to an image, an ambiguous platform, or a shape that programs
    /// refuse; with one program, for an image that it does not find. Missing blobs of a sparse
    /// layout are only notes.
    fn sound(&self) -> bool {
        if self.program.is_some() {
            let takes = |answer: &Answer, image: &Image| answer.takes.as_ref() == image.id();
            return self.images.iter().all(|e| e.programs.iter().all(|a| takes(a, &e.image)));
        }
        let sparse = |image: &Image| image.notes.iter().any(|n| n.starts_with("sparse"));
        let ambiguous = |image: &Image| image.notes.iter().any(|n| n.starts_with("ambiguous"));
        let mut images = self.images.iter().map(|entry| &entry.image);
        images.all(|i| !ambiguous(i) && i.oddities.is_empty() && (i.faults.is_empty() || sparse(i)))
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.program.is_some() {
            return self.of_program(out);
        }
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
        for Entry { image, .. } in &self.images {
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
        writeln!(
            out,
            "Content is the same if the diff_ids are; --json has every digest in full, and --as \
             PROGRAM what skopeo, podman, oc-mirror, oras or umoci use."
        )
    }
}

fn row(Entry { image, programs }: &Entry) -> Vec<String> {
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
        named(programs),
        short(image.list.as_ref()),
        short(image.manifest.as_ref()),
        short(image.config.as_ref().map(|c| &c.digest)),
        list(&image.diff_ids, ","),
        list(&image.path, ">"),
        image.names.iter().cloned().collect::<Vec<_>>().join(" "),
    ]
}

/// The digest that programs resolve the tag to, if they agree.
fn named(programs: &[Answer]) -> String {
    let names: BTreeSet<&Digest> = programs.iter().filter_map(|a| a.names.as_ref()).collect();
    match (names.first(), names.len()) {
        (None, _) => "-".to_owned(),
        (Some(digest), 1) => digest.short().to_owned(),
        _ => "differ, see --as".to_owned(),
    }
}

/// The media type of a manifest, abbreviated if it is a usual one.
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
