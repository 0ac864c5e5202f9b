//! Differences that follow another one: the cause is named once, and they are listed under it.
//!
//! Only differences that nothing else explains are considered, and the plugins decide: a file of a
//! package whose version drifted follows the rpmdb, an owner whose number drifted follows `passwd`,
//! a build-id link follows the binary that it points to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Cause, Change, Explained};
use crate::normal::{OtherDifferences, Owners, Plugin};
use crate::tree::Tree;

/// One side of a comparison.
#[derive(Clone, Copy)]
pub(crate) struct Build<'a> {
    /// The tree.
    pub(crate) tree: &'a dyn Tree,
    /// The packages that own a path.
    pub(crate) owners: &'a Owners<'a>,
}

/// Finds what follows another difference.
pub(crate) fn drift(all: &mut [Explained], builds: &[Build<'_>; 2], plugins: &[&dyn Plugin]) {
    let content = |e: &&Explained| e.difference.changes.contains(&Change::Content);
    let contents: BTreeSet<PathBuf> =
        all.iter().filter(content).map(|e| e.difference.path.clone()).collect();
    // Backwards: a file's package says more than its owner's number.
    for plugin in plugins.iter().rev() {
        let name = plugin.page().name;
        let is_own =
            |e: &Explained| matches!(e.cause, Cause::Known { plugin, .. } if plugin == name);
        let own: Vec<_> =
            all.iter().filter(|e| is_own(e)).map(|e| e.difference.path.clone()).collect();
        let is_open = |e: &Explained| e.cause == Cause::Unexplained || is_own(e);
        let open: Vec<_> = (0..all.len()).filter(|n| is_open(&all[*n])).collect();
        let around = OtherDifferences {
            own: &own,
            contents: &contents,
            trees: builds.map(|build| build.tree),
            owners: builds.map(|build| build.owners),
        };
        let differences: Vec<_> = open.iter().map(|n| &all[*n].difference).collect();
        for (n, found) in open.into_iter().zip(plugin.followers(&differences, &around)) {
            if let Some(follows) = found {
                all[n].cause = Cause::Cascade { of: follows.of, how: follows.how };
                all[n].details.push(follows.why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Consequence;
    use crate::check::{Difference, Side};
    use crate::format::ostree::{Attrs, Checksum};
    use crate::tree::Memory;
    use std::path::Path;

    fn passwd(text: &str) -> Memory {
        Memory::of_file("usr/lib/passwd", text)
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
            excerpt: None,
            moves: Vec::new(),
        }
    }

    fn known(plugin: &'static str) -> Cause {
        Cause::Known { plugin, lines: vec!["x".to_owned()] }
    }

    fn cascade_of(all: &mut [Explained], owners: [&Owners<'_>; 2]) {
        let trees = [passwd("root:x:0:0::/:\none:x:401:401::/:\n"), passwd("one:x:402:402::/:\n")];
        let builds = [0, 1].map(|n| Build { tree: &trees[n], owners: owners[n] });
        drift(all, &builds, crate::plugins::REGISTRY);
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
        // The group is the same nameless number on both sides: that does not count as drift.
        for e in &mut all[1..] {
            for side in [&mut e.difference.a, &mut e.difference.b] {
                side.as_mut().expect("two sides").attrs.gid = 401;
            }
        }
        all[1].difference.b.as_mut().expect("a side").attrs.gid = 402;
        cascade_of(&mut all, [&nobody, &nobody]);
        // Without a group file the numbers have no names, so nothing is claimed.
        assert_eq!(all[1].cause, Cause::Unexplained);
        for e in &mut all[1..] {
            for side in [&mut e.difference.a, &mut e.difference.b] {
                side.as_mut().expect("two sides").attrs.gid = 0;
            }
        }
        cascade_of(&mut all, [&nobody, &nobody]);
        assert_eq!(
            all[1].cause,
            Cause::Cascade { of: "usr/lib/passwd".into(), how: Consequence::Account }
        );
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
        assert_eq!(
            all[1].cause,
            Cause::Cascade { of: "usr/share/rpm/rpmdb.sqlite".into(), how: Consequence::Package }
        );
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
        assert_eq!(
            all[1].cause,
            Cause::Cascade { of: "usr/bin/x".into(), how: Consequence::BuildId }
        );
        assert_eq!(all[2].cause, known("build-ids"), "the binary is equal");
    }
}
