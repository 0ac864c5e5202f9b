//! Excerpts of a difference in content: lines or bytes of both sides, next to each other.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Serialize;
use similar::{Algorithm, DiffTag, capture_diff_slices, group_diff_ops};

use super::describe::{self, text};
use super::{Change, Difference, Side};
use crate::format::secret;
use crate::source::merkle::{At, Merkle};
use crate::tree::Kind;

/// The most rows of one excerpt.
const ROWS: usize = 300;
/// Equal rows to show around differing ones.
const AROUND: usize = 3;
/// The most characters of a line.
const WIDTH: usize = 300;
/// Bytes in a row of bytes.
const STEP: usize = 8;

/// Both sides of a difference in content. The content of a wrapper (gzip, xz, …) is shown instead
/// of the wrapper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// The wrappers that were opened on both sides, outermost first.
    pub within: Vec<&'static str>,
    /// What is shown.
    pub rows: Rows,
    /// The number of differing rows that are left out.
    pub more: usize,
}

/// The rows of an excerpt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "rows", rename_all = "kebab-case")]
pub enum Rows {
    /// Lines of text.
    Text(Vec<Pair<Line>>),
    /// Bytes.
    Bytes(Vec<Pair<Piece>>),
    /// A secret, which is not shown: its length and digest.
    Secret(Vec<Pair<Line>>),
}

/// One row: a line (or piece) of each side, and whether they are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// Whether both sides are the same here.
    pub same: bool,
    /// What A has there.
    pub a: Option<T>,
    /// What B has there.
    pub b: Option<T>,
}

/// A line and its number, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line(pub usize, pub String);

/// Up to eight bytes as lower-case hexadecimal digits, and their offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece(pub usize, pub String);

impl Excerpt {
    /// Its approximate size in memory.
    pub fn footprint(&self) -> usize {
        let text = |text: &str| 64 + text.len();
        match &self.rows {
            Rows::Text(rows) | Rows::Secret(rows) => {
                rows.iter().flat_map(|r| r.a.iter().chain(&r.b)).map(|l| text(&l.1)).sum()
            }
            Rows::Bytes(rows) => {
                rows.iter().flat_map(|r| r.a.iter().chain(&r.b)).map(|p| text(&p.1)).sum()
            }
        }
    }
}

/// The excerpt of `difference`; `None` if no content differs.
///
/// # Errors
///
/// If an object is missing or corrupt.
pub fn excerpt(
    a: &dyn Merkle,
    b: &dyn Merkle,
    difference: &Difference,
) -> io::Result<Option<Excerpt>> {
    use Change::{Content, OnlyA, OnlyB, Type};
    if !difference.changes.iter().any(|c| matches!(c, Content | OnlyA | OnlyB | Type)) {
        return Ok(None);
    }
    let content = |merkle: &dyn Merkle, side: &Option<Side>| match side {
        Some(side) if side.kind() == Kind::File => {
            merkle.content(At { path: &difference.path, object: &side.object }).map(Some)
        }
        _ => Ok(None),
    };
    let (left, right) = (content(a, &difference.a)?, content(b, &difference.b)?);
    if left.is_none() && right.is_none() {
        return Ok(None);
    }
    Ok(Some(of_path(&difference.path, left.as_deref(), right.as_deref())))
}

/// The excerpt of two files at `path`, without content if one of them is a secret.
fn of_path(path: &Path, a: Option<&[u8]>, b: Option<&[u8]>) -> Excerpt {
    let name = path.as_os_str().as_bytes();
    let is_secret = |side: Option<&[u8]>| side.is_some_and(|c| secret::kind(name, c).is_some());
    let excerpt = both(a, b);
    let inner = |side: Option<&[u8]>| {
        let unwrapped = side.and_then(describe::unwrap).map(|(_, inner)| inner);
        is_secret(unwrapped.as_deref())
    };
    // Rows of bytes may come from anywhere in the file.
    let bytes = matches!(excerpt.rows, Rows::Bytes(_));
    let holds = |side: Option<&[u8]>| bytes && side.is_some_and(secret::has_hash);
    if ![a, b].into_iter().any(|side| is_secret(side) || inner(side) || holds(side)) {
        return excerpt;
    }
    let line = |side: Option<&[u8]>| side.map(|c| Line(1, secret::digest(c)));
    let rows = Rows::Secret(vec![Pair { same: false, a: line(a), b: line(b) }]);
    Excerpt { within: Vec::new(), rows, more: 0 }
}

/// The excerpt of two contents, of which one may be absent.
pub fn both(a: Option<&[u8]>, b: Option<&[u8]>) -> Excerpt {
    let mut within = Vec::new();
    let mut sides = (a.map(<[u8]>::to_vec), b.map(<[u8]>::to_vec));
    while let (Some(x), Some(y)) = &sides
        && within.len() < describe::NESTING
        && let (Some((packing, p)), Some((other, q))) = (describe::unwrap(x), describe::unwrap(y))
        && packing == other
        && p != q
    {
        sides = (Some(p), Some(q));
        within.push(packing);
    }
    let (x, y) = (sides.0.as_deref(), sides.1.as_deref());
    let (rows, more) = lines(x, y).unwrap_or_else(|| bytes(x, y));
    Excerpt { within, rows, more }
}

