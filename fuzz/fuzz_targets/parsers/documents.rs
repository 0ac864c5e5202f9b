//! Parsers that are given a path: what they are to read is written there first.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use reprofix::check::expect::Expectations;
use reprofix::config::{self, Flags};
use reprofix::env::SourceDateEpoch;
use reprofix::disk::{self, Root};
use reprofix::format::time::Date;
use reprofix::image::opm::access::User;
use reprofix::image::{lint, normalize, platforms, times, verify};
use reprofix::nightly::config::Config;
use reprofix::nightly::{feed, manifest};
use reprofix::record::sidecar::FixReports;
use reprofix::source::ostree::objects::Objects;
use reprofix::source::oci::{Compression, Digest, Platform, Images};
use reprofix::source::ostree::Repository;
use reprofix::source::{self, Spec, cosa};
use reprofix::tree::{Memory, NOTHING, TREEFILE};
use sha2::{Digest as _, Sha256};

use crate::{Row, other};

/// As the table of parsers, of those that read files.
pub(crate) const DOCUMENTS: &[Row] = &[
    ("config", config),
    ("config-treefile", |bytes| {
        let flags = Flags { epoch: Some("1".to_owned()), ..Flags::default() };
        let _ = config::in_force(&flags, None, &Memory::of_file(TREEFILE, bytes));
    }),
    ("cosa-builds", cosa_builds),
    ("cosa-meta", |bytes| drop(cosa::Recorded::read(&at("meta.json", bytes)))),
    ("expectations", |bytes| {
        text(bytes, |text| drop(Expectations::parse(text, Date::of_second(1_767_225_600))));
    }),
    ("fix-report", |bytes| drop(FixReports::read(&[at("fix.json", bytes)]))),
    ("fix-times", fix_times),
    ("image-words", |bytes| {
        text(bytes, |text| {
            drop((times::clamp(text, 1), Digest::parse(text), Platform::parse(text)));
            drop((Spec::parse(OsStr::new(text)), User::parse(text)));
        });
    }),
    ("nightly-config", |bytes| {
        text(bytes, |text| drop(Config::parse(text, PathBuf::from("/nowhere"))));
    }),
    ("nightly-manifest", |bytes| {
        text(bytes, |a| text(&other(bytes), |b| drop(manifest::diff(a, b))));
    }),
    ("nightly-recipe", |bytes| drop(feed::Recipe::read(&at("a.rebuild.json", bytes)))),
    ("oci-archive", |bytes| images(&at("archive.tar", bytes))),
    ("oci-config", |bytes| blob(2, bytes)),
    ("oci-docker", |bytes| images(&at("docker.tar", bytes))),
    ("oci-index", |bytes| blob(0, bytes)),
    ("oci-manifest", |bytes| blob(1, bytes)),
    ("oci-storage", storage),
    ("ostree-archive", |bytes| commit(&at("commit.tar", bytes))),
    ("ostree-config", |bytes| drop(repository(bytes, b"", b""))),
    ("ostree-filez", |bytes| {
        let repository = repository(b"[core]\nrepo_version=1\nmode=archive-z2\n", b"", bytes);
        let _ = repository.expect("is one").content(&ZERO.parse().expect("a checksum"));
    }),
    ("ostree-ref", |bytes| {
        let repository = repository(b"[core]\nrepo_version=1\n", bytes, b"").expect("is one");
        let _ = repository.refs();
        let _ = repository.resolve(None);
    }),
];

const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A directory of this process; `fuzz/all` removes what it lies in.
static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("reprofix-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a temporary directory");
    dir
});

/// A file of this name with this content.
fn at(name: &str, bytes: &[u8]) -> PathBuf {
    let path = DIR.join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("is made");
    fs::write(&path, bytes).expect("is written");
    path
}

fn text(bytes: &[u8], parse: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        parse(text);
    }
}

fn config(bytes: &[u8]) {
    let path = at("reprofix.toml", bytes);
    let epoch = Some("1".to_owned());
    let flags = Flags { config: Some(path), epoch, ..Flags::default() };
    if let Ok(found) = config::in_force(&flags, None, &NOTHING) {
        drop((found.text(), found.context(), found.chain()));
    }
}

