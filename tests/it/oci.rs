//! Images: the reader against skopeo, verification, and input that is not what it says.

use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::image::Findings;
use reprofix::image::platforms::platforms;
use reprofix::image::verify::verify;
use reprofix::source::oci::{Digest, Fault, Image, Images};

/// A layout or archive of `tests/fixtures/oci`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oci").join(name)
}

pub(crate) fn open(name: &str) -> Images {
    subject(&fixture(name))
}

pub(crate) fn subject(path: &Path) -> Images {
    Images::open(path.to_str().unwrap(), None).unwrap()
}

/// Whether a real tool is here; says so if a test has to go without, and fails where
/// REPROFIX_REQUIRE_TOOLS is set, as `.ci/run` does.
pub(crate) fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
        assert!(!required, "{tool} is not installed");
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

/// Whether a daemon is here, which no list of packages asks for: its package starts a service on the
/// machine. The test says so if it has to go without.
pub(crate) fn have_daemon(daemon: &str) -> bool {
    let found = Command::new(daemon).arg("--version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {daemon} is not installed, and its package would start a service");
    }
    found
}

/// Runs a tool and gives its standard output; `Err` holds what it said.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Every fixture that holds an image, with the transport that reads it.
pub(crate) fn layouts() -> Vec<(String, String)> {
    let names = std::fs::read_dir(fixture("")).unwrap();
    let mut names: Vec<String> =
        names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 28, "fixtures are missing: {names:?}");
    names.retain(|n| n != "empty-index");
    let transport = |name: &String| match name.rsplit_once('.') {
        Some((_, "ociarchive")) => "oci-archive",
        Some((_, "tar")) => "docker-archive",
        _ => "oci",
    };
    names.into_iter().map(|n| (transport(&n).to_owned(), n)).collect()
}

/// What skopeo selects for one platform: the configuration's digest and the layers' digests.
fn skopeo(source: &str, image: &Image) -> Result<(Digest, Digest), String> {
    let platform = image.platform.as_ref().unwrap();
    let ask = |what: &[&str]| {
        let mut command = Command::new("skopeo");
        command.args(["--override-os", &platform.os, "--override-arch", &platform.architecture]);
        // An empty variant is "any" to skopeo, whose default is the machine's own.
        command.args(["--override-variant", &platform.variant]);
        run(command.arg("inspect").args(what).arg(source))
    };
    let config = ask(&["--config", "--raw"])?;
    Ok((Digest::of(&config), Digest::of(&ask(&["--raw"])?)))
}

