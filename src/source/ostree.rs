//! Commits in an ostree repository. The sole user of libostree.
//!
//! Commit, dirtree and dirmeta objects are read straight from the repository where they are loose
//! files, which they always are but for a parent repository's; libostree finds the rest and opens
//! every file object, in whatever mode the repository stores it. Each object's bytes are hashed
//! and compared with its name before they are used, so both ways give the same or fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail};
use gio::Cancellable;
use gio::glib;
use gio::prelude::*;
use ostree::{ObjectType, Repo, RepoMode};

use super::commit::{self, Metadata, Objects};
use super::merkle::Leaf;
use crate::format::Malformed;
use crate::format::ostree::{Attrs, Checksum, FileHasher, parse_xattrs};
use crate::tree::Kind;

/// Bytes of a metadata object, at most: libostree's own limit.
const METADATA_MAX: u64 = 128 << 20;
/// Bytes of a file that is read whole, at most.
const CONTENT_MAX: u64 = 4 << 30;

/// A repository, open. `ostree::Repo` may move between threads but not be shared, so each worker
/// takes one from the pool.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    mode: RepoMode,
    idle: Mutex<Vec<Repo>>,
}

impl Repository {
    /// Opens the repository at `path`.
    ///
    /// Fails if it is none, or of a mode that libostree does not know.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let repo = open(path).with_context(|| {
            format!("opening the ostree repository {}: is it one? try ostree fsck", path.display())
        })?;
        let mode = repo.mode();
        Ok(Repository { path: path.to_path_buf(), mode, idle: Mutex::new(vec![repo]) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether owners and xattrs are missing from it (mode `bare-user-only`): its checksums
    /// compare with those of its own kind only.
    pub fn drops_owners(&self) -> bool {
        self.mode == RepoMode::BareUserOnly
    }

    /// Its refs and the commits they name, remote ones as `REMOTE:REF`.
    pub fn refs(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let refs = self.with(|repo| repo.list_refs(None, Cancellable::NONE))?;
        Ok(refs.context("listing refs")?.into_iter().collect())
    }

    /// The commit that `rev` (a ref, a commit, or the start of one) names.
    ///
    /// Without `rev` it is the repository's one ref; where there are several or none, the error
    /// lists them.
    pub fn resolve(&self, rev: Option<&str>) -> anyhow::Result<Checksum> {
        let Some(rev) = rev else { return self.only_ref() };
        // libostree takes a short ref such as `a` for the start of a commit's checksum.
        if let Some(commit) = self.refs()?.get(rev) {
            return Ok(commit.parse()?);
        }
        let found = self.with(|repo| repo.resolve_rev(rev, false))?;
        let commit = match found {
            Ok(Some(commit)) => commit,
            Ok(None) => bail!(self.no_such(rev, "no such ref")?),
            Err(e) => bail!(self.no_such(rev, e.message())?),
        };
        Ok(commit.as_str().parse()?)
    }

    fn only_ref(&self) -> anyhow::Result<Checksum> {
        let refs = self.refs()?;
        let mut commits = refs.values();
        match (commits.next(), commits.next()) {
            (Some(commit), None) => Ok(commit.parse()?),
            (None, _) => bail!("{} holds no ref; name a commit", self.path.display()),
            _ => bail!(
                "{} holds {} refs, name one of them: {}",
                self.path.display(),
                refs.len(),
                names(&refs)
            ),
        }
    }

    fn no_such(&self, rev: &str, why: &str) -> anyhow::Result<String> {
        let refs = self.refs()?;
        let holds = if refs.is_empty() { "no refs".into() } else { names(&refs) };
        Ok(format!("{rev} in {}: {why}; the repository holds {holds}", self.path.display()))
    }

    /// Runs `f` with a handle that is this thread's alone.
    fn with<T>(&self, f: impl FnOnce(&Repo) -> T) -> io::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = idle().pop();
        let repo = match pooled {
            Some(repo) => repo,
            None => open(&self.path).map_err(io::Error::other)?,
        };
        let result = f(&repo);
        idle().push(repo);
        Ok(result)
    }

    fn loose(&self, kind: ObjectType, sum: &Checksum) -> io::Result<Option<Vec<u8>>> {
        let name = sum.to_string();
        let (dir, rest) = name.split_at(2);
        let extension = ostree::object_type_to_string(kind);
        let path = self.path.join("objects").join(dir).join(format!("{rest}.{extension}"));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.unreadable(kind, sum, &e)),
        };
        let mut bytes = Vec::new();
        let read = file.take(METADATA_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|e| self.unreadable(kind, sum, &e))?;
        if bytes.len() as u64 > METADATA_MAX {
            return Err(self.corrupt(kind, sum, None));
        }
        Ok(Some(bytes))
    }

    fn unloadable(&self, kind: ObjectType, sum: &Checksum, error: &glib::Error) -> io::Error {
        if error.matches(gio::IOErrorEnum::NotFound) {
            let what = format!(
                "object {} is missing from {}; pull it again (ostree fsck lists what is missing)",
                ostree::object_to_string(&sum.to_string(), kind),
                self.path.display()
            );
            return io::Error::new(io::ErrorKind::NotFound, what);
        }
        self.unreadable(kind, sum, error)
    }

    fn unreadable(
        &self,
        kind: ObjectType,
        sum: &Checksum,
        error: &dyn std::fmt::Display,
    ) -> io::Error {
        let object = ostree::object_to_string(&sum.to_string(), kind);
        let path = self.path.display();
        let remedy = "run ostree fsck, then pull it again";
        io::Error::other(format!("object {object} in {path} cannot be read: {error}; {remedy}"))
    }

    fn corrupt(&self, kind: ObjectType, sum: &Checksum, why: Option<&Malformed>) -> io::Error {
        let object = ostree::object_to_string(&sum.to_string(), kind);
        let path = self.path.display();
        let why = why.map_or("its bytes have another checksum".into(), ToString::to_string);
        let remedy = "run ostree fsck --delete, then pull it again";
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("object {object} in {path} is corrupt: {why}; {remedy}"),
        )
    }
}

