//! Two images as a tree of differences.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::sync::Mutex;

use super::inside::Registry;
use super::{ImageTree, Unpacked, tree, unpack};
use crate::format::compress::Packing;
use crate::format::initramfs::{
    Contents, DIRECTORY, Entry, Error, MemberRules, MemberVerdict, REGULAR, Segment, Window,
    spooled,
};
use crate::format::secret;
use crate::format::time::utc;
use crate::normal::Context;
use crate::normal::{File, Plugin};
use crate::text::counted;
use crate::tree::{Seekable, Umask};

/// Bytes compared at a time.
const PIECE: u64 = 64 << 10;

/// One difference between two images, "first | second".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The path inside; `None` for what concerns the image as a whole.
    pub path: Option<String>,
    /// What differs, as a lower-case phrase.
    pub what: String,
    /// What the plugins say of a file inside, if they know it.
    pub inside: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.what)?;
        self.inside.iter().try_for_each(|what| write!(f, "; {what}"))
    }
}

/// What differs between two images: first what the compressions and archives differ in,
/// then what the entries' numbers differ in, then path by path. Empty if the bytes are the same.
pub fn diff(
    a: &mut dyn Seekable,
    b: &mut dyn Seekable,
    cx: &Context,
) -> Result<Vec<Difference>, Error> {
    if same(&mut *a, &mut *b)? {
        return Ok(Vec::new());
    }
    let (a, b) = (Side::new(a, cx)?, Side::new(b, cx)?);
    let mut out = Vec::new();
    segments(&a, &b, &mut out)?;
    let trees = [
        ImageTree::new(&a.unpacked.image, &a.unpacked.spool)?,
        ImageTree::new(&b.unpacked.image, &b.unpacked.spool)?,
    ];
    let nodes = (a.unpacked.image.contents()?, b.unpacked.image.contents()?);
    numbers(&a, &b, &nodes, &mut out);
    let mask = umask(&nodes, &mut out);
    let paths: BTreeSet<&[u8]> = nodes.0.keys().chain(nodes.1.keys()).copied().collect();
    for path in paths {
        match (nodes.0.get(path), nodes.1.get(path)) {
            (Some(x), Some(y)) => {
                let pair = Pair { path, a: *x, b: *y, mask, trees: &trees, sides: (&a, &b), cx };
                pair.compare(&mut out)?;
            }
            (Some(_), None) => out.push(at(path, "only in the first".to_owned())),
            (None, _) => out.push(at(path, "only in the second".to_owned())),
        }
    }
    if out.is_empty() {
        out.push(whole("only in padding, or in bytes after the archives".to_owned()));
    }
    Ok(out)
}

struct Side<'a> {
    input: Mutex<&'a mut dyn Seekable>,
    unpacked: Unpacked,
}

type Node<'a> = (&'a Entry, u64, u32);

impl<'a> Side<'a> {
    fn new(mut input: &'a mut dyn Seekable, cx: &Context) -> Result<Self, Error> {
        let unpacked = unpack(&mut input, cx)?;
        Ok(Side { input: Mutex::new(input), unpacked })
    }

    fn content(&self, node: Node<'_>) -> io::Result<Vec<u8>> {
        spooled(&self.unpacked.spool, node.1, node.2)
    }

    fn packed(&self, segment: &Segment) -> impl Read + '_ {
        Window::new(&self.input, segment.range.clone())
    }

    fn unpacked(&self, segment: &Segment) -> impl Read + '_ {
        Window::new(&self.unpacked.spool, segment.unpacked.clone())
    }
}

fn whole(what: String) -> Difference {
    Difference { path: None, what, inside: Vec::new() }
}

fn at(path: &[u8], what: String) -> Difference {
    let path = Some(String::from_utf8_lossy(path).into_owned());
    Difference { path, what, inside: Vec::new() }
}

