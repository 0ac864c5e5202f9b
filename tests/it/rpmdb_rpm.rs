//! Real rpm and canonical databases: it finds the same in them, goes on with them, and what comes
//! of that becomes what a fresh installation becomes.
//!
//! sqlite with the system's rpm. `rpmdb_ndb` has the same for ndb, with an rpm that writes it;
//! `rpmdb_bdb` what rpm reads of Berkeley DB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::rpmdb_fix::{EPOCH, fixture, reprofix};

/// A tree with a database of the system's rpm.
struct System {
    dir: tempfile::TempDir,
}

const PLACE: &str = "usr/lib/sysimage/rpm";
const INSTALL: [&str; 6] =
    ["-i", "--nodeps", "--justdb", "--noscripts", "--nosignature", "--nodigest"];
/// Every tag by name, one package after the other; times of installation are none of the set.
const ALL: &str = "%{NEVRA}\n[%{*:xml}]\n";

impl System {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(PLACE)).unwrap();
        System { dir }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, program: &str, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(program);
        command.args(["--define", "_db_backend sqlite", "--dbpath"]);
        command.arg(self.root().join(PLACE)).args(args).env("LC_ALL", "C");
        let out = command.output().expect("rpm is installed");
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        let text = text.replace(self.root().to_str().unwrap(), "");
        // Debian's rpm says that its system has another package manager.
        let own = |line: &&str| !line.starts_with("rpm: ");
        let lines = text.split_inclusive('\n').filter(own).collect();
        (out.status.success(), lines)
    }

    /// Runs rpm, which must succeed and say nothing on its way.
    fn rpm(&self, args: &[&str]) -> String {
        let (ok, text) = self.run("rpm", args);
        assert!(ok, "{args:?}: {text}");
        text
    }

    fn install(&self, packages: &[String]) {
        let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
        assert_eq!(self.rpm(&[&INSTALL[..], &packages].concat()), "");
    }

    /// Installs with files and all, which only root may: of its own name space where it is not.
    fn install_files(&self, packages: &[String], more: &[&str]) {
        let root = self.root().to_str().unwrap();
        let own =
            ["--root", root, "--define", "_db_backend sqlite", "--dbpath", "/usr/lib/sysimage/rpm"];
        let how = ["-i", "--nodeps", "--noscripts", "--nosignature", "--nodigest", "--noplugins"];
        let mut command = match rustix::process::geteuid().is_root() {
            true => Command::new("rpm"),
            false => Command::new("unshare"),
        };
        if !rustix::process::geteuid().is_root() {
            command.args(["-r", "rpm"]);
        }
        let out = command.args(own).args(how).args(more).args(packages).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// The canonical form of the database as it is now, and what reprofix said.
    fn fix(&self) -> Vec<u8> {
        let root = self.root().to_str().unwrap();
        let plugins = ["--plugin=rpmdb", "--plugin=machine-state"];
        let out = reprofix(&[&["fix", root, "--source-date-epoch", EPOCH], &plugins[..]].concat());
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success() && !said.contains("warning"), "{said}");
        let names: Vec<_> = fs::read_dir(self.root().join(PLACE))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, ["rpmdb.sqlite"], "something else stays");
        fs::read(self.root().join(PLACE).join("rpmdb.sqlite")).unwrap()
    }

    /// What rpm says of the database, in an order that does not depend on it.
    fn answers(&self) -> String {
        let sorted = |text: String| {
            let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines.join("\n")
        };
        let ask = |args: &[&str]| format!("{args:?}\n{}\n", sorted(self.run("rpm", args).1));
        let mut found = ask(&["-qa", "--qf", "%{NEVRA} [%{REQUIRENAME} ][%{FILENAMES} ]\n"]);
        found += &ask(&["-Va"]);
        found += &ask(&["-q", "--whatprovides", "t-pkg03", "t-meta", "/usr/bin/t-arch"]);
        found += &ask(&[
            "-q",
            "--whatrequires",
            "t-filesystem",
            "t-pkg01",
            "rpmlib(CompressedFileNames)",
        ]);
        found += &ask(&["-qf", "/usr", "/usr/share/t-pkg07/file1", "/etc/t-pkg05/conf"]);
        found += &ask(&["-qa", "--triggers"]);
        found += &ask(&["-qa", "--filetriggers"]);
        found += &ask(&["-qa", "--scripts"]);
        found += &ask(&["-q", "t-upd", "t-nothing"]);
        let names = self.rpm(&["-qa", "--qf", "%{NAME}\n"]);
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        for name in names {
            let text = self.rpm(&["-q", name, "--qf", ALL]);
            found += &without_times(&text);
        }
        let (ok, text) = self.run("rpmdb", &["--verifydb"]);
        assert!(ok && text.is_empty(), "--verifydb: {text}");
        found
    }
}

