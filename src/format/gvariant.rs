//! Values of GLib's GVariant of any type, and their text.
//!
//! Follows the GVariant specification ("Serialisation", "Text Format"), little-endian. Only the
//! normal form is read: ostree writes no other, and anything else is [`Malformed`].

use std::fmt::Write as _;

use super::Malformed;

/// The most bytes of a type string.
const TYPE_MAX: usize = 1024;
const DEPTH_MAX: usize = 64;

/// A value: its type and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    kind: &'a [u8],
    bytes: &'a [u8],
    depth: usize,
}

impl<'a> Value<'a> {
    /// The value of type `kind` in `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] if `kind` is not one complete type.
    pub fn new(kind: &'a str, bytes: &'a [u8]) -> Result<Self, Malformed> {
        Value { kind: &[], bytes, depth: 0 }.retyped(kind.as_bytes(), bytes)
    }

    /// A value inside this one with its own type.
    fn retyped(&self, kind: &'a [u8], bytes: &'a [u8]) -> Result<Self, Malformed> {
        let depth = self.depth + 1;
        if kind.len() > TYPE_MAX || depth > DEPTH_MAX || first_type(kind, 0) != Some(kind.len()) {
            return Err(self.bad("a type string is not a type, too long or nested too deep"));
        }
        Ok(Value { kind, bytes, depth })
    }

    fn child(&self, kind: &'a [u8], bytes: &'a [u8]) -> Self {
        Value { kind, bytes, depth: self.depth }
    }

    /// An error without a useful offset, since the value's place in its object is not known.
    fn bad(&self, what: &str) -> Malformed {
        Malformed::at(0usize, what)
    }

    fn tag(&self) -> u8 {
        self.kind.first().copied().unwrap_or_default()
    }

    /// The children of this value: an array's elements, the members of a tuple or dictionary entry,
    /// the content of a variant or maybe; otherwise none.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not a value of the type.
    pub fn children(&self) -> Result<Vec<Value<'a>>, Malformed> {
        match self.tag() {
            b'a' => self.elements(),
            b'(' | b'{' => self.members(),
            b'v' => {
                let nul = self.bytes.iter().rposition(|b| *b == 0);
                let nul = nul.ok_or_else(|| self.bad("a variant has no type"))?;
                Ok(vec![self.retyped(&self.bytes[nul + 1..], &self.bytes[..nul])?])
            }
            b'm' => {
                let kind = &self.kind[1..];
                let content = match (self.bytes, fixed_size(kind)) {
                    ([], _) => return Ok(Vec::new()),
                    (bytes, Some(_)) => bytes,
                    ([rest @ .., 0], None) => rest,
                    _ => return Err(self.bad("a maybe has no end")),
                };
                Ok(vec![self.child(kind, content)])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn elements(&self) -> Result<Vec<Value<'a>>, Malformed> {
        let kind = &self.kind[1..];
        if let Some(size) = fixed_size(kind) {
            let chunks = self.bytes.chunks_exact(size);
            if !chunks.remainder().is_empty() {
                return Err(self.bad("an array has a part of an element"));
            }
            return Ok(chunks.map(|bytes| self.child(kind, bytes)).collect());
        }
        if self.bytes.is_empty() {
            return Ok(Vec::new());
        }
        let bad = || self.bad("a framing offset of an array is out of range");
        let width = offset_width(self.bytes.len());
        let last = self.bytes.len().checked_sub(width).ok_or_else(bad)?;
        let body = le(&self.bytes[last..]);
        let ends = self.bytes.get(body..).ok_or_else(bad)?;
        if ends.len() % width != 0 {
            return Err(bad());
        }
        let mut start = 0usize;
        let element = |end: &[u8]| {
            let (from, end) = (start.next_multiple_of(alignment(kind)), le(end));
            start = end;
            let bytes = self.bytes[..body].get(from..end).ok_or_else(bad)?;
            Ok(self.child(kind, bytes))
        };
        ends.chunks_exact(width).map(element).collect()
    }

    fn members(&self) -> Result<Vec<Value<'a>>, Malformed> {
        let bad = || self.bad("a member of a tuple is out of range");
        let kinds = members(self.kind);
        let varying = kinds.iter().rev().skip(1).filter(|k| fixed_size(k).is_none()).count();
        let width = offset_width(self.bytes.len());
        let body = self.bytes.len().checked_sub(varying * width).ok_or_else(bad)?;
        let mut ends = self.bytes[body..].rchunks_exact(width.max(1));
        let (mut start, mut members) = (0usize, Vec::with_capacity(kinds.len()));
        for (i, kind) in kinds.iter().enumerate() {
            let from = start.next_multiple_of(alignment(kind));
            start = match fixed_size(kind) {
                Some(size) => from.saturating_add(size),
                None if i + 1 == kinds.len() => body,
                None => le(ends.next().ok_or_else(bad)?),
            };
            let bytes = self.bytes[..body].get(from..start).ok_or_else(bad)?;
            members.push(self.child(kind, bytes));
        }
        Ok(members)
    }

