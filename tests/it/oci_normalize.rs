//! `oci normalize`: what two builds agree on, and what real tools make of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::env::SourceDateEpoch;
use reprofix::format::tar::Type;
use reprofix::image::Findings;
use reprofix::image::lint::lint;
use reprofix::image::normalize::{Normalized, Options, normalize};
use reprofix::image::unpack::{Model, unpack};
use reprofix::image::verify::verify;
use reprofix::source::oci::{Compression, Digest, Images, Keep, layers};

use crate::layout::{Layout, Made, Stored, archive, files};
use crate::oci::{fixture, have, layouts, run, subject};

fn options(epoch: u32) -> Options {
    Options {
        epoch: SourceDateEpoch::new(epoch),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    }
}

/// An image in normal form, in a directory of its own.
struct Normal {
    dir: Layout,
    report: Normalized,
}

impl Normal {
    fn of(from: &Images, options: Options) -> Self {
        let dir = Layout::empty();
        let out = format!("oci:{}:demo", dir.path().join("out").display());
        let report = normalize(from, &out, options).unwrap();
        Normal { dir, report }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn open(&self) -> Images {
        subject(&self.path())
    }

    fn manifest(&self) -> &Digest {
        assert_eq!(self.report.images.len(), 1);
        &self.report.images[0].after
    }
}

/// The digest that an image made of `members` comes to.
fn digest_of(members: &[Made]) -> Digest {
    let layout = Layout::of(&[Stored::gzip(archive(members), 6)]);
    Normal::of(&layout.open(), options(1000)).manifest().clone()
}

#[test]
fn two_rebuilds_become_one_digest() {
    let of = |name: &str, epoch| Normal::of(&crate::oci::open(name), options(epoch));
    let (a, b) = (of("single-rebuild-a", 1_700_000_000), of("single-rebuild-b", 1_700_000_000));
    assert_eq!(a.manifest(), b.manifest());
    assert_eq!(files(&a.path()), files(&b.path()));
    let (x, y) = (of("ostree-encap-1", 1_700_000_000), of("ostree-encap-2", 1_700_000_000));
    assert_eq!(x.manifest(), y.manifest());
    assert!(x.report.images[0].layers[0].kept, "the layer was in normal form");
    // One that was built with the epoch is what the others become, and keeps its layer.
    let (a, pinned) = (of("single-rebuild-a", 0), of("single-ts0-a", 0));
    let diff_ids = |n: &Normal| n.open().one().unwrap().diff_ids.clone();
    assert_eq!(diff_ids(&a), diff_ids(&pinned));
    assert!(pinned.report.images[0].layers[0].kept);
}

#[test]
fn every_shape_of_one_list_becomes_one_layout() {
    let of = |name: &str| Normal::of(&crate::oci::open(name), options(1_700_000_000));
    let direct = of("multi-direct");
    for same in ["multi-indirect", "multi-nested2", "multi-direct-nomediatype"] {
        assert_eq!(files(&of(same).path()), files(&direct.path()), "{same}");
    }
    let archive = of("single-rebuild-a.ociarchive");
    assert_eq!(files(&archive.path()), files(&of("single-rebuild-a").path()));
    // Docker's media types become OCI's. What a conversion has lost stays lost: annotations.
    let docker = of("v2s2-direct");
    let ids = |n: &Normal| -> Vec<Option<Digest>> {
        n.open().images.iter().map(|i| i.config.as_ref().map(|c| c.digest.clone())).collect()
    };
    assert_eq!(ids(&docker), ids(&direct));
}

#[test]
fn normal_forms_are_sound_stable_and_unpack_alike() {
    for (_, name) in layouts().iter().filter(|(_, n)| !n.starts_with("bad-")) {
        let normal = Normal::of(&crate::oci::open(name), options(1_700_000_000));
        assert!(verify(&normal.open()).unwrap().sound(), "{name}");
        assert!(lint(&normal.open()).unwrap().sound(), "{name}");
        let again = Normal::of(&normal.open(), options(1_700_000_000));
        assert_eq!(files(&again.path()), files(&normal.path()), "{name}: a second run");
    }
}

#[test]
fn umoci_accepts_every_normal_form() {
    if !have("umoci") {
        return;
    }
    for (_, name) in layouts().iter().filter(|(_, n)| !n.starts_with("bad-")) {
        let all = crate::oci::open(name);
        for image in all.images.iter().filter(|i| i.is_image()) {
            if name == "multi-dup-platform" {
                println!("left out: {name}, no selector can choose one of two equal platforms");
                continue;
            }
            let path = fixture(name);
            let platform = image.platform_name();
            let one = Images::open(path.to_str().unwrap(), Some(platform.as_str())).unwrap();
            let normal = Normal::of(&one, options(1_700_000_000));
            let mut command = Command::new("umoci");
            command.arg("unpack").arg("--image").arg(format!("{}:demo", normal.path().display()));
            run(command.arg(normal.dir.path().join("bundle"))).unwrap();
            let rootfs = normal.dir.path().join("bundle/rootfs");
            assert!(fs::read_dir(rootfs).unwrap().next().is_some(), "{name} {platform}");
        }
    }
}

/// What umoci makes of an image is what all make of its normal form.
#[test]
fn every_case_of_lint_is_settled() {
    for (name, layout, _) in crate::oci_unpack::made_up() {
        let trees = |subject: &Images, model| {
            let layers = layers(&subject.store, subject.one().unwrap(), Keep::Digests).unwrap();
            let tree = unpack(&layers, model).map_err(|r| format!("{name}: {r:?}")).unwrap();
            let node = |n: &reprofix::image::unpack::Node| {
                let content = n.member.map(|m| layers[n.layer].contents[m]);
                (n.kind, n.mode, n.uid, n.gid, content.unwrap_or_default())
            };
            tree.iter().map(|(path, n)| (path.to_vec(), node(n))).collect::<Vec<_>>()
        };
        let want = trees(&layout.open(), Model::Umoci);
        let normal = Normal::of(&layout.open(), options(0));
        for model in Model::ALL {
            assert_eq!(trees(&normal.open(), model), want, "{name} under {model}");
        }
        assert!(lint(&normal.open()).unwrap().sound(), "{name}");
    }
}

#[test]
fn times_records_order_and_links_come_to_one_digest() {
    let base = || {
        vec![
            Made::new("etc/", 0o755, ""),
            Made::new("etc/a", 0o644, "hello\n"),
            Made::link("etc/b", Type::Hardlink, "etc/a"),
            Made::new("etc/c", 0o600, "").at(7),
        ]
    };
    let want = digest_of(&base().into_iter().map(|m| m.at(1000)).collect::<Vec<_>>());
    let late = |m: Made| m.at(1_795_333_329).record("ctime", "1795333329.5");
    let late: Vec<Made> = base().into_iter().map(late).collect();
    assert_eq!(digest_of(&late), want);
    let fraction = |mut m: Made| {
        m.member.mtime.nsec = 5;
        m
    };
    assert_eq!(digest_of(&late.iter().cloned().map(fraction).collect::<Vec<_>>()), want);
    let turned: Vec<Made> = late.iter().rev().cloned().collect();
    let mut turned: Vec<Made> =
        turned.into_iter().filter(|m| m.member.kind != Type::Hardlink).collect();
    turned.push(late[2].clone());
    assert_eq!(digest_of(&turned), want, "another order");
    let mut other_name = late.clone();
    other_name[1] = Made::new("etc/b", 0o644, "hello\n").at(2000);
    other_name[2] = Made::link("etc/a", Type::Hardlink, "etc/b").at(2000);
    assert_eq!(digest_of(&other_name), want, "the other name is the file");
    let mut twice = late.clone();
    twice.insert(0, Made::new("etc/c", 0o777, "old"));
    assert_eq!(digest_of(&twice), want, "an entry that a later one replaces");
    // What is early enough stays as it is.
    let early: Vec<Made> = base().into_iter().map(|m| m.at(7)).collect();
    assert_ne!(digest_of(&early), want);
}

/// GNU tar's own times of access and change, by GNU tar.
#[test]
fn archives_of_gnu_tar_made_twice_come_to_one_digest() {
    for format in ["posix", "gnu", "ustar"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let make = |text: &str| {
            fs::write(dir.path().join("etc/motd"), text).unwrap();
            let long = format!("etc/{}", "n".repeat(if format == "ustar" { 90 } else { 120 }));
            fs::write(dir.path().join(long), "long").unwrap();
            let mut tar = Command::new("tar");
            tar.arg("-C").arg(dir.path()).args(["--sort=name", "-c", "-f", "-"]);
            let plain = run(tar.arg(format!("--format={format}")).arg("etc")).unwrap();
            let layout = Layout::of(&[Stored::gzip(plain.clone(), 6)]);
            (plain, Normal::of(&layout.open(), options(1000)).manifest().clone())
        };
        let (first, a) = make("hello");
        // The next tick of the file system's clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (second, b) = make("hello");
        assert!(format != "posix" || first != second, "the two archives are to differ");
        assert_eq!(a, b, "{format}");
    }
}

#[test]
fn compressors_are_kept_or_replaced_as_asked() {
    let plain = archive(&[Made::new("a", 0o644, &"text ".repeat(1000))]);
    let of = |level, options| {
        Normal::of(&Layout::of(&[Stored::gzip(plain.clone(), level)]).open(), options)
    };
    let (fast, best) = (of(1, options(0)), of(9, options(0)));
    assert_ne!(fast.manifest(), best.manifest(), "unchanged blobs keep their bytes");
    let anew = Options { recompress: true, ..options(0) };
    assert_eq!(of(1, anew).manifest(), of(9, anew).manifest());
    let zstd = Options { compression: Compression::Zstd, ..anew };
    let zstd = of(1, zstd);
    assert!(verify(&zstd.open()).unwrap().sound());
    assert_eq!(zstd.open().one().unwrap().diff_ids, fast.open().one().unwrap().diff_ids);
    assert!(zstd.open().one().unwrap().layers[0].media_type.ends_with("+zstd"));
}

#[test]
fn attestations_are_dropped_or_follow_their_image() {
    let from = crate::oci::open("multi-attestation");
    let dropped = Normal::of(&from, options(0));
    assert_eq!((dropped.report.dropped.len(), dropped.report.kept.len()), (2, 0));
    assert_eq!(dropped.open().images.len(), 2);
    let kept = Normal::of(&from, Options { attestations: true, ..options(0) });
    assert_eq!(kept.report.kept.len(), 2);
    let images = kept.open().images;
    let names: Vec<String> =
        images.iter().filter(|i| i.is_image()).map(|i| i.id().unwrap().to_string()).collect();
    for image in images.iter().filter(|i| !i.is_image()) {
        assert!(names.contains(&image.annotations["vnd.docker.reference.digest"]));
    }
    assert!(verify(&kept.open()).unwrap().sound());
}

#[test]
fn an_archive_comes_out_as_one_and_skopeo_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("out.ociarchive");
    let out = format!("oci-archive:{}:demo", file.display());
    normalize(&crate::oci::open("single-rebuild-a"), &out, options(0)).unwrap();
    assert!(verify(&subject(&file)).unwrap().sound());
    if have("skopeo") {
        run(Command::new("skopeo").arg("inspect").arg(&out)).unwrap();
    }
}

