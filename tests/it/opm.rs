//! Operator catalogs: digests against what real opm stored and computed.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use reprofix::env::SourceDateEpoch;
use reprofix::format::tar::{Member, Type};
use reprofix::image::Findings;
use reprofix::image::normalize::Options;
use reprofix::image::opm::access::User;
use reprofix::image::opm::fix::{Fixed, fix};
use reprofix::image::opm::verify::{Check, Format, Verdict, in_images, on_disk};
use reprofix::source::oci::{Compression, Images, Keep, layers};
use serde_json::{Value, json};

use crate::layout::{Layout, Made, Stored, archive, files};
use crate::oci::open;

/// What is done to a catalog's folder, and its name.
type Edit<'a> = (&'a str, &'a dyn Fn(&Path));

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/opm")
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A catalog of the fixtures, unpacked with its modes.
pub(crate) struct Unpacked(tempfile::TempDir);

impl Unpacked {
    pub(crate) fn new(archive: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xpf").arg(fixtures().join(archive)).arg("-C").arg(dir.path());
        assert!(tar.status().unwrap().success());
        Unpacked(dir)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn check(&self) -> Check {
        // opm ran as root for the vectors.
        let users = [User::parse("0").unwrap()];
        let checks = on_disk(&self.path("configs"), &self.path("cache-dir"), &users).unwrap();
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
        let checks = in_images(&open(name), None, None, &[]).unwrap();
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
    let error = on_disk(&catalog.path("configs"), &catalog.path("cache-dir"), &[]).unwrap_err();
    assert!(format!("{error:#}").contains("reading 00000-1.psg: record's checksum"), "{error:#}");
    assert!(on_disk(&catalog.path("nothing"), &catalog.path("cache-dir"), &[]).is_err());
    assert!(in_images(&open("single-ts0-a"), None, None, &[]).is_err());
}

/// An image of an unpacked catalog of the fixtures, every member with the time `at`; in two layers,
/// backwards, if `turned`.
pub(crate) fn image(archive_name: &str, at: i64, turned: bool) -> Layout {
    let catalog = Unpacked::new(archive_name);
    let mut members = Vec::new();
    for top in ["configs", "cache-dir"] {
        let mut below = Vec::new();
        for entry in walkdir::WalkDir::new(catalog.path(top)).sort_by_file_name() {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(catalog.0.path()).unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            let slash = if entry.file_type().is_dir() { "/" } else { "" };
            let mut made = Made::new(&format!("{}{slash}", path.display()), mode, "").at(at);
            if entry.file_type().is_file() {
                made.content = fs::read(entry.path()).unwrap();
                if turned && path.ends_with("db.pmt") {
                    // Another seed, as another run of opm would have drawn.
                    let last = made.content.len() - 2;
                    made.content[last] ^= 0x55;
                }
                made.member.size = made.content.len() as u64;
            }
            below.push(made);
        }
        members.push(below);
    }
    let layers: Vec<Stored> = match turned {
        false => vec![Stored::gzip(archive(&members.concat()), 6)],
        true => members.iter().rev().map(|m| Stored::gzip(archive(m), 1)).collect(),
    };
    Layout::with(&layers, |config| {
        let label = "operators.operatorframework.io.index.configs.v1";
        config["config"]["Labels"][label] = "/configs".into();
        config["config"]["Cmd"] = vec!["serve", "/configs", "--cache-dir=/cache-dir"].into();
        config["history"] = vec![serde_json::json!({"created_by": "l"}); layers.len()].into();
    })
}

pub(crate) fn fixed(subject: &Images) -> (Layout, Fixed) {
    let dir = Layout::empty();
    let out = format!("oci:{}:demo", dir.path().join("out").display());
    let options = Options {
        epoch: SourceDateEpoch::new(0),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    let report = fix(subject, &out, options, None, None, false).unwrap();
    (dir, report)
}

#[test]
fn a_fixed_catalog_starts_everywhere_and_a_second_run_changes_nothing() {
    for name in ["opm-implied-parent", "opm-good"] {
        let (dir, report) = fixed(&open(name));
        let out = crate::oci::subject(&dir.path().join("out"));
        let check = in_images(&out, None, None, &[]).unwrap().catalogs.remove(0);
        assert_eq!(check.verdict, Verdict::Stable, "{name}: {:?}", check.rows);
        assert_eq!(check.stored.as_ref(), Some(&report.catalogs[0].after));
        assert!(reprofix::image::lint::lint(&out).unwrap().sound(), "{name}");
        assert!(reprofix::image::verify::verify(&out).unwrap().sound(), "{name}");
        let (again, _) = fixed(&out);
        let same = files(&again.path().join("out")) == files(&dir.path().join("out"));
        assert!(same, "{name}: a second run");
        if crate::oci::have("umoci") {
            let mut umoci = Command::new("umoci");
            umoci.args(["unpack", "--image"]).arg(format!("{}/out:demo", dir.path().display()));
            crate::oci::run(umoci.arg(dir.path().join("bundle"))).unwrap();
            let rootfs = dir.path().join("bundle/rootfs");
            let checks = on_disk(&rootfs.join("configs"), &rootfs.join("tmp/cache"), &[]).unwrap();
            assert_eq!(checks.catalogs[0].verdict, Verdict::Stable, "{name} unpacked by umoci");
        }
    }
}

#[test]
fn two_builds_of_one_catalog_come_to_one_digest() {
    for name in ["json-cat1.tar", "json-cat2.tar", "pogreb-cat1.tar", "pogreb-cat2.tar"] {
        let (one, other) = (image(name, 5, false), image(name, 2_000_000_000, true));
        let (dir, report) = fixed(&one.open());
        let (_, second) = fixed(&other.open());
        let top = |f: &Fixed| f.images.images[0].layers.last().unwrap().after.clone();
        assert_eq!(top(&report), top(&second), "{name}: the layer");
        let check =
            in_images(&crate::oci::subject(&dir.path().join("out")), None, None, &[]).unwrap();
        assert_eq!(check.catalogs[0].verdict, Verdict::Stable, "{name}");
        if name.starts_with("pogreb") {
            assert_eq!(report.catalogs[0].before, report.catalogs[0].after, "modes do not count");
        }
        // The whole image, where the builds have as many layers.
        let (_, third) = fixed(&image(name, 2_000_000_000, false).open());
        let late = fixed(&image(name, 1_900_000_000, false).open()).1;
        assert_eq!(third.images.images[0].after, late.images.images[0].after, "{name}");
    }
}

#[test]
fn a_cache_of_another_catalog_is_not_made_to_look_right() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let options = Options {
        epoch: SourceDateEpoch::new(0),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    let stale = image("json-cat1-pax-utf8.tar", 0, false);
    for (subject, word) in
        [(stale.open(), "of another catalog"), (open("opm-implicit-parent-dir"), "no cache")]
    {
        let error = fix(&subject, out.to_str().unwrap(), options, None, None, false).unwrap_err();
        assert!(format!("{error:#}").contains(word), "{error:#}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

/// An image of the catalog in a fixture, every member changed, and its configuration.
pub(crate) fn changed(
    name: &str,
    member: impl Fn(&mut Member),
    config: impl FnOnce(&mut serde_json::Value),
) -> Layout {
    let made = image(name, 5, false);
    let subject = made.open();
    let one = subject.one().unwrap();
    let read = layers(&subject.store, one, Keep::Spool).unwrap();
    let mut members = Vec::new();
    for (i, old) in read[0].members.iter().enumerate() {
        let mut content = Vec::new();
        read[0].content(i).unwrap().read_to_end(&mut content).unwrap();
        let mut new = old.clone();
        member(&mut new);
        members.push(Made { member: new, content });
    }
    Layout::with(&[Stored::gzip(archive(&members), 6)], |json| {
        json["config"]["Cmd"] = vec!["serve", "/configs", "--cache-dir=/cache-dir"].into();
        config(json);
    })
}

pub(crate) fn checked(layout: &Layout) -> Check {
    in_images(&layout.open(), None, None, &[]).unwrap().catalogs.remove(0)
}

/// What another umask, `COPY --chmod` or `cp -r` leave is named, and no reason to refuse.
#[test]
fn uniform_modes_are_found_and_fixed() {
    let set = |dirs: u32, files: u32, only: &'static [u8]| {
        move |m: &mut Member| {
            if m.path.starts_with(only) {
                m.mode = if m.kind == Type::Dir { dirs } else { files };
            }
        }
    };
    type Set = Box<dyn Fn(&mut Member)>;
    let cases: [(&str, Set); 4] = [
        ("umask 002", Box::new(set(0o775, 0o664, b""))),
        ("umask 077", Box::new(set(0o700, 0o600, b""))),
        ("COPY --chmod of the cache", Box::new(set(0o755, 0o644, b"cache-dir"))),
        ("set-group-ID", Box::new(set(0o2775, 0o664, b"configs"))),
    ];
    for (what, member) in cases {
        // The stored digest is of the catalog as it was built.
        let check = checked(&changed("json-cat1.tar", member, |_| ()));
        assert_eq!(check.verdict, Verdict::Stale, "{what}");
        let blame = check.blame.first().unwrap_or_else(|| panic!("{what}: nothing is blamed"));
        assert!(blame.why.contains("the stored digest is right"), "{what}: {}", blame.why);
    }
    let odd = changed("json-cat1.tar", set(0o775, 0o664, b""), |_| ());
    let (dir, _) = fixed(&odd.open());
    let out = crate::oci::subject(&dir.path().join("out"));
    assert_eq!(in_images(&out, None, None, &[]).unwrap().catalogs[0].verdict, Verdict::Stable);
}

/// The command line is read as opm reads it.
#[test]
fn catalog_and_cache_are_where_the_command_says() {
    type Config = fn(&mut serde_json::Value);
    let cases: [(&str, Config, &str, &str, bool); 7] = [
        ("no label", |c| c["config"]["Labels"] = json!({}), "/configs", "/cache-dir", true),
        (
            "a shell",
            |c| {
                c["config"]["Entrypoint"] = json!(["/bin/sh", "-c"]);
                c["config"]["Cmd"] = json!(["opm serve /configs --cache-dir /cache-dir"]);
            },
            "/configs",
            "/cache-dir",
            true,
        ),
        (
            "a shell's -c as one command",
            |c| {
                c["config"]["Cmd"] =
                    json!(["sh", "-c", "exec opm serve '/configs' --cache-dir=/cache-dir"])
            },
            "/configs",
            "/cache-dir",
            true,
        ),
        (
            "flags first",
            |c| {
                c["config"]["Cmd"] =
                    json!(["serve", "-p", "50051", "--cache-dir", "/cache-dir", "/configs"])
            },
            "/configs",
            "/cache-dir",
            true,
        ),
        (
            "another label",
            |c| {
                let label = "operators.operatorframework.io.index.configs.v1";
                c["config"]["Labels"][label] = "/elsewhere".into();
            },
            "/configs",
            "/cache-dir",
            true,
        ),
        (
            "no cache",
            |c| c["config"]["Cmd"] = json!(["serve", "/configs"]),
            "/configs",
            "/tmp/cache",
            false,
        ),
        ("no command", |c| c["config"]["Cmd"] = json!(null), "/configs", "/tmp/cache", true),
    ];
    for (what, config, configs, cache, used) in cases {
        let check = checked(&changed("json-cat1.tar", |_| (), config));
        let places = (&*check.places.configs, &*check.places.cache, check.places.used);
        assert_eq!(places, (configs, cache, used), "{what}");
    }
    let unused =
        changed("json-cat1.tar", |_| (), |c| c["config"]["Cmd"] = json!(["serve", "/configs"]));
    let checks = in_images(&unused.open(), None, None, &[]).unwrap();
    assert_eq!(checks.catalogs[0].verdict, Verdict::Unused);
    assert!(checks.sound(), "opm makes a cache of its own");
    // A catalog behind a link.
    let members = [
        Made::link("configs", Type::Symlink, "srv/catalog"),
        Made::new("srv/", 0o755, ""),
        Made::new("srv/catalog/", 0o755, ""),
        Made::new("srv/catalog/c.json", 0o644, "{}"),
    ];
    let linked = Layout::of(&[Stored::gzip(archive(&members), 6)]);
    assert_eq!(checked(&linked).verdict, Verdict::Missing);
}

#[test]
fn a_stale_cache_can_be_dropped() {
    let stale = image("json-cat1-pax-utf8.tar", 0, false);
    let dir = Layout::empty();
    let out = dir.path().join("out");
    let options = Options {
        epoch: SourceDateEpoch::new(0),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    fix(&stale.open(), out.to_str().unwrap(), options, None, None, true).unwrap();
    let made = crate::oci::subject(&out);
    let check = in_images(&made, None, None, &[]).unwrap().catalogs.remove(0);
    assert_eq!((check.verdict, check.otherwise), (Verdict::Unused, Some(Verdict::Missing)));
    let config = made.store.json(&made.one().unwrap().config.as_ref().unwrap().name, 1 << 20);
    assert_eq!(config.unwrap()["config"]["Cmd"], json!(["serve", "/configs"]));
    assert!(reprofix::image::verify::verify(&made).unwrap().sound());
}

/// Two builds of a pogreb catalog: what helps is `opm fix`, not a treefile.
#[test]
fn the_remedy_for_a_pogreb_cache_is_opm_fix() {
    let (one, other) = (image("pogreb-cat1.tar", 5, false), image("pogreb-cat1.tar", 5, true));
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    let output = command.arg("check").arg(one.path()).arg(other.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("reprofix opm fix IMAGE -o OUT, in both builds"), "{said}");
    assert!(!said.contains("treefile"), "{said}");
}
