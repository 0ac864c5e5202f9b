//! `check` of two images: which class a difference is.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use reprofix::format::tar::Type;
use reprofix::image::compare::{Class, Report, compare};
use reprofix::report::Progress;
use reprofix::run::check::Job;
use reprofix::source::oci::Images;

use crate::layout::{Layout, Made, Stored, archive};
use crate::oci::{open, subject};

fn report(a: &Images, b: &Images, strict: bool) -> Report {
    let job = Job {
        a: OsString::new(),
        b: Some(OsString::new()),
        strict_metadata: strict,
        ..Job::default()
    };
    compare(["A", "B"], a, b, &job, &Progress::new(true)).unwrap()
}

fn fixtures(a: &str, b: &str) -> Report {
    report(&open(a), &open(b), false)
}

/// The verdict that all pairs share, and whether the whole is the same.
fn verdict(report: &Report) -> (&str, bool) {
    let verdicts: BTreeSet<&str> = report.pairs.iter().map(|p| &*p.verdict).collect();
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    (verdicts.into_iter().next().unwrap(), report.same)
}

#[test]
fn fixtures_have_the_classes_that_they_were_made_for() {
    for (a, b, words, same) in [
        ("single-ts0-a", "single-ts0-b", "identical", true),
        ("single-rebuild-a", "single-rebuild-a", "identical", true),
        ("single-rebuild-a", "single-rebuild-a.ociarchive", "identical", true),
        ("single-rebuild-a", "single-rebuild-b", "times and history only", false),
        ("multi-direct", "multi-indirect", "list shape only", true),
        ("multi-direct", "multi-nested2", "list shape only", true),
        ("multi-direct", "multi-direct-nomediatype", "list shape only", true),
        ("multi-nested2", "multi-indirect", "list shape only", true),
        ("multi-direct", "v2s2-direct", "media type only", true),
        ("multi-indirect", "v2s2-direct", "list shape and media type", true),
        ("ostree-encap-1", "ostree-encap-2", "times and history only", true),
    ] {
        let (there, back) = (fixtures(a, b), fixtures(b, a));
        assert_eq!(verdict(&there), (words, same), "{a} against {b}: {}", there.human(20));
        assert_eq!(verdict(&back), (words, same), "{b} against {a}");
    }
}

#[test]
fn a_platform_that_one_side_lacks_is_a_difference() {
    let report = fixtures("multi-direct", "v2s2-single");
    assert_eq!(report.only_a, ["linux/arm/v7", "linux/arm64", "linux/s390x"]);
    assert_eq!(report.pairs[0].verdict, "list shape and media type");
    assert!(report.pairs[0].same && !report.same);
}

#[test]
fn of_an_encapsulated_commit_only_the_content_checksum_counts() {
    let report = fixtures("ostree-encap-1", "ostree-encap-2");
    let pair = &report.pairs[0];
    let sum = "23b7d9f387efc3f9f4f0963b6286ff1ca1edf3bf4af1ba505cb8b6f7e59f5e68";
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.ostree.as_ref().unwrap().content_checksum, sum);
    }
    let line = r#"history[0].created: "2026-11-22T08:19:45Z" → "2026-11-22T08:19:46Z""#;
    assert_eq!(pair.details, [line]);
    let strict = self::report(&open("ostree-encap-1"), &open("ostree-encap-2"), true);
    assert!(!strict.same);
}

/// The command compares the commits, and says what else the images say.
#[test]
fn of_two_encapsulations_only_the_history_differs() {
    let at = |name: &str| format!("oci:{}", crate::oci::fixture(name).display());
    let check = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.args(["check", &at("ostree-encap-1"), &at("ostree-encap-2"), "--json", "-"]);
        let output = command.args(more).output().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json)
    };
    let (code, json) = check(&[]);
    assert_eq!((code, json["metadata"].as_array().unwrap().len()), (Some(0), 1));
    assert_eq!(json["metadata"][0]["key"], "image: history[0].created");
    assert_eq!(check(&["--strict-metadata"]).0, Some(1));
}

#[test]
fn docker_archives_and_layouts_of_one_image_are_the_same() {
    let report = fixtures("single-rebuild-a", "single-rebuild-a.docker-archive.tar");
    assert!(report.same, "{}", report.human(20));
}

#[test]
fn two_images_for_one_platform_need_a_tag() {
    let (a, b) = (open("multi-dup-platform"), open("single-ts0-a"));
    let job = Job::default();
    let error = compare(["A", "B"], &a, &b, &job, &Progress::new(true)).unwrap_err().to_string();
    assert!(error.starts_with("ambiguous: 2 and 1 different images for linux/amd64"), "{error}");
}

