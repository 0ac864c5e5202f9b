//! A disk as bytes at places: a file, a partition of it, or bytes in memory.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::invalid;

/// What can be read at any place, by several threads.
pub trait Blocks: Send + Sync {
    /// Bytes of it.
    fn size(&self) -> u64;

    /// Fills `out` from `at` on. It is asked only for what is within the size.
    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()>;

    /// The first range at or after `at` that may hold something else than zeros; `None` if there is
    /// none.
    fn data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        Ok((at < self.size()).then(|| at..self.size()))
    }
}

impl dyn Blocks + '_ {
    /// The bytes from `at` on; an error with the place where they are not all there.
    pub fn bytes(&self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        if at.checked_add(count as u64).is_none_or(|end| end > self.size()) {
            let what = format!("{count} bytes at {at} are not within the image, which ends");
            return Err(invalid(self.size(), what));
        }
        let mut out = vec![0; count];
        self.fill(at, &mut out)?;
        Ok(out)
    }

    /// The first bytes, fewer than `count` where it is shorter.
    pub fn head(&self, count: usize) -> io::Result<Vec<u8>> {
        self.bytes(0, count.min(usize::try_from(self.size()).unwrap_or(usize::MAX)))
    }
}

impl Blocks for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..at + out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A part of another: a partition.
pub struct Part {
    whole: Arc<dyn Blocks>,
    range: Range<u64>,
}

impl Part {
    /// The part of `whole` in `range`, cut where that ends.
    pub fn new(whole: Arc<dyn Blocks>, range: Range<u64>) -> Self {
        let end = range.end.min(whole.size());
        Part { range: range.start.min(end)..end, whole }
    }
}

impl Blocks for Part {
    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.whole.fill(self.range.start + at, out)
    }

    fn data(&self, at: u64) -> io::Result<Option<Range<u64>>> {
        let found = self.whole.data(self.range.start.saturating_add(at))?;
        let found = found.filter(|data| data.start < self.range.end);
        Ok(found.map(|data| {
            data.start - self.range.start..data.end.min(self.range.end) - self.range.start
        }))
    }
}
