//! stacker: metadata that misleads its next build, and its filesystem layers by real tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use reprofix::image::Findings;
use reprofix::image::compare::compare;
use reprofix::image::stacker::check::{Finding, Rule, check, layer, mounted};
use reprofix::image::stacker::filesystem::{Cause, differences};
use reprofix::image::stacker::fix::fix;
use reprofix::image::stacker::metadata::{Metadata, parse};
use reprofix::report::Progress;
use reprofix::run::check::Job;
use serde_json::{Value, json};

use crate::layout::{Layout, Stored};
use crate::oci::{have, run};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stacker").join(name)
}

/// Roots with one layer, `base`, whose metadata is a fixture.
fn roots(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("base")).unwrap();
    fs::copy(fixture(name), dir.path().join("base/overlay_metadata.json")).unwrap();
    dir
}

/// The directory of a layer of 64 times `digit`.
fn directory(roots: &Path, digit: char) -> PathBuf {
    roots.join(format!("sha256_{}", digit.to_string().repeat(64)))
}

#[test]
fn issue_442_is_unsafe_and_names_what_a_build_may_lose() {
    let roots = roots("bug442.json");
    let report = check(roots.path(), None).unwrap();
    assert!(!report.sound());
    let rules: Vec<Rule> = report.findings.iter().map(|f| f.rule).collect();
    assert_eq!(rules, [Rule::E1, Rule::E2, Rule::E6]);
    let last = report.findings.last().unwrap();
    assert_eq!(last.layer, "base");
    assert!(last.what.contains(&format!("may ignore sha256:{}", "2".repeat(64))), "{}", last.what);
}

/// Metadata of a named version of stacker, and the rules that it breaks.
#[test]
fn every_vector_breaks_the_rules_that_it_says() {
    let vectors: Vec<Value> =
        serde_json::from_slice(&fs::read(fixture("vectors.json")).unwrap()).unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let name = vector["file"].as_str().unwrap();
        assert!(vector["stacker"].as_str().unwrap().starts_with("1."), "{name}: which version");
        let report = check(roots(name).path(), None).unwrap();
        let rules: Vec<String> = report.findings.iter().map(|f| format!("{:?}", f.rule)).collect();
        assert_eq!(json!(rules), vector["rules"], "{name}");
        assert_eq!(report.sound(), rules.is_empty(), "{name}");
    }
}

#[test]
fn fix_drops_the_stale_type_and_nothing_else() {
    let roots = roots("bug442.json");
    let file = roots.path().join("base/overlay_metadata.json");
    let before = fs::read(&file).unwrap();
    assert_eq!(fix(roots.path(), true).unwrap().dropped.len(), 1);
    assert_eq!(fs::read(&file).unwrap(), before, "--dry-run must not write");
    let fixed = fix(roots.path(), false).unwrap();
    assert_eq!(fixed.dropped, [("base".to_owned(), "tar+false".to_owned())]);
    assert!(fixed.sound());
    assert!(check(roots.path(), None).unwrap().sound());
    let mut want: serde_json::Value = serde_json::from_slice(&before).unwrap();
    want["Manifests"].as_object_mut().unwrap().remove("tar+false");
    let got: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(got, want);
    assert!(fix(roots.path(), false).unwrap().dropped.is_empty(), "a second run does nothing");
}

#[test]
fn directories_decide_where_they_are_at_hand() {
    let text = |tar: char| {
        let layers = |digits: &[char]| {
            let digest =
                |d: &char| json!({"digest": format!("sha256:{}", d.to_string().repeat(64))});
            json!({"layers": digits.iter().map(digest).collect::<Vec<_>>()})
        };
        json!({"Manifests": {"tar+false": layers(&[tar]), "squashfs+true": layers(&['1'])}})
    };
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path();
    let findings = |tar| -> Vec<Rule> {
        let metadata: Metadata = serde_json::from_value(text(tar)).unwrap();
        layer("x", &metadata, Some(roots), None).iter().map(|f| f.rule).collect()
    };
    // Nothing of the roots is there: as many layers each, so nothing to say.
    assert_eq!(findings('2'), []);
    fs::create_dir_all(directory(roots, '1').join("overlay")).unwrap();
    assert_eq!(findings('2'), [Rule::E5, Rule::E5, Rule::E6]);
    // Another directory: another tree.
    fs::create_dir_all(directory(roots, '2').join("overlay")).unwrap();
    assert_eq!(findings('2'), [Rule::E5, Rule::E6]);
    // stacker's own way: a link to the other type's.
    fs::create_dir(directory(roots, '3')).unwrap();
    symlink(directory(roots, '1').join("overlay"), directory(roots, '3').join("overlay")).unwrap();
    assert_eq!(findings('3'), []);
}

