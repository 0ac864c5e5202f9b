//! Applies the plan so that a kill at any instant leaves only old or new files.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::Stat;

use super::plan::{Action, Change, Patch, Plan, at};
use crate::disk::{self, Folder, Root, Stamp};
use crate::normal::{Chain, Form};
use crate::normal::{Content, Step};
use crate::parallel::try_map;
use crate::tree::{self, Entry, Kind, Time, Tree as _};

/// Changes of time that are made together.
const PART: usize = 1 << 12;

/// Applies `plan` to `root`, of which `entries` is the sorted walk that the plan was made from.
///
/// Content comes first (in parallel), then multi-step changes in the order of their plugins (a
/// history before the database that it quotes), then removals from the deepest up, then times,
/// directories last: every directory that was touched gets the time in the plan, or the one it had.
/// Returns the paths that something else changed since they were read; they were left alone. The
/// first error stops the run.
pub fn apply(
    root: &Root,
    entries: &[Entry],
    plan: &Plan,
    chain: &Chain<'_>,
    done: &(dyn Fn(usize) + Sync),
) -> io::Result<Vec<PathBuf>> {
    let job = Job { root, entries, chain };
    let mut times = job.times_of_touched(plan);
    let records = job.note(&mut times, plan);
    times.extend(job.new_times(plan));
    // Directories get their times back even if the run stops at an error.
    let raced = job.all_but_directories(plan, done);
    let put_back = job.put_back(&times, &records);
    let raced = raced?;
    put_back.map(|()| raced)
}

struct Job<'a> {
    root: &'a Root,
    entries: &'a [Entry],
    chain: &'a Chain<'a>,
}

