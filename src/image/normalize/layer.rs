//! One layer in normal form.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write};

use anyhow::Context as _;
use serde::Serialize;

use crate::format::tar::{BLOCK, Member, Records, Type, header, parent, patched};
use crate::image::compare::RUN_TIMES;
use crate::image::unpack::{Disk, OPAQUE, Role, join, role};
use crate::source::oci::Layer;
use crate::tree::Time;

/// What was changed in a layer, by number of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Modification times later than the epoch.
    pub clamped: usize,
    /// PAX headers whose `atime` or `ctime` was dropped.
    pub records: usize,
    /// Entries of parent directories that were added.
    pub parents: usize,
    /// Whiteouts that became opaque directories, or were not needed.
    pub whiteouts: usize,
    /// Entries of a name that a later entry has as well.
    pub duplicates: usize,
    /// Members taken out because another layer has them now (`opm fix`).
    pub taken_out: usize,
    /// Whether members changed places.
    pub sorted: bool,
    /// Whether the records of a global PAX header became those of each member.
    pub globals: bool,
}

/// A layer to be written.
pub(super) struct Plan<'l> {
    layer: &'l Layer,
    steps: Vec<Step>,
    pub(super) changes: Changes,
}

/// A member to be written.
struct Step {
    member: Member,
    /// The member that it was.
    origin: Option<usize>,
    /// The member whose content it has.
    content: usize,
}

/// What decides on a normal form.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// Seconds since 1970-01-01 UTC that no time exceeds.
    pub(super) epoch: i64,
    /// Paths that are taken out with all below them.
    pub(super) without: &'a [Vec<u8>],
}

impl Rules<'_> {
    fn takes_out(&self, path: &[u8]) -> bool {
        let path = match role(path) {
            Role::Whiteout(hidden) => hidden,
            Role::Opaque(dir) => dir,
            Role::Plain => path.to_vec(),
        };
        let below = |dir: &Vec<u8>| {
            path.strip_prefix(&dir[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        self.without.iter().any(below)
    }
}

/// Plans the normal form of `layer`, whose lower layers give `below`.
///
/// # Errors
///
/// On what no order of unpacking makes sense of: a path through a file.
pub(super) fn plan<'l>(
    layer: &'l Layer,
    below: &Disk<'_>,
    rules: Rules<'_>,
) -> anyhow::Result<Plan<'l>> {
    let mut changes = Changes { globals: layer.has_globals, ..Changes::default() };
    let files = resolve_links(layer);
    let mut named = last_of_each_name(layer, below, &mut changes)?;
    named.retain(|path, _| {
        let out = rules.takes_out(path);
        changes.taken_out += usize::from(out);
        !out
    });
    let mut steps: BTreeMap<Key, Step> = BTreeMap::new();
    let leaders = leaders(&named, &files);
    for (path, &index) in &named {
        let content = files[index];
        let mut member = layer.members[index].clone();
        if let Some(leader) = leaders.get(&content) {
            // The first name is the file, the others are links to it, with what the file has.
            member = layer.members[content].clone();
            if *leader != path {
                (member.kind, member.link, member.size) = (Type::Hardlink, leader.to_vec(), 0);
            }
        }
        member.path = path.clone().into();
        // What a global header says is in no member's own: all are written anew.
        let same = !layer.has_globals && same_but_times(&member, &layer.members[index]);
        let origin = same.then_some(index);
        if layer.has_globals {
            // What was said of the archive (git names its commit there) is not said of each member.
            member.records.remove(&b"comment"[..]);
        }
        if origin.is_some() {
            member = layer.members[index].clone();
        }
        steps.insert(key(path), Step { member, origin, content });
    }
    settle_whiteouts(&mut steps, &mut changes);
    add_parents(&mut steps, below, rules.epoch, &mut changes);
    if changes.taken_out > 0 && steps.values().all(|s| below.has_directory(&s.member)) {
        // Only entries for the sake of what was taken out are left.
        steps.clear();
    }
    let mut steps: Vec<Step> = steps.into_values().collect();
    for step in &mut steps {
        clamp(&mut step.member, rules.epoch, &mut changes);
    }
    let order = steps.iter().filter_map(|s| s.origin);
    changes.sorted = !order.is_sorted();
    Ok(Plan { layer, steps, changes })
}

