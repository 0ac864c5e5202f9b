//! No false "same": images of every kind in which something changes at random, held against an
//! oracle that shares no code with us (`tests/e2e/image-oracle`, Python's tarfile and json).
//!
//! `REPROFIX_IMAGE_CHANGES=1000` makes that many changes of each kind of subject.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::format::tar::Type;
use reprofix::source::oci::{Digest, Keep, layers};
use serde_json::{Value, json};

use crate::layout::{Layout, Made, Stored, archive};
use crate::oci::have;
use crate::repo::reprofix;

/// Changes of each kind of subject, unless the environment says how many.
const CHANGES: usize = 40;

/// Numbers by chance, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

/// How a layer is stored.
#[derive(Clone, Copy)]
enum Packing {
    Gzip(u32),
    Zstd,
    Docker,
}

#[derive(Clone)]
struct Layer {
    members: Vec<Made>,
    packing: Packing,
    /// What its descriptor says beside the blob.
    says: Value,
}

/// One image of a subject.
#[derive(Clone)]
struct One {
    platform: Option<Value>,
    layers: Vec<Layer>,
    /// How many layers hold an encapsulated commit, and its checksum.
    commit: usize,
    config: Value,
    manifest: Value,
    entry: Value,
    /// Whether documents have their keys in another order.
    turned: bool,
}

/// A subject.
#[derive(Clone)]
struct Model {
    images: Vec<One>,
    /// How often the list is put into an index, if there is a list.
    depth: Option<usize>,
    list: Value,
    attested: usize,
}

fn members() -> Vec<Vec<Made>> {
    let xattr = |mut made: Made| {
        made.member.xattrs.insert(b"user.x".into(), b"value".into());
        made
    };
    let first = vec![
        Made::new("etc/", 0o755, ""),
        Made::new("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n"),
        Made::new("etc/shadow", 0, "root:*::\n"),
        Made::new("usr/", 0o755, ""),
        Made::new("usr/bin/", 0o755, ""),
        Made::new("usr/bin/tool", 0o4755, "tool"),
        Made::link("usr/bin/alias", Type::Hardlink, "usr/bin/tool"),
        Made::link("usr/bin/link", Type::Symlink, "tool"),
        xattr(Made::new("usr/data", 0o600, "data")),
        Made::new("var/", 0o755, ""),
        Made::link("var/fifo", Type::Fifo, ""),
    ];
    let second = vec![
        Made::new("etc/", 0o755, ""),
        Made::new("etc/.wh.shadow", 0o644, ""),
        Made::new("opt/", 0o711, ""),
        Made::new("opt/a", 0o644, "a"),
        Made::new("opt/b", 0o640, "b"),
    ];
    vec![first, second]
}

impl One {
    fn new(layers: Vec<Vec<Made>>) -> Self {
        let layer = |members| Layer { members, packing: Packing::Gzip(6), says: json!({}) };
        One {
            platform: None,
            layers: layers.into_iter().map(layer).collect(),
            commit: 0,
            config: json!({
                "architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z",
                "config": {"Env": ["PATH=/bin"], "Labels": {"a": "b"}}, "history": [],
            }),
            manifest: json!({"schemaVersion": 2, "mediaType": MANIFEST, "annotations": {"k": "v"}}),
            entry: json!({"annotations": {}}),
            turned: false,
        }
    }

    /// On a commit that rpm-ostree encapsulated.
    fn derived(base: &str) -> Self {
        let subject = crate::oci::open(base);
        let image = subject.one().unwrap();
        let read = layers(&subject.store, image, Keep::Spool).unwrap();
        let made = |layer: &reprofix::source::oci::Layer| {
            let members = layer.members.iter().enumerate().map(|(i, member)| {
                let mut content = Vec::new();
                let mut part = layer.content(i).unwrap();
                std::io::Read::read_to_end(&mut part, &mut content).unwrap();
                Made { member: member.clone(), content }
            });
            members.collect::<Vec<_>>()
        };
        let mut one = One::new(read.iter().map(made).chain(members()).collect());
        one.commit = read.len();
        one.config = subject.store.json(&image.config.as_ref().unwrap().name, 1 << 20).unwrap();
        one
    }

