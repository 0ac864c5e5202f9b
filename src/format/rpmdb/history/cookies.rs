//! Cookies: what dnf notes of the rpm database before and after each transaction.

use std::collections::BTreeMap;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::rows::{Cell, Row};
use crate::format::Malformed;
use crate::format::rpmdb::header::{Header, tag};
use crate::format::rpmdb::{Logical, Numbers, dump};

/// The cookies that stand for the rpm database as it is, and what each becomes when the database
/// becomes canonical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookies(BTreeMap<Vec<u8>, Vec<u8>>);

impl Cookies {
    /// Of a database with these packages, whose canonical form clamps times to `epoch`: SHA-256
    /// (rpm 4.18 and later) and SHA-1 (before), in both byte orders.
    ///
    /// # Errors
    ///
    /// On a header that cannot be parsed.
    pub fn of(db: &Logical<'_>, epoch: u32) -> Result<Self, Malformed> {
        let mut names = Vec::with_capacity(db.packages.len());
        for package in &db.packages {
            let name = Header::parse(&package.blob.whole())?.string(tag::NAME).to_vec();
            names.push((name, package.hnum));
        }
        let numbers = Numbers::of(&db.packages, epoch)?;
        let number = |hnum: &u32| numbers.get(*hnum).unwrap_or_default();
        let now: Vec<_> = names.iter().map(|(name, hnum)| (name.clone(), number(hnum))).collect();
        let (old, new) = (digests(names), digests(now));
        // What is canonical already stays.
        let kept = new.iter().map(|cookie| (cookie.clone(), cookie.clone()));
        Ok(Cookies(old.into_iter().zip(new.clone()).chain(kept).collect()))
    }
}

/// The key of dnf 5's `system.toml` that quotes the database.
const KEY: &[u8] = b"rpmdb_cookie";

impl Cookies {
    /// dnf 5's `system.toml` with the cookie of the canonical database; one of another state becomes
    /// zeros, which fit no more than it did.
    ///
    /// # Errors
    ///
    /// Where the cookie is no string in quotes.
    pub fn follow(&self, text: &[u8]) -> Result<Vec<u8>, Malformed> {
        let Some(key) = memchr::memmem::find(text, KEY) else { return Ok(text.to_vec()) };
        let at = key + KEY.len();
        let bad = || Malformed::at(at, "the cookie is no string");
        let value = text[at..].trim_ascii_start().strip_prefix(b"=").ok_or_else(bad)?;
        let (quote, value) = value.trim_ascii_start().split_first().ok_or_else(bad)?;
        let end = memchr::memchr(*quote, value).filter(|_| b"\"'".contains(quote));
        let old = value.get(..end.ok_or_else(bad)?).unwrap_or_default();
        let new = self.0.get(old).cloned().unwrap_or_else(|| vec![b'0'; old.len()]);
        let start = text.len() - value.len();
        Ok([&text[..start], &new, &text[start + old.len()..]].concat())
    }
}

/// rpm's digest over names and numbers, in each of its forms.
fn digests(mut names: Vec<(Vec<u8>, u32)>) -> Vec<Vec<u8>> {
    names.sort();
    let text = |put: fn(u32) -> [u8; 4]| {
        let mut text = Vec::new();
        for same in names.chunk_by(|a, b| a.0 == b.0) {
            text.extend_from_slice(same.first().map_or(&[], |(name, _)| name));
            text.extend(same.iter().flat_map(|(_, hnum)| put(*hnum)));
        }
        text
    };
    let texts = [text(u32::to_le_bytes), text(u32::to_be_bytes)];
    let hashes = texts
        .iter()
        .flat_map(|text| [dump::hex(&Sha256::digest(text)), dump::hex(&Sha1::digest(text))]);
    hashes.map(String::into_bytes).collect()
}

/// Replaces cookies in the order of transactions.
pub(super) fn replace_cookies(rows: &mut [Row], places: &[usize], cookies: &Cookies) {
    let mut seen: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for row in rows {
        for &place in places {
            let Some(Cell::Text(cookie)) = row.get_mut(place) else { continue };
            let hex = cookie.iter().all(u8::is_ascii_hexdigit);
            // No number is in one of another form (a count and a digest of the packages alone), nor
            // in that of a database without packages.
            if !hex || !matches!(cookie.len(), 40 | 64) || digests(Vec::new()).contains(cookie) {
                continue;
            }
            let next = seen.len() + 1;
            let new = match cookies.0.get(cookie) {
                Some(new) => new.clone(),
                None => {
                    let stand_in = || {
                        let text = format!("rpm database {next} of this history");
                        let mut hex = dump::hex(&Sha256::digest(text)).into_bytes();
                        hex.truncate(cookie.len());
                        hex
                    };
                    seen.entry(cookie.clone()).or_insert_with(stand_in).clone()
                }
            };
            *cookie = new;
        }
    }
}
