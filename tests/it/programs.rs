//! Programs that a test makes and then runs.
//!
//! Another process writes them: where this one does, a test beside it may fork while the file is
//! open, and who holds a program open for writing keeps everybody from running it ("Text file
//! busy").

use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the program under test in `dir`, where another user or another root may run it.
pub(crate) fn copy_in(dir: &Path) -> PathBuf {
    let copy = dir.join("reprofix");
    let done = Command::new("cp").arg(env!("CARGO_BIN_EXE_reprofix")).arg(&copy).status();
    assert!(done.expect("cp runs").success());
    copy
}

/// A script with this text.
pub(crate) fn script(path: &Path, text: &str) {
    let write = "printf %s \"$2\" >\"$1\" && chmod 0755 \"$1\"";
    let done = Command::new("sh").args(["-c", write, "sh"]).arg(path).arg(text).status();
    assert!(done.expect("sh runs").success());
}
