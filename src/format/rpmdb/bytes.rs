//! Fixed-width numbers in either byte order, read with bounds checks.

use crate::format::Malformed;

/// The byte order of a file.
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
        let raw = array(bytes, offset)?;
        Ok(match self {
            Order::Little => u16::from_le_bytes(raw),
            Order::Big => u16::from_be_bytes(raw),
        })
    }

    /// The 32-bit number at `offset`; truncation is [`Malformed`].
    pub fn u32(self, bytes: &[u8], offset: usize) -> Result<u32, Malformed> {
        let raw = array(bytes, offset)?;
        Ok(match self {
            Order::Little => u32::from_le_bytes(raw),
            Order::Big => u32::from_be_bytes(raw),
        })
    }

    /// The bytes of a 16-bit number.
    pub fn put16(self, value: u16) -> [u8; 2] {
        match self {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }

    /// The bytes of a 32-bit number.
    pub fn put32(self, value: u32) -> [u8; 4] {
        match self {
            Order::Little => value.to_le_bytes(),
            Order::Big => value.to_be_bytes(),
        }
    }
}

/// `len` bytes at `offset`; truncation is [`Malformed`].
pub fn slice(bytes: &[u8], offset: usize, len: usize) -> Result<&[u8], Malformed> {
    let end = offset.checked_add(len);
    end.and_then(|end| bytes.get(offset..end))
        .ok_or_else(|| Malformed::at(bytes.len(), format!("file ends inside {len} bytes")))
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Malformed> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or_else(|| Malformed::at(bytes.len(), format!("file ends inside {N} bytes")))
}
