//! Mounts below a build's directory: our disorderfs, and what a build forgot.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A mounted disorderfs; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    above: PathBuf,
    done: bool,
}

/// Shows directory `below` at `above` with directory entries sorted, reversed if `reverse` is
/// `yes`.
///
/// Fails if the program is missing or FUSE does not work here; with what it said.
pub fn disorderfs(below: &Path, above: &Path, reverse: &str) -> io::Result<Mounted> {
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
    pub fn unmount(mut self) -> io::Result<()> {
        self.done = true;
        unmount(&self.above)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.done {
            // The directory is looked at again before anything below it is removed.
            let _ = unmount(&self.above);
        }
    }
}

/// Unmounts what stands at `point`; as root also where it is busy, once that ends.
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

/// Where something is mounted at or below `dir`, deepest first.
pub fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let points = table.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    let points = points.map(|field| PathBuf::from(unescaped(field)));
    let mut found: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// proc_pid_mountinfo(5): blanks and backslashes come as three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let (mut out, mut rest) = (Vec::new(), field);
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                out.push(code);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(out)
}

/// Removes `dir` and all in it, unmounting first what a build left mounted there, so that no bind
/// mount leads the removal elsewhere. Gives what was unmounted.
///
/// Fails, removing nothing, if something stays mounted.
pub fn remove(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let Ok(dir) = dir.canonicalize() else { return Ok(Vec::new()) };
    let found = below(&dir)?;
    for point in &found {
        unmount(point)?;
    }
    if let Some(point) = below(&dir)?.first() {
        return Err(io::Error::other(format!("{} stays mounted; unmount it", point.display())));
    }
    crate::fsx::remove_dir_all(&dir)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescaped(b"/a\\040b\\134"), "/a b\\");
        assert_eq!(unescaped(b"/a\\04"), "/a\\04");
        assert_eq!(below(Path::new("/")).unwrap().last().unwrap(), Path::new("/"));
    }
}
