//! Operator catalogs: digests against what real opm stored and computed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use reprofix::image::Findings;
use reprofix::opm::verify::{Check, Format, Verdict, in_images, on_disk};
use serde_json::Value;

use crate::oci::open;

/// What is done to a catalog's folder, and its name.
type Edit<'a> = (&'a str, &'a dyn Fn(&Path));

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/opm")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A catalog of the fixtures, unpacked with its modes.
struct Unpacked(tempfile::TempDir);

impl Unpacked {
    fn new(archive: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xpf").arg(fixtures().join(archive)).arg("-C").arg(dir.path());
        assert!(tar.status().unwrap().success());
        Unpacked(dir)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn check(&self) -> Check {
        let checks = on_disk(&self.path("configs"), &self.path("cache-dir")).unwrap();
        checks.catalogs.into_iter().next().unwrap()
    }

    fn computed(&self) -> String {
        self.check().rows[0].computed.clone().unwrap()
    }
}

#[test]
fn every_vector_of_real_opm_comes_out() {
    let vectors = fs::read(fixtures().join("vectors.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_slice(&vectors).unwrap();
    assert_eq!(vectors.len(), 14);
    for vector in vectors {
        let text = |key: &str| vector[key].as_str().unwrap().to_owned();
        let check = Unpacked::new(&text("tar")).check();
        let name = text("name");
        assert_eq!(check.stored, Some(text("stored")), "{name}");
        assert_eq!(check.rows[0].computed, Some(text("computed")), "{name}");
        assert_eq!(check.rows[0].matches, vector["match"], "{name}");
        let verdict = if check.rows[0].matches { Verdict::Stable } else { Verdict::Stale };
        assert_eq!(check.verdict, verdict, "{name}");
        let format = if text("format") == "json" { Format::Json } else { Format::Pogreb };
        assert_eq!(check.format, Some(format), "{name}");
    }
}

#[test]
fn one_wrong_mode_is_found_and_named() {
    for (archive, path) in [
        ("json-cat1-rootdir-0775.tar", "configs/"),
        ("json-cat1-file-0600.tar", "configs/alpha/catalog.json"),
        ("json-cat1-cachedir-0755.tar", "cache-dir/cache/"),
    ] {
        let check = Unpacked::new(archive).check();
        assert_eq!(check.blame.len(), 1, "{archive}");
        assert!(check.blame[0].path.ends_with(path), "{archive}: {:?}", check.blame);
    }
    // A name too many is not a mode.
    assert_eq!(Unpacked::new("json-cat1-pax-utf8.tar").check().blame, []);
}

/// What the json digest covers and what it does not.
#[test]
fn sensitivity() {
    let base = Unpacked::new("json-cat1.tar").computed();
    let after = |change: &dyn Fn(&Path)| {
        let catalog = Unpacked::new("json-cat1.tar");
        change(catalog.0.path());
        catalog.computed()
    };
    let file = "configs/alpha/catalog.json";
    let same: [Edit<'_>; 6] = [
        ("owner", &|r| chown(r.join(file), Some(1000), Some(1000)).unwrap()),
        ("time", &|r| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            fs::File::open(r.join(file)).unwrap().set_modified(at).unwrap();
        }),
        ("symlink", &|r| symlink("catalog.json", r.join("configs/alpha/link")).unwrap()),
        ("symlink to a directory", &|r| symlink("alpha", r.join("configs/beta")).unwrap()),
        ("a file beside the cache", &|r| fs::write(r.join("cache-dir/other"), "x").unwrap()),
        ("mode of the cache's parent", &|r| set_mode(&r.join("cache-dir"), 0o700)),
    ];
    for (name, change) in same {
        assert_eq!(after(change), base, "{name} must not count");
    }
    let long = format!("configs/{}/{}", "d".repeat(150), "n".repeat(120));
    let different: [Edit<'_>; 6] = [
        ("empty directory", &|r| fs::create_dir(r.join("configs/empty")).unwrap()),
        ("empty file", &|r| fs::write(r.join("configs/empty"), "").unwrap()),
        ("content", &|r| fs::write(r.join(file), "{}").unwrap()),
        ("name", &|r| fs::rename(r.join(file), r.join("configs/alpha/b.json")).unwrap()),
        ("non-ASCII name", &|r| fs::create_dir(r.join("configs/é")).unwrap()),
        ("long name", &|r| fs::create_dir_all(r.join(&long)).unwrap()),
    ];
    for (name, change) in different {
        assert_ne!(after(change), base, "{name} must count");
    }
    for path in ["configs", "configs/alpha", file, "cache-dir/cache"] {
        let old = |r: &Path| r.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        for bit in 0..12 {
            let flip = |r: &Path| set_mode(&r.join(path), old(r) ^ (1 << bit));
            assert_ne!(after(&flip), base, "bit {bit} of {path} must count");
        }
    }
}

#[test]
fn extended_attributes_do_not_count() {
    let catalog = Unpacked::new("json-cat1.tar");
    let before = catalog.computed();
    let file = catalog.path("configs/alpha/catalog.json");
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(error) = rustix::fs::setxattr(&file, c"user.note", b"x", flags) {
        eprintln!("SKIPPED: this file system takes no user attributes: {error}");
        return;
    }
    assert_eq!(catalog.computed(), before);
}

#[test]
fn the_catalog_that_breaks_on_overlay_is_told_from_the_sound_one() {
    let check = |name: &str| {
        let checks = in_images(&open(name), None, None).unwrap();
        assert_eq!(checks.sound(), name == "opm-good");
        checks.catalogs.into_iter().next().unwrap()
    };
    let good = check("opm-good");
    assert_eq!((good.verdict, good.blame.len()), (Verdict::Stable, 0));
    let broken = check("opm-implied-parent");
    assert_eq!(broken.verdict, Verdict::BreaksOnOverlay);
    assert_eq!(broken.stored.as_deref(), Some("4194f450be60e5bb"));
    let computed = |model: &str| {
        let row = broken.rows.iter().find(|r| r.model == model).unwrap();
        row.computed.clone().unwrap()
    };
    assert_eq!(computed("vfs"), "4194f450be60e5bb");
    assert_eq!(computed("overlay"), "089b01dc5cfa5c77");
    assert_eq!(broken.blame[0].path, "configs/");
    assert!(broken.blame[0].why.contains("0775 on vfs, 0755 on overlay"), "{:?}", broken.blame);
    assert_eq!(check("opm-implicit-parent-dir").verdict, Verdict::Missing);
}

#[test]
fn broken_input_is_an_error_and_never_a_verdict() {
    let catalog = Unpacked::new("pogreb-cat1.tar");
    let segment = catalog.path("cache-dir/pogreb.v1/db/00000-1.psg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[600] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let error = on_disk(&catalog.path("configs"), &catalog.path("cache-dir")).unwrap_err();
    assert!(format!("{error:#}").contains("reading 00000-1.psg: record's checksum"), "{error:#}");
    assert!(on_disk(&catalog.path("nothing"), &catalog.path("cache-dir")).is_err());
    assert!(in_images(&open("single-ts0-a"), None, None).is_err());
}
