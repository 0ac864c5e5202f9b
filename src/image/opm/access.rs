//! Whether opm may open its catalog and its cache, as the user that a cluster runs it as.
//!
//! opm reads the catalog and a json cache. A pogreb database it opens for writing, and makes the
//! file `lock` beside it, so there it needs to write.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::tree::Directory;
use super::verify::{Format, Places};
use crate::format::tar::{Type, parent};
use crate::image::unpack::{Node, Tree};
use crate::source::oci::Layer;
use crate::tree::Kind;

/// A path that a user cannot use as opm has to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// The user.
    pub who: String,
    /// The path.
    pub path: String,
    /// What is needed: `read`, `search`, `write`, or to `be found in` etc/passwd or etc/group.
    pub needs: &'static str,
}

/// A user of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// For people.
    pub name: String,
    uid: u64,
    gid: u64,
    /// Supplementary groups.
    groups: Vec<u64>,
}

/// The uid that stands for those which OpenShift draws.
const ARBITRARY: u64 = 1_000_700_000;

impl User {
    /// The uid of group 0 that OpenShift draws for each project.
    pub fn arbitrary() -> Self {
        let name = "an arbitrary user of group 0 (OpenShift)".to_owned();
        User { name, uid: ARBITRARY, gid: 0, groups: Vec::new() }
    }

    /// Reads `UID[:GID[,GID]...]`, of which the further groups are supplementary ones.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let number = |text: &str| -> anyhow::Result<u64> {
            let parsed = text.parse::<u32>();
            Ok(parsed.with_context(|| format!("{text:?} is no number of a user or group"))?.into())
        };
        let (uid, groups) = text.split_once(':').unwrap_or((text, "0"));
        let mut groups: Vec<u64> = groups.split(',').map(number).collect::<anyhow::Result<_>>()?;
        let gid = groups.remove(0);
        Ok(User { name: format!("user {text}"), uid: number(uid)?, gid, groups })
    }

    /// The `User` of an image's configuration, as container runtimes resolve it: names in the image's
    /// etc/passwd and etc/group, of a user without a named group also the groups that list it. `None`
    /// for root.
    ///
    /// `Err` if a name is not there: the container does not start.
    fn configured(text: &str, tree: &Tree, layers: &[Layer]) -> Result<Option<Self>, Denied> {
        let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
        let denied = |path: &str| Denied {
            who: format!("the image's user {text}"),
            path: path.to_owned(),
            needs: "be found in",
        };
        let entry = rows(tree, layers, b"etc/passwd").into_iter().find_map(|row| match &row[..] {
            [name, _, uid, gid, ..] if name == user || uid == user => {
                Some((name.clone(), uid.parse().ok()?, gid.parse().ok()?))
            }
            _ => None,
        });
        let (name, uid, gid): (Option<String>, u64, u64) = match (entry, user.parse()) {
            (Some((name, uid, gid)), _) => (Some(name), uid, gid),
            (None, Ok(uid)) => (None, uid, 0),
            (None, Err(_)) if user.is_empty() => (None, 0, 0),
            (None, Err(_)) => return Err(denied("/etc/passwd")),
        };
        let all = rows(tree, layers, b"etc/group");
        let named = |wanted: &str| {
            all.iter().find(|row| row.len() > 2 && (row[0] == wanted || row[2] == wanted))
        };
        let (gid, groups) = match group.filter(|group| !group.is_empty()) {
            Some(group) => match (named(group).map(|row| row[2].parse()), group.parse()) {
                (Some(Ok(gid)), _) | (_, Ok(gid)) => (gid, Vec::new()),
                _ => return Err(denied("/etc/group")),
            },
            None => (gid, supplementary(&all, name.as_deref())),
        };
        let name = format!("the image's user {text}");
        Ok((uid != 0).then_some(User { name, uid, gid, groups }))
    }

    fn may(&self, owned: Owned, bits: u32) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if owned.uid == self.uid => 6,
            () if owned.gid == self.gid || self.groups.contains(&owned.gid) => 3,
            () => 0,
        };
        owned.mode >> shift & bits == bits
    }
}

/// The groups of etc/group that list a user.
fn supplementary(groups: &[Vec<String>], user: Option<&str>) -> Vec<u64> {
    let Some(user) = user else { return Vec::new() };
    let lists = |row: &&Vec<String>| row.len() > 3 && row[3].split(',').any(|name| name == user);
    groups.iter().filter(lists).filter_map(|row| row[2].parse().ok()).collect()
}

/// The fields of each line of etc/passwd or etc/group; none if there is no such file.
fn rows(tree: &Tree, layers: &[Layer], path: &[u8]) -> Vec<Vec<String>> {
    let read = || -> Option<String> {
        let node = tree.get(path)?;
        let part = layers.get(node.layer)?.content(node.member?)?;
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(part, 1 << 20), &mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// Who a path belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
}

impl From<&Node> for Owned {
    fn from(node: &Node) -> Self {
        Owned { mode: node.mode, uid: node.uid, gid: node.gid }
    }
}

/// What `users` cannot do.
pub(super) struct Audit<'a> {
    users: &'a [User],
    found: Vec<Denied>,
}

