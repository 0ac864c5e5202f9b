//! The text form of a database: one package a block, tags by name, index rows by package.
//!
//! It never shows an hnum, so that two databases with the same contents have the same text.
//! Tests and the explainer share it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::header::{self, Header, Type, Value};
use super::{Logical, Row, SortKey};
use crate::format::Malformed;

/// Whether install times are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// As they are.
    Shown,
    /// Each as `-`, so that two installs of one set have one text.
    Blanked,
}

/// Writes the text form of `db` to `out`.
///
/// The outer error is `out`'s; the inner one is a header that cannot be parsed (nothing was
/// written then).
pub fn write(
    db: &Logical<'_>,
    times: Times,
    out: &mut dyn Write,
) -> io::Result<Result<(), Malformed>> {
    let mut rows: BTreeMap<u32, Vec<(&str, &Row<'_>)>> = BTreeMap::new();
    for (name, index) in &db.indexes {
        for row in index {
            rows.entry(row.hnum).or_default().push((name, row));
        }
    }
    let mut packages = Vec::with_capacity(db.packages.len());
    for package in &db.packages {
        match SortKey::of(&package.blob.whole(), 0) {
            Ok(key) => packages.push((key, package)),
            Err(malformed) => return Ok(Err(malformed)),
        }
    }
    packages.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, package) in packages {
        let blob = package.blob.whole();
        let Ok(header) = Header::parse(&blob) else { continue };
        writeln!(out, "package {}", header.nevra())?;
        tags(&header, times, out)?;
        let mut mine = rows.remove(&package.hnum).unwrap_or_default();
        mine.sort_by(|a, b| (a.0, a.1.idx, &a.1.key).cmp(&(b.0, b.1.idx, &b.1.key)));
        for (name, row) in mine {
            let blank = times == Times::Blanked && name == super::INSTALLTID_INDEX;
            let key = if blank { "-".to_owned() } else { index_key(&row.key, name) };
            writeln!(out, "  index {name} {} {key}", row.idx)?;
        }
    }
    for (hnum, orphans) in rows {
        writeln!(out, "no package, {} index rows (hnum {hnum})", orphans.len())?;
    }
    Ok(Ok(()))
}

/// The text form as a string.
///
/// # Errors
///
/// On a header that cannot be parsed.
pub fn text(db: &Logical<'_>, times: Times) -> Result<String, Malformed> {
    let mut out = Vec::new();
    write(db, times, &mut out).unwrap_or(Ok(()))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The tags of a header by number, one line each, arrays one line an element.
fn tags(header: &Header<'_>, times: Times, out: &mut dyn Write) -> io::Result<()> {
    let mut entries: Vec<_> = header.entries().iter().collect();
    entries.sort_by_key(|e| e.tag);
    for entry in entries {
        let name = header::tag_name(entry.tag).unwrap_or_else(|| format!("TAG{}", entry.tag));
        let kept = if entry.immutable { "" } else { " (added at install)" };
        if times == Times::Blanked && header::is_time(entry.tag) {
            writeln!(out, "  {name}{kept}: -")?;
            continue;
        }
        let elements = elements(header.value(entry));
        match &elements[..] {
            [one] => writeln!(out, "  {name}{kept}: {one}")?,
            many => {
                writeln!(out, "  {name}{kept}: {} values", many.len())?;
                many.iter().try_for_each(|element| writeln!(out, "    {element}"))?;
            }
        }
    }
    Ok(())
}

/// The elements of a value as text: numbers in decimal, strings escaped, bytes in hex.
pub fn elements(value: Value<'_>) -> Vec<String> {
    match value.kind {
        Type::Bin => vec![hex(value.bytes)],
        Type::String | Type::StringArray | Type::I18nString => {
            value.strings().map(quoted).collect()
        }
        _ => value.integers().map(|n| n.to_string()).collect(),
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A string in quotes, with everything but printable ASCII and UTF-8 text escaped.
pub fn quoted(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// An index key: the two indexes whose keys are bytes in hex, the others as text.
fn index_key(key: &[u8], index: &str) -> String {
    match index {
        "Sigmd5" | "Pubkeys" | super::INSTALLTID_INDEX => hex(key),
        _ => quoted(key),
    }
}
