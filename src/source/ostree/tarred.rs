//! Repositories inside tar archives: commits that rpm-ostree or bootc encapsulated in an image, and
//! the plain archives of a repository that coreos-assembler once made.
//!
//! Follows ostree-rs-ext, "ostree-container" and its `tar` module: objects lie under
//! `sysroot/ostree/repo/objects`, as in a repository of mode `bare-split-xattrs`; a file object is
//! a member with its own owner and mode, its xattrs lie in a `.file-xattrs` object that
//! `CHECKSUM.file-xattrs-link` is a hard link of. A plain archive holds one of mode `archive`.
//!
//! The commit is found by streaming the layers to it. More is unpacked only when a comparison
//! asks for an object that was not seen yet: layer by layer, into a temporary file without a name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};

use super::encapsulated::{LAST, Labels, first_commit};
use super::objects::{
    METADATA_MAX, Metadata, Objects, Opened, Remedies, invalid, open_filez, opened,
};
use super::oci::{Descriptor, Digest, Hasher, Image, Part, Plain, Store, limits};
use crate::format::ostree::{Attrs, Checksum, parse_xattrs};
use crate::format::tar::{Member, Reader, Type};

/// Objects of one repository, at most; each takes about 150 bytes of memory.
pub(super) const OBJECTS_MAX: usize = 4_000_000;
/// What to do about damage.
pub(super) const REMEDY: &str = "copy it again from where it was made";

/// What an object is, by the extension of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ObjectKind {
    Metadata(Metadata),
    /// A file object of a `bare-split-xattrs` repository.
    File,
    /// One of an `archive` repository.
    Filez,
}

/// A file object's or metadata object's bytes in the temporary file, and what its member says.
#[derive(Clone, Debug)]
struct ObjectPlace {
    at: u64,
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    target: Option<PathBuf>,
}

/// The objects of a repository in one archive or in the layers of an image.
pub struct TarRepository {
    origin: Origin,
    state: Mutex<State>,
}

enum Origin {
    Image { store: Store, layers: Vec<(Descriptor, Digest)> },
    Archive(PathBuf),
}

/// What was unpacked so far.
struct State {
    /// Layers unpacked.
    done: usize,
    spool: Arc<File>,
    len: u64,
    objects: HashMap<(Checksum, ObjectKind), ObjectPlace>,
    /// The xattrs of a file object: the path of what holds them.
    links: HashMap<Checksum, Vec<u8>>,
    xattrs: HashMap<Vec<u8>, (u64, u64)>,
}

impl TarRepository {
    /// The repository in the layers of `image`, and the commit that it holds.
    ///
    /// # Errors
    ///
    /// If a layer is missing or of another size, if they hold no commit, if the image was changed
    /// after the commit was put in, or if the commit is not the one that its label names.
    pub fn image(store: Store, image: &Image) -> anyhow::Result<(Self, Checksum)> {
        let path = store.path().display().to_string();
        let labels = Labels::read(&store, image)?;
        for layer in &image.layers {
            ensure!(
                store.has(&layer.name)?,
                "layer {} is missing from {path}: {REMEDY}",
                layer.digest
            );
            let Ok(expected) = u64::try_from(layer.size) else { continue };
            let part = store.open_file(&layer.name)?;
            let part = part.with_context(|| format!("opening layer {}", layer.digest))?;
            ensure!(
                expected == part.size(),
                "layer {} in {path} has {} bytes where its descriptor says {}: {REMEDY}",
                layer.digest,
                part.size(),
                layer.size
            );
        }
        let layers = image.layers.iter().cloned().zip(image.diff_ids.iter().cloned()).collect();
        let packed = Self::new(Origin::Image { store, layers })?;
        let searched = labels.end(image).unwrap_or(image.layers.len());
        let found = packed.find_commit(searched, None).map_err(|e| packed.unpackable(&e))?;
        let Some(commit) = found else {
            bail!(
                "{path} holds no ostree commit: an image that was not encapsulated from one; \
                 check it against another image: that compares any two"
            );
        };
        if let Some(label) = labels.commit {
            ensure!(
                label == commit.to_string(),
                "{path} holds commit {commit} but its label ostree.commit is {label}: {REMEDY}"
            );
        }
        match (labels.last.as_deref(), image.diff_ids.last().map(Digest::as_str)) {
            (Some(named), Some(last)) if named != last => bail!(
                "{path} has layers after the one with which its commit ends ({named}): another \
                 build was made on it; check it against another image: that compares any two"
            ),
            (None, _) if image.layers.len() > 1 => bail!(
                "{path} has no label {LAST}, so nothing says in which of its layers the commit \
                 ends; check it against another image: that compares any two"
            ),
            _ => Ok((packed, commit)),
        }
    }