/// The rows of a line diff; `None` unless both are text that is small enough.
fn lines(a: Option<&[u8]>, b: Option<&[u8]>) -> Option<(Rows, usize)> {
    let (x, y) = (a.unwrap_or_default(), b.unwrap_or_default());
    if !text::is_small(x, y) {
        return None;
    }
    let (x, y) = (text::text(x)?, text::text(y)?);
    let (x, y): (Vec<&str>, Vec<&str>) = (x.lines().collect(), y.lines().collect());
    if x == y {
        // Only the line ends differ, which bytes show.
        return None;
    }
    let line = |lines: &[&str], i: usize| Some(Line(i + 1, cut(lines[i])));
    let mut rows = Vec::new();
    let ops = capture_diff_slices(Algorithm::Myers, &x, &y);
    for op in group_diff_ops(ops, AROUND).into_iter().flatten() {
        let (tag, left, right) = op.as_tag_tuple();
        for i in 0..left.len().max(right.len()) {
            let at = |range: &std::ops::Range<usize>, lines: &[&str]| {
                range.clone().nth(i).and_then(|n| line(lines, n))
            };
            rows.push(Pair { same: tag == DiffTag::Equal, a: at(&left, &x), b: at(&right, &y) });
        }
    }
    let more = rows.iter().skip(ROWS).filter(|r| !r.same).count();
    rows.truncate(ROWS);
    Some((Rows::Text(rows), more))
}

/// The start of a line, with invisible characters escaped.
fn cut(line: &str) -> String {
    let mut out: String = text::visible(line.chars().take(WIDTH));
    if line.chars().nth(WIDTH).is_some() {
        out.push('…');
    }
    out
}

/// Rows of eight bytes, those that differ and a few around them.
fn bytes(a: Option<&[u8]>, b: Option<&[u8]>) -> (Rows, usize) {
    let (x, y) = (a.unwrap_or_default(), b.unwrap_or_default());
    let piece = |side: Option<&[u8]>, row: usize| {
        let bytes = side?.get(row * STEP..)?;
        let bytes = &bytes[..bytes.len().min(STEP)];
        let hex = bytes.iter().map(|b| format!("{b:02x}")).collect();
        (!bytes.is_empty()).then(|| Piece(row * STEP, hex))
    };
    let chunk = |side: &[u8], row: usize| -> Option<Vec<u8>> {
        side.get(row * STEP..).map(|s| s[..s.len().min(STEP)].to_vec())
    };
    let count = x.len().max(y.len()).div_ceil(STEP);
    let mut rows = Vec::new();
    let (mut more, mut shown) = (0, 0);
    for row in 0..count {
        if chunk(x, row) == chunk(y, row) {
            continue;
        }
        if rows.len() >= ROWS {
            more += 1;
            continue;
        }
        for near in row.saturating_sub(AROUND).max(shown)..count.min(row + AROUND + 1) {
            let same = chunk(x, near) == chunk(y, near);
            if same || near <= row {
                rows.push(Pair { same, a: piece(a, near), b: piece(b, near) });
                shown = near + 1;
            } else {
                break;
            }
        }
    }
    (Rows::Bytes(rows), more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_next_to_each_other() {
        let excerpt =
            both(Some(b"1\n2\n3\n4\n5\nold\n6\n"), Some(b"1\n2\n3\n4\n5\nnew\nmore\n6\n"));
        let Rows::Text(rows) = excerpt.rows else { panic!("text: {excerpt:?}") };
        let show = |l: &Option<Line>| l.as_ref().map_or("-".into(), |l| format!("{} {}", l.0, l.1));
        let shown: Vec<_> = rows.iter().map(|r| (r.same, show(&r.a), show(&r.b))).skip(3).collect();
        let row = |same, a: &str, b: &str| (same, a.to_owned(), b.to_owned());
        assert_eq!(
            shown,
            [row(false, "6 old", "6 new"), row(false, "-", "7 more"), row(true, "7 6", "8 6")]
        );
    }

    #[test]
    fn bytes_stand_next_to_each_other() {
        let a = vec![0; 400];
        let mut b = a.clone();
        (b[100], b[300]) = (1, 2);
        let excerpt = both(Some(&a), Some(&b));
        let Rows::Bytes(rows) = excerpt.rows else { panic!("bytes: {excerpt:?}") };
        let differing: Vec<_> =
            rows.iter().filter(|r| !r.same).map(|r| r.a.as_ref().map(|p| p.0)).collect();
        assert_eq!((rows.len(), differing), (14, vec![Some(96), Some(296)]));
        let mut offsets: Vec<_> = rows.iter().filter_map(|r| r.b.as_ref()).map(|p| p.0).collect();
        offsets.dedup();
        assert!(offsets.is_sorted() && offsets.len() == 14, "{offsets:?}");
    }

    #[test]
    fn bytes_around_password_hashes_are_not_shown() {
        let image = |hash: &str| [&vec![0xff; 3 << 20], hash.as_bytes()].concat();
        let [a, b] = ["one", "two"].map(|hash| image(&format!("$6${hash}${}", "x".repeat(86))));
        let excerpt = of_path(Path::new("usr/lib/image"), Some(&a), Some(&b));
        assert!(matches!(excerpt.rows, Rows::Secret(_)), "{excerpt:?}");
    }

    #[test]
    fn an_excerpt_is_bounded() {
        let excerpt = both(Some(&[0; 1 << 20]), Some(&[1; 1 << 20]));
        assert_eq!(excerpt.more, (1 << 17) - ROWS);
        let text = |c: &str| c.repeat(5000).into_bytes();
        let excerpt = both(Some(&text("a\n")), Some(&text("b\n")));
        assert_eq!(excerpt.more, 5000 - ROWS);
        assert!(excerpt.footprint() < 100_000);
    }

    #[test]
    fn one_side_alone_and_ends_of_lines_are_shown() {
        assert!(matches!(both(Some(b"x\n"), None).rows, Rows::Text(r) if r.len() == 1));
        assert!(matches!(both(Some(b"x\n"), Some(b"x")).rows, Rows::Bytes(_)));
        assert!(matches!(both(None, Some(b"\0")).rows, Rows::Bytes(r) if r[0].a.is_none()));
    }
}
