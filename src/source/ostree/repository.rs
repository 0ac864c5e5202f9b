//! Commits in an ostree repository on this machine, read without libostree: every object is a file
//! of its own, in one of five forms (libostree's `ostree_repo_mode_to_string` and the manual page
//! `ostree.repo-config`).
//!
//! An object that is not there may be in a parent repository (`core.parent`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rustix::fs::OFlags;

use super::commit;
use super::merkle::Leaf;
use super::objects::{
    METADATA_MAX, Metadata, Objects, Opened, Remedies, invalid, open_filez, opened,
};
use super::refs::names;
use crate::disk::{Root, is_absent};
use crate::format::ostree::{Attrs, Checksum, parse_xattrs};
use crate::tree::{Entry, Kind, Tree};

/// Bytes of a repository's `config` and of a ref's file, at most.
const SMALL_MAX: u64 = 1 << 20;
/// Parent repositories above one another, at most.
const PARENTS_MAX: usize = 16;

/// How a repository stores file objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// `.filez`: header and deflated content.
    Archive,
    /// `.file`: as it is in the tree.
    Bare,
    /// `.file`: a regular file, owner, mode and xattrs in its xattr `user.ostreemeta`.
    BareUser,
    /// `.file`: as in the tree, without owner and xattrs.
    BareUserOnly,
    /// `.file`: as in the tree without xattrs, which `.file-xattrs-link` holds.
    BareSplitXattrs,
}

/// Modes by the names that `core.mode` has for them.
const MODES: [(&str, Mode); 6] = [
    ("archive", Mode::Archive),
    ("archive-z2", Mode::Archive),
    ("bare", Mode::Bare),
    ("bare-user", Mode::BareUser),
    ("bare-user-only", Mode::BareUserOnly),
    ("bare-split-xattrs", Mode::BareSplitXattrs),
];

/// A repository, open.
#[derive(Debug)]
pub struct Repository {
    pub(super) path: PathBuf,
    mode: Mode,
    keeps_xattrs: bool,
    pub(super) objects: Root,
    pub(super) parent: Option<Box<Repository>>,
}

/// A commit of a repository.
pub type Commit = commit::Commit<Repository>;