    /// The repository in the tar archive `path`, plain or compressed with gzip or zstd.
    ///
    /// # Errors
    ///
    /// If it does not hold `commit`.
    pub fn archive(path: &Path, commit: &Checksum) -> anyhow::Result<Self> {
        let packed = Self::new(Origin::Archive(path.to_owned()))?;
        match packed.find_commit(1, Some(commit)).map_err(|e| packed.unpackable(&e))? {
            Some(_) => Ok(packed),
            None => bail!("{} does not hold commit {commit}: {REMEDY}", path.display()),
        }
    }

    fn new(origin: Origin) -> anyhow::Result<Self> {
        let spool = Arc::new(crate::disk::scratch(None).context("creating a temporary file")?);
        let state = State {
            done: 0,
            spool,
            len: 0,
            objects: HashMap::new(),
            links: HashMap::new(),
            xattrs: HashMap::new(),
        };
        Ok(TarRepository { origin, state: Mutex::new(state) })
    }

    /// Layer number `n` as a stream; `None` after the last.
    fn layer(&self, n: usize) -> anyhow::Result<Option<Plain>> {
        match &self.origin {
            Origin::Image { store, layers } => {
                let Some((layer, diff_id)) = layers.get(n) else { return Ok(None) };
                let plain = store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher())?;
                plain.with_context(|| format!("layer {} is missing", layer.digest)).map(Some)
            }
            Origin::Archive(path) if n == 0 => {
                let file = File::open(path)?;
                let (stored, plain) = (Hasher::default(), Hasher::default());
                Ok(Some(Plain::new(file, stored, plain, Arc::new(limits::Meter::default()))))
            }
            Origin::Archive(_) => Ok(None),
        }
    }

    /// The commit `wanted`, or the first one, by streaming the first `layers` until it is there.
    fn find_commit(
        &self,
        layers: usize,
        wanted: Option<&Checksum>,
    ) -> anyhow::Result<Option<Checksum>> {
        for n in 0..layers {
            let Some(plain) = self.layer(n)? else { break };
            if let Some((sum, _)) = first_commit(plain, wanted)? {
                return Ok(Some(sum));
            }
        }
        Ok(None)
    }

    /// The place of an object, unpacking layers until one holds it.
    fn find(
        &self,
        sum: &Checksum,
        sorts: &[ObjectKind],
    ) -> io::Result<Option<(ObjectKind, ObjectPlace, Arc<File>)>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            for sort in sorts {
                if let Some(place) = state.objects.get(&(*sum, *sort)) {
                    return Ok(Some((*sort, place.clone(), Arc::clone(&state.spool))));
                }
            }
            if !self.unpack(&mut state).map_err(|e| io::Error::other(format!("{e:#}")))? {
                return Ok(None);
            }
        }
    }

    /// Unpacks the next layer; `false` if there is none.
    fn unpack(&self, state: &mut State) -> anyhow::Result<bool> {
        let n = state.done;
        let Some(plain) = self.layer(n)? else { return Ok(false) };
        state.done += 1;
        let mut reader = Reader::new(plain);
        while let Some(member) = reader.next_member()? {
            state.take(&member, &mut reader)?;
        }
        let sums = reader.into_inner().finish()?;
        if let Origin::Image { layers, .. } = &self.origin {
            let (layer, diff_id) = &layers[n];
            ensure!(
                sums.digest == layer.digest && sums.diff_id == *diff_id,
                "layer {} is corrupt: its bytes have digest {}",
                layer.digest,
                sums.digest
            );
        }
        Ok(true)
    }

    fn unpackable(&self, error: &anyhow::Error) -> io::Error {
        let path = self.path().display();
        io::Error::other(format!("{path} cannot be unpacked: {error:#}; {REMEDY}"))
    }

    /// The xattrs of the file object `sum` of a `bare-split-xattrs` repository.
    fn xattrs(&self, sum: &Checksum) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let span = state.links.get(sum).and_then(|path| state.xattrs.get(path));
        let Some((at, size)) = span.copied() else { return Ok(Vec::new()) };
        let bytes = whole(Part::new(Arc::clone(&state.spool), at, size))?;
        parse_xattrs(&bytes, 0).map_err(invalid)
    }
}

