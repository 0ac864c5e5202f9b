//! Why two layers differ.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::Serialize;

use super::class::Class;
use crate::composefs::is_uki;
use crate::format::tar::{Member, Type};
use crate::image::stacker::filesystem::{self, Cause};
use crate::source::oci::{Descriptor, Digest, Keep, Layer, Store, layer, limits};
use crate::text::counted;
use crate::tree::show_below;

/// Two layers at the same place in two images.
#[derive(Clone, Debug, Serialize)]
pub struct LayerPair {
    /// Their number, the lowest is 0.
    pub number: usize,
    /// diff_ids in A and B.
    pub diff_ids: [Digest; 2],
    /// Digests as stored, in A and B.
    pub digests: [Digest; 2],
    /// The ways in which they differ; empty if their plain bytes and stored bytes are the same.
    pub classes: BTreeSet<Class>,
    /// What exactly differs, one phrase per line.
    pub details: Vec<String>,
    /// Whether either has a unified kernel image where bootc looks for one.
    #[serde(skip)]
    pub(super) has_uki: bool,
}

/// One side of a pair of layers.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) store: &'a Store,
    pub(super) layer: &'a Descriptor,
    pub(super) diff_id: &'a Digest,
}

/// Layers that were read with their content, by number.
pub(super) type LayersByNumber = BTreeMap<usize, Layer>;

/// Says why two layers differ. Layers of one diff_id are not read; those whose files differ are left in
/// `kept`, since a comparison path by path needs them again.
pub(super) fn compare(
    number: usize,
    a: Side<'_>,
    b: Side<'_>,
    kept: &mut [LayersByNumber; 2],
) -> anyhow::Result<LayerPair> {
    let (mut classes, mut details, mut has_uki) = (BTreeSet::new(), Vec::new(), false);
    if a.diff_id == b.diff_id {
        let known = a.layer.size >= 0 && b.layer.size >= 0;
        if known && a.layer.digest != b.layer.digest {
            classes.insert(Class::Compression);
        }
    } else if is_archive(a.layer) && is_archive(b.layer) {
        let read = |s: Side<'_>| layer(s.store, s.layer, s.diff_id, Keep::Spool);
        let mut found = Found::default();
        let (x, y) = rayon::join(|| read(a), || read(b));
        let (x, y) = (x?, y?);
        let members = || x.members.iter().chain(&y.members);
        has_uki = members().any(|m| str::from_utf8(&m.path).is_ok_and(is_uki));
        found.members(&x, &y);
        (classes, details) = found.settle();
        let held =
            kept.iter().flat_map(LayersByNumber::values).map(Layer::footprint).sum::<usize>();
        let fits = held + x.footprint() + y.footprint() <= limits::MEMBER_BYTES;
        if classes.contains(&Class::Content) && fits {
            kept[0].insert(number, x);
            kept[1].insert(number, y);
        }
    } else {
        let open = |s: Side<'_>| s.store.open_file(&s.layer.name);
        let (Some(mut x), Some(mut y)) = (open(a)?, open(b)?) else {
            anyhow::bail!("a layer is missing: copy the image again");
        };
        match filesystem::differences(&mut x, &mut y)? {
            Some(causes) => classes.extend(causes.into_iter().map(class)),
            None => drop(classes.insert(Class::Content)),
        }
    }
    Ok(LayerPair {
        number,
        diff_ids: [a.diff_id.clone(), b.diff_id.clone()],
        digests: [a.layer.digest.clone(), b.layer.digest.clone()],
        classes,
        details,
        has_uki,
    })
}

/// Whether a layer is a tar archive; stacker's squashfs and erofs layers are not.
pub(in crate::image) fn is_archive(layer: &Descriptor) -> bool {
    layer.media_type.is_empty() || layer.media_type.contains("tar")
}

fn class(cause: Cause) -> Class {
    match cause {
        Cause::Epoch => Class::Epoch,
        Cause::MkfsTime => Class::MkfsTime,
        Cause::Uuid => Class::Uuid,
        Cause::VeritySalt => Class::VeritySalt,
        Cause::Content => Class::Content,
    }
}

/// PAX records of times at which something happened to a file on the packing machine.
pub(in crate::image) const RUN_TIMES: &[&[u8]] = &[b"atime", b"ctime", b"LIBARCHIVE.creationtime"];

/// A member with its hard links resolved.
struct ResolvedMember<'l> {
    /// The member in the archive.
    own: &'l Member,
    /// The member with the content; `own` unless it is a link.
    file: &'l Member,
    content: [u8; 32],
    /// The bytewise first name of all that are hard links of one another.
    leader: &'l [u8],
}

/// The members of a layer by path, the last one of each name; and whether a name occurs twice.
fn seen(layer: &Layer) -> (BTreeMap<&[u8], ResolvedMember<'_>>, bool) {
    let mut at: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut leaders: BTreeMap<usize, &[u8]> = BTreeMap::new();
    let mut duplicates = false;
    for (i, member) in layer.members.iter().enumerate() {
        let target = match member.kind {
            Type::Hardlink => at.get(&member.link[..]).copied().unwrap_or(i),
            _ => i,
        };
        duplicates |= at.insert(&member.path, target).is_some();
    }
    for (path, &target) in &at {
        leaders.entry(target).or_insert(path);
    }
    let own: BTreeMap<&[u8], &Member> = layer.members.iter().map(|m| (&*m.path, m)).collect();
    let all = at.iter().map(|(path, &target)| {
        let (file, content) = (&layer.members[target], layer.contents[target]);
        (*path, ResolvedMember { own: own[path], file, content, leader: leaders[&target] })
    });
    (all.collect(), duplicates)
}

