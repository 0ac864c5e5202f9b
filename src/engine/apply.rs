//! Doing what the plan says, so that a kill at any instant leaves old or new files only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::plan::{Action, Change, Plan, at};
use super::{Chain, Form};
use crate::fsx::{self, Root, Stamp};
use crate::plugins::{Content, Step};
use crate::tree::{Entry, Kind, Time};

/// Applies `plan` to `root`, of which `entries` is the sorted walk that the plan was made from.
///
/// Content first (in parallel), then multi-step changes in the order of their plugins (a history
/// before the database that it quotes), then removals from the deepest up, then
/// times, directories last and deepest first: every directory that was touched gets the time that
/// the plan gives it, or the one it had. Gives the paths that changed under our hands since they
/// were read; they were left alone. The first error stops the run.
pub fn apply(
    root: &Root,
    entries: &[Entry],
    plan: &Plan,
    chain: &Chain<'_>,
    done: &(dyn Fn(usize) + Sync),
) -> io::Result<Vec<PathBuf>> {
    let job = Job { root, entries, chain };
    let raced = plan
        .changes
        .par_iter()
        .map(|change| {
            done(1);
            job.content(change).map_err(|e| at(&change.path, &e))
        })
        .collect::<io::Result<Vec<bool>>>()?;
    for change in in_registry_order(plan, chain) {
        job.steps(change).map_err(|e| at(&change.path, &e))?;
    }
    for change in plan.changes.iter().rev() {
        // A step of another path may have removed it before (a database's log).
        let there = || root.stat(&change.path).map(|stat| stat.is_some());
        if matches!(change.action, Action::Remove { .. }) && there()? {
            match root.remove(&change.path) {
                // A step of another change was first: a database takes its log with it.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|e| at(&change.path, &e))?,
            }
        }
    }
    for change in &plan.changes {
        job.xattrs(change).map_err(|e| at(&change.path, &e))?;
    }
    job.times(plan)?;
    let raced = plan.changes.iter().zip(raced).filter(|(_, ok)| !ok);
    Ok(raced.map(|(change, _)| change.path.clone()).collect())
}

struct Job<'a> {
    root: &'a Root,
    entries: &'a [Entry],
    chain: &'a Chain<'a>,
}

