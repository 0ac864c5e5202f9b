//! Asks libostree itself, through a program of ours that links to it.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::env;
use crate::format::ostree::Checksum;

/// The program's name; it is beside this one or in the search path.
const PROGRAM: &str = "reprofix-content-checksum";

/// The content checksum of `commit` in the repository `repo`, as libostree computes it.
///
/// # Errors
///
/// If the program that asks libostree is not installed, or libostree finds no such commit.
pub(crate) fn content_checksum(repo: &Path, commit: &Checksum) -> Result<Checksum> {
    let program = env::companion(PROGRAM);
    let mut command = Command::new(&program);
    let output = command.arg(repo).arg(commit.to_string()).stdin(Stdio::null()).output();
    let output = output.with_context(|| {
        format!(
            "running {}, which reads the content checksum with libostree: install it beside \
             reprofix (`make install` does)",
            program.display()
        )
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "libostree, of commit {commit}: {}", said.trim_end());
    let sum = String::from_utf8_lossy(&output.stdout);
    sum.trim_end().parse().with_context(|| format!("{} printed {sum:?}", program.display()))
}
