//! The one way to compare two subjects of any kind: `check`, `nightly` and rebuilderd's explanation
//! all use it.

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};

use crate::image::catalogs::{Catalogs, catalogs};
use crate::image::compare as images;
use crate::report::Progress;
use crate::report::check::Comparison;
use crate::run::check::{Job, compare_opened};
use crate::run::composefs;
use crate::source::oci::Images;
use crate::source::{Spec, Subject, is_commit};

/// Two compared subjects: what differs, and the first of them, still open. As JSON only the report,
/// whose `schema` says which kind it is.
pub enum Compared {
    /// Two trees, path by path.
    Trees {
        /// What differs.
        report: Box<Comparison>,
        /// The first tree.
        a: Box<Subject>,
    },
    /// All images of two layouts or archives, platform by platform.
    Images {
        /// What differs.
        report: Box<images::Report>,
        /// The first images.
        a: Box<Images>,
    },
}

impl Compared {
    /// Whether nothing that counts differs; if so, the exit code is 0, otherwise 1.
    pub fn same(&self) -> bool {
        match self {
            Compared::Trees { report, .. } => report.same,
            Compared::Images { report, .. } => report.same,
        }
    }

    /// Warnings for standard error.
    pub fn warnings(&self) -> &[String] {
        match self {
            Compared::Trees { report, .. } => &report.warnings,
            Compared::Images { report, .. } => &report.warnings,
        }
    }

    /// The report for a terminal, with at most `limit` paths per cause.
    pub fn human(&self, limit: usize) -> String {
        match self {
            Compared::Trees { report, .. } => report.human(limit),
            Compared::Images { report, .. } => report.human(limit),
        }
    }
}

impl Serialize for Compared {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Compared::Trees { report, .. } => report.serialize(serializer),
            Compared::Images { report, .. } => report.serialize(serializer),
        }
    }
}

/// Checks whether all platforms of each operator catalog in the job's only subject have the same
/// bundles. `platforms`, if not empty, limits the images. `None` if the subject is a commit or no
/// image is a catalog.
///
/// # Errors
///
/// If an image cannot be read.
pub fn alone(job: &Job, platforms: &[String]) -> Result<Option<Catalogs>> {
    let Spec::Oci(text) = Spec::parse(&job.a)? else {
        if platforms.is_empty() {
            return Ok(None);
        }
        bail!("--platform is for images (oci:LAYOUT, registry:STORAGE, docker-archive:FILE, …)");
    };
    if job.meta.is_some() || (platforms.is_empty() && is_commit(&text)) {
        return Ok(None);
    }
    let found = catalogs(&text, &Images::open(&text, platforms.iter().map(String::as_str))?)?;
    if found.is_none() && !platforms.is_empty() {
        bail!("{text} holds no operator catalog: --platform of one subject is for those");
    }
    Ok(found)
}

/// Compares the job's two subjects; `platforms`, if not empty, limits the images. Two images that
/// are nothing but encapsulated commits are compared as these commits, together with the metadata
/// that the images add.
///
/// # Errors
///
/// If a subject is missing, unreadable or corrupt, or if the two are of kinds that cannot be
/// compared; the error says what to do.
pub fn compare(job: &Job, platforms: &[String], progress: &Progress) -> Result<Compared> {
    let Some(b) = &job.b else { bail!("check compares two subjects, but only one was given") };
    if job.meta.is_some() {
        bail!("--meta is for one subject: its recorded checksum is compared with the subject's");
    }
    let specs = [Spec::parse(&job.a)?, Spec::parse(b)?];
    progress.phase("reading", 0);
    if let [Spec::Oci(a), Spec::Oci(b)] = &specs {
        let commits = platforms.is_empty() && is_commit(a) && is_commit(b);
        let open = |text: &str| Images::open(text, platforms.iter().map(String::as_str));
        return match commits {
            true => encapsulated(job, &specs, [a, b], progress),
            false => {
                let (x, y) = (open(a)?, open(b)?);
                let report = images::compare([a, b], &x, &y, job, progress)?;
                Ok(Compared::Images { report: Box::new(report), a: Box::new(x) })
            }
        };
    }
    if !platforms.is_empty() {
        bail!("--platform is for images (oci:LAYOUT, registry:STORAGE, docker-archive:FILE, …)");
    }
    trees(job, &specs, progress)
}

fn trees(job: &Job, specs: &[Spec; 2], progress: &Progress) -> Result<Compared> {
    progress.phase("reading", 0);
    let [a, b] = Subject::open_both(&specs[0], &specs[1], job.checksums, &|| progress.advance(1))?;
    let mut report = compare_opened(job, &a, &b, progress)?;
    match composefs::pair(&specs[0], &specs[1]) {
        Ok(Some(pair)) => report.add_composefs(pair),
        Ok(None) => {}
        Err(error) => report.warnings.push(format!("composefs digests not compared: {error:#}")),
    }
    Ok(Compared::Trees { report: Box::new(report), a: Box::new(a) })
}

/// Compares two commits and the metadata that their images add.
fn encapsulated(
    job: &Job,
    specs: &[Spec; 2],
    texts: [&str; 2],
    progress: &Progress,
) -> Result<Compared> {
    let mut compared = trees(job, specs, progress)?;
    if let Compared::Trees { report, .. } = &mut compared
        && let Some(said) = images::beside_commits(texts, job.strict_metadata)?
    {
        report.add_metadata(said);
    }
    Ok(compared)
}