#[test]
fn what_cannot_be_done_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for name in ["bad-missing-layer", "bad-corrupt-layer"] {
        assert!(normalize(&crate::oci::open(name), out.to_str().unwrap(), options(0)).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{name}");
    }
    fs::write(&out, "mine").unwrap();
    let error = normalize(&crate::oci::open("single-ts0-a"), out.to_str().unwrap(), options(0));
    assert!(format!("{:#}", error.unwrap_err()).contains("exists already"));
    assert_eq!(fs::read(&out).unwrap(), b"mine");
}

/// A path escape never becomes a file, wherever the blob lies.
#[test]
fn the_input_is_never_written() {
    let from = fixture("multi-indirect");
    let before = files(&from);
    Normal::of(&subject(Path::new(&from)), options(0));
    assert_eq!(files(&from), before);
}

/// A layout of two images, a signature, an attestation and a bill of materials, as cosign tags them.
fn signed() -> (Layout, String) {
    let layout = Layout::empty();
    let entry = |name: &str, content: &str| {
        let layer = Stored::gzip(archive(&[Made::new("a", 0o644, content).at(5000)]), 6);
        let mut entry = layout.image(&[layer], |_| ());
        entry["annotations"]["org.opencontainers.image.ref.name"] = name.into();
        entry
    };
    let (one, two) = (entry("one", "1"), entry("two", "2"));
    let name = one["digest"].as_str().unwrap().replacen(':', "-", 1);
    let about = |kind: &str, media_type: &str| {
        let blob =
            Stored { plain: b"{}".to_vec(), bytes: b"{}".to_vec(), media_type: media_type.into() };
        let mut entry = layout.image(&[blob], |config| config["x"] = kind.into());
        entry["annotations"]["org.opencontainers.image.ref.name"] = format!("{name}.{kind}").into();
        entry
    };
    let signature = about("sig", "application/vnd.dev.cosign.simplesigning.v1+json");
    let statement = about("att", "application/vnd.dsse.envelope.v1+json");
    let bill = about("sbom", "application/spdx+json");
    layout.write_index(&[one, two, signature, statement, bill]);
    (layout, name)
}