/// What the compressed members differ in.
fn segments(a: &Side<'_>, b: &Side<'_>, out: &mut Vec<Difference>) -> io::Result<()> {
    let (x, y) = (&a.unpacked.image.segments, &b.unpacked.image.segments);
    let kinds = |s: &[Segment]| s.iter().map(Segment::to_string).collect::<Vec<_>>().join(" + ");
    if kinds(x) != kinds(y) {
        out.push(whole(format!("made of {} | {}", kinds(x), kinds(y))));
        return Ok(());
    }
    for (x, y) in x.iter().zip(y) {
        let (Some(p), Some(q)) = (x.packing, y.packing) else { continue };
        let len = |segment: &Segment| segment.range.end - segment.range.start;
        let sizes = format!("{} | {} bytes", len(x), len(y));
        if p != q {
            out.push(whole(format!("compressed differently: {p} | {q} ({sizes})")));
        } else if !same(a.packed(x), b.packed(y))? && same(a.unpacked(x), b.unpacked(y))? {
            out.push(whole(recompressed(p, &sizes)));
        }
    }
    Ok(())
}

fn recompressed(packing: Packing, sizes: &str) -> String {
    format!(
        "recompressed: the same archives, by another version, level or number of threads of {} \
         ({sizes})",
        packing.name()
    )
}

/// Whether two readers give the same bytes.
pub fn same(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    loop {
        x.clear();
        y.clear();
        a.by_ref().take(PIECE).read_to_end(&mut x)?;
        b.by_ref().take(PIECE).read_to_end(&mut y)?;
        if x != y || x.is_empty() {
            return Ok(x == y);
        }
    }
}

/// What a generator's bookkeeping differs in, one line a field: it says nothing of the trees.
fn numbers(
    a: &Side<'_>,
    b: &Side<'_>,
    nodes: &(Contents<'_>, Contents<'_>),
    out: &mut Vec<Difference>,
) {
    let order = |side: &Side<'_>| {
        let image = &side.unpacked.image;
        image.entries().map(|e| e.name.clone()).collect::<Vec<_>>()
    };
    let (x, y) = (order(a), order(b));
    let sorted = |names: &[Vec<u8>]| names.iter().cloned().collect::<BTreeSet<_>>();
    if x != y && sorted(&x) == sorted(&y) {
        out.push(whole("order of the entries".to_owned()));
    }
    type Field = (&'static str, fn(&Entry) -> i64, fn(i64) -> String);
    let number = |n: i64| n.to_string();
    let device = |e: &Entry| i64::from(e.header.dev[0]) << 32 | i64::from(e.header.dev[1]);
    let links = |e: &Entry| if e.kind() == DIRECTORY { e.header.nlink.into() } else { 0 };
    let fields: [Field; 4] = [
        ("inode number", |e| e.header.ino.into(), number),
        ("device of the file system", device, number),
        ("link count of directories", links, number),
        ("modification time", |e| e.header.mtime.into(), utc),
    ];
    for (name, field, show) in fields {
        let common = nodes.0.iter().filter_map(|(path, x)| Some((path, x.0, nodes.1.get(path)?.0)));
        let differ: Vec<_> = common.filter(|(_, x, y)| field(x) != field(y)).collect();
        if let Some((path, x, y)) = differ.first() {
            let path = String::from_utf8_lossy(path);
            let (count, x, y) = (differ.len(), show(field(x)), show(field(y)));
            out.push(whole(format!("{name}: {} ({path}: {x} | {y})", counted(count, "entry"))));
        }
    }
}

/// The umask behind most differences of mode, said in one line.
fn umask(nodes: &(Contents<'_>, Contents<'_>), out: &mut Vec<Difference>) -> Option<Umask> {
    let common = nodes.0.iter().filter_map(|(path, x)| Some((x.0, nodes.1.get(path)?.0)));
    let modes = common.map(|(x, y)| (x.header.mode, y.header.mode));
    let differ: Vec<_> = modes.filter(|(x, y)| x != y).collect();
    let mask = Umask::behind(differ.iter().copied())?;
    let count = differ.iter().filter(|(x, y)| mask.explains(*x, *y)).count();
    out.push(whole(format!("mode: {} ({mask})", counted(count, "entry"))));
    Some(mask)
}

/// One path in both images.
struct Pair<'a> {
    mask: Option<Umask>,
    path: &'a [u8],
    a: Node<'a>,
    b: Node<'a>,
    trees: &'a [ImageTree<'a, fs::File>; 2],
    sides: (&'a Side<'a>, &'a Side<'a>),
    cx: &'a Context,
}

