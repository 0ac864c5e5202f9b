//! SELinux's compiled files, as far as they can be read without their compiler.
//!
//! Binary policies follow libsepol's `policydb`, compiled file contexts libselinux's
//! `label_file.h`. Both start with a magic number and a version. Policies are little-endian, file
//! contexts in the byte order of the machine up to version 5, and big-endian since version 6. The
//! rest of the policy store (libsemanage's `semanage_store.c`) is text, some of it compressed with
//! bzip2.

use std::io::Read as _;

use super::Malformed;
use super::bytes::{Mapped, Order};
use super::compress::{self, HEAD_LEN, Source};
use super::facts::Facts;

const POLICY: u32 = 0xF97C_FF8C;
const CONTEXTS: u32 = 0xF97C_FF8A;
/// The first version of compiled file contexts with PCRE's version.
const WITH_PCRE: u32 = 2;
const WITH_PREFIX: u32 = 4;
const WITH_ARCH: u32 = 5;
/// The last version that is a list.
const LIST: u32 = 5;
const TREE: u32 = 6;
/// The most nested nodes; libselinux reads no more.
const DEPTH: usize = 32;
/// Kinds of files by their number in a tree, as in the text: any, block device, …, regular file.
const KINDS: [&str; 8] = ["", " -b", " -c", " -d", " -p", " -l", " -s", " --"];
/// The start of `modules_checksum`; 64 digits and a NUL follow.
const CHECKSUM: &[u8] = b"sha256:";
/// The possible content of `lang_ext`, without a newline.
const LANGUAGES: &[&[u8]] = &[b"cil", b"pp"];
const COMMIT_BYTES: usize = 32;
/// The most bytes to which a compressed module may unpack.
const UNPACKED_MAX: u64 = 64 << 20;

/// The facts of a file of a policy or of its store: version, compiler parameters and size of a
/// policy, paths and contexts, statements or lines.
///
/// # Errors
/// [`Malformed`] if the header or a part is damaged, if compressed data does not unpack to at most
/// 64 MiB, or if text ends within a line.
pub(crate) fn parse(bytes: &[u8], mut facts: Facts) -> Result<Facts, Malformed> {
    let file = Mapped { bytes, order: Order::Little };
    match file.u32(0, "header") {
        Ok(POLICY) => policy(file, &mut facts)?,
        Ok(CONTEXTS) => contexts(file, &mut facts)?,
        Ok(magic) if magic.swap_bytes() == CONTEXTS => {
            contexts(Mapped { bytes, order: Order::Big }, &mut facts)?;
        }
        _ if bytes.starts_with(b"BZh") => {
            let unpacked = unpack(bytes)?;
            let mut facts = facts.inside(&unpacked);
            lines("statements", &unpacked, &mut facts)?;
            return facts.finish();
        }
        _ if bytes.first().is_some_and(u8::is_ascii_digit) && bytes.iter().all(is_numeric) => {
            commits(bytes, &mut facts)?;
            return facts.finish();
        }
        _ if bytes.starts_with(CHECKSUM) || CHECKSUM.starts_with(bytes) => {
            match bytes.len() == CHECKSUM.len() + 65 && bytes.ends_with(&[0]) {
                true => facts.text("fields", "checksum of modules", text(bytes)),
                false => return Err(Malformed::at(bytes.len(), "the checksum is truncated")),
            }
            return facts.finish();
        }
        // A truncated magic number, or that of another file.
        _ if bytes.iter().any(|b| matches!(b, 0..9 | 0x7f..)) => {
            return Err(Malformed::at(0, "neither a policy, nor file contexts, nor text"));
        }
        _ => {
            lines("lines", bytes, &mut facts)?;
            return facts.finish();
        }
    }
    facts.text("fields", "size", bytes.len().to_string());
    facts.finish()
}

