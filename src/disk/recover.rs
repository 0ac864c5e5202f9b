//! Our own temporary names, and what to do with those that a killed run left.
//!
//! Each is beside the file that it will replace:
//! * *new*: an inode being written, worth nothing until it is renamed;
//! * *ready*: a complete inode waiting to take the place of one of several hard links;
//! * *hold* and *unit*: of files that change as one, see [`super::unit`];
//! * *times*: the times that directories are to get back, see [`super::times`].
//!
//! While an inode still has its *new* name, its *ready* names may be incomplete, so all of them are
//! removed; once that name is gone, every *ready* name exists or has already been renamed, so the
//! rest are renamed too.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use sha2::{Digest, Sha256};

use super::times::{self, TIMES};
use super::{Root, put_times_back, unit};
use crate::tree::{Entry, Kind, Tree};

/// The prefix of every such name.
const OURS: &[u8] = b".reprofix-";
const NEW: &str = ".reprofix-new-";
const READY: &str = ".reprofix-ready-";
const HOLD: &str = ".reprofix-hold-";

/// A name that only reprofix makes, found in a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// To be removed.
    Discard(PathBuf),
    /// To be renamed over the second path.
    Finish(PathBuf, PathBuf),
    /// Times of directories to be put back, after all else.
    Times(PathBuf),
}

pub(super) fn hold_name(name: &OsStr) -> OsString {
    format!("{HOLD}{}", tag(name.as_bytes())).into()
}

pub(super) fn new_name(name: &OsStr) -> OsString {
    format!("{NEW}{}", tag(name.as_bytes())).into()
}

pub(super) fn ready_name(name: &OsStr) -> OsString {
    format!("{READY}{}", tag(name.as_bytes())).into()
}

/// A hash in place of a name: names may already be as long as the file system allows.
pub(super) fn tag(name: &[u8]) -> String {
    let hash = Sha256::digest(name);
    hash.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Whether this is one of our temporary names: the exact prefix, 16 hexadecimal digits (for *unit*
/// two digits and a name), a regular file.
pub fn is_leftover(entry: &Entry) -> bool {
    if !entry.name().starts_with(OURS) {
        return false;
    }
    let tag =
        [NEW, READY, HOLD, TIMES].iter().find_map(|p| entry.name().strip_prefix(p.as_bytes()));
    let hex = |t: &[u8]| t.len() == 16 && t.iter().all(u8::is_ascii_hexdigit);
    entry.kind == Kind::File && (tag.is_some_and(hex) || unit::waiting(entry.name()).is_some())
}

/// What to do with the leftovers among `entries`, sorted by path.
///
/// A *ready* or *unit* name replaces a file only where a run recorded that it changes names there
/// (a *times* record, which is removed last), and only with the owner and mode of that file; any
/// other is removed, since reprofix did not make it.
pub fn leftovers(root: &Root, entries: &[Entry]) -> io::Result<Vec<Leftover>> {
    let (units, found): (Vec<&Entry>, Vec<&Entry>) = entries
        .iter()
        .filter(|e| is_leftover(e))
        .partition(|e| unit::waiting(e.name()).is_some() || e.name().starts_with(HOLD.as_bytes()));
    let unfinished: BTreeSet<_> =
        found.iter().filter(|e| e.name().starts_with(NEW.as_bytes())).map(|e| e.inode).collect();
    let (records, found): (Vec<&Entry>, Vec<&Entry>) =
        found.into_iter().partition(|e| times::is_record(e));
    let mut noted = BTreeSet::new();
    for record in &records {
        noted.extend(times::noted(root, &record.path)?);
    }
    let ours = |entry: &Entry, target: &Path| -> io::Result<bool> {
        let dir = entry.path.parent().unwrap_or(Path::new(""));
        // An index may have been removed already, to be replaced by this.
        let same = |t: Entry| (t.kind, t.mode, t.uid, t.gid) == of(entry);
        Ok(noted.contains(dir) && root.lookup(target)?.is_none_or(same))
    };
    let mut list = unit::leftovers(root, &units, &ours)?;
    for entry in found {
        let target = match unfinished.contains(&entry.inode) {
            true => None,
            false => target_of(root, entry)?,
        };
        list.push(match target {
            Some(target) if ours(entry, &target)? => Leftover::Finish(entry.path.clone(), target),
            _ => Leftover::Discard(entry.path.clone()),
        });
    }
    list.extend(records.into_iter().map(|e| Leftover::Times(e.path.clone())));
    Ok(list)
}

fn of(entry: &Entry) -> (Kind, u32, u32, u32) {
    (entry.kind, entry.mode, entry.uid, entry.gid)
}

/// The file beside a *ready* name that it will replace.
fn target_of(root: &Root, entry: &Entry) -> io::Result<Option<PathBuf>> {
    let dir = entry.path.parent().unwrap_or(Path::new(""));
    let stands_for = |name: &OsString| ready_name(name).as_bytes() == entry.name();
    Ok(root.list(dir)?.iter().find(|n| stands_for(n)).map(|name| dir.join(name)))
}

/// Applies what [`leftovers`] decided.
pub fn recover(root: &Root, list: &[Leftover]) -> io::Result<()> {
    for leftover in list {
        match leftover {
            Leftover::Discard(path) => root.remove(path)?,
            Leftover::Times(record) => put_times_back(root, record)?,
            Leftover::Finish(ready, target) => {
                let (dir, name) = root.parent(target)?;
                let ready = ready.file_name().unwrap_or_default();
                rustix::fs::renameat(&dir, ready, &dir, name)?;
                match rustix::fs::unlinkat(&dir, ready, AtFlags::empty()) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
    Ok(())
}
