//! What unpackers make of layers: the models against buildah's stores and umoci.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use reprofix::format::tar::Type;
use reprofix::image::Findings;
use reprofix::image::lint::{Disagreement, Rule, lint};
use reprofix::image::unpack::{Model, unpack};
use reprofix::source::oci::{Images, Keep, layers};

use crate::layout::{Layout, Made, Stored, archive};
use crate::oci::{fixture, have, open, run};

/// Path → kind letter and mode; the root is each tool's own affair.
type Seen = BTreeMap<Vec<u8>, (char, u32)>;

/// What stands in a directory on disk.
fn on_disk(root: &Path) -> Seen {
    let mut seen = Seen::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let kind = match metadata.file_type() {
            t if t.is_dir() => 'd',
            t if t.is_symlink() => 'l',
            t if t.is_file() => 'f',
            _ => 'o',
        };
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
        let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        seen.insert(path, (kind, metadata.permissions().mode() & 0o7777));
    }
    seen
}

/// What our model says.
fn predicted(subject: &Images, model: Model) -> Result<Seen, String> {
    let layers = layers(&subject.store, subject.one().unwrap(), Keep::Members).unwrap();
    let tree = unpack(&layers, model).map_err(|r| format!("{}: {}", r.path, r.why))?;
    let kind = |kind| match kind {
        Type::Dir => 'd',
        Type::Symlink => 'l',
        Type::File => 'f',
        _ => 'o',
    };
    let nodes = tree.iter().filter(|(path, _)| !path.is_empty());
    Ok(nodes.map(|(path, n)| (path.to_vec(), (kind(n.kind), n.mode))).collect())
}

/// A containers-storage store of its own.
struct Store {
    dir: tempfile::TempDir,
    driver: &'static str,
}

impl Store {
    fn new(driver: &'static str) -> Self {
        Store { dir: tempfile::tempdir().unwrap(), driver }
    }

    fn buildah(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.dir.path().join("root"));
        command.arg("--runroot").arg(self.dir.path().join("run"));
        command.args(["--storage-driver", self.driver]).args(arguments);
        let out = run(&mut command)?;
        Ok(String::from_utf8(out).unwrap().trim().to_owned())
    }

    /// Why this machine cannot use the driver: a known good image does not go in.
    fn unusable(&self) -> Option<String> {
        self.unpacked(&fixture("single-ts0-a")).err()
    }

    fn unpacked(&self, layout: &Path) -> Result<Seen, String> {
        let name = self.buildah(&["from", &format!("oci:{}:demo", layout.display())])?;
        let mounted = self.buildah(&["mount", &name])?;
        let seen = on_disk(Path::new(&mounted));
        self.buildah(&["umount", &name])?;
        self.buildah(&["rm", &name])?;
        Ok(seen)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The overlay driver keeps a mount of its own.
        for below in ["root/overlay", "root"] {
            let mut umount = Command::new("umount");
            let _ = umount.arg("-q").arg(self.dir.path().join(below)).output();
        }
    }
}

fn umoci(layout: &Path) -> Result<Seen, String> {
    let out = tempfile::tempdir().unwrap();
    let mut command = Command::new("umoci");
    command.arg("unpack").arg("--image").arg(format!("{}:demo", layout.display()));
    run(command.arg(out.path().join("bundle")))?;
    Ok(on_disk(&out.path().join("bundle/rootfs")))
}

/// A layer of `base` below one of `members`.
fn layered(members: &[Made]) -> Layout {
    let base = [
        Made::new("x/", 0o775, ""),
        Made::new("x/old", 0o664, "old"),
        Made::new("tmp/", 0o1777, ""),
        Made::new("tmp/cache", 0o644, "c"),
        Made::new("usr/", 0o755, ""),
        Made::new("usr/bin/", 0o711, ""),
        Made::link("bin", Type::Symlink, "usr/bin"),
    ];
    Layout::of(&[Stored::gzip(archive(&base), 6), Stored::gzip(archive(members), 6)])
}

/// What lint says of an image: rule and path.
pub(crate) type Said = &'static [(Rule, &'static str)];

/// Cases beyond the fixtures, with what lint says of them.
pub(crate) fn made_up() -> Vec<(&'static str, Layout, Said)> {
    let dir = || Made::new("x/", 0o755, "");
    let new = || Made::new("x/new", 0o644, "new");
    let hide = || Made::new(".wh.x", 0o644, "");
    let rows: [(_, &[Made], Said); 11] = [
        ("plain", &[dir(), new()], &[]),
        ("implied", &[new()], &[(Rule::ImpliedDirectory, "x")]),
        ("nowhere before", &[Made::new("y/z", 0o644, "")], &[]),
        ("whiteout first", &[hide(), dir(), new()], &[(Rule::WhiteoutAndReadd, "x")]),
        ("whiteout last", &[dir(), new(), hide()], &[(Rule::WhiteoutAndReadd, "x")]),
        ("whiteout alone", &[hide()], &[]),
        (
            "whiteout without parent",
            &[Made::new("tmp/.wh.cache", 0o644, "")],
            &[(Rule::WhiteoutInMissingParent, "tmp")],
        ),
        ("duplicate", &[dir(), Made::new("x/", 0o700, "")], &[(Rule::DuplicateEntry, "x")]),
        ("opaque", &[dir(), Made::new("x/.wh..wh..opq", 0o644, ""), new()], &[]),
        ("file over directory", &[Made::new("x", 0o644, "file")], &[]),
        (
            "through a link",
            &[Made::new("bin/tool", 0o755, "")],
            &[(Rule::Other, "bin"), (Rule::Other, "usr/bin/tool")],
        ),
    ];
    rows.map(|(name, members, want)| (name, layered(members), want)).into()
}

