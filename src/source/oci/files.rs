//! Files below a directory, or inside archives that are read in place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{Dir, Mode, OFlags, openat};

use super::limits;
use crate::format::tar::{Reader, Skip, Type};

/// The files of one store, by their names below its root.
pub(super) enum Files {
    /// A directory.
    Directory(File),
    /// The members of archives.
    Archive(BTreeMap<Vec<u8>, Part>),
}

impl Files {
    /// What is at `path`. Of a directory that holds the parts of a mirror of oc-mirror and no store of
    /// its own, their members. Refuses archives whose members leave the root, have absolute names or
    /// are neither files, directories nor links between members.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut all = BTreeMap::new();
        if !file.metadata()?.is_dir() {
            members(&file, &mut all)
                .with_context(|| format!("reading {} as an archive of an image", path.display()))?;
            return Ok(Files::Archive(all));
        }
        let directory = Files::Directory(file);
        let parts: Vec<Vec<u8>> =
            directory.list("")?.into_iter().filter(|name| is_mirror(name)).collect();
        if parts.is_empty() || directory.has("index.json")? {
            return Ok(directory);
        }
        for name in parts {
            let name = String::from_utf8_lossy(&name).into_owned();
            let part = path.join(&name);
            let file = File::open(&part).with_context(|| format!("opening {}", part.display()))?;
            members(&file, &mut all)
                .with_context(|| format!("reading {}, a part of a mirror", part.display()))?;
        }
        Ok(Files::Archive(all))
    }

    /// The directory at `path`.
    pub(super) fn directory(path: &Path) -> anyhow::Result<Self> {
        Ok(Files::Directory(File::open(path)?))
    }

    /// Whether there is a file called `name`.
    pub(super) fn has(&self, name: &str) -> anyhow::Result<bool> {
        Ok(self.file(name)?.is_some())
    }

    /// The regular file `name`; `None` if there is none. No link is followed in any component.
    pub(super) fn file(&self, name: impl AsRef<[u8]>) -> anyhow::Result<Option<Part>> {
        match self {
            Files::Archive(members) => Ok(members.get(name.as_ref()).cloned()),
            Files::Directory(root) => open_beneath(root, name.as_ref()),
        }
    }

    /// The whole file `name`, at most `limit` bytes; `None` if there is none.
    pub(super) fn small(
        &self,
        name: impl AsRef<[u8]>,
        limit: u64,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let shown = || String::from_utf8_lossy(name.as_ref()).into_owned();
        let part = self.file(name.as_ref()).with_context(|| format!("opening {}", shown()))?;
        part.map(|part| part.whole(limit).with_context(shown)).transpose()
    }

    /// The names in the directory `name` (empty for the root), sorted; none if there is no such
    /// directory.
    pub(super) fn list(&self, name: &str) -> anyhow::Result<BTreeSet<Vec<u8>>> {
        match self {
            Files::Archive(members) => Ok(children(members, name)),
            Files::Directory(root) => {
                names(root, name).with_context(|| format!("listing {name:?}"))
            }
        }
    }
}

/// Whether a name is that of a part of oc-mirror's archive: `mirror_` and six digits.
pub(super) fn is_mirror(name: &[u8]) -> bool {
    let digits = name.strip_prefix(b"mirror_").and_then(|rest| rest.strip_suffix(b".tar"));
    digits.is_some_and(|d| d.len() == 6 && d.iter().all(u8::is_ascii_digit))
}

/// First components of what is below `dir`.
fn children(members: &BTreeMap<Vec<u8>, Part>, dir: &str) -> BTreeSet<Vec<u8>> {
    let below = if dir.is_empty() { Vec::new() } else { [dir.as_bytes(), b"/"].concat() };
    let mut found = BTreeSet::new();
    let mut from = Bound::Included(below.clone());
    while let Some((path, _)) = members.range((from, Bound::Unbounded)).next() {
        let Some(rest) = path.strip_prefix(&below[..]) else { break };
        let name = rest.split(|b| *b == b'/').next().unwrap_or_default().to_vec();
        // All below a directory comes before the name with the byte that follows the slash.
        let next = [&below[..], &name, if name.len() < rest.len() { b"0" } else { b"\0" }].concat();
        found.insert(name);
        from = Bound::Included(next);
    }
    found
}

/// The names in a directory below `root`.
fn names(root: &File, dir: &str) -> anyhow::Result<BTreeSet<Vec<u8>>> {
    let mut found = BTreeSet::new();
    let Some(at) = descend(root, dir.as_bytes())? else { return Ok(found) };
    if !at.metadata()?.is_dir() {
        return Ok(found);
    }
    for entry in Dir::read_from(&at)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            found.insert(name);
        }
        ensure!(
            found.len() <= limits::ARCHIVE_MEMBERS,
            "more than {} names: refused",
            limits::ARCHIVE_MEMBERS
        );
    }
    Ok(found)
}

/// A stretch of a file, read without moving the file's own position.
#[derive(Clone)]
pub struct Part {
    file: Arc<File>,
    start: u64,
    at: u64,
    size: u64,
}

impl Part {
    /// Bytes from `at` on, `size` of them, of `file`.
    pub fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Part { file, start: at, at, size }
    }

    /// All bytes, at most `limit`.
    pub(super) fn whole(self, limit: u64) -> anyhow::Result<Vec<u8>> {
        let size = self.size();
        ensure!(size <= limit, "it has {size} bytes; more than {limit} are refused");
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= limit, "it grew past {limit} bytes while being read");
        Ok(bytes)
    }

    /// Bytes left.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Skip for Part {
    fn skip(&mut self, bytes: u64) {
        let bytes = bytes.min(self.size);
        self.at += bytes;
        self.size -= bytes;
    }
}