/// What a recipe of rebuilderd is made of: the list of builds, and the latest one's description.
fn cosa_builds(bytes: &[u8]) {
    at("cosa/builds/1/x86_64/meta.json", b"{}");
    at("cosa/builds/builds.json", bytes);
    let _ = cosa::Build::find(&DIR.join("cosa"), None, None);
    let job = feed::Job {
        workdirs: vec![DIR.join("cosa")],
        url: "https://example.invalid".to_owned(),
        out: DIR.join("feed"),
        distribution: "a".to_owned(),
        stream: None,
        architecture: None,
    };
    let _ = feed::publish(&job);
}

/// A record of times, under the name that makes it one.
fn fix_times(bytes: &[u8]) {
    let digest = Sha256::digest(bytes);
    let tag: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let name = format!(".reprofix-times-{tag}");
    at(&format!("times/{name}"), bytes);
    let root = Root::open(&DIR.join("times")).expect("opens");
    let _ = disk::put_times_back(&root, Path::new(&name));
}

/// What every question about an image reads of it.
fn images(path: &Path) {
    asked(path.to_str().expect("UTF-8"));
    commit(path);
}

fn asked(name: &str) {
    let Ok(subject) = Images::open(name, None) else { return };
    drop(platforms::platforms(&subject, None));
    let _ = lint::lint(&subject);
    let _ = verify::verify(&subject);
    let options = normalize::Options {
        epoch: SourceDateEpoch::new(1_600_000_000),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    let out = DIR.join("normal");
    if normalize::normalize(&subject, out.to_str().expect("UTF-8"), options).is_ok() {
        fs::remove_dir_all(out).expect("was written");
    }
}

/// The commit or the files of an image, as `check` reads them.
fn commit(path: &Path) {
    let spec = Spec::Oci(format!("oci-archive:{}", path.display()));
    let _ = source::Subject::open(&spec, &|| ());
}

/// The lists of container storage, a link of a registry's, and the manifest of a folder of skopeo.
fn storage(bytes: &[u8]) {
    at("storage/vfs-layers/layers.json", b"[]");
    at("storage/vfs-images/images.json", bytes);
    asked(&format!("containers-storage:{}", DIR.join("storage").display()));
    at("storage/vfs-images/images.json", br#"[{"id":"a"}]"#);
    at("storage/vfs-images/a/manifest", b"{}");
    at("storage/vfs-layers/layers.json", bytes);
    asked(&format!("containers-storage:{}", DIR.join("storage").display()));
    at("registry/repositories/a/_manifests/tags/b/current/link", bytes);
    at("registry/blobs/sha256/00/data", b"");
    asked(&format!("registry:{}", DIR.join("registry").display()));
    at("folder/version", b"Directory Transport Version: 1.1\n");
    at("folder/manifest.json", bytes);
    asked(&format!("dir:{}", DIR.join("folder").display()));
}

/// The documents of an image, from the index down; one of them replaced.
fn blob(which: usize, bytes: &[u8]) {
    static LAYOUT: LazyLock<[PathBuf; 3]> = LazyLock::new(|| {
        let digest = |bytes: &[u8]| -> String {
            Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
        };
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["sha256:{ZERO}"]}}}}"#
        );
        let of = |kind: &str, bytes: &str| {
            let (digest, size) = (digest(bytes.as_bytes()), bytes.len());
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.{kind}+json","digest":"sha256:{digest}","size":{size}}}"#
            )
        };
        let layer = format!(
            r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{ZERO}","size":1}}"#
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{layer}]}}"#,
            of("config.v1", &config)
        );
        let index =
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, of("manifest.v1", &manifest));
        at("layout/oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let place = |text: &str| format!("layout/blobs/sha256/{}", digest(text.as_bytes()));
        [
            at("layout/index.json", index.as_bytes()),
            at(&place(&manifest), manifest.as_bytes()),
            at(&place(&config), config.as_bytes()),
        ]
    });
    fs::write(&LAYOUT[which], bytes).expect("is written");
    asked(&format!("oci:{}", DIR.join("layout").display()));
}

/// A repository with this configuration, one ref and one packed file.
fn repository(config: &[u8], reference: &[u8], object: &[u8]) -> Option<Repository> {
    at("repo/config", config);
    at("repo/refs/heads/main", reference);
    at(&format!("repo/objects/00/{}.filez", &ZERO[2..]), object);
    Repository::open(&DIR.join("repo")).ok()
}