/// What `docs/flows.md` says of the steps after `fix`.
#[test]
fn what_rpm_brings_back_after_fix_is_seen() {
    let system = System::new();
    let rpms = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/rpms");
    system.install(&[rpms.join("t-meta-1.0-1.noarch.rpm").display().to_string()]);
    system.fix();
    let root = system.root().to_str().unwrap();
    let check = || {
        let args = ["fix", root, "--check", "--source-date-epoch", EPOCH];
        reprofix(&[&args[..], &["--plugin=rpmdb", "--plugin=machine-state"]].concat()).status.code()
    };
    assert_eq!(check(), Some(0));
    // Our own look leaves nothing behind.
    let place = system.root().join(PLACE);
    assert!(reprofix(&["rpmdb", "dump", place.to_str().unwrap()]).status.success());
    assert_eq!(check(), Some(0));
    system.rpm(&["-qa"]);
    let lock = place.join(".keyring.lock");
    let version = system.rpm(&["--version"]);
    if version.starts_with("RPM version 4.") {
        assert_eq!(check(), Some(0), "{version}: a query leaves nothing behind");
        // What rpm 6.1 leaves.
        fs::write(&lock, "").unwrap();
    }
    assert_eq!(check(), Some(1));
    system.fix();
    let more = rpms.join("t-arch-1.0-1.x86_64.rpm").display().to_string();
    system.install(&[more]);
    assert_eq!(check(), Some(1));
    let flows = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flows.md");
    assert!(
        fs::read_to_string(flows).unwrap().contains("No rpm query between `fix` and the commit")
    );
}

/// rpm 6.1 (Debian sid) installed one package twice: with its own value of `%_pkgverify_digests`
/// (8:10), and with 8.
#[test]
fn digests_of_packages_that_rpm_6_stored_are_explained() {
    let [a, b] = ["rpm6/a", "rpm6/b"].map(|name| fixture(name).to_str().unwrap().to_owned());
    let out = reprofix(&["rpmdb", "diff", &a, &b]);
    let said = String::from_utf8(out.stdout).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(said.contains("PACKAGEDIGESTS, PACKAGEDIGESTALGOS"), "{said}");
    let remedy = "that %_pkgverify_digests names, and none with --nodigest --nosignature";
    assert!(said.contains(remedy), "{said}");
    let dir = tempfile::tempdir().unwrap();
    let roots = [(&a, "a"), (&b, "b")].map(|(from, name)| {
        let place = dir.path().join(name).join(PLACE);
        fs::create_dir_all(&place).unwrap();
        fs::copy(Path::new(from).join("rpmdb.sqlite"), place.join("rpmdb.sqlite")).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    });
    let check = || {
        let out = reprofix(&["check", &roots[0], &roots[1], "--source-date-epoch", EPOCH]);
        (out.status.code(), String::from_utf8(out.stdout).unwrap())
    };
    let (code, said) = check();
    assert!(code == Some(1) && said.contains(remedy), "{said}");
    // It says what the packages are: no normal form takes it away.
    for root in &roots {
        assert!(reprofix(&["fix", root, "--source-date-epoch", EPOCH]).status.success());
    }
    let (code, said) = check();
    assert!(code == Some(1) && said.contains(remedy), "{said}");
}

/// Header dumps without INSTALLTIME and INSTALLTID and the number of the package.
fn without_times(text: &str) -> String {
    let mut kept = String::new();
    let mut skip = false;
    for line in text.lines() {
        skip |= ["Installtime", "Installtid", "Dbinstance"].iter().any(|t| line.contains(t));
        if !skip {
            kept += line;
            kept.push('\n');
        }
        skip &= !line.contains("</rpmTag>");
    }
    kept
}

/// The packages, the update's old version first if `old`.
fn packages(old: bool) -> Vec<String> {
    let all = fs::read_dir(fixture("rpms")).unwrap();
    let mut paths: Vec<_> = all.map(|e| e.unwrap().path().display().to_string()).collect();
    paths.sort();
    let skip = if old { "t-upd-2" } else { "t-upd-1" };
    paths.retain(|path| !path.contains(skip));
    paths
}

fn of(names: &[&str]) -> Vec<String> {
    let all = packages(false).into_iter();
    all.filter(|path| names.iter().any(|n| path.contains(&format!("{n}-")))).collect()
}

