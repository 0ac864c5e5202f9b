//! The plan of a run: what will be done, as data.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::read_once::ReadOnce;
use super::wanted::Wanted;
use crate::disk;
use crate::normal::{Chain, Form, Normal, Note, Verdicts};
use crate::normal::{Content, NewState, Step};
use crate::parallel::try_map;
use crate::tree::{self, Entry, Kind, Time, Tree};

/// Rewritten content kept between plan and application, in bytes over all files. Content beyond
/// that is computed again when it is written, so that memory does not grow with the tree.
const KEPT_BYTES: usize = 64 << 20;
/// Inodes that one thread judges in a row.
const BATCH: usize = 8;
/// Batches judged before their results are merged, so that all results are never in memory twice.
const ROUND: usize = 1 << 7;
/// What spooled content counts as in the budget: each keeps a file open, and at most about a
/// thousand may be.
const DESCRIPTOR: usize = 1 << 20;

/// One change: to an inode with all its names in the tree, or the removal of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The first name, which is the one shown.
    pub path: Box<Path>,
    /// The inode's other names in the tree, which follow.
    pub links: Box<[Box<Path>]>,
    /// The plugins that ask for it, in registry order; changes with the same plugins share one
    /// list.
    pub plugins: Arc<Vec<&'static str>>,
    /// What is done.
    pub action: Action,
    /// The new modification time, if it changes.
    pub mtime: Option<Time>,
}

/// What is done to an inode or a name. Most are times: what the others need is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// New content.
    Rewrite(Box<Rewrite>),
    /// One write in place: the size stays, only one block differs, and every name of the inode is
    /// in the tree.
    Patch(Box<Patch>),
    /// The name is removed.
    Remove {
        /// Bytes removed with it.
        before: u64,
    },
    /// Steps on several paths, in order.
    Steps(Box<[Step]>),
    /// These extended attributes are removed. The inode's content and time may be in another
    /// change.
    Xattrs(Box<[Vec<u8>]>),
    /// These permission bits are set. The inode's content and time may be in another change.
    Mode(u32),
    /// Only the modification time.
    Touch,
}

/// The new content of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Bytes before.
    pub before: u64,
    /// Bytes after.
    pub after: u64,
    /// The content, unless the budget for keeping it was used up.
    pub content: Option<Content>,
}

/// A write in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Offset in bytes.
    pub offset: u64,
    /// What is written there.
    pub content: Box<[u8]>,
}

impl Change {
    /// The order of changes to one path: attributes and permission bits come first.
    fn rank(&self) -> u8 {
        match self.action {
            Action::Xattrs(_) => 0,
            Action::Mode(_) => 1,
            _ => 2,
        }
    }
}

impl Action {
    /// Whether attributes or permission bits change and nothing else.
    pub fn is_of_metadata(&self) -> bool {
        matches!(self, Action::Xattrs(_) | Action::Mode(_))
    }
}

/// A path that a plugin knows and does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where.
    pub path: PathBuf,
    /// Which plugin.
    pub plugin: &'static str,
    /// What it says.
    pub note: Note,
}

/// Everything that one run would do, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, sorted by path.
    pub changes: Vec<Change>,
    /// The remarks, sorted by path.
    pub remarks: Vec<Remark>,
    /// Names walked.
    pub walked: usize,
    /// Files read, and their bytes.
    pub read: (usize, u64),
}

