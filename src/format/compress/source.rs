//! A buffered input that knows its offset and can look ahead.

use std::io::{self, BufRead, Read};

/// A reader with a buffer, its offset and look-ahead.
///
/// It remembers an error of the input, so that a caller can distinguish it from an error of a
/// decoder.
pub struct Source<R> {
    input: R,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    failed: bool,
}

const BUFFER: usize = 64 << 10;

impl<R: Read> Source<R> {
    /// A source whose offset 0 is the next byte of `input`.
    pub fn new(input: R) -> Self {
        Source { input, buf: vec![0; BUFFER], start: 0, end: 0, offset: 0, failed: false }
    }

    /// Bytes consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether reading the input itself failed.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The next `len` bytes (at most 4096) without consuming them; fewer at the end of the input.
    pub fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        let len = len.min(4096);
        if self.buf.len() - self.start < len {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < len && self.more()? {}
        Ok(&self.buf[self.start..self.end.min(self.start + len)])
    }

    fn more(&mut self) -> io::Result<bool> {
        loop {
            match self.input.read(&mut self.buf[self.end..]) {
                Ok(got) => {
                    self.end += got;
                    return Ok(got > 0);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.failed = true;
                    return Err(e);
                }
            }
        }
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.more()?;
        }
        Ok(&self.buf[self.start..self.end])
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.end - self.start);
        self.start += amount;
        self.offset += amount as u64;
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.fill_buf()?.read(out)?;
        self.consume(got);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_ahead_across_the_buffer() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let mut source = Source::new(&bytes[..]);
        let mut skip = vec![0; BUFFER - 3];
        source.read_exact(&mut skip).unwrap();
        assert_eq!(source.peek(8).unwrap(), &bytes[BUFFER - 3..BUFFER + 5]);
        assert_eq!(source.offset(), BUFFER as u64 - 3);
        let mut rest = Vec::new();
        source.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, &bytes[BUFFER - 3..]);
        assert_eq!(source.peek(8).unwrap(), b"");
    }
}