impl<'a> Audit<'a> {
    pub(super) fn of(users: &'a [User]) -> Self {
        Audit { users, found: Vec::new() }
    }

    /// What was found, in the order of users and, for each, of paths.
    pub(super) fn denied(self) -> Vec<Denied> {
        let place = |denied: &Denied| self.users.iter().position(|user| user.name == denied.who);
        let mut found = self.found;
        found.sort_by_key(place);
        found
    }

    /// Asks for `bits` at a path.
    fn asks(&mut self, path: &str, owned: Owned, bits: u32) {
        for user in self.users {
            let needs = [(4, "read"), (2, "write"), (1, "search")];
            let missing = needs.iter().find(|(bit, _)| bits & bit != 0 && !user.may(owned, *bit));
            if let Some((_, needs)) = missing {
                self.found.push(Denied { who: user.name.clone(), path: path.to_owned(), needs });
            }
        }
    }

    /// Asks for what opm needs at a path of the catalog, or of the cache where it has a `format`;
    /// `below` is the path in there.
    pub(super) fn path(
        &mut self,
        path: &str,
        below: &[u8],
        kind: Kind,
        owned: Owned,
        format: Option<Format>,
    ) {
        let writes = format == Some(Format::Pogreb) && below.starts_with(b"pogreb.v1/db");
        match kind {
            Kind::Dir => self.asks(path, owned, if writes { 7 } else { 5 }),
            Kind::File => self.asks(path, owned, if writes { 6 } else { 4 }),
            _ => {}
        }
    }
}

/// What users of an image cannot do that opm has to: the one of its configuration, an arbitrary one of
/// group 0, and `more`.
pub(super) fn denied(
    configured: Option<&str>,
    more: &[User],
    places: &Places,
    format: Option<Format>,
    tree: &Tree,
    layers: &[Layer],
) -> Vec<Denied> {
    let mut users = vec![User::arbitrary()];
    users.extend(more.iter().cloned());
    let mut unknown = None;
    match User::configured(configured.unwrap_or_default(), tree, layers) {
        Ok(user) => user.into_iter().for_each(|user| users.insert(0, user)),
        Err(denied) => unknown = Some(denied),
    }
    let mut audit = Audit::of(&users);
    let cache = format.map(|format| (&places.cache, Some(format)));
    for (root, format) in [(&places.configs, None)].into_iter().chain(cache) {
        let root = root.trim_matches('/').as_bytes();
        let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
        let mut above = parent(root);
        while !above.is_empty() {
            if let Some(node) = tree.get(above) {
                audit.asks(&shown(above), node.into(), 1);
            }
            above = parent(above);
        }
        for (path, node) in tree.range::<[u8], _>((Bound::Included(root), Bound::Unbounded)) {
            let Some(below) = path.strip_prefix(root) else { break };
            let below = match below {
                [] => below,
                [b'/', below @ ..] => below,
                // A sibling whose name starts alike.
                _ => continue,
            };
            let kind = match node.kind {
                Type::Dir => Kind::Dir,
                Type::File => Kind::File,
                _ => continue,
            };
            audit.path(&shown(path), below, kind, node.into(), format);
        }
    }
    unknown.into_iter().chain(audit.denied()).collect()
}

/// The same of directories on disk, by the owners and modes that they have there; nothing is asked of
/// the directories above them. Users are an arbitrary one of group 0, or those given.
pub(super) fn denied_on_disk(
    users: &[User],
    places: &[(&Path, Option<&Directory<'_>>, Option<Format>)],
) -> Vec<Denied> {
    let arbitrary = [User::arbitrary()];
    let mut audit = Audit::of(if users.is_empty() { &arbitrary } else { users });
    for (root, directory, format) in places {
        for (below, item) in directory.iter().flat_map(|directory| directory.iter()) {
            let owned = Owned { mode: item.mode, uid: item.uid.into(), gid: item.gid.into() };
            let path = root.join(OsStr::from_bytes(&below)).display().to_string();
            audit.path(path.trim_end_matches('/'), &below, item.kind, owned, *format);
        }
    }
    audit.denied()
}

/// For people: one line a user and need, with the first path.
pub(super) fn print(denied: &[Denied], out: &mut dyn Write) -> io::Result<()> {
    let mut said: Vec<(&str, &str)> = Vec::new();
    for one in denied {
        let key = (&*one.who, one.needs);
        if said.contains(&key) {
            continue;
        }
        said.push(key);
        let more = denied.iter().filter(|d| (&*d.who, d.needs) == key).count() - 1;
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        writeln!(out, "  {} cannot {} {}{more}", one.who, one.needs, one.path)?;
    }
    Ok(())
}