impl State {
    /// Keeps a member if it is an object.
    fn take(&mut self, member: &Member, reader: &mut Reader<Plain>) -> anyhow::Result<()> {
        if member.kind == Type::Hardlink {
            if let Some(sum) = xattrs_link(&member.path) {
                self.links.insert(sum, member.link.clone());
            }
            return Ok(());
        }
        if is_xattrs(&member.path) {
            let span = self.keep(member, reader)?;
            self.xattrs.insert(member.path.to_vec(), span);
            return Ok(());
        }
        if let Some(sum) = xattrs_link(&member.path) {
            let span = self.keep(member, reader)?;
            self.links.insert(sum, member.path.to_vec());
            self.xattrs.insert(member.path.to_vec(), span);
            return Ok(());
        }
        let Some((sum, sort)) = object(&member.path) else { return Ok(()) };
        let (kind, target) = match member.kind {
            Type::File => (0o100_000, None),
            Type::Symlink => (0o120_000, Some(PathBuf::from(OsStr::from_bytes(&member.link)))),
            _ => return Ok(()),
        };
        ensure!(self.objects.len() < OBJECTS_MAX, "more than {OBJECTS_MAX} objects");
        ensure!(!member.sparse, "object {sum} is a sparse member");
        let (at, size) = self.keep(member, reader)?;
        let id = |id: u64| u32::try_from(id).context("an owner is no 32-bit number");
        let (uid, gid) = (id(member.uid)?, id(member.gid)?);
        let place = ObjectPlace { at, size, mode: kind | member.mode, uid, gid, target };
        self.objects.insert((sum, sort), place);
        Ok(())
    }

    /// Copies a member's content to the end of the temporary file.
    fn keep(&mut self, member: &Member, reader: &mut Reader<Plain>) -> io::Result<(u64, u64)> {
        let at = self.len;
        let copied = io::copy(reader, &mut Appender(&self.spool))?;
        if copied != member.size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends early"));
        }
        self.len += copied;
        Ok((at, copied))
    }
}

/// Writes where the file's own position is, which nothing else moves.
struct Appender<'f>(&'f File);

impl Write for Appender<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut file = self.0;
        file.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Objects for TarRepository {
    fn path(&self) -> &Path {
        match &self.origin {
            Origin::Image { store, .. } => store.path(),
            Origin::Archive(path) => path,
        }
    }

    fn remedies(&self) -> Remedies {
        Remedies { missing: REMEDY, corrupt: REMEDY, unreadable: REMEDY }
    }

    fn load(&self, kind: Metadata, sum: &Checksum) -> io::Result<Option<Vec<u8>>> {
        let Some((_, place, spool)) = self.find(sum, &[ObjectKind::Metadata(kind)])? else {
            return Ok(None);
        };
        if place.size > METADATA_MAX {
            return Err(invalid(format!("it has {} bytes", place.size)));
        }
        whole(Part::new(spool, place.at, place.size)).map(Some)
    }

    fn open(&self, sum: &Checksum) -> io::Result<Option<Opened>> {
        let Some((sort, place, spool)) = self.find(sum, &[ObjectKind::File, ObjectKind::Filez])?
        else {
            return Ok(None);
        };
        let part = Part::new(spool, place.at, place.size);
        if sort == ObjectKind::Filez {
            return open_filez(part).map(Some);
        }
        let ObjectPlace { uid, gid, mode, .. } = place;
        let attrs = Attrs { uid, gid, mode, xattrs: self.xattrs(sum)? };
        opened(attrs, place.target.unwrap_or_default(), place.size, part).map(Some)
    }
}

