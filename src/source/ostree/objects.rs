//! The objects of a repository, wherever they lie, and what is done with them alike: every object's
//! bytes are hashed and compared with its name before they count.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::merkle::Leaf;
use super::oci::for_each_chunk;
use crate::format::Malformed;
use crate::format::ostree::{Attrs, Checksum, FileHasher, Filez};
use crate::tree::Kind;

/// Bytes of a metadata object, at most: libostree's own limit.
pub(super) const METADATA_MAX: u64 = 128 << 20;
/// Bytes of a file that is read whole, at most.
const CONTENT_MAX: u64 = 4 << 30;
/// Bytes of a `.filez` header, at most: xattrs and a link's target.
const HEADER_MAX: u32 = 1 << 20;

/// Which object a checksum names, beside file objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metadata {
    /// A commit.
    Commit,
    /// A directory's names.
    DirTree,
    /// A directory's owner, mode and xattrs.
    DirMeta,
}

impl Metadata {
    /// The extension of its name in a repository.
    pub fn extension(self) -> &'static str {
        match self {
            Metadata::Commit => "commit",
            Metadata::DirTree => "dirtree",
            Metadata::DirMeta => "dirmeta",
        }
    }
}

/// What a person is to do about an object that is of no use.
pub struct Remedies {
    /// It is not there.
    pub missing: &'static str,
    /// It is not what its name says.
    pub corrupt: &'static str,
    /// The system does not give it.
    pub unreadable: &'static str,
}

/// A file object, opened: what it is, and its content (nothing of a link's).
pub type Opened = (Leaf, Box<dyn Read>);

/// The objects of a repository, wherever they lie. Errors name the object and what to do.
pub trait Objects: Send + Sync {
    /// Where they lie.
    fn path(&self) -> &Path;

    /// What to do about a bad one.
    fn remedies(&self) -> Remedies;

    /// The bytes of a metadata object as they are stored; none if it is not there.
    fn load(&self, kind: Metadata, sum: &Checksum) -> io::Result<Option<Vec<u8>>>;

    /// A file object as it is stored; none if it is not there.
    fn open(&self, sum: &Checksum) -> io::Result<Option<Opened>>;

    /// The bytes of a metadata object.
    fn metadata(&self, kind: Metadata, sum: &Checksum) -> io::Result<Vec<u8>> {
        let name = || format!("{sum}.{}", kind.extension());
        let bytes = self.load(kind, sum).map_err(|e| self.unusable(&name(), &e))?;
        let bytes = bytes.ok_or_else(|| self.missing(&name()))?;
        if Checksum::of(&bytes) == *sum { Ok(bytes) } else { Err(self.corrupt(&name(), &OTHER)) }
    }

    /// What a file object is, without its content; verified only where a repository has to guess.
    fn leaf(&self, sum: &Checksum) -> io::Result<Leaf> {
        Ok(self.file(sum)?.0)
    }

    /// The content of a file object, piece by piece; the end is an error if it was not the object.
    fn stream(&self, sum: &Checksum, sink: &mut dyn FnMut(&[u8])) -> io::Result<Leaf> {
        let (leaf, content) = self.file(sum)?;
        let name = || format!("{sum}.file");
        if leaf.size > CONTENT_MAX {
            let what = format!("object {} of {} bytes is over 4 GiB", name(), leaf.size);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let target = leaf.target.as_deref().map_or(&b""[..], |t| t.as_os_str().as_bytes());
        let mut hasher = FileHasher::new(&leaf.attrs, target);
        // A byte more than there should be changes the checksum and ends a decompression bomb.
        let content = content.take(leaf.size.saturating_add(1));
        for_each_chunk(content, leaf.size, |piece| {
            hasher.update(piece);
            sink(piece);
        })
        .map_err(|e| self.unusable(&name(), &e))?;
        if hasher.finish() == *sum { Ok(leaf) } else { Err(self.other(&name())) }
    }

    /// A file object's content, verified together with its metadata.
    fn content(&self, sum: &Checksum) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.stream(sum, &mut |piece| content.extend_from_slice(piece))?;
        Ok(content)
    }

