//! PKCS#12 keystores (RFC 7292) without encryption, such as Java's trust store since JDK 18, which
//! has no password.
//!
//! DER is read only with definite lengths. Salted parts are named but not parsed.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Malformed;
use super::facts::Facts;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const BMP_STRING: u8 = 0x1E;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// A field with its own number, here the content of an object of some type.
const CONTENT: u8 = 0xA0;
/// The longest length field: a keystore has fewer than 2³² bytes.
const LENGTH_BYTES: u8 = 4;

/// pkcs-7: 1 data, 6 encrypted data.
const DATA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 1];
const ENCRYPTED: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 7, 6];
/// pkcs-12 bags: a certificate, and a private key with a password.
const CERTIFICATE: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 12, 10, 1, 3];
const SHROUDED: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 12, 10, 1, 2];
/// pkcs-9: the friendly name.
const FRIENDLY_NAME: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 20];

/// A keystore, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keystore<'a> {
    /// The part with a random salt, if any.
    pub salted: Option<&'static str>,
    /// The unencrypted lists: the range of each in the file, and its bags.
    lists: Vec<(Range<usize>, Vec<Bag<'a>>)>,
}

/// One certificate or key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bag<'a> {
    /// Whether it is a certificate.
    certificate: bool,
    /// Its name, if it has one.
    name: Option<String>,
    /// All of it.
    bytes: &'a [u8],
}

/// Whether `bytes` claim to be a PKCS#12 keystore: a sequence that starts with version 3.
pub(crate) fn is_pkcs12(bytes: &[u8]) -> bool {
    let version = match bytes {
        [SEQUENCE, length @ 0..=0x80, rest @ ..] if *length != 0 => rest,
        [SEQUENCE, length, rest @ ..] => rest.get(usize::from(length & 0x7F)..).unwrap_or_default(),
        _ => return false,
    };
    version.starts_with(&[INTEGER, 1, 3])
}

/// Reads a keystore up to what is encrypted.
///
/// # Errors
/// [`Malformed`] if it is not DER, or violates RFC 7292.
pub(crate) fn parse(bytes: &[u8]) -> Result<Keystore<'_>, Malformed> {
    let mut file = Der { bytes, at: 0, end: bytes.len() };
    let mut store = file.enter(SEQUENCE, "keystore")?;
    file.finish("keystore")?;
    store.enter(INTEGER, "version")?;
    let mut keystore = Keystore::default();
    let mut authenticated = store.enter(SEQUENCE, "content")?;
    if store.at < store.end {
        keystore.salted = Some("a keyed digest (MAC)");
    }
    if authenticated.content(OID, "type of the content")? != DATA {
        keystore.salted = Some("a signature");
        return Ok(keystore);
    }
    let mut all = authenticated.enter(CONTENT, "content")?.enter(OCTETS, "content")?;
    let mut all = all.enter(SEQUENCE, "content")?;
    while all.at < all.end {
        let mut part = all.enter(SEQUENCE, "content")?;
        match part.content(OID, "type of a part")? {
            DATA => {
                let mut list = part.enter(CONTENT, "part")?.enter(OCTETS, "part")?;
                let list = list.enter(SEQUENCE, "part")?;
                let place = list.at..list.end;
                let bags = bags(list, &mut keystore)?;
                keystore.lists.push((place, bags));
            }
            ENCRYPTED => keystore.salted = Some("encrypted certificates"),
            _ => keystore.salted = Some("enveloped certificates"),
        }
    }
    Ok(keystore)
}

fn bags<'a>(mut list: Der<'a>, keystore: &mut Keystore<'a>) -> Result<Vec<Bag<'a>>, Malformed> {
    let mut bags = Vec::new();
    while list.at < list.end {
        let start = list.at;
        let mut bag = list.enter(SEQUENCE, "entry")?;
        let kind = bag.content(OID, "type of an entry")?;
        if kind == SHROUDED {
            keystore.salted = Some("an encrypted key");
        }
        bag.enter(CONTENT, "entry")?;
        let name = if bag.at < bag.end { name(bag.enter(SET, "attributes")?)? } else { None };
        let bytes = &list.bytes[start..list.at];
        bags.push(Bag { certificate: kind == CERTIFICATE, name, bytes });
    }
    Ok(bags)
}

