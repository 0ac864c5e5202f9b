//! Times of changed files and directories that keep their inode, recorded in the tree until they
//! are restored.
//!
//! Adding or removing a name sets its directory's time to now, and a patch does so to its file. A
//! run restores the times at its end; if it is killed before, the next run finds them in a file.
//! The file's name contains the checksum of its content, so a half-written one is recognised.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Root;
use super::recover::tag;
use crate::tree::{Entry, Time, Tree};

pub(super) const TIMES: &str = ".reprofix-times-";

/// The largest record, in bytes: 64 MiB hold the times of half a million directories, so a larger
/// file is not ours.
const BYTES_MAX: u64 = 64 << 20;

/// Records, in the directory `top`, the times that these paths must have in the end, and returns
/// the record's path. [`put_times_back`] is its counterpart.
pub fn note_times<'t>(
    root: &Root,
    top: &Path,
    times: impl IntoIterator<Item = (&'t Path, Time)>,
) -> io::Result<PathBuf> {
    let mut record = Vec::new();
    for (path, Time { sec, nsec }) in times {
        write!(record, "{sec} {nsec} ")?;
        record.extend(path.as_os_str().as_bytes());
        record.push(0);
    }
    let name = format!("{TIMES}{}", tag(&record));
    let dir = root.open_at(top, OFlags::RDONLY | OFlags::DIRECTORY)?;
    // An existing file of this name is not ours to write into: it may be a link to outside, or a
    // FIFO.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&dir, &name, flags, Mode::from_raw_mode(0o600))?;
    let path = top.join(name);
    let written = File::from(file).write_all(&record);
    // On a full disk the run may continue without a record, but must not leave a part of one.
    written.or_else(|e| root.remove(&path).and(Err(e))).map(|()| path)
}

/// Restores the times in the file at `record`, then removes it. Paths that are gone and an
/// incomplete record are skipped.
pub fn put_times_back(root: &Root, record: &Path) -> io::Result<()> {
    let bytes = whole(root, record)?;
    let times: Vec<(&Path, Time)> = parse(&bytes).collect();
    for (path, time) in &times {
        set(root, path, *time)?;
    }
    root.remove(record)?;
    // Removing the record set its directory's time to now.
    let top = record.parent().unwrap_or(Path::new(""));
    let mut again = times.iter().filter(|(path, _)| *path == top);
    again.try_for_each(|(path, time)| set(root, path, *time))
}

/// The paths whose times are in the file at `record`.
pub(super) fn noted(root: &Root, record: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(parse(&whole(root, record)?).map(|(path, _)| path.to_owned()).collect())
}

/// The content of a record; empty if a part is missing.
fn whole(root: &Root, record: &Path) -> io::Result<Vec<u8>> {
    let kept = |stat: &rustix::fs::Stat| u64::try_from(stat.st_size).is_ok_and(|n| n <= BYTES_MAX);
    let bytes = match root.stat(record)?.filter(kept) {
        Some(_) => root.read(record)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let name = record.file_name().unwrap_or_default().as_bytes();
    let whole = name.strip_prefix(TIMES.as_bytes()) == Some(tag(&bytes).as_bytes());
    Ok(if whole { bytes } else { Vec::new() })
}

fn set(root: &Root, path: &Path, time: Time) -> io::Result<()> {
    match root.set_mtime(path, time) {
        Err(e) if super::root::is_absent(&e) => Ok(()),
        other => other,
    }
}

fn parse(record: &[u8]) -> impl Iterator<Item = (&Path, Time)> {
    record.split(|b| *b == 0).filter_map(|line| {
        let mut parts = line.splitn(3, |b| *b == b' ');
        let mut part = || parts.next();
        let number = |part: Option<&[u8]>| str::from_utf8(part?).ok()?.parse::<i64>().ok();
        let (sec, nsec) = (number(part())?, number(part())?);
        let time = Time { sec, nsec: u32::try_from(nsec).ok()? };
        Some((Path::new(OsStr::from_bytes(part()?)), time))
    })
}

/// Whether the name is that of such a record.
pub(super) fn is_record(entry: &Entry) -> bool {
    entry.name().starts_with(TIMES.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Time = Time { sec: -5, nsec: 7 };

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a b/c")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    fn mtime(root: &Root, path: &str) -> Option<Time> {
        root.lookup(Path::new(path)).unwrap().unwrap().mtime
    }

    #[test]
    fn what_was_written_down_is_put_back() {
        let (_dir, root) = root();
        let paths = ["", "a b", "a b/c", "gone"].map(Path::new);
        let record = note_times(&root, Path::new(""), paths.map(|p| (p, TIME))).unwrap();
        put_times_back(&root, &record).unwrap();
        assert_eq!(["", "a b", "a b/c"].map(|p| mtime(&root, p)), [Some(TIME); 3]);
        assert_eq!(root.lookup(&record).unwrap(), None);
    }

    #[test]
    fn a_name_that_is_taken_is_not_written_to() {
        let (dir, root) = root();
        let times = || [(Path::new("a b"), TIME)];
        let record = note_times(&root, Path::new(""), times()).unwrap();
        let (outside, inside) = (tempfile::NamedTempFile::new().unwrap(), dir.path().join(record));
        std::fs::remove_file(&inside).unwrap();
        std::fs::hard_link(outside.path(), &inside).unwrap();
        assert!(note_times(&root, Path::new(""), times()).is_err());
        assert!(inside.exists());
        assert_eq!(std::fs::read(outside.path()).unwrap(), b"");
    }

    #[test]
    fn a_part_of_a_record_counts_for_nothing() {
        let (dir, root) = root();
        let record = note_times(&root, Path::new(""), [(Path::new("a b"), TIME)]).unwrap();
        let before = mtime(&root, "a b");
        std::fs::write(dir.path().join(&record), "-5 7 a").unwrap();
        put_times_back(&root, &record).unwrap();
        assert_eq!((mtime(&root, "a b"), root.lookup(&record).unwrap()), (before, None));
    }
}
