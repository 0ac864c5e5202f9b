//! Disk images that are files of a tree: what two of them differ in, path by path and with causes, as
//! if they were the subjects.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::check::{Job, nested};
use crate::check::{Cause, Change, Explained};
use crate::report::Progress;
use crate::report::check::{CauseRow, Comparison};
use crate::source::Subject;
use crate::source::disk::{Disk, may_be_image};
use crate::text::counted;

/// Images in one another that are looked into.
const NESTING: usize = 2;
/// Paths of an image that are listed, at most.
const ROWS_MAX: usize = 50;
/// Bytes of a file that show whether it is an image.
const HEAD: u64 = 4104;

/// Looks into the images among files that differ, `depth` images deep already.
///
/// # Errors
///
/// If a tree cannot be read; an image that is damaged is said to be so.
pub(super) fn look_into(
    job: &Job,
    all: &mut [Explained],
    [a, b]: [&Subject; 2],
    depth: usize,
    progress: &Progress,
) -> Result<()> {
    if depth >= NESTING {
        return Ok(());
    }
    for explained in all {
        let difference = &explained.difference;
        let is_open = matches!(explained.cause, Cause::Unexplained)
            && difference.changes.contains(&Change::Content)
            && !job.budget.excludes(difference)
            && !job.budget.is_over();
        let path = difference.path.clone();
        if !is_open || !is_image(a, &path)? || !is_image(b, &path)? {
            continue;
        }
        let [x, y] = [("A", a), ("B", b)].map(|(side, subject)| open(side, subject, &path));
        match (x?, y?) {
            (Ok(x), Ok(y)) => {
                let inner = Progress::new(true);
                let report = nested(job, &x, &y, &inner, depth + 1)?;
                say(explained, &report);
            }
            (x, y) => explained.details.extend(x.err().into_iter().chain(y.err())),
        }
        progress.advance(1);
    }
    Ok(())
}

fn is_image(subject: &Subject, path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let Some(file) = subject.merkle.tree().open(path)? else { return Ok(false) };
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(may_be_image(&head))
}

/// The image at `path` as a subject, or what is wrong with it.
fn open(
    side: &str,
    subject: &Subject,
    path: &Path,
) -> Result<std::result::Result<Subject, String>> {
    let file = subject.merkle.tree().open(path)?.context("it went away")?;
    let name = format!("disk:{}", path.display());
    let opened = Disk::within(file).and_then(|disk| disk.subject(name, &|| ()));
    Ok(opened.map_err(|e| format!("image {side} is not read: {e}")))
}

/// Adds what was found in an image to what is said of the file. Where all of it has causes, the file
/// has: that of its first path.
fn say(explained: &mut Explained, report: &Comparison) {
    let lines = &mut explained.details;
    for row in report.differences.iter().take(ROWS_MAX) {
        let changes: Vec<_> = row.changes.iter().map(|change| change.word()).collect();
        lines.push(format!("in it: {} [{}] {}", row.absolute(), changes.join(", "), row.title()));
        lines.extend(row.lines().into_iter().take(3).map(|line| format!("in it:   {line}")));
    }
    let more = report.differences.len().saturating_sub(ROWS_MAX);
    if more > 0 {
        lines.push(format!("in it: {} more", counted(more, "path")));
    }
    lines.extend(report.warnings.iter().map(|warning| format!("in it: {warning}")));
    let unexplained = report.counts.unexplained > 0
        || report.disks.as_ref().is_some_and(|disks| disks.has_unexplained());
    let plugin = report.differences.iter().find_map(|row| match &row.cause {
        CauseRow::Fixed { plugins } => plugins.first().copied(),
        CauseRow::Known { plugin, .. } => Some(*plugin),
        _ => None,
    });
    if let Some(plugin) = plugin.filter(|_| !unexplained) {
        let line = "every path that differs in this image has a cause: see them below; `fix` \
                    changes no image, so mend the tree that it is made of";
        explained.cause = Cause::Known { plugin, lines: vec![line.to_owned()] };
    }
}