    fn write(&self, layout: &Layout) -> Value {
        let mut config = self.config.clone();
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &self.layers {
            let plain = archive(&layer.members);
            diff_ids.push(Digest::of(&plain).to_string());
            let stored = match layer.packing {
                Packing::Gzip(level) => Stored::gzip(plain, level),
                Packing::Zstd => Stored {
                    bytes: zstd::encode_all(&plain[..], 3).unwrap(),
                    plain,
                    media_type: "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
                },
                Packing::Docker => Stored {
                    media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
                    ..Stored::gzip(plain, 6)
                },
            };
            let mut descriptor = layout.blob(&stored.bytes, &stored.media_type);
            extend(&mut descriptor, &layer.says);
            descriptors.push(descriptor);
        }
        if self.commit > 0 && config["config"]["Labels"]["ostree.final-diffid"] != "stale" {
            let last = diff_ids[self.commit - 1].clone();
            config["config"]["Labels"]["ostree.final-diffid"] = last.into();
        }
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        let mut manifest = self.manifest.clone();
        let says = manifest["config"].take();
        manifest["config"] = layout.blob(&self.text(&config), CONFIG);
        extend(&mut manifest["config"], &says);
        manifest["layers"] = descriptors.into();
        let media_type = manifest["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
        let mut entry = layout.blob(&self.text(&manifest), &media_type);
        if let Some(platform) = &self.platform {
            entry["platform"] = platform.clone();
        }
        extend(&mut entry, &self.entry);
        entry
    }

    /// A document's bytes.
    fn text(&self, value: &Value) -> Vec<u8> {
        if !self.turned {
            return value.to_string().into_bytes();
        }
        let map = value.as_object().unwrap();
        let turned: serde_json::Map<String, Value> =
            map.iter().rev().map(|(k, v)| (k.clone(), v.clone())).collect();
        serde_json::to_vec_pretty(&turned).unwrap()
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn extend(value: &mut Value, more: &Value) {
    for (key, more) in more.as_object().into_iter().flatten() {
        value[key] = more.clone();
    }
}

impl Model {
    fn new(kind: &str) -> Self {
        let one = match kind {
            "derived" => One::derived("ostree-encap-1"),
            "squashed" => {
                let mut one = One::derived("ostree-encap-1");
                let members = one.layers.iter().flat_map(|l| l.members.clone());
                // The last of each name, as a squash has it.
                let last: BTreeMap<Vec<u8>, Made> =
                    members.map(|m| (m.member.path.to_vec(), m)).collect();
                let whiteout = |m: &Made| m.member.name().starts_with(b".wh.");
                let mut all: Vec<Made> = last.into_values().filter(|m| !whiteout(m)).collect();
                // A hard link follows its file.
                all.sort_by_key(|m| m.member.kind == Type::Hardlink);
                one.layers.truncate(1);
                one.layers[0].members = all;
                one.commit = 0;
                one
            }
            _ => One::new(members()),
        };
        let mut model = Model { images: vec![one], depth: None, list: json!({}), attested: 0 };
        if kind == "multi-platform" {
            let of = |architecture: &str| {
                let mut one = One::new(members());
                one.config["architecture"] = architecture.into();
                one.platform = Some(json!({"os": "linux", "architecture": architecture}));
                one
            };
            (model.images, model.depth) = (vec![of("amd64"), of("arm64")], Some(1));
        }
        model
    }

    fn write(&self, layout: &Layout) {
        let mut entries: Vec<Value> = self.images.iter().map(|one| one.write(layout)).collect();
        for number in 0..self.attested {
            let statement =
                layout.blob(number.to_string().as_bytes(), "application/vnd.in-toto+json");
            let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
                "config": layout.blob(b"{}", CONFIG), "layers": [statement]});
            let mut entry = layout.blob(manifest.to_string().as_bytes(), MANIFEST);
            entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
            entries.push(entry);
        }
        for level in 0..self.depth.unwrap_or(0) {
            let mut list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
            if level == 0 {
                extend(&mut list, &self.list);
            }
            entries = vec![layout.blob(list.to_string().as_bytes(), INDEX)];
        }
        if self.depth.is_some() || entries.len() == 1 {
            for entry in &mut entries {
                entry["annotations"]["org.opencontainers.image.ref.name"] = "demo".into();
            }
        }
        layout.write_index(&entries);
    }
}

/// A change, and whether it is one that must not count.
type Change = (&'static str, bool, fn(&mut Model, &mut Dice));

/// A member that lies above the commit.
fn member<'m>(
    model: &'m mut Model,
    dice: &mut Dice,
    is: fn(&Made) -> bool,
) -> Option<&'m mut Made> {
    let one = image(model, dice);
    let layers = one.layers[one.commit..].iter_mut().flat_map(|l| &mut l.members);
    let mut all: Vec<&mut Made> = layers.filter(|m| is(m)).collect();
    let at = if all.is_empty() { return None } else { dice.roll(all.len()) };
    Some(all.swap_remove(at))
}