#[test]
fn one_tag_names_one_image() {
    let (layout, _) = signed();
    let subject = layout.open();
    let out = layout.path().join("out");
    let normalized = |from: &Images, tag: &str| {
        normalize(from, &format!("oci:{}{tag}", out.display()), options(1000))
    };
    let error = format!("{:#}", normalized(&subject, ":demo").unwrap_err());
    assert!(error.contains("demo would name 2 images") && error.contains(":one, :two"), "{error}");
    assert!(!out.exists(), "nothing is left");
    let one = Images::open(&format!("{}:one", layout.path().display()), None).unwrap();
    normalized(&one, ":demo").unwrap();
    fs::remove_dir_all(&out).unwrap();
    // Without one, each keeps its own.
    let report = normalized(&subject, "").unwrap();
    assert_eq!(report.dropped.len(), 3, "{:?}", report.dropped);
    let names = |s: &Images| -> Vec<String> {
        s.images.iter().flat_map(|i| i.names.iter().cloned()).collect()
    };
    assert_eq!(names(&crate::oci::subject(&out)), ["one", "two"]);
    if have("skopeo") {
        let mut skopeo = Command::new("skopeo");
        skopeo.arg("inspect").arg("--raw").arg(format!("oci:{}:one", out.display()));
        let raw = run(&mut skopeo).unwrap();
        assert_eq!(Digest::of(&raw), report.images[0].after);
    }
}

