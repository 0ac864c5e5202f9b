//! Reading numbers and strings out of bytes, and saying where they end too early.
//!
//! An [`Order`] reads a number at an offset. A `Mapped` file holds its own offsets, and what
//! leads out of it is reported by name. A `Cursor` goes forward.

use super::Malformed;

/// Bytes of a string in a mapped file, at most.
const STRING: usize = 64 << 10;

/// The byte order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// The 16-bit number at `offset`; truncation is [`Malformed`].
    pub fn u16(self, bytes: &[u8], offset: usize) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.little(array(bytes, offset)?)))
    }

    /// The 32-bit number at `offset`; truncation is [`Malformed`].
    pub fn u32(self, bytes: &[u8], offset: usize) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.little(array(bytes, offset)?)))
    }

    /// The 64-bit number at `offset`; truncation is [`Malformed`].
    pub(crate) fn u64(self, bytes: &[u8], offset: usize) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.little(array(bytes, offset)?)))
    }

    /// The bytes of a 16-bit number.
    pub fn put16(self, value: u16) -> [u8; 2] {
        self.little(value.to_le_bytes())
    }

    /// The bytes of a 32-bit number.
    pub fn put32(self, value: u32) -> [u8; 4] {
        self.little(value.to_le_bytes())
    }

    /// The bytes of a 64-bit number.
    pub(crate) fn put64(self, value: u64) -> [u8; 8] {
        self.little(value.to_le_bytes())
    }

    /// A number's bytes, of this order or for it, with the least significant one first.
    fn little<const N: usize>(self, mut bytes: [u8; N]) -> [u8; N] {
        if self == Order::Big {
            bytes.reverse();
        }
        bytes
    }
}

/// `len` bytes at `offset`; truncation is [`Malformed`].
pub(crate) fn slice(bytes: &[u8], offset: usize, len: usize) -> Result<&[u8], Malformed> {
    let end = offset.checked_add(len);
    end.and_then(|end| bytes.get(offset..end)).ok_or_else(|| ended(bytes, len))
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Malformed> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or_else(|| ended(bytes, N))
}

#[cold]
fn ended(bytes: &[u8], inside: usize) -> Malformed {
    Malformed::at(bytes.len(), format!("file ends inside {inside} bytes"))
}

/// A file whose reader maps it into memory: numbers and strings at offsets that it holds itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped<'a> {
    /// The whole file.
    pub(crate) bytes: &'a [u8],
    /// The order of its numbers.
    pub(crate) order: Order,
}

impl<'a> Mapped<'a> {
    /// `count` bytes at `at`, which belong to a `what`.
    pub(crate) fn slice(
        self,
        at: impl TryInto<usize>,
        count: impl TryInto<usize>,
        what: &str,
    ) -> Result<&'a [u8], Malformed> {
        let at = at.try_into().unwrap_or(usize::MAX);
        let count = count.try_into().unwrap_or(usize::MAX);
        slice(self.bytes, at, count).map_err(|_| beyond(at as u64, what))
    }

    pub(crate) fn u16(self, at: u64, what: &str) -> Result<u16, Malformed> {
        self.order.u16(self.slice(at, 2, what)?, 0)
    }

    pub(crate) fn u32(self, at: u64, what: &str) -> Result<u32, Malformed> {
        self.order.u32(self.slice(at, 4, what)?, 0)
    }

    pub(crate) fn u64(self, at: u64, what: &str) -> Result<u64, Malformed> {
        self.order.u64(self.slice(at, 8, what)?, 0)
    }

    /// The bytes before the NUL at or after `at`, at most 64 KiB.
    pub(crate) fn cstr(self, at: u64, what: &str) -> Result<&'a [u8], Malformed> {
        let tail = usize::try_from(at).ok().and_then(|at| self.bytes.get(at..));
        let tail = tail.map(|tail| &tail[..tail.len().min(STRING)]);
        let end = tail.and_then(|tail| Some(&tail[..tail.iter().position(|b| *b == 0)?]));
        end.ok_or_else(|| beyond(at, what))
    }

    /// The same as text; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(self, at: u64, what: &str) -> Result<String, Malformed> {
        self.cstr(at, what).map(|s| String::from_utf8_lossy(s).into_owned())
    }

    /// A count at `at` of records of `size` bytes each, which must fit the file.
    pub(crate) fn count(self, at: u64, size: u64, what: &str) -> Result<u64, Malformed> {
        let count = u64::from(self.u32(at, what)?);
        match count.checked_mul(size).is_some_and(|len| len <= self.bytes.len() as u64) {
            true => Ok(count),
            false => Err(Malformed::at(at, format!("{count} {what} do not fit the file"))),
        }
    }
}

fn beyond(at: u64, what: &str) -> Malformed {
    Malformed::at(at, format!("{what} is out of bounds"))
}

/// A position in an input, which goes forward.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    order: Order,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(order: Order, bytes: &'a [u8]) -> Self {
        Cursor { bytes, order, at: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `count` bytes, which belong to a `what`.
    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Malformed> {
        let taken = slice(self.bytes, self.at, count);
        let taken = taken.map_err(|e| Malformed { what: format!("{what} is truncated"), ..e })?;
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, Malformed> {
        self.take(1, what).map(|byte| byte[0])
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Malformed> {
        self.order.u16(self.take(2, what)?, 0)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        self.order.u32(self.take(4, what)?, 0)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Malformed> {
        self.order.u64(self.take(8, what)?, 0)
    }

    /// The bytes up to the next NUL, which is skipped.
    pub(crate) fn until_nul(&mut self, what: &str) -> Result<&'a [u8], Malformed> {
        let end = self.rest().iter().position(|b| *b == 0);
        let text = self.take(end.unwrap_or(usize::MAX), what)?;
        self.take(1, what).map(|_| text)
    }
}
