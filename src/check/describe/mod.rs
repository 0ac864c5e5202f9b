//! What exactly differs, if no plugin knows better: one phrase per line, in a stable order.

mod archive;
mod binary;
pub(super) mod disk;
mod elf;
mod metadata;
mod rpm;
mod sqlite;
pub(super) mod superblock;
pub(super) mod text;

use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(super) use metadata::metadata;

use crate::format::compress::{self, Packing, Source};
use crate::format::secret;

/// The most bytes to which a compressed file may be unpacked.
const UNPACKED_MAX: u64 = 256 << 20;
/// How many nested wrappers are opened.
pub(super) const NESTING: usize = 4;

/// The approximate number of lines for one difference; an archive may have any number of members.
const LINES_MAX: usize = 200;

/// Whether the content of files that hold secrets is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    Masked,
    Shown,
}

/// What looking into one pair of files may still cost, and whether secrets may be shown.
pub(super) struct Budget {
    unpacked: u64,
    /// Whether something did not fit.
    is_short: bool,
    secrets: Secrets,
}

impl Budget {
    /// Reserves room for `size` unpacked bytes; returns the most that may be read, `None` if the
    /// budget is used up.
    fn room(&mut self, size: u64) -> Option<u64> {
        let left = self.unpacked.checked_sub(size);
        self.is_short |= left.is_none();
        self.unpacked = left?;
        Some(size)
    }

    /// The line that replaces two contents of `path` if one of them is a secret.
    fn mask(&self, path: &[u8], a: &[u8], b: &[u8]) -> Option<String> {
        let kind = || secret::kind(path, a).or_else(|| secret::kind(path, b));
        let masked = || Some(secret::masked(kind()?, a, b));
        if self.secrets == Secrets::Masked { masked() } else { None }
    }

    /// Whether the output ends after `lines` lines.
    fn is_spent(&self, lines: usize) -> bool {
        lines >= LINES_MAX
    }
}

/// What differs between two contents: where they begin to differ, and what that means. One phrase
/// per line, in a stable order; never empty if they differ.
pub fn content(a: &[u8], b: &[u8]) -> Vec<String> {
    content_of(Path::new(""), a, b, 2 * UNPACKED_MAX, Secrets::Masked)
}

/// What differs in two files at `path`, which may unpack to `most` bytes in all; of a secret only
/// its length and digest are given.
pub(super) fn content_of(
    path: &Path,
    a: &[u8],
    b: &[u8],
    most: u64,
    secrets: Secrets,
) -> Vec<String> {
    let mut budget = Budget { unpacked: most, is_short: false, secrets };
    if let Some(masked) = budget.mask(path.as_os_str().as_bytes(), a, b) {
        return vec![masked];
    }
    let mut lines = vec![binary::first(a, b)];
    lines.extend(inside(a, b, NESTING, &mut budget));
    if budget.is_short {
        lines.push(format!("only partly looked into: it would unpack to more than {most} bytes"));
    }
    lines
}

/// The first explainer that understands both sides; the last understands everything.
fn inside(a: &[u8], b: &[u8], nesting: usize, budget: &mut Budget) -> Vec<String> {
    if let Some(masked) = budget.mask(b"", a, b) {
        return vec![masked];
    }
    unpacked(a, b, nesting, budget)
        .or_else(|| archive::explain(a, b, nesting, budget))
        .or_else(|| rpm::explain(a, b, nesting, budget))
        .or_else(|| elf::explain(a, b))
        .or_else(|| sqlite::explain(a, b))
        .or_else(|| disk::explain(a, b, nesting, budget))
        .or_else(|| superblock::explain(a, b))
        .or_else(|| text::explain(a, b))
        .unwrap_or_else(|| binary::explain(a, b, budget.secrets))
}

/// What differs in the content of two files with the same compression, or that only the compression
/// differs.
fn unpacked(a: &[u8], b: &[u8], nesting: usize, budget: &mut Budget) -> Option<Vec<String>> {
    let nesting = nesting.checked_sub(1)?;
    let (name, x) = unwrap_within(a, budget)?;
    let (other, y) = unwrap_within(b, budget)?;
    if name != other {
        return None;
    }
    if x != y {
        let lines = inside(&x, &y, nesting, budget);
        return Some(lines.into_iter().map(|line| format!("in {name}: {line}")).collect());
    }
    Some(vec![format!("{name}: the same content, packed differently")])
}

/// The content of a compressed file, and its compression; `None` if it is not compressed, is
/// damaged, too large, or has more after its first frame.
pub(super) fn unwrap(bytes: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    unwrap_within(
        bytes,
        &mut Budget { unpacked: UNPACKED_MAX, is_short: false, secrets: Secrets::Masked },
    )
}

/// Unwraps a compressed file whose content counts against the budget.
fn unwrap_within(bytes: &[u8], budget: &mut Budget) -> Option<(&'static str, Vec<u8>)> {
    let packing = compress::detect(bytes)?;
    let most = budget.unpacked.min(UNPACKED_MAX);
    let (out, rest) = match packing {
        Packing::Gzip(_) => {
            let mut unpacker = flate2::read::MultiGzDecoder::new(bytes);
            (unpack(&mut unpacker, most)?, 0)
        }
        _ => {
            let mut source = Source::new(bytes);
            let out = unpack(&mut packing.decoder(&mut source).ok()?, most)?;
            (out, bytes.len() as u64 - source.offset())
        }
    };
    budget.room(out.len() as u64)?;
    (rest == 0).then(|| (packing.name(), out))
}

/// Reads a decoder up to one byte more than `most`; `None` if the data are damaged.
fn unpack(decoder: &mut dyn Read, most: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    decoder.take(most + 1).read_to_end(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use super::*;

    pub(super) fn gzip(content: &[u8], level: u32) -> Vec<u8> {
        let level = flate2::Compression::new(level);
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), level);
        packer.write_all(content).expect("packs");
        packer.finish().expect("packs")
    }

    #[test]
    fn gzip_is_looked_into() {
        let (a, b) = (gzip(b"one\ntwo\n", 6), gzip(b"one\nthree\n", 6));
        assert_eq!(content(&a, &b)[1..], ["in gzip: -two", "in gzip: +three"]);
        let text = "abc ".repeat(1000);
        let lines = content(&gzip(text.as_bytes(), 1), &gzip(text.as_bytes(), 9));
        assert_eq!(lines[1], "gzip: the same content, packed differently");
    }

    #[test]
    fn wrappers_are_opened_to_a_limit() {
        let wrap = |mut content: Vec<u8>| {
            (0..9).for_each(|_| content = gzip(&content, 6));
            content
        };
        let lines = content(&wrap(b"a\n".to_vec()), &wrap(b"b\n".to_vec()));
        assert_eq!(lines[1].matches("in gzip: ").count(), NESTING, "{lines:?}");
    }

    #[test]
    fn nothing_panics_on_damage() {
        let elf = std::fs::read("/bin/true").expect("reads");
        let mut db = b"SQLite format 3\0".to_vec();
        db.resize(4096, 7);
        for whole in [elf, db, gzip(b"abc", 6)] {
            for cut in (0..whole.len()).step_by(whole.len() / 61 + 1) {
                let mut damaged = whole.clone();
                damaged[cut] ^= 0xff;
                assert!(!content(&whole, &damaged).is_empty());
                assert!(!content(&whole, &whole[..cut]).is_empty());
            }
        }
    }
}