impl Repository {
    /// Opens the repository at `path`.
    ///
    /// # Errors
    ///
    /// If it is none, or of a version or mode that is not known.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Self::open_below(path, 0).map_err(|error| {
            let path = path.display();
            let io = error.root_cause().downcast_ref::<io::Error>();
            let denied = io.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
            let what = match denied {
                true => format!("opening the ostree repository {path}: run as its owner"),
                false => {
                    format!("opening the ostree repository {path}: is it one? try ostree fsck")
                }
            };
            error.context(what)
        })
    }

    fn open_below(path: &Path, children: usize) -> anyhow::Result<Self> {
        ensure!(children <= PARENTS_MAX, "more than {PARENTS_MAX} parent repositories: a loop?");
        let config = small_file(&path.join("config"))?.context("it has no file config")?;
        let core = core(&config);
        let version = core.get("repo_version").context("config names no core.repo_version")?;
        ensure!(*version == "1", "repository version {version:?} is not known, only 1");
        let mode = core.get("mode").copied().unwrap_or("bare");
        let (_, mode) = *MODES.iter().find(|(name, _)| *name == mode).with_context(|| {
            let known: Vec<_> = MODES.iter().map(|(name, _)| *name).collect();
            format!("mode {mode:?} in config is not one of {}", known.join(", "))
        })?;
        let parent = core.get("parent").filter(|parent| !parent.is_empty()).map(|parent| {
            let opened = Self::open_below(Path::new(parent), children + 1);
            match children {
                0 => opened
                    .with_context(|| {
                        format!("opening its parent repository {parent} (core.parent in config)")
                    })
                    .map(Box::new),
                _ => opened.map(Box::new),
            }
        });
        Ok(Repository {
            path: path.to_path_buf(),
            mode,
            keeps_xattrs: core.get("disable-xattrs") != Some(&"true"),
            objects: Root::open(&path.join("objects")).context("opening objects")?,
            parent: parent.transpose()?,
        })
    }

    /// Whether owners and xattrs are missing from it (mode `bare-user-only`): its checksums
    /// compare with those of its own kind only.
    pub fn drops_owners(&self) -> bool {
        self.mode == Mode::BareUserOnly
    }

    /// This repository, its parent, and that one's.
    pub(super) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |repo| repo.parent.as_deref())
    }

    /// A regular file below `objects` and its size, if it is there. Nobody puts anything else there
    /// in passing, so it is opened without a look before; a FIFO does not hold us up.
    ///
    /// Symbolic links are followed, as libostree does: mirrors share objects so.
    fn object(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        let confined = self.objects.open_at(Path::new(name), OFlags::RDONLY | OFlags::NONBLOCK);
        let opened = match confined {
            Err(e) if is_link(&e) => open_at_once(&self.objects.path().join(name)),
            opened => opened.map(File::from),
        };
        let file = match opened {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(e),
        };
        let stat = file.metadata()?;
        Ok(stat.is_file().then_some((file, stat.len())))
    }

    /// A small object, whole.
    fn whole(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((file, size)) = self.object(name)? else { return Ok(None) };
        if size > METADATA_MAX {
            return Err(invalid("it is larger than any object that is no file"));
        }
        // Of a file that grows meanwhile nothing more is read: its checksum would be another.
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(size).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A file object of one of the bare modes: itself it may be a symbolic link, which is content,
    /// but a link above it is followed.
    fn open_bare(&self, name: &str) -> io::Result<Option<Opened>> {
        let path = Path::new(name);
        match self.objects.lookup(path) {
            Err(e) if is_link(&e) => {}
            Err(e) => return Err(e),
            Ok(None) if !self.is_linked(path) => return Ok(None),
            Ok(None) => {}
            Ok(Some(stored)) => return self.bare(&self.objects, path, name, &stored),
        }
        let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let dir = match Root::open(&self.objects.path().join(dir)) {
            Err(e) if is_absent(&e) => return Ok(None),
            dir => dir?,
        };
        match dir.lookup(Path::new(file))? {
            Some(stored) => self.bare(&dir, Path::new(file), name, &stored),
            None => Ok(None),
        }
    }

    /// Whether the directory of an object is a symbolic link.
    fn is_linked(&self, path: &Path) -> bool {
        let dir = path.parent().map(|dir| self.objects.path().join(dir));
        dir.is_some_and(|dir| dir.is_symlink())
    }

    /// The file object `name`, which is `path` below `root`.
    fn bare(
        &self,
        root: &Root,
        path: &Path,
        name: &str,
        stored: &Entry,
    ) -> io::Result<Option<Opened>> {
        let mut content = root.open_file(path)?;
        let mut attrs =
            Attrs { uid: stored.uid, gid: stored.gid, mode: stored.mode, xattrs: Vec::new() };
        let mut target = root.readlink(path)?.unwrap_or_default();
        match self.mode {
            Mode::Archive => {}
            Mode::Bare if !self.keeps_xattrs => {}
            Mode::Bare => attrs.xattrs = root.xattrs(path)?,
            Mode::BareUserOnly => (attrs.uid, attrs.gid) = (0, 0),
            Mode::BareSplitXattrs => {
                let bytes = self.whole(&format!("{name}-xattrs-link"))?;
                let bytes = bytes.ok_or_else(|| invalid("its .file-xattrs-link is missing"))?;
                attrs.xattrs = parse_xattrs(&bytes, 0).map_err(invalid)?;
            }
            Mode::BareUser => {
                let xattrs = root.xattrs(path)?;
                let meta = xattrs.iter().find(|(name, _)| name == b"user.ostreemeta");
                let (_, meta) =
                    meta.ok_or_else(|| invalid("its xattr user.ostreemeta is missing"))?;
                attrs = Attrs::parse_dirmeta(meta).map_err(invalid)?;
                if Kind::of_mode(attrs.mode) == Kind::Symlink {
                    let mut bytes = Vec::new();
                    content
                        .take()
                        .map(|file| file.take(SMALL_MAX).read_to_end(&mut bytes))
                        .transpose()?;
                    // The target is stored as a C string.
                    bytes.truncate(bytes.strip_suffix(b"\0").unwrap_or(&bytes).len());
                    target = std::ffi::OsString::from_vec(bytes).into();
                }
            }
        }
        let reader: Box<dyn Read> = match content {
            Some(file) => Box::new(file),
            None => Box::new(io::empty()),
        };
        opened(attrs, target, stored.size, reader).map(Some)
    }
}

impl Objects for Repository {
    fn path(&self) -> &Path {
        &self.path
    }

    fn remedies(&self) -> Remedies {
        Remedies {
            missing: "pull it again (ostree fsck lists what is missing)",
            corrupt: "run ostree fsck --delete, then pull it again",
            unreadable: "run ostree fsck, then pull it again",
        }
    }