#[test]
fn damage_is_an_error_and_no_verdict() {
    for name in ["bad-missing-layer", "bad-corrupt-layer"] {
        let (a, b) = (open(name), open("single-rebuild-b"));
        let job = Job::default();
        assert!(compare(["A", "B"], &a, &b, &job, &Progress::new(true)).is_err(), "{name}");
    }
}

fn base() -> Vec<Made> {
    vec![
        Made::new("etc/", 0o755, ""),
        Made::new("etc/motd", 0o644, "hello\n"),
        Made::link("etc/other", Type::Hardlink, "etc/motd"),
        Made::link("etc/link", Type::Symlink, "motd"),
        Made::new("usr/", 0o755, ""),
    ]
}

/// Compares an image of `base` with one of what `change` makes of it.
fn changed(change: impl FnOnce(&mut Vec<Made>)) -> (String, bool) {
    let mut members = base();
    change(&mut members);
    let (a, b) = (Stored::gzip(archive(&base()), 6), Stored::gzip(archive(&members), 6));
    let (a, b) = (Layout::of(&[a]), Layout::of(&[b]));
    let report = report(&a.open(), &b.open(), false);
    let (words, same) = verdict(&report);
    (words.to_owned(), same)
}

#[test]
fn each_change_of_a_layer_has_its_class() {
    let only = |words: &str| (words.to_owned(), false);
    assert_eq!(changed(|_| ()), ("identical".to_owned(), true));
    assert_eq!(changed(|m| m[1] = m[1].clone().at(7)), only("times and history only"));
    let stamp = |m: &mut Vec<Made>| {
        m.iter_mut().for_each(|made| *made = made.clone().record("ctime", "1795333329.5"));
    };
    assert_eq!(changed(stamp), only("PAX ctime only"));
    assert_eq!(changed(|m| m.swap(0, 4)), only("entry order only"));
    assert_eq!(changed(|m| drop(m.remove(0))), only("missing parents only"));
    let comment = |m: &mut Vec<Made>| m[0] = m[0].clone().record("comment", "x");
    assert_eq!(changed(comment), only("tar encoding only"));
    assert_eq!(changed(|m| m[1].member.uname = "root".into()), only("owner names only"));
    // Which of two hard links is the file is a matter of order.
    let turned = |m: &mut Vec<Made>| {
        m[1] = Made::new("etc/other", 0o644, "hello\n");
        m[2] = Made::link("etc/motd", Type::Hardlink, "etc/other");
    };
    assert_eq!(changed(turned), only("entry order only"));
    for (name, change) in [
        ("bytes", (|m| m[1].content[0] = b'j') as fn(&mut Vec<Made>)),
        ("mode", |m| m[1].member.mode = 0o600),
        ("owner", |m| m[1].member.uid = 1),
        ("xattr", |m| drop(m[1].member.xattrs.insert(b"user.x".into(), b"y".into()))),
        ("target", |m| m[3].member.link = b"other".into()),
        ("no file", |m| drop(m.remove(3))),
        ("empty directory", |m| drop(m.remove(4))),
        ("no link", |m| m[2] = Made::new("etc/other", 0o644, "hello\n")),
    ] {
        let (words, same) = changed(change);
        assert!(words.contains("content") && !same, "{name}: {words}");
    }
}

#[test]
fn compression_shape_and_configuration_are_told_apart() {
    let plain = archive(&base());
    let a = Layout::of(&[Stored::gzip(plain.clone(), 1)]);
    let b = Layout::of(&[Stored::gzip(plain.clone(), 9)]);
    assert_eq!(verdict(&report(&a.open(), &b.open(), false)), ("compression only", true));
    assert!(!report(&a.open(), &b.open(), true).same);
    let zstd = Stored {
        bytes: zstd::encode_all(&plain[..], 3).unwrap(),
        plain: plain.clone(),
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
    };
    let c = Layout::of(&[zstd]);
    assert_eq!(verdict(&report(&a.open(), &c.open(), false)), ("compression only", true));
    let with = |change: fn(&mut serde_json::Value)| {
        let b = Layout::with(&[Stored::gzip(plain.clone(), 1)], change);
        let report = report(&a.open(), &b.open(), false);
        let (words, same) = verdict(&report);
        (words.to_owned(), same)
    };
    assert_eq!(with(|c| c["created"] = "x".into()), ("times and history only".into(), true));
    assert_eq!(
        with(|c| c["config"]["Env"] = vec!["A=1"].into()),
        ("configuration only".into(), false)
    );
    // The same keys in another order.
    let reorder = |config: &mut serde_json::Value| {
        let os = config.as_object_mut().unwrap().shift_remove("architecture").unwrap();
        config["architecture"] = os;
    };
    assert_eq!(with(reorder), ("JSON encoding only".into(), true));
}

