//! `check` of images that are built on an encapsulated commit: what the commit settles, and what
//! it does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use reprofix::format::tar::Type;
use reprofix::source::oci::Digest;
use serde_json::{Value, json};

use crate::layout::{Layout, Made, Stored, archive};
use crate::oci::{fixture, have, run};

/// What `check` says of two layouts: exit code, output, errors.
fn check(a: &Path, b: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    let output = command.arg("check").arg(a).arg(b).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The verdict that `nightly compare` records of two layouts.
#[cfg(feature = "nightly")]
fn nightly(a: &Path, b: &Path) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("nightly.toml"),
        "[[stream]]\nname = \"s\"\nbuild = [\"true\"]\nsubject = \"dir:{work}/x\"\n",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    command.args(["nightly", "compare", "--stream", "s", "--no-notify"]);
    let output = command.arg(a).arg(b).current_dir(dir.path()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn tool(content: &str) -> Stored {
    let members = [Made::new("usr/", 0o755, ""), Made::new("usr/tool", 0o755, content)];
    Stored::gzip(archive(&members), 6)
}

const BASE: &str = "ostree-encap-1";

fn on(base: &str, layers: &[Stored], change: impl FnOnce(&mut Value, &mut Value)) -> Layout {
    Layout::on(&fixture(base), layers, change)
}

#[test]
fn what_follows_a_commit_counts_as_in_any_image() {
    let one = on(BASE, &[tool("one")], |_, _| ());
    let again = on("ostree-encap-2", &[tool("one")], |_, _| ());
    let (code, said, _) = check(one.path(), again.path());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("history[0].created") && said.ends_with("\nsame\n"), "{said}");
    let cases: [(&str, Layout, &str); 6] = [
        ("another file", on("ostree-encap-2", &[tool("two")], |_, _| ()), "usr/tool: bytes"),
        ("another layer", on(BASE, &[tool("one"), tool("two")], |_, _| ()), "layers: 2 → 3"),
        ("no layer", on(BASE, &[], |_, _| ()), "layers: 2 → 1"),
        (
            "another entrypoint",
            on(BASE, &[tool("one")], |config, _| config["config"]["Entrypoint"] = json!(["/x"])),
            "config.Entrypoint: absent → [\"/x\"]",
        ),
        (
            "another label",
            on(BASE, &[tool("one")], |config, _| {
                config["config"]["Labels"]["version"] = json!("2")
            }),
            "config.Labels.version: absent → \"2\"",
        ),
        ("a squash", squash(&one), "layers: 2 → 1"),
    ];
    for (what, other, line) in &cases {
        let (code, said, _) = check(one.path(), other.path());
        assert_eq!(code, 1, "{what}: {said}");
        assert!(said.contains(line), "{what}: {line:?} in {said}");
        #[cfg(feature = "nightly")]
        {
            let (code, said) = nightly(one.path(), other.path());
            assert_eq!(code, 1, "nightly compare: {what}: {said}");
        }
    }
}

/// All layers of an image in one, its labels as they were.
fn squash(layout: &Layout) -> Layout {
    let subject = layout.open();
    let image = subject.one().unwrap();
    let mut members = Vec::new();
    for (layer, diff_id) in image.layers.iter().zip(&image.diff_ids) {
        let plain = subject.store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher());
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut plain.unwrap().unwrap(), &mut bytes).unwrap();
        let end = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
        bytes.truncate(end.next_multiple_of(512));
        members.extend(bytes);
    }
    members.extend([0; 1024]);
    let labels = subject.store.json(&image.config.as_ref().unwrap().name, 1 << 20).unwrap();
    let labels = labels["config"]["Labels"].clone();
    Layout::with(&[Stored::gzip(members, 6)], |config| config["config"]["Labels"] = labels)
}

#[test]
fn a_configuration_counts_though_the_commit_is_one() {
    let base = on(BASE, &[], |_, _| ());
    let cases: [(&str, Layout); 3] = [
        (
            "config.Cmd",
            on("ostree-encap-2", &[], |c, _| c["config"]["Cmd"] = json!(["/sbin/init"])),
        ),
        ("annotations.x", on(BASE, &[], |_, m| m["annotations"]["x"] = json!("y"))),
        (
            "layers[0].annotations",
            on(BASE, &[], |_, m| m["layers"][0]["annotations"] = json!({"ostree.components": "x"})),
        ),
    ];
    for (place, other) in &cases {
        let (code, said, _) = check(base.path(), other.path());
        assert_eq!(code, 1, "{place}: {said}");
        assert!(said.contains(place), "{place} in {said}");
        #[cfg(feature = "nightly")]
        {
            let (code, said) = nightly(base.path(), other.path());
            assert_eq!(code, 1, "nightly compare: {place}: {said}");
        }
    }
    let (code, said, _) = check(base.path(), &fixture("ostree-encap-2"));
    assert_eq!(code, 0, "{said}");
}

