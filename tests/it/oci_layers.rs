//! Layers with every sort of header: normal forms read by GNU tar and by Python, and what is said of
//! global PAX headers.
//!
//! `REPROFIX_LAYERS=1000` tries that many layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::env::SourceDateEpoch;
use reprofix::image::Findings;
use reprofix::image::lint::{Rule, lint};
use reprofix::image::normalize::{Options, normalize};
use reprofix::image::unpack::Model;
use reprofix::source::oci::{Compression, Images};

use crate::layout::{Layout, Stored, files};
use crate::oci::{have, run, subject};
use crate::tar_made::{Dice, Header, any_archive, padded, pax};

const EPOCH: u32 = 1000;

struct Chance(u64);

impl Dice for Chance {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }
}

/// An image of one layer in normal form, and where it is.
fn normal(plain: &[u8]) -> Result<(Layout, PathBuf), String> {
    let layout = Layout::of(&[Stored::gzip(plain.to_vec(), 6)]);
    let out = layout.path().join("out");
    let options = Options {
        epoch: SourceDateEpoch::new(EPOCH),
        compression: Compression::Gzip,
        recompress: false,
        attestations: false,
    };
    let done = normalize(&layout.open(), &format!("oci:{}:demo", out.display()), options);
    done.map(|_| (layout, out)).map_err(|why| format!("{why:#}"))
}

/// The plain bytes of an image's only layer.
fn plain(image: &Images) -> Vec<u8> {
    let one = image.one().unwrap();
    let (layer, diff_id) = (&one.layers[0], &one.diff_ids[0]);
    let stream = image.store.plain(&layer.name, layer.digest.hasher(), diff_id.hasher());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream.unwrap().unwrap(), &mut bytes).unwrap();
    bytes
}

#[test]
fn normal_forms_unpack_as_before_with_gnu_tar_and_python() {
    if !have("tar") || !have("python3") || !crate::dnf_history::is_root() {
        return;
    }
    let rounds: usize = std::env::var("REPROFIX_LAYERS").map_or(120, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Chance(0x2545_f491_4f6c_dd1d);
    let (mut places, mut refused) = (Vec::new(), 0);
    for round in 0..rounds {
        let archive = any_archive(&mut dice);
        let (_layout, out) = match normal(&archive) {
            Ok(done) => done,
            Err(why) => {
                assert!(why.contains("sparse member"), "{why}");
                refused += 1;
                continue;
            }
        };
        let (old, new) = (format!("{round}-old.tar"), format!("{round}-new.tar"));
        let (old, new) = (dir.path().join(old), dir.path().join(new));
        let image = subject(&out);
        fs::write(&old, &archive).unwrap();
        fs::write(&new, plain(&image)).unwrap();
        assert!(lint(&image).unwrap().sound(), "{}: lint", old.display());
        let (_again, twice) = normal(&fs::read(&new).unwrap()).unwrap();
        assert_eq!(plain(&subject(&twice)), fs::read(&new).unwrap(), "round {round}: a second run");
        places.extend([old, new]);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/layer-oracle");
    let (mut compared, mut unread) = (0, 0);
    for some in places.chunks(400) {
        let output = Command::new(&script).arg(EPOCH.to_string()).args(some).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().count(), some.len() / 2);
        for (line, old) in lines.lines().zip(some.iter().step_by(2)) {
            let found: Option<Vec<String>> = serde_json::from_str(line).unwrap();
            match found {
                Some(found) => assert!(found.is_empty(), "{}: {found:?}", dir_kept(old)),
                None => unread += 1,
            }
            compared += usize::from(line != "null");
        }
        if unread > 0 {
            println!("{said}");
        }
    }
    println!("{compared} layers compared, {refused} refused, {unread} the readers do not agree on");
    assert!(compared * 10 >= rounds * 6, "only {compared} of {rounds} compared; {unread} unread");
}

/// A failing archive, kept for a look.
fn dir_kept(old: &Path) -> String {
    let kept = std::env::temp_dir().join("reprofix-layer-oracle.tar");
    fs::copy(old, &kept).unwrap();
    kept.display().to_string()
}

/// A set-uid file of 1000:1000, by a global header that follows the first member.
fn with_globals() -> Vec<u8> {
    let file = |name: &str, mode| {
        let mut header = Header::new(name.as_bytes(), b'0', 1);
        header.mode = mode;
        [header.block().to_vec(), padded(b"x")].concat()
    };
    let globals: [(&[u8], &[u8]); 3] =
        [(b"uid", b"1000"), (b"gid", b"1000"), (b"comment", b"commit")];
    let mut dir = Header::new(b"d/", b'5', 0);
    dir.mode = 0o755;
    let parts =
        [dir.block().to_vec(), pax(b'g', &globals), file("d/a", 0o4755), file("d/b", 0o644)];
    [parts.concat(), vec![0; 1024]].concat()
}

#[test]
fn a_global_header_becomes_each_members_own() {
    let (layout, out) = normal(&with_globals()).unwrap();
    let image = subject(&out);
    let read = reprofix::source::oci::layers(
        &image.store,
        image.one().unwrap(),
        reprofix::source::oci::Keep::Members,
    );
    let members = &read.unwrap()[0];
    assert!(!members.has_globals);
    let of = |path: &str| members.members.iter().find(|m| *m.path == *path.as_bytes()).unwrap();
    let seen = |path| (of(path).uid, of(path).gid, of(path).mode, of(path).records.len());
    assert_eq!(seen("d"), (0, 0, 0o755, 0));
    assert_eq!(seen("d/a"), (1000, 1000, 0o4755, 0));
    assert_eq!(seen("d/b"), (1000, 1000, 0o644, 0));
    // Its times are early enough: without the header nothing would have been written.
    assert!(files(&out).len() > 3 && layout.path().exists());
}

/// What lint says of it is what the programs do.
#[test]
fn a_global_header_is_named_by_lint_as_the_programs_take_it() {
    let layout = Layout::of(&[Stored::gzip(with_globals(), 6)]);
    let report = lint(&layout.open()).unwrap();
    assert!(!report.sound());
    let hit = &report.images[0].hits[0];
    assert_eq!((hit.rule, hit.layer, report.images[0].hits.len()), (Rule::GlobalHeader, 0, 1));
    assert!(hit.outcomes[&Model::Umoci].starts_with("error"));
    if have("umoci") {
        let mut umoci = Command::new("umoci");
        umoci.arg("unpack").arg("--image").arg(format!("{}:demo", layout.path().display()));
        let said = run(umoci.arg(layout.path().join("bundle"))).unwrap_err();
        assert!(said.contains("pax_global_header"), "{said}");
    }
    if have("buildah") {
        let dir = tempfile::tempdir().unwrap();
        let buildah = |arguments: &[&str]| {
            let mut command = Command::new("buildah");
            command.arg("--root").arg(dir.path().join("root"));
            command.arg("--runroot").arg(dir.path().join("run"));
            let out = run(command.args(["--storage-driver", "vfs"]).args(arguments)).unwrap();
            String::from_utf8(out).unwrap().trim().to_owned()
        };
        let name = buildah(&["from", &format!("oci:{}:demo", layout.path().display())]);
        let root = PathBuf::from(buildah(&["mount", &name]));
        let file = fs::metadata(root.join("d/a")).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert_eq!((file.uid(), file.mode() & 0o7777), (0, 0o4755), "buildah ignores it");
        buildah(&["rm", &name]);
    }
}