#[test]
fn content_is_explained_path_by_path_by_the_plugins_of_check() {
    let with = |uuid: &str| {
        let pyc = Made::new("usr/lib/a/__pycache__/m.cpython-311.pyc", 0o644, uuid);
        Layout::of(&[Stored::gzip(archive(&[&base()[..], &[pyc]].concat()), 6)])
    };
    let (a, b) = (with("one"), with("two"));
    let report = report(&a.open(), &b.open(), false);
    assert_eq!(verdict(&report), ("content only", false));
    let paths = report.pairs[0].paths.as_ref().unwrap();
    assert_eq!(paths.counts.paths, 1);
    assert_eq!(paths.differences[0].path, "usr/lib/a/__pycache__/m.cpython-311.pyc");
    assert_eq!(paths.counts.fixed, 1, "{}", report.human(20));
}

/// Layers whose files differ are read once, on both sides at once; what is said does not depend on it.
#[test]
fn any_number_of_threads_says_the_same_of_layers_that_differ_in_time_and_content() {
    let layer = |time: i64, bytes: &str| {
        let file = Made::new("usr/a", 0o644, bytes).at(time);
        Stored::gzip(archive(&[Made::new("usr/", 0o755, ""), file]), 6)
    };
    let image = |times: [i64; 3], contents: [&str; 3]| {
        Layout::of(&times.into_iter().zip(contents).map(|(t, c)| layer(t, c)).collect::<Vec<_>>())
    };
    // Below, only a time; then content; above, nothing.
    let (a, b) = (image([1, 2, 3], ["x", "y", "z"]), image([9, 2, 3], ["x", "w", "z"]));
    let said = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| serde_json::to_string(&report(&a.open(), &b.open(), false)).unwrap())
    };
    let one = said(1);
    let report: serde_json::Value = serde_json::from_str(&one).unwrap();
    let layers = report["pairs"][0]["layers"].as_array().unwrap();
    let numbers: Vec<_> = layers.iter().map(|layer| layer["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1], "{one}");
    for threads in [2, 7] {
        assert_eq!(said(threads), one, "{threads} threads");
    }
    // Of two damaged sides, the first is named.
    let broken = |layout: &Layout| {
        let images = layout.open();
        let layer = &images.images[0].layers[1];
        let path = images.store.path().join(&layer.name);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        layer.digest.to_string()
    };
    let (first, _) = (broken(&a), broken(&b));
    let (a, b) = (a.open(), b.open());
    let error = compare(["A", "B"], &a, &b, &Job::default(), &Progress::new(true)).unwrap_err();
    assert!(format!("{error:#}").contains(&first), "{error:#}");
}

#[test]
fn one_tree_in_other_layers_is_a_matter_of_layering() {
    let (first, second) = (base()[..3].to_vec(), base()[3..].to_vec());
    let a = Layout::of(&[Stored::gzip(archive(&base()), 6)]);
    let parts = [Stored::gzip(archive(&first), 6), Stored::gzip(archive(&second), 6)];
    let b = Layout::with(&parts, |c| c["history"].as_array_mut().unwrap().truncate(1));
    let report = report(&a.open(), &b.open(), false);
    assert_eq!(verdict(&report), ("division into layers only", false), "{}", report.human(20));
}

#[test]
fn a_catalog_whose_platforms_hold_other_bundles_is_named() {
    let label = |config: &mut serde_json::Value| {
        let label = "operators.operatorframework.io.index.configs.v1";
        config["config"]["Labels"][label] = "/configs".into();
    };
    let catalog = |bundles: &[&str]| {
        let lines = bundles.iter().map(|b| format!(r#"{{"schema":"olm.bundle","name":"{b}"}}"#));
        let text: String = lines.collect();
        Stored::gzip(
            archive(&[Made::new("configs/", 0o755, ""), Made::new("configs/c.json", 0o644, &text)]),
            6,
        )
    };
    let layout = Layout::empty();
    let entries: Vec<_> = [("amd64", &["x.v1", "x.v2"][..]), ("arm64", &["x.v1"][..])]
        .into_iter()
        .map(|(architecture, bundles)| {
            let mut entry = layout.image(&[catalog(bundles)], |config| {
                label(config);
                config["architecture"] = architecture.into();
            });
            entry["platform"] = serde_json::json!({"os": "linux", "architecture": architecture});
            entry
        })
        .collect();
    layout.index(&entries, serde_json::json!({}));
    let subject = subject(layout.path());
    let report = report(&subject, &subject, false);
    assert!(!report.same);
    let bundles = &report.catalogs[0];
    assert_eq!((bundles.side, &*bundles.platform), ("A", "linux/arm64"));
    assert_eq!(bundles.lacks.iter().collect::<Vec<_>>(), ["x.v2"]);
    // Alone it is asked, too.
    let check = |more: &[&str]| {
        let mut reprofix = std::process::Command::new(env!("CARGO_BIN_EXE_reprofix"));
        let output = reprofix.arg("check").arg(layout.path()).args(more).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let (code, said) = check(&[]);
    assert_eq!(code, 1, "{said}");
    for line in ["linux/amd64: 2 bundles", "linux/arm64: 1 bundles", "lacks x.v2, which another"] {
        assert!(said.contains(line), "{said}");
    }
    let (code, said) = check(&["--json", "-"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &json["schema"]), (1, &"reprofix-catalogs-1".into()));
    assert_eq!(crate::schema::violations("reprofix-catalogs-1", &json), Vec::<String>::new());
    assert_eq!(json["catalogs"][0]["platforms"][1]["lacks"], serde_json::json!(["x.v2"]));
    let (code, said) = check(&["--platform", "linux/arm64"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn classes_have_words_and_serialise_in_one_order() {
    let json = serde_json::to_string(&[Class::ListShape, Class::PaxCtime]).unwrap();
    assert_eq!(json, r#"["list-shape","pax-ctime"]"#);
}

/// The keys of a JSON value, at every level, but for those of maps whose keys are data.
fn keys(value: &serde_json::Value, all: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                all.insert(key.clone());
                if key != "paths" && key != "annotations" {
                    keys(value, all);
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|v| keys(v, all)),
        _ => {}
    }
}

/// What `--json` writes is what docs/schema/images.md lists.
#[test]
fn every_json_field_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/images.md");
    let page = std::fs::read_to_string(page).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| crate::oci::fixture(name).display().to_string();
    let out = |name: &str| dir.path().join(name).display().to_string();
    let roots = dir.path().join("roots/base");
    std::fs::create_dir_all(&roots).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stacker");
    std::fs::copy(fixtures.join("bug442.json"), roots.join("overlay_metadata.json")).unwrap();
    let roots = out("roots");
    let commands: [Vec<String>; 11] = [
        vec!["check".into(), at("single-rebuild-a"), at("single-rebuild-b")],
        vec!["check".into(), at("opm-good"), at("opm-implied-parent")],
        vec!["oci".into(), "platforms".into(), at("multi-attestation")],
        vec!["oci".into(), "verify".into(), at("bad-corrupt-layer")],
        vec!["oci".into(), "verify".into(), at("bad-missing-layer")],
        vec!["oci".into(), "lint".into(), at("opm-implied-parent")],
        vec!["oci".into(), "normalize".into(), at("multi-attestation"), "-o".into(), out("n")],
        vec!["opm".into(), "verify".into(), at("opm-implied-parent")],
        vec!["opm".into(), "fix".into(), at("opm-implied-parent"), "-o".into(), out("f")],
        vec!["stacker".into(), "check".into(), "--roots".into(), roots.clone()],
        vec!["stacker".into(), "fix".into(), "--dry-run".into(), "--roots".into(), roots],
    ];
    for arguments in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
        command.args(&arguments).args(["--json", "-"]).env("SOURCE_DATE_EPOCH", "0");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {said}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let schema = match [arguments[0].as_str(), arguments[1].as_str()] {
            ["oci", "platforms"] => "reprofix-platforms-1",
            ["oci", "verify"] => "reprofix-verify-1",
            ["oci", "lint"] => "reprofix-lint-1",
            ["oci", "normalize"] | ["opm", "fix"] => "reprofix-normalize-1",
            ["opm", "verify"] => "reprofix-opm-verify-1",
            ["stacker", "check"] => "reprofix-stacker-1",
            ["stacker", "fix"] => "reprofix-stacker-fix-1",
            _ => "reprofix-images-1",
        };
        let broken = crate::schema::violations(schema, &json);
        assert!(broken.is_empty(), "{arguments:?}: {}", broken.join("\n"));
        let mut all = BTreeSet::new();
        keys(&json, &mut all);
        assert!(all.len() >= 2, "{arguments:?}");
        for key in all {
            assert!(page.contains(&format!("`{key}`")), "{arguments:?}: {key} is not documented");
        }
    }
}