/// Whether two members differ in times only, so that the headers of one serve the other.
fn same_but_times(a: &Member, b: &Member) -> bool {
    let bare = |m: &Member| Member {
        mtime: Time { sec: 0, nsec: 0 },
        records: Records::new(),
        absolute: false,
        header: 0,
        data: 0,
        ..m.clone()
    };
    bare(a) == bare(b)
}

/// A path as components: a directory comes right before what is in it.
type Key = Vec<Vec<u8>>;

fn key(path: &[u8]) -> Key {
    if path.is_empty() {
        return Key::new();
    }
    path.split(|&b| b == b'/').map(<[u8]>::to_vec).collect()
}

/// For each member, the one that holds its content: itself, or the target of a hard link.
fn resolve_links(layer: &Layer) -> Vec<usize> {
    let mut at: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut files = Vec::new();
    for (i, member) in layer.members.iter().enumerate() {
        let own = match member.kind {
            Type::Hardlink => at.get(&member.link[..]).copied().unwrap_or(i),
            _ => i,
        };
        at.insert(&member.path, own);
        files.push(own);
    }
    files
}

/// The last member of each name, the links of lower layers in its directories followed.
fn last_of_each_name(
    layer: &Layer,
    below: &Disk<'_>,
    changes: &mut Changes,
) -> anyhow::Result<BTreeMap<Vec<u8>, usize>> {
    let own: BTreeSet<&[u8]> = layer.members.iter().map(|m| &*m.path).collect();
    let mut named = BTreeMap::new();
    for (i, member) in layer.members.iter().enumerate() {
        let mut above = std::iter::successors(Some(parent(&member.path)), |p| Some(parent(p)))
            .take_while(|p| !p.is_empty());
        let path = match above.any(|dir| own.contains(dir)) {
            true => member.path.to_vec(),
            false => below.resolve(&member.path).map_err(|why| {
                anyhow::anyhow!("{}: {why}", String::from_utf8_lossy(&member.path))
            })?,
        };
        changes.duplicates += usize::from(named.insert(path, i).is_some());
    }
    Ok(named)
}

/// The first name of every file that has several, in the order of the archive.
fn leaders<'a>(
    named: &'a BTreeMap<Vec<u8>, usize>,
    files: &[usize],
) -> BTreeMap<usize, &'a Vec<u8>> {
    let mut groups: BTreeMap<usize, Vec<&Vec<u8>>> = BTreeMap::new();
    for (path, &index) in named {
        groups.entry(files[index]).or_default().push(path);
    }
    let link = |(file, paths): (usize, Vec<&'a Vec<u8>>)| {
        let first = paths.iter().copied().min_by_key(|p| key(p))?;
        // A file whose own name is gone lives on under the first of its other names.
        let renamed = !paths.iter().any(|p| named[*p] == file);
        (paths.len() > 1 || renamed).then_some((file, first))
    };
    groups.into_iter().filter_map(link).collect()
}

/// Whiteouts act on lower layers only: one that hides what this layer brings again becomes an
/// opaque directory, which every unpacker understands alike.
fn settle_whiteouts(steps: &mut BTreeMap<Key, Step>, changes: &mut Changes) {
    let hidden: Vec<(Key, Vec<u8>)> = steps
        .iter()
        .filter_map(|(k, step)| match role(&step.member.path) {
            Role::Whiteout(hidden) => Some((k.clone(), hidden)),
            _ => None,
        })
        .collect();
    for (whiteout, path) in hidden {
        let dir = key(&path);
        let inside = steps.range(dir.clone()..).next();
        let Some((first, again)) = inside.filter(|(k, _)| k.starts_with(&dir)) else { continue };
        let as_dir = *first != dir || again.member.kind == Type::Dir;
        changes.whiteouts += 1;
        let Some(mut step) = steps.remove(&whiteout) else { continue };
        if as_dir {
            let path = join(&path, OPAQUE);
            step.member.path = path.clone().into();
            step.origin = None;
            steps.insert(key(&path), step);
        }
    }
}

