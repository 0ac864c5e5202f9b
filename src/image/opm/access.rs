//! Whether opm may open its catalog and its cache, as the user that a cluster runs it as.
//!
//! opm reads the catalog and a json cache. A pogreb database it opens for writing, and makes the
//! file `lock` beside it, so there it needs to write.

use std::io::{self, Write};
use std::ops::Bound;

use serde::Serialize;

use super::verify::{Format, Places};
use crate::format::tar::{Type, parent};
use crate::image::unpack::{Node, Tree};
use crate::source::oci::Layer;

/// A path that a user cannot use as opm has to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// The user.
    pub who: String,
    /// The path.
    pub path: String,
    /// What is needed: `read`, `search` or `write`.
    pub needs: &'static str,
}

/// A user of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// For people.
    pub name: String,
    uid: u64,
    gid: u64,
}

/// The uid that stands for those which OpenShift draws.
const ARBITRARY: u64 = 1_000_700_000;

impl User {
    /// Who may run the image: the `User` of its configuration, and the arbitrary uid of group 0 that
    /// OpenShift gives it. A name is looked up in the image's own etc/passwd.
    pub fn all(configured: Option<&str>, tree: &Tree, layers: &[Layer]) -> Vec<Self> {
        let mut all = vec![User {
            name: "an arbitrary user of group 0 (OpenShift)".to_owned(),
            uid: ARBITRARY,
            gid: 0,
        }];
        let text = configured.unwrap_or_default();
        let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
        let passwd = || passwd(tree, layers, user);
        let found = match user.parse() {
            Ok(uid) => Some((uid, passwd().map_or(0, |(_, gid)| gid))),
            Err(_) => passwd(),
        };
        if let Some((uid, gid)) = found.filter(|(uid, _)| *uid != 0) {
            let gid = group.and_then(|g| g.parse().ok()).unwrap_or(gid);
            all.insert(0, User { name: format!("the image's user {text}"), uid, gid });
        }
        all
    }

    fn may(&self, node: &Node, bits: u32) -> bool {
        let shift = match () {
            () if node.uid == self.uid => 6,
            () if node.gid == self.gid => 3,
            () => 0,
        };
        node.mode >> shift & bits == bits
    }
}

/// Uid and gid of a user by name or number, from etc/passwd.
fn passwd(tree: &Tree, layers: &[Layer], user: &str) -> Option<(u64, u64)> {
    let node = tree.get(&b"etc/passwd"[..])?;
    let part = layers.get(node.layer)?.content(node.member?)?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(part, 1 << 20), &mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields[..] else { return None };
        (name == user || uid == user).then(|| Some((uid.parse().ok()?, gid.parse().ok()?)))?
    })
}

/// What `users` cannot do that opm has to, sorted by path.
pub(super) fn denied(
    users: &[User],
    places: &Places,
    format: Option<Format>,
    tree: &Tree,
) -> Vec<Denied> {
    let mut found = Vec::new();
    for user in users {
        let mut add = |path: &[u8], node: &Node, bits: u32| {
            let needs = [(4, "read"), (2, "write"), (1, "search")];
            let missing = needs.iter().find(|(bit, _)| bits & bit != 0 && !user.may(node, *bit));
            if let Some((_, needs)) = missing {
                let path = format!("/{}", String::from_utf8_lossy(path));
                found.push(Denied { who: user.name.clone(), path, needs });
            }
        };
        let cache = format.map(|_| (&places.cache, true));
        for (root, in_cache) in [(&places.configs, false)].into_iter().chain(cache) {
            let root = root.trim_matches('/').as_bytes();
            let mut above = parent(root);
            while !above.is_empty() {
                tree.get(above).into_iter().for_each(|node| add(above, node, 1));
                above = parent(above);
            }
            let database = [root, b"/pogreb.v1/db"].concat();
            let below = [root, b"/"].concat();
            for (path, node) in tree.range::<[u8], _>((Bound::Included(root), Bound::Unbounded)) {
                if !(**path == *root || path.starts_with(&below)) {
                    break;
                }
                let writes =
                    in_cache && format == Some(Format::Pogreb) && path.starts_with(&database);
                match node.kind {
                    Type::Dir => add(path, node, if writes { 7 } else { 5 }),
                    Type::File => add(path, node, if writes { 6 } else { 4 }),
                    _ => {}
                }
            }
        }
    }
    found
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
