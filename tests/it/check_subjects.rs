//! Where `reprofix check` takes commits from: repositories of every mode, images, archives, builds
//! of coreos-assembler; and what it says of damaged ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::check::{Pair, copy};
use crate::repo::{commit, commit_with, init, reprofix, run, shown_checksum};

const CONTENT_SUM: &str = "23b7d9f387efc3f9f4f0963b6286ff1ca1edf3bf4af1ba505cb8b6f7e59f5e68";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oci").join(name)
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn check(a: &str, b: &str) -> (i32, Value, String) {
    let (code, out, err) = reprofix(&["check", a, b, "--json=-"]);
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

fn paths(report: &Value) -> Vec<String> {
    let rows = report["differences"].as_array().unwrap();
    rows.iter().map(|r| r["path"].as_str().unwrap().to_owned()).collect()
}

/// A repository's objects in the way that ostree-rs-ext puts them into layers, from the repository
/// itself: what `ostree container encapsulate` writes, as far as a reader of objects sees it.
pub(crate) struct Encapsulated {
    commit: String,
    layers: Vec<Vec<u8>>,
}

impl Encapsulated {
    /// The commit `rev` of the `bare` repository `repo`; its file objects in `parts` layers.
    pub(crate) fn new(repo: &Path, rev: &str, parts: usize) -> Self {
        let arg = format!("--repo={}", repo.display());
        let commit = run("ostree", &["rev-parse", &arg, rev]).trim().to_owned();
        let mut first = tar::Builder::new();
        first.file(
            &format!("{OBJECTS}/{}/{}.commit", &commit[..2], &commit[2..]),
            0o644,
            (0, 0),
            &fs::read(object(repo, &commit, "commit")).unwrap(),
        );
        let mut files = Vec::new();
        let list = run("ostree", &["ls", &arg, "-R", "-C", rev]);
        for line in list.lines() {
            for sum in line.split(' ').filter(|w| w.len() == 64) {
                for kind in ["dirtree", "dirmeta"] {
                    let path = object(repo, sum, kind);
                    if path.exists() {
                        let name = format!("{OBJECTS}/{}/{}.{kind}", &sum[..2], &sum[2..]);
                        first.file(&name, 0o644, (0, 0), &fs::read(path).unwrap());
                    }
                }
                if object(repo, sum, "file").symlink_metadata().is_ok() {
                    files.push(sum.to_owned());
                }
            }
        }
        files.sort();
        files.dedup();
        let mut layers = vec![first];
        layers.extend((1..parts).map(|_| tar::Builder::new()));
        for (i, sum) in files.iter().enumerate() {
            add_file(&mut layers[i % parts], repo, sum);
        }
        Encapsulated { commit, layers: layers.into_iter().map(tar::Builder::finish).collect() }
    }

    /// Writes the layout; `change` may change the configuration before it is written.
    pub(crate) fn write(&self, to: &Path, change: impl Fn(&mut Value)) {
        let blobs = to.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |bytes: &[u8]| {
            fs::write(blobs.join(sha(bytes)), bytes).unwrap();
            json!({"digest": format!("sha256:{}", sha(bytes)), "size": bytes.len()})
        };
        let diff_ids: Vec<_> = self.layers.iter().map(|l| format!("sha256:{}", sha(l))).collect();
        let layers: Vec<_> = self.layers.iter().map(|l| blob(&gzip(l))).collect();
        let mut config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Labels": {
                "ostree.commit": self.commit, "ostree.final-diffid": diff_ids.last().unwrap(),
            }},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        change(&mut config);
        let config = blob(&serde_json::to_vec(&config).unwrap());
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let manifest = blob(&serde_json::to_vec(&manifest).unwrap());
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(to.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
        fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

const OBJECTS: &str = "sysroot/ostree/repo/objects";

fn object(repo: &Path, sum: &str, kind: &str) -> PathBuf {
    repo.join(format!("objects/{}/{}.{kind}", &sum[..2], &sum[2..]))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A file object of a `bare` repository as member, its xattrs as members of their own.
fn add_file(layer: &mut tar::Builder, repo: &Path, sum: &str) {
    let path = object(repo, sum, "file");
    let xattrs = gvariant(&xattrs(&path));
    let of = sha(&xattrs);
    let shared = format!("{OBJECTS}/{}/{}.file-xattrs", &of[..2], &of[2..]);
    layer.file(&shared, 0o644, (0, 0), &xattrs);
    let name = format!("{OBJECTS}/{}/{}.file", &sum[..2], &sum[2..]);
    layer.link(&format!("{name}-xattrs-link"), &shared, b'1', (0, 0), 0o644);
    let meta = path.symlink_metadata().unwrap();
    let owner = (meta.uid(), meta.gid());
    if meta.is_symlink() {
        let target = path.read_link().unwrap();
        layer.link(&name, target.to_str().unwrap(), b'2', owner, 0o777);
    } else {
        layer.file(&name, meta.mode() & 0o7777, owner, &fs::read(&path).unwrap());
    }
}

fn xattrs(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let n = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let mut all: Vec<_> = names[..n]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let n = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            value.truncate(n);
            (name.to_vec(), value)
        })
        .collect();
    all.sort();
    all
}

/// `a(ayay)`: what libostree stores in a `.file-xattrs` object.
fn gvariant(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let attrs =
        reprofix::format::ostree::Attrs { uid: 0, gid: 0, mode: 0, xattrs: xattrs.to_vec() };
    attrs.encode_dirmeta()[12..].to_vec()
}

/// A writer of ustar archives, with nothing in them but what it is told.
mod tar {
    #[derive(Default)]
    pub(super) struct Builder(Vec<u8>);

    impl Builder {
        pub(super) fn new() -> Self {
            Self::default()
        }

        pub(super) fn file(&mut self, name: &str, mode: u32, owner: (u32, u32), content: &[u8]) {
            self.header(name, "", b'0', mode, owner, content.len());
            self.0.extend(content);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
        }

        pub(super) fn link(
            &mut self,
            name: &str,
            to: &str,
            kind: u8,
            owner: (u32, u32),
            mode: u32,
        ) {
            self.header(name, to, kind, mode, owner, 0);
        }

        fn header(
            &mut self,
            name: &str,
            link: &str,
            kind: u8,
            mode: u32,
            owner: (u32, u32),
            size: usize,
        ) {
            if link.len() > 100 {
                let long = format!("{link}\0");
                self.header("././@LongLink", "", b'K', 0, (0, 0), long.len());
                self.0.extend(long.as_bytes());
                self.0.resize(self.0.len().next_multiple_of(512), 0);
            }
            let mut block = [0; 512];
            // Names of objects are longer than a hundred bytes: the rest goes to the prefix.
            let (prefix, name) = match name.len() > 100 {
                true => name.split_at(name[..name.len() - 60].rfind('/').unwrap()),
                false => ("", name),
            };
            let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
            put(0, name.trim_start_matches('/').as_bytes());
            put(100, format!("{mode:07o}").as_bytes());
            put(108, format!("{:07o}", owner.0).as_bytes());
            put(116, format!("{:07o}", owner.1).as_bytes());
            put(124, format!("{size:011o}").as_bytes());
            put(136, b"00000000000");
            put(156, &[kind]);
            put(157, &link.as_bytes()[..link.len().min(100)]);
            put(257, b"ustar\x0000");
            put(345, prefix.as_bytes());
            put(148, b"        ");
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            self.0.extend(block);
        }

        pub(super) fn finish(mut self) -> Vec<u8> {
            self.0.resize(self.0.len() + 1024, 0);
            self.0
        }
    }
}

/// What ostree-rs-ext itself wrote: two images of one commit, whose configurations differ.
#[test]
fn encapsulated_commits_compare_by_content() {
    let [a, b] = ["1", "2"].map(|n| fixture(&format!("ostree-encap-{n}")));
    let (code, report, err) = check(&format!("oci:{}", a.display()), b.to_str().unwrap());
    assert_eq!(code, 0, "{err}");
    assert_eq!(report["a"]["content_checksum"], CONTENT_SUM);
    assert_eq!(report["same"], true);
    let (code, out, err) = reprofix(&["check", a.to_str().unwrap(), "--source-date-epoch=1"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("in normal form\n"), "{out}");
}

/// An image says of every path what the repository says that it was made from.
#[test]
fn an_image_is_as_its_repository() {
    let pair = Pair::new();
    fs::write(pair.b.join("usr/lib/lib01.so"), "changed").unwrap();
    fs::write(pair.b.join("usr/lib/new"), "new").unwrap();
    let bare = pair.path().join("bare");
    init(&bare, "bare");
    commit(&bare, "left", &pair.a);
    commit_with(&bare, "right", &pair.b, &["--add-metadata-string=version=2"]);
    let image = |rev: &str, parts| {
        let path = pair.path().join(format!("{rev}-{parts}"));
        Encapsulated::new(&bare, rev, parts).write(&path, |_| ());
        path.display().to_string()
    };
    let (left, one, many) = (image("left", 3), image("right", 1), image("right", 4));
    assert_eq!(check(&one, &many).0, 0);
    // Whole, path by path: the directory that was committed, and the image, are the same…
    let (code, out, err) = reprofix(&["check", &left, &format!("dir:{}", pair.a.display())]);
    assert_eq!((code, out.lines().last()), (0, Some("same")), "{err}");
    // … and what differs is told alike, metadata included.
    let (code, of_images, err) = check(&left, &many);
    assert_eq!(code, 1, "{err}");
    let repo = |rev: &str| format!("ostree:{}:{rev}", bare.display());
    let (_, of_commits, _) = check(&repo("left"), &repo("right"));
    assert_eq!(of_images["differences"], of_commits["differences"]);
    assert_eq!(of_images["metadata"], of_commits["metadata"]);
    assert_eq!(paths(&of_images), ["usr/lib/lib01.so", "usr/lib/new"]);
    // An audit reads every object of the image.
    let (code, _, err) = reprofix(&["check", &left, "--source-date-epoch=1"]);
    assert_eq!(code, 0, "{err}");
}

/// A layer's repository unpacked is one of mode `bare-split-xattrs`.
#[test]
fn a_bare_split_xattrs_repository_is_read() {
    let pair = Pair::new();
    let bare = pair.path().join("bare");
    init(&bare, "bare");
    commit(&bare, "left", &pair.a);
    let image = Encapsulated::new(&bare, "left", 1);
    let layer = pair.path().join("layer.tar");
    fs::write(&layer, &image.layers[0]).unwrap();
    run("tar", &["-C", pair.path().to_str().unwrap(), "-xpf", layer.to_str().unwrap()]);
    let repo = pair.path().join("sysroot/ostree/repo");
    fs::create_dir_all(repo.join("refs/heads")).unwrap();
    for dir in ["refs/remotes", "refs/mirrors", "state", "tmp/cache", "extensions"] {
        fs::create_dir_all(repo.join(dir)).unwrap();
    }
    fs::write(repo.join("config"), "[core]\nrepo_version=1\nmode=bare-split-xattrs\n").unwrap();
    let subject = format!("ostree:{}:{}", repo.display(), image.commit);
    let (code, report, err) = check(&subject, &format!("dir:{}", pair.a.display()));
    assert_eq!(code, 0, "{err}");
    assert_eq!(report["a"]["content_checksum"], shown_checksum(&bare, "left").as_str());
    fs::write(pair.b.join("usr/lib/lib07.so"), "changed").unwrap();
    commit(&bare, "right", &pair.b);
    let (code, report, err) = check(&subject, &format!("ostree:{}:right", bare.display()));
    assert_eq!((code, paths(&report)), (1, vec!["usr/lib/lib07.so".to_owned()]), "{err}");
    let (code, _, err) = reprofix(&["check", &subject, "--source-date-epoch=1"]);
    assert_eq!(code, 0, "{err}");
}

/// A build in a work directory, with a meta.json as coreos-assembler writes it.
fn build(workdir: &Path, id: &str, commit: &str, archive: &str, more: Value) -> PathBuf {
    let dir = workdir.join("builds").join(id).join("x86_64");
    fs::create_dir_all(&dir).unwrap();
    let mut meta = json!({
        "buildid": id, "name": "test", "ostree-commit": commit, "ostree-version": id,
        "ostree-timestamp": "2024-01-01T00:00:00Z", "images": {"ostree": {"path": archive}},
    });
    meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fs::write(dir.join("meta.json"), serde_json::to_vec(&meta).unwrap()).unwrap();
    dir
}

fn tar_of(dir: &Path, archive: &Path) {
    run("tar", &["-C", dir.to_str().unwrap(), "-cf", archive.to_str().unwrap(), "."]);
}

/// Builds compare from the cache, an image's archive, or a repository's, within one work directory
/// and between two.
#[test]
fn builds_are_taken_from_wherever_they_are() {
    let pair = Pair::new();
    fs::write(pair.b.join("usr/lib/lib01.so"), "changed").unwrap();
    let (one, two) = (pair.path().join("one"), pair.path().join("two"));
    for workdir in [&one, &two] {
        fs::create_dir_all(workdir.join("tmp")).unwrap();
    }
    let cache = one.join("tmp/repo");
    init(&cache, "archive");
    let left = commit(&cache, "left", &pair.a);
    build(&one, "39.1", &left, "gone.ociarchive", json!({}));
    // In the image only.
    let bare = pair.path().join("bare");
    init(&bare, "bare");
    let right = commit(&bare, "right", &pair.b);
    let layout = pair.path().join("layout");
    Encapsulated::new(&bare, "right", 2).write(&layout, |_| ());
    let dir = build(&one, "39.2", &right, "test-39.2-ostree.x86_64.ociarchive", json!({}));
    tar_of(&layout, &dir.join("test-39.2-ostree.x86_64.ociarchive"));
    // In an older build's archive of a repository.
    let old = pair.path().join("old");
    init(&old, "archive");
    assert_eq!(commit(&old, "left", &pair.a), left);
    let sum = shown_checksum(&old, "left");
    let recorded = json!({"ostree-content-checksum": sum});
    let dir = build(&two, "31.1", &left, "test-31.1-ostree.x86_64.tar", recorded);
    tar_of(&old, &dir.join("test-31.1-ostree.x86_64.tar"));

    let at = |workdir: &Path, id: &str| format!("cosa:{}:{id}", workdir.display());
    let (code, report, err) = check(&at(&one, "39.1"), &at(&one, "39.2/x86_64"));
    assert_eq!((code, paths(&report)), (1, vec!["usr/lib/lib01.so".to_owned()]), "{err}");
    let (code, _, err) = check(&at(&one, "39.1"), &at(&two, "31.1"));
    assert_eq!(code, 0, "{err}");
    let (code, report, err) = check(&at(&two, "31.1"), &at(&one, "39.2"));
    assert_eq!((code, paths(&report)), (1, vec!["usr/lib/lib01.so".to_owned()]), "{err}");
    // A work directory alone is its latest build; an audit reads the archive whole.
    let (code, out, err) = reprofix(&["check", two.to_str().unwrap()]);
    assert_eq!(code, 2, "no builds/latest, no builds.json: {out}");
    assert!(err.contains("name the build"), "{err}");
    std::os::unix::fs::symlink("31.1", two.join("builds/latest")).unwrap();
    let (code, out, err) = reprofix(&["check", two.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("as recorded in"), "{out}");
    // An image that is not the build's is refused, unless an import made the build's commit.
    let dir = build(&one, "39.3", &"0".repeat(64), "x.ociarchive", json!({}));
    tar_of(&layout, &dir.join("x.ociarchive"));
    let (code, _, err) = check(&at(&one, "39.3"), &at(&one, "39.2"));
    assert_eq!(code, 2);
    assert!(err.contains("but meta.json names 0000"), "{err}");
    let imported = json!({"coreos-assembler.oci-imported": true});
    build(&one, "39.3", &"0".repeat(64), "x.ociarchive", imported);
    let (code, _, err) = check(&at(&one, "39.3"), &at(&one, "39.2"));
    assert_eq!(code, 0, "{err}");
}

/// A copy of something that is sound, and how it is damaged.
struct Damage<'d> {
    what: &'d str,
    subject: String,
    /// What the message must hold: the object, the remedy.
    says: &'d [&'d str],
}

/// Changes one byte of a file.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path, to: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(to).unwrap();
}