fn image<'m>(model: &'m mut Model, dice: &mut Dice) -> &'m mut One {
    let at = dice.roll(model.images.len());
    &mut model.images[at]
}

fn layer<'m>(model: &'m mut Model, dice: &mut Dice) -> &'m mut Layer {
    let one = image(model, dice);
    let at = one.commit + dice.roll(one.layers.len() - one.commit);
    &mut one.layers[at]
}

fn is_file(made: &Made) -> bool {
    made.member.kind == Type::File && !made.member.name().starts_with(b".wh.")
}

fn any(made: &Made) -> bool {
    !made.member.name().starts_with(b".wh.")
}

macro_rules! on_member {
    ($is:expr, $name:ident => $change:expr) => {
        |model, dice| {
            if let Some($name) = member(model, dice, $is) {
                $change;
            }
        }
    };
}

const ALL: &[Change] = &[
    ("bytes", false, on_member!(is_file, m => m.content.iter_mut().for_each(|b| *b ^= 1))),
    ("size", false, on_member!(is_file, m => { m.content.push(b'x'); m.member.size += 1 })),
    ("mode", false, on_member!(any, m => m.member.mode ^= 0o020)),
    ("set-uid", false, on_member!(is_file, m => m.member.mode ^= 0o4000)),
    ("owner", false, on_member!(any, m => m.member.uid += 1)),
    ("group", false, on_member!(any, m => m.member.gid += 70_000)),
    (
        "attribute",
        false,
        on_member!(is_file, m => drop(m.member.xattrs.insert(b"user.y".into(), b"z".into()))),
    ),
    ("time", false, on_member!(any, m => m.member.mtime.sec += 5)),
    ("owner's name", false, on_member!(any, m => m.member.uname = b"somebody".into())),
    (
        "record",
        false,
        on_member!(any, m => drop(m.member.records.insert(b"ctime".into(), b"1".into()))),
    ),
    ("link", false, on_member!(|m| m.member.kind == Type::Symlink, m => m.member.link.push(b'x'))),
    (
        "no hard link",
        false,
        on_member!(|m| m.member.kind == Type::Hardlink, m => {
            (m.member.kind, m.member.link) = (Type::File, Vec::new());
        }),
    ),
    (
        "a link for a file",
        false,
        on_member!(is_file, m => {
            (m.member.kind, m.member.link, m.member.size) = (Type::Symlink, b"x".into(), 0);
            m.content.clear();
        }),
    ),
    ("no member", false, |model, dice| {
        let members = &mut layer(model, dice).members;
        if let Some(at) = members.iter().rposition(|m| is_file(m) && m.member.mode & 0o4000 == 0) {
            members.remove(at);
        }
    }),
    ("another member", false, |model, dice| {
        layer(model, dice).members.push(Made::new("new", 0o644, "x"))
    }),
    ("whiteout", false, |model, dice| {
        layer(model, dice).members.push(Made::new(".wh.nothing", 0o644, ""))
    }),
    ("opaque", false, |model, dice| {
        if let Some(last) = image(model, dice).layers.last_mut() {
            last.members.insert(0, Made::new("etc/.wh..wh..opq", 0o644, ""));
        }
    }),
    ("other order", false, |model, dice| layer(model, dice).members.swap(0, 3)),
    ("one layer less", false, |model, dice| {
        let one = image(model, dice);
        if one.layers.len() > one.commit + 1 {
            let last = one.layers.pop().unwrap();
            let kept = last.members.into_iter().filter(is_file);
            one.layers.last_mut().unwrap().members.extend(kept);
        }
    }),
    ("one layer more", false, |model, dice| {
        let one = image(model, dice);
        let empty = Layer { members: Vec::new(), packing: Packing::Gzip(6), says: json!({}) };
        one.layers.push(empty);
    }),
    ("layers in other order", false, |model, dice| {
        let one = image(model, dice);
        if one.layers.len() > one.commit + 1 {
            let last = one.layers.len() - 1;
            one.layers.swap(last, last - 1);
        }
    }),
    ("environment", false, |model, dice| {
        image(model, dice).config["config"]["Env"] = json!(["A=1"])
    }),
    ("entrypoint", false, |model, dice| {
        image(model, dice).config["config"]["Entrypoint"] = json!(["/x"])
    }),
    ("user", false, |model, dice| image(model, dice).config["config"]["User"] = json!("1001")),
    ("label", false, |model, dice| image(model, dice).config["config"]["Labels"]["a"] = json!("c")),
    ("volume", false, |model, dice| {
        image(model, dice).config["config"]["Volumes"] = json!({"/x": {}})
    }),
    ("unknown key", false, |model, dice| {
        image(model, dice).config["unknown"] = json!([1, {"a": null}])
    }),
    ("a type of root", false, |model, dice| {
        image(model, dice).manifest["artifactType"] = json!("text/x")
    }),
    ("subject", false, |model, dice| {
        image(model, dice).manifest["subject"] =
            json!({"digest": "sha256:0", "size": 1, "mediaType": MANIFEST})
    }),
    ("annotation", false, |model, dice| {
        image(model, dice).manifest["annotations"]["k"] = json!("w")
    }),
    ("annotation of a layer", false, |model, dice| {
        layer(model, dice).says["annotations"] = json!({"ostree.components": "x"})
    }),
    ("address of a layer", false, |model, dice| {
        layer(model, dice).says["urls"] = json!(["https://x"])
    }),
    ("data of the configuration", false, |model, dice| {
        image(model, dice).manifest["config"] = json!({"data": "e30="})
    }),
    ("annotation of the entry", false, |model, dice| {
        image(model, dice).entry["annotations"]["k"] = json!("v")
    }),
    ("key of the entry", false, |model, dice| image(model, dice).entry["unknown"] = json!("v")),
    ("annotation of the list", false, |model, _| {
        if model.depth.is_some() {
            model.list["annotations"] = json!({"k": "v"});
        }
    }),
    ("one platform less", false, |model, _| model.images.truncate(1)),
    ("another platform", false, |model, dice| image(model, dice).config["variant"] = json!("v9")),
    ("a stale label", false, |model, dice| {
        let one = image(model, dice);
        if one.commit > 0 {
            one.config["config"]["Labels"]["ostree.final-diffid"] = "stale".into();
        }
    }),
    // What does not count.
    ("level", true, |model, dice| layer(model, dice).packing = Packing::Gzip(1)),
    ("zstd", true, |model, dice| layer(model, dice).packing = Packing::Zstd),
    ("Docker's media type", true, |model, dice| layer(model, dice).packing = Packing::Docker),
    ("order of keys", true, |model, dice| image(model, dice).turned = true),
    ("time of the image", true, |model, dice| {
        image(model, dice).config["created"] = json!("2024-01-01T00:00:00Z")
    }),
    ("history", true, |model, dice| {
        image(model, dice).config["history"] = json!([{"created_by": "x"}])
    }),
    ("label with a time", true, |model, dice| {
        image(model, dice).config["config"]["Labels"]["build-date"] = json!("2024-01-01T00:00:00Z");
    }),
    ("no media type", true, |model, dice| {
        drop(image(model, dice).manifest.as_object_mut().unwrap().remove("mediaType"))
    }),
    ("depth", true, |model, _| model.depth = model.depth.map(|depth| depth + 1)),
    ("attestation", true, |model, _| {
        if model.depth.is_some() {
            model.attested += 1;
        }
    }),
    ("another encapsulation", true, |model, dice| {
        let one = image(model, dice);
        if one.commit > 0 {
            let other = One::derived("ostree-encap-2");
            for (mine, theirs) in one.layers.iter_mut().zip(other.layers).take(other.commit) {
                mine.members = theirs.members;
            }
        }
    }),
    ("one commit in more layers", true, |model, dice| {
        let one = image(model, dice);
        if one.commit > 0 {
            let half = one.layers[0].members.len() / 2;
            let rest = one.layers[0].members.split_off(half);
            one.layers.insert(1, Layer { members: rest, ..one.layers[0].clone() });
            one.commit += 1;
        }
    }),
];

