//! A comparison as Markdown (GitHub's and GitLab's), for issues and merge requests.

use std::fmt::Write as _;

use super::check::{Comparison, Row, paths};
use crate::text::shorten;

/// The most lines for one path.
const LINES: usize = 8;

/// `report` as Markdown, with at most `limit` paths per cause. Text from builds is in code spans,
/// so that none of it is markup.
pub(crate) fn markdown(report: &Comparison, limit: usize) -> String {
    let mut out =
        format!("**{}**\n\n| | subject | content checksum |\n|---|---|---|\n", report.verdict());
    for (name, side) in [("A", &report.a), ("B", &report.b)] {
        let _ = writeln!(
            out,
            "| {name} | {} | {} |",
            cell(&side.subject),
            side.content_checksum.as_deref().map_or("not computed".to_owned(), cell)
        );
    }
    for (n, action) in (1..).zip(super::next::actions(report)) {
        let _ = write!(out, "{}{n}. {}", if n == 1 { "\n" } else { "" }, text(&action) + "\n");
    }
    for (title, rows) in report.groups() {
        let open = if title.kind() == "unexplained" { " open" } else { "" };
        let _ = writeln!(
            out,
            "\n<details{open}><summary>{} {}</summary>\n",
            paths(rows.len()),
            super::html::escape(&title.to_string())
        );
        rows.iter().take(limit).for_each(|row| item(&mut out, row));
        if rows.len() > limit {
            let _ = writeln!(out, "- … and {} more", rows.len() - limit);
        }
        out.push_str("\n</details>\n");
    }
    if let Some(packages) = &report.packages {
        let mut body = String::new();
        packages.body(&mut body, limit);
        let _ = writeln!(
            out,
            "\n<details><summary>Packages ({} and {})</summary>\n\n{}\n</details>",
            super::html::escape(&packages.a),
            super::html::escape(&packages.b),
            block(&body)
        );
    }
    if !report.metadata.is_empty() {
        out.push_str("\n| commit metadata | A | B | why it may differ |\n|---|---|---|---|\n");
        for row in &report.metadata {
            let value = |v: &Option<String>| {
                v.as_deref().map_or("absent".into(), |v| cell(&shorten(v, 60)))
            };
            let why = row.expected.unwrap_or("not known to vary");
            let _ = writeln!(
                out,
                "| {} | {} | {} | {why} |",
                cell(&row.key),
                value(&row.a),
                value(&row.b)
            );
        }
    }
    out
}

fn item(out: &mut String, row: &Row) {
    let changes: Vec<_> = row.changes.iter().map(|c| c.word()).collect();
    let packages = match row.packages.is_empty() {
        true => String::new(),
        false => {
            format!(", {}", row.packages.iter().map(|p| code(p)).collect::<Vec<_>>().join(", "))
        }
    };
    let _ = writeln!(out, "- {} ({}{packages})", code(&row.absolute()), changes.join(", "));
    let lines = row.lines();
    for line in lines.iter().take(LINES) {
        let _ = writeln!(out, "  - {}", code(line));
    }
    if lines.len() > LINES {
        let _ = writeln!(out, "  - … and {} more lines", lines.len() - LINES);
    }
}

/// A code span: its fence is longer than any run of backticks in it.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// A block of code: indented, so that no fence in it ends it.
fn block(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// A code span in a table, where a bar would end the cell even in code.
fn cell(text: &str) -> String {
    code(&text.replace('|', "\\|"))
}

/// Escapes our own prose with names from builds: only code spans remain markup.
fn text(prose: &str) -> String {
    let mut out = String::new();
    for c in prose.chars() {
        if matches!(c, '*' | '_' | '<' | '>' | '[' | ']' | '#' | '~' | '|' | '\\' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_code_span() {
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(cell("a|b"), "`a\\|b`");
    }
}
