//! Where an image's files are: a layout directory, or an archive that is read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustix::fs::{Mode, OFlags, openat};

use super::digest::{Digest, Hasher};
use super::limits::{self, Meter};
use super::stream::Plain;
use crate::format::tar::{Reader, Skip, Type};

/// A layout directory, an oci-archive or a docker-archive, open for reading. Nothing is extracted:
/// members of an archive are read where they lie.
pub struct Store {
    path: PathBuf,
    place: Place,
    meter: Arc<Meter>,
}

enum Place {
    Directory(File),
    Archive { file: Arc<File>, members: BTreeMap<Vec<u8>, Span> },
}

#[derive(Clone, Copy)]
struct Span {
    at: u64,
    size: u64,
}

impl Store {
    /// Opens what is at `path`. A directory must hold `index.json`, an archive `index.json` or
    /// `manifest.json`. Refuses archives whose members leave the root, have absolute names or are
    /// neither files, directories nor links between members.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let place = match file.metadata()?.is_dir() {
            true => Place::Directory(file),
            false => {
                let members = members(&file).with_context(|| {
                    format!("reading {} as an archive of an image", path.display())
                })?;
                Place::Archive { file: Arc::new(file), members }
            }
        };
        let store = Store { path: path.to_owned(), place, meter: Arc::default() };
        let known = store.has("index.json")? || store.has("manifest.json")?;
        ensure!(
            known,
            "{} holds neither index.json (OCI) nor manifest.json (docker save): not an image",
            path.display()
        );
        Ok(store)
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file called `name`.
    pub fn has(&self, name: &str) -> anyhow::Result<bool> {
        Ok(self.open_file(name)?.is_some())
    }

    /// The whole file `name`, at most `limit` bytes; `None` if there is none.
    pub fn small(&self, name: &str, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name)? else { return Ok(None) };
        ensure!(
            file.span.size <= limit,
            "{}: {name} has {} bytes; more than {limit} are refused",
            self.path.display(),
            file.span.size
        );
        let mut bytes = Vec::new();
        let reading = || format!("reading {name} in {}", self.path.display());
        file.take(limit + 1).read_to_end(&mut bytes).with_context(reading)?;
        ensure!(bytes.len() as u64 <= limit, "{name} grew past {limit} bytes while being read");
        Ok(Some(bytes))
    }

    /// The JSON document in the file `name`, at most `limit` bytes. Fails if there is none.
    pub fn json(&self, name: &str, limit: u64) -> anyhow::Result<serde_json::Value> {
        let path = self.path.display();
        let bytes = self.small(name, limit)?;
        let bytes = bytes.with_context(|| format!("{path}: {name} is missing"))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{path}: parsing {name}"))
    }

    /// The file name of a blob in a layout.
    pub fn blob_name(digest: &Digest) -> String {
        format!("blobs/{}/{}", digest.algorithm(), digest.hex())
    }

    /// The file `name` as a stream of its plain bytes; `None` if there is none. `stored` says
    /// which digest to take of the bytes as stored, `plain` which of the plain ones.
    pub fn plain(
        &self,
        name: &str,
        stored: Hasher,
        plain: Hasher,
    ) -> anyhow::Result<Option<Plain>> {
        let file = self.open_file(name)?;
        Ok(file.map(|file| Plain::new(file, stored, plain, Arc::clone(&self.meter))))
    }

    /// The file `name`, its bytes as stored; `None` if there is none.
    pub fn open_file(&self, name: &str) -> anyhow::Result<Option<Part>> {
        match &self.place {
            Place::Archive { file, members } => {
                Ok(members.get(name.as_bytes()).map(|&span| Part { file: Arc::clone(file), span }))
            }
            Place::Directory(root) => open_beneath(root, name)
                .with_context(|| format!("opening {name} in {}", self.path.display())),
        }
    }
}

/// A stretch of a file, read without moving the file's own position.
#[derive(Clone)]
pub struct Part {
    file: Arc<File>,
    span: Span,
}

impl Part {
    /// Bytes from `at` on, `size` of them, of `file`.
    pub fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Part { file, span: Span { at, size } }
    }

    /// Bytes left.
    pub fn size(&self) -> u64 {
        self.span.size
    }
}

impl Skip for Part {
    fn skip(&mut self, bytes: u64) {
        let bytes = bytes.min(self.span.size);
        self.span.at += bytes;
        self.span.size -= bytes;
    }
}

impl Read for Part {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.span.size).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buf[..want], self.span.at)?;
        self.span.at += got as u64;
        self.span.size -= got as u64;
        Ok(got)
    }
}

/// Opens a regular file below `root`, following no link in any component.
fn open_beneath(root: &File, name: &str) -> anyhow::Result<Option<Part>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut at = root.try_clone()?;
    for component in name.split('/') {
        match openat(&at, component, flags, Mode::empty()) {
            Ok(fd) => at = File::from(fd),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => bail!("{component} is a symbolic link: not followed"),
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
    }
    let metadata = at.metadata()?;
    ensure!(metadata.is_file(), "not a regular file");
    Ok(Some(Part { file: Arc::new(at), span: Span { at: 0, size: metadata.len() } }))
}

/// Where each member of an uncompressed tar archive lies. Links to other members are resolved.
fn members(file: &File) -> anyhow::Result<BTreeMap<Vec<u8>, Span>> {
    let size = file.metadata()?.len();
    let mut start = [0; 6];
    let got = file.read_at(&mut start, 0)?;
    let packed = start[..got].starts_with(&[0x1f, 0x8b]) || start[..got].starts_with(b"\xfd7zXZ");
    ensure!(!packed, "the archive itself is compressed; decompress it first");
    let whole = Part { file: Arc::new(file.try_clone()?), span: Span { at: 0, size } };
    let mut reader = Reader::new(whole);
    let (mut members, mut links) = (BTreeMap::new(), Vec::new());
    let mut seen = 0;
    while let Some(member) = reader.next_member()? {
        seen += 1;
        ensure!(seen <= limits::ARCHIVE_MEMBERS, "more than {} members", limits::ARCHIVE_MEMBERS);
        let shown = String::from_utf8_lossy(&member.path).into_owned();
        ensure!(!member.absolute, "member {shown:?} has an absolute name: refused");
        match member.kind {
            Type::Dir => {}
            Type::File => {
                let span = Span { at: member.data, size: member.size };
                ensure!(span.at + span.size <= size, "archive ends inside member {shown:?}");
                members.insert(member.path.to_vec(), span);
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
        if let Some(&span) = members.get(&target) {
            members.insert(name, span);
        }
    }
    Ok(members)
}

/// Whether an image is at `path`: a layout, or an archive that holds one as far as it can be read.
pub fn is_image(path: &Path) -> bool {
    match path.is_dir() {
        true => path.join("index.json").is_file() && path.join("blobs").is_dir(),
        false => is_archive(path).unwrap_or(false),
    }
}

fn is_archive(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let span = Span { at: 0, size: metadata.len() };
    let mut reader = Reader::new(Part { file: Arc::new(file), span });
    for _ in 0..limits::ARCHIVE_MEMBERS {
        let Some(member) = reader.next_member()? else { return Ok(false) };
        let path = &*member.path;
        let docker = path == b"manifest.json" && {
            let mut start = [0];
            reader.read(&mut start)? == 1 && start == *b"["
        };
        if docker || path == b"oci-layout" || path.starts_with(b"blobs/sha256/") {
            return Ok(true);
        }
        reader.seek_content();
    }
    Ok(false)
}
