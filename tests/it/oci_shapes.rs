//! Every shape of a layout, and what the real programs make of it: the table in docs/oci.md.
//!
//! `REPROFIX_BLESS=1 cargo test --test it oci_shapes` writes the table anew.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use reprofix::env::SourceDateEpoch;
use reprofix::image::Findings;
use reprofix::image::normalize::{Options, normalize};
use reprofix::image::platforms::platforms;
use reprofix::source::oci::{Compression, Digest, Images, Oddity};
use serde_json::{Value, json};

use crate::layout::{Layout, Made, Stored, archive};
use crate::oci::{have, run};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A layout of one shape.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) layout: Layout,
    /// The name that programs are given, if there is one.
    tag: Option<&'static str>,
    /// The digest of each thing that a program might name.
    digests: Vec<(&'static str, Digest)>,
}

fn layer(text: &str) -> Stored {
    Stored::gzip(archive(&[Made::new("a", 0o644, text)]), 6)
}

fn zstd() -> Stored {
    let plain = archive(&[Made::new("a", 0o644, "zstd")]);
    Stored {
        bytes: zstd::encode_all(&plain[..], 3).unwrap(),
        plain,
        media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
    }
}

/// An image for one architecture.
fn image(layout: &Layout, architecture: &str) -> Value {
    layout.image(&[layer(architecture)], |config| config["architecture"] = architecture.into())
}

fn for_platform(mut entry: Value, architecture: &str) -> Value {
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    entry
}

fn tagged(mut entry: Value, tag: &str) -> Value {
    entry["annotations"]["org.opencontainers.image.ref.name"] = tag.into();
    entry
}

fn list(layout: &Layout, entries: &[Value]) -> Value {
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    layout.blob(list.to_string().as_bytes(), INDEX)
}

fn digest(entry: &Value) -> Digest {
    Digest::parse(entry["digest"].as_str().unwrap()).unwrap()
}

/// Two platforms of one image.
fn both(layout: &Layout) -> Vec<Value> {
    ["amd64", "arm64"].map(|a| for_platform(image(layout, a), a)).into()
}

/// Docker's media types for an image.
fn docker(layout: &Layout, layer: Stored) -> Value {
    let mut entry = layout.image_with(
        &[layer],
        |_| (),
        |manifest| {
            manifest["mediaType"] = DOCKER.into();
            manifest["config"]["mediaType"] =
                "application/vnd.docker.container.image.v1+json".into();
        },
    );
    entry["mediaType"] = DOCKER.into();
    entry
}