impl Job<'_> {
    fn entry(&self, path: &Path) -> Option<&Entry> {
        let index = self.entries.binary_search_by(|e| tree::order(&e.path, path)).ok()?;
        self.entries.get(index)
    }

    /// Whether the inode has, or may have, another name.
    fn is_linked(&self, change: &Change) -> bool {
        // A file that a step moved was not walked under its new name.
        let linked = |entry: &Entry| {
            entry.kind != Kind::Dir && entry.inode.is_none_or(|inode| inode.nlink.get() > 1)
        };
        !change.links.is_empty() || self.entry(&change.path).is_none_or(linked)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.entry(path).is_some_and(|e| e.kind == Kind::Dir)
    }

    /// Applies everything but the times of directories; returns what was left alone.
    fn all_but_directories(
        &self,
        plan: &Plan,
        done: &(dyn Fn(usize) + Sync),
    ) -> io::Result<Vec<PathBuf>> {
        let content = |change: &Change| {
            done(1);
            self.content(change).map_err(|e| at(&change.path, &e))
        };
        let mut changed = try_map(plan.changes.par_iter(), content)?;
        for (change, changed) in plan.changes.iter().zip(&mut changed).filter(|(_, c)| !**c) {
            *changed = self.look_again(change).map_err(|e| at(&change.path, &e))?;
        }
        for change in in_registry_order(plan, self.chain) {
            self.steps(change).map_err(|e| at(&change.path, &e))?;
        }
        self.removals(plan)?;
        for change in &plan.changes {
            self.metadata(change).map_err(|e| at(&change.path, &e))?;
        }
        self.touch_files(plan)?;
        let raced = plan.changes.iter().zip(changed).filter(|(_, changed)| !changed);
        Ok(raced.map(|(change, _)| change.path.to_path_buf()).collect())
    }

    /// Writes new content; `false` if the file is no longer what was read.
    fn content(&self, change: &Change) -> io::Result<bool> {
        let Some(entry) = self.entry(&change.path) else { return Ok(true) };
        let Some(stamp) = Stamp::of_entry(entry) else { return Ok(true) };
        let mtime = change.mtime.or(entry.mtime).unwrap_or(Time { sec: 0, nsec: 0 });
        match &change.action {
            Action::Patch(patch) => {
                let Patch { offset, content } = &**patch;
                disk::patch(self.root, &names(change), stamp, *offset, content, mtime)
            }
            Action::Rewrite(new) => {
                let again = match new.content {
                    Some(_) => None,
                    None => self.compute_again(entry)?,
                };
                let content = new.content.as_ref().or(again.as_ref());
                let Some(content) = content else { return Ok(false) };
                disk::replace(self.root, &names(change), stamp, &mut content.reader(), mtime)
            }
            Action::Remove { .. }
            | Action::Steps(_)
            | Action::Xattrs(_)
            | Action::Mode(_)
            | Action::Touch => Ok(true),
        }
    }

    /// Judges a file anew that changed since it was read: on a file system that does not say which
    /// names share an inode, we may have changed it ourselves under another name.
    fn look_again(&self, change: &Change) -> io::Result<bool> {
        let Some(entry) = self.root.lookup(&change.path)? else { return Ok(false) };
        let Some(stamp) = Stamp::of_entry(&entry).filter(|_| entry.kind == Kind::File) else {
            return Ok(false);
        };
        if !self.root.copies_up(&change.path)? {
            return Ok(false);
        }
        let Some(content) = self.compute_again(&entry)? else { return Ok(false) };
        let mtime = change.mtime.or(entry.mtime).unwrap_or(Time { sec: 0, nsec: 0 });
        disk::replace(self.root, &names(change), stamp, &mut content.reader(), mtime)
    }

    /// Computes content again that the plan's memory budget had no room for.
    fn compute_again(&self, entry: &Entry) -> io::Result<Option<Content>> {
        match self.chain.normal_form(self.root, entry)?.form {
            Form::Bytes(content) => Ok(Some(content)),
            _ => Ok(None),
        }
    }

    fn steps(&self, change: &Change) -> io::Result<()> {
        let Action::Steps(steps) = &change.action else { return Ok(()) };
        for step in steps {
            match step {
                Step::Write(path, content) => self.write_step(change, path, content)?,
                Step::Remove(path) => {
                    if self.root.stat(path)?.is_some() {
                        self.root.remove(path)?;
                    }
                }
                Step::Link(new, old) => self.root.link(old, new)?,
                Step::Unit(files) => self.unit_step(change, files)?,
            }
        }
        Ok(())
    }

    fn write_step(&self, change: &Change, path: &Path, content: &Content) -> io::Result<()> {
        let disk::Member { names, stamp, mtime, .. } = self.member(path, &[], change.mtime)?;
        unchanged(disk::replace(self.root, &names, stamp, &mut content.reader(), mtime)?)
    }

    /// Changes several files as one, each inode once.
    fn unit_step(&self, change: &Change, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
        let mut members: Vec<disk::Member<'_>> = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            if !members.iter().any(|member| member.names.contains(path)) {
                // Another path's time is a change of its own, made after this one.
                let mtime = change.mtime.filter(|_| **path == *change.path);
                members.push(self.member(path, bytes, mtime)?);
            }
        }
        unchanged(disk::replace_unit(self.root, &members)?)
    }

    /// The member of a unit for the file at `path`; without `mtime` it keeps its time.
    fn member<'b>(
        &self,
        path: &Path,
        bytes: &'b [u8],
        mtime: Option<Time>,
    ) -> io::Result<disk::Member<'b>> {
        let before = self.entry(path).and_then(|e| e.inode);
        let same = |e: &&Entry| {
            before.is_some_and(|i| e.inode.is_some_and(|j| (i.dev, i.ino) == (j.dev, j.ino)))
        };
        let mut names: Vec<PathBuf> = Vec::new();
        for entry in self.entries.iter().filter(same) {
            if entry.path == path || self.chain.follows(self.root, entry)? {
                names.push(entry.path.clone());
            }
        }
        if names.is_empty() {
            names.push(path.to_owned());
        }
        let stat = self.root.stat(path)?.ok_or(io::ErrorKind::NotFound)?;
        let old = Root::entry(path, &stat).mtime;
        let mtime = mtime.or(old).unwrap_or(Time { sec: 0, nsec: 0 });
        Ok(disk::Member { names, stamp: Stamp::of(&stat), bytes, mtime })
    }

    /// Removes attributes and sets permission bits, once content and names are final.
    fn metadata(&self, change: &Change) -> io::Result<()> {
        if !change.action.is_of_metadata() {
            return Ok(());
        }
        for (names, stat) in self.inodes([change])? {
            self.own_inode(&names, &stat, None)?;
            let Some(path) = names.first().filter(|_| !is_left(&stat, &names)) else { continue };
            match &change.action {
                Action::Xattrs(gone) => self.root.remove_xattrs(path, gone)?,
                Action::Mode(bits) => self.root.set_mode(path, *bits)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The names that `changes` are about, grouped by their present inodes: a name may be gone or
    /// have a new inode.
    fn inodes<'c>(
        &self,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> io::Result<Vec<(Vec<PathBuf>, Stat)>> {
        let mut inodes: BTreeMap<(u64, u64), (Vec<PathBuf>, Stat)> = BTreeMap::new();
        for path in changes.into_iter().flat_map(names) {
            if let Some(stat) = self.root.stat(&path)? {
                let id = (stat.st_dev, stat.st_ino);
                inodes.entry(id).or_insert_with(|| (Vec::new(), stat)).0.push(path);
            }
        }
        Ok(inodes.into_values().collect())
    }

    /// Ensures that a regular file can be changed under `names` alone: if the inode has names
    /// outside the tree, or the file system would give a new inode to only one of our names, our
    /// names get a new inode. Returns whether it made one; that has the time `mtime`.
    fn own_inode(&self, names: &[PathBuf], stat: &Stat, mtime: Option<Time>) -> io::Result<bool> {
        let Some(first) = names.first() else { return Ok(false) };
        let split = || Ok::<_, io::Error>(names.len() > 1 && self.root.copies_up(first)?);
        if Kind::of_mode(stat.st_mode) != Kind::File || !(is_shared(stat, names) || split()?) {
            return Ok(false);
        }
        let Some(mut content) = self.root.open_file(first)? else { return Ok(false) };
        let mtime = mtime.or(Root::entry(first, stat).mtime).unwrap_or(Time { sec: 0, nsec: 0 });
        unchanged(disk::replace(self.root, names, Stamp::of(stat), &mut content, mtime)?)?;
        Ok(true)
    }

    /// Removes files first, then directories from the deepest up.
    fn removals(&self, plan: &Plan) -> io::Result<()> {
        let going = plan.changes.iter().filter(|c| matches!(c.action, Action::Remove { .. }));
        let (mut dirs, files): (Vec<&Change>, Vec<&Change>) =
            going.partition(|c| self.is_dir(&c.path));
        self.by_folder(&files, |folder, name, _| match folder.unlink(name) {
            // A step of another change has removed it already: a database takes its log with it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })?;
        let depth = |c: &&Change| Reverse(c.path.components().count());
        dirs.sort_by_key(depth);
        let mut levels = dirs.chunk_by(|a, b| depth(a) == depth(b));
        levels.try_for_each(|level| self.by_folder(level, |folder, name, _| folder.rmdir(name)))
    }

    fn touch_files(&self, plan: &Plan) -> io::Result<()> {
        let mut linked: Vec<&Change> = Vec::new();
        // Mostly it is every name: a list of all would take its share of memory.
        for part in plan.changes.chunks(PART) {
            let touched = part.iter().filter(|c| c.action == Action::Touch);
            let files = touched.filter(|c| !self.is_dir(&c.path));
            let (more, single): (Vec<&Change>, Vec<&Change>) =
                files.partition(|c| self.is_linked(c));
            linked.extend(more);
            self.by_folder(&single, |folder, name, change| match change.mtime {
                Some(time) => folder.set_mtime(name, time),
                None => Ok(()),
            })?;
        }
        // All changes of one inode set the same time.
        let times: BTreeMap<&Path, Time> =
            linked.iter().filter_map(|c| Some((&*c.path, c.mtime?))).collect();
        for (names, stat) in self.inodes(linked)? {
            let time = names.iter().find_map(|name| times.get(name.as_path()));
            let (Some(first), Some(time)) = (names.first(), time) else { continue };
            let own = self.own_inode(&names, &stat, Some(*time)).map_err(|e| at(first, &e))?;
            if !own && !is_left(&stat, &names) {
                self.root.set_mtime(first, *time).map_err(|e| at(first, &e))?;
            }
        }
        Ok(())
    }

    /// The remaining directories in which names are added, removed or replaced, with the time that
    /// each has now.
    fn times_of_touched<'p>(&self, plan: &'p Plan) -> BTreeMap<&'p Path, Time> {
        let mut dirs = touched_directories(plan, &|change| self.is_linked(change));
        let going = plan.changes.iter().filter(|c| matches!(c.action, Action::Remove { .. }));
        for change in going.filter(|c| self.is_dir(&c.path)) {
            dirs.remove(&*change.path);
        }
        let time = |dir| Some((dir, self.entry(dir)?.mtime?));
        dirs.into_iter().filter_map(time).collect()
    }

    /// The times that the plan gives to directories.
    fn new_times<'p>(&self, plan: &'p Plan) -> impl Iterator<Item = (&'p Path, Time)> {
        let touched = plan.changes.iter().filter(|c| c.action == Action::Touch);
        touched.filter(|c| self.is_dir(&c.path)).filter_map(|c| Some((&*c.path, c.mtime?)))
    }

    /// Records the times of directories and patched files in case the run is killed, at the top of
    /// each file system, whose own time that changes. If it cannot (the disk is full, and removals
    /// may help), the run continues without.
    fn note<'p>(&'p self, times: &mut BTreeMap<&'p Path, Time>, plan: &'p Plan) -> Vec<PathBuf> {
        let patched = plan.changes.iter().filter(|c| matches!(c.action, Action::Patch(_)));
        let kept = |path: &Path| self.entry(path)?.mtime;
        let patched = patched.filter_map(|c| Some((&*c.path, c.mtime.or(kept(&c.path))?)));
        let patched: Vec<(&Path, Time)> = patched.collect();
        let device = |path: &Path| Some(self.entry(path)?.inode?.dev);
        let all = times.keys().copied().chain(patched.iter().map(|(path, _)| *path));
        let devices: BTreeSet<u64> = all.filter_map(device).collect();
        let mut records = Vec::new();
        for dev in devices {
            let of_it = |e: &&Entry| e.inode.is_some_and(|i| i.dev == dev) && e.kind == Kind::Dir;
            let Some(top) = self.entries.iter().find(of_it) else { continue };
            times.extend(top.mtime.map(|time| (top.path.as_path(), time)));
            let here = times.iter().map(|(path, time)| (*path, *time)).chain(patched.clone());
            let here = here.filter(|(path, _)| device(path) == Some(dev));
            records.extend(disk::note_times(self.root, &top.path, here).ok());
        }
        records
    }

    /// Gives directories their times, which does not affect those above them, and removes the
    /// records.
    fn put_back(&self, times: &BTreeMap<&Path, Time>, records: &[PathBuf]) -> io::Result<()> {
        let set = |path: &Path, time| self.root.set_mtime(path, time).map_err(|e| at(path, &e));
        times.iter().try_for_each(|(path, time)| set(path, *time))?;
        records.iter().try_for_each(|record| {
            self.root.remove(record)?;
            let top = record.parent().unwrap_or(Path::new(""));
            times.get(top).map_or(Ok(()), |time| set(top, *time))
        })
    }

    /// Calls `each` for the names of `changes`, folder by folder in parallel.
    fn by_folder(
        &self,
        changes: &[&Change],
        each: impl Fn(&Folder, &OsStr, &Change) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let together = changes.par_chunk_by(|a, b| a.path.parent() == b.path.parent());
        together.try_for_each(|changes| {
            let Some(dir) = changes.first().and_then(|c| c.path.parent()) else { return Ok(()) };
            let folder = self.root.folder(dir).map_err(|e| at(dir, &e))?;
            changes.iter().try_for_each(|change| {
                let name = change.path.file_name().unwrap_or_default();
                each(&folder, name, change).map_err(|e| at(&change.path, &e))
            })
        })
    }
}

