//! Storage of registries, container storage and skopeo's folders that mean harm: exit 2, little memory,
//! little time, the place named.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use reprofix::source::oci::Digest;
use serde_json::json;

use crate::layout::{Made, Stored, archive};
use crate::oci_hostile::all_refuse;

const TAG: &str = "docker/registry/v2/repositories/a/_manifests/tags/v1/current/link";

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A file of 4 GiB, of which nothing is on the disk.
fn huge(root: &Path, name: &str) {
    write(root, name, b"");
    fs::File::options().write(true).open(root.join(name)).unwrap().set_len(4 << 30).unwrap();
}

fn registry(link: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), TAG, link);
    dir
}

#[test]
fn links_of_a_registry_are_digests() {
    all_refuse(registry(b"sha256:../../../../etc/passwd").path(), "v1/current/link");
    all_refuse(registry(&[0xff; 71]).path(), "is not a sha256 or sha512 digest");
    let large = registry(b"");
    huge(large.path(), TAG);
    all_refuse(large.path(), "v1/current/link");
    let link = registry(b"");
    fs::remove_file(link.path().join(TAG)).unwrap();
    symlink("/etc/passwd", link.path().join(TAG)).unwrap();
    all_refuse(link.path(), "link is a symbolic link: not followed");
}

#[test]
fn blobs_of_a_registry_stay_in_it() {
    let digest = Digest::of(b"x");
    let dir = registry(digest.as_str().as_bytes());
    let data =
        format!("docker/registry/v2/blobs/sha256/{}/{}/data", &digest.hex()[..2], digest.hex());
    write(dir.path(), &data, b"");
    fs::remove_file(dir.path().join(&data)).unwrap();
    symlink("/etc/passwd", dir.path().join(&data)).unwrap();
    all_refuse(dir.path(), "data is a symbolic link: not followed");
    fs::remove_file(dir.path().join(&data)).unwrap();
    huge(dir.path(), &data);
    all_refuse(dir.path(), "are refused");
}

#[test]
fn registries_of_any_depth_and_number_end() {
    let dir = tempfile::tempdir().unwrap();
    let deep = format!("docker/registry/v2/repositories/{}x", "a/".repeat(200));
    write(dir.path(), &deep, b"");
    all_refuse(dir.path(), "nested more than 128 deep");
    let digest = Digest::of(b"x");
    let many = (0..10_001).map(|n| {
        let name = format!("docker/registry/v2/repositories/a/_manifests/tags/{n}/current/link");
        let mut made = Made::new(&name, 0o644, "");
        made.content = digest.as_str().as_bytes().to_vec();
        made.member.size = made.content.len() as u64;
        made
    });
    let many = archive(&many.collect::<Vec<_>>());
    let file = tempfile::Builder::new().suffix(".tar").tempfile().unwrap();
    fs::write(file.path(), many).unwrap();
    all_refuse(file.path(), "choose a repository");
}

/// Container storage of one image with one layer, whose records are `split`.
fn storage(images: &str, layers: &str, split: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "vfs-images/images.json", images.as_bytes());
    write(root, "vfs-layers/layers.json", layers.as_bytes());
    write(root, "vfs-layers/b.tar-split.gz", split);
    let diff_id = Digest::of(b"x");
    let config = json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = config.to_string();
    let digest = Digest::of(config.as_bytes());
    let name = base64(&digest);
    write(root, &format!("vfs-images/a/={name}"), config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": "", "digest": digest, "size": config.len()},
        "layers": [{"mediaType": "", "digest": diff_id, "size": 1}],
    });
    write(root, "vfs-images/a/manifest", manifest.to_string().as_bytes());
    dir
}

fn base64(digest: &Digest) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(digest.as_str())
}

fn images() -> String {
    let config = json!({
        "os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"x")]},
    });
    let digest = Digest::of(config.to_string().as_bytes());
    json!([{"id": "a", "names": ["a/b:c"], "big-data-names": [digest]}]).to_string()
}

fn layers() -> String {
    json!([{"id": "b", "diff-digest": Digest::of(b"x")}]).to_string()
}

#[test]
fn lists_of_container_storage_are_bounded() {
    for (images, layers, said) in [
        (&*"[".repeat(100_000), "[]", "parsing vfs-images/images.json"),
        (r#"[{"id": "../../etc"}]"#, "[]", "is not an id of an image or a layer"),
        ("[]", "[]", "lists no image"),
        (
            &images(),
            r#"[{"id": "../b", "diff-digest": ""}]"#,
            "is not an id of an image or a layer",
        ),
        (&images(), "{", "parsing vfs-layers/layers.json"),
    ] {
        all_refuse(storage(images, layers, b"").path(), said);
    }
    for name in ["vfs-images/images.json", "vfs-layers/layers.json", "vfs-images/a/manifest"] {
        let dir = storage(&images(), &layers(), b"");
        huge(dir.path(), name);
        all_refuse(dir.path(), "are refused");
    }
}

#[test]
fn records_of_layers_are_bounded() {
    let gzip = |bytes: &[u8]| Stored::gzip(bytes.to_vec(), 9).bytes;
    let verify = |split: &[u8]| {
        let dir = storage(&images(), &layers(), split);
        let path = format!("containers-storage:{}", dir.path().display());
        let arguments = ["oci", "verify", &path];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_reprofix"))
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    for (split, said) in [
        (&b"{\"type\":9}"[..], "record of unknown type 9"),
        (b"{\"type\":1,\"name\":\"gone\",\"size\":1}", "vfs/dir/b/gone is not there"),
        (b"x", "not a record of tar-split"),
    ] {
        let (code, text) = verify(&gzip(split));
        assert!(code == 1 && text.contains(said), "{code} {text}");
    }
    let (code, text) = verify(&gzip(b"{\"type\":1,\"name\":\"../../x\",\"size\":1}"));
    assert!(code == 2 && text.contains("leaves the root"), "{code} {text}");
    let record = [&b"{\"type\":2,\"payload\":\""[..], &vec![b'A'; 4 << 20], b"\"}\n"].concat();
    let (code, text) = verify(&gzip(&record).repeat(1 << 10));
    assert!(code == 2 && text.contains("decompression bomb"), "{code} {text}");
    let line = [&b"{\"type\":2,\"payload\":\""[..], &vec![b'A'; 9 << 20]].concat();
    let (code, text) = verify(&gzip(&line));
    assert!(code == 1 && text.contains("record of more than"), "{code} {text}");
}

#[test]
fn folders_of_skopeo_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "version", b"Directory Transport Version: 1.1\n");
    let text = dir.path().display().to_string();
    let said = |error: anyhow::Error| format!("{error:#}");
    let error = reprofix::source::oci::Images::open(&text, None).map(|_| ()).unwrap_err();
    assert!(said(error).contains("no manifest.json beside version"));
    huge(dir.path(), "manifest.json");
    all_refuse(dir.path(), "are refused");
}
