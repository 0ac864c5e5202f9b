//! Where a tree comes from: a directory, an ostree commit in a repository or an image, a build of
//! coreos-assembler.
//!
//! A *subject* is written `dir:PATH`, `file:PATH`, `rpmdb:PATH`, `disk:FILE`, `ostree:REPO[:REF|COMMIT]`,
//! `cosa:WORKDIR[:BUILD[/ARCH]]`, `oci:LAYOUT[:TAG]`, `oci-archive:FILE[:TAG]` or
//! `docker-archive:FILE[:TAG]`, `registry:STORAGE[:REPOSITORY[:TAG]]` or
//! `containers-storage:[ROOT]NAME`; a bare path is recognised by what it leads to. [`Spec`] is the
//! table.

pub mod cosa;
pub(crate) mod dir;
mod dir_pair;
pub mod disk;
mod file;
pub(crate) mod hashed;
pub mod merkle;
pub mod oci;
pub mod ostree;
mod prefix;
mod rpmdb;
mod spec;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

pub use prefix::Prefix;
pub use spec::{Spec, prefixes};

use crate::disk::Root;
use crate::format::ostree::Checksum;
use merkle::Merkle;

/// The metadata of a commit, which is not in the content checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit's checksum, which is its name.
    pub id: Checksum,
    /// Its metadata as GVariant text, by key; the keys of the commit's own fields are in
    /// parentheses: `(subject)`, `(body)`, `(timestamp)`, `(parent)`.
    pub fields: BTreeMap<String, String>,
}

impl CommitInfo {
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub fn timestamp(&self) -> Option<u64> {
        self.fields.get("(timestamp)")?.parse().ok()
    }
}

/// A tree to check.
pub struct Subject {
    /// What it is, resolved: `ostree:/srv/repo:COMMIT`.
    pub name: String,
    /// Its content.
    pub merkle: Box<dyn Merkle>,
    /// The commit it is, if it is one.
    pub commit: Option<CommitInfo>,
    /// The content checksum in its build's meta.json, and that file's name.
    pub recorded: Option<(Checksum, String)>,
    /// Remarks on it for the report.
    pub remarks: Vec<String>,
    /// Whether it contains only what differs from another directory, so that its content checksum
    /// is not known.
    pub partial: bool,
    /// The disk image that it is, if it is one.
    pub disk: Option<Arc<disk::Disk>>,
}

impl Subject {
    /// A tree called `name` that is not a commit.
    pub fn new(name: String, merkle: Box<dyn Merkle>) -> Self {
        let remarks = Vec::new();
        Subject { name, merkle, commit: None, recorded: None, remarks, partial: false, disk: None }
    }

    /// Opens two subjects to compare. Two single files become the same path in two trees, named
    /// after the first. Two directories are compared while they are read and contain only their
    /// differences, unless they are wanted `whole`, with their checksums.
    ///
    /// # Errors
    ///
    /// Those of [`Subject::open`].
    pub fn open_both(
        a: &Spec,
        b: &Spec,
        whole: bool,
        done: &(dyn Fn() + Sync),
    ) -> Result<[Self; 2]> {
        if let (Spec::Dir(x), Spec::Dir(y), false) = (a, b, whole) {
            return open_dirs(x, y, done);
        }
        // A disk whose table is damaged counts as a file, beside which the other is one, too.
        if let (Spec::File(x), Spec::File(y))
        | (Spec::Disk(x), Spec::File(y))
        | (Spec::File(x), Spec::Disk(y)) = (a, b)
        {
            let name = x.file_name().unwrap_or(OsStr::new("file"));
            return Ok([file::open(x, name, done)?, file::open(y, name, done)?]);
        }
        if let Some((file, other)) = file_against(a, b).or_else(|| file_against(b, a)) {
            bail!(
                "{} is a file and {} is a directory: name the file in it",
                file.display(),
                other.display()
            );
        }
        Ok([Self::open(a, done)?, Self::open(b, done)?])
    }

    /// Opens what `spec` names. A directory is hashed completely, and `done` is called after each
    /// file.
    ///
    /// # Errors
    ///
    /// If it does not exist, cannot be read, or is corrupt; the error says what was tried.
    pub fn open(spec: &Spec, done: &(dyn Fn() + Sync)) -> Result<Self> {
        match spec {
            Spec::Dir(path) => open_dir(path, done),
            Spec::File(path) if spec::is_bundle(path) => {
                let path = path.display();
                bail!(
                    "{path} is a flatpak bundle: `flatpak build-import-bundle REPO {path}` puts it \
                     into a repository; then check ostree:REPO:REF"
                )
            }
            Spec::File(path) => {
                file::open(path, path.file_name().unwrap_or(OsStr::new("file")), done)
            }
            Spec::Rpmdb(path) => rpmdb::open(path, done),
            Spec::Disk(path) => disk::open(path, done),
            Spec::Ostree { repo, rev } => open_commit(repo, rev.as_deref()),
            Spec::Cosa { workdir, build, arch } => {
                open_build(&cosa::Build::find(workdir, build.as_deref(), arch.as_deref())?)
            }
            Spec::Oci(text) => open_image(text),
        }
    }

    /// Its content checksum; `None` if it is a part of a directory.
    pub fn content_checksum(&self) -> Option<Checksum> {
        (!self.partial).then(|| self.merkle.root().content_checksum())
    }
}

fn own(path: &Path) -> Result<dir::Directory> {
    let root = Root::open(path);
    Ok(dir::Directory::new(root.with_context(|| format!("reading directory {}", path.display()))?))
}

