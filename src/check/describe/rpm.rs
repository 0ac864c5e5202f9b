//! rpm packages: which tags of the signature and the header differ, and what differs in the
//! payload.
//!
//! Follows rpm's "Package Format V4": a lead of 96 bytes, a signature header, padded to eight
//! bytes, a header, and the payload to the end, a compressed cpio archive.

use std::collections::BTreeMap;

use super::Budget;
use crate::format::bytes::Order;
use crate::format::rpmdb::header::{Header, Value, tag_name};
use crate::text::shorten;

const LEAD: usize = 96;
const LEAD_MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: &[u8] = &[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
/// The tags of a signature header that have other names than in a header (rpm's `rpmtag.h`).
const SIGNATURE_TAGS: [(u32, &str); 7] = [
    (1000, "SIZE"),
    (1002, "PGP"),
    (1004, "MD5"),
    (1005, "GPG"),
    (1007, "PAYLOADSIZE"),
    (1008, "RESERVEDSPACE"),
    (1012, "FILESIGNATURES"),
];

struct Package<'a> {
    lead: &'a [u8],
    signature: Header<'a>,
    header: Header<'a>,
    payload: &'a [u8],
}

impl<'a> Package<'a> {
    /// The package in `bytes`; `None` if they are not an intact package.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (lead, rest) = bytes.split_at_checked(LEAD)?;
        if !lead.starts_with(LEAD_MAGIC) {
            return None;
        }
        let (signature, size, rest) = header(rest)?;
        let padding = size.next_multiple_of(8) - size;
        let (header, _, payload) = header(rest.get(padding..)?)?;
        Some(Package { lead, signature, header, payload })
    }
}

/// The header at the start of `bytes`, its size with its magic, and what follows.
fn header(bytes: &[u8]) -> Option<(Header<'_>, usize, &[u8])> {
    let blob = bytes.strip_prefix(HEADER_MAGIC)?;
    let number = |at: usize| Order::Big.u32(blob, at).ok().map(|number| number as usize);
    let size = number(0)?.checked_mul(16)?.checked_add(number(4)?)?.checked_add(8)?;
    let (blob, rest) = blob.split_at_checked(size)?;
    Some((Header::parse(blob).ok()?, HEADER_MAGIC.len() + size, rest))
}

/// What differs between two packages; `None` unless both are.
pub(super) fn explain(
    a: &[u8],
    b: &[u8],
    nesting: usize,
    budget: &mut Budget,
) -> Option<Vec<String>> {
    let nesting = nesting.checked_sub(1)?;
    let (a, b) = (Package::read(a)?, Package::read(b)?);
    let mut lines = tags("signature: ", &a.signature, &b.signature);
    lines.extend(tags("", &a.header, &b.header));
    if a.payload != b.payload {
        let inside = super::inside(a.payload, b.payload, nesting, budget);
        lines.extend(inside.into_iter().map(|line| format!("payload: {line}")));
    }
    if a.lead != b.lead {
        lines.push("the lead".to_owned());
    }
    if lines.is_empty() {
        lines.push("the same tags and payload, stored differently".to_owned());
    }
    Some(lines.into_iter().map(|line| format!("rpm: {line}")).collect())
}

/// One line per tag whose values differ.
fn tags(prefix: &str, a: &Header<'_>, b: &Header<'_>) -> Vec<String> {
    let values = |header: &Header<'_>| -> BTreeMap<u32, String> {
        header.entries().iter().map(|e| (e.tag, text(header.value(e)))).collect()
    };
    let (a, b) = (values(a), values(b));
    let mut numbers: Vec<_> = a.keys().chain(b.keys()).collect();
    numbers.sort();
    numbers.dedup();
    let line = |tag: &u32| {
        let (x, y) = (a.get(tag), b.get(tag));
        let value = |v: Option<&String>| v.map_or("absent".to_owned(), |text| shorten(text, 60));
        let own = SIGNATURE_TAGS.iter().find(|(number, _)| !prefix.is_empty() && number == tag);
        let name = own.map(|(_, name)| (*name).to_owned()).or_else(|| tag_name(*tag));
        let name = name.unwrap_or_else(|| format!("tag {tag}"));
        (x != y).then(|| format!("{prefix}{name} {} → {}", value(x), value(y)))
    };
    numbers.into_iter().filter_map(line).collect()
}

/// A value as text; bytes as hexadecimal digits.
fn text(value: Value<'_>) -> String {
    use crate::format::rpmdb::header::Type;
    match value.kind {
        Type::Bin => value.bytes.iter().map(|b| format!("{b:02x}")).collect(),
        Type::String | Type::StringArray | Type::I18nString => {
            let strings = value.strings().map(|text| text.escape_ascii().to_string());
            strings.collect::<Vec<_>>().join(" ")
        }
        _ => value.integers().map(|n| n.to_string()).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::content;

    fn package(name: &str) -> Vec<u8> {
        let dir =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/rpms");
        std::fs::read(dir.join(name)).expect("reads")
    }

    /// Two packages of rpmbuild: tags by their names, members of the payload by theirs.
    #[test]
    fn packages_are_looked_into() {
        let a = package("t-pkg03-1.0-1.noarch.rpm");
        let lines = content(&a, &package("t-pkg06-1.0-1.noarch.rpm"));
        let says = |start: &str| lines.iter().any(|line| line.starts_with(start));
        assert!(says("rpm: NAME t-pkg03 → t-pkg06"), "{lines:#?}");
        assert!(says("rpm: signature: "), "{lines:#?}");
        assert!(says("rpm: payload: "), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("cpio: ")), "{lines:#?}");
        for cut in (0..a.len()).step_by(97) {
            assert!(!content(&a, &a[..cut]).is_empty());
        }
    }
}