impl Plan {
    /// Whether the tree is in normal form.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The plan that brings a walk of `tree` into normal form.
///
/// Files are read in parallel, each once whatever its number of names. The result does not depend
/// on the number of threads. An error is one of reading the tree and names the path.
pub fn plan(
    tree: &dyn Tree,
    wanted: &Wanted<'_>,
    chain: &Chain<'_>,
    done: &(dyn Fn(usize) + Sync),
) -> io::Result<Plan> {
    let shared = Shared::default();
    // Mostly there is one per inode, or hardly any at all: reserved room that is not written to
    // takes no memory, and a growing list leaves holes.
    let changes = Vec::with_capacity(wanted.len());
    let mut plan = Plan { walked: wanted.entries.len(), changes, ..Plan::default() };
    let batches = (0..wanted.len()).step_by(BATCH).collect::<Vec<_>>();
    for round in batches.chunks(ROUND) {
        let judged = try_map(round.par_iter(), |first| {
            let mut judged = PlanPart::default();
            for inode in *first..wanted.len().min(first + BATCH) {
                judge(tree, &wanted.names(inode), chain, &shared, &mut judged)?;
                done(1);
            }
            Ok::<_, io::Error>(judged)
        })?;
        for part in judged {
            plan.changes.extend(part.changes);
            plan.remarks.extend(part.remarks);
            plan.read.0 += part.read.0;
            plan.read.1 += part.read.1;
        }
    }
    keep_needed_directories(&mut plan, wanted.entries);
    follow_moves(&mut plan);
    drop_touches_of_removed(&mut plan);
    let order =
        |a: &Change, b: &Change| tree::order(&a.path, &b.path).then(a.rank().cmp(&b.rank()));
    // Without hard links they are already in the order of the walk. Otherwise sort in place: a
    // stable sort takes as much memory again.
    if !plan.changes.is_sorted_by(|a, b| order(a, b).is_le()) {
        plan.changes.sort_unstable_by(order);
    }
    plan.remarks.sort_by(|a, b| tree::order(&a.path, &b.path).then(a.plugin.cmp(b.plugin)));
    Ok(plan)
}

/// What all judgements share.
#[derive(Default)]
struct Shared {
    /// Bytes of rewritten content kept so far.
    kept: AtomicUsize,
    /// The lists of plugins in changes.
    lists: Mutex<Vec<Arc<Vec<&'static str>>>>,
}

impl Shared {
    /// The shared list of these plugins.
    fn list(&self, plugins: &[&'static str]) -> Arc<Vec<&'static str>> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lists.iter().find(|known| known[..] == *plugins) {
            return Arc::clone(known);
        }
        let new = Arc::new(plugins.to_vec());
        lists.push(Arc::clone(&new));
        new
    }
}

/// A name that a plugin reports, and which plugin gives it which time.
type Reported<'e> = (&'e Entry, &'static str, Option<(&'static str, Time)>);

/// The result for some inodes.
#[derive(Default)]
struct PlanPart {
    changes: Vec<Change>,
    remarks: Vec<Remark>,
    read: (usize, u64),
}