fn open_dir(path: &Path, done: &(dyn Fn() + Sync)) -> Result<Subject> {
    let root = own(path)?;
    let remarks = root.remarks();
    let reading = || format!("reading directory {}", path.display());
    let merkle = hashed::Hashed::committable(root, done).with_context(reading)?;
    let subject = Subject::new(format!("dir:{}", path.display()), Box::new(merkle));
    Ok(Subject { remarks, ..subject })
}

fn open_dirs(a: &Path, b: &Path, done: &(dyn Fn() + Sync)) -> Result<[Subject; 2]> {
    let (x, y) = (own(a)?, own(b)?);
    let remarks = [x.remarks(), y.remarks()];
    let reading = || format!("comparing directories {} and {}", a.display(), b.display());
    let trees = dir_pair::differing(x, y, done).with_context(reading)?;
    let [p, q] = trees;
    let [m, n] = remarks;
    let part = |path: &Path, merkle, remarks| {
        let subject = Subject::new(format!("dir:{}", path.display()), Box::new(merkle));
        Subject { remarks, partial: true, ..subject }
    };
    Ok([part(a, p, m), part(b, q, n)])
}

fn open_commit(repo: &Path, rev: Option<&str>) -> Result<Subject> {
    let repository = ostree::Repository::open(repo)?;
    let id = repository.resolve(rev)?;
    let commit = ostree::Commit::open(repository, id)?;
    let name = format!("ostree:{}:{}", repo.display(), rev.unwrap_or(&id.to_string()));
    let info = commit.info().clone();
    Ok(Subject { commit: Some(info), ..Subject::new(name, Box::new(commit)) })
}

/// Whether `text` names one image that is nothing but an ostree commit, which is compared as a
/// commit, object by object.
pub fn is_commit(text: &str) -> bool {
    let whole = |images: &oci::Images| -> Result<bool> {
        let image = images.one()?;
        let found = ostree::encapsulation(&images.store, image)?;
        let all = |commit: &ostree::Encapsulated| commit.layers == image.layers.len();
        Ok(matches!(found, ostree::Encapsulation::Commit(commit) if all(&commit)))
    };
    oci::Images::open(text, None).and_then(|images| whole(&images)).unwrap_or(false)
}

/// The file and the directory where one is compared with the other.
fn file_against<'s>(a: &'s Spec, b: &'s Spec) -> Option<(&'s Path, &'s Path)> {
    match (a, b) {
        (Spec::File(file), Spec::Dir(dir)) => Some((file, dir)),
        _ => None,
    }
}

fn open_image(text: &str) -> Result<Subject> {
    let images = oci::Images::open(text, None)
        .with_context(|| format!("opening {text}; if it is damaged, copy it again"))?;
    let image = images.one()?.clone();
    let (repo, id) = ostree::TarRepository::image(images.store, &image)?;
    let prefix = if text.contains(':') { "" } else { "oci:" };
    tarred_commit(repo, id, format!("{prefix}{text}"))
}

fn tarred_commit(repo: ostree::TarRepository, id: Checksum, name: String) -> Result<Subject> {
    let commit =
        ostree::commit::Commit::open(repo, id).with_context(|| format!("opening {name}"))?;
    let info = commit.info().clone();
    Ok(Subject { commit: Some(info), ..Subject::new(name, Box::new(commit)) })
}

/// Opens a build's commit from coreos-assembler's repository if that has it, otherwise from the
/// archive beside meta.json.
fn open_build(build: &cosa::Build) -> Result<Subject> {
    let meta = build.meta();
    let recorded = cosa::Recorded::read(&meta)?;
    let commit =
        recorded.commit.with_context(|| format!("no ostree-commit in {}", meta.display()))?;
    let repo = build.repo();
    let cached = match repo.join("config").is_file() {
        true => open_commit(&repo, Some(&commit.to_string())),
        false => Err(anyhow::anyhow!("{} is not a repository", repo.display())),
    };
    let opened = match (cached, &recorded.archive) {
        (Ok(subject), _) => Ok(subject),
        (Err(why), None) => Err(why.context("meta.json names no archive (images.ostree.path)")),
        (Err(why), Some(archive)) => open_archive(&build.dir().join(archive), &commit, &recorded)
            .map_err(|e| anyhow::anyhow!("{e:#}; the cache does not have it either: {why:#}")),
    };
    let mut subject =
        opened.with_context(|| format!("build {} in {}", build.id, build.workdir.display()))?;
    subject.name = format!("cosa:{}:{}/{}", build.workdir.display(), build.id, build.arch);
    subject.recorded = recorded.content_checksum.map(|sum| (sum, meta.display().to_string()));
    Ok(subject)
}

/// Opens the commit in a build's archive: an image, or in older builds a repository in a tar
/// archive.
fn open_archive(path: &Path, commit: &Checksum, recorded: &cosa::Recorded) -> Result<Subject> {
    if path.extension().is_none_or(|e| e != "ociarchive") {
        let repo = ostree::TarRepository::archive(path, commit)?;
        return tarred_commit(repo, *commit, path.display().to_string());
    }
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    let subject = open_image(&format!("oci-archive:{path}"))?;
    let id = subject.commit.as_ref().map(|c| c.id);
    // An import makes a new commit from an image, with the same content.
    if id != Some(*commit) && !recorded.imported {
        let found = id.map_or("none".to_owned(), |id| id.to_string());
        bail!("{path} contains commit {found} but meta.json names {commit}; fetch the build again");
    }
    Ok(subject)
}