/// buildah inherits the labels of the image that it builds on.
#[test]
fn images_that_buildah_built_on_one_commit_are_told_apart() {
    if !have("buildah") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run"));
        let out = run(command.args(["--storage-driver", "vfs"]).args(arguments)).unwrap();
        String::from_utf8(out).unwrap().trim().to_owned()
    };
    let base = format!("oci:{}", fixture(BASE).display());
    for name in ["one", "two"] {
        fs::write(at("tool"), name).unwrap();
        let from = buildah(&["from", &base]);
        buildah(&["copy", "-q", &from, at("tool").to_str().unwrap(), "/usr/bin/tool"]);
        let out = format!("oci:{}", at(name).display());
        buildah(&["commit", "-q", "--timestamp", "1700000000", &from, &out]);
        let squashed = format!("oci:{}", at(&format!("{name}-squashed")).display());
        buildah(&["commit", "-q", "--squash", "--timestamp", "1700000000", &from, &squashed]);
        buildah(&["rm", &from]);
    }
    let (code, said, _) = check(&at("one"), &at("two"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("usr/bin/tool: bytes") && said.ends_with("\ndiffers\n"), "{said}");
    let (code, said, warned) = check(&at("one-squashed"), &at("two-squashed"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("usr/bin/tool"), "{said}");
    assert!(warned.contains("ostree.final-diffid"), "the label is stale: {warned}");
}

#[test]
fn a_stale_label_is_a_warning_and_no_refusal() {
    let with =
        |labels: Value| Layout::with(&[tool("one")], |config| config["config"]["Labels"] = labels);
    let layer = Digest::of(&tool("one").plain).to_string();
    let commit = "1".repeat(64);
    for (labels, why) in [
        (json!({"ostree.commit": commit}), "no label ostree.final-diffid"),
        (json!({"ostree.commit": commit, "ostree.final-diffid": "sha256:x"}), "is missing"),
        (json!({"ostree.commit": commit, "ostree.final-diffid": layer}), "contain no commit"),
    ] {
        let (a, b) = (with(labels.clone()), with(labels));
        let (code, said, warned) = check(a.path(), b.path());
        assert_eq!(code, 0, "{said}{warned}");
        assert!(warned.contains(why) && warned.contains("as any image"), "{warned}");
    }
    let other = on(BASE, &[], |c, _| c["config"]["Labels"]["ostree.commit"] = json!(commit));
    let (code, said, warned) = check(&fixture(BASE), other.path());
    assert_eq!(code, 1, "the label itself differs: {said}");
    assert!(warned.contains("the layers contain commit 6771e021"), "{warned}");
}

#[test]
fn a_commit_is_found_behind_any_number_of_members() {
    let many: Vec<Made> = (0..10_500).map(|i| Made::new(&format!("a{i}"), 0o644, "")).collect();
    let of = |base: &str| {
        let subject = crate::oci::open(base);
        let image = subject.one().unwrap();
        let (layer, diff_id) = (&image.layers[0], &image.diff_ids[0]);
        let plain = subject.store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher());
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut plain.unwrap().unwrap(), &mut bytes).unwrap();
        let mut front = archive(&many);
        front.truncate(front.len() - 1024);
        let plain = [front, bytes].concat();
        let last = Digest::of(&plain).to_string();
        let config = subject.store.json(&image.config.as_ref().unwrap().name, 1 << 20).unwrap();
        Layout::with(&[Stored::gzip(plain, 1)], |made| {
            made["config"] = config["config"].clone();
            made["config"]["Labels"]["ostree.final-diffid"] = last.into();
        })
    };
    let (a, b) = (of(BASE), of("ostree-encap-2"));
    let (code, said, warned) = check(a.path(), b.path());
    assert_eq!(code, 0, "{said}{warned}");
    assert!(said.contains("23b7d9f3"), "compared as commits: {said}");
}

#[test]
fn a_layout_needs_no_file_oci_layout() {
    let without = |name: &str| {
        let layout = on(name, &[tool("one")], |_, _| ());
        fs::remove_file(layout.path().join("oci-layout")).unwrap();
        layout
    };
    let (a, b) = (without(BASE), without("ostree-encap-2"));
    assert_eq!(check(a.path(), b.path()).0, 0);
    let tagged = |layout: &Layout| format!("{}:demo", layout.path().display());
    assert_eq!(check(Path::new(&tagged(&a)), Path::new(&tagged(&b))).0, 0);
}

#[test]
fn an_image_in_a_registry_is_copied_first() {
    for text in ["docker://quay.io/x/y:z", "docker-daemon:x:y"] {
        let (code, _, said) = check(Path::new(text), &fixture(BASE));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(&format!("skopeo copy --all {text} oci:LAYOUT")), "{said}");
    }
    let (code, _, said) = check(Path::new("containers-storage:/nowhere:x"), &fixture(BASE));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("containers-storage:[DRIVER@ROOT]NAME"), "{said}");
}