fn policy(file: Mapped<'_>, facts: &mut Facts) -> Result<(), Malformed> {
    let len = u64::from(file.u32(4, "header")?);
    if file.slice(8, len, "policy's name")? != b"SE Linux" {
        return Err(Malformed::at(8, "not a kernel policy"));
    }
    let fields = ["policy version", "configuration", "symbol tables", "context tables"];
    for (n, name) in fields.into_iter().enumerate() {
        let value = file.u32(8 + len + 4 * n as u64, "header")?;
        facts.text("fields", name, format!("{value:#x}"));
    }
    facts.opaque("fields", "the rules after the header", &file.bytes[24 + len as usize..]);
    Ok(())
}

fn is_numeric(byte: &u8) -> bool {
    byte.is_ascii_digit() || *byte == 0
}

/// `commit_num`: the number of changes to the store, in a field of 32 bytes.
fn commits(bytes: &[u8], facts: &mut Facts) -> Result<(), Malformed> {
    if bytes.len() != COMMIT_BYTES {
        return Err(Malformed::at(bytes.len(), "the number of commits is not 32 bytes"));
    }
    let digits = bytes.split(|b| *b == 0).next().unwrap_or_default();
    facts.text("fields", "number of commits", String::from_utf8_lossy(digits));
    Ok(())
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut source = Source::new(bytes);
    let packing = compress::detect(&bytes[..bytes.len().min(HEAD_LEN)])
        .ok_or_else(|| Malformed::at(0, "not a bzip2 file"))?;
    let mut unpacked = Vec::new();
    let decoder = packing.decoder(&mut source).map_err(|e| Malformed::at(0, e.to_string()))?;
    let read = decoder.take(UNPACKED_MAX + 1).read_to_end(&mut unpacked);
    read.map_err(|e| Malformed::at(source.offset(), format!("cannot be unpacked: {e}")))?;
    match unpacked.len() as u64 <= UNPACKED_MAX {
        true => Ok(unpacked),
        false => Err(Malformed::at(0, "unpacks to more than 64 MiB")),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// Adds each line as a fact; a module's language (`lang_ext`) has no newline.
fn lines(kind: &'static str, bytes: &[u8], facts: &mut Facts) -> Result<(), Malformed> {
    if !LANGUAGES.contains(&bytes) && !bytes.ends_with(b"\n") {
        return Err(Malformed::at(bytes.len(), "the last line has no newline"));
    }
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.for_each(|line| facts.text(kind, line.replace('\t', " "), ""));
    Ok(())
}

fn contexts(file: Mapped<'_>, facts: &mut Facts) -> Result<(), Malformed> {
    let mut reader = Reader { file, at: 4 };
    let version = reader.number("header")?;
    facts.text("fields", "version", version.to_string());
    let mut pcre = String::new();
    for (since, name) in [(WITH_PCRE, "PCRE version"), (WITH_ARCH, "PCRE architecture")] {
        if version >= since {
            let text = String::from_utf8_lossy(reader.counted(0, name)?).into_owned();
            if since == WITH_PCRE {
                pcre.clone_from(&text);
            }
            facts.text("fields", name, text);
        }
    }
    match version {
        WITH_PCRE..=LIST => list(&mut reader, version, &pcre, facts)?,
        TREE => tree(&mut reader, facts)?,
        _ => {
            facts.opaque("fields", "the compiled contexts after the header", reader.rest()?);
            return Ok(());
        }
    }
    match reader.rest()? {
        [] => Ok(()),
        _ => Err(Malformed::at(reader.at, "more follows after the last context")),
    }
}

/// Reads stems, then the paths in the order of the text.
fn list(
    reader: &mut Reader<'_>,
    version: u32,
    pcre: &str,
    facts: &mut Facts,
) -> Result<(), Malformed> {
    for _ in 0..reader.number("stems")? {
        reader.counted(1, "stem")?;
    }
    for _ in 0..reader.number("contexts")? {
        context(reader, version, pcre, facts)?;
    }
    Ok(())
}

/// Reads each context once, then the paths by their directories.
fn tree(reader: &mut Reader<'_>, facts: &mut Facts) -> Result<(), Malformed> {
    // The number of paths, of 64 bits, which only saves the reader some allocations.
    reader.number("paths")?;
    reader.number("paths")?;
    let mut labels = Vec::new();
    for _ in 0..reader.number("contexts")? {
        labels.push(text(reader.short("context")?));
    }
    node(reader, &labels, 0, facts)
}

/// Reads a directory: paths that are names, paths that are expressions, and the directories below
/// it.
fn node(
    reader: &mut Reader<'_>,
    labels: &[String],
    depth: usize,
    facts: &mut Facts,
) -> Result<(), Malformed> {
    if depth >= DEPTH {
        return Err(Malformed::at(reader.at, "directories are nested too deep"));
    }
    reader.short("directory")?;
    for _ in 0..reader.number("names")? {
        let label = label(reader, labels)?;
        let path = text(reader.short("path")?);
        reader.short("name")?;
        facts.text("contexts", path + kind(reader)?, label);
    }
    for _ in 0..reader.number("expressions")? {
        let label = label(reader, labels)?;
        let line = reader.number("line")?.to_string();
        let path = text(reader.short("path")?);
        reader.take(2, "length")?;
        let name = path + kind(reader)?;
        facts.text("contexts", &name, label);
        facts.text("lines of the text", &name, line);
        facts.opaque("compiled expressions", &name, reader.counted(0, "expression")?);
    }
    for _ in 0..reader.number("directories")? {
        node(reader, labels, depth + 1, facts)?;
    }
    Ok(())
}

/// The context with a number, counted from 1.
fn label<'l>(reader: &mut Reader<'_>, labels: &'l [String]) -> Result<&'l str, Malformed> {
    let at = reader.at;
    let number = reader.number("context")? as usize;
    match number.checked_sub(1) {
        None => Ok("<<none>>"),
        Some(n) => match labels.get(n) {
            Some(label) => Ok(label),
            None => Err(Malformed::at(at, format!("there is no context {number}"))),
        },
    }
}

fn kind(reader: &mut Reader<'_>) -> Result<&'static str, Malformed> {
    let at = reader.at;
    let number = reader.take(1, "kind of file")?[0];
    let kind = KINDS.get(usize::from(number)).copied();
    kind.ok_or_else(|| Malformed::at(at, format!("unknown kind of file {number}")))
}

/// Reads one path as an expression: its context, the mode of its files, and the compiled form of
/// PCRE.
fn context(
    reader: &mut Reader<'_>,
    version: u32,
    pcre: &str,
    facts: &mut Facts,
) -> Result<(), Malformed> {
    let label = text(reader.counted(0, "context")?);
    let path = text(reader.counted(0, "path")?);
    let mode = reader.number("mode")?;
    let name = if mode == 0 { path } else { format!("{path} (mode {mode:o})") };
    reader.number("stem")?;
    reader.number("flag")?;
    if version >= WITH_PREFIX {
        reader.number("length")?;
    }
    facts.text("contexts", name.clone(), label);
    facts.opaque("compiled expressions", name.clone(), reader.counted(0, "expression")?);
    // PCRE 8 stores its study of the expression separately.
    if pcre.starts_with("8.") {
        facts.opaque("studied expressions", name, reader.counted(0, "study")?);
    }
    Ok(())
}

/// Numbers and pieces one after another.
struct Reader<'a> {
    file: Mapped<'a>,
    at: u64,
}

impl<'a> Reader<'a> {
    fn number(&mut self, what: &str) -> Result<u32, Malformed> {
        let number = self.file.u32(self.at, what)?;
        self.at += 4;
        Ok(number)
    }

    /// A length, and as many bytes plus `more`.
    fn counted(&mut self, more: u64, what: &str) -> Result<&'a [u8], Malformed> {
        let len = u64::from(self.number(what)?) + more;
        self.take(len, what)
    }

    /// A length of 16 bits, and as many bytes.
    fn short(&mut self, what: &str) -> Result<&'a [u8], Malformed> {
        let len = self.file.u16(self.at, what)?;
        self.at += 2;
        self.take(len.into(), what)
    }

    fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], Malformed> {
        let piece = self.file.slice(self.at, len, what)?;
        self.at += len;
        Ok(piece)
    }

    fn rest(&self) -> Result<&'a [u8], Malformed> {
        let end = self.file.bytes.len() as u64;
        self.file.slice(self.at, end.saturating_sub(self.at), "contexts")
    }
}