impl Objects for Repository {
    fn metadata(&self, kind: Metadata, sum: &Checksum) -> io::Result<Vec<u8>> {
        let kind = object_type(kind);
        let bytes = match self.loose(kind, sum)? {
            Some(bytes) => bytes,
            None => {
                let name = sum.to_string();
                let variant = self.with(|repo| repo.load_variant(kind, &name))?;
                variant.map_err(|e| self.unloadable(kind, sum, &e))?.data_as_bytes().to_vec()
            }
        };
        if Checksum::of(&bytes) == *sum { Ok(bytes) } else { Err(self.corrupt(kind, sum, None)) }
    }

    fn leaf(&self, sum: &Checksum) -> io::Result<Leaf> {
        let name = sum.to_string();
        let found = self.with(|repo| repo.query_file(&name, Cancellable::NONE))?;
        let (info, xattrs) = found.map_err(|e| self.unloadable(ObjectType::File, sum, &e))?;
        let leaf = leaf(&info, &xattrs.data_as_bytes());
        leaf.map_err(|e| self.corrupt(ObjectType::File, sum, Some(&e)))
    }

    fn stream(&self, sum: &Checksum, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let kind = ObjectType::File;
        let name = sum.to_string();
        let found = self.with(|repo| repo.load_file(&name, Cancellable::NONE))?;
        let (stream, info, xattrs) = found.map_err(|e| self.unloadable(kind, sum, &e))?;
        let leaf =
            leaf(&info, &xattrs.data_as_bytes()).map_err(|e| self.corrupt(kind, sum, Some(&e)))?;
        if leaf.size > CONTENT_MAX {
            let what = format!("object {sum}.file of {} bytes is over 4 GiB", leaf.size);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let target = leaf.target.as_deref().map_or(&b""[..], |t| t.as_os_str().as_bytes());
        let mut hasher = FileHasher::new(&leaf.attrs, target);
        if let Some(stream) = stream {
            let mut stream = stream.into_read().take(leaf.size.saturating_add(1));
            let mut piece = vec![0; 1 << 16];
            loop {
                let n = stream.read(&mut piece).map_err(|e| self.unreadable(kind, sum, &e))?;
                if n == 0 {
                    break;
                }
                hasher.update(&piece[..n]);
                sink(&piece[..n]);
            }
        }
        if hasher.finish() == *sum { Ok(()) } else { Err(self.corrupt(kind, sum, None)) }
    }

    fn malformed(&self, kind: Metadata, sum: &Checksum, why: &Malformed) -> io::Error {
        self.corrupt(object_type(kind), sum, Some(why))
    }
}

fn object_type(kind: Metadata) -> ObjectType {
    match kind {
        Metadata::Commit => ObjectType::Commit,
        Metadata::DirTree => ObjectType::DirTree,
        Metadata::DirMeta => ObjectType::DirMeta,
    }
}

fn open(path: &Path) -> Result<Repo, glib::Error> {
    let repo = Repo::new_for_path(path);
    repo.open(Cancellable::NONE)?;
    Ok(repo)
}

fn names(refs: &BTreeMap<String, String>) -> String {
    refs.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn leaf(info: &gio::FileInfo, xattrs: &[u8]) -> Result<Leaf, Malformed> {
    let attrs = Attrs {
        uid: info.attribute_uint32("unix::uid"),
        gid: info.attribute_uint32("unix::gid"),
        mode: info.attribute_uint32("unix::mode"),
        xattrs: parse_xattrs(xattrs, 0)?,
    };
    match Kind::of_mode(attrs.mode) {
        Kind::Symlink => {
            let target = info.symlink_target().unwrap_or_default();
            let size = target.as_os_str().len() as u64;
            Ok(Leaf { attrs, target: Some(target), size })
        }
        Kind::File => {
            let size = u64::try_from(info.size()).unwrap_or(u64::MAX);
            Ok(Leaf { attrs, target: None, size })
        }
        Kind::Dir | Kind::Other => Err(Malformed::at(0usize, "it is no file and no symbolic link")),
    }
}

/// A commit of a repository.
pub type Commit = commit::Commit<Repository>;

impl Commit {
    /// The content checksum as libostree computes it from the commit.
    ///
    /// Fails if the commit cannot be loaded.
    pub fn content_checksum_by_libostree(&self) -> anyhow::Result<String> {
        let name = self.info().id.to_string();
        let variant = self.repo().with(|repo| repo.load_variant(ObjectType::Commit, &name))??;
        let sum = ostree::commit_get_content_checksum(&variant);
        Ok(sum.context("the commit has no content checksum")?.into())
    }
}

/// What the commit object in `bytes` says, as text.
pub(super) fn fields(bytes: &[u8]) -> BTreeMap<String, String> {
    let bytes = glib::Bytes::from(bytes);
    let kind = ostree::metadata_variant_type(ObjectType::Commit);
    let commit = glib::Variant::from_bytes_with_type(&bytes, &kind).normal_form();
    let mut fields = BTreeMap::new();
    for item in commit.child_value(0).iter() {
        let key = item.child_value(0).str().unwrap_or_default().to_owned();
        fields.insert(key, item.child_value(1).child_value(0).print(true).into());
    }
    let text = |i: usize| commit.child_value(i).str().unwrap_or_default().to_owned();
    fields.insert("(subject)".into(), text(3));
    fields.insert("(body)".into(), text(4));
    let time = commit.child_value(5).get::<u64>().map_or(0, u64::from_be);
    fields.insert("(timestamp)".into(), time.to_string());
    let parent = ostree::commit_get_parent(&commit).unwrap_or_default();
    fields.insert("(parent)".into(), parent.into());
    fields
}
