//! Python bytecode files (`.pyc`) of Python 3.7 and later: the header of PEP 552, and the code
//! object behind it.
//!
//! The header has 16 bytes: a magic number of the interpreter, flags, then either the source's
//! modification time and size, or a keyed hash of the source.

mod marshal;

use std::hash::Hasher;

use siphasher::sip::{SipHasher13, SipHasher24};

use self::marshal::Layout;
use super::Malformed;
use super::bytes::{Cursor, Order};

pub(crate) const HEADER: usize = 16;
/// The first magic number with this header (Python 3.7); those of Python 2 are above the others.
const MAGICS: std::ops::Range<u16> = 3390..20_000;
/// Every magic number ends so, to be damaged by a transfer as text.
const LINE_END: [u8; 2] = *b"\r\n";
const HASHED: u32 = 1;
const CHECKED: u32 = 2;

/// Magic numbers up to this one (exclusive), the version they belong to, and how its code objects
/// are written.
const VERSIONS: &[(u16, (u8, u8), Layout)] = &[
    (3400, (3, 7), Layout { ints: 5, before: 8, after: 1 }),
    (3420, (3, 8), Layout { ints: 6, before: 8, after: 1 }),
    (3430, (3, 9), Layout { ints: 6, before: 8, after: 1 }),
    (3450, (3, 10), Layout { ints: 6, before: 8, after: 1 }),
    (3500, (3, 11), Layout { ints: 5, before: 8, after: 2 }),
    (3550, (3, 12), Layout { ints: 5, before: 8, after: 2 }),
    (3600, (3, 13), Layout { ints: 5, before: 8, after: 2 }),
    (3650, (3, 14), Layout { ints: 5, before: 8, after: 2 }),
    // Not released when this was written: what does not fit is left alone.
    (3700, (3, 15), Layout { ints: 5, before: 8, after: 2 }),
];

/// A bytecode file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pyc<'a> {
    /// The interpreter's magic number.
    pub magic: u16,
    /// How the interpreter decides whether the file fits its source.
    pub validity: Validity,
    /// The code object, marshalled.
    pub body: &'a [u8],
}

/// How an interpreter decides whether a file fits its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// By the source's modification time and size, their low 32 bits.
    Time {
        /// Seconds since 1970.
        mtime: u32,
        /// Bytes.
        size: u32,
    },
    /// By a hash of the source.
    Hash {
        /// Whether the source is hashed at each import; otherwise the file is always taken.
        checked: bool,
        /// The source's hash, as [`source_hash`] gives it.
        hash: [u8; 8],
    },
}