    /// The text of a string, an object path or a signature.
    ///
    /// # Errors
    /// [`Malformed`] if it has no NUL at its end, another one before, or is not UTF-8.
    pub fn str(&self) -> Result<&'a str, Malformed> {
        let text = self.bytes.strip_suffix(b"\0").filter(|text| !text.contains(&0));
        let text = text.ok_or_else(|| self.bad("a string has no end"))?;
        std::str::from_utf8(text).map_err(|_| self.bad("a string is not UTF-8"))
    }

    /// The bytes of the value.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its text with types, like `g_variant_print`. Floating-point numbers have the fewest digits
    /// that identify them, where GLib writes 17.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not a value of the type.
    pub fn text(&self) -> Result<String, Malformed> {
        let mut out = String::new();
        self.print(&mut out, true)?;
        Ok(out)
    }

    fn print(&self, out: &mut String, typed: bool) -> Result<(), Malformed> {
        match self.tag() {
            b'a' => self.print_array(out, typed)?,
            b'm' => self.print_maybe(out, typed)?,
            b'(' => {
                let members = self.children()?;
                print_list(out, &members, ["(", ")"], typed)?;
                if members.len() == 1 {
                    out.insert(out.len() - 1, ',');
                }
            }
            b'{' => print_list(out, &self.children()?, ["{", "}"], typed)?,
            b'v' => print_list(out, &self.children()?, ["<", ">"], true)?,
            b's' => quote(out, self.str()?),
            tag @ (b'o' | b'g') => {
                let word = if tag == b'o' { "objectpath " } else { "signature " };
                out.push_str(if typed { word } else { "" });
                let _ = write!(out, "'{}'", self.str()?);
            }
            _ => self.print_number(out, typed)?,
        }
        Ok(())
    }

    fn print_array(&self, out: &mut String, mut typed: bool) -> Result<(), Malformed> {
        if let (b"ay", Some((0, text))) = (self.kind, self.bytes.split_last())
            && !text.contains(&0)
        {
            print_bytes(out, text);
            return Ok(());
        }
        let elements = self.children()?;
        let entries = self.kind.get(1) == Some(&b'{');
        let brackets = if entries { ["{", "}"] } else { ["[", "]"] };
        if elements.is_empty() {
            self.annotate(out, typed);
            out.extend(brackets);
            return Ok(());
        }
        out.push_str(brackets[0]);
        for (i, element) in elements.iter().enumerate() {
            out.push_str(if i > 0 { ", " } else { "" });
            if entries {
                for (i, part) in element.children()?.iter().enumerate() {
                    out.push_str(if i > 0 { ": " } else { "" });
                    part.print(out, typed)?;
                }
            } else {
                element.print(out, typed)?;
            }
            typed = false;
        }
        out.push_str(brackets[1]);
        Ok(())
    }

    fn print_maybe(&self, out: &mut String, typed: bool) -> Result<(), Malformed> {
        self.annotate(out, typed);
        let (mut inner, mut depth) = (*self, 0usize);
        while inner.tag() == b'm' {
            match inner.children()?.first() {
                Some(content) => (inner, depth) = (*content, depth + 1),
                None => {
                    out.extend(std::iter::repeat_n("just ", depth));
                    out.push_str("nothing");
                    return Ok(());
                }
            }
        }
        inner.print(out, false)
    }

    fn annotate(&self, out: &mut String, typed: bool) {
        if typed {
            let _ = write!(out, "@{} ", String::from_utf8_lossy(self.kind));
        }
    }

    fn print_number(&self, out: &mut String, typed: bool) -> Result<(), Malformed> {
        let tag = self.tag();
        if fixed_size(self.kind) != Some(self.bytes.len()) {
            return Err(self.bad("a number has another size"));
        }
        let mut bytes = [0; 8];
        bytes[..self.bytes.len()].copy_from_slice(self.bytes);
        let bits = u64::from_le_bytes(bytes);
        let text = match tag {
            b'b' => (bits != 0).to_string(),
            b'y' => format!("0x{bits:02x}"),
            b'n' => (bits as u16 as i16).to_string(),
            b'i' | b'h' => (bits as u32 as i32).to_string(),
            b'x' => (bits as i64).to_string(),
            b'd' => format!("{:?}", f64::from_bits(bits)),
            _ => bits.to_string(),
        };
        let word = match tag {
            b'y' => "byte ",
            b'n' => "int16 ",
            b'q' => "uint16 ",
            b'u' => "uint32 ",
            b'h' => "handle ",
            b'x' => "int64 ",
            b't' => "uint64 ",
            _ => "",
        };
        out.push_str(if typed { word } else { "" });
        out.push_str(&text);
        Ok(())
    }
}