fn judge(
    tree: &dyn Tree,
    names: &[&Entry],
    chain: &Chain<'_>,
    shared: &Shared,
    out: &mut PlanPart,
) -> io::Result<()> {
    let once = ReadOnce::of(tree, names);
    let tree: &dyn Tree = once.as_ref().map_or(tree, |once| once);
    let from = out.changes.len();
    let mut read = false;
    let mut known = Verdicts::default();
    let mut stays: Option<(&Entry, Normal)> = None;
    let mut reported: Vec<Reported<'_>> = Vec::new();
    let mut times: Vec<(&Entry, (&'static str, Time))> = Vec::new();
    for &entry in names {
        // A name that no plugin wants follows its inode; a wanted one may go on its own.
        if names.len() > 1 && !chain.wants(entry) {
            continue;
        }
        let normal = match names.len() {
            1 => chain.normal_form(tree, entry),
            _ => chain.normal_form_of_link(tree, entry, &mut known),
        };
        let mut normal = normal.map_err(|e| at(&entry.path, &e))?;
        if normal.read && !read {
            read = true;
            out.read.0 += 1;
            out.read.1 += entry.size;
        }
        if is_bound(entry, names)
            && let Some(plugin) = normal.take_metadata()
        {
            normal.notes.push((plugin, Note::Report(BOUND.to_owned())));
        }
        for (plugin, note) in &normal.notes {
            if matches!(note, Note::Report(_)) {
                reported.push((entry, plugin, normal.mtime));
            }
            let (path, note) = (entry.path.clone(), note.clone());
            out.remarks.push(Remark { path, plugin, note });
        }
        let attributes =
            normal.xattrs.take().map(|(plugin, gone)| (plugin, Action::Xattrs(gone.into())));
        let mode = normal.mode.take().map(|(plugin, bits)| (plugin, Action::Mode(bits)));
        for (plugin, action) in attributes.into_iter().chain(mode) {
            // Attributes belong to the inode: one change for all its names.
            let same = |c: &Change| discriminant(&c.action) == discriminant(&action);
            if !out.changes[from..].iter().any(same) {
                let names = following(tree, names, entry, chain)?;
                out.changes.push(of_metadata(&names, entry, shared.list(&[plugin]), action));
            }
        }
        if normal.form == Form::Kept {
            times.extend(normal.mtime.map(|time| (entry, time)));
        }
        match (normal.is_removed(entry), &normal.form) {
            // The inode's other names stay and follow their own plugins.
            (true, Form::Steps(_)) => {
                out.changes.push(change(entry, Box::default(), normal, shared))
            }
            (true, _) => out.changes.push(removal(entry, normal, shared)),
            (false, _) if normal.is_kept() => {}
            // Different plugins may want several names of one inode: content wins over time.
            (false, _) => match &stays {
                Some((_, first)) if first.form != Form::Kept || normal.form == Form::Kept => {}
                _ => stays = Some((entry, normal)),
            },
        }
    }
    let leaves = out.changes[from..].iter().filter(|c| !c.action.is_of_metadata());
    let gone: BTreeSet<Box<Path>> = leaves.map(|c| c.path.clone()).collect();
    if let Some((entry, normal)) = stays {
        // A name that must not change, as a plugin says, keeps the old inode.
        let apart = |p: &&'static str| normal.form != Form::Kept && normal.by.contains(p);
        reported.retain(|(other, plugin, _)| other.path != entry.path && apart(plugin));
        let follows = |p: &Path| {
            *p != *entry.path && !gone.contains(p) && !reported.iter().any(|(e, ..)| *e.path == *p)
        };
        let followers = match normal.form {
            Form::Kept | Form::Removed => names.to_vec(),
            Form::Bytes(_) | Form::Steps(_) => following(tree, names, entry, chain)?,
        };
        // A name that does not follow keeps its inode, and still needs its time.
        times.retain(|(other, _)| followers.iter().all(|name| name.path != other.path));
        out.changes.extend(times.iter().map(|(other, time)| touch(other, *time, shared)));
        let links = followers.iter().map(|e| boxed(e)).filter(|path| follows(path)).collect();
        out.changes.push(change(entry, links, normal, shared));
        out.changes.extend(reported.iter().filter_map(|(e, _, t)| t.map(|t| touch(e, t, shared))));
    }
    Ok(())
}

/// The names of an inode that change with `entry`: those that nothing vouches for. An object of an
/// ostree repository keeps its bytes, and its checkout gets a new inode.
fn following<'e>(
    tree: &dyn Tree,
    names: &[&'e Entry],
    entry: &Entry,
    chain: &Chain<'_>,
) -> io::Result<Vec<&'e Entry>> {
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let own = name.path == entry.path;
        if own || chain.follows(tree, name).map_err(|e| at(&name.path, &e))? {
            all.push(*name);
        }
    }
    Ok(all)
}

/// Whether the inode has names outside the tree and is of a kind for which no new one is made.
fn is_bound(entry: &Entry, names: &[&Entry]) -> bool {
    !matches!(entry.kind, Kind::File | Kind::Dir)
        && entry.inode.is_some_and(|inode| inode.nlink.get() as usize > names.len())
}

/// The remark about such an inode.
const BOUND: &str = "left as it is, since it is a hard link of something outside this root; make it \
                     anew (`cp -a` it and rename the copy)";

/// The path of an entry as changes hold it.
fn boxed(entry: &Entry) -> Box<Path> {
    entry.path.as_path().into()
}