/// Whether `bytes` start as bytecode of Python 3.7 or later does.
pub fn is_pyc(bytes: &[u8]) -> bool {
    bytes.len() >= 4
        && bytes[2..4] == LINE_END
        && MAGICS.contains(&u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Reads the header.
///
/// # Errors
/// [`Malformed`] if it is cut off, of another Python, or has unknown flags.
pub fn parse(bytes: &[u8]) -> Result<Pyc<'_>, Malformed> {
    let mut cursor = Cursor::new(Order::Little, bytes);
    let magic = cursor.u16("header")?;
    cursor.take(2, "header")?;
    if !is_pyc(bytes) {
        return Err(Malformed::at(0, "no bytecode of Python 3.7 or later"));
    }
    let flags = cursor.u32("header")?;
    let validity = match flags {
        0 => Validity::Time { mtime: cursor.u32("header")?, size: cursor.u32("header")? },
        HASHED | 3 => Validity::Hash {
            checked: flags & CHECKED != 0,
            hash: cursor.u64("header")?.to_le_bytes(),
        },
        _ => return Err(Malformed::at(4, format!("unknown flags {flags}"))),
    };
    Ok(Pyc { magic, validity, body: cursor.rest() })
}

/// The time of its source that bytecode records, of which `head` is the beginning; `None` where it is
/// no bytecode, or goes by the hash.
pub fn source_time(head: &[u8]) -> Option<u32> {
    match parse(head).ok()?.validity {
        Validity::Time { mtime, .. } => Some(mtime),
        Validity::Hash { .. } => None,
    }
}

/// The directory beside a Python source in which its bytecode is, and how the names of that
/// bytecode begin; `None` if `name` is no such source's.
pub fn of_source(name: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let stem = name.strip_suffix(b".py")?;
    Some(("__pycache__", [stem, b"."].concat()))
}

fn layout(magic: u16) -> Result<Layout, Malformed> {
    let known = VERSIONS.iter().find(|(end, ..)| magic < *end).map(|(.., layout)| *layout);
    known.ok_or_else(|| Malformed::at(0, format!("unknown Python, magic number {magic}")))
}

/// The Python that a magic number belongs to.
pub fn version(magic: u16) -> Option<(u8, u8)> {
    VERSIONS.iter().find(|(end, ..)| magic < *end).map(|(_, version, _)| *version)
}

/// The hash of a source for the Python of a magic number: SipHash keyed with the magic number, of
/// 1-3 rounds since Python 3.11 and 2-4 before.
pub fn source_hash(magic: u16, source: &[u8]) -> [u8; 8] {
    let [a, b] = magic.to_le_bytes();
    let key = u64::from(u32::from_le_bytes([a, b, LINE_END[0], LINE_END[1]]));
    let hash = |mut hasher: Box<dyn Hasher>| {
        hasher.write(source);
        hasher.finish()
    };
    let hash = match version(magic) {
        Some(version) if version < (3, 11) => hash(Box::new(SipHasher24::new_with_keys(key, 0))),
        _ => hash(Box::new(SipHasher13::new_with_keys(key, 0))),
    };
    hash.to_le_bytes()
}

impl Pyc<'_> {
    /// The same code under another header.
    pub fn with(&self, validity: Validity) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.body.len());
        out.extend(self.magic.to_le_bytes());
        out.extend(LINE_END);
        match validity {
            Validity::Time { mtime, size } => {
                out.extend([0u32, mtime, size].map(u32::to_le_bytes).concat());
            }
            Validity::Hash { checked, hash } => {
                let flags = if checked { HASHED | CHECKED } else { HASHED };
                out.extend(flags.to_le_bytes());
                out.extend(hash);
            }
        }
        out.extend(self.body);
        out
    }

    /// Whether the body is one whole code object.
    ///
    /// # Errors
    /// [`Malformed`] if it is cut off, of an unknown Python, nested more than
    /// [`DEPTH_MAX`] deep, or has more than [`OBJECTS_MAX`] objects.
    pub fn check(&self) -> Result<(), Malformed> {
        marshal::parse(self.body, layout(self.magic)?).map(drop).map_err(|e| self.moved(e))
    }

    /// The body's normal form, in which nothing depends on the interpreter's state while it
    /// compiled:
    /// - an object is marked as referred to only where it is, and references are numbered anew;
    /// - the elements of sets are sorted, as they hash by a random seed;
    /// - a string is marked as interned exactly where the compiler would intern it, and equal
    ///   strings are one object.
    ///
    /// It loads as an equal code object.
    ///
    /// # Errors
    /// Those of [`Pyc::check`].
    pub fn canonical_body(&self) -> Result<Vec<u8>, Malformed> {
        let graph = marshal::parse(self.body, layout(self.magic)?);
        graph.and_then(|g| g.canonical()).map_err(|e| self.moved(e))
    }

    /// The source's path as it was when it was compiled; `None` if the body does not parse.
    pub fn source_path(&self) -> Option<Vec<u8>> {
        marshal::parse(self.body, layout(self.magic).ok()?).ok()?.source_path().map(<[u8]>::to_vec)
    }

    fn moved(&self, e: Malformed) -> Malformed {
        Malformed { offset: e.offset + HEADER as u64, ..e }
    }
}

pub use self::marshal::{DEPTH_MAX, OBJECTS_MAX};

#[cfg(test)]
mod tests;