    /// A file object, which must be there.
    fn file(&self, sum: &Checksum) -> io::Result<Opened> {
        let name = || format!("{sum}.file");
        let opened = self.open(sum).map_err(|e| self.unusable(&name(), &e))?;
        opened.ok_or_else(|| self.missing(&name()))
    }

    /// The error of a metadata object whose bytes are right and make no sense.
    fn malformed(&self, kind: Metadata, sum: &Checksum, why: &Malformed) -> io::Error {
        self.corrupt(&format!("{sum}.{}", kind.extension()), why)
    }

    /// The error of an object that is not there.
    fn missing(&self, name: &str) -> io::Error {
        let (path, remedy) = (self.path().display(), self.remedies().missing);
        let what = format!("object {name} is missing from {path}; {remedy}");
        io::Error::new(io::ErrorKind::NotFound, what)
    }

    /// The error of an object that is not what its name says.
    fn corrupt(&self, name: &str, why: &dyn Display) -> io::Error {
        let (path, remedy) = (self.path().display(), self.remedies().corrupt);
        let what = format!("object {name} in {path} is corrupt: {why}; {remedy}");
        io::Error::new(io::ErrorKind::InvalidData, what)
    }

    /// The error of a file object that is another than its name says.
    fn other(&self, name: &str) -> io::Error {
        self.corrupt(name, &OTHER)
    }

    /// The error of an object that could not be read to its end: its own fault, or the system's.
    fn unusable(&self, name: &str, error: &io::Error) -> io::Error {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        if matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) {
            return self.corrupt(name, error);
        }
        let denied = error.kind() == io::ErrorKind::PermissionDenied;
        let owner = "run as the owner of the repository";
        let remedy = if denied { owner } else { self.remedies().unreadable };
        let path = self.path().display();
        io::Error::other(format!("object {name} in {path} cannot be read: {error}; {remedy}"))
    }
}

/// Why most corrupt objects are.
const OTHER: &str = "its bytes have another checksum";

/// The file object of these parts: `target` is of use for a link only, `content` for a file only.
///
/// # Errors
///
/// If it is neither.
pub(super) fn opened(
    attrs: Attrs,
    target: PathBuf,
    size: u64,
    content: impl Read + 'static,
) -> io::Result<Opened> {
    match Kind::of_mode(attrs.mode) {
        Kind::File => Ok((Leaf { attrs, target: None, size }, Box::new(content))),
        Kind::Symlink => {
            let size = target.as_os_str().len() as u64;
            Ok((Leaf { attrs, target: Some(target), size }, Box::new(io::empty())))
        }
        Kind::Dir | Kind::Other => Err(invalid("it is no file and no symbolic link")),
    }
}

/// The file object in `file`, as a repository of mode `archive` stores it.
pub(super) fn open_filez(file: impl Read + 'static) -> io::Result<Opened> {
    let mut file = io::BufReader::new(file);
    let mut start = vec![0; 8];
    file.read_exact(&mut start)?;
    let length = u32::from_be_bytes([start[0], start[1], start[2], start[3]]);
    if length > HEADER_MAX {
        return Err(invalid(format!("its header has {length} bytes")));
    }
    file.by_ref().take(length.into()).read_to_end(&mut start)?;
    let header = Filez::parse(&start).map_err(invalid)?;
    let target = PathBuf::from(OsStr::from_bytes(&header.target));
    opened(header.attrs, target, header.size, Deflated::Untouched(Some(file)))
}

/// A deflate stream. Nothing is made ready for it before it is read: most who open an object want
/// its metadata only, and what a decoder needs is 43 KiB, cleared.
enum Deflated<R> {
    /// Nobody has read; `None` only while that changes.
    Untouched(Option<R>),
    Begun(flate2::bufread::DeflateDecoder<R>),
}

impl<R: io::BufRead> Read for Deflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Deflated::Untouched(stream) = self
            && let Some(stream) = stream.take()
        {
            *self = Deflated::Begun(flate2::bufread::DeflateDecoder::new(stream));
        }
        match self {
            Deflated::Begun(decoder) => decoder.read(buffer),
            Deflated::Untouched(_) => Ok(0),
        }
    }
}

/// The error of bytes that are not what they should be.
pub(super) fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
