//! Archives and layouts that mean harm: exit 2, little memory, little time, nothing written.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::format::tar::{Type, header};
use reprofix::source::oci::Digest;
use serde_json::{Value, json};

use crate::layout::{Layout, Made, Stored, archive};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Resident memory of one run, in KiB.
const MOST_MEMORY: u64 = 100 << 10;
/// Processor time of one run, in seconds: of a build without optimisation.
const MOST_TIME: f64 = 5.0;

/// Runs reprofix in a directory of its own, and gives what it said on standard error.
fn refused(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("time");
    command.args(["-f", "%M %U %S"]).arg(env!("CARGO_BIN_EXE_reprofix")).args(arguments);
    let output = command.current_dir(dir.path()).output().expect("the Debian package time");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.contains("error:"), "{arguments:?}: {said}");
    let figures: Vec<f64> =
        said.lines().last().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    assert!(figures[0] as u64 <= MOST_MEMORY, "{arguments:?}: {} KiB", figures[0]);
    assert!(figures[1] + figures[2] <= MOST_TIME, "{arguments:?}: {figures:?}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{arguments:?} left {left:?}");
    said
}

/// Every command that reads an image refuses this one.
pub(crate) fn all_refuse(path: &Path, word: &str) {
    let path = path.to_str().unwrap();
    for arguments in [
        &["oci", "platforms", path][..],
        &["oci", "verify", path],
        &["oci", "lint", path],
        &["oci", "normalize", path, "-o", "out", "--source-date-epoch", "0"],
        &["opm", "verify", path],
        &["check", &format!("oci:{path}"), &format!("oci:{path}")],
    ] {
        let said = refused(arguments);
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

/// The same, where only those see it that read layers.
fn readers_refuse(path: &Path, word: &str) {
    let path = path.to_str().unwrap();
    for arguments in [
        &["oci", "verify", path][..],
        &["oci", "lint", path],
        &["oci", "normalize", path, "-o", "out", "--source-date-epoch", "0"],
    ] {
        let said = refused(arguments);
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// An archive of a layout with one member more, of any name.
fn with_member(change: impl FnOnce(&mut Made)) -> tempfile::NamedTempFile {
    let mut made = Made::new("evil", 0o644, "");
    change(&mut made);
    let index = json!({"schemaVersion": 2, "manifests": []}).to_string();
    file(&archive(&[made, Made::new("index.json", 0o644, &index)]))
}

#[test]
fn archives_that_leave_their_root_are_refused() {
    for name in ["../../evil", "a/../../evil"] {
        let archive = with_member(|m| m.member.path = name.as_bytes().into());
        all_refuse(archive.path(), "leaves the root");
    }
    let absolute = with_member(|m| m.member.path = b"/evil".as_slice().into());
    all_refuse(absolute.path(), "absolute name");
    let device = with_member(|m| (m.member.kind, m.member.device) = (Type::Char, (1, 3)));
    all_refuse(device.path(), "device node");
    let link = with_member(|m| {
        (m.member.kind, m.member.link) = (Type::Symlink, b"../../../etc/passwd".to_vec());
    });
    all_refuse(link.path(), "leaves the root");
}

#[test]
fn links_in_a_layout_are_not_followed() {
    let layout = Layout::of(&[Stored::gzip(archive(&[Made::new("a", 0o644, "")]), 6)]);
    let index = layout.path().join("index.json");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(&index, elsewhere.path().join("index.json")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("index.json"), &index).unwrap();
    let path = format!("oci:{}", layout.path().display());
    let said = refused(&["oci", "platforms", &path]);
    assert!(said.contains("symbolic link: not followed"), "{said}");
}

#[test]
fn layers_that_leave_the_root_are_refused() {
    let mut made = Made::new("evil", 0o644, "x");
    made.member.path = b"../../evil".as_slice().into();
    let layout = Layout::of(&[Stored::gzip(archive(&[made]), 6)]);
    readers_refuse(layout.path(), "leaves the root");
}

/// A chain of indexes, each in a blob of its own; the innermost lists nothing.
fn chain(depth: usize) -> Layout {
    let layout = Layout::empty();
    let mut inner = json!({"schemaVersion": 2, "manifests": []});
    for _ in 0..depth {
        let entry = layout.blob(inner.to_string().as_bytes(), INDEX);
        inner = json!({"schemaVersion": 2, "manifests": [entry]});
    }
    let entries: Vec<Value> = inner["manifests"].as_array().unwrap().clone();
    layout.index(&entries, json!({}));
    layout
}

#[test]
fn deep_and_cyclic_indexes_are_refused() {
    all_refuse(chain(10_000).path(), "nested more than 8 deep");
    // No digest is its own content's: a cycle needs a blob that is corrupt as well.
    let layout = Layout::empty();
    let digest = Digest::of(b"cycle");
    let entry = json!({"mediaType": INDEX, "digest": digest, "size": 1});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    layout.blob(b"", INDEX);
    let blob = layout.path().join("blobs/sha256").join(digest.hex());
    fs::write(blob, index.to_string()).unwrap();
    layout.index(&[entry], json!({}));
    all_refuse(layout.path(), "contains itself");
}

#[test]
fn huge_documents_are_refused_unread() {
    let layout = Layout::empty();
    let digest = Digest::of(b"huge");
    layout.blob(b"", INDEX);
    let blob = fs::File::create(layout.path().join("blobs/sha256").join(digest.hex())).unwrap();
    blob.set_len(4 << 30).unwrap();
    for size in [4_u64 << 30, 100] {
        let entry = json!({"mediaType": INDEX, "digest": digest, "size": size});
        layout.index(&[entry], json!({}));
        all_refuse(layout.path(), "are refused");
    }
    let entry = json!({"mediaType": INDEX, "digest": digest, "size": i64::MAX});
    layout.index(&[entry], json!({}));
    all_refuse(layout.path(), "are refused");
    let index = fs::OpenOptions::new().write(true).open(layout.path().join("index.json")).unwrap();
    index.set_len(4 << 30).unwrap();
    all_refuse(layout.path(), "are refused");
    let manifest = layout.blob(b"{}", INDEX);
    layout.index(&vec![manifest; 10_001], json!({}));
    all_refuse(layout.path(), "more than 10000 manifests");
    fs::write(layout.path().join("index.json"), "[".repeat(100_000)).unwrap();
    all_refuse(layout.path(), "parsing index.json");
}

/// A layer whose blob is `bytes`, claimed to unpack to whatever it may.
fn layer(bytes: Vec<u8>, media_type: &str) -> Layout {
    let media_type = media_type.to_owned();
    Layout::of(&[Stored { plain: b"unknown".to_vec(), bytes, media_type }])
}

/// 16 GiB of one file, as it stands in an archive, compressed to 16 MiB and less.
#[test]
fn decompression_bombs_are_refused() {
    let mut made = Made::new("zeros", 0o644, "");
    made.member.size = 16 << 30;
    let head = header(&made.member).unwrap();
    let zeros = vec![0; 1 << 20];
    let gzip = |bytes: &[u8]| Stored::gzip(bytes.to_vec(), 9).bytes;
    let bomb = [gzip(&head), gzip(&zeros).repeat(16 << 10)].concat();
    let gzip = layer(bomb, "application/vnd.oci.image.layer.v1.tar+gzip");
    readers_refuse(gzip.path(), "decompression bomb");
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 19).unwrap();
    let bomb = [zstd(&head), zstd(&zeros).repeat(16 << 10)].concat();
    let zstd = layer(bomb, "application/vnd.oci.image.layer.v1.tar+zstd");
    readers_refuse(zstd.path(), "decompression bomb");
}

#[test]
fn headers_that_claim_much_cost_little() {
    let mut pax = header(&Made::new("a", 0o644, "").record("comment", "x").member).unwrap();
    // The size of the extension header: 4 GiB, its checksum put right.
    pax[124..136].copy_from_slice(b"37777777777\0");
    pax[148..156].fill(b' ');
    let sum: u32 = pax[..512].iter().map(|&b| u32::from(b)).sum();
    pax[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let layout = Layout::of(&[Stored::gzip(pax, 6)]);
    let path = layout.path().to_str().unwrap().to_owned();
    for command in ["lint", "normalize"] {
        let more: &[&str] =
            if command == "lint" { &[] } else { &["-o", "out", "--source-date-epoch", "0"] };
        let said = refused(&[&["oci", command, &path], more].concat());
        assert!(said.contains("tar extension header of"), "{said}");
    }
    // More members than fit into memory.
    let many: Vec<u8> = (0..400_000)
        .flat_map(|i| header(&Made::new(&format!("{i}"), 0o644, "").member).unwrap())
        .collect();
    let layout = Layout::of(&[Stored::gzip(many, 1)]);
    let path = layout.path().to_str().unwrap().to_owned();
    let said = refused(&["oci", "lint", &path]);
    assert!(said.contains("take more than"), "{said}");
}

/// What is cut off anywhere is an error or a fault, never a panic.
#[test]
fn truncated_archives_never_panic() {
    let whole = fs::read(crate::oci::fixture("single-rebuild-a.ociarchive")).unwrap();
    for end in (0..whole.len()).step_by(97) {
        let cut = file(&whole[..end]);
        let path = PathBuf::from(cut.path());
        let Ok(subject) = reprofix::source::oci::Images::open(path.to_str().unwrap(), None) else {
            continue;
        };
        let _ = reprofix::image::verify::verify(&subject);
        let _ = reprofix::image::lint::lint(&subject);
    }
}