pub(crate) fn shapes() -> Vec<Shape> {
    type Make = fn(&Layout) -> Vec<(&'static str, Value)>;
    let all: [(&'static str, bool, Make); 15] = [
        ("one manifest", true, |l| {
            let one = image(l, "amd64");
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
        ("a list", true, |l| {
            let entries = both(l);
            let list = list(l, &entries);
            l.write_index(&[tagged(list.clone(), "demo")]);
            vec![("list", list), ("manifest", entries[0].clone())]
        }),
        ("`index.json` is the list", false, |l| {
            let entries = both(l);
            l.write_index(&entries);
            vec![("manifest", entries[0].clone())]
        }),
        ("a list in a list", true, |l| {
            let entries = both(l);
            let inner = list(l, &entries);
            let outer = list(l, std::slice::from_ref(&inner));
            l.write_index(&[tagged(outer.clone(), "demo")]);
            vec![("outer list", outer), ("inner list", inner), ("manifest", entries[0].clone())]
        }),
        ("entries without platform", true, |l| {
            let entries = [image(l, "arm64"), image(l, "amd64")];
            let list = list(l, &entries);
            l.write_index(&[tagged(list.clone(), "demo")]);
            vec![
                ("list", list),
                ("arm64's manifest", entries[0].clone()),
                ("manifest", entries[1].clone()),
            ]
        }),
        ("an entry of another architecture than its configuration", true, |l| {
            let entries = [for_platform(image(l, "arm64"), "amd64")];
            let list = list(l, &entries);
            l.write_index(&[tagged(list.clone(), "demo")]);
            vec![("list", list), ("manifest", entries[0].clone())]
        }),
        ("no file `oci-layout`", true, |l| {
            let one = image(l, "amd64");
            l.write_index(&[tagged(one.clone(), "demo")]);
            std::fs::remove_file(l.path().join("oci-layout")).unwrap();
            vec![("manifest", one)]
        }),
        ("a list of which one platform is there (sparse)", true, |l| {
            let entries = both(l);
            let list = list(l, &entries);
            l.write_index(&[tagged(list.clone(), "demo")]);
            let gone = digest(&entries[1]);
            std::fs::remove_file(l.path().join("blobs/sha256").join(gone.hex())).unwrap();
            vec![("list", list), ("manifest", entries[0].clone())]
        }),
        ("an attestation in the list", true, |l| {
            let mut entries = both(l);
            let statement = Stored {
                plain: b"{}".to_vec(),
                bytes: b"{}".to_vec(),
                media_type: "application/vnd.in-toto+json".to_owned(),
            };
            let mut attests = l.image(&[statement], |_| ());
            attests["platform"] = json!({"os": "unknown", "architecture": "unknown"});
            attests["annotations"]["vnd.docker.reference.type"] = "attestation-manifest".into();
            entries.insert(0, attests);
            let list = list(l, &entries);
            l.write_index(&[tagged(list.clone(), "demo")]);
            vec![
                ("list", list),
                ("attestation", entries[0].clone()),
                ("manifest", entries[1].clone()),
            ]
        }),
        ("signatures beside (cosign)", true, |l| {
            let one = image(l, "amd64");
            let signature = Stored {
                plain: b"{}".to_vec(),
                bytes: b"{}".to_vec(),
                media_type: "application/vnd.dev.cosign.simplesigning.v1+json".to_owned(),
            };
            let name = format!("{}.sig", digest(&one).as_str().replacen(':', "-", 1));
            let signature = tagged(l.image(&[signature], |_| ()), &name);
            l.write_index(&[tagged(one.clone(), "demo"), signature]);
            vec![("manifest", one)]
        }),
        ("layers in zstd", true, |l| {
            let one = l.image(&[zstd()], |_| ());
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
        ("Docker's media types", true, |l| {
            let layer = Stored {
                media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
                ..layer("docker")
            };
            let one = docker(l, layer);
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
        ("Docker's media types, layers in zstd", true, |l| {
            let layer = Stored {
                media_type: "application/vnd.docker.image.rootfs.diff.tar.zstd".to_owned(),
                ..zstd()
            };
            let one = docker(l, layer);
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
        ("a layer that is a filesystem (erofs)", true, |l| {
            let mut bytes = vec![0; 4096];
            bytes[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
            let media_type = "application/vnd.stacker.image.layer.erofs".to_owned();
            let layer = Stored { plain: bytes.clone(), bytes, media_type };
            let one = l.image(&[layer], |_| ());
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
        ("a manifest without media type", true, |l| {
            let mut one = l.image_with(
                &[layer("x")],
                |_| (),
                |manifest| {
                    manifest.as_object_mut().unwrap().remove("mediaType");
                },
            );
            one["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
    ];
    all.into_iter()
        .map(|(name, has_tag, make)| {
            let layout = Layout::empty();
            let digests = make(&layout).into_iter().map(|(what, e)| (what, digest(&e))).collect();
            Shape { name, layout, tag: has_tag.then_some("demo"), digests }
        })
        .collect()
}

impl Shape {
    fn open(&self) -> Images {
        crate::oci::subject(self.layout.path())
    }

    /// The layout as programs are given it.
    fn reference(&self) -> String {
        let tag = self.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        format!("{}{tag}", self.layout.path().display())
    }

    /// What a digest is.
    fn named(&self, digest: &Digest) -> String {
        let found = self.digests.iter().find(|(_, d)| d == digest);
        found.map_or_else(|| format!("{digest}?"), |(what, _)| (*what).to_owned())
    }
}

/// What skopeo names, and what it copies for linux/amd64.
fn skopeo(shape: &Shape) -> String {
    let place = format!("oci:{}", shape.reference());
    let mut inspect = Command::new("skopeo");
    let Ok(raw) = run(inspect.args(["inspect", "--raw", &place])) else {
        return "refuses".to_owned();
    };
    let top = shape.named(&Digest::of(&raw));
    let out = tempfile::tempdir().unwrap();
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "--override-os", "linux", "--override-arch", "amd64", "copy"]);
    copy.args(["--quiet", &place]).arg(format!("dir:{}", out.path().display()));
    match run(&mut copy) {
        Err(_) => format!("{top}; refuses to copy"),
        Ok(_) => {
            let manifest = std::fs::read(out.path().join("manifest.json")).unwrap();
            let copied = shape.named(&Digest::of(&manifest));
            if copied == top { top } else { format!("{top} → {copied}") }
        }
    }
}

fn umoci(shape: &Shape) -> String {
    let out = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("umoci");
    unpack.args(["unpack", "--image", &shape.reference()]).arg(out.path().join("bundle"));
    match run(&mut unpack) {
        Err(_) => "refuses".to_owned(),
        Ok(_) => {
            let text = std::fs::read_to_string(out.path().join("bundle/rootfs/a"));
            match text.as_deref() {
                Ok("arm64") => "unpacks arm64".to_owned(),
                Ok(_) => "unpacks".to_owned(),
                Err(_) => "unpacks nothing".to_owned(),
            }
        }
    }
}

fn buildah(shape: &Shape, store: &Path) -> String {
    let buildah = |arguments: &[&str]| {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
        run(command.args(["--storage-driver", "vfs"]).args(arguments))
            .map(|out| String::from_utf8(out).unwrap().trim().to_owned())
    };
    let place = format!("oci:{}", shape.reference());
    let Ok(name) = buildah(&["from", "--arch", "amd64", &place]) else {
        return "refuses".to_owned();
    };
    let root = buildah(&["mount", &name]).unwrap();
    let text = std::fs::read_to_string(Path::new(&root).join("a"));
    buildah(&["rm", &name]).unwrap();
    match text.as_deref() {
        Ok("arm64") => "unpacks arm64".to_owned(),
        Ok(_) => "unpacks".to_owned(),
        Err(_) => "unpacks nothing".to_owned(),
    }
}

/// What we say of a shape's images, by the names of JSON.
fn oddities(shape: &Shape) -> Vec<String> {
    let subject = shape.open();
    let all: BTreeSet<Oddity> = subject.images.iter().flat_map(|i| i.oddities.clone()).collect();
    let name = |oddity| serde_json::to_value(oddity).unwrap().as_str().unwrap().to_owned();
    all.into_iter().map(name).collect()
}

/// A command's exit code on a shape.
fn exit(shape: &Shape, command: &[&str]) -> i32 {
    let mut reprofix = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    let output = reprofix.args(command).arg(shape.layout.path()).output().unwrap();
    let code = output.status.code().unwrap();
    assert!(code < 2, "{}: {command:?}: {}", shape.name, String::from_utf8_lossy(&output.stderr));
    code
}

/// The first line of what a program says of its version.
fn version(program: &str) -> String {
    let out = run(Command::new(program).arg("--version")).unwrap();
    let text = String::from_utf8(out).unwrap();
    let word = text.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
    format!("{program} {}", word.unwrap_or("?"))
}

/// The normal form of a shape as a shape.
fn normal(shape: &Shape) -> Shape {
    let layout = Layout::empty();
    let out = layout.path().join("out");
    let options = Options {
        epoch: SourceDateEpoch::new(0),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    let from = match shape.name.contains("sparse") {
        true => Images::open(shape.layout.path().to_str().unwrap(), Some("linux/amd64")).unwrap(),
        false => shape.open(),
    };
    let report = normalize(&from, &format!("oci:{}:demo", out.display()), options).unwrap();
    let mut digests: Vec<(&'static str, Digest)> =
        report.lists.iter().map(|(_, after)| ("list", after.clone())).collect();
    let amd64 = report.images.iter().find(|row| row.platform == "linux/amd64");
    digests.extend(amd64.map(|row| ("manifest", row.after.clone())));
    for entry in std::fs::read_dir(&out).unwrap().map(Result::unwrap) {
        std::fs::rename(entry.path(), layout.path().join(entry.file_name())).unwrap();
    }
    Shape { name: shape.name, layout, tag: Some("demo"), digests }
}

#[test]
fn shapes_that_programs_refuse_are_named() {
    let of = |name: &str| -> Vec<String> {
        oddities(shapes().iter().find(|shape| shape.name.contains(name)).unwrap())
    };
    assert_eq!(of("a list in a list"), ["nested-lists"]);
    assert_eq!(of("is the list"), ["index-is-list"]);
    assert_eq!(of("without platform"), ["no-platform"]);
    assert_eq!(of("another architecture"), ["other-platform"]);
    assert_eq!(of("no file"), ["no-layout-file"]);
    assert_eq!(of("Docker's media types, layers in zstd"), ["docker-zstd"]);
    assert_eq!(of("erofs"), ["filesystem-layer"]);
    for shape in shapes() {
        let named = !oddities(&shape).is_empty();
        for command in [&["oci", "platforms"][..], &["oci", "verify"], &["oci", "lint"]] {
            if command[1] != "platforms" && shape.name.contains("sparse") {
                continue;
            }
            assert_eq!(exit(&shape, command), i32::from(named), "{}: {command:?}", shape.name);
        }
    }
    // The digest that skopeo and the others name is shown.
    let nested =
        shapes().into_iter().find(|shape| shape.name.contains("a list in a list")).unwrap();
    let mut out = Vec::new();
    platforms(&nested.open()).print(&mut out).unwrap();
    let outer = nested.digests[0].1.short();
    assert!(String::from_utf8(out).unwrap().contains(&format!("name the outer one, {outer}")));
}

#[test]
fn an_index_that_is_a_manifest_is_said_to_be_one() {
    let layout = Layout::of(&[layer("x")]);
    let image = layout.open().one().unwrap().manifest.clone().unwrap();
    let blob = layout.path().join("blobs/sha256").join(image.hex());
    std::fs::copy(blob, layout.path().join("index.json")).unwrap();
    let error = Images::open(layout.path().to_str().unwrap(), None).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("index.json is an image's manifest"), "{error:#}");
}

#[test]
fn a_digest_chooses_an_image() {
    let all = shapes();
    let shape = all.iter().find(|shape| shape.name == "a list").unwrap();
    let at = |digest: &Digest| {
        Images::open(&format!("oci:{}@{digest}", shape.layout.path().display()), None)
    };
    let [(_, list), (_, manifest)] = &shape.digests[..] else { panic!() };
    assert_eq!(at(list).unwrap().selected().count(), 2);
    assert_eq!(at(manifest).unwrap().one().unwrap().manifest.as_ref(), Some(manifest));
    let error = at(&Digest::of(b"")).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no entry for digest sha256:e3b0"), "{error}");
}

/// What each program makes of each shape, and of its normal form: the table in docs/oci.md.
#[test]
fn the_table_of_shapes_is_what_the_programs_do() {
    if !have("skopeo") || !have("umoci") || !have("buildah") {
        return;
    }
    let store = tempfile::tempdir().unwrap();
    let programs = ["skopeo", "buildah", "umoci"].map(version);
    let mut table = format!(
        "| layout | {} | {} | {} | `oci platforms`, `verify`, `lint` | normal form |\n\
         |---|---|---|---|---|---|\n",
        programs[0], programs[1], programs[2]
    );
    for shape in shapes() {
        let all = [skopeo(&shape), buildah(&shape, store.path()), umoci(&shape)];
        let named = oddities(&shape);
        let said = match named.is_empty() {
            true => "0".to_owned(),
            false => format!("1, {}", named.join(", ")),
        };
        let normal = normal(&shape);
        let after = [skopeo(&normal), buildah(&normal, store.path()), umoci(&normal)];
        let after = match &after {
            [a, b, c] if a == "manifest" && b == "unpacks" && c == "unpacks" => {
                "all take it".to_owned()
            }
            [a, b, _] if a == "list → manifest" && b == "unpacks" => "a list".to_owned(),
            other => other.join("; "),
        };
        let [s, b, u] = all;
        table += &format!("| {} | {s} | {b} | {u} | {said} | {after} |\n", shape.name);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/oci.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (begin, end) = ("<!-- shapes: begin -->\n", "<!-- shapes: end -->");
    let start = text.find(begin).unwrap() + begin.len();
    let stop = text.find(end).unwrap();
    if std::env::var_os("REPROFIX_BLESS").is_some() {
        std::fs::write(&page, [&text[..start], &table, &text[stop..]].concat()).unwrap();
        return;
    }
    let written = &text[start..stop];
    if !programs.iter().all(|program| written.contains(program)) {
        eprintln!("SKIPPED: the table is of other versions than {}", programs.join(", "));
        return;
    }
    assert_eq!(table, written, "REPROFIX_BLESS=1 writes the table anew");
}

/// `docker save` writes whole names; skopeo takes the short ones too.
#[test]
fn short_names_choose_in_a_docker_archive() {
    if !have("skopeo") {
        return;
    }
    let layout = Layout::of(&[layer("x")]);
    let file = layout.path().join("saved.tar");
    let to = format!("docker-archive:{}:tool:v1", file.display());
    let from = format!("oci:{}:demo", layout.path().display());
    let mut copy = Command::new("skopeo");
    run(copy.args(["--insecure-policy", "copy", "--quiet", &from, &to])).unwrap();
    let open = |tag: &str| Images::open(&format!("docker-archive:{}:{tag}", file.display()), None);
    assert!(open("tool:v1").unwrap().one().is_ok());
    assert!(open("docker.io/library/tool:v1").unwrap().one().is_ok());
    assert!(open("tool").is_err());
}
