//! A umask behind many modes, in `check` and in boot images, and the plugin `modes`, by packages that
//! rpm installed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::repo::{output, reprofix, run};

/// A root with the fixtures' packages, and one as the same build under `umask` leaves it where
/// modes are not set on purpose, with three differences of another kind.
struct Roots {
    dir: tempfile::TempDir,
    a: PathBuf,
    b: PathBuf,
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Everything below `root` but links, the root itself included.
fn all(root: &Path) -> Vec<PathBuf> {
    let found = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    found.filter(|e| !e.path_is_symlink()).map(walkdir::DirEntry::into_path).collect()
}

fn install(root: &Path) {
    let rpms = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/rpms");
    let files = rpms.read_dir().unwrap().map(|e| e.unwrap().path().display().to_string());
    let mut files: Vec<_> = files.filter(|f| f.contains("t-pkg") || f.contains("filesy")).collect();
    files.sort();
    let root = root.display().to_string();
    let mut args = vec!["--root", &root, "--dbpath", "/usr/share/rpm", "--nodeps", "--noscripts"];
    args.push("-i");
    args.extend(files.iter().map(String::as_str));
    run("rpm", &args);
}

impl Roots {
    fn new(umask: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        fs::create_dir(&a).unwrap();
        chmod(&a, 0o755);
        install(&a);
        fs::write(a.join("usr/share/made"), "by a script").unwrap();
        fs::write(a.join("usr/share/odd"), "one").unwrap();
        run("cp", &["-a", a.to_str().unwrap(), b.to_str().unwrap()]);
        for path in all(&b) {
            chmod(&path, mode(&path) & !umask);
        }
        fs::write(b.join("usr/share/odd"), "two").unwrap();
        fs::write(b.join("usr/share/only"), "").unwrap();
        chmod(&b.join("usr/bin/t-pkg01"), 0o4755);
        Roots { dir, a, b }
    }

    fn check(&self, more: &[&str]) -> (i32, String) {
        let [a, b] = [&self.a, &self.b].map(|path| format!("dir:{}", path.display()));
        let (code, out, err) = reprofix(&[&["check", &a, &b], more].concat());
        assert!(code < 2, "{err}");
        (code, out)
    }

    fn rows(&self) -> Vec<Value> {
        let report: Value = serde_json::from_str(&self.check(&["--json=-"]).1).unwrap();
        report["differences"].as_array().unwrap().clone()
    }
}

/// What `rpm -Va` says of modes.
fn wrong_modes(root: &Path) -> Vec<String> {
    let root = root.display().to_string();
    let out = output("rpm", &["--root", &root, "--dbpath", "/usr/share/rpm", "-Va", "--nodeps"]);
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().filter(|line| line.as_bytes()[1] == b'M').map(str::to_owned).collect()
}

#[test]
fn one_umask_behind_many_modes_is_one_line_after_the_real_differences() {
    for umask in [0o077, 0o027] {
        let roots = Roots::new(umask);
        let rows = roots.rows();
        let of_mask = |row: &&Value| row["cause"]["plugin"] == "modes";
        let (masked, others): (Vec<_>, Vec<_>) = rows.iter().partition(of_mask);
        let unexplained = others.iter().filter(|row| row["cause"]["kind"] == "unexplained");
        let unexplained: Vec<_> = unexplained.map(|row| row["path"].as_str().unwrap()).collect();
        let wanted = ["usr/bin/t-pkg01", "usr/share/odd", "usr/share/only"];
        assert_eq!(unexplained, wanted, "{umask:o}");
        assert!(masked.len() > 60, "{umask:o}: {}", masked.len());
        let line = |row: &Value| row["cause"]["lines"][0].as_str().unwrap().to_owned();
        let taken = format!("B lacks {:04o}, as under another umask", umask & 0o755 & !0o022);
        assert!(masked.iter().all(|row| line(row) == taken), "{taken}: {}", line(masked[0]));

        let (code, text) = roots.check(&[]);
        assert_eq!(code, 1);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}: {text}"));
        let group = format!("{} paths explained by another umask, not fixable", masked.len());
        assert!(at(&group) > at("/usr/share/odd"), "{text}");
        assert!(!text.contains("/usr/bin/t-pkg03 "), "{text}");
        at("1. run `umask 022` before either build: ");
        at("`reprofix fix --with modes` restores their modes");
        assert!(roots.check(&["--limit=0"]).1.contains("0755 as packaged"));
    }
}

