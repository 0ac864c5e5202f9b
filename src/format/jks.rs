//! Java's own keystore format, JKS: entries with a creation time each, and a keyed SHA-1 digest.
//!
//! There is no published specification; the format is what OpenJDK's `sun.security.provider`
//! reads and writes: big-endian, magic, version 1 or 2, a count, the entries, then SHA-1 over the
//! password in UTF-16, the words `Mighty Aphrodite`, and everything before the digest.

use sha1::{Digest, Sha1};

use super::Malformed;
use super::bytes::{Cursor, Order};

const MAGIC: u32 = 0xFEED_FEED;
const DIGEST_LEN: usize = 20;
const SALT: &[u8] = b"Mighty Aphrodite";
/// What an entry takes at least: tag, alias length, date, certificate length.
const MIN_ENTRY: usize = 4 + 2 + 8 + 4;

/// A parsed keystore, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keystore<'a> {
    /// 1 or 2.
    pub version: u32,
    /// The entries.
    pub entries: Vec<KeystoreEntry<'a>>,
    /// The integrity digest as stored.
    pub digest: &'a [u8],
}

/// One key or trusted certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeystoreEntry<'a> {
    /// 1: a private key with its chain; 2: a trusted certificate.
    pub tag: u32,
    /// The name, in Java's modified UTF-8.
    pub alias: &'a [u8],
    /// Creation time: milliseconds since 1970-01-01 UTC.
    pub created: u64,
    /// What follows the time: key and chain, or certificate.
    pub body: &'a [u8],
}

/// Whether `bytes` claim to be a JKS keystore.
pub fn is_jks(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_be_bytes())
}

/// Reads a whole keystore. The digest is not checked: see [`Keystore::digest_with`].
///
/// # Errors
/// [`Malformed`] unless every byte is accounted for.
pub fn parse(bytes: &[u8]) -> Result<Keystore<'_>, Malformed> {
    let mut cursor = Cursor::new(Order::Big, bytes);
    if cursor.u32("magic")? != MAGIC {
        return Err(Malformed::at(0, "not a JKS keystore"));
    }
    let version = cursor.u32("version")?;
    if !(1..=2).contains(&version) {
        return Err(Malformed::at(4, format!("unknown keystore version {version}")));
    }
    let count = cursor.u32("entry count")? as usize;
    if count > cursor.rest().len() / MIN_ENTRY {
        return Err(Malformed::at(8, format!("{count} entries do not fit the file")));
    }
    let entries = (0..count).map(|_| entry(&mut cursor, version)).collect::<Result<Vec<_>, _>>()?;
    let digest = cursor.take(DIGEST_LEN, "integrity digest")?;
    if !cursor.rest().is_empty() {
        return Err(Malformed::at(cursor.offset(), "bytes after the integrity digest"));
    }
    Ok(Keystore { version, entries, digest })
}

fn entry<'a>(cursor: &mut Cursor<'a>, version: u32) -> Result<KeystoreEntry<'a>, Malformed> {
    let start = cursor.offset();
    let tag = cursor.u32("entry")?;
    let alias_len = cursor.u16("alias")?;
    let alias = cursor.take(alias_len.into(), "alias")?;
    let created = cursor.u64("creation time")?;
    let body = cursor.rest();
    match tag {
        1 => {
            blob(cursor, "private key")?;
            for _ in 0..cursor.u32("certificate chain")? {
                certificate(cursor, version)?;
            }
        }
        2 => certificate(cursor, version)?,
        _ => return Err(Malformed::at(start, format!("unknown entry tag {tag}"))),
    }
    let body = &body[..body.len() - cursor.rest().len()];
    Ok(KeystoreEntry { tag, alias, created, body })
}

fn certificate(cursor: &mut Cursor<'_>, version: u32) -> Result<(), Malformed> {
    if version == 2 {
        let len = cursor.u16("certificate type")?;
        cursor.take(len.into(), "certificate type")?;
    }
    blob(cursor, "certificate")
}

fn blob(cursor: &mut Cursor<'_>, what: &str) -> Result<(), Malformed> {
    let len = cursor.u32(what)?;
    cursor.take(len as usize, what).map(|_| ())
}

impl Keystore<'_> {
    /// The digest that this content has under `password`.
    pub fn digest_with(&self, password: &str) -> [u8; DIGEST_LEN] {
        digest(&self.content(), password)
    }

    /// The file with this content, its digest made with `password`.
    pub fn write(&self, password: &str) -> Vec<u8> {
        let mut out = self.content();
        let digest = digest(&out, password);
        out.extend_from_slice(&digest);
        out
    }

    fn content(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        // Parsed from 32 bits, and never added to.
        out.extend(u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_be_bytes());
        for entry in &self.entries {
            out.extend(entry.tag.to_be_bytes());
            out.extend(u16::try_from(entry.alias.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(entry.alias);
            out.extend(entry.created.to_be_bytes());
            out.extend(entry.body);
        }
        out
    }
}

fn digest(content: &[u8], password: &str) -> [u8; DIGEST_LEN] {
    let mut sha1 = Sha1::new();
    for unit in password.encode_utf16() {
        sha1.update(unit.to_be_bytes());
    }
    sha1.update(SALT);
    sha1.update(content);
    sha1.finalize().into()
}
