//! `reprofix fix` on what must not happen: a clear error with the path, exit code 2, nothing
//! changed. The real binary, real file systems.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::programs;

const BIN: &str = env!("CARGO_BIN_EXE_reprofix");

fn fix(root: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(BIN);
    command.arg("fix").arg(root).args(["--source-date-epoch", "1600000000"]).args(more);
    command.env_remove("SOURCE_DATE_EPOCH").output().unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn put(path: PathBuf, bytes: &[u8]) -> PathBuf {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Everything that a commit would see, and times.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, Vec<u8>)> {
    let walk = walkdir::WalkDir::new(root).into_iter().map(|e| e.unwrap());
    walk.map(|e| {
        let meta = e.path().symlink_metadata().unwrap();
        let bytes = match meta.is_file() {
            true => fs::read(e.path()).unwrap(),
            false => Vec::new(),
        };
        let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
        (e.path().to_owned(), (meta.mode(), nlink, meta.mtime(), bytes))
    })
    .collect()
}

#[test]
fn a_root_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(error(&fix(&missing, &[])).contains("missing"));
    let file = put(dir.path().join("file"), b"");
    assert!(error(&fix(&file, &[])).contains("file"));
    // A directory that holds nothing of a root, and those of this system.
    let said = error(&fix(dir.path(), &[]));
    assert!(said.contains("is not a root") && said.contains("--any-directory"), "{said}");
    assert_ne!(file.metadata().unwrap().mtime(), 1_600_000_000);
    assert_eq!(fix(dir.path(), &["--any-directory"]).status.code(), Some(0));
    assert_eq!(file.metadata().unwrap().mtime(), 1_600_000_000);
    for system in ["/usr", "/usr/share", "/etc", "/var", "/boot"] {
        let said = error(&fix(Path::new(system), &["--dry-run"]));
        assert!(said.contains("directory of this system"), "{system}: {said}");
    }
}

#[test]
fn epochs_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("usr")).unwrap();
    let run = |flag: Option<&str>, env: Option<&str>| {
        let mut command = Command::new(BIN);
        command.arg("fix").arg(dir.path()).env_remove("SOURCE_DATE_EPOCH").current_dir("/");
        command.args(flag.map(|f| format!("--source-date-epoch={f}")));
        command.envs(env.map(|e| ("SOURCE_DATE_EPOCH", e)));
        command.output().unwrap()
    };
    for bad in ["-1", "1.5", "99999999999", "soon", ""] {
        assert!(error(&run(Some(bad), None)).contains("SOURCE_DATE_EPOCH"), "{bad}");
    }
    for bad in ["-1", "1.5", "99999999999", "soon"] {
        assert!(error(&run(None, Some(bad))).contains("SOURCE_DATE_EPOCH"), "{bad}");
    }
    let neither = error(&run(None, Some("")));
    assert!(neither.contains("never uses the clock"), "{neither}");
    assert!(error(&run(None, None)).contains("metadata.reprofix.source-date-epoch"));
    assert_eq!(run(Some("5"), Some("soon")).status.code(), Some(0), "the flag comes first");
}

#[test]
fn the_epoch_comes_from_the_treefile_then_from_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let config = put(dir.path().join("reprofix.toml"), b"source-date-epoch = 7\n");
    fs::create_dir(&root).unwrap();
    let run = || {
        let mut command = Command::new(BIN);
        command.arg("config").arg(&root).arg("--config").arg(&config);
        let output = command.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run().contains("source-date-epoch = 7  #"), "{}", run());
    put(
        root.join("usr/share/rpm-ostree/treefile.json"),
        br#"{"ref": "x", "metadata": {"reprofix": {"source-date-epoch": 6, "skip": ["mtime"]}}}"#,
    );
    assert!(run().contains("source-date-epoch = 6  # usr/share/rpm-ostree/treefile.json"));
    let off = "[plugins.mtime]\nenabled = false  # usr/share/rpm-ostree/treefile.json";
    assert!(run().contains(off), "{}", run());
    put(config.clone(), b"source-date-epoch = 7\nskipp = []\n");
    assert!(error(&fix(&root, &["--config", config.to_str().unwrap()])).contains("skipp"));
    put(config.clone(), b"skip = [\"mtimes\"]\n");
    let near = error(&fix(&root, &["--config", config.to_str().unwrap()]));
    assert!(near.contains("did you mean \"mtime\""), "{near}");
}

