//! The model that every part shares: what is at a path, wherever the tree comes from.

mod difference;
pub mod digest;
mod memory;
mod umask;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::text::is_hidden;

pub use crate::format::time::Time;
pub use difference::{Change, Difference, Side};
pub use memory::{Memory, NOTHING, Node};
pub use umask::Umask;

/// The kind of a file. Anything that ostree cannot store is [`Kind::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A FIFO, a socket or a device node: never opened, never changed.
    Other,
}

impl Kind {
    /// The kind in a `st_mode` (`S_IFMT` bits).
    pub fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 => Kind::File,
            0o040_000 => Kind::Dir,
            0o120_000 => Kind::Symlink,
            _ => Kind::Other,
        }
    }
}

/// Where rpm-ostree leaves the flattened treefile in the tree.
pub const TREEFILE: &str = "usr/share/rpm-ostree/treefile.json";

/// The inode of a name; only a file system has inodes, a commit does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Inode {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// `st_nlink`: names of this inode anywhere on the file system, inside the tree or not.
    pub nlink: NonZeroU32,
    /// `st_ctime`: when the inode last changed in any way.
    pub ctime: Time,
}

/// One name in a tree and its `lstat`, without content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path below the root, without a leading slash; empty for the root itself.
    pub path: PathBuf,
    /// Its kind.
    pub kind: Kind,
    /// `st_mode` whole: type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content (a symlink's: length of its target).
    pub size: u64,
    /// Modification time; `None` if the source has no times, as ostree.
    pub mtime: Option<Time>,
    /// The inode; `None` if the source has no inodes.
    pub inode: Option<Inode>,
}

impl Entry {
    /// The path as bytes that plugins match, with a compose's `usr/etc/` as `etc/`, so that one
    /// pattern works before and after rpm-ostree moves the directory.
    ///
    /// ```
    /// # use reprofix::tree::*; use std::path::PathBuf;
    /// # let entry = |p: &str| Entry { path: PathBuf::from(p), kind: Kind::File, mode: 0o100644,
    /// #   uid: 0, gid: 0, size: 0, mtime: None, inode: None };
    /// assert_eq!(&*entry("usr/etc/shadow").logical(), b"etc/shadow");
    /// assert_eq!(&*entry("usr/bin/sh").logical(), b"usr/bin/sh");
    /// ```
    pub fn logical(&self) -> Cow<'_, [u8]> {
        logical(&self.path)
    }

    /// The last component as bytes; empty for the root.
    pub fn name(&self) -> &[u8] {
        let path = self.path.as_os_str().as_bytes();
        memchr::memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
    }
}

/// Compares two paths below a root by component, a directory right before its content. This is
/// `Path`'s own order for paths without `.` and double slashes, but much cheaper.
pub fn order(a: &Path, b: &Path) -> Ordering {
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    let rank = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    match a.iter().zip(b).find(|(x, y)| x != y) {
        Some((x, y)) => rank(*x).cmp(&rank(*y)),
        None => a.len().cmp(&b.len()),
    }
}

/// The names in directory `dir` of a walk, whose entries are in [`order`].
pub fn children(entries: &[Entry], dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names = Vec::new();
    let mut rest = match entries.binary_search_by(|e| order(&e.path, dir)) {
        Ok(found) => &entries[found + 1..],
        Err(_) => &[],
    };
    while let Some(first) = rest.first().filter(|e| e.path.parent() == Some(dir)) {
        names.extend(first.path.file_name().map(std::ffi::OsStr::to_owned));
        // Its content comes right after it.
        let is_below = |e: &Entry| e.path.starts_with(&first.path);
        rest = match rest.get(1).is_some_and(is_below) {
            true => &rest[rest.partition_point(is_below)..],
            false => &rest[1..],
        };
    }
    names
}

/// A path below a root as plugins match it: `usr/etc/…` becomes `etc/…`, and
/// `usr/share/factory/etc/…` and `usr/share/factory/var/…`, which systemd-tmpfiles copies, become
/// `etc/…` and `var/…`.
pub fn logical(path: &Path) -> Cow<'_, [u8]> {
    let bytes = path.as_os_str().as_bytes();
    let is = |rest: &[u8], top: &[u8]| {
        rest.strip_prefix(top).is_some_and(|more| more.is_empty() || more[0] == b'/')
    };
    let Some(rest) = bytes.strip_prefix(b"usr/") else { return Cow::Borrowed(bytes) };
    match rest.strip_prefix(b"share/factory/") {
        _ if is(rest, b"etc") => Cow::Borrowed(rest),
        Some(rest) if is(rest, b"etc") || is(rest, b"var") => Cow::Borrowed(rest),
        _ => Cow::Borrowed(bytes),
    }
}