impl Pair<'_> {
    fn compare(&self, out: &mut Vec<Difference>) -> io::Result<()> {
        let (x, y) = (&self.a.0.header, &self.b.0.header);
        let mut say = |what: String| out.push(at(self.path, what));
        if x.mode != y.mode && !self.mask.is_some_and(|mask| mask.explains(x.mode, y.mode)) {
            say(format!("mode {:o} | {:o}", x.mode, y.mode));
        }
        if (x.uid, x.gid) != (y.uid, y.gid) {
            say(format!("owner {}:{} | {}:{}", x.uid, x.gid, y.uid, y.gid));
        }
        if x.rdev != y.rdev {
            let [[a, b], [c, d]] = [x.rdev, y.rdev];
            say(format!("device {a}:{b} | {c}:{d}"));
        }
        if self.a.0.kind() != DIRECTORY && x.nlink != y.nlink {
            say(format!("hard links {} | {}", x.nlink, y.nlink));
        }
        let (m, n) = (self.sides.0.content(self.a)?, self.sides.1.content(self.b)?);
        if m == n || self.a.0.kind() != self.b.0.kind() {
            return Ok(());
        }
        if self.a.0.kind() != REGULAR {
            let (m, n) = (String::from_utf8_lossy(&m), String::from_utf8_lossy(&n));
            say(format!("target {m} | {n}"));
            return Ok(());
        }
        let secret = secret::kind(self.path, &m).or_else(|| secret::kind(self.path, &n));
        if let Some(kind) = secret {
            out.push(at(self.path, format!("content, {}", secret::masked(kind, &m, &n))));
            return Ok(());
        }
        let what = format!("content, {}", first_difference(&m, &n));
        let inside = self.inside(m, n);
        out.push(Difference { inside, ..at(self.path, what) });
        Ok(())
    }

    /// What the plugins say: that their normal forms are the same, or what still differs.
    fn inside(&self, m: Vec<u8>, n: Vec<u8>) -> Vec<String> {
        let rules = self.trees.each_ref().map(|tree| Registry::new(tree, self.cx));
        let entries =
            [tree::entry(self.a.0, m.len() as u32), tree::entry(self.b.0, n.len() as u32)];
        let plugins: Vec<&dyn Plugin> =
            rules[0].wanting(&entries[0]).map(|p| p as &dyn Plugin).collect();
        let own = rules[0].own(self.path);
        if plugins.is_empty() && !own {
            return Vec::new();
        }
        let form = |rule: &Registry<'_>, entry, content: &Vec<u8>| match rule
            .judge(entry, content.clone())
        {
            Ok(MemberVerdict::Replace(bytes)) => Some(bytes),
            Ok(MemberVerdict::Remove) => None,
            Ok(MemberVerdict::Keep) | Err(_) => Some(content.clone()),
        };
        let mut names: Vec<&str> = plugins.iter().map(|p| p.page().name).collect();
        if own {
            names.push("initramfs");
        }
        if form(&rules[0], self.a.0, &m) == form(&rules[1], self.b.0, &n) {
            return vec![format!("made the same by {}", names.join(", "))];
        }
        let file = |side: usize, bytes| File {
            entry: &entries[side],
            bytes: Cow::Borrowed(bytes),
            tree: &self.trees[side],
        };
        let say = |p: &&dyn Plugin| p.explain(&file(0, &m), &file(1, &n), self.cx);
        plugins.iter().flat_map(say).collect()
    }
}

/// Where two contents differ first: the line in texts, otherwise the byte.
fn first_difference(a: &[u8], b: &[u8]) -> String {
    if let (Ok(x), Ok(y)) = (std::str::from_utf8(a), std::str::from_utf8(b)) {
        let n = x.lines().zip(y.lines()).take_while(|(p, q)| p == q).count();
        let line = |text: &str| -> String {
            text.lines().nth(n).unwrap_or_default().chars().take(80).collect()
        };
        if !x.contains('\0') && !y.contains('\0') {
            return format!("line {}: {:?} | {:?}", n + 1, line(x), line(y));
        }
    }
    let same = a.iter().zip(b).take_while(|(p, q)| p == q).count();
    format!("from byte {same} of {} | {}", a.len(), b.len())
}
