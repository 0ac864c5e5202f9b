//! Disk images as subjects: raw ones and those of qcow2, with a partition table or a file system alone.
//!
//! Nothing is mounted and no loop device is needed: `format::filesystem` reads. The partitions are laid
//! into one tree as the Discoverable Partitions Specification mounts them, so that plugins find files
//! where they are on a running system (`layout`).

mod file;
mod layout;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};

use super::Subject;
use super::hashed::Hashed;
use crate::format::filesystem::blocks::{Blocks, Part as Range};
use crate::format::filesystem::{self, FileSystem};
use crate::format::gpt::{self, Partition, Table};
use crate::format::qcow2;
use crate::tree::Seekable;

pub use tree::{DiskTree, Node};

/// Forms of images that are named and not read: where their magic is, and what it is.
const FORMS: [((usize, &[u8]), &str); 4] = [
    ((0, b"KDMV"), "vmdk"),
    ((0, b"conectix"), "vhd"),
    ((0, b"vhdxfile"), "vhdx"),
    ((0x40, &[0x7f, 0x10, 0xda, 0xbe]), "vdi"),
];

/// A disk: its bytes, its table and what is in each partition.
pub struct Disk {
    /// Every byte, as a machine would see them.
    pub blocks: Arc<dyn Blocks>,
    /// The partition table; `None` where the whole is one file system.
    pub table: Option<Table>,
    /// The partitions in the order of their numbers, or the one file system.
    pub parts: Vec<Part>,
    /// What is at each path of the tree.
    pub nodes: BTreeMap<PathBuf, Node>,
    /// What is to be said of it: parts that are not read, names that no commit holds.
    pub remarks: Vec<String>,
}

/// A partition, or the whole of a disk without a table.
pub struct Part {
    /// Its row in the table.
    pub partition: Option<Partition>,
    /// Its bytes.
    pub blocks: Arc<dyn Blocks>,
    /// The format that begins there, by its magic.
    pub format: Option<&'static str>,
    /// The file system, where a reader knows it.
    pub filesystem: Option<Arc<dyn FileSystem>>,
    /// Why its contents are not read, where they are not.
    pub refused: Option<String>,
    /// Where its root is in the tree of the disk.
    pub place: Option<PathBuf>,
}

/// `partition 2 (root-x86-64-verity, label root_1)`, or `file system` where it is the only one.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.partition, self.format) {
            (Some(partition), _) => write!(f, "partition {partition}"),
            (None, Some(_)) => f.write_str("file system"),
            (None, None) => f.write_str("the image"),
        }
    }
}

impl Part {
    fn open(blocks: Arc<dyn Blocks>, partition: Option<Partition>) -> io::Result<Self> {
        let format = filesystem::name(&*blocks)?;
        let mut part = Part {
            partition,
            format,
            filesystem: None,
            refused: None,
            place: None,
            blocks: Arc::clone(&blocks),
        };
        match filesystem::open(&blocks) {
            Ok(found) => part.filesystem = found.map(Arc::from),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => part.refused = Some(e.to_string()),
            Err(e) => return Err(io::Error::new(e.kind(), format!("{part}: {e}"))),
        }
        if let (None, None, Some(format)) = (&part.filesystem, &part.refused, format) {
            part.refused =
                Some(format!("{format} is not read: mount it, and compare the directories"));
        }
        Ok(part)
    }
}

