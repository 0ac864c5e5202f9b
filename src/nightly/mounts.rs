//! Mounts below a build's directory: our disorderfs, and those that a build left behind.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::env;

/// A mounted disorderfs, which is unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    above: PathBuf,
    done: bool,
}

/// Shows directory `below` at `above` with directory entries sorted, reversed if `reverse` is
/// `yes`.
///
/// # Errors
///
/// If the program is missing or FUSE does not work here, with the program's message.
pub(crate) fn disorderfs(below: &Path, above: &Path, reverse: &str) -> io::Result<Mounted> {
    let mut command = Command::new("disorderfs");
    command.args(["--shuffle-dirents=no", "--sort-dirents=yes"]);
    command.arg(format!("--reverse-dirents={reverse}"));
    if rustix::process::getuid().is_root() {
        command.arg("--multi-user=yes");
    }
    run(command.arg(below).arg(above))?;
    Ok(Mounted { above: above.to_owned(), done: false })
}

impl Mounted {
    /// Unmounts it.
    pub(crate) fn unmount(mut self) -> io::Result<()> {
        self.done = true;
        unmount(&self.above)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.done {
            // The directory is checked again before anything below it is removed.
            let _ = unmount(&self.above);
        }
    }
}

/// Unmounts what is at `point`; for root even if it is busy, once that ends.
fn unmount(point: &Path) -> io::Result<()> {
    match rustix::process::getuid().is_root() {
        true => run(Command::new("umount").arg("--lazy").arg(point)),
        false => run(Command::new("fusermount3").arg("-u").arg(point)),
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(said.lines().next().unwrap_or("it said nothing").to_owned()))
        }
    }
}

/// The mount points at or below `dir`, deepest first.
pub(crate) fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = env::mount_points()?;
    found.retain(|point| point.starts_with(dir));
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Removes `dir` and everything in it, after unmounting what a build left mounted there, so that no
/// bind mount leads the removal elsewhere. Returns what was unmounted.
///
/// # Errors
///
/// If something stays mounted; nothing is removed then.
pub(crate) fn remove(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let Ok(dir) = dir.canonicalize() else { return Ok(Vec::new()) };
    let found = below(&dir)?;
    for point in &found {
        unmount(point)?;
    }
    if let Some(point) = below(&dir)?.first() {
        return Err(io::Error::other(format!("{} stays mounted; unmount it", point.display())));
    }
    crate::disk::remove_dir_all(&dir)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_last_mount() {
        assert_eq!(below(Path::new("/")).unwrap().last().unwrap(), Path::new("/"));
    }
}
