//! Reads ranges of a seekable file that is read and written elsewhere at the same time.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file in `mutex`; every user seeks first, so a panic elsewhere leaves nothing half done.
pub(super) fn lock<F>(mutex: &Mutex<F>) -> MutexGuard<'_, F> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The `size` bytes at `data` of a spool.
pub fn spooled<S: Read + Seek>(spool: &Mutex<S>, data: u64, size: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Window::new(spool, data..data + u64::from(size)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == u64::from(size) {
        return Ok(bytes);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// A range of a seekable file, from its beginning.
pub struct Window<'a, F> {
    file: &'a Mutex<F>,
    at: u64,
    end: u64,
}

impl<'a, F> Window<'a, F> {
    /// A reader of `range`, which ends early if the file does.
    pub fn new(file: &'a Mutex<F>, range: Range<u64>) -> Self {
        Window { file, at: range.start, end: range.end }
    }
}

impl<F: Read + Seek> Read for Window<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        if want == 0 {
            return Ok(0);
        }
        let mut file = lock(self.file);
        file.seek(SeekFrom::Start(self.at))?;
        let got = file.read(&mut buf[..want])?;
        self.at += got as u64;
        Ok(got)
    }
}
