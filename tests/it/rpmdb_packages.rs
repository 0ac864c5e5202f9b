//! Which package owns a path, and what it packaged there.

use std::fs;
use std::path::Path;

use reprofix::packages::Packages;

use reprofix::tree::Memory;

fn tree() -> Memory {
    let db = "tests/fixtures/rpmdb/sqlite/one/rpmdb.sqlite";
    let db = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(db)).unwrap();
    let mut tree = Memory::empty();
    tree.add("usr/share/rpm/rpmdb.sqlite", db);
    tree
}

#[test]
fn owners_and_digests_are_those_rpm_prints() {
    let packages = Packages::load(&tree()).unwrap().unwrap();
    assert_eq!(packages.len(), 20);
    for (path, nevra) in [
        ("usr/bin/t-arch", Some("t-arch-1.0-1.x86_64")),
        ("usr/bin", Some("t-filesystem-1.0-1.noarch")),
        ("etc/t-pkg05/conf", Some("t-pkg05-5:1.0-1.noarch")),
        ("usr/etc/t-pkg05/conf", Some("t-pkg05-5:1.0-1.noarch")),
        ("usr/bin/t-arc", None),
        ("", None),
    ] {
        assert_eq!(packages.owner_of(Path::new(path)), nevra, "{path}");
    }
    let conf = Path::new("usr/etc/t-pkg01/conf");
    let is_payload = |path, mut bytes: &[u8]| packages.is_payload(path, &mut bytes).unwrap();
    assert!(is_payload(conf, b"conf\n"));
    assert!(!is_payload(conf, b"edited\n"));
    assert!(!is_payload(Path::new("var/log/t-pkg01.log"), b""), "ghosts have no digest");
    let arch = packages.owners(Path::new("usr/bin/t-arch")).next().unwrap();
    let (algorithm, digest) = arch.digest.unwrap();
    assert_eq!((algorithm.name(), digest[0], digest.len()), (Some("sha256"), 0xcb, 32));
}

#[test]
fn packaged_directories_that_are_links_are_followed_inside_the_tree() {
    let mut tree = tree();
    tree.add_link("usr/bin", "sbin");
    tree.add_link("usr/share/t-pkg01", "/../../opt/one");
    tree.add_link("usr/share/t-pkg02", "t-pkg02");
    let packages = Packages::load(&tree).unwrap().unwrap();
    let owner = |path: &str| packages.owner_of(Path::new(path));
    assert_eq!(owner("usr/sbin/t-arch"), Some("t-arch-1.0-1.x86_64"));
    assert_eq!(owner("usr/bin/t-arch"), None);
    assert_eq!(owner("opt/one/README"), Some("t-pkg01-1.0-1.noarch"));
    assert_eq!(owner("usr/share/t-pkg02/README"), Some("t-pkg02-1.0-1.noarch"), "a loop");
}

#[test]
fn no_database_is_no_package_and_a_bad_one_is_an_error() {
    assert!(Packages::load(&Memory::empty()).unwrap().unwrap().is_empty());
    let mut bad = Memory::empty();
    bad.add("var/lib/rpm/rpmdb.sqlite", "nonsense");
    assert!(Packages::load(&bad).unwrap().is_err());
}
