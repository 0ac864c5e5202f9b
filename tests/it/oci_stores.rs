//! Images that are in no layout: what skopeo writes for `dir:`, a registry's storage and oc-mirror's
//! archives of it, container storage. Each is made or read by the real program.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reprofix::image::Findings;
use reprofix::image::verify::verify;
use reprofix::source::Spec;
use reprofix::source::oci::{Digest, Image, Images};
use serde_json::json;

use crate::layout::{Layout, Made, Stored, archive, files};
use crate::oci::{fixture, have, run};

/// Two images under two names, one of them a list for two platforms.
pub(crate) fn two() -> Layout {
    let layout = Layout::empty();
    let image = |architecture: &str| {
        let members = [
            Made::new("bin/", 0o755, ""),
            Made::new("bin/tool", 0o4755, architecture),
            Made::new("empty", 0o600, ""),
            Made::link("bin/link", reprofix::format::tar::Type::Hardlink, "bin/tool"),
        ];
        let layer = Stored::gzip(archive(&members), 6);
        let more = Stored::gzip(archive(&[Made::new("bin/.wh.link", 0o644, "")]), 9);
        let mut entry = layout.image(&[layer, more], |config| {
            config["architecture"] = architecture.into();
        });
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let media_type = "application/vnd.oci.image.index.v1+json";
    let entries = [image("amd64"), image("arm64")];
    let list = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
    let mut list = layout.blob(list.to_string().as_bytes(), media_type);
    let mut alone = entries[0].clone();
    alone.as_object_mut().unwrap().remove("platform");
    list["annotations"]["org.opencontainers.image.ref.name"] = "list".into();
    alone["annotations"]["org.opencontainers.image.ref.name"] = "alone".into();
    layout.write_index(&[list, alone]);
    layout
}

pub(crate) fn copy(from: &str, to: &str, all: bool) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "--insecure-policy",
        "--override-os",
        "linux",
        "--override-arch",
        "amd64",
        "copy",
    ]);
    skopeo.args(all.then_some("--all")).args(["--quiet", from, to]);
    run(&mut skopeo).unwrap_or_else(|said| panic!("{from} {to}: {said}"));
}

fn open(text: &str) -> Images {
    Images::open(text, None).unwrap_or_else(|error| panic!("{text}: {error:#}"))
}

fn refusal(text: &str) -> String {
    let error = Images::open(text, None).map(|_| ()).expect_err(text);
    format!("{error:#}")
}

/// What makes an image, whatever it is kept in.
fn content(image: &Image) -> (Option<Digest>, Option<Digest>, Vec<Digest>) {
    let config = image.config.as_ref().map(|config| config.digest.clone());
    (image.manifest.clone(), config, image.diff_ids.clone())
}

