//! The content of a file on its way from a plugin to the disk.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// What the content of a file becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Held(Vec<u8>),
    /// In a file without a name: too large for memory.
    Spooled(Spooled),
}

impl Content {
    /// Its size in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Held(bytes) => bytes.len() as u64,
            Content::Spooled(spooled) => spooled.len,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it in memory.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Content::Held(bytes) => Ok(Cow::Borrowed(bytes)),
            Content::Spooled(spooled) => spooled.bytes().map(Cow::Owned),
        }
    }

    /// A reader of the content.
    pub fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Content::Held(bytes) => Box::new(&bytes[..]),
            Content::Spooled(spooled) => Box::new(spooled.reader()),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Content::Held(bytes)
    }
}

impl From<Spooled> for Content {
    fn from(spooled: Spooled) -> Self {
        Content::Spooled(spooled)
    }
}

/// Content in a file without a name, which is freed with the last clone. It compares by content,
/// whichever file it is in.
#[derive(Clone, Debug)]
pub struct Spooled {
    file: Arc<File>,
    len: u64,
    digest: [u8; 32],
}

impl PartialEq for Spooled {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Spooled {}

impl Spooled {
    /// All of it in memory.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The content from its beginning.
    pub fn reader(&self) -> impl Read + '_ {
        At { file: &self.file, offset: 0 }
    }
}

/// Reads a file at its own offset, so that clones do not disturb one another.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(buf, self.offset)?;
        self.offset += got as u64;
        Ok(got)
    }
}

/// Writer of [`Spooled`] content.
#[derive(Debug)]
pub struct Spool {
    file: BufWriter<File>,
    len: u64,
    hash: Sha256,
}

impl Spool {
    /// Spools into `file`, which is empty and has no name: see [`Context::scratch`].
    ///
    /// [`Context::scratch`]: crate::normal::Context::scratch
    pub fn new(file: File) -> Self {
        Spool { file: BufWriter::with_capacity(256 << 10, file), len: 0, hash: Sha256::new() }
    }

    /// Finishes and returns what was written.
    pub fn finish(self) -> io::Result<Spooled> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Spooled { file: Arc::new(file), len: self.len, digest: self.hash.finalize().into() })
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let put = self.file.write(bytes)?;
        self.hash.update(&bytes[..put]);
        self.len += put as u64;
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