fn name(mut attributes: Der<'_>) -> Result<Option<String>, Malformed> {
    let mut name = None;
    while attributes.at < attributes.end {
        let mut attribute = attributes.enter(SEQUENCE, "attribute")?;
        if attribute.content(OID, "type of an attribute")? == FRIENDLY_NAME {
            let text = attribute.enter(SET, "name")?.content(BMP_STRING, "name")?;
            let units = text.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
            name = Some(String::from_utf16_lossy(&units.collect::<Vec<_>>()));
        }
    }
    Ok(name)
}

impl Keystore<'_> {
    /// The file `bytes`, from which this was read, with its certificates sorted by name. Lists with
    /// anything else, or with two of the same name, keep their order.
    pub(crate) fn sorted(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for (place, bags) in &self.lists {
            let names: BTreeSet<_> = bags.iter().filter_map(|bag| bag.name.as_deref()).collect();
            if names.len() < bags.len() || bags.iter().any(|bag| !bag.certificate) {
                continue;
            }
            let mut bags: Vec<&Bag<'_>> = bags.iter().collect();
            bags.sort_by_key(|bag| bag.name.as_deref());
            let bags: Vec<&[u8]> = bags.into_iter().map(|bag| bag.bytes).collect();
            out[place.clone()].copy_from_slice(&bags.concat());
        }
        out
    }
}

/// Every entry that is not encrypted, by its name, in the order of the file.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn facts(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let keystore = parse(bytes)?;
    if let Some(salted) = keystore.salted {
        facts.opaque("randomly salted", salted, bytes);
    }
    for bag in keystore.lists.iter().flat_map(|(_, bags)| bags) {
        let kind = if bag.certificate { "certificates" } else { "keys" };
        facts.opaque(kind, bag.name.as_deref().unwrap_or("(without a name)"), bag.bytes);
    }
    facts.finish()
}

/// A position in a DER file, and the end of the surrounding element.
struct Der<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Der<'a> {
    /// The inside of the next element, which must have this tag; moves past it.
    fn enter(&mut self, tag: u8, what: &str) -> Result<Der<'a>, Malformed> {
        let short = || Malformed::at(self.at, format!("{what} is truncated"));
        let head = self.bytes[..self.end].get(self.at..self.at + 2).ok_or_else(short)?;
        if head[0] != tag {
            return Err(Malformed::at(self.at, format!("not {what}, but tag {:#x}", head[0])));
        }
        let (start, length) = match head[1] {
            length @ 0..=0x7F => (self.at + 2, usize::from(length)),
            long if (0x81..=0x80 + LENGTH_BYTES).contains(&long) => {
                let start = self.at + 2 + usize::from(long & 0x7F);
                let digits = self.bytes[..self.end].get(self.at + 2..start).ok_or_else(short)?;
                (start, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)))
            }
            _ => return Err(Malformed::at(self.at, format!("{what} has no definite length"))),
        };
        let end = start.checked_add(length).filter(|end| *end <= self.end).ok_or_else(short)?;
        self.at = end;
        Ok(Der { bytes: self.bytes, at: start, end })
    }

    /// The bytes of the next element.
    fn content(&mut self, tag: u8, what: &str) -> Result<&'a [u8], Malformed> {
        let inside = self.enter(tag, what)?;
        Ok(&self.bytes[inside.at..inside.end])
    }

    fn finish(&self, what: &str) -> Result<(), Malformed> {
        match self.at == self.end {
            true => Ok(()),
            false => Err(Malformed::at(self.at, format!("more follows after the {what}"))),
        }
    }
}