    /// Of what a bare-user-only repository does not keep, only the checksum tells whether it was
    /// anything: metadata counts there once the whole object has its name.
    fn leaf(&self, sum: &Checksum) -> io::Result<Leaf> {
        match self.chain().any(Self::drops_owners) {
            true => self.stream(sum, &mut |_| ()),
            false => Ok(self.file(sum)?.0),
        }
    }

    fn other(&self, name: &str) -> io::Error {
        if !self.chain().any(Self::drops_owners) {
            return self.corrupt(name, &"its bytes have another checksum");
        }
        let path = self.path().display();
        let what = format!(
            "object {name} in {path} cannot be judged: mode bare-user-only keeps no owner and no \
             attributes, and with owner 0:0 and none it has another checksum; compare the commit in \
             a repository of mode archive, bare or bare-user (ostree fsck says whether it is damaged)"
        );
        io::Error::new(io::ErrorKind::InvalidData, what)
    }

    fn missing(&self, name: &str) -> io::Error {
        let (path, remedy) = (self.path.display(), self.why_missing(name));
        let what = format!("object {name} is missing from {path}; {remedy}");
        io::Error::new(io::ErrorKind::NotFound, what)
    }

    fn load(&self, kind: Metadata, sum: &Checksum) -> io::Result<Option<Vec<u8>>> {
        let name = object_name(sum, kind.extension());
        self.chain().find_map(|repo| repo.whole(&name).transpose()).transpose()
    }

    fn open(&self, sum: &Checksum) -> io::Result<Option<Opened>> {
        let open = |repo: &Self| match repo.mode {
            Mode::Archive => repo
                .object(&object_name(sum, "filez"))?
                .map(|(file, _)| open_filez(file))
                .transpose(),
            _ => repo.open_bare(&object_name(sum, "file")),
        };
        self.chain().find_map(|repo| open(repo).transpose()).transpose()
    }
}

/// What a repository says of objects that it does not have.
impl Repository {
    /// Why an object may not be there, and what to do.
    fn why_missing(&self, name: &str) -> String {
        let tombstone = name.strip_suffix(".commit").and_then(|sum| sum.parse().ok());
        let tombstone = tombstone.map(|sum| object_name(&sum, "tombstone-commit"));
        if tombstone.is_some_and(|name| matches!(self.object(&name), Ok(Some(_)))) {
            return "it was deleted on purpose (a tombstone is there): name another commit".into();
        }
        let partial = self.partial();
        if !partial.is_empty() {
            return format!(
                "the repository holds {} in part only (ostree pull --subpath, --depth or \
                 --commit-metadata-only): pull it whole",
                list(partial.iter())
            );
        }
        if self.path.join("deltas").read_dir().is_ok_and(|mut all| all.next().is_some()) {
            return "the repository has static deltas, which may hold it: pull from it into a \
                    repository of your own (ostree pull, ostree static-delta apply-offline)"
                .into();
        }
        match name.ends_with(".commit") {
            true => {
                "pull it again; history that `ostree pull --depth` cut off comes with --depth=-1"
                    .into()
            }
            false => self.remedies().missing.into(),
        }
    }

    /// The commits that were pulled in part, sorted.
    fn partial(&self) -> Vec<String> {
        let state = names(&self.path.join("state")).unwrap_or_default();
        let commit = |name: &String| name.strip_suffix(".commitpartial").map(str::to_owned);
        state.iter().filter_map(commit).collect()
    }
}

/// `XX/REST.EXTENSION`
fn object_name(sum: &Checksum, extension: &str) -> String {
    let mut name = format!("{sum}.{extension}");
    name.insert(2, '/');
    name
}

pub(super) fn list(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    let names: Vec<_> = names.collect();
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// The keys of section `[core]` in a repository's `config`.
fn core(config: &str) -> BTreeMap<&str, &str> {
    let lines = config.lines().map(str::trim);
    let lines = lines.skip_while(|line| *line != "[core]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim(), value.trim())).collect()
}

/// The text of a small file, if it is there. A FIFO does not hold us up.
pub(super) fn small_file(path: &Path) -> anyhow::Result<Option<String>> {
    let reading = || format!("reading {}", path.display());
    let file = match open_at_once(path) {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(e).with_context(reading),
    };
    if !file.metadata().with_context(reading)?.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    file.take(SMALL_MAX).read_to_string(&mut text).with_context(reading)?;
    Ok(Some(text))
}

/// Whether a path led through a symbolic link.
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?.into())
}