/// The results so far.
#[derive(Default)]
struct Found {
    classes: BTreeSet<Class>,
    content: Vec<String>,
    /// For each class, the number of members and a description of the first.
    counted: BTreeMap<Class, (usize, String)>,
}

impl Found {
    fn members(&mut self, a: &Layer, b: &Layer) {
        let ((left, x), (right, y)) = (seen(a), seen(b));
        if x != y {
            self.content("one layer has several entries of the same name".to_owned());
        }
        for (path, one) in &left {
            match right.get(path) {
                Some(other) => self.member(path, one, other),
                None => self.only("A", path, one, &right),
            }
        }
        for (path, other) in right.iter().filter(|(path, _)| !left.contains_key(*path)) {
            self.only("B", path, other, &left);
        }
        let both = |layer: &Layer, other: &BTreeMap<&[u8], ResolvedMember<'_>>| -> Vec<Vec<u8>> {
            let paths = layer.members.iter().map(|m| m.path.to_vec());
            paths.filter(|p| other.contains_key(&p[..])).collect()
        };
        if both(a, &right) != both(b, &left) {
            self.classes.insert(Class::EntryOrder);
        }
    }

    fn member(&mut self, path: &[u8], a: &ResolvedMember<'_>, b: &ResolvedMember<'_>) {
        let (x, y) = (a.file, b.file);
        let what = [
            ("type", kind(x) != kind(y)),
            ("mode", x.mode != y.mode),
            ("owner", (x.uid, x.gid) != (y.uid, y.gid)),
            ("target", kind(x) == Type::Symlink && x.link != y.link),
            ("device", x.device != y.device),
            ("xattrs", x.xattrs != y.xattrs),
            ("bytes", (x.size, a.content) != (y.size, b.content)),
            ("hard links", a.leader != b.leader),
        ];
        let what: Vec<&str> = what.iter().filter(|(_, differs)| *differs).map(|w| w.0).collect();
        if !what.is_empty() {
            self.content(format!("{}: {}", shown(path), what.join(", ")));
        }
        if a.own.kind != b.own.kind && kind(x) == kind(y) {
            self.classes.insert(Class::EntryOrder);
        }
        if x.mtime != y.mtime {
            let line = format!("{} {} → {}", shown(path), x.mtime, y.mtime);
            self.count(Class::TimesAndHistory, line);
        }
        if (&x.uname, &x.gname) != (&y.uname, &y.gname) {
            self.count(Class::OwnerNames, shown(path));
        }
        let keys: BTreeSet<&Vec<u8>> = x.records.keys().chain(y.records.keys()).collect();
        for key in keys.into_iter().filter(|&k| x.records.get(k) != y.records.get(k)) {
            let runs = RUN_TIMES.contains(&&key[..]);
            let class = if runs { Class::PaxCtime } else { Class::TarEncoding };
            self.count(class, format!("{} in {}", String::from_utf8_lossy(key), shown(path)));
        }
    }

    /// Adds a member that one side lacks, unless it is a directory that members below it imply.
    fn only(
        &mut self,
        side: &str,
        path: &[u8],
        seen: &ResolvedMember<'_>,
        other: &BTreeMap<&[u8], ResolvedMember<'_>>,
    ) {
        let below = [path, b"/"].concat();
        let implied = path.is_empty() || {
            let from = (Bound::Included(&below[..]), Bound::Unbounded);
            other.range::<[u8], _>(from).next().is_some_and(|(p, _)| p.starts_with(&below))
        };
        if seen.own.kind == Type::Dir && implied {
            self.count(Class::MissingParents, format!("{}/ only in {side}", shown(path)));
        } else {
            self.content(format!("{}: only in {side}", shown(path)));
        }
    }

    fn content(&mut self, line: String) {
        self.classes.insert(Class::Content);
        self.content.push(line);
    }

    fn count(&mut self, class: Class, example: String) {
        self.classes.insert(class);
        self.counted.entry(class).or_insert((0, example)).0 += 1;
    }

    fn settle(mut self) -> (BTreeSet<Class>, Vec<String>) {
        if self.classes.is_empty() {
            self.classes.insert(Class::TarEncoding);
        }
        let words = |class: Class| match class {
            Class::TimesAndHistory => "modification time",
            Class::PaxCtime | Class::TarEncoding => "PAX record",
            class => class.words(),
        };
        let counted = self.counted.iter().map(|(class, (n, example))| {
            let more = if *n == 1 { "" } else { ", for one" };
            format!("{} of {}{more}: {example}", words(*class), counted(*n, "member"))
        });
        let details = counted.chain(self.content).collect();
        (self.classes, details)
    }
}

/// The type of a member. A hard link whose target is not in its layer counts as a file.
fn kind(member: &Member) -> Type {
    if member.kind == Type::Hardlink { Type::File } else { member.kind }
}

fn shown(path: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt;
    show_below(std::path::Path::new(std::ffi::OsStr::from_bytes(path)))
}