/// Entries for the directories that members are in, with the attributes that lower layers gave
/// them.
fn add_parents(
    steps: &mut BTreeMap<Key, Step>,
    below: &Disk<'_>,
    epoch: i64,
    changes: &mut Changes,
) {
    let mut missing: BTreeSet<Key> = BTreeSet::new();
    for k in steps.keys() {
        for length in 1..k.len() {
            if !steps.contains_key(&k[..length]) {
                missing.insert(k[..length].to_vec());
            }
        }
    }
    changes.parents = missing.len();
    for k in missing {
        let path = k.join(&b'/');
        let member = below.directory(&path).unwrap_or_else(|| blank(&path, epoch));
        steps.insert(k, Step { member, origin: None, content: 0 });
    }
}

/// A directory that nobody has described: root's, 0755.
pub(super) fn blank(path: &[u8], epoch: i64) -> Member {
    Member {
        path: path.into(),
        absolute: false,
        kind: Type::Dir,
        mode: 0o755,
        uid: 0,
        gid: 0,
        uname: Vec::new(),
        gname: Vec::new(),
        size: 0,
        mtime: Time { sec: epoch, nsec: 0 },
        link: Vec::new(),
        device: (0, 0),
        xattrs: Records::new(),
        records: Records::new(),
        header: 0,
        data: 0,
        sparse: false,
    }
}

fn clamp(member: &mut Member, epoch: i64, changes: &mut Changes) {
    let limit = Time { sec: epoch, nsec: 0 };
    if member.mtime > limit {
        member.mtime = limit;
        changes.clamped += 1;
    }
    let before = member.records.len();
    member.records.retain(|key, _| !RUN_TIMES.contains(&&key[..]));
    changes.records += usize::from(member.records.len() != before);
}

impl Plan<'_> {
    /// Whether nothing is left to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the archive is in normal form already, byte for byte.
    pub(super) fn is_unchanged(&self) -> anyhow::Result<bool> {
        let layer = self.layer;
        let same = self.steps.len() == layer.members.len()
            && self.steps.iter().enumerate().all(|(i, step)| step.origin == Some(i));
        if !same {
            return Ok(false);
        }
        for (step, was) in self.steps.iter().zip(&layer.members) {
            if self.header(step)? != self.raw(was)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the archive.
    pub(super) fn write(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut written = 0;
        for step in &self.steps {
            let header = self.header(step)?;
            out.write_all(&header)?;
            written += header.len() as u64;
            if step.member.kind != Type::File {
                continue;
            }
            let content = self.layer.content(step.content).context("content was not kept")?;
            let copied = io::copy(&mut content.take(step.member.size), out)?;
            anyhow::ensure!(copied == step.member.size, "the layer's temporary file is too short");
            let padded = copied.next_multiple_of(BLOCK as u64);
            out.write_all(&[0; BLOCK][..(padded - copied) as usize])?;
            written += padded;
        }
        // GNU tar pads to records of 20 blocks, other writers end after two.
        let whole = self.layer.sums.plain;
        let record = 20 * BLOCK as u64;
        let padded = whole.is_multiple_of(record) && whole - self.layer.end() > 2 * BLOCK as u64;
        let end = written + 2 * BLOCK as u64;
        let end = if padded { end.next_multiple_of(record) } else { end };
        io::copy(&mut io::repeat(0).take(end - written), out)?;
        Ok(())
    }

    /// A step's headers: the original ones, patched; written anew where there are none.
    fn header(&self, step: &Step) -> anyhow::Result<Vec<u8>> {
        if let Some(was) = step.origin.map(|i| &self.layer.members[i])
            && let Some(bytes) = patched(&self.raw(was)?, was, &step.member)?
        {
            return Ok(bytes);
        }
        let mut member = step.member.clone();
        member.absolute = false;
        Ok(header(&member)?)
    }

    fn raw(&self, was: &Member) -> anyhow::Result<Vec<u8>> {
        let raw = self.layer.plain(was.header, was.data - was.header);
        let mut bytes = Vec::new();
        raw.context("the layer's headers were not kept")?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