/// A pair and what was changed between its sides.
struct Case {
    a: Layout,
    b: Layout,
    changes: Vec<&'static str>,
    free: bool,
}

fn case(kind: &str, number: usize, dice: &mut Dice) -> Case {
    let before = Model::new(kind);
    let mut after = before.clone();
    let count = 1 + usize::from(dice.roll(4) == 0);
    let picks: Vec<&Change> = (0..count)
        .map(|i| if i == 0 { &ALL[number % ALL.len()] } else { &ALL[dice.roll(ALL.len())] })
        .collect();
    for (_, _, change) in &picks {
        change(&mut after, dice);
    }
    let (a, b) = (Layout::empty(), Layout::empty());
    before.write(&a);
    after.write(&b);
    let free = picks.iter().all(|(_, free, _)| *free);
    Case { a, b, changes: picks.iter().map(|(name, ..)| *name).collect(), free }
}

fn oracle(pairs: &[Case]) -> Vec<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/image-oracle");
    let places: Vec<PathBuf> =
        pairs.iter().flat_map(|c| [c.a.path().to_owned(), c.b.path().to_owned()]).collect();
    let output = Command::new(script).args(places).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Vec<String>> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(all.len(), pairs.len());
    all
}

/// `check` of images of one kind never says "same" where the oracle finds a difference.
fn never_the_same(kind: &str) {
    if !have("python3") || !have("zstd") {
        return;
    }
    let rounds = std::env::var("REPROFIX_IMAGE_CHANGES").map_or(CHANGES, |n| n.parse().unwrap());
    // Each change on its own at least once.
    let rounds = rounds.max(ALL.len());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut same, mut different, mut left) = (0, 0, rounds);
    let mut number = 0;
    while left > 0 {
        let batch = left.min(100);
        left -= batch;
        let cases: Vec<Case> = (0..batch)
            .map(|_| {
                number += 1;
                case(kind, number - 1, &mut dice)
            })
            .collect();
        for (case, found) in cases.iter().zip(oracle(&cases)) {
            let [a, b] = [&case.a, &case.b].map(|l| l.path().to_str().unwrap());
            let (code, said, warned) = reprofix(&["check", a, b]);
            let what = format!("{kind}: {:?}: {found:?}\n{said}{warned}", case.changes);
            assert!(code < 2, "{what}");
            assert!(code == 1 || found.is_empty(), "false \"same\": {what}");
            assert!(code == 0 || !case.free, "counted though it should not: {what}");
            same += usize::from(code == 0);
            different += usize::from(code == 1);
        }
    }
    println!("{kind}: {rounds} changes, {same} same, {different} different");
    assert!(same * 10 >= rounds && different * 3 >= rounds, "{kind}: {same} of {rounds} same");
}

#[test]
fn single_images_are_never_the_same_by_mistake() {
    never_the_same("single");
}

#[test]
fn multi_platform_images_are_never_the_same_by_mistake() {
    never_the_same("multi-platform");
}

#[test]
fn derived_images_are_never_the_same_by_mistake() {
    never_the_same("derived");
}

#[test]
fn squashed_images_are_never_the_same_by_mistake() {
    never_the_same("squashed");
}