/// Multi-step changes, sorted by the first plugin that asks for each, then by path.
fn in_registry_order<'p>(plan: &'p Plan, chain: &Chain<'_>) -> Vec<&'p Change> {
    let rank = |change: &&Change| {
        let first = change.plugins.first();
        chain.plugins.iter().position(|plugin| Some(&plugin.page().name) == first)
    };
    let mut changes: Vec<&Change> =
        plan.changes.iter().filter(|c| matches!(c.action, Action::Steps(_))).collect();
    changes.sort_by_key(rank);
    changes
}

/// All names that a change is about.
fn names(change: &Change) -> Vec<PathBuf> {
    [&change.path].into_iter().chain(&*change.links).map(|path| path.to_path_buf()).collect()
}

/// Whether the inode has other names than these.
fn is_shared(stat: &Stat, names: &[PathBuf]) -> bool {
    stat.st_nlink > names.len() as u64
}

/// Whether the inode must stay as it is: a link or a FIFO with names outside the tree, for which no
/// new inode is made.
fn is_left(stat: &Stat, names: &[PathBuf]) -> bool {
    !matches!(Kind::of_mode(stat.st_mode), Kind::File | Kind::Dir) && is_shared(stat, names)
}

fn unchanged(same: bool) -> io::Result<()> {
    match same {
        true => Ok(()),
        false => Err(io::Error::other("the file changed while it was being replaced")),
    }
}

/// Directories in which a name was added, removed or replaced.
fn touched_directories<'p>(
    plan: &'p Plan,
    is_linked: &dyn Fn(&Change) -> bool,
) -> BTreeSet<&'p Path> {
    let mut dirs = BTreeSet::new();
    let mut last = None;
    let mut above = |path| {
        let dir = Path::parent(path).unwrap_or(Path::new(""));
        // The changes are sorted, so it is mostly the same directory again.
        if last.replace(dir) != Some(dir) {
            dirs.insert(dir);
        }
    };
    for change in &plan.changes {
        match &change.action {
            // A patch or a change of time may also need a new inode.
            Action::Rewrite(_) | Action::Patch(_) | Action::Xattrs(_) | Action::Mode(_) => {
                above(&change.path);
                change.links.iter().for_each(|p| above(p));
            }
            Action::Remove { .. } => above(&change.path),
            Action::Steps(steps) => {
                steps.iter().flat_map(Step::paths).for_each(&mut above);
                change.links.iter().for_each(|p| above(p));
            }
            Action::Touch if is_linked(change) => {
                above(&change.path);
                change.links.iter().for_each(|p| above(p));
            }
            Action::Touch => {}
        }
    }
    dirs
}