/// Whatever the comparison knows nothing about is named and counts.
#[test]
fn every_key_that_differs_is_named_with_both_values() {
    let layers = || [tool("one")];
    let plain = Layout::of(&layers());
    type Change = fn(&mut Value, &mut Value, &mut Value);
    let cases: [(Change, &str); 10] = [
        (
            |_, m, _| m["layers"][0]["annotations"] = json!({"ostree.components": "x"}),
            r#"layers[0].annotations: absent → {"ostree.components":"x"}"#,
        ),
        (
            |_, m, _| m["layers"][0]["urls"] = json!(["https://x"]),
            r#"layers[0].urls: absent → ["https://x"]"#,
        ),
        (|_, m, _| m["annotations"] = json!({"a": "b"}), r#"annotations: absent → {"a":"b"}"#),
        (|_, m, _| m["artifactType"] = json!("text/x"), r#"artifactType: absent → "text/x""#),
        (|_, m, _| m["subject"] = m["config"].clone(), "subject: absent → "),
        (|_, m, _| m["x"] = json!(1), "x: absent → 1"),
        (|_, m, _| m["config"]["data"] = json!("e30="), r#"config.data: absent → "e30=""#),
        (|c, _, _| c["x"] = json!({}), "x: absent → {}"),
        (|_, _, e| e["annotations"]["a"] = json!("b"), r#"entry.annotations: absent → {"a":"b"}"#),
        (|_, _, e| e["x"] = json!(2), "entry.x: absent → 2"),
    ];
    for (change, line) in cases {
        let spare = || json!({"layers": [{}]});
        let other = Layout::empty();
        let mut entry = other.image_with(
            &layers(),
            |config| change(config, &mut spare(), &mut json!({})),
            |manifest| change(&mut json!({}), manifest, &mut json!({})),
        );
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "demo"});
        change(&mut json!({}), &mut json!({"layers": [{}]}), &mut entry);
        other.write_index(&[entry]);
        let (code, said, warned) = check(plain.path(), other.path());
        assert_eq!(code, 1, "{line}: {said}{warned}");
        assert!(said.contains(line), "{line:?} in {said}");
        assert!(said.contains("configuration only") && !said.contains("JSON"), "{said}");
    }
    let same = Layout::of(&layers());
    assert_eq!(check(plain.path(), same.path()).0, 0);
}

/// One tree, in as many layers, divided otherwise.
#[test]
fn one_tree_packed_otherwise_is_a_division_into_layers() {
    let dir = |path: &str| Made::new(path, 0o755, "");
    let (x, y, z) =
        (Made::new("a/x", 0o644, "x"), Made::new("b/y", 0o644, "y"), Made::new("b/z", 0o644, "z"));
    let of = |first: &[Made], second: &[Made]| {
        Layout::of(&[Stored::gzip(archive(first), 6), Stored::gzip(archive(second), 6)])
    };
    let a = of(&[dir("a/"), x.clone(), dir("b/")], &[dir("b/"), y.clone(), z.clone()]);
    let b = of(&[dir("a/"), dir("b/"), y.clone()], &[dir("a/"), x.clone(), dir("b/"), z.clone()]);
    let (code, said, _) = check(a.path(), b.path());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("linux/amd64: division into layers only (differs)"), "{said}");
    assert!(said.contains("division into layers: build with the same tool and version"), "{said}");
    // Another tree is content, also if only its hard links are.
    let link = Made::link("b/z", Type::Hardlink, "b/y");
    let c = of(&[dir("b/"), y.clone(), link, dir("a/")], &[dir("a/"), x.clone()]);
    let d = of(
        &[dir("b/"), y.clone(), dir("a/")],
        &[dir("a/"), x, dir("b/"), Made::new("b/z", 0o644, "y")],
    );
    let (code, said, _) = check(c.path(), d.path());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("linux/amd64: content") && said.contains("hard links in one"), "{said}");
}

/// Every form has the verdict of the exit code, for images as for trees.
#[test]
fn every_form_gives_one_verdict_of_images_too() {
    let dir = tempfile::tempdir().unwrap();
    let layouts = ["one", "two", "one"].map(|content| on(BASE, &[tool(content)], |_, _| ()));
    for (other, code) in [(1, 1), (2, 0)] {
        let file = |name: &str| dir.path().join(format!("{other}.{name}"));
        let done = Command::new(env!("CARGO_BIN_EXE_reprofix"))
            .arg("check")
            .args([layouts[0].path(), layouts[other].path()])
            .args(
                ["html", "markdown", "sarif", "junit", "json"]
                    .map(|form| format!("--{form}={}", file(form).display())),
            )
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(code), "{}", String::from_utf8_lossy(&done.stderr));
        let read = |name: &str| fs::read_to_string(file(name)).unwrap();
        let word = if code == 0 { "same" } else { "differs" };
        assert!(String::from_utf8_lossy(&done.stdout).ends_with(&format!("\n{word}\n")));
        assert!(read("html").contains(&format!("<h1>reprofix check: {word}</h1>")));
        assert!(read("markdown").starts_with(&format!("**{word}**")));
        assert!(read("junit").contains(&format!("failures=\"{code}\"")));
        let sarif: Value = serde_json::from_str(&read("sarif")).unwrap();
        assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), code as usize);
        let json: Value = serde_json::from_str(&read("json")).unwrap();
        assert_eq!(json["same"], code == 0);
    }
}