/// stacker goes on without a manifest's layer that has no directory, and stops without a built one.
#[test]
fn what_stacker_skips_and_what_it_needs_are_told_apart() {
    const EMPTY: &str = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4";
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots");
    fs::create_dir_all(directory(&roots, '1').join("overlay")).unwrap();
    let findings = |text: Value, oci: Option<&Path>| -> Vec<(Rule, String)> {
        let metadata: Metadata = serde_json::from_value(text).unwrap();
        let all = layer("x", &metadata, Some(&roots), oci);
        all.into_iter().map(|f| (f.rule, f.what)).collect()
    };
    let layer = |digest: &str| json!({"digest": digest});
    let one = format!("sha256:{}", "1".repeat(64));
    let manifests = |layers: &[Value]| json!({"Manifests": {"tar+false": {"layers": layers}}});
    assert_eq!(findings(manifests(&[layer(&one), layer(EMPTY)]), None), []);
    // Any compressor's empty archive, by its blob.
    let oci = dir.path().join("oci");
    fs::create_dir_all(oci.join("blobs/sha256")).unwrap();
    let (empty, full) = ("2".repeat(64), "3".repeat(64));
    fs::write(oci.join("blobs/sha256").join(&empty), [0; 1024]).unwrap();
    let file = crate::layout::archive(&[crate::layout::Made::new("a", 0o644, "x")]);
    fs::write(oci.join("blobs/sha256").join(&full), file).unwrap();
    let text = manifests(&[layer(&format!("sha256:{empty}")), layer(&format!("sha256:{full}"))]);
    let found = findings(text, Some(&oci));
    assert_eq!((found.len(), found[0].0), (1, Rule::E5), "{found:?}");
    assert!(found[0].1.contains("builds ignore it; its blob is in the OCI layout"), "{found:?}");
    let found = findings(json!({"BuiltLayers": ["base"]}), None);
    assert_eq!(found, [(Rule::E5, "built layer base has no directory: no build starts".into())]);
    fs::create_dir_all(roots.join("base/overlay")).unwrap();
    assert_eq!(findings(json!({"BuiltLayers": ["base"]}), None), []);
    let made = json!({"OverlayDirLayers": {"tar+false": [layer(&format!("sha256:{full}"))]}});
    assert!(findings(made, None)[0].1.contains("overlay_dirs has no directory"));
}

#[test]
fn unreadable_metadata_is_an_error_that_names_the_file() {
    let roots = roots("good-single.json");
    let file = roots.path().join("base/overlay_metadata.json");
    fs::write(&file, "{").unwrap();
    let error = format!("{:#}", fix(roots.path(), false).unwrap_err());
    assert!(error.contains("overlay_metadata.json: EOF while parsing"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"{");
    assert!(check(Path::new("/nonexistent"), None).is_err());
    assert!(parse(Path::new("/nonexistent")).is_err());
}

proptest! {
    /// E6 says "unsafe" exactly if two orders of the map make a build mount different chains.
    #[test]
    fn picking_in_any_order_agrees_with_e6(
        lengths in prop::collection::btree_map("(tar|squashfs|erofs)[+](true|false)", 0usize..4, 0..5),
    ) {
        let manifest = |n: &usize| {
            let layers: Vec<_> = (0..*n).map(|i| json!({"digest": format!("sha256:{i}")})).collect();
            json!({"layers": layers})
        };
        let manifests: BTreeMap<&String, _> =
            lengths.iter().map(|(of, n)| (of, manifest(n))).collect();
        let metadata: Metadata = serde_json::from_value(json!({"Manifests": manifests})).unwrap();
        // A build takes the first of the map; every type is first in some order.
        let mut types: Vec<&str> = metadata.manifests().map(|(of, _)| of).collect();
        let mut mounts = BTreeSet::new();
        for _ in 0..types.len() {
            types.rotate_left(1);
            let first = metadata.manifests().find(|(of, _)| *of == types[0]).unwrap();
            mounts.insert(mounted(first.1, None));
        }
        let findings: Vec<Finding> = layer("x", &metadata, None, None);
        prop_assert_eq!(findings.iter().any(|f| f.rule == Rule::E6), mounts.len() > 1);
    }
}

/// Files to make filesystems of.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/motd"), "hello\n".repeat(2000)).unwrap();
    dir
}

fn causes(a: &Path, b: &Path) -> Vec<Cause> {
    let open = |path| fs::File::open(path).unwrap();
    let causes = differences(&mut open(a), &mut open(b)).unwrap();
    causes.expect("two filesystems of one format").into_iter().collect()
}

fn mksquashfs(tree: &Path, image: &Path, epoch: Option<&str>, time: &str) {
    let mut command = Command::new("mksquashfs");
    command.arg(tree).arg(image).args(["-noappend", "-no-progress", "-quiet"]);
    match epoch {
        Some(epoch) => command.env("SOURCE_DATE_EPOCH", epoch),
        // Two runs in one second would be equal by chance.
        None => command.env_remove("SOURCE_DATE_EPOCH").args(["-mkfs-time", time]),
    };
    run(&mut command).unwrap();
}

