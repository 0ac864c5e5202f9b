//! The destination of a report, and its formatting there.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Outcome, complete};
use crate::image::Findings;

/// The options of every command with a report.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Output {
    /// Write the report as JSON (`-`: to standard output instead of the text).
    #[arg(long, value_name = "FILE", add = complete::file())]
    pub(super) json: Option<PathBuf>,
    /// Print no progress and no report for people; the exit code has the result.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

impl Output {
    /// Writes `report` as JSON if requested, and `text` for people unless suppressed.
    pub(super) fn report(
        &self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        if let Some(file) = &self.json {
            super::write_json(file, report)?;
        }
        if self.speaks() { show(&text()) } else { Ok(()) }
    }

    /// Prints `findings`, and returns whether there were any.
    pub(super) fn emit(&self, findings: &impl Findings) -> Result<Outcome> {
        let mut text = Vec::new();
        findings.print(&mut text).context("writing the report")?;
        self.report(findings, || String::from_utf8_lossy(&text).into_owned())?;
        Ok(if findings.sound() { Outcome::Same } else { Outcome::Finding })
    }

    /// Whether text for people goes to standard output.
    pub(super) fn speaks(&self) -> bool {
        !self.quiet && self.json.as_deref() != Some(Path::new("-"))
    }
}

/// Writes a report for people to standard output, on a terminal in colour and wrapped to its width.
pub(super) fn show(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let terminal = std::io::stdout().is_terminal();
    let width = terminal_size::terminal_size().filter(|_| terminal);
    let width = width.map_or(usize::MAX, |(width, _)| usize::from(width.0));
    let mut lines = text.lines().peekable();
    let mut written = Ok(());
    while let (Some(line), Ok(())) = (lines.next(), &written) {
        let heads = lines.peek().is_some_and(|next| next.starts_with(' '));
        // `anstream` strips the colours for a file or a pipe.
        written = writeln!(out, "{}", painted(&wrapped(line, width), heads));
    }
    super::unless_closed(written.and_then(|()| out.flush()))
}

/// Wraps a line at blanks to `width`; continuation lines are indented by two more. Longer words
/// stay whole, so that a path can be copied.
fn wrapped(line: &str, width: usize) -> Cow<'_, str> {
    if line.chars().count() <= width {
        return line.into();
    }
    let body = line.trim_start();
    let indent = " ".repeat(line.chars().count() - body.chars().count());
    let (mut out, mut column) = (indent.clone(), indent.len());
    for (number, word) in body.split(' ').enumerate() {
        let long = word.chars().count();
        if number > 0 && column + 1 + long > width && column > indent.len() + 2 {
            out.push_str(&format!("\n{indent}  "));
            column = indent.len() + 2;
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += long;
    }
    out.into()
}

/// Makes a line with indented lines below it bold; lines of a text that only one side has get that
/// side's colour.
fn painted(line: &str, heads: bool) -> Cow<'_, str> {
    use anstyle::AnsiColor::{Green, Red};
    let text = line.trim_start_matches(' ');
    let style = match line.len() - text.len() {
        0 if heads => anstyle::Style::new().bold(),
        4.. if text.starts_with('-') => Red.on_default(),
        4.. if text.starts_with('+') => Green.on_default(),
        _ => return line.into(),
    };
    format!("{style}{line}{style:#}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_fits_stays() {
        assert_eq!(wrapped("  /usr/lib/a  [content] 12 B", 40), "  /usr/lib/a  [content] 12 B");
    }

    #[test]
    fn a_long_line_goes_on_indented_below() {
        let line = "  2 paths fixable by rpmdb and by nothing else";
        assert_eq!(wrapped(line, 20), "  2 paths fixable by\n    rpmdb and by\n    nothing else");
        assert!(wrapped(line, 20).lines().all(|line| line.len() <= 20));
    }

    #[test]
    fn a_word_that_is_too_wide_stays_whole() {
        assert_eq!(
            wrapped("  /usr/lib/python3/dist-packages x", 10).lines().next(),
            Some("  /usr/lib/python3/dist-packages")
        );
    }
}
