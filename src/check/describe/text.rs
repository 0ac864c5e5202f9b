//! Text, line by line.

use foldhash::HashSet;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};

use crate::text::is_hidden;

/// The most bytes for which a diff is computed; its cost grows with the product of the differences
/// and the total.
const BYTES_MAX: usize = 2 << 20;
const LINES_MAX: usize = 20_000;
/// The most changed lines to show.
const SHOWN: usize = 20;
const WIDTH: usize = 160;

/// The lines that are only in A (`-`) and only in B (`+`); `None` unless both are text.
pub(super) fn explain(a: &[u8], b: &[u8]) -> Option<Vec<String>> {
    let (x, y) = (text(a)?, text(b)?);
    let (x, y): (Vec<&str>, Vec<&str>) =
        (x.split_inclusive('\n').collect(), y.split_inclusive('\n').collect());
    if is_permutation(&x, &y) {
        return Some(vec!["text: the same lines, in another order".to_owned()]);
    }
    if !is_small(a, b) {
        let same = x.iter().zip(&y).take_while(|(p, q)| p == q).count();
        let lines = format!("text: {} → {} lines, equal up to line {same}", x.len(), y.len());
        return Some(vec![lines]);
    }
    Some(diff(&x, &y))
}

/// Whether both sides have the same lines, each as often, in another order.
fn is_permutation(x: &[&str], y: &[&str]) -> bool {
    let sorted = |lines: &[&str]| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        lines.sort_unstable();
        lines
    };
    x.len() == y.len() && x != y && sorted(x) == sorted(y)
}

/// Whether both are small enough for a diff.
pub(in crate::check) fn is_small(a: &[u8], b: &[u8]) -> bool {
    let lines = |side: &[u8]| side.iter().filter(|b| **b == b'\n').count() + 1;
    a.len().max(b.len()) <= BYTES_MAX && lines(a).max(lines(b)) <= LINES_MAX
}

fn diff(x: &[&str], y: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut more = 0;
    for change in operations(x, y).iter().flat_map(|op| op.iter_changes(x, y)) {
        let sign = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
        };
        if lines.len() < SHOWN {
            lines.push(format!("{sign}{}", shown(change.value())));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        lines.push(format!("… and {more} more lines"));
    }
    lines
}

/// The operations that turn `x` into `y`. Myers' search costs most when there is nothing in common.
fn operations(x: &[&str], y: &[&str]) -> Vec<DiffOp> {
    let lines: HashSet<&str> = x.iter().copied().collect();
    match y.iter().any(|line| lines.contains(line)) {
        true => capture_diff_slices(Algorithm::Myers, x, y),
        false => vec![
            DiffOp::Delete { old_index: 0, old_len: x.len(), new_index: 0 },
            DiffOp::Insert { old_index: x.len(), new_index: 0, new_len: y.len() },
        ],
    }
}

/// The bytes as UTF-8 text without control characters that text does not contain.
pub(in crate::check) fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r' | '\x1b' | '\x0c');
    (!text.contains(odd)).then_some(text)
}

/// A line for a terminal: only its start, with control characters escaped and a missing newline
/// noted.
fn shown(line: &str) -> String {
    let (body, end) = match line.strip_suffix('\n') {
        Some(body) => (body, ""),
        None => (line, " (no newline at the end)"),
    };
    let mut out = visible(body.chars().take(WIDTH));
    if body.chars().nth(WIDTH).is_some() {
        out.push('…');
    }
    out + end
}

/// Escapes characters that a terminal acts on or that a reader does not see.
pub(in crate::check) fn visible(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::with_capacity(chars.size_hint().0);
    for c in chars {
        match c {
            '\t' | ' '..='~' => out.push(c),
            c if is_hidden(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_shown() {
        let lines = explain(b"a\nb\nc\n", b"a\nB\nc\nd").expect("text");
        assert_eq!(lines, ["-b", "+B", "+d (no newline at the end)"]);
        assert_eq!(explain(b"a\x1b[31m\n", b"b\n").expect("text"), ["-a\\u{1b}[31m", "+b"]);
    }

    #[test]
    fn the_same_lines_in_another_order_are_said_to_be_that() {
        let said = |a: &str, b: &str| explain(a.as_bytes(), b.as_bytes()).expect("text");
        let order = ["text: the same lines, in another order"];
        assert_eq!(said("a\nb\nc\n", "c\na\nb\n"), order);
        assert_ne!(said("a\na\nb\n", "b\nb\na\n"), order, "not as often each");
        let many = |from: i32| {
            (0..30_000).map(|i| format!("{}\n", (i + from) % 30_000)).collect::<String>()
        };
        assert_eq!(said(&many(0), &many(7)), order);
    }

    #[test]
    fn without_a_common_line_all_of_both_is_shown() {
        let none: [&str; 0] = [];
        for (x, y) in [(&["a", "a"][..], &["b", "c", "b"][..]), (&none, &["a"]), (&["a"], &none)] {
            let by_myers = capture_diff_slices(Algorithm::Myers, x, y);
            let changes = |ops: &[DiffOp]| -> Vec<_> {
                ops.iter()
                    .flat_map(|op| op.iter_changes(x, y))
                    .map(|c| (c.tag(), c.value()))
                    .collect()
            };
            assert_eq!(changes(&operations(x, y)), changes(&by_myers), "{x:?} {y:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_left_to_others() {
        assert_eq!(explain(b"a\0b", b"text"), None);
        assert_eq!(explain(b"text", &[0xff, 0xfe]), None);
    }

    #[test]
    fn long_diffs_are_cut_and_huge_ones_not_made() {
        let numbers = |from: usize, n: usize| {
            (from..from + n).map(|i| format!("{i}\n")).collect::<String>().into_bytes()
        };
        let lines = explain(&numbers(0, 100), &numbers(1000, 100)).expect("text");
        assert_eq!(lines.len(), SHOWN + 1);
        assert_eq!(lines[SHOWN], "… and 180 more lines");
        let lines = explain(&numbers(0, 30_000), &numbers(0, 30_001)).expect("text");
        assert_eq!(lines, ["text: 30000 → 30001 lines, equal up to line 30000"]);
    }
}
