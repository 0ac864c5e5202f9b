//! The one door for comparing two subjects, whatever they are: `check`, `nightly` and rebuilderd's
//! explanation all come through it.

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

/// Two subjects compared: what differs, and the first of them, open. As JSON it is the report
/// alone, whose `schema` tells which.
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
    /// Whether nothing differs that counts; the exit code is 0 then, otherwise 1.
    pub fn same(&self) -> bool {
        match self {
            Compared::Trees { report, .. } => report.same,
            Compared::Images { report, .. } => report.same,
        }
    }

    /// Other things worth saying.
    pub fn warnings(&self) -> &[String] {
        match self {
            Compared::Trees { report, .. } => &report.warnings,
            Compared::Images { report, .. } => &report.warnings,
        }
    }

    /// The report for a terminal, at most `limit` paths a cause.
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

/// The operator catalogs in the job's one subject, of images only those for `platforms` if there are any:
/// whether all platforms of each hold the same bundles. `None` where it is a commit, or no image is a
/// catalog.
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

/// Compares the job's two subjects, of images only those for `platforms` if there are any. Two
/// images that are encapsulated commits and nothing more compare as these commits, and by what the
/// images say beside them.
///
/// # Errors
///
/// If a subject is missing or cannot be read, is corrupt, or if they do not compare; the error says
/// what to do.
pub fn compare(job: &Job, platforms: &[String], progress: &Progress) -> Result<Compared> {
    let Some(b) = &job.b else { bail!("two subjects are compared, and there is one") };
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

/// Two commits, and what their images say beside them.
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
