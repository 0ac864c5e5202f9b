//! A file or a device as a disk: holes are not read.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::SeekFrom;

use crate::format::filesystem::blocks::Blocks;

/// An image in a file.
pub(super) struct File {
    file: std::fs::File,
    size: u64,
}

impl File {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let kind = file.metadata()?.file_type();
        // A device has no size but its end.
        let size = match kind.is_file() {
            true => file.metadata()?.len(),
            false => rustix::fs::seek(&file, SeekFrom::End(0))?,
        };
        Ok(File { file, size })
    }
}

impl Blocks for File {
    fn size(&self) -> u64 {
        self.size
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, at)
    }

    fn data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        if at >= self.size {
            return Ok(None);
        }
        let whole = Some(at..self.size);
        let start = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            // Not every file system knows its holes.
            Err(_) => return Ok(whole),
        };
        Ok(match rustix::fs::seek(&self.file, SeekFrom::Hole(start)) {
            Ok(end) => Some(start..end.min(self.size)),
            Err(_) => whole,
        })
    }
}
