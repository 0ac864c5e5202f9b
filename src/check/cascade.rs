//! Differences that follow another one: its cause is named once, and they stand under it.
//!
//! Three ways, each asked only of what nobody else explains: a file of a package whose version
//! drifted follows the rpmdb; an owner whose number drifted follows `passwd` or `group`; a link that is
//! named after its target's build-id or hash follows that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{Cause, Change, Explained, Side};
use crate::plugins::machine_id::without_ids;
use crate::tree::{Kind, Tree, show};

/// The packages that own a path, as NEVRA.
type Owners<'a> = dyn Fn(&Path) -> BTreeSet<String> + Sync + 'a;

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(crate) struct Build<'a> {
    /// The tree.
    pub(crate) tree: &'a dyn Tree,
    /// Who owns a path.
    pub(crate) owners: &'a Owners<'a>,
}

/// Finds what follows a difference of packages, of account numbers, or of a binary.
pub(crate) fn drift(all: &mut [Explained], builds: &[Build<'_>; 2]) {
    pair_ids(all, builds);
    let roots = Roots::of(all);
    let mut names = None;
    for explained in all {
        let cause = match &explained.cause {
            Cause::Unexplained => follows_package(explained, &roots, builds).or_else(|| {
                let names = names.get_or_insert_with(|| builds.map(|b| Accounts::of(b.tree)));
                follows_account(explained, &roots, names)
            }),
            Cause::Known { plugin: "build-ids", .. } => follows_target(explained, &roots)
                .map(|of| (of, "the link's name is the build-id of that binary".to_owned())),
            Cause::Known { plugin: "generated", .. } if is_hash(&explained.difference.path) => {
                follows_target(explained, &roots)
                    .map(|of| (of, "the link's name is a hash of that certificate".to_owned()))
            }
            _ => None,
        };
        if let Some((of, detail)) = cause {
            explained.cause = Cause::Cascade { of };
            explained.details.push(detail);
        }
    }
}

/// Pairs names that two builds made of their machine ids: what they name is compared, since a reason
/// for the names is none for what is there.
fn pair_ids(all: &mut [Explained], builds: &[Build<'_>; 2]) {
    let mine = |explained: &Explained, change| {
        let known = matches!(explained.cause, Cause::Known { plugin: "machine-id", .. });
        known && explained.difference.changes == [change]
    };
    let of = |change| {
        let named = all.iter().enumerate().filter(|(_, explained)| mine(explained, change));
        let named = named.map(|(n, explained)| {
            (without_ids(explained.difference.path.as_os_str().as_bytes()), n)
        });
        named.collect::<BTreeMap<_, _>>()
    };
    let (left, right) = (of(Change::OnlyA), of(Change::OnlyB));
    for (name, a) in left {
        let Some(b) = right.get(&name).copied() else { continue };
        let paths = [a, b].map(|n| all[n].difference.path.clone());
        let same = is_same(&all[a], &all[b], &paths, builds);
        for (n, other) in [(a, &paths[1]), (b, &paths[0])] {
            let other = show(other);
            match (&mut all[n].cause, same) {
                (Cause::Known { lines, .. }, true) => {
                    lines.push(format!("the same is {other} in the other build"));
                }
                (cause, _) => {
                    *cause = Cause::Unexplained;
                    let told = format!("{other} of the other build has its name, and differs");
                    all[n].details.push(told);
                }
            }
        }
    }
}

/// Whether two paths of two builds are one but for machine ids.
fn is_same(a: &Explained, b: &Explained, paths: &[PathBuf; 2], builds: &[Build<'_>; 2]) -> bool {
    let (Some(x), Some(y)) = (&a.difference.a, &b.difference.b) else { return false };
    if x.attrs != y.attrs || x.target != y.target {
        return false;
    }
    let read = |n: usize| builds[n].tree.read(&paths[n]).ok().flatten();
    x.object == y.object
        || x.kind() == Kind::Dir
        || matches!((read(0), read(1)), (Some(x), Some(y)) if without_ids(&x) == without_ids(&y))
}

/// Differences that others may follow.
struct Roots {
    rpmdb: Option<PathBuf>,
    users: Option<PathBuf>,
    groups: Option<PathBuf>,
    files: BTreeSet<PathBuf>,
}

impl Roots {
    fn of(all: &[Explained]) -> Self {
        let known = |plugin: &str, names: &[&str]| {
            let mine = |e: &&Explained| {
                let name = e.difference.path.file_name().and_then(OsStr::to_str);
                matches!(e.cause, Cause::Known { plugin: p, .. } if p == plugin)
                    && (names.is_empty() || name.is_some_and(|n| names.contains(&n)))
            };
            all.iter().find(mine).map(|e| e.difference.path.clone())
        };
        let content = |e: &&Explained| e.difference.changes.contains(&Change::Content);
        Roots {
            rpmdb: known("rpmdb", &[]),
            users: known("accounts", &["passwd"]),
            groups: known("accounts", &["group"]),
            files: all.iter().filter(content).map(|e| e.difference.path.clone()).collect(),
        }
    }
}

type Follows = Option<(PathBuf, String)>;

fn follows_package(explained: &Explained, roots: &Roots, builds: &[Build<'_>; 2]) -> Follows {
    let of = roots.rpmdb.clone()?;
    let [a, b] = builds.map(|build| (build.owners)(&explained.difference.path));
    if a == b {
        return None;
    }
    let list = |side: &BTreeSet<String>, other: &BTreeSet<String>| {
        let only: Vec<_> = side.difference(other).cloned().collect();
        if only.is_empty() { "no package".to_owned() } else { only.join(", ") }
    };
    Some((of, format!("of {} and {}", list(&a, &b), list(&b, &a))))
}

/// Names of users and groups by their numbers.
#[derive(Debug)]
struct Accounts {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Accounts {
    fn of(tree: &dyn Tree) -> Self {
        let read = |file: &str| {
            let mut map = BTreeMap::new();
            for folder in ["etc", "usr/etc", "usr/lib"] {
                // A file that cannot be read names nobody.
                let bytes = tree.read(&Path::new(folder).join(file)).ok().flatten();
                for line in String::from_utf8_lossy(&bytes.unwrap_or_default()).lines() {
                    let fields: Vec<&str> = line.split(':').collect();
                    if let Some(number) = fields.get(2).and_then(|n| n.parse().ok()) {
                        map.entry(number).or_insert_with(|| fields[0].to_owned());
                    }
                }
            }
            map
        };
        Accounts { users: read("passwd"), groups: read("group") }
    }
}

/// An owner that has one name and two numbers, and nothing else differs.
fn follows_account(explained: &Explained, roots: &Roots, names: &[Accounts; 2]) -> Follows {
    let difference = &explained.difference;
    let (Some(a), Some(b)) = (&difference.a, &difference.b) else { return None };
    if difference.changes != [Change::Owner] {
        return None;
    }
    let drifted = |x: u32, y: u32, of: fn(&Accounts) -> &BTreeMap<u32, String>| {
        if x == y {
            return Some(None);
        }
        let (left, right) = (of(&names[0]).get(&x)?, of(&names[1]).get(&y)?);
        (left == right).then(|| Some(format!("{left} is {x} and {y}")))
    };
    let user = drifted(a.attrs.uid, b.attrs.uid, |n| &n.users)?;
    let group = drifted(a.attrs.gid, b.attrs.gid, |n| &n.groups)?;
    match (user, group) {
        (Some(user), _) => Some((roots.users.clone()?, format!("user {user}"))),
        (None, Some(group)) => Some((roots.groups.clone()?, format!("group {group}"))),
        (None, None) => None,
    }
}

/// Whether a name is the hash of a certificate and a number: 8 hexadecimal digits, a dot, a digit.
fn is_hash(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.split_once('.'));
    name.is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|b| b.is_ascii_hexdigit())
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// What a link leads to, if that differs too.
fn follows_target(explained: &Explained, roots: &Roots) -> Option<PathBuf> {
    let difference = &explained.difference;
    let target = |side: &Option<Side>| {
        let target = side.as_ref()?.target.as_deref()?;
        let of = below_root(&difference.path, target)?;
        roots.files.contains(&of).then_some(of)
    };
    target(&difference.a).or_else(|| target(&difference.b))
}

/// Where a link leads by its text alone; `None` if that is above the root.
fn below_root(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut at = match target.is_absolute() {
        true => PathBuf::new(),
        false => link.parent()?.to_owned(),
    };
    for part in target.components() {
        match part {
            Component::Normal(name) => at.push(name),
            Component::ParentDir if !at.pop() => return None,
            _ => {}
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Difference;
    use crate::format::ostree::{Attrs, Checksum};
    use crate::tree::{Entry, Nowhere};
    use std::ffi::OsString;
    use std::io;

    /// A tree of one file, `usr/lib/passwd`.
    struct Passwd(&'static str);

    impl Tree for Passwd {
        fn lookup(&self, path: &Path) -> io::Result<Option<Entry>> {
            Nowhere.lookup(path)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
            Nowhere.list(path)
        }
        fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
            Ok((path == Path::new("usr/lib/passwd")).then(|| self.0.into()))
        }
        fn readlink(&self, path: &Path) -> io::Result<Option<PathBuf>> {
            Nowhere.readlink(path)
        }
        fn xattrs(&self, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
            Nowhere.xattrs(path)
        }
    }

    fn side(uid: u32, target: Option<&str>) -> Option<Side> {
        let mode = if target.is_some() { 0o120_777 } else { 0o100_644 };
        let attrs = Attrs { uid, gid: 0, mode, xattrs: Vec::new() };
        let target = target.map(PathBuf::from);
        Some(Side { attrs, target, size: 0, object: Checksum([0; 32]) })
    }

    fn explained(
        path: &str,
        changes: &[Change],
        sides: [Option<Side>; 2],
        cause: Cause,
    ) -> Explained {
        let [a, b] = sides;
        let difference = Difference { path: path.into(), a, b, changes: changes.to_vec() };
        Explained {
            difference,
            cause,
            details: Vec::new(),
            equal_but_for_mode: false,
            expected: None,
            look: None,
            moves: Vec::new(),
        }
    }

    fn known(plugin: &'static str) -> Cause {
        Cause::Known { plugin, lines: vec!["x".to_owned()] }
    }

    fn cascade_of(all: &mut [Explained], owners: [&Owners<'_>; 2]) {
        let trees = [Passwd("root:x:0:0::/:\none:x:401:401::/:\n"), Passwd("one:x:402:402::/:\n")];
        let builds = [0, 1].map(|n| Build { tree: &trees[n], owners: owners[n] });
        drift(all, &builds);
    }

    fn nobody(_: &Path) -> BTreeSet<String> {
        BTreeSet::new()
    }

    #[test]
    fn an_owner_follows_the_account_whose_number_drifted() {
        let owner = |from, to| {
            let sides = [side(from, None), side(to, None)];
            explained("usr/bin/x", &[Change::Owner], sides, Cause::Unexplained)
        };
        let passwd =
            explained("usr/lib/passwd", &[Change::Content], [None, None], known("accounts"));
        let mut all = [passwd, owner(401, 402), owner(0, 402)];
        // Both sides of the group are one number without a name: it does not count as drift.
        for e in &mut all[1..] {
            for side in [&mut e.difference.a, &mut e.difference.b] {
                side.as_mut().expect("two sides").attrs.gid = 401;
            }
        }
        all[1].difference.b.as_mut().expect("a side").attrs.gid = 402;
        cascade_of(&mut all, [&nobody, &nobody]);
        // No group file: numbers of groups have no names, so nothing is claimed.
        assert_eq!(all[1].cause, Cause::Unexplained);
        for e in &mut all[1..] {
            for side in [&mut e.difference.a, &mut e.difference.b] {
                side.as_mut().expect("two sides").attrs.gid = 0;
            }
        }
        cascade_of(&mut all, [&nobody, &nobody]);
        assert_eq!(all[1].cause, Cause::Cascade { of: "usr/lib/passwd".into() });
        assert_eq!(all[1].details, ["user one is 401 and 402"]);
        assert_eq!(all[2].cause, Cause::Unexplained, "root became one: no drift");
    }

    #[test]
    fn a_file_follows_its_packages_version() {
        let file = |path| {
            explained(path, &[Change::Content], [side(0, None), side(0, None)], Cause::Unexplained)
        };
        let rpmdb = explained(
            "usr/share/rpm/rpmdb.sqlite",
            &[Change::Content],
            [None, None],
            known("rpmdb"),
        );
        let mut all = [rpmdb, file("usr/bin/x"), file("usr/bin/y")];
        let owners = |version: &'static str| {
            move |path: &Path| -> BTreeSet<String> {
                let version = if path == Path::new("usr/bin/x") { version } else { "y-1" };
                [version.to_owned()].into()
            }
        };
        let (a, b) = (owners("x-1"), owners("x-2"));
        cascade_of(&mut all, [&a, &b]);
        assert_eq!(all[1].cause, Cause::Cascade { of: "usr/share/rpm/rpmdb.sqlite".into() });
        assert_eq!(all[1].details, ["of x-1 and x-2"]);
        assert_eq!(all[2].cause, Cause::Unexplained, "one version on both sides");
    }

    #[test]
    fn a_build_id_link_follows_its_binary() {
        let link = |name: &str, target| {
            let path = format!("usr/lib/.build-id/ab/{name}");
            explained(&path, &[Change::OnlyA], [side(0, Some(target)), None], known("build-ids"))
        };
        let binary = explained("usr/bin/x", &[Change::Content], [None, None], Cause::Unexplained);
        let mut all = [binary, link("1", "../../../bin/x"), link("2", "../../../bin/y")];
        cascade_of(&mut all, [&nobody, &nobody]);
        assert_eq!(all[1].cause, Cause::Cascade { of: "usr/bin/x".into() });
        assert_eq!(all[2].cause, known("build-ids"), "the binary is equal");
    }

    #[test]
    fn links_lead_where_their_text_says() {
        let leads = |link: &str, target: &str| below_root(Path::new(link), Path::new(target));
        let build_id = "usr/lib/.build-id/ab/cd";
        assert_eq!(leads(build_id, "../../../bin/x"), Some("usr/bin/x".into()));
        assert_eq!(leads(build_id, "/usr/bin/x"), Some("usr/bin/x".into()));
        assert_eq!(leads("a", "../../x"), None);
    }
}