#[test]
fn names_of_plugins_and_options_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    assert!(error(&fix(dir.path(), &["--plugin", "pycach"])).contains("did you mean \"pycache\""));
    assert!(error(&fix(dir.path(), &["--set", "pycache"])).contains("PLUGIN.OPTION=VALUE"));
    assert!(error(&fix(dir.path(), &["--set", "pycache.moed=remove"])).contains("moed"));
    assert!(error(&fix(dir.path(), &["--set", "pycache.mode=burn"])).contains("burn"));
}

#[test]
fn a_directory_that_cannot_be_read_stops_everything() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path().join("usr/__pycache__/x.cpython-311.pyc"), b"x");
    put(dir.path().join("locked/file"), b"x");
    // As root nothing is unreadable: run as nobody on a tree of nobody's.
    // The shell copies the program: our own descriptor could be open in a child of another test.
    let mut run = Command::new("sh");
    run.arg("-c").arg(
        "cp \"$0\" \"$2\" && chown -R 65534 \"$1\" && chmod 0 \"$1/locked\" && \
         exec setpriv --reuid=65534 --clear-groups \"$2\" fix \"$1\" --source-date-epoch 5",
    );
    let bin = dir.path().join("reprofix");
    let output = run.arg(BIN).arg(dir.path()).arg(&bin).output().unwrap();
    assert!(error(&output).contains("locked"), "{output:?}");
    assert!(dir.path().join("usr/__pycache__/x.cpython-311.pyc").exists());
}

#[test]
fn a_pycache_that_is_a_link_leads_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let outside = put(dir.path().join("outside/x.cpython-311.pyc"), b"x");
    let tree = dir.path().join("tree/usr/lib/python");
    fs::create_dir_all(&tree).unwrap();
    symlink("../../../../outside", tree.join("__pycache__")).unwrap();
    assert_eq!(fix(&dir.path().join("tree"), &[]).status.code(), Some(0));
    assert!(outside.exists() && tree.join("__pycache__").is_symlink());
}