fn reprofix(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprofix"));
    let output = command.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// All questions about a subject have the answer that its layout has.
fn same_answers(text: &str, layout: &str) {
    let (one, other) = (open(text), open(layout));
    let (a, b): (Vec<_>, Vec<_>) =
        (one.selected().map(content).collect(), other.selected().map(content).collect());
    assert_eq!(a, b, "{text}");
    let report = verify(&one).unwrap();
    assert!(report.sound(), "{text}: {:?}", report.faults);
    assert_eq!(report.plain, verify(&other).unwrap().plain);
    let (code, said) = reprofix(&["check", text, layout]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(normal(text), normal(layout), "{text}");
}

/// The normal form of an image, file by file.
fn normal(text: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let to = format!("oci:{}:x", out.display());
    let epoch = ["--recompress", "--source-date-epoch", "0"];
    let (code, said) = reprofix(&[&["oci", "normalize", text, "-o", &to], &epoch[..]].concat());
    assert_eq!(code, 0, "{text}: {said}");
    files(&out).into_iter().collect()
}

#[test]
fn what_skopeo_writes_for_dir_is_an_image() {
    if !have("skopeo") {
        return;
    }
    let layout = two();
    let place = |tag: &str| format!("oci:{}:{tag}", layout.path().display());
    for (tag, all) in [("alone", false), ("list", true)] {
        let dir = tempfile::tempdir().unwrap();
        let folder = format!("dir:{}", dir.path().display());
        copy(&place(tag), &folder, all);
        assert!(matches!(Spec::parse(folder.as_ref()).unwrap(), Spec::Oci(_)));
        assert!(matches!(Spec::parse(dir.path().as_ref()).unwrap(), Spec::Oci(_)));
        same_answers(&folder, &place(tag));
    }
    // Any other directory is one.
    let other = format!("dir:{}", layout.path().display());
    assert!(matches!(Spec::parse(other.as_ref()).unwrap(), Spec::Dir(_)));
}

/// A registry that serves `storage` on this machine alone; it ends with the value.
pub(crate) struct Registry {
    child: Child,
    pub(crate) address: String,
    _config: tempfile::NamedTempFile,
}

impl Registry {
    pub(crate) fn serve(storage: &Path) -> Self {
        // A port that was free a moment ago may be taken: another is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let address = port.to_string();
            let config = tempfile::NamedTempFile::new().unwrap();
            let text = json!({
                "version": "0.1", "log": {"level": "error"},
                "storage": {"filesystem": {"rootdirectory": storage}, "delete": {"enabled": true}},
                "http": {"addr": address},
            });
            fs::write(config.path(), text.to_string()).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(config.path());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().unwrap();
            let mut registry = Registry { child, address, _config: config };
            let begun = Instant::now();
            while registry.child.try_wait().unwrap().is_none()
                && begun.elapsed() < Duration::from_secs(20)
            {
                if TcpStream::connect(&registry.address).is_ok() {
                    return registry;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("docker-registry does not serve");
    }

    /// An image of it for skopeo.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn push(registry: &Registry, from: &str, name: &str, all: bool) {
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--quiet"]);
    skopeo.args(all.then_some("--all")).args([from, &registry.image(name)]);
    run(&mut skopeo).unwrap();
}

/// The storage of a real registry with three images in two repositories, one of them by digest alone.
fn storage(layout: &Layout) -> Option<tempfile::TempDir> {
    if !have("skopeo") || !have("docker-registry") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::serve(dir.path());
    let place = |tag: &str| format!("oci:{}:{tag}", layout.path().display());
    push(&registry, &place("list"), "ubi/tool:v1", true);
    push(&registry, &place("alone"), "ubi/tool:v2", false);
    let other = format!("oci:{}", fixture("single-rebuild-a").display());
    let digest = open(&other).one().unwrap().manifest.clone().unwrap();
    push(&registry, &other, &format!("ubi/deep/er@{digest}"), false);
    Some(dir)
}

#[test]
fn the_storage_of_a_registry_is_read() {
    let layout = two();
    let Some(dir) = storage(&layout) else { return };
    let place = |tag: &str| format!("oci:{}:{tag}", layout.path().display());
    for root in ["", "/docker", "/docker/registry/v2"] {
        let at = format!("registry:{}{root}", dir.path().display());
        same_answers(&format!("{at}:ubi/tool:v1"), &place("list"));
        same_answers(&format!("{at}:v2"), &place("alone"));
        let other = format!("oci:{}", fixture("single-rebuild-a").display());
        same_answers(&format!("{at}:ubi/deep/er"), &other);
        let digest = open(&other).one().unwrap().manifest.clone().unwrap();
        same_answers(&format!("{at}:ubi/deep/er@{digest}"), &other);
        same_answers(&format!("{at}@{digest}"), &other);
        let said = refusal(&format!("{at}:ubi/tool:v3"));
        assert!(said.contains("no entry for tag ubi/tool:v3; it has linux/amd64"), "{said}");
    }
    // A bare path is one, with what chooses behind it, and all is listed: a manifest in a list once.
    let path = dir.path().display().to_string();
    assert!(matches!(Spec::parse(path.as_ref()).unwrap(), Spec::Oci(_)));
    let all = open(&path);
    let names: Vec<Vec<&str>> =
        all.images.iter().map(|i| i.names.iter().map(String::as_str).collect()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names[0][0].starts_with("ubi/deep/er@sha256:"), "{names:?}");
    assert_eq!(names[1..], [["ubi/tool:v1"], ["ubi/tool:v1"], ["ubi/tool:v2"]]);
    let (code, said) = reprofix(&["oci", "platforms", &path]);
    assert_eq!(code, 0, "{said}");
}

/// As oc-mirror 4.17 to 4.21 write them: repositories, blobs, its working directory; in parts, and
/// without the blobs of an earlier mirror.
#[test]
fn the_archives_of_oc_mirror_are_read() {
    let layout = two();
    let Some(dir) = storage(&layout) else { return };
    let place = |tag: &str| format!("oci:{}:{tag}", layout.path().display());
    let mirror = tempfile::tempdir().unwrap();
    let tar = |name: &str, from: &[&str]| {
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(mirror.path().join(name)).arg("-C").arg(dir.path());
        run(tar.args(from)).unwrap();
    };
    tar("mirror_000001.tar", &["docker/registry/v2"]);
    let whole = format!("registry:{}", mirror.path().join("mirror_000001.tar").display());
    same_answers(&format!("{whole}:ubi/tool:v1"), &place("list"));
    assert!(matches!(Spec::parse(whole[9..].as_ref()).unwrap(), Spec::Oci(_)));
    // Two parts are one storage.
    tar("mirror_000001.tar", &["docker/registry/v2/repositories"]);
    tar("mirror_000002.tar", &["docker/registry/v2/blobs"]);
    let parts = format!("registry:{}", mirror.path().display());
    same_answers(&format!("{parts}:ubi/tool:v1"), &place("list"));
    // The first alone has names and no blobs.
    let first = open(&whole);
    assert!(first.images.iter().all(|i| i.notes[0].starts_with("sparse")));
    let (code, said) = reprofix(&["oci", "verify", &whole]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is missing: copy the image again"), "{said}");
}

/// Both drivers, images from a list and by themselves: buildah keeps layers unpacked, and what comes
/// out is what its own `push` writes.
#[test]
fn container_storage_is_read_without_podman() {
    if !have("skopeo") {
        return;
    }
    let layout = two();
    let place = |tag: &str| format!("oci:{}:{tag}", layout.path().display());
    for driver in ["vfs", "overlay"] {
        let dir = tempfile::tempdir().unwrap();
        let (root, work) = (dir.path().join("root"), dir.path().join("run"));
        let store = format!("containers-storage:[{driver}@{}+{}]", root.display(), work.display());
        copy(&place("alone"), &format!("{store}localhost/tool:v1"), false);
        copy(&place("list"), &format!("{store}localhost/listed:v1"), false);
        let other = format!("oci:{}", fixture("single-rebuild-a").display());
        copy(&other, &format!("{store}docker.io/library/other:latest"), false);
        for (name, layout) in [
            ("localhost/tool:v1", &place("alone")),
            ("tool:v1", &place("alone")),
            ("other", &other),
        ] {
            same_answers(&format!("{store}{name}"), layout);
        }
        same_answers(&format!("containers-storage:{}:listed:v1", root.display()), &place("alone"));
        let id = open(&other).one().unwrap().config.clone().unwrap().digest;
        same_answers(&format!("{store}{}", id.short()), &other);
        assert!(matches!(Spec::parse(root.as_ref()).unwrap(), Spec::Oci(_)));
        // An ostree commit in an image is one there, too.
        let encapsulated = format!("oci:{}", fixture("ostree-encap-1").display());
        copy(&encapsulated, &format!("{store}localhost/os:1"), false);
        let (code, said) = reprofix(&["check", &format!("{store}os:1"), &encapsulated]);
        assert_eq!(code, 0, "{said}");

        // What somebody changed in the storage is named.
        let changed = walkdir::WalkDir::new(root.join(driver)).into_iter().map(Result::unwrap);
        let changed = changed.filter(|e| e.path().ends_with("bin/tool")).last().unwrap();
        fs::write(changed.path(), "AMD64").unwrap();
        let (code, said) = reprofix(&["oci", "verify", &format!("{store}tool:v1")]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("bin/tool has other bytes than it had"), "{said}");
        fs::write(changed.path(), "AMD").unwrap();
        let (_, said) = reprofix(&["oci", "verify", &format!("{store}tool:v1")]);
        assert!(said.contains("bin/tool has 3 bytes and had 5"), "{said}");
        fs::remove_file(changed.path()).unwrap();
        symlink("/etc/passwd", changed.path()).unwrap();
        let (_, said) = reprofix(&["oci", "verify", &format!("{store}tool:v1")]);
        assert!(said.contains("tool is a symbolic link: not followed"), "{said}");
        // Without what is left of the archive, the layers are there and cannot be read.
        for entry in fs::read_dir(root.join(format!("{driver}-layers"))).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with(".tar-split.gz") {
                fs::remove_file(path).unwrap();
            }
        }
        let (code, said) = reprofix(&["oci", "platforms", &format!("{store}tool:v1")]);
        assert_eq!(code, 0, "{said}");
        let (code, said) = reprofix(&["oci", "verify", &format!("{store}tool:v1")]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("tar-split.gz, without which the archive of layer"), "{said}");
    }
}