#[test]
fn packaged_modes_come_back_and_no_other_is_invented() {
    let roots = Roots::new(0o077);
    let outside = roots.dir.path().join("object");
    let shared = roots.b.join("usr/bin/t-pkg02");
    fs::hard_link(&shared, &outside).unwrap();
    assert!(wrong_modes(&roots.b).len() > 40, "{:?}", wrong_modes(&roots.b));
    let before = wrong_modes(&roots.a);
    let fix = |root: &Path, more: &[&str]| {
        let root = root.to_str().unwrap();
        let args = ["fix", root, "--plugin=modes", "--source-date-epoch=1700000000"];
        reprofix(&[&args, more].concat())
    };
    // Off by default.
    let b = roots.b.to_str().unwrap();
    let off = reprofix(&["fix", b, "--dry-run", "--source-date-epoch=1700000000"]);
    assert!(!off.1.contains("modes"), "{off:?}");
    let on = reprofix(&["fix", b, "-n", "--with=modes", "--source-date-epoch=1700000000"]);
    assert!(on.1.contains("mode    usr/bin/t-pkg03  [modes]"), "{on:?}");
    let (code, out, err) = fix(&roots.b, &["--json=-"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let found = crate::schema::violations("reprofix-fix-1", &report);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(wrong_modes(&roots.b), before);
    assert_eq!(
        mode(&roots.b.join("usr/bin/t-pkg01")),
        0o755,
        "a chmod of a packaged file goes too"
    );
    assert_eq!((mode(&shared), mode(&outside)), (0o755, 0o700), "an inode outside keeps its mode");
    assert_eq!(mode(&roots.b.join("usr/share/made")), 0o600, "nobody knows its mode");
    assert_eq!(fix(&roots.b, &["--check"]).0, 0, "a second run changes nothing");
    let rows = roots.rows();
    assert!(rows.iter().all(|row| row["packages"] == Value::Array(Vec::new())), "{rows:?}");
}

#[test]
fn a_tree_without_packages_has_no_modes_to_restore() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("usr")).unwrap();
    let root = dir.path().to_str().unwrap();
    let (code, _, err) = reprofix(&["fix", root, "--with=modes", "--source-date-epoch=1700000000"]);
    assert_eq!(code, 0);
    assert!(err.contains("no readable rpm database"), "{err}");
}

#[test]
fn a_umask_inside_a_boot_image_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let image = |name: &str, umask: u32| {
        let tree = dir.path().join(name);
        fs::create_dir_all(tree.join("usr/lib")).unwrap();
        for n in 0..20 {
            fs::write(tree.join(format!("usr/lib/{n}")), "x").unwrap();
            chmod(&tree.join(format!("usr/lib/{n}")), 0o644 & !umask);
        }
        chmod(&tree.join("usr/lib"), 0o755 & !umask);
        let place = dir.path().join(format!("{name}.img"));
        let pack =
            "cd \"$0\" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible >\"$1\"";
        run("sh", &["-c", pack, tree.to_str().unwrap(), place.to_str().unwrap()]);
        place.display().to_string()
    };
    let (a, b) = (image("a", 0o022), image("b", 0o077));
    let (code, out, err) = reprofix(&["initramfs", "diff", &a, &b]);
    assert_eq!(code, 1, "{err}");
    let modes: Vec<_> = out.lines().filter(|line| line.contains("mode")).collect();
    assert_eq!(modes.len(), 1, "{out}");
    assert!(modes[0].contains("mode: 21 entries (B lacks 0055, as under another umask)"), "{out}");
}
