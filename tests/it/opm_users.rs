//! Who may open an operator catalog: users of an image, and of directories on disk.

use std::io::Read;
use std::os::unix::fs::chown;

use reprofix::format::tar::{Member, Type};
use reprofix::image::opm::access::User;
use reprofix::image::opm::verify::{Verdict, in_images, on_disk};
use reprofix::source::oci::{Keep, layers};

use crate::layout::{Layout, Made, Stored, archive};
use crate::opm::{Unpacked, changed, checked, fixed, image, set_mode};

/// Right digests do not help a user who cannot open the files.
#[test]
fn what_a_user_cannot_open_is_named() {
    let user = |text: &'static str| {
        move |config: &mut serde_json::Value| config["config"]["User"] = text.into()
    };
    let as_is = |_: &mut Member| ();
    let of_1001 = |m: &mut Member| (m.uid, m.gid) = (1001, 1001);
    // opm makes databases that only their owner may write.
    let check = checked(&changed("pogreb-cat1.tar", of_1001, user("1001:1001")));
    assert_eq!(check.verdict, Verdict::CannotBeRead);
    assert!(check.denied.iter().all(|d| d.who.contains("OpenShift")), "{:?}", check.denied);
    assert!(check.denied.iter().any(|d| d.path.ends_with("pogreb.v1/db")), "{:?}", check.denied);
    // Those of opm itself are open to group 0, and to no other.
    assert_eq!(checked(&changed("pogreb-cat1.tar", as_is, user("1001"))).verdict, Verdict::Stable);
    let other = checked(&changed("pogreb-cat1.tar", as_is, user("1001:1001")));
    assert!(other.denied.iter().any(|d| d.who.contains("user 1001")), "{:?}", other.denied);
    // The digest of a pogreb cache has no modes, so a catalog of mode 0600 is "stable".
    let closed = |m: &mut Member| {
        if m.path.starts_with(b"configs") && m.kind == Type::File {
            m.mode = 0o600;
        }
    };
    let check = checked(&changed("pogreb-cat1.tar", closed, |_| ()));
    let read = check.denied.iter().find(|d| d.needs == "read").unwrap();
    assert!(read.path.starts_with("/configs/"), "{read:?}");
    for layout in [
        changed("pogreb-cat1.tar", closed, |_| ()),
        changed("pogreb-cat1.tar", of_1001, user("1001")),
    ] {
        let (dir, _) = fixed(&layout.open());
        let out = crate::oci::subject(&dir.path().join("out"));
        let check = in_images(&out, None, None, &[]).unwrap().catalogs.remove(0);
        assert_eq!(check.verdict, Verdict::Stable, "{:?}", check.denied);
    }
}

/// Users and groups are those that a container runtime makes of the configuration.
#[test]
fn users_by_name_and_further_groups_are_known() {
    // The database and the catalog are for group 2000 alone.
    let catalog = |user: &str, passwd: &str, group: &str| {
        let made = image("pogreb-cat1.tar", 5, false);
        let subject = made.open();
        let read = layers(&subject.store, subject.one().unwrap(), Keep::Spool).unwrap();
        let mut members = vec![
            Made::new("etc/", 0o755, ""),
            Made::new("etc/passwd", 0o644, passwd),
            Made::new("etc/group", 0o644, group),
        ];
        for (i, member) in read[0].members.iter().enumerate() {
            let mut content = Vec::new();
            read[0].content(i).unwrap().read_to_end(&mut content).unwrap();
            let mut member = member.clone();
            (member.uid, member.gid) = (7, 2000);
            member.mode = if member.kind == Type::Dir { 0o770 } else { 0o660 };
            members.push(Made { member, content });
        }
        let layout = Layout::with(&[Stored::gzip(archive(&members), 6)], |json| {
            json["config"]["Cmd"] = vec!["serve", "/configs", "--cache-dir=/cache-dir"].into();
            json["config"]["User"] = user.into();
        });
        let denied = checked(&layout).denied;
        let of_user = denied.into_iter().filter(|d| d.who.contains("the image's user"));
        of_user.map(|d| format!("{} {}", d.needs, d.path)).collect::<Vec<_>>()
    };
    let passwd = "opm:x:1001:1001::/:/bin/sh\n";
    let none = Vec::<String>::new();
    assert_eq!(catalog("opm", passwd, "cat:x:2000:other,opm\n"), none);
    assert_eq!(catalog("1001", passwd, "cat:x:2000:opm\n"), none);
    assert_eq!(catalog("opm:cat", passwd, "cat:x:2000:\n"), none);
    assert_eq!(catalog("1001:2000", "", ""), none);
    // A group that is named is the only one.
    assert_ne!(catalog("opm:1001", passwd, "cat:x:2000:opm\n"), none);
    assert_ne!(catalog("opm", passwd, "cat:x:2000:opm2\n"), none);
    // The container does not start.
    assert_eq!(catalog("opm", "", "cat:x:2000:opm\n"), ["be found in /etc/passwd"]);
    assert_eq!(catalog("opm:dog", passwd, ""), ["be found in /etc/group"]);
}

/// Of directories on disk it is asked, too, who may open them there.
#[test]
fn what_a_user_cannot_open_on_disk_is_named() {
    let catalog = Unpacked::new("pogreb-cat1.tar");
    let ask = |users: &[&str]| {
        let users: Vec<User> = users.iter().map(|text| User::parse(text).unwrap()).collect();
        let (configs, cache) = (catalog.path("configs"), catalog.path("cache-dir"));
        on_disk(&configs, &cache, &users).unwrap().catalogs.remove(0)
    };
    assert_eq!(ask(&[]).verdict, Verdict::Stable);
    for entry in walkdir::WalkDir::new(catalog.path("cache-dir")).into_iter().map(Result::unwrap) {
        chown(entry.path(), Some(1001), Some(2000)).unwrap();
        set_mode(entry.path(), if entry.file_type().is_dir() { 0o750 } else { 0o640 });
    }
    let check = ask(&[]);
    assert_eq!(check.verdict, Verdict::CannotBeRead);
    assert!(check.denied[0].who.contains("OpenShift"), "{:?}", check.denied);
    assert_eq!(ask(&["1001"]).verdict, Verdict::Stable);
    // Further groups count; opm opens the database for writing.
    let check = ask(&["1002:1002,2000"]);
    assert!(check.denied.iter().all(|d| d.needs == "write"), "{:?}", check.denied);
    assert!(check.denied[0].path.ends_with("cache-dir/pogreb.v1/db"), "{:?}", check.denied);
    assert!(User::parse("opm").is_err());
}