impl Seek for Part {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (start, end) = (self.start, self.at + self.size);
        let at = match to {
            SeekFrom::Start(at) => start.checked_add(at),
            SeekFrom::End(by) => end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        // Behind the end there is nothing to read.
        let at = at.filter(|at| *at >= start).ok_or(io::ErrorKind::InvalidInput)?.min(end);
        (self.at, self.size) = (at, end - at);
        Ok(at - start)
    }
}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.size).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buf[..want], self.at)?;
        self.at += got as u64;
        self.size -= got as u64;
        Ok(got)
    }
}

/// Opens a regular file below `root`, following no link in any component.
fn open_beneath(root: &File, name: &[u8]) -> anyhow::Result<Option<Part>> {
    let Some(at) = descend(root, name)? else { return Ok(None) };
    let metadata = at.metadata()?;
    ensure!(metadata.is_file(), "not a regular file");
    Ok(Some(Part::new(Arc::new(at), 0, metadata.len())))
}

/// Opens what is at `name` below `root`, following no link in any component.
fn descend(root: &File, name: &[u8]) -> anyhow::Result<Option<File>> {
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut at = root.try_clone()?;
    for component in name.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        ensure!(component != b"..", "{:?} leaves the root", String::from_utf8_lossy(name));
        match openat(&at, component, flags, Mode::empty()) {
            Ok(fd) => at = File::from(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => {
                let component = String::from_utf8_lossy(component);
                bail!("{component} is a symbolic link: not followed")
            }
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
    Ok(Some(at))
}

/// Where each member of an uncompressed tar archive lies. Links to other members are resolved.
fn members(file: &File, all: &mut BTreeMap<Vec<u8>, Part>) -> anyhow::Result<()> {
    let size = file.metadata()?.len();
    let mut start = [0; 6];
    let got = file.read_at(&mut start, 0)?;
    let packed = start[..got].starts_with(&[0x1f, 0x8b]) || start[..got].starts_with(b"\xfd7zXZ");
    ensure!(!packed, "the archive itself is compressed; decompress it first");
    let file = Arc::new(file.try_clone()?);
    let part = |at, size| Part::new(Arc::clone(&file), at, size);
    let mut reader = Reader::new(part(0, size));
    let mut links = Vec::new();
    let mut seen = 0;
    while let Some(member) = reader.next_member()? {
        seen += 1;
        ensure!(seen <= limits::NAMES, "more than {} members", limits::NAMES);
        let shown = String::from_utf8_lossy(&member.path).into_owned();
        ensure!(!member.absolute, "member {shown:?} has an absolute name: refused");
        match member.kind {
            Type::Dir => {}
            // Of a registry's storage, what says which repository has which layer: not needed.
            Type::File if shown.ends_with("/link") && shown.contains("/_layers/") => {
                reader.seek_content();
            }
            Type::File => {
                ensure!(
                    all.len() + links.len() < limits::ARCHIVE_MEMBERS,
                    "more than {} members",
                    limits::ARCHIVE_MEMBERS
                );
                ensure!(member.data + member.size <= size, "archive ends inside member {shown:?}");
                all.insert(member.path.to_vec(), part(member.data, member.size));
                reader.seek_content();
            }
            Type::Symlink => {
                let target = [member.parent(), b"/", &member.link].concat();
                let target = crate::format::tar::clean(&target, member.data)?;
                links.push((member.path.to_vec(), target));
            }
            Type::Hardlink => links.push((member.path.to_vec(), member.link)),
            Type::Char | Type::Block | Type::Fifo => {
                bail!("member {shown:?} is a device node or FIFO: refused")
            }
        }
    }
    for (name, target) in links {
        if let Some(part) = all.get(&target).cloned() {
            all.insert(name, part);
        }
    }
    Ok(())
}

/// Whether an archive holds an image, or a registry's storage, as far as it can be read.
pub(super) fn is_archive(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut reader = Reader::new(Part::new(Arc::new(file), 0, metadata.len()));
    for _ in 0..limits::ARCHIVE_MEMBERS {
        let Some(member) = reader.next_member()? else { return Ok(false) };
        let path = &*member.path;
        let docker = path == b"manifest.json" && {
            let mut start = [0];
            reader.read(&mut start)? == 1 && start == *b"["
        };
        let known = [&b"blobs/sha256/"[..], b"docker/registry/v2/"];
        if docker || path == b"oci-layout" || known.iter().any(|start| path.starts_with(start)) {
            return Ok(true);
        }
        reader.seek_content();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_children_of_a_directory_in_an_archive() {
        let part = Part::new(Arc::new(tempfile::tempfile().unwrap()), 0, 0);
        let all = ["a/b", "a/b/c", "a/b0", "a/d/e/f", "a/d/g", "a0", "b"];
        let members = all.iter().map(|name| (name.as_bytes().to_vec(), part.clone())).collect();
        let list = |dir| -> Vec<String> {
            let found = children(&members, dir).into_iter();
            found.map(|name| String::from_utf8(name).unwrap()).collect()
        };
        assert_eq!(list(""), ["a", "a0", "b"]);
        assert_eq!(list("a"), ["b", "b0", "d"]);
        assert_eq!(list("a/d"), ["e", "g"]);
        assert!(list("c").is_empty());
    }
}