fn whole(mut part: Part) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    part.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A metadata object, whole.
pub(super) fn small(reader: &mut Reader<Plain>, member: &Member) -> anyhow::Result<Vec<u8>> {
    ensure!(member.size <= METADATA_MAX, "an object of {} bytes is no commit", member.size);
    let mut bytes = Vec::new();
    reader.take(member.size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `…/objects/XX/REST.EXTENSION` as checksum and extension.
fn split(path: &[u8]) -> Option<(Checksum, &str)> {
    let path = std::str::from_utf8(path).ok()?;
    let (front, last) = path.rsplit_once('/')?;
    let (front, start) = front.rsplit_once('/').unwrap_or(("", front));
    if start.len() != 2 || !(front == "objects" || front.ends_with("/objects")) {
        return None;
    }
    let (rest, extension) = last.split_once('.')?;
    Some((format!("{start}{rest}").parse().ok()?, extension))
}

/// The object that a path of a repository is.
pub(super) fn object(path: &[u8]) -> Option<(Checksum, ObjectKind)> {
    let (sum, extension) = split(path)?;
    let sort = match extension {
        "commit" => ObjectKind::Metadata(Metadata::Commit),
        "dirtree" => ObjectKind::Metadata(Metadata::DirTree),
        "dirmeta" => ObjectKind::Metadata(Metadata::DirMeta),
        "file" => ObjectKind::File,
        "filez" => ObjectKind::Filez,
        _ => return None,
    };
    Some((sum, sort))
}

/// The file object whose xattrs a path leads to.
fn xattrs_link(path: &[u8]) -> Option<Checksum> {
    let (sum, extension) = split(path)?;
    // The second is the older layout's.
    matches!(extension, "file-xattrs-link" | "file.xattrs").then_some(sum)
}

/// Whether a path holds xattrs by their own checksum.
fn is_xattrs(path: &[u8]) -> bool {
    let older = || {
        let path = std::str::from_utf8(path).unwrap_or_default();
        path.rsplit_once('/').is_some_and(|(front, _)| front.ends_with("ostree/repo/xattrs"))
    };
    split(path).is_some_and(|(_, extension)| extension == "file-xattrs") || older()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_known_by_their_paths() {
        let sum = "ab".repeat(32);
        let path = |prefix: &str, end: &str| format!("{prefix}objects/ab/{}{end}", &sum[2..]);
        let sort = |p: String| object(p.as_bytes()).map(|(_, sort)| sort);
        let commit = Some(ObjectKind::Metadata(Metadata::Commit));
        assert_eq!(sort(path("sysroot/ostree/repo/", ".commit")), commit);
        assert_eq!(sort(path("", ".filez")), Some(ObjectKind::Filez));
        assert_eq!(sort(path("x", ".commit")), None);
        assert_eq!(sort(path("", ".commitmeta")), None);
        let link = path("a/", ".file-xattrs-link");
        assert_eq!(xattrs_link(link.as_bytes()).map(|s| s.to_string()), Some(sum.clone()));
        assert!(is_xattrs(path("", ".file-xattrs").as_bytes()));
        assert!(is_xattrs(format!("sysroot/ostree/repo/xattrs/{sum}").as_bytes()));
    }
}