impl Job<'_> {
    fn entry(&self, path: &Path) -> Option<&Entry> {
        let index = self.entries.binary_search_by(|e| e.path.as_path().cmp(path)).ok()?;
        self.entries.get(index)
    }

    /// `false` if the file is no longer what was read.
    fn content(&self, change: &Change) -> io::Result<bool> {
        let Some(entry) = self.entry(&change.path) else { return Ok(true) };
        let Some(stamp) = Stamp::of_entry(entry) else { return Ok(true) };
        let mtime = change.mtime.or(entry.mtime).unwrap_or(Time { sec: 0, nsec: 0 });
        match &change.action {
            Action::Patch { offset, content } => {
                fsx::patch(self.root, &change.path, stamp, *offset, content, mtime)
            }
            Action::Rewrite { content, .. } => {
                let again = match content {
                    Some(_) => None,
                    None => self.compute_again(entry)?,
                };
                let Some(content) = content.as_ref().or(again.as_ref()) else { return Ok(false) };
                let names: Vec<PathBuf> =
                    [&change.path].into_iter().chain(&change.links).cloned().collect();
                fsx::replace(self.root, &names, stamp, &mut content.reader(), mtime)
            }
            Action::Remove { .. } | Action::Steps(_) | Action::Xattrs(_) | Action::Touch => {
                Ok(true)
            }
        }
    }

    /// Content that the plan's memory budget had no room for.
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
        let fsx::Member { names, stamp, mtime, .. } = self.member(path, &[], change.mtime)?;
        unchanged(fsx::replace(self.root, &names, stamp, &mut content.reader(), mtime)?)
    }

    /// Files that change as one, each inode once.
    fn unit_step(&self, change: &Change, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
        let mut members: Vec<fsx::Member<'_>> = Vec::with_capacity(files.len());
        for (path, bytes) in files {
            if !members.iter().any(|member| member.names.contains(path)) {
                // Another path's time is a change of its own, made after this one.
                let mtime = change.mtime.filter(|_| *path == change.path);
                members.push(self.member(path, bytes, mtime)?);
            }
        }
        unchanged(fsx::replace_unit(self.root, &members)?)
    }

    /// What replacing the content of the file at `path` takes; without `mtime` it keeps its own.
    fn member<'b>(
        &self,
        path: &Path,
        bytes: &'b [u8],
        mtime: Option<Time>,
    ) -> io::Result<fsx::Member<'b>> {
        let before = self.entry(path).and_then(|e| e.inode);
        let same = |e: &&Entry| {
            before.is_some_and(|i| e.inode.is_some_and(|j| (i.dev, i.ino) == (j.dev, j.ino)))
        };
        let mut names: Vec<PathBuf> =
            self.entries.iter().filter(same).map(|e| e.path.clone()).collect();
        if names.is_empty() {
            names.push(path.to_owned());
        }
        let stat = self.root.stat(path)?.ok_or(io::ErrorKind::NotFound)?;
        let old = Root::entry(path, &stat).mtime;
        let mtime = mtime.or(old).unwrap_or(Time { sec: 0, nsec: 0 });
        Ok(fsx::Member { names, stamp: Stamp::of(&stat), bytes, mtime })
    }

    /// Takes attributes away, after content and names are what they will be.
    fn xattrs(&self, change: &Change) -> io::Result<()> {
        let Action::Xattrs(gone) = &change.action else { return Ok(()) };
        let all = [&change.path].into_iter().chain(&change.links);
        let mut inodes: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
        for path in all {
            // A name may have gone, or have got an inode of its own.
            if let Some(stat) = self.root.stat(path)? {
                inodes.entry(stat.st_ino).or_default().push(path.clone());
            }
        }
        for names in inodes.values() {
            self.inode_xattrs(names, gone)?;
        }
        Ok(())
    }

    /// An inode with names outside the tree keeps its attributes: ours get a new one first.
    fn inode_xattrs(&self, names: &[PathBuf], gone: &[Vec<u8>]) -> io::Result<()> {
        let Some(first) = names.first() else { return Ok(()) };
        let Some(stat) = self.root.stat(first)? else { return Ok(()) };
        let shared = stat.st_nlink as usize > names.len();
        match Kind::of_mode(stat.st_mode) {
            Kind::File if shared => {
                let Some(mut content) = self.root.open_file(first)? else { return Ok(()) };
                let mtime = Root::entry(first, &stat).mtime.unwrap_or(Time { sec: 0, nsec: 0 });
                let stamp = Stamp::of(&stat);
                unchanged(fsx::replace(self.root, names, stamp, &mut content, mtime)?)?;
            }
            Kind::Symlink if shared => return Ok(()),
            _ => {}
        }
        self.root.remove_xattrs(first, gone)
    }

    fn times(&self, plan: &Plan) -> io::Result<()> {
        let mut dirs: BTreeMap<PathBuf, Time> = BTreeMap::new();
        for dir in touched_directories(plan) {
            if let Some(time) = self.entry(&dir).and_then(|e| e.mtime) {
                dirs.insert(dir, time);
            }
        }
        for change in &plan.changes {
            match (&change.action, change.mtime) {
                (Action::Remove { .. }, _) => {
                    dirs.remove(&change.path);
                }
                (Action::Touch, Some(time)) => match self.entry(&change.path) {
                    Some(e) if e.kind == Kind::Dir => {
                        dirs.insert(change.path.clone(), time);
                    }
                    _ => self.set_time(&change.path, time)?,
                },
                _ => {}
            }
        }
        // Setting a time changes no other time: deepest first only keeps a killed run tidy.
        dirs.iter().rev().try_for_each(|(path, time)| self.set_time(path, *time))
    }

    fn set_time(&self, path: &Path, time: Time) -> io::Result<()> {
        self.root.set_mtime(path, time).map_err(|e| at(path, &e))
    }
}

/// Multi-step changes by the first plugin that asks for each, then by path.
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

fn unchanged(same: bool) -> io::Result<()> {
    match same {
        true => Ok(()),
        false => Err(io::Error::other("the file changed while it was being replaced")),
    }
}

/// Directories in which a name came, went or was replaced.
fn touched_directories(plan: &Plan) -> BTreeSet<PathBuf> {
    let mut dirs = BTreeSet::new();
    let mut above = |path: &Path| {
        dirs.insert(path.parent().unwrap_or(Path::new("")).to_owned());
    };
    for change in &plan.changes {
        match &change.action {
            Action::Rewrite { .. } | Action::Xattrs(_) => {
                above(&change.path);
                change.links.iter().for_each(|p| above(p));
            }
            Action::Remove { .. } => above(&change.path),
            Action::Steps(steps) => {
                steps.iter().flat_map(Step::paths).for_each(&mut above);
                change.links.iter().for_each(|p| above(p));
            }
            Action::Patch { .. } | Action::Touch => {}
        }
    }
    dirs
}