fn print_list(
    out: &mut String,
    list: &[Value<'_>],
    brackets: [&str; 2],
    typed: bool,
) -> Result<(), Malformed> {
    out.push_str(brackets[0]);
    for (i, value) in list.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        value.print(out, typed)?;
    }
    out.push_str(brackets[1]);
    Ok(())
}

/// Quotes a string with quotes that it does not contain.
fn quote(out: &mut String, text: &str) {
    let quote = if text.contains('\'') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            // Characters that `Debug` escapes are not printable.
            c if c.is_ascii_graphic() || c == ' ' || c.escape_debug().len() == 1 => out.push(c),
            c if u32::from(c) < 0x1_0000 => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push(quote);
}

/// A byte string, as `g_strescape` writes it.
fn print_bytes(out: &mut String, bytes: &[u8]) {
    let quote = if bytes.contains(&b'\'') { '"' } else { '\'' };
    out.extend(['b', quote]);
    for byte in bytes {
        match byte {
            8 => out.push_str("\\b"),
            9 => out.push_str("\\t"),
            10 => out.push_str("\\n"),
            11 => out.push_str("\\v"),
            12 => out.push_str("\\f"),
            13 => out.push_str("\\r"),
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => drop(write!(out, "\\{byte:03o}")),
        }
    }
    out.push(quote);
}

/// The length of the complete type at the start of `kind`.
fn first_type(kind: &[u8], depth: usize) -> Option<usize> {
    if depth > DEPTH_MAX {
        return None;
    }
    let basic = |tag: &u8| b"bynqiuxthdsog".contains(tag);
    match kind.first()? {
        tag if basic(tag) || *tag == b'v' => Some(1),
        b'a' | b'm' => Some(1 + first_type(&kind[1..], depth + 1)?),
        b'(' => {
            let mut at = 1;
            while *kind.get(at)? != b')' {
                at += first_type(&kind[at..], depth + 1)?;
            }
            Some(at + 1)
        }
        b'{' if kind.get(1).is_some_and(basic) => {
            let at = 2 + first_type(&kind[2..], depth + 1)?;
            (kind.get(at) == Some(&b'}')).then_some(at + 1)
        }
        _ => None,
    }
}

/// The types in a tuple or in a dictionary's entry.
fn members(kind: &[u8]) -> Vec<&[u8]> {
    let mut rest = &kind[1..kind.len() - 1];
    let mut all = Vec::new();
    while let Some(len) = first_type(rest, 0) {
        let (first, after) = rest.split_at(len);
        all.push(first);
        rest = after;
    }
    all
}

fn alignment(kind: &[u8]) -> usize {
    match kind[0] {
        b'n' | b'q' => 2,
        b'i' | b'u' | b'h' => 4,
        b'x' | b't' | b'd' | b'v' => 8,
        b'a' | b'm' => alignment(&kind[1..]),
        b'(' | b'{' => members(kind).into_iter().map(alignment).max().unwrap_or(1),
        _ => 1,
    }
}

/// The size of every value of a type, if there is one.
fn fixed_size(kind: &[u8]) -> Option<usize> {
    match kind[0] {
        b'b' | b'y' => Some(1),
        b'n' | b'q' => Some(2),
        b'i' | b'u' | b'h' => Some(4),
        b'x' | b't' | b'd' => Some(8),
        b'(' | b'{' => {
            let add = |at: usize, member| {
                Some(at.next_multiple_of(alignment(member)) + fixed_size(member)?)
            };
            let size = members(kind).into_iter().try_fold(0, add)?;
            Some(size.next_multiple_of(alignment(kind)).max(1))
        }
        _ => None,
    }
}

/// The width of the framing offsets in a container of `len` bytes.
pub(super) fn offset_width(len: usize) -> usize {
    match len {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

pub(super) fn le(bytes: &[u8]) -> usize {
    if let [byte] = bytes {
        return usize::from(*byte);
    }
    let value = bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
    usize::try_from(value).unwrap_or(usize::MAX)
}