#[test]
fn digests_equal_what_skopeo_says() {
    if !have("skopeo") {
        return;
    }
    let mut compared = 0;
    for (transport, name) in layouts() {
        let subject = open(&name);
        for image in subject.images.iter().filter(|i| i.is_image()) {
            let tag = image.names.first().filter(|_| transport == "oci");
            let tag = tag.map(|t| format!(":{t}")).unwrap_or_default();
            let source = format!("{transport}:{}{tag}", fixture(&name).display());
            // Where index.json lists several images without tags, skopeo refuses to choose.
            let Ok((config, top)) = skopeo(&source, image) else {
                assert!(subject.images.len() > 1, "skopeo cannot read {source}");
                eprintln!("{name}: skopeo cannot choose {}", image.platform_name());
                continue;
            };
            assert_eq!(image.config.as_ref().unwrap().digest, config, "{name}");
            if let Some(manifest) = &image.manifest {
                assert_eq!(image.path[0], top, "{name}");
                assert_eq!(image.list.is_none(), *manifest == top, "{name}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 30, "only {compared} images were compared with skopeo");
}

/// Copying one platform out of a list gives the manifest that we name for it.
#[test]
fn the_manifest_of_each_platform_is_the_one_skopeo_copies() {
    if !have("skopeo") {
        return;
    }
    for name in ["multi-indirect", "multi-nested2", "multi-attestation", "multi-one-arch"] {
        let source = format!("oci:{}:demo", fixture(name).display());
        for image in open(name).images.iter().filter(|i| i.is_image()) {
            let platform = image.platform.as_ref().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let mut command = Command::new("skopeo");
            command.args(["--override-arch", &platform.architecture]);
            command.args(["--override-variant", &platform.variant, "--override-os", "linux"]);
            let target = format!("dir:{}", dir.path().display());
            match run(command.args(["copy", "--quiet", &source, &target])) {
                Ok(_) => {
                    let manifest = std::fs::read(dir.path().join("manifest.json")).unwrap();
                    assert_eq!(image.manifest, Some(Digest::of(&manifest)), "{name}");
                }
                // skopeo 1.9 follows one level of indexes only.
                Err(error) => assert_eq!(name, "multi-nested2", "{error}"),
            }
        }
    }
}

#[test]
fn every_shape_of_one_list_shows_the_same_images() {
    let images = |name: &str| -> Vec<(String, Option<Digest>, Vec<Digest>)> {
        let images = open(name).images;
        images.iter().map(|i| (i.platform_name(), i.manifest.clone(), i.diff_ids.clone())).collect()
    };
    let direct = images("multi-direct");
    assert_eq!(direct.len(), 4);
    assert_eq!(direct[3].0, "linux/arm/v7");
    for same in ["multi-indirect", "multi-nested2", "multi-direct-nomediatype"] {
        assert_eq!(images(same), direct, "{same}");
    }
    let list = |name: &str| open(name).images[0].list.clone();
    assert_eq!(list("multi-indirect"), list("multi-direct"));
    // Docker's media types change manifests, not content.
    let (docker, oci) = (images("v2s2-direct"), direct);
    for (a, b) in docker.iter().zip(&oci) {
        assert_eq!((&a.0, &a.2), (&b.0, &b.2));
        assert_ne!(a.1, b.1);
    }
}

#[test]
fn attestations_are_listed_and_never_selected() {
    let subject = open("multi-attestation");
    assert_eq!(subject.images.len(), 4);
    assert_eq!(subject.images.iter().filter(|i| i.is_image()).count(), 2);
    let path = fixture("multi-attestation");
    let one = |platform: &str| Images::open(path.to_str().unwrap(), Some(platform));
    assert!(one("linux/amd64").unwrap().one().is_ok());
    let error = one("unknown/unknown").unwrap().one().unwrap_err().to_string();
    assert!(error.contains("no image for platform unknown/unknown"), "{error}");
    // No platform is fallen back to.
    let error = one("linux/riscv64").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no entry for platform linux/riscv64; it has"), "{error}");
    let error = subject.one().unwrap_err().to_string();
    assert!(error.contains("2 different images; choose one with --platform"), "{error}");
}

#[test]
fn two_names_are_one_image_and_two_images_for_one_platform_are_ambiguous() {
    let tags = open("one-image-two-tags");
    assert_eq!(tags.images.len(), 1);
    assert_eq!(tags.images[0].names.iter().collect::<Vec<_>>(), ["one", "two"]);
    assert!(tags.one().is_ok());
    let report = platforms(&open("multi-dup-platform"), None);
    assert!(!report.sound());
    assert!(report.images.iter().all(|i| i.image.notes[0].contains("ambiguous")));
    assert!(open("multi-dup-platform").one().is_err());
}

#[test]
fn each_bad_layout_has_its_own_message() {
    let faults = |name: &str| verify(&open(name)).unwrap().faults;
    let missing = faults("bad-missing-layer");
    assert!(matches!(missing.first(), Some(Fault::Missing { what: "layer", .. })), "{missing:?}");
    let corrupt = faults("bad-corrupt-layer");
    assert!(matches!(corrupt.first(), Some(Fault::Corrupt { what: "layer", .. })), "{corrupt:?}");
    let empty = Images::open(fixture("empty-index").to_str().unwrap(), None);
    let message = empty.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("lists no manifest"), "{message}");
}

#[test]
fn every_sound_fixture_verifies() {
    for (_, name) in layouts().iter().filter(|(_, n)| !n.starts_with("bad-")) {
        let report = verify(&open(name)).unwrap();
        assert!(report.faults.is_empty() && report.plain > 0, "{name}: {:?}", report.faults);
    }
}
