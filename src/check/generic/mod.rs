//! What exactly differs, where no plugin knows better: one phrase a line, in a stable order.

mod binary;
mod elf;
mod metadata;
mod sqlite;
pub(super) mod text;

use std::io::Read as _;

pub(super) use metadata::metadata;

/// Bytes that a compressed file may unpack to for a look inside.
const UNPACKED_MAX: u64 = 256 << 20;
/// Wrappers in one another that are opened.
pub(super) const NESTING: usize = 4;

/// What differs between two contents: where they begin to, and what that means.
pub(super) fn content(a: &[u8], b: &[u8]) -> Vec<String> {
    let mut lines = vec![binary::first(a, b)];
    lines.extend(inside(a, b, NESTING));
    lines
}

/// The first explainer that understands both sides; the last understands everything.
fn inside(a: &[u8], b: &[u8], nesting: usize) -> Vec<String> {
    unpacked(a, b, nesting)
        .or_else(|| elf::explain(a, b))
        .or_else(|| sqlite::explain(a, b))
        .or_else(|| text::explain(a, b))
        .unwrap_or_else(|| binary::explain(a, b))
}

/// Two gzip files: what differs in what they hold, or that only the wrapping differs.
fn unpacked(a: &[u8], b: &[u8], nesting: usize) -> Option<Vec<String>> {
    let nesting = nesting.checked_sub(1)?;
    let (x, y) = (gunzip(a)?, gunzip(b)?);
    if x != y {
        let lines = inside(&x, &y, nesting);
        return Some(lines.into_iter().map(|line| format!("in gzip: {line}")).collect());
    }
    Some(vec!["gzip: the same content, packed differently".to_owned()])
}

/// What a gzip file holds; `None` if it is none, is damaged, or holds too much.
pub(super) fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b, 8]) {
        return None;
    }
    let mut out = Vec::new();
    let unpacker = flate2::read::MultiGzDecoder::new(bytes);
    let read = unpacker.take(UNPACKED_MAX + 1).read_to_end(&mut out);
    (read.is_ok() && out.len() as u64 <= UNPACKED_MAX).then_some(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(content: &[u8], level: u32) -> Vec<u8> {
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
