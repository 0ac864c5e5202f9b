//! Where a tree comes from: a directory, an ostree commit, a build of coreos-assembler.
//!
//! A *subject* is written `dir:PATH`, `ostree:REPO[:REF|COMMIT]` or
//! `cosa:WORKDIR[:BUILD[/ARCH]]`; a bare path is recognised by what is there.

pub mod cosa;
pub mod dir;
pub mod merkle;
pub mod oci;
#[cfg(feature = "ostree")]
pub mod ostree;
mod rpmdb;
mod spec;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

pub use rpmdb::is_database as is_rpm_database;
pub use spec::Spec;

use crate::format::ostree::Checksum;
use crate::fsx::Root;
use merkle::Merkle;

/// What a commit says beside its tree. None of it is in the content checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit's checksum, which is its name.
    pub id: Checksum,
    /// Its metadata as GVariant text, by key; the commit's own fields have theirs in parentheses:
    /// `(subject)`, `(body)`, `(timestamp)`, `(parent)`.
    pub fields: BTreeMap<String, String>,
}

impl CommitInfo {
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub fn timestamp(&self) -> Option<u64> {
        self.fields.get("(timestamp)")?.parse().ok()
    }
}

/// A tree to be checked.
pub struct Subject {
    /// What it is, resolved: `ostree:/srv/repo:COMMIT`.
    pub name: String,
    /// Its content.
    pub merkle: Box<dyn Merkle>,
    /// The commit it is, if it is one.
    pub commit: Option<CommitInfo>,
    /// The content checksum that its build's meta.json holds, and that file's name.
    pub recorded: Option<(Checksum, String)>,
    /// Whether it keeps no owners and no xattrs (a `bare-user-only` repository).
    pub drops_owners: bool,
}

impl Subject {
    /// Opens what `spec` names. A directory is hashed whole, and `done` called after each file.
    ///
    /// Fails if it is not there, cannot be read, or is corrupt; the error says what was tried.
    pub fn open(spec: &Spec, done: &(dyn Fn() + Sync)) -> Result<Self> {
        match spec {
            Spec::Dir(path) => open_dir(path, done),
            Spec::Rpmdb(path) => rpmdb::open(path, done),
            Spec::Ostree { repo, rev } => open_commit(repo, rev.as_deref()),
            Spec::Cosa { workdir, build, arch } => {
                open_build(&cosa::Build::find(workdir, build.as_deref(), arch.as_deref())?)
            }
        }
    }

    /// Its content checksum.
    pub fn content_checksum(&self) -> Checksum {
        self.merkle.root().content_checksum()
    }
}

/// Whether checksums of two subjects can be compared.
///
/// Fails, with the reason, where one keeps owners and xattrs and the other does not.
pub fn comparable(a: &Subject, b: &Subject) -> Result<()> {
    let (without, with) = match (a.drops_owners, b.drops_owners) {
        (true, false) => (a, b),
        (false, true) => (b, a),
        _ => return Ok(()),
    };
    bail!(
        "{} is in a bare-user-only repository, which keeps no owners and no xattrs, so every file \
         would differ from {}; compare commits of archive, bare or bare-user repositories, or two \
         of bare-user-only ones",
        without.name,
        with.name
    )
}

fn open_dir(path: &Path, done: &(dyn Fn() + Sync)) -> Result<Subject> {
    let reading = || format!("reading directory {}", path.display());
    let root = Root::open(path).with_context(reading)?;
    let merkle = dir::Dir::new(root, done).with_context(reading)?;
    Ok(Subject {
        name: format!("dir:{}", path.display()),
        merkle: Box::new(merkle),
        commit: None,
        recorded: None,
        drops_owners: false,
    })
}

#[cfg(feature = "ostree")]
fn open_commit(repo: &Path, rev: Option<&str>) -> Result<Subject> {
    let repository = ostree::Repository::open(repo)?;
    let id = repository.resolve(rev)?;
    let drops_owners = repository.drops_owners();
    let commit = ostree::Commit::open(repository, id)?;
    Ok(Subject {
        name: format!("ostree:{}:{}", repo.display(), rev.unwrap_or(&id.to_string())),
        commit: Some(commit.info().clone()),
        merkle: Box::new(commit),
        recorded: None,
        drops_owners,
    })
}

#[cfg(not(feature = "ostree"))]
fn open_commit(repo: &Path, _: Option<&str>) -> Result<Subject> {
    bail!("cannot read {}: this reprofix was built without libostree", repo.display())
}

fn open_build(build: &cosa::Build) -> Result<Subject> {
    let meta = build.meta();
    let recorded = cosa::Recorded::read(&meta)?;
    let commit =
        recorded.commit.with_context(|| format!("no ostree-commit in {}", meta.display()))?;
    let mut subject = open_commit(&build.repo(), Some(&commit.to_string()))
        .with_context(|| format!("build {} in {}", build.id, build.workdir.display()))?;
    subject.name = format!("cosa:{}:{}/{}", build.workdir.display(), build.id, build.arch);
    subject.recorded = recorded.content_checksum.map(|sum| (sum, meta.display().to_string()));
    Ok(subject)
}