/// Twenty-odd damaged inputs: each ends in exit code 2, with the object and the remedy.
#[test]
fn damage_is_told_with_object_and_remedy() {
    let pair = Pair::new();
    // Nothing of A is in B, so that a comparison must open everything of both.
    for entry in walkdir::WalkDir::new(&pair.b) {
        let entry = entry.unwrap();
        std::os::unix::fs::lchown(entry.path(), Some(7), Some(7)).unwrap();
    }
    let bare = pair.path().join("bare");
    init(&bare, "bare");
    let id = commit(&bare, "left", &pair.a);
    commit(&pair.repo, "right", &pair.b);
    assert_eq!(commit(&pair.repo, "left", &pair.a), id);
    let other = pair.subject("right");
    let layout = pair.path().join("layout");
    let image = Encapsulated::new(&bare, "left", 2);
    image.write(&layout, |_| ());
    let archive = pair.path().join("image.ociarchive");
    tar_of(&layout, &archive);
    assert_eq!(check(layout.to_str().unwrap(), &other).0, 1, "sound before it is damaged");

    let mut count = 0;
    let mut fresh = |from: &Path| {
        count += 1;
        let to = pair.path().join(format!("damaged{count}"));
        copy(from, &to);
        to
    };
    let names = |ext: &str| -> Vec<PathBuf> {
        let all = walkdir::WalkDir::new(pair.repo.join("objects")).sort_by_file_name();
        let all = all.into_iter().map(|e| e.unwrap().into_path());
        let of_left =
            run("ostree", &["ls", &format!("--repo={}", pair.repo.display()), "-R", "-C", "left"]);
        all.filter(|p| p.extension().is_some_and(|e| e == ext))
            .filter(|p| {
                let (dir, name) =
                    (p.parent().unwrap().file_name().unwrap(), p.file_stem().unwrap());
                let sum = format!("{}{}", dir.to_str().unwrap(), name.to_str().unwrap());
                of_left.contains(&sum) || sum == id
            })
            .map(|p| p.strip_prefix(&pair.repo).unwrap().to_owned())
            .collect()
    };
    let mut all: Vec<Damage<'_>> = Vec::new();
    let ostree = |path: &Path| format!("ostree:{}:left", path.display());
    for (ext, missing, corrupt) in [
        ("commit", [".commit", "pull it again"], [".commit", "corrupt"]),
        ("dirtree", [".dirtree", "pull it again"], [".dirtree", "corrupt"]),
        ("dirmeta", [".dirmeta", "pull it again"], [".dirmeta", "corrupt"]),
        ("filez", [".file", "pull it again"], [".file", "corrupt"]),
    ] {
        let name = &names(ext)[0];
        let repo = fresh(&pair.repo);
        fs::remove_file(repo.join(name)).unwrap();
        let says = Box::leak(Box::new(missing));
        all.push(Damage { what: "a missing object", subject: ostree(&repo), says });
        let repo = fresh(&pair.repo);
        flip(&repo.join(name), 40);
        let says = Box::leak(Box::new(corrupt));
        all.push(Damage { what: "another byte in an object", subject: ostree(&repo), says });
        let repo = fresh(&pair.repo);
        truncate(&repo.join(name), 9);
        all.push(Damage {
            what: "a truncated object",
            subject: ostree(&repo),
            says: &["ostree fsck"],
        });
    }
    let repo = fresh(&pair.repo);
    fs::write(repo.join("config"), "[core]\nrepo_version=1\nmode=strange\n").unwrap();
    all.push(Damage { what: "an unknown mode", subject: ostree(&repo), says: &["strange"] });
    let repo = fresh(&pair.repo);
    fs::write(repo.join("config"), "[core]\nrepo_version=9\nmode=archive\n").unwrap();
    all.push(Damage { what: "an unknown version", subject: ostree(&repo), says: &["version"] });

    let blob =
        |layout: &Path, n: usize| layout.join("blobs/sha256").join(sha(&gzip(&image.layers[n])));
    let damaged = fresh(&layout);
    fs::remove_file(blob(&damaged, 1)).unwrap();
    let says = &["layer sha256:", "is missing", "copy it again"];
    all.push(Damage { what: "a missing layer", subject: damaged.display().to_string(), says });
    let damaged = fresh(&layout);
    truncate(&blob(&damaged, 1), 100);
    let says = &["has 100 bytes", "copy it again"];
    all.push(Damage { what: "a short layer", subject: damaged.display().to_string(), says });
    for (n, at) in [(0, 5000), (1, 3000)] {
        let damaged = fresh(&layout);
        flip(&blob(&damaged, n), at);
        let says = &["copy it again"];
        all.push(Damage {
            what: "another byte in a layer",
            subject: damaged.display().to_string(),
            says,
        });
    }
    let damaged = fresh(&layout);
    fs::write(damaged.join("index.json"), "{").unwrap();
    all.push(Damage {
        what: "an index that is no JSON",
        subject: damaged.display().to_string(),
        says: &["index.json"],
    });
    let size = archive.metadata().unwrap().len();
    for part in [size / 2, size - 20_000] {
        let damaged = fresh(&archive);
        truncate(&damaged, part);
        let says: &[&str] = &["damaged", "archive"];
        all.push(Damage {
            what: "a truncated archive",
            subject: format!("oci-archive:{}", damaged.display()),
            says,
        });
    }
    let changed = |change: &dyn Fn(&mut Value)| {
        let to = tempfile::tempdir_in(pair.path()).unwrap().keep();
        image.write(&to, change);
        to.display().to_string()
    };
    let subject = changed(&|c| c["config"]["Labels"]["ostree.commit"] = json!("1".repeat(64)));
    all.push(Damage {
        what: "another commit's label",
        subject,
        says: &["label ostree.commit is 1111"],
    });
    let subject = changed(&|c| c["config"]["Labels"]["ostree.final-diffid"] = json!("sha256:x"));
    all.push(Damage { what: "a derived image", subject, says: &["layers after", "another image"] });
    let subject =
        changed(&|c| c["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "2".repeat(64))));
    all.push(Damage { what: "another diff_id", subject, says: &["copy it again"] });
    let plain = fixture("single-ts0-a").display().to_string();
    all.push(Damage {
        what: "an image of no commit",
        subject: plain,
        says: &["no ostree commit", "another image"],
    });

    // A directory tree that holds itself, and one deeper than any path.
    let repo = fresh(&pair.repo);
    let deep = deep_tree(&repo);
    all.push(Damage {
        what: "an endless tree",
        subject: format!("ostree:{}:{deep}", repo.display()),
        says: &["longer than 4096 bytes"],
    });

    assert!(all.len() >= 20, "{}", all.len());
    for damage in &all {
        let (code, _, err) = check(&damage.subject, &other);
        assert_eq!(code, 2, "{}: {err}", damage.what);
        for part in damage.says {
            assert!(err.contains(part), "{}: {part:?} in {err}", damage.what);
        }
        assert_eq!(err.lines().count(), 1, "{}: one line: {err}", damage.what);
    }
    println!("{} damaged inputs", all.len());
}

/// Trees that a few objects stand for: one deeper than any path, one of 2^40 names.
#[test]
fn trees_that_no_system_could_hold_are_refused() {
    let pair = Pair::new();
    let repo = &pair.repo;
    commit(repo, "left", &pair.a);
    for (names, says) in [(1, "longer than 4096 bytes"), (2, "after 512 MiB of others")] {
        let levels = if names == 1 { 100 } else { 40 };
        let subject = format!("ostree:{}:{}", repo.display(), nested(repo, levels, names));
        for command in [&["check"][..], &["nightly", "manifest"]] {
            let (code, _, err) = reprofix(&[command, &[&subject]].concat());
            assert_eq!(code, 2, "{command:?}: {err}");
            assert!(err.contains(says) && err.lines().count() == 1, "{command:?}: {err}");
        }
    }
}

/// A commit whose directories go deeper than a path can be long, each a level of its own.
fn deep_tree(repo: &Path) -> String {
    nested(repo, 100, 1)
}

/// A commit of so many levels of directories, each so many times in the one above.
fn nested(repo: &Path, levels: usize, names: u8) -> String {
    use reprofix::format::ostree::{Checksum, Dirtree};
    let put = |bytes: &[u8], ext: &str| {
        let sum = Checksum::of(bytes);
        let path = object(repo, &sum.to_string(), ext);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        sum
    };
    let attrs =
        reprofix::format::ostree::Attrs { uid: 0, gid: 0, mode: 0o40755, xattrs: Vec::new() };
    let meta = put(&attrs.encode_dirmeta(), "dirmeta");
    let mut tree = put(Dirtree::default().bytes(), "dirtree");
    for _ in 0..levels {
        let dirs: Vec<_> = (0..names).map(|n| (vec![b'd' + n; 100], tree, meta)).collect();
        tree = put(Dirtree::new(&[], &dirs).bytes(), "dirtree");
    }
    // A real commit object with the roots exchanged: they are its last two members.
    let old = names_commit(repo);
    let mut bytes = fs::read(object(repo, &old, "commit")).unwrap();
    let root = reprofix::format::ostree::Root::parse_commit(&bytes).unwrap();
    for (from, to) in [(root.dirtree, tree), (root.dirmeta, meta)] {
        let at = bytes.windows(32).position(|w| w == from.0).unwrap();
        bytes[at..at + 32].copy_from_slice(&to.0);
    }
    put(&bytes, "commit").to_string()
}

fn names_commit(repo: &Path) -> String {
    run("ostree", &["rev-parse", &format!("--repo={}", repo.display()), "left"]).trim().to_owned()
}