#[test]
fn what_cosign_tags_is_about_an_image_and_none() {
    let (layout, name) = signed();
    assert!(lint(&layout.open()).unwrap().images.len() == 2);
    let out = layout.path().join("out");
    let kept = Options { attestations: true, ..options(1000) };
    let report = normalize(&layout.open(), out.to_str().unwrap(), kept).unwrap();
    assert_eq!(report.kept.len(), 3);
    let now = report.images[0].after.as_str().replacen(':', "-", 1);
    assert_ne!(now, name, "the image was clamped");
    let made = subject(&out);
    let names: Vec<&str> = made.images.iter().flat_map(|i| &i.names).map(|n| &**n).collect();
    // Only what lists the content is as true of the new digest.
    let (sig, att, sbom) = (format!("{name}.sig"), format!("{name}.att"), format!("{now}.sbom"));
    assert_eq!(names, ["one", "two", &sig, &att, &sbom]);
}

#[test]
fn annotations_of_another_blob_are_dropped() {
    let layer = Stored::gzip(archive(&[Made::new("a", 0o644, "x").at(5000)]), 6);
    let layout = Layout::empty();
    let entry = layout.image_with(
        &[layer],
        |_| (),
        |manifest| {
            manifest["layers"][0]["annotations"] = serde_json::json!({
                "containerd.io/snapshot/stargz/toc.digest": "sha256:0",
                "io.containers.estargz.uncompressed-size": "1",
                "io.github.containers.zstd-chunked.manifest-checksum": "sha256:0",
                "buildkit/rewritten-timestamp": "0", "mine": "stays"});
        },
    );
    layout.write_index(&[entry]);
    let normal = Normal::of(&layout.open(), options(1000));
    let made = normal.open();
    let annotations = &made.one().unwrap().layers[0].annotations;
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["mine"]);
}

/// Platforms of one tag or of several come to one list, whatever the order in which they are named.
#[test]
fn platforms_asked_for_are_joined() {
    let normalized = |path: &str, platforms: &[&str]| {
        let from = Images::open(path, platforms.iter().copied()).unwrap();
        let layout = Layout::empty();
        let out = format!("oci:{}:demo", layout.path().join("out").display());
        let report = normalize(&from, &out, options(1_700_000_000)).unwrap();
        let out = crate::oci::subject(&layout.path().join("out"));
        let platforms: Vec<String> = out.images.iter().map(|i| i.platform_name()).collect();
        let lists: Vec<Digest> = out.images.iter().filter_map(|i| i.list.clone()).collect();
        (platforms, lists, report.lists, layout)
    };
    let path = fixture("multi-indirect").display().to_string();
    let all = Images::open(&path, None).unwrap();
    let names: Vec<String> = all.images.iter().map(|i| i.platform_name()).collect();
    let [a, b] = [&*names[0], &*names[1]];
    let (platforms, lists, report, _keep) = normalized(&path, &[b, a]);
    let mut sorted = vec![a.to_owned(), b.to_owned()];
    sorted.sort();
    assert_eq!(platforms, sorted);
    assert_eq!((lists.len(), &lists[0]), (2, &lists[1]));
    assert_eq!(report, [(all.images[0].list.clone(), lists[0].clone())]);
    assert_eq!(normalized(&path, &[a, b]).1, lists);
    // One platform is an image without a list.
    assert!(normalized(&path, &[a]).1.is_empty());
    // The same platforms under tags of their own.
    let apart = Layout::empty();
    let image = |architecture: &str| {
        let layer = Stored::gzip(archive(&[Made::new("a", 0o644, architecture)]), 6);
        let mut entry = apart.image(&[layer], |config| {
            config["architecture"] = architecture.into();
        });
        entry["annotations"]["org.opencontainers.image.ref.name"] = architecture.into();
        entry
    };
    apart.write_index(&[image("arm64"), image("amd64")]);
    let path = apart.path().display().to_string();
    let (platforms, lists, report, _keep) = normalized(&path, &["linux/amd64", "linux/arm64"]);
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(report, [(None, lists[0].clone())]);
    let error = Images::open(&path, ["linux/amd64", "linux/s390x"]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no entry for platform linux/s390x"), "{error}");
}
