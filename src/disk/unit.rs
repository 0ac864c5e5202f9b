//! Gives several files that describe one another new content: all or none of them.
//!
//! The first member is what the others describe (a database and its indexes). On disk:
//! 1. a *hold* name is made beside the first;
//! 2. a complete new inode is made beside every name of every member under a *unit* name, which
//!    contains the member's number and the name that it will replace;
//! 3. the hold name is removed: from here on the new files count;
//! 4. the old files of all members but the first are removed, then the first is renamed into place,
//!    then the others: so none is ever beside a first member that it does not describe.
//!
//! If a run is killed before step 3, the next one undoes the change; if after it, the next one
//! finishes it. One unit is made at a time, so one hold name covers all unit names of a tree.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::recover::{hold_name, new_name};
use super::replace::{Stamp, make_inode, open_unchanged, unlink_if_there};
use super::{Leftover, Root};
use crate::tree::{Entry, Time};

const UNIT: &str = ".reprofix-unit-";

/// One file of a unit.
#[derive(Clone, Debug)]
pub struct Member<'b> {
    /// All its names in the tree, of one inode.
    pub names: Vec<PathBuf>,
    /// What it looked like when it was read.
    pub stamp: Stamp,
    /// The content it gets.
    pub bytes: &'b [u8],
    /// The modification time it gets.
    pub mtime: Time,
}

/// Gives all members their content like [`replace`](super::replace()), or none of them: see the
/// module.
///
/// Returns `false` and changes nothing if a file no longer looks like its stamp. At most 100
/// members, whose names leave room for twenty bytes.
pub fn replace_unit(root: &Root, members: &[Member<'_>]) -> io::Result<bool> {
    let first = members.first().and_then(|m| m.names.first()).ok_or(Errno::INVAL)?;
    let (dir, name) = root.parent(first)?;
    let hold = hold_name(name);
    // An existing file of this name is not ours: a FIFO would block, and a device may act on being
    // opened.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    drop(rustix::fs::openat(&dir, &hold, flags, Mode::from_raw_mode(0o600))?);
    let made = prepare_all(root, members);
    if !matches!(made, Ok(true)) {
        // The hold is removed last, or what is left would count. The first error is the one to
        // report.
        let undone = waiting_names(members).try_for_each(|path| remove(root, &path));
        if undone.is_ok() {
            let _ = unlink_if_there(&dir, &hold);
        }
        return made;
    }
    unlink_if_there(&dir, &hold)?;
    commit(root, members)?;
    Ok(true)
}

fn prepare_all(root: &Root, members: &[Member<'_>]) -> io::Result<bool> {
    for (number, member) in members.iter().enumerate() {
        if !prepare(root, number, member)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the new inode of a member beside each of its names.
fn prepare(root: &Root, number: usize, member: &Member<'_>) -> io::Result<bool> {
    let first = member.names.first().ok_or(Errno::INVAL)?;
    let (dir, name) = root.parent(first)?;
    let Some(old) = open_unchanged(&dir, Path::new(name), member.stamp)? else { return Ok(false) };
    let new = new_name(name);
    make_inode(&dir, Path::new(&new), &old, &mut &*member.bytes, member.mtime)?;
    for path in &member.names {
        let (parent, name) = root.parent(path)?;
        let waiting = unit_name(number, name)?;
        unlink_if_there(&parent, &waiting)?;
        rustix::fs::linkat(&dir, &new, &parent, &waiting, AtFlags::empty())?;
    }
    unlink_if_there(&dir, &new)?;
    Ok(true)
}

fn commit(root: &Root, members: &[Member<'_>]) -> io::Result<()> {
    let others = members.iter().skip(1).flat_map(|member| &member.names);
    others.into_iter().try_for_each(|path| remove(root, path))?;
    for (number, member) in members.iter().enumerate() {
        for path in &member.names {
            let (dir, name) = root.parent(path)?;
            rustix::fs::renameat(&dir, unit_name(number, name)?, &dir, name)?;
        }
    }
    Ok(())
}

fn remove(root: &Root, path: &Path) -> io::Result<()> {
    let (dir, name) = root.parent(path)?;
    unlink_if_there(&dir, name)
}

/// The unit and new names of all members.
fn waiting_names(members: &[Member<'_>]) -> impl Iterator<Item = PathBuf> {
    members.iter().enumerate().flat_map(|(number, member)| {
        let names = member.names.iter().filter_map(move |path| {
            let name = path.file_name()?;
            let both = [unit_name(number, name).ok()?, new_name(name)];
            Some(both.map(|name| path.with_file_name(name)))
        });
        names.flatten()
    })
}

fn unit_name(number: usize, name: &OsStr) -> io::Result<OsString> {
    let number = u8::try_from(number).ok().filter(|n| *n < 100).ok_or(Errno::INVAL)?;
    let mut waiting = OsString::from(format!("{UNIT}{number:02}-"));
    waiting.push(name);
    Ok(waiting)
}

/// Number and target of a unit name; `None` for other names.
pub(super) fn waiting(name: &[u8]) -> Option<(u8, &OsStr)> {
    let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'-', target @ ..] =
        name.strip_prefix(UNIT.as_bytes())?
    else {
        return None;
    };
    let number = (tens - b'0') * 10 + (ones - b'0');
    (!target.is_empty()).then_some((number, OsStr::from_bytes(target)))
}

/// What to do with the hold and unit names among `found`, in order. Only those that `ours` accepts
/// for their targets count.
pub(super) fn leftovers(
    root: &Root,
    found: &[&Entry],
    ours: &dyn Fn(&Entry, &Path) -> io::Result<bool>,
) -> io::Result<Vec<Leftover>> {
    let discard = |entry: &Entry| Leftover::Discard(entry.path.clone());
    let mut waits: Vec<(u8, &Entry, PathBuf)> = Vec::new();
    let (mut strange, mut holds) = (Vec::new(), Vec::new());
    for entry in found {
        let Some((number, target)) = waiting(entry.name()) else {
            holds.push(discard(entry));
            continue;
        };
        let target = entry.path.with_file_name(target);
        match ours(entry, &target)? {
            true => waits.push((number, entry, target)),
            false => strange.push(discard(entry)),
        }
    }
    let mut list = strange;
    if !holds.is_empty() {
        list.extend(waits.iter().map(|(_, entry, _)| discard(entry)).chain(holds));
        return Ok(list);
    }
    waits.sort_by(|a, b| (a.0, &a.1.path).cmp(&(b.0, &b.1.path)));
    if waits.first().is_some_and(|(number, ..)| *number == 0) {
        for (_, _, target) in waits.iter().filter(|(number, ..)| *number > 0) {
            if root.stat(target)?.is_some() {
                list.push(Leftover::Discard(target.clone()));
            }
        }
    }
    list.extend(waits.into_iter().map(|(_, e, target)| Leftover::Finish(e.path.clone(), target)));
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_hold_number_and_target() {
        let name = unit_name(7, OsStr::new("Index.db")).expect("fits");
        assert_eq!(name, ".reprofix-unit-07-Index.db");
        assert_eq!(waiting(name.as_bytes()), Some((7, OsStr::new("Index.db"))));
        for other in [".reprofix-unit-7-a", ".reprofix-unit-07-", "x.reprofix-unit-07-a"] {
            assert_eq!(waiting(other.as_bytes()), None, "{other}");
        }
        assert!(unit_name(100, OsStr::new("x")).is_err());
    }
}