impl Disk {
    /// Opens an image of any form: what a machine would see of it.
    ///
    /// # Errors
    ///
    /// If the form, the table or a file system is damaged; the error names the place.
    pub fn open(image: Arc<dyn Blocks>) -> io::Result<Self> {
        let head = image.head(1024)?;
        if let Some((_, name)) = FORMS
            .iter()
            .find(|((at, magic), _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)))
        {
            let what = format!(
                "an image of the form {name} is not read: qemu-img convert -O raw makes one that is"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let blocks: Arc<dyn Blocks> = match qcow2::is_qcow2(&head) {
            true => Arc::new(qcow2::Qcow2::open(image)?),
            false => image,
        };
        let head = blocks.head(4104)?;
        if !gpt::is_gpt(&head) {
            let whole = Part::open(Arc::clone(&blocks), None)?;
            if let Some(why) = whole.refused {
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
            return Self::of_parts(blocks, None, vec![whole]);
        }
        let size = blocks.size();
        let table = gpt::read(&mut Reader { blocks: Arc::clone(&blocks), at: 0 }, size)?;
        let part = |partition: &Partition| {
            let range = Range::new(Arc::clone(&blocks), partition.bytes.clone());
            Part::open(Arc::new(range), Some(partition.clone()))
        };
        let parts = table.partitions.iter().map(part).collect::<io::Result<Vec<_>>>()?;
        Self::of_parts(blocks, Some(table), parts)
    }

    fn of_parts(
        blocks: Arc<dyn Blocks>,
        table: Option<Table>,
        mut parts: Vec<Part>,
    ) -> io::Result<Self> {
        layout::settle(&mut parts)?;
        let (nodes, remarks) = tree::read(&parts)?;
        Ok(Disk { blocks, table, parts, nodes, remarks })
    }

    /// Opens the image that is a file of a tree.
    ///
    /// # Errors
    ///
    /// Those of [`Disk::open`].
    pub fn within(mut file: Box<dyn Seekable>) -> io::Result<Self> {
        let size = file.seek(io::SeekFrom::End(0))?;
        Self::open(Arc::new(Sought { size, file: Mutex::new(file) }))
    }

    /// Its tree with all checksums, called `name`.
    ///
    /// # Errors
    ///
    /// If a file system is damaged; the error names the path, the partition and the place.
    pub fn subject(self, name: String, done: &(dyn Fn() + Sync)) -> io::Result<Subject> {
        let remarks = self.remarks.clone();
        let disk = Arc::new(self);
        let merkle = Hashed::new(DiskTree::new(Arc::clone(&disk)), done)?;
        let subject = Subject::new(name, Box::new(merkle));
        Ok(Subject { remarks, disk: Some(disk), ..subject })
    }
}

/// Opens the image at `path`.
pub(super) fn open(path: &Path, done: &(dyn Fn() + Sync)) -> Result<Subject> {
    let reading = || format!("reading disk image {}", path.display());
    let disk = Disk::open(Arc::new(file::File::open(path).with_context(reading)?));
    let name = format!("disk:{}", path.display());
    disk.and_then(|disk| disk.subject(name, done)).with_context(reading)
}

/// Whether a disk image is at `path`, one that can be opened: it has a partition table that is whole,
/// or begins with a file system that is read.
pub(super) fn is_image(path: &Path) -> bool {
    let Ok(file) = file::File::open(path) else { return false };
    let image: Arc<dyn Blocks> = Arc::new(file);
    let Ok(head) = image.head(4104) else { return false };
    match () {
        () if qcow2::is_qcow2(&head) => true,
        () if gpt::is_gpt(&head) => {
            let size = image.size();
            gpt::read(&mut Reader { blocks: image, at: 0 }, size).is_ok()
        }
        () => filesystem::name(&*image).is_ok_and(|name| name.is_some_and(is_read)),
    }
}

/// Whether a file of a tree, by its first bytes, can be a disk image whose files are compared.
pub fn may_be_image(head: &[u8]) -> bool {
    let known = || filesystem::name(&head.to_vec()).is_ok_and(|name| name.is_some_and(is_read));
    gpt::is_gpt(head) || qcow2::is_qcow2(head) || known()
}

fn is_read(format: &str) -> bool {
    matches!(format, "erofs" | "squashfs" | "ext4" | "vfat")
}

/// A file that is read in any order, by one thread at a time.
struct Sought {
    size: u64,
    file: Mutex<Box<dyn Seekable>>,
}

impl Blocks for Sought {
    fn size(&self) -> u64 {
        self.size
    }

    fn fill(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(io::SeekFrom::Start(at))?;
        file.read_exact(out)
    }
}

/// A disk from its beginning, for what reads forward.
pub(crate) struct Reader {
    pub(crate) blocks: Arc<dyn Blocks>,
    pub(crate) at: u64,
}

impl io::Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.blocks.size().saturating_sub(self.at);
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.blocks.fill(self.at, &mut out[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl io::Seek for Reader {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let place = match to {
            io::SeekFrom::Start(at) => Some(at),
            io::SeekFrom::End(by) => self.blocks.size().checked_add_signed(by),
            io::SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