#[test]
fn squashfs_layers_by_mksquashfs() {
    if !have("mksquashfs") {
        return;
    }
    let (tree, out) = (tree(), tempfile::tempdir().unwrap());
    let make = |name: &str, epoch, time: &str| {
        let image = out.path().join(name);
        mksquashfs(tree.path(), &image, epoch, time);
        image
    };
    let (a, b) = (make("a", None, "1000000000"), make("b", None, "1000000001"));
    assert_eq!(causes(&a, &b), [Cause::MkfsTime]);
    let (c, d) = (make("c", Some("1"), ""), make("d", Some("1"), ""));
    assert_eq!(causes(&c, &d), []);
    assert_eq!(fs::read(&c).unwrap(), fs::read(&d).unwrap());
    fs::write(tree.path().join("etc/motd"), "bye\n".repeat(3000)).unwrap();
    assert_eq!(causes(&c, &make("e", Some("1"), "")), [Cause::Content]);
}

fn mkerofs(tree: &Path, image: &Path, more: &[&str]) {
    let mut command = Command::new("mkfs.erofs");
    run(command.args(more).arg(image).arg(tree)).unwrap();
}

#[test]
fn erofs_layers_by_mkfs_erofs() {
    if !have("mkfs.erofs") {
        return;
    }
    let (tree, out) = (tree(), tempfile::tempdir().unwrap());
    let make = |name: &str, more: &[&str]| {
        let image = out.path().join(name);
        mkerofs(tree.path(), &image, more);
        image
    };
    let uuid = ["-U", "01234567-89ab-cdef-0123-456789abcdef"];
    let fixed = [&uuid[..], &["-T", "0"]].concat();
    assert_eq!(causes(&make("a", &fixed), &make("b", &fixed)), []);
    assert_eq!(causes(&make("c", &["-T", "0"]), &make("d", &["-T", "0"])), [Cause::Uuid]);
    let later = [&uuid[..], &["-T", "1"]].concat();
    let different = causes(&make("e", &fixed), &make("f", &later));
    assert!(different.contains(&Cause::Epoch), "{different:?}");
}

#[test]
fn verity_trees_by_veritysetup() {
    if !have("mksquashfs") || !have("veritysetup") {
        return;
    }
    let (tree, out) = (tree(), tempfile::tempdir().unwrap());
    let make = |name: &str, more: &[&str]| {
        let image = out.path().join(name);
        mksquashfs(tree.path(), &image, Some("1"), "");
        let size = fs::metadata(&image).unwrap().len();
        assert_eq!(size % 4096, 0, "mksquashfs pads to 4096 bytes");
        let mut command = Command::new("veritysetup");
        command.arg("format").args(more).arg(format!("--hash-offset={size}"));
        run(command.arg(format!("--data-blocks={}", size / 4096)).args([&image, &image])).unwrap();
        image
    };
    assert_eq!(causes(&make("a", &[]), &make("b", &[])), [Cause::VeritySalt]);
    let fixed = ["--salt=00ff", "--uuid=01234567-89ab-cdef-0123-456789abcdef"];
    assert_eq!(causes(&make("c", &fixed), &make("d", &fixed)), []);
    assert_eq!(causes(&make("e", &fixed), &make("f", &["--salt=00ff"])), [Cause::VeritySalt]);
    fs::write(tree.path().join("etc/motd"), "bye").unwrap();
    assert_eq!(causes(&out.path().join("c"), &make("g", &fixed)), [Cause::Content]);
}

/// Two outputs of a build in filesystem layers, compared as `check` does.
#[test]
fn outputs_of_two_builds_are_classed_by_superblocks() {
    if !have("mksquashfs") || !have("veritysetup") {
        return;
    }
    let (tree, out) = (tree(), tempfile::tempdir().unwrap());
    let layout = |name: &str, time: &str, salt: &str| {
        let image = out.path().join(name);
        mksquashfs(tree.path(), &image, None, time);
        let size = fs::metadata(&image).unwrap().len();
        let mut verity = Command::new("veritysetup");
        verity.args(["format", "--uuid=01234567-89ab-cdef-0123-456789abcdef"]);
        verity.args([format!("--salt={salt}"), format!("--hash-offset={size}")]);
        run(verity.arg(format!("--data-blocks={}", size / 4096)).args([&image, &image])).unwrap();
        let plain = fs::read(&image).unwrap();
        let media_type = "application/vnd.stacker.image.layer.squashfs+zlib+verity".to_owned();
        Layout::of(&[Stored { bytes: plain.clone(), plain, media_type }])
    };
    let a = layout("a", "1000000000", "00ff");
    for (name, time, salt, verdict) in [
        ("same", "1000000000", "00ff", "identical"),
        ("later", "1000000001", "00ff", "mkfs time only"),
        ("salted", "1000000000", "00fe", "verity salt only"),
        ("both", "1000000001", "00fe", "mkfs time and verity salt"),
    ] {
        let b = layout(name, time, salt);
        let report =
            compare(["A", "B"], &a.open(), &b.open(), &Job::default(), &Progress::new(true));
        let report = report.unwrap();
        assert_eq!(report.pairs[0].verdict, verdict, "{name}");
        assert_eq!(report.same, verdict == "identical", "{name}");
    }
}