/// Databases that are none: left alone with a warning, and an error under `--strict`.
#[test]
fn a_database_that_is_none_is_left_alone() {
    for bytes in [&b""[..], b"SQLite format 3\0 and then nothing", b"no database at all"] {
        let dir = tempfile::tempdir().unwrap();
        let path = put(dir.path().join("usr/share/rpm/rpmdb.sqlite"), bytes);
        put(dir.path().join("usr/__pycache__/x.cpython-311.pyc"), b"x");
        let strict = error(&fix(dir.path(), &["--strict", "--skip", "mtime"]));
        assert!(strict.contains("usr/share/rpm/rpmdb.sqlite"), "{strict}");
        assert!(dir.path().join("usr/__pycache__").exists());
        let output = fix(dir.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("usr/share/rpm/rpmdb.sqlite"), "{said}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

/// A mount for the length of a test; `None`, with the reason printed, where mounting is forbidden.
struct Mount(tempfile::TempDir);

impl Mount {
    fn tmpfs(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(dir.path());
        match mount_status(&mut mount) {
            true => Some(Mount(dir)),
            false => {
                eprintln!("skipped: this environment may not mount a tmpfs");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.arg("-o").arg(format!("remount,{options}")).arg(self.0.path());
        assert!(mount_status(&mut mount));
    }
}

fn mount_status(command: &mut Command) -> bool {
    command.status().is_ok_and(|s| s.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A tree in which every core plugin has something to do.
fn busy_tree(root: &Path) {
    for i in 0..40 {
        put(root.join(format!("usr/lib/m{i}/__pycache__/x.cpython-311.pyc")), b"x");
        put(root.join(format!("usr/lib/m{i}/x.py")), b"pass\n");
        put(root.join(format!("var/log/l{i}")), b"log");
    }
    put(root.join("etc/machine-id"), b"0123456789abcdef0123456789abcdef\n");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpmdb/sqlite/one");
    for dir in ["usr/share/rpm", "usr/lib/sysimage/rpm-ostree-base-db"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    let db = root.join("usr/share/rpm/rpmdb.sqlite");
    fs::copy(fixture.join("rpmdb.sqlite"), &db).unwrap();
    fs::hard_link(&db, root.join("usr/lib/sysimage/rpm-ostree-base-db/rpmdb.sqlite")).unwrap();
}

#[test]
fn a_read_only_file_system_is_an_error_and_stays_as_it_is() {
    let Some(mount) = Mount::tmpfs("size=16m") else { return };
    busy_tree(mount.0.path());
    let before = snapshot(mount.0.path());
    mount.remount("ro");
    let said = error(&fix(mount.0.path(), &[]));
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(snapshot(mount.0.path()), before);
}

/// A container engine binds files of the host into a root; their device may be the root's own.
#[test]
fn what_is_mounted_in_the_tree_is_none_of_it() {
    let Some(mount) = Mount::tmpfs("size=16m") else { return };
    let tree = mount.0.path().join("tree");
    let host = put(mount.0.path().join("host/machine-id"), b"0123456789abcdef0123456789abcdef\n");
    let inside = put(tree.join("etc/machine-id"), b"");
    put(mount.0.path().join("host/log/messages"), b"log");
    let folder = tree.join("var/log");
    fs::create_dir_all(&folder).unwrap();
    // A mount of another device, whose neighbours are walked all the same.
    for index in 0..9 {
        put(tree.join(format!("usr/d{index}/late")), b"x");
    }
    let foreign = tree.join("usr/d4");
    let mut other = Command::new("mount");
    assert!(mount_status(other.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&foreign)));
    for (from, to) in [(&host, &inside), (&mount.0.path().join("host/log"), &folder)] {
        assert!(mount_status(Command::new("mount").arg("--bind").arg(from).arg(to)));
    }
    let output = fix(&tree, &[]);
    for to in [&inside, &folder, &foreign] {
        assert!(mount_status(Command::new("umount").arg(to)));
    }
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(fs::read(&host).unwrap().starts_with(b"0123"));
    assert!(mount.0.path().join("host/log/messages").exists());
    for index in (0..9).filter(|index| *index != 4) {
        let late = tree.join(format!("usr/d{index}/late"));
        assert_eq!(late.metadata().unwrap().mtime(), 1_600_000_000, "{index}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_whole_files() {
    let Some(mount) = Mount::tmpfs("size=2m") else { return };
    busy_tree(mount.0.path());
    let filler = mount.0.path().join("filler");
    let _ = fs::write(&filler, vec![0; 4 << 20]);
    let db = mount.0.path().join("usr/share/rpm/rpmdb.sqlite");
    let before = fs::read(&db).unwrap();
    let said = error(&fix(mount.0.path(), &["--plugin", "rpmdb"]));
    assert!(said.contains("No space left"), "{said}");
    assert_eq!(fs::read(&db).unwrap(), before);
    let ours = walkdir::WalkDir::new(mount.0.path()).into_iter().map(|e| e.unwrap());
    let ours: Vec<OsString> = ours.map(|e| e.file_name().to_owned()).collect();
    assert!(!ours.iter().any(|n| n.to_string_lossy().contains("reprofix")), "{ours:?}");
    fs::remove_file(&filler).unwrap();
    assert_eq!(fix(mount.0.path(), &[]).status.code(), Some(0));
    assert_ne!(fs::read(&db).unwrap(), before);
}

/// Killed at twenty instants, then run again: the content and links of an undisturbed run. Times
/// are not compared: a killed run may leave a directory's own time later than it was.
#[test]
fn a_killed_run_is_finished_by_the_next() {
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        busy_tree(dir.path());
        dir
    };
    let content = |root: &Path| {
        let all = snapshot(root).into_iter();
        let rest = |p: &PathBuf| p.strip_prefix(root).unwrap().to_owned();
        all.map(|(p, (mode, nlink, _, bytes))| (rest(&p), (mode, nlink, bytes)))
            .collect::<BTreeMap<_, _>>()
    };
    let undisturbed = make();
    let start = std::time::Instant::now();
    assert_eq!(fix(undisturbed.path(), &[]).status.code(), Some(0));
    let whole = start.elapsed();
    let want = content(undisturbed.path());
    for round in 0..20u32 {
        let dir = make();
        let mut child = Command::new(BIN)
            .arg("fix")
            .arg(dir.path())
            .args(["--source-date-epoch", "1600000000", "--quiet"])
            .spawn()
            .unwrap();
        std::thread::sleep(whole * round / 20 + Duration::from_micros(u64::from(round)));
        let _ = child.kill();
        child.wait().unwrap();
        assert_eq!(fix(dir.path(), &[]).status.code(), Some(0));
        assert_eq!(content(dir.path()), want, "round {round}");
        assert_eq!(fix(dir.path(), &["--check"]).status.code(), Some(0), "round {round}");
    }
}

/// With nowhere to put a private file, nobody can say what a database's normal form is: that is a
/// failure, not "nothing to do".
#[test]
fn without_room_for_private_files_nothing_is_in_normal_form() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    busy_tree(&root);
    let before = snapshot(&root);
    let bin = programs::copy_in(dir.path());
    let script = "for place in /var/tmp /dev/shm /run; do
            test ! -d $place || mount -t tmpfs -o ro none $place || exit 77; done
        cd \"$(dirname \"$0\")\" && mkdir scratch && mount -t tmpfs -o ro none scratch || exit 77
        mount --rbind . /mnt && mount -t tmpfs -o ro none /tmp || exit 77
        export TMPDIR=/mnt/scratch; cd /mnt
        exec ./reprofix fix root --plugin rpmdb --source-date-epoch 1600000000 \"$@\"";
    for more in ["--check", "--quiet"] {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        let output = unshare.arg(&bin).arg(more).output().unwrap();
        let _ = fs::remove_dir(dir.path().join("scratch"));
        if output.status.code() == Some(77) {
            eprintln!("skipped: this environment may not mount a tmpfs");
            return;
        }
        let said = error(&output);
        assert!(said.contains("rpmdb.sqlite") && said.contains("Read-only file system"), "{said}");
        assert_eq!(snapshot(&root), before);
    }
}

/// A journal may name another file, which SQLite would look for, read and remove.
#[test]
fn a_journal_that_leads_out_of_the_tree_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    busy_tree(dir.path());
    let mut journal = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7".to_vec();
    let name = b"/tmp/victim-mj0123A9BC9DE";
    journal.resize(512, 0);
    journal.extend([0, 4, 0, 1]);
    journal.extend(name);
    journal.extend([0, 0, 0, name.len() as u8]);
    journal.extend(name.iter().map(|b| u32::from(*b)).sum::<u32>().to_be_bytes());
    journal.extend(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7");
    let journal = put(dir.path().join("usr/share/rpm/rpmdb.sqlite-journal"), &journal);
    // The other name of the database has no journal: only one of them is looked at.
    fs::remove_dir_all(dir.path().join("usr/lib/sysimage")).unwrap();
    let before = fs::read(dir.path().join("usr/share/rpm/rpmdb.sqlite")).unwrap();
    let output = fix(dir.path(), &["--plugin", "rpmdb"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("names a journal of several databases"), "{said}");
    assert!(journal.exists());
    assert_eq!(fs::read(dir.path().join("usr/share/rpm/rpmdb.sqlite")).unwrap(), before);
}