/// Shows a path below a root like [`show`]; the root itself is `.`.
pub fn show_below(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { show(path) }
}

/// A path for people and reports: UTF-8, one line, nothing a terminal acts on. Bytes that are not
/// UTF-8, control characters and the backslash come as `\\xNN`, and invisible characters or those
/// that reorder a line as `\\u{N}`, so that the text is unambiguous.
///
/// ```
/// # use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};
/// let path = Path::new(OsStr::from_bytes(b"usr/share/caf\xe9\n"));
/// assert_eq!(reprofix::tree::show(path), r"usr/share/caf\xe9\x0a");
/// ```
pub fn show(path: &Path) -> String {
    let plain = |b: &u8| matches!(b, b' '..=b'~') && *b != b'\\';
    if let Some(text) = path.to_str().filter(|text| text.as_bytes().iter().all(plain)) {
        return text.to_owned();
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\x5c"),
                c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if is_hidden(c) => text.push_str(&c.escape_unicode().to_string()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The largest file that is read whole, in bytes. A sparse file may claim any size.
pub const WHOLE_MAX: u64 = 2 << 30;

/// Bytes to read at a time when streaming a file.
const STREAM_PIECE: usize = 64 << 10;

/// A reader that can seek.
pub trait Seekable: io::Read + io::Seek + Send {}

impl<T: io::Read + io::Seek + Send> Seekable for T {}

/// Read access to a tree of any source: a directory, an ostree commit, an image.
///
/// Paths are relative to the tree's root. No implementation follows a symbolic link, in any
/// component: a path through one does not exist.
pub trait Tree: Sync {
    /// What is at `path`, or `None`.
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// The names in directory `path`, sorted bytewise; empty if there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<std::ffi::OsString>>;

    /// The whole content of the regular file at `path`; `None` if there is no regular file.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;

    /// The content of the regular file at `path`, to be read in any order; `None` if there is no
    /// regular file. A tree on a disk holds none of it in memory.
    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable>>> {
        Ok(self.read(path)?.map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<dyn Seekable>))
    }

    /// The whole content of `entry`, which this tree returned as a regular file, so that it need
    /// not be looked up again.
    fn read_known(&self, entry: &Entry) -> io::Result<Option<Vec<u8>>> {
        self.read(&entry.path)
    }

    /// Streams the content of the regular file at `path`, so that its size costs no memory; `false`
    /// if there is no regular file.
    fn stream(&self, path: &Path, sink: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some(mut content) = self.open(path)? else { return Ok(false) };
        let mut piece = vec![0; STREAM_PIECE];
        loop {
            match content.read(&mut piece) {
                Ok(0) => return Ok(true),
                Ok(n) => sink(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The target of the symbolic link at `path`; `None` if there is none.
    fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>>;

    /// The extended attributes of `path`, sorted by name bytewise (names without a NUL).
    fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// The number of the device node at `path`, as Linux's file systems store it in 32 bits; `None`
    /// if there is no such node or the source has none.
    fn device(&self, _path: &Path) -> io::Result<Option<u32>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_shown() {
        for hidden in
            ["\u{200b}", "\u{202e}", "\u{61c}", "\u{feff}", "\u{3164}", "\u{2028}", "\u{a0}"]
        {
            let shown = show(Path::new(&format!("usr/bin/su{hidden}do")));
            assert!(shown.is_ascii() && shown.contains("\\u{"), "{shown}");
        }
        assert_eq!(show(Path::new("usr/share/日本語/é")), "usr/share/日本語/é");
    }

    #[test]
    fn the_names_of_a_directory_are_found_in_a_walk() {
        let entry = |path: &&str| Entry {
            path: path.into(),
            kind: Kind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: None,
            inode: None,
        };
        let paths = ["", "a", "a/b", "a/b/c", "a/b/d", "a/b-c", "a-", "b", "b/x"];
        let entries: Vec<Entry> = paths.iter().map(entry).collect();
        let names = |dir: &str| children(&entries, Path::new(dir));
        assert_eq!(names(""), ["a", "a-", "b"]);
        assert_eq!(names("a"), ["b", "b-c"]);
        assert_eq!(names("a/b"), ["c", "d"]);
        assert!(names("a-").is_empty() && names("missing").is_empty());
    }

    #[test]
    fn paths_are_sorted_by_component() {
        let paths = ["", "a", "a/b", "a/b/c", "a/b-c", "a b", "a-", "a.b/c", "a0", "b", "\u{e9}/x"];
        for (x, y) in paths.iter().flat_map(|x| paths.iter().map(move |y| (x, y))) {
            let (x, y) = (Path::new(x), Path::new(y));
            assert_eq!(order(x, y), x.cmp(y), "{x:?} {y:?}");
        }
    }
}
