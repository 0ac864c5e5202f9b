//! A single file as a subject: a tree with only this file, at a path where the plugins for its kind
//! look.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Subject;
use super::hashed::Hashed;
use crate::format::compress::{self, HEAD_LEN, Source};
use crate::tree::{Entry, Kind, Seekable, Tree};

/// Opens the file at `path` as a file called `name`.
pub(super) fn open(path: &Path, name: &OsStr, done: &(dyn Fn() + Sync)) -> Result<Subject> {
    let reading = || format!("reading {}", path.display());
    let file = FileTree::open(path, name).with_context(reading)?;
    let merkle = Hashed::new(file, done).with_context(reading)?;
    Ok(Subject::new(format!("file:{}", path.display()), Box::new(merkle)))
}

/// The tree of one file, owned by root: its owner and mode are not compared.
#[derive(Debug)]
struct FileTree {
    at: PathBuf,
    path: PathBuf,
    size: u64,
}

impl FileTree {
    fn open(path: &Path, name: &OsStr) -> io::Result<Self> {
        let mut head = Vec::new();
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.by_ref().take(2).read_to_end(&mut head)?;
        file.rewind()?;
        let at = match () {
            () if head == b"MZ" => PathBuf::from("efi/image.efi"),
            () if is_boot_image(file)? => PathBuf::from("boot/initramfs.img"),
            () => PathBuf::from(name),
        };
        Ok(FileTree { at, path: path.to_owned(), size })
    }

    fn file(&self, path: &Path) -> io::Result<Option<File>> {
        (path == self.at).then(|| File::open(&self.path)).transpose()
    }
}

/// Whether `file` is a cpio archive, or a compressed one.
fn is_boot_image(file: File) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(1 << 20).read_to_end(&mut head)?;
    let Some(packing) = compress::detect(&head[..head.len().min(HEAD_LEN)]) else {
        return Ok(head.starts_with(b"07070"));
    };
    let mut source = Source::new(&*head);
    let mut start = [0; 5];
    let unpacked = packing.decoder(&mut source).and_then(|mut d| d.read_exact(&mut start));
    Ok(unpacked.is_ok() && start == *b"07070")
}

impl Tree for FileTree {
    fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
        let (kind, mode, size) = match () {
            () if path == self.at => (Kind::File, 0o100_644, self.size),
            () if self.at.starts_with(path) => (Kind::Dir, 0o040_755, 0),
            () => return Ok(None),
        };
        let path = path.to_owned();
        Ok(Some(Entry { path, kind, mode, uid: 0, gid: 0, size, mtime: None, inode: None }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let below = self.at.strip_prefix(path).ok();
        let name = below.and_then(|rest| rest.components().next());
        Ok(name.map(|name| name.as_os_str().to_owned()).into_iter().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn open(&self, path: &Path) -> io::Result<Option<Box<dyn Seekable>>> {
        Ok(self.file(path)?.map(|file| Box::new(file) as Box<dyn Seekable>))
    }

    fn readlink(&self, _: &Path) -> io::Result<Option<PathBuf>> {
        Ok(None)
    }

    fn xattrs(&self, _: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }
}