#[test]
fn rpm_finds_the_same_goes_on_and_comes_to_the_same_bytes() {
    let (fresh, long) = (System::new(), System::new());
    fresh.install(&packages(false));
    // One by one, backwards, with an upgrade, erasures and a rebuild.
    for path in packages(true).iter().rev() {
        long.install(std::slice::from_ref(path));
    }
    let upgrade = &of(&["t-upd"])[0];
    long.rpm(&[&["-U"], &INSTALL[1..], &[upgrade]].concat());
    for name in ["t-pkg03", "t-arch", "t-pkg11"] {
        long.rpm(&["-e", "--nodeps", "--justdb", name]);
    }
    assert!(long.run("rpmdb", &["--rebuilddb"]).0);
    long.install(&of(&["t-pkg03", "t-arch", "t-pkg11"]));

    let (before_fresh, before_long) = (fresh.answers(), long.answers());
    let want = fresh.fix();
    assert!(long.fix() == want, "another history, another file");
    assert_eq!(fresh.answers(), before_fresh);
    assert_eq!(long.answers(), before_long);
    assert!(long.fix() == want, "asking left a trace");

    // rpm goes on with the canonical database.
    long.rpm(&["-e", "--nodeps", "--justdb", "t-pkg07", "t-upd"]);
    long.install(&of(&["t-pkg07"]));
    long.install(&packages(true).into_iter().filter(|p| p.contains("t-upd-1")).collect::<Vec<_>>());
    assert!(long.fix() != want, "the old version of t-upd is another set");
    long.rpm(&[&["-U"], &INSTALL[1..], &[upgrade]].concat());
    assert!(long.fix() == want, "after -e, -i and -U");
    assert!(long.run("rpmdb", &["--rebuilddb"]).0);
    assert!(long.fix() == want, "after --rebuilddb");
}

#[test]
fn an_imported_key_is_a_package_like_any_other() {
    let home = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(home.path()).args(["--batch", "--passphrase", ""]).args(args);
        let out = gpg.output().expect("gpg is installed");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    gpg(&["--quick-gen-key", "tests <tests@example.org>", "rsa2048", "sign", "never"]);
    let key = home.path().join("key.asc");
    fs::write(&key, gpg(&["--armor", "--export"])).unwrap();
    let key = key.to_str().unwrap();

    let (first, last) = (System::new(), System::new());
    first.rpm(&["--import", key]);
    first.install(&packages(false));
    last.install(&packages(false));
    last.rpm(&["--import", key]);
    let (before, bytes) = (first.answers(), first.fix());
    assert!(before.contains("gpg-pubkey"), "{before}");
    assert_eq!(first.answers(), before);
    assert!(last.fix() == bytes);
}

/// What no normal form removes is told by package and file.
#[test]
fn install_options_are_findings_by_package_and_file() {
    let (all, some) = (System::new(), System::new());
    all.install_files(&packages(false), &[]);
    some.install_files(&packages(false), &["--excludedocs"]);
    some.rpm(&["-e", "--nodeps", "--justdb", "t-pkg11"]);
    let database = |system: &System| {
        system.root().join(PLACE).join("rpmdb.sqlite").to_str().unwrap().to_owned()
    };
    let (a, b) = (database(&all), database(&some));

    let out = reprofix(&["check", &a, &b, "--json=-"]);
    let report: Value = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
    assert_eq!(out.status.code(), Some(1));
    let found = &report["packages"]["packages"];
    assert_eq!(found["only_a"], serde_json::json!(["t-pkg11-1.0-1.noarch"]), "{report:#}");
    let change = &found["changed_header"][0];
    assert_eq!(change["tags"], serde_json::json!(["FILESTATES"]));
    assert_eq!(change["files"][0]["b"], "not installed");
    assert_eq!(change["files"][0]["cause"], "documentation: excludedocs");
    let cause = &report["differences"][0]["cause"];
    assert_eq!((&cause["kind"], &cause["plugin"]), (&"known".into(), &"rpmdb".into()));

    let (a_root, b_root) = (all.root().to_str().unwrap(), some.root().to_str().unwrap());
    // The bare databases, and the roots with everything else that --excludedocs makes of them.
    for (a, b) in [(&a[..], &b[..]), (a_root, b_root)] {
        let out = reprofix(&["check", a, b]);
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        for part in [
            "Removed (1):",
            "t-pkg11-1.0-1.noarch",
            "README: normal in A, not installed in B (documentation: excludedocs)",
            "differ in packages, headers",
        ] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }
}

/// Differences of history alone have their class, and `check` says that `fix` removes them.
#[test]
fn differences_of_history_alone_are_told_as_such() {
    let path = |name: &str| -> PathBuf { fixture(name).join("rpmdb.sqlite") };
    let dir = tempfile::tempdir().unwrap();
    let vacuumed = dir.path().join("rpmdb.sqlite");
    fs::copy(path("sqlite/one"), &vacuumed).unwrap();
    let db = rusqlite::Connection::open(&vacuumed).unwrap();
    db.execute_batch("PRAGMA page_size = 8192; VACUUM").unwrap();
    db.close().unwrap();
    for (other, classes, words) in [
        (path("sqlite/rev"), vec!["install-times", "order"], "only in install times, order"),
        (vacuumed, vec!["layout"], "only in page layout or unused bytes"),
    ] {
        let (a, b) = (path("sqlite/one"), other);
        let args = ["check", a.to_str().unwrap(), b.to_str().unwrap()];
        let out = reprofix(&[&args[..], &["--json=-"]].concat());
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(report["packages"]["classes"], serde_json::json!(classes));
        assert_eq!(report["packages"]["fixed"], true);
        assert_eq!(report["differences"][0]["cause"]["kind"], "fixed", "{report:#}");
        let text = String::from_utf8(reprofix(&args).stdout).unwrap();
        assert!(text.contains(words), "{text}");
    }
}
