//! A comparison as JUnit XML, which CI systems show as tests: one per path.

use std::fmt::Write as _;

use super::check::{Comparison, Row, Title};
use super::html::escape;

/// `report` as JUnit XML. A differing path is a failed test, an expected one is skipped; equal
/// builds are one passed test.
pub(crate) fn junit(report: &Comparison) -> String {
    let rows = &report.differences;
    let counted = report.metadata.iter().filter(|m| m.counts);
    let (failures, skipped) = (
        report.counts.paths - report.counts.expected + counted.clone().count(),
        report.counts.expected,
    );
    let tests = failures + skipped + usize::from(failures == 0);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let totals =
        format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"");
    let _ = writeln!(out, "<testsuites name=\"reprofix check\" {totals}>");
    let name = format!("{} and {}", report.a.subject, report.b.subject);
    let _ = writeln!(out, "  <testsuite name=\"{}\" {totals}>", xml(&name));
    if failures == 0 {
        out.push_str(
            "    <testcase classname=\"reprofix.check\" name=\"the builds are the same\"/>\n",
        );
    }
    rows.iter().for_each(|row| case(&mut out, row));
    for row in counted {
        let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "absent".to_owned());
        let _ = writeln!(
            out,
            "    <testcase classname=\"reprofix.metadata\" name=\"{}\"><failure message=\"commit metadata \
             differs\">{} → {}</failure></testcase>",
            xml(&row.key),
            xml(&value(&row.a)),
            xml(&value(&row.b))
        );
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn case(out: &mut String, row: &Row) {
    let title = Title::of(row);
    let element = if row.expected.is_some() { "skipped" } else { "failure" };
    let changes: Vec<_> = row.changes.iter().map(|c| c.word()).collect();
    let message = format!("{}: {}", title.word(), changes.join(", "));
    let _ = writeln!(
        out,
        "    <testcase classname=\"reprofix.{}\" name=\"{}\"><{element} message=\"{}\">{}</{element}></testcase>",
        title.kind(),
        xml(&row.absolute()),
        xml(&message),
        xml(&row.lines().join("\n"))
    );
}

/// Text as XML 1.0, without the characters that are not allowed there.
pub(super) fn xml(text: &str) -> String {
    let legal = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    escape(&text.chars().filter(legal).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_xml_cannot_hold_go() {
        assert_eq!(xml("a\u{1}<\u{fffe}\"b"), "a&lt;&quot;b");
    }
}
