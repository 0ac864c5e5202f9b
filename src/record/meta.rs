//! Edits coreos-assembler's meta.json without changing anything else in it.
//!
//! coreos-assembler validates the file against a schema with `additionalProperties: false` on every
//! read and write, so no key may be added that the schema lacks. It writes with Python's
//! `json.dump(…, indent=4)`, which [`Meta::encode`] imitates byte for byte: every character beyond
//! printable ASCII is escaped, empty containers stay on one line, no newline ends the file. Numbers
//! keep their text.

use std::io;

use anyhow::{Context as _, Result, bail};
use serde::Serialize as _;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};
use serde_json::{Map, Value};

use crate::format::ostree::Checksum;

/// The key that `record` fills in.
pub const CONTENT_CHECKSUM: &str = "ostree-content-checksum";

/// What the schema requires of every meta.json, all strings.
const REQUIRED: [&str; 5] =
    ["buildid", "name", "ostree-commit", "ostree-timestamp", "ostree-version"];

/// A meta.json in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    object: Map<String, Value>,
}

impl Meta {
    /// Reads the file's bytes.
    ///
    /// # Errors
    ///
    /// If they are not a JSON object, or lack a key that the schema requires.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).context("it is not JSON")?;
        let Value::Object(object) = value else { bail!("it is not a JSON object") };
        for key in REQUIRED {
            if !object.get(key).is_some_and(Value::is_string) {
                bail!("it has no {key:?}, so it is not a meta.json of coreos-assembler");
            }
        }
        Ok(Meta { object })
    }

    /// The commit that it is about.
    pub fn commit(&self) -> Result<Checksum> {
        self.checksum("ostree-commit")?.context("it has no ostree-commit")
    }

    /// The content checksum in it, if there is one.
    pub fn content_checksum(&self) -> Result<Option<Checksum>> {
        self.checksum(CONTENT_CHECKSUM)
    }

    fn checksum(&self, key: &str) -> Result<Option<Checksum>> {
        let Some(value) = self.object.get(key) else { return Ok(None) };
        let text = value.as_str().with_context(|| format!("its {key} is not a string"))?;
        text.parse().map(Some).with_context(|| format!("its {key} is {text:?}"))
    }

    /// Sets the content checksum: in place if the key exists, otherwise as the last key.
    pub fn set_content_checksum(&mut self, sum: &Checksum) {
        self.object.insert(CONTENT_CHECKSUM.to_owned(), Value::String(sum.to_string()));
    }

    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        encode(&Value::Object(self.object.clone()))
    }
}

/// JSON as Python's `json.dump(value, f, indent=4)` writes it.
pub(super) fn encode(value: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let formatter = Python(PrettyFormatter::with_indent(b"    "));
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    value.serialize(&mut serializer).context("serialising JSON")?;
    Ok(out)
}

/// Pretty-printed JSON in which everything but printable ASCII is escaped.
struct Python(PrettyFormatter<'static>);

impl Formatter for Python {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                writer.write_all(&[c as u8])?;
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        self.0.write_char_escape(writer, escape)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_meta_json_is_refused() {
        for (bytes, why) in [
            (&b"{"[..], "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "buildid"),
            (b"{\"buildid\": 1}", "buildid"),
            (&[0xff], "not JSON"),
        ] {
            let error = Meta::parse(bytes).expect_err("is none");
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }

    #[test]
    fn numbers_keep_their_text() {
        let text = "{\n    \"a\": 1.50,\n    \"b\": 1e+22,\n    \"c\": 12345678901234567890123\n}";
        let value = serde_json::from_str(text).expect("parses");
        assert_eq!(String::from_utf8(encode(&value).expect("encodes")).expect("ASCII"), text);
    }
}