/// A change of time alone.
fn touch(entry: &Entry, (plugin, time): (&'static str, Time), shared: &Shared) -> Change {
    let (path, links, plugins) = (boxed(entry), Box::default(), shared.list(&[plugin]));
    Change { path, links, plugins, action: Action::Touch, mtime: Some(time) }
}

/// Attributes or permission bits of the inode of all these names.
fn of_metadata(
    names: &[&Entry],
    entry: &Entry,
    plugins: Arc<Vec<&'static str>>,
    action: Action,
) -> Change {
    let links = names.iter().filter(|e| e.path != entry.path).map(|e| boxed(e)).collect();
    Change { path: boxed(entry), links, plugins, action, mtime: None }
}

fn removal(entry: &Entry, normal: Normal, shared: &Shared) -> Change {
    Change {
        path: boxed(entry),
        links: Box::default(),
        plugins: shared.list(&normal.by),
        action: Action::Remove { before: if entry.kind == Kind::Dir { 0 } else { entry.size } },
        mtime: None,
    }
}

fn change(entry: &Entry, links: Box<[Box<Path>]>, normal: Normal, shared: &Shared) -> Change {
    let action = match normal.form {
        Form::Bytes(new) => {
            let ours = entry.inode.is_some_and(|i| i.nlink.get() as usize == links.len() + 1);
            rewrite(entry.size, normal.original.as_deref().filter(|_| ours), new, &shared.kept)
        }
        Form::Steps(steps) => Action::Steps(steps.into()),
        Form::Kept | Form::Removed => Action::Touch,
    };
    Change {
        path: boxed(entry),
        links,
        plugins: shared.list(&normal.by),
        action,
        mtime: normal.mtime.map(|m| m.1),
    }
}

/// Makes a rewrite, or a patch of `old`, the content before, if that may be patched in place.
fn rewrite(before: u64, old: Option<&[u8]>, new: Content, kept: &AtomicUsize) -> Action {
    if let (Some(old), Content::Held(new)) = (old, &new)
        && let Some((start, len)) = disk::patch_range(old, new)
    {
        let content = new[start..start + len].into();
        return Action::Patch(Box::new(Patch { offset: start as u64, content }));
    }
    let takes = match &new {
        Content::Held(bytes) => bytes.len(),
        Content::Spooled(_) => DESCRIPTOR,
    };
    let room = kept.fetch_add(takes, Ordering::Relaxed) + takes <= KEPT_BYTES;
    Action::Rewrite(Box::new(Rewrite { before, after: new.len(), content: room.then_some(new) }))
}

/// Keeps directories in which something stays.
fn keep_needed_directories(plan: &mut Plan, entries: &[Entry]) {
    let removed = |c: &&Change| matches!(c.action, Action::Remove { .. });
    let names = plan.changes.iter().filter(removed).map(|c| c.path.as_os_str().to_owned());
    let mut going: HashSet<OsString> = names.collect();
    // Backwards, a directory comes after all that is in it.
    for entry in entries.iter().rev() {
        match entry.path.parent() {
            Some(dir) if !going.contains(entry.path.as_os_str()) => {
                going.remove(dir.as_os_str());
            }
            _ => {}
        }
    }
    plan.changes.retain(|c| !removed(&c) || going.contains(c.path.as_os_str()));
}

/// Drops changes of time for names that are removed.
fn drop_touches_of_removed(plan: &mut Plan) {
    let mut going: BTreeSet<Box<Path>> = BTreeSet::new();
    for change in &plan.changes {
        match &change.action {
            Action::Remove { .. } => drop(going.insert(change.path.clone())),
            Action::Steps(steps) => going.extend(removed_by(steps).map(PathBuf::into_boxed_path)),
            Action::Rewrite(_)
            | Action::Patch(_)
            | Action::Xattrs(_)
            | Action::Mode(_)
            | Action::Touch => {}
        }
    }
    plan.changes.retain(|c| c.action != Action::Touch || !going.contains(&c.path));
}

/// The names that are gone after these steps.
fn removed_by(steps: &[Step]) -> impl Iterator<Item = PathBuf> {
    let names = steps.iter().filter_map(|step| match step {
        Step::Remove(path) => Some(path),
        Step::Write(..) | Step::Link(..) | Step::Unit(_) => None,
    });
    let last = |path: &&PathBuf| steps.iter().rev().find_map(|step| step.new_state(path));
    names.filter(move |path| last(path) == Some(NewState::Nothing)).cloned()
}

/// Moves changes of time along with names that another path's steps move (a kernel with its
/// initramfs).
fn follow_moves(plan: &mut Plan) {
    let mut moves: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for change in &plan.changes {
        let Action::Steps(steps) = &change.action else { continue };
        for step in steps {
            if let Step::Link(new, old) = step
                && steps.contains(&Step::Remove(old.clone()))
            {
                moves.insert(old.clone(), new.clone());
            }
        }
    }
    for change in plan.changes.iter_mut().filter(|c| c.action == Action::Touch) {
        for path in [&mut change.path].into_iter().chain(&mut *change.links) {
            if let Some(new) = moves.get(&**path) {
                *path = new.as_path().into();
            }
        }
    }
}

/// A read error with the path at which it happened.
pub(super) fn at(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}