/// The images of this module with a name each, and their layouts.
fn images() -> Vec<(String, std::path::PathBuf)> {
    let names = [
        "layer-file-only-in-sub",
        "layer-opq",
        "layer-wh-next-layer-no-dirs",
        "layer-wh-next-layer-with-dirs",
        "layer-wh-same-layer-with-dirs",
        "opm-good",
        "opm-implied-parent",
    ];
    names.iter().map(|n| ((*n).to_owned(), fixture(n))).collect()
}

/// Holds a model against what a tool does, for every fixture and every made-up case.
fn agrees(model: Model, tool: &dyn Fn(&Path) -> Result<Seen, String>) {
    let made_up = made_up();
    let own = made_up.iter().map(|(n, l, _)| ((*n).to_owned(), l.path().to_owned()));
    for (name, layout) in images().into_iter().chain(own) {
        let predicted = predicted(&crate::oci::subject(&layout), model);
        match (tool(&layout), predicted) {
            (Ok(seen), Ok(predicted)) => assert_eq!(seen, predicted, "{model}: {name}"),
            (Err(_), Err(_)) => {}
            (seen, predicted) => panic!("{model}: {name}: {seen:?}, predicted {predicted:?}"),
        }
    }
}

#[test]
fn buildah_on_vfs_unpacks_as_predicted() {
    buildah("vfs", Model::Vfs);
}

#[test]
fn buildah_on_overlay_unpacks_as_predicted() {
    buildah("overlay", Model::Overlay);
}

fn buildah(driver: &'static str, model: Model) {
    if !have("buildah") {
        return;
    }
    let store = Store::new(driver);
    if let Some(error) = store.unusable() {
        eprintln!("SKIPPED: buildah cannot use the {driver} driver here: {error}");
        return;
    }
    agrees(model, &|layout| store.unpacked(layout));
}

#[test]
fn umoci_unpacks_as_predicted() {
    if have("umoci") {
        agrees(Model::Umoci, &umoci);
    }
}

fn hits(subject: &Images) -> Vec<Disagreement> {
    let lint = lint(subject).unwrap();
    assert_eq!(lint.sound(), lint.images.iter().all(|i| i.hits.is_empty()));
    lint.images.into_iter().flat_map(|i| i.hits).collect()
}

#[test]
fn lint_names_rule_path_and_layer() {
    for (name, layout, want) in made_up() {
        let hits = hits(&layout.open());
        let found: Vec<_> = hits.iter().map(|h| (h.rule, &*h.path)).collect();
        assert_eq!(found, want, "{name}: {hits:?}");
        assert!(hits.iter().all(|h| h.layer == 1), "{name}");
    }
}

/// The table that the fixtures were made for.
#[test]
fn lint_says_what_each_unpacker_makes_of_it() {
    let outcomes = |subject: &Images| -> Vec<String> {
        let hits = hits(subject);
        assert_eq!(hits.len(), 1, "{hits:?}");
        hits[0].outcomes.values().cloned().collect()
    };
    let of = |name: &str| {
        let found = hits(&open(name));
        let said =
            |h: &Disagreement| (h.path.clone(), h.outcomes.values().cloned().collect::<Vec<_>>());
        found.iter().map(said).collect::<Vec<_>>()
    };
    let modes = ["0775", "0755", "0775"].map(str::to_owned).to_vec();
    let want = [("configs", &modes), ("configs/a", &modes)];
    let want = want.map(|(path, modes)| (path.to_owned(), modes.clone()));
    assert_eq!(of("layer-file-only-in-sub"), want);
    let whiteout = outcomes(&open("layer-wh-same-layer-with-dirs"));
    assert_eq!(whiteout, ["old gone", "old visible (2 paths)", "old gone"]);
    assert_eq!(of("layer-opq"), []);
    assert_eq!(of("layer-wh-next-layer-with-dirs"), []);
    let made = made_up();
    let case = |name: &str| outcomes(&made.iter().find(|(n, ..)| *n == name).unwrap().1.open());
    assert_eq!(case("whiteout without parent"), ["1777", "0755", "1777"]);
    let last = case("whiteout last");
    assert!(last[0].starts_with("error: ") && last[1].starts_with("error: "), "{last:?}");
    assert_eq!(last[2], "old gone");
    let twice = case("duplicate");
    let refused = "error: a second entry of this name in one layer";
    assert_eq!(twice, [refused, refused, "the last one, 0700"]);
}
