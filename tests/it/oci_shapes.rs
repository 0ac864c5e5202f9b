//! Every shape of a layout: what it is made of, and what we say of it. `oci_matrix` has what the real
//! programs make of it.

use std::collections::BTreeSet;
use std::process::Command;

use reprofix::image::Findings;
use reprofix::image::platforms::platforms;
use reprofix::source::oci::{Digest, Images, Oddity};
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
    pub(crate) tag: Option<&'static str>,
    /// The digest of each thing that a program might name.
    pub(crate) digests: Vec<(&'static str, Digest)>,
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
    docker_of(layout, layer, "amd64")
}

fn docker_of(layout: &Layout, layer: Stored, architecture: &str) -> Value {
    let mut entry = layout.image_with(
        &[layer],
        |config| config["architecture"] = architecture.into(),
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
    let all: [(&'static str, bool, Make); 20] = [
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
        ("one tag for two platforms, without a list (direct)", true, |l| {
            let entries = both(l).into_iter().map(|entry| tagged(entry, "demo"));
            let entries: Vec<Value> = entries.collect();
            l.write_index(&entries);
            vec![("manifest", entries[0].clone()), ("arm64's manifest", entries[1].clone())]
        }),
        ("Docker's list and media types", true, |l| {
            let of = |architecture: &str| {
                let layer = Stored {
                    media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
                    ..layer(architecture)
                };
                let one = docker_of(l, layer, architecture);
                for_platform(one, architecture)
            };
            let entries = ["amd64", "arm64"].map(of);
            let media_type = "application/vnd.docker.distribution.manifest.list.v2+json";
            let list = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
            let list = l.blob(list.to_string().as_bytes(), media_type);
            l.write_index(&[tagged(list.clone(), "demo")]);
            vec![("list", list), ("manifest", entries[0].clone())]
        }),
        ("a list without media type, of entries without", true, |l| {
            let strip = |mut value: Value| {
                value.as_object_mut().unwrap().remove("mediaType");
                value
            };
            let entries: Vec<Value> = both(l);
            let bare: Vec<Value> = entries.iter().cloned().map(strip).collect();
            let list = json!({"schemaVersion": 2, "manifests": bare});
            let list = l.blob(list.to_string().as_bytes(), INDEX);
            l.write_index(&[tagged(list.clone(), "demo")]);
            vec![("list", list), ("manifest", entries[0].clone())]
        }),
        ("a configuration without platform", true, |l| {
            let one = l.image(&[layer("x")], |config| {
                for key in ["os", "architecture"] {
                    config.as_object_mut().unwrap().remove(key);
                }
            });
            l.write_index(&[tagged(one.clone(), "demo")]);
            vec![("manifest", one)]
        }),
        ("Docker's schema 1", true, |l| {
            let v1 = json!({
                "schemaVersion": 1, "name": "demo", "tag": "v1", "architecture": "amd64",
                "fsLayers": [], "history": [], "signatures": [],
            });
            let media_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
            let one = l.blob(v1.to_string().as_bytes(), media_type);
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
    pub(crate) fn open(&self) -> Images {
        crate::oci::subject(self.layout.path())
    }

    /// What the tag leads to; `None` where `index.json` is the list.
    pub(crate) fn top(&self) -> Option<Digest> {
        self.tag.map(|_| self.digests[0].1.clone())
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
    assert_eq!(of("one tag for two platforms"), ["shared-tag"]);
    assert_eq!(of("Docker's media types, layers in zstd"), ["docker-zstd"]);
    assert_eq!(of("erofs"), ["filesystem-layer"]);
    for shape in shapes() {
        if shape.name == "Docker's schema 1" {
            continue;
        }
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
    platforms(&nested.open(), None).print(&mut out).unwrap();
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
