//! The formats' own readers accept what the plugins write: every golden `out` goes through them.
//!
//! A reader that is not installed is named on standard error, and is an error where
//! REPROFIX_REQUIRE_TOOLS is set, as `.ci/run` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use reprofix::plugins::{REGISTRY, find};

use crate::evidence::{self, folder};
use crate::memtree::Node;

/// Plugin, the files of its cases (all that end so), the reader and its arguments (`{}` the file).
const READERS: &[(&str, &str, &[&str])] = &[
    (
        "cacerts/cases/pkcs12",
        ".p12",
        &["keytool", "-list", "-storepass", "changeit", "-keystore", "{}"],
    ),
    (
        "cacerts/cases/jks",
        "cacerts",
        &["keytool", "-list", "-storepass", "changeit", "-keystore", "{}"],
    ),
    ("tar/cases/tools", ".tar", &["tar", "tvf", "{}"]),
    ("gzip/cases/tools", ".gz", &["gzip", "-t", "{}"]),
    ("zip/cases/tools", ".zip", &["unzip", "-tq", "{}"]),
    ("jar/cases/tools", ".jar", &["unzip", "-tq", "{}"]),
    ("jar/cases/tools", ".jar", &["jar", "tf", "{}"]),
    ("ar/cases/tools", "libtwo.a", &["nm", "-s", "{}"]),
    ("ar/cases/tools", "libtwo.a", &["ar", "t", "{}"]),
    ("ld-cache/cases/real", "ld.so.cache", &["ldconfig", "-p", "-C", "{}"]),
];

/// Who reads what the other plugins leave: the test, by file and name, or why nobody needs to.
/// A plugin that is neither here nor in [`READERS`] fails.
const READ_ELSEWHERE: &[(&str, Proof)] = &[
    ("accounts", Proof::Test("tools", "pwck_accepts_clamped_days")),
    ("authselect", Proof::Lines),
    ("build-ids", Proof::Unwritten),
    ("build-traces", Proof::Removed),
    ("catalog", Proof::Unwritten),
    ("dconf", Proof::Test("tools", "dconf_reads_the_same_from_a_sorted_database")),
    ("depmod", Proof::Test("tools", "modprobe_finds_what_depmod_wrote")),
    (
        "dnf-history",
        Proof::Test("dnf_history", "dnf_4_comes_to_one_history_and_finds_the_same_in_it"),
    ),
    ("dnf-state", Proof::Removed),
    ("fontconfig", Proof::Test("tools", "fontconfig_takes_the_clamped_cache_as_valid")),
    ("generated", Proof::Bed("tests/e2e/newest")),
    ("gio-modules", Proof::Lines),
    ("glib-schemas", Proof::Unwritten),
    ("hwdb", Proof::Test("tools", "systemd_finds_the_same_in_the_hardware_database")),
    ("icon-cache", Proof::Unwritten),
    ("initramfs", Proof::Bed("tests/e2e/initramfs")),
    ("javadoc", Proof::Lines),
    ("kernel-modules", Proof::Unwritten),
    ("locale-archive", Proof::Unwritten),
    ("machine-state", Proof::Removed),
    ("mime-cache", Proof::Unwritten),
    ("modes", Proof::Test("modes", "packaged_modes_come_back_and_no_other_is_invented")),
    ("mtime", Proof::Unwritten),
    ("os-release", Proof::Unwritten),
    ("pycache", Proof::Test("pyc", "python_loads_the_normal_form_as_equal_code")),
    ("random-ids", Proof::Removed),
    ("rpmdb", Proof::Test("rpmdb_rpm", "rpm_finds_the_same_goes_on_and_comes_to_the_same_bytes")),
    ("selinux", Proof::Unwritten),
    ("treefile", Proof::Unwritten),
    ("xattrs", Proof::Test("xattrs", "a_builds_own_attributes_go_and_all_others_stay")),
];

/// How it is known that a format's own reader takes what a plugin leaves.
enum Proof {
    /// This test of this file asks the reader.
    Test(&'static str, &'static str),
    /// This program does, on a real system.
    Bed(&'static str),
    /// No byte of a file is ever written.
    Unwritten,
    /// Files are removed or emptied; the table of the plugin says who makes each anew.
    Removed,
    /// Comments and lines of text that no reader can refuse.
    Lines,
}

#[test]
fn every_plugin_has_its_reader() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for plugin in REGISTRY {
        let name = plugin.page().name;
        let here = READERS.iter().any(|(case, ..)| case.split('/').next() == Some(name));
        let elsewhere = READ_ELSEWHERE.iter().filter(|(plugin, _)| *plugin == name).count();
        assert_eq!(usize::from(here) + elsewhere, 1, "{name}: who reads what it leaves?");
    }
    for (name, proof) in READ_ELSEWHERE {
        assert!(find(name).is_some(), "{name}: no such plugin");
        match proof {
            Proof::Test(file, test) => {
                let text = std::fs::read_to_string(root.join(format!("tests/it/{file}.rs")));
                let text = text.expect("a file of tests");
                assert!(text.contains(&format!("fn {test}()")), "{name}: no {file}::{test}");
            }
            Proof::Bed(program) => assert!(root.join(program).exists(), "{name}: no {program}"),
            // What never changes in a golden case and a pair is never written.
            Proof::Unwritten => {
                for case in evidence::cases(name) {
                    let side = |side: &str| crate::cases::load(&case, side).0;
                    let (before, after) = (side("in"), side("out"));
                    let same = |path| before.get(path).map(|n: &Node| &n.data);
                    let written = after.iter().find(|(path, node)| same(*path) != Some(&node.data));
                    assert!(written.is_none(), "{name}: {} {written:?}", case.display());
                }
            }
            Proof::Removed | Proof::Lines => {}
        }
    }
}

#[test]
fn pwck_accepts_clamped_days() {
    let shadow = folder("accounts/cases/shadow/out/usr/etc/shadow");
    let text = std::fs::read_to_string(&shadow).expect("golden");
    let names = text.lines().filter_map(|line| line.split(':').next());
    let accounts: String = names.map(|name| format!("{name}:x:0:0::/:/bin/sh\n")).collect();
    let root = tempfile::tempdir().expect("a directory");
    let passwd = root.path().join("passwd");
    std::fs::write(&passwd, accounts).expect("written");
    let [passwd, shadow] = [&passwd, &shadow].map(|path| path.to_str().expect("UTF-8"));
    run(&["pwck", "-r", "-q", passwd, shadow]);
}

/// dconf finds every key and every lock where it was.
#[test]
fn dconf_reads_the_same_from_a_sorted_database() {
    let read = |side: &str| {
        let database = folder("dconf").join("cases/locks").join(side).join("etc/dconf/db/local");
        let profile = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&profile, format!("file-db:{}\n", database.display())).expect("written");
        let profile = format!("DCONF_PROFILE={}", profile.path().display());
        let ask = |question: &[&str]| run(&[&["env", &profile, "dconf"][..], question].concat());
        Some((ask(&["dump", "/"])?, ask(&["list", "/org/example/"])?))
    };
    if let (Some(before), Some(after)) = (read("in"), read("out")) {
        assert!(before.0.contains("color='red'"), "{before:?}");
        assert_eq!(before, after);
    }
}

/// The kernel's modules resolve as depmod left them: nothing of its indexes was touched.
#[test]
fn modprobe_finds_what_depmod_wrote() {
    let root = tempfile::tempdir().expect("a directory");
    let lib = root.path().join("lib");
    std::fs::create_dir(&lib).expect("made");
    let modules = folder("depmod/cases/real/out/usr/lib/modules");
    std::os::unix::fs::symlink(modules, lib.join("modules")).expect("linked");
    let dir = root.path().to_str().expect("UTF-8");
    let command = ["modprobe", "-d", dir, "-S", "6.1.0", "-D", "two"];
    if let Some(said) = run(&command) {
        assert!(said.contains("two.ko"), "{said}");
    }
}

/// systemd reads only the databases of the running system: in a sandbox the golden one is that.
#[test]
fn systemd_finds_the_same_in_the_hardware_database() {
    let database = folder("hwdb/cases/root/out/etc/udev/hwdb.bin");
    let database = database.to_str().expect("UTF-8");
    let sandbox = ["bwrap", "--ro-bind", "/", "/", "--tmpfs", "/etc/udev"];
    let query = ["systemd-hwdb", "query", "evdev:name:one1:"];
    let command = [&sandbox[..], &["--ro-bind", database, "/etc/udev/hwdb.bin"], &query].concat();
    if let Some(said) = run(&command) {
        assert_eq!(said, "X_ONE=1\nX_TWO=4\n");
    }
}

/// Where commands are: a user's PATH may lack those of administrators.
fn path() -> String {
    let own = std::env::var("PATH").unwrap_or_default();
    format!("{own}:/usr/sbin:/sbin")
}

/// Runs a command; `None` with a word on standard error if there is no such program.
fn run(command: &[&str]) -> Option<String> {
    let output = Command::new(command[0])
        .args(&command[1..])
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", path())
        .output();
    match output {
        Ok(out) => {
            let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            assert!(out.status.success(), "{command:?}: {}\n{text}", out.status);
            Some(text)
        }
        Err(error) => {
            let required = std::env::var_os("REPROFIX_REQUIRE_TOOLS").is_some();
            assert!(!required, "{}: {error}", command[0]);
            eprintln!("not run: {}: {error}", command[0]);
            None
        }
    }
}

/// A file that `tests/e2e/deps` fetched from a registry, if it did.
pub(crate) fn cached(path: &str) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let file = cache.join("reprofix-ci").join(path);
    file.exists().then_some(file)
}

#[test]
fn the_real_readers_accept_every_golden_file() {
    for (case, ending, command) in READERS {
        let mut read = 0;
        for found in walkdir::WalkDir::new(folder(case)).sort_by_file_name() {
            let found = found.expect("a readable case");
            let path = found.path().to_str().expect("UTF-8");
            let is_out = path.contains("/out/") && path.ends_with(ending);
            if !found.file_type().is_file() || !is_out {
                continue;
            }
            let command: Vec<_> =
                command.iter().map(|argument| argument.replace("{}", path)).collect();
            run(&command.iter().map(String::as_str).collect::<Vec<_>>());
            read += 1;
        }
        assert!(read > 0, "{case}: nothing ends with {ending}");
    }
}

/// fontconfig takes a clamped cache as valid where the directory's time was clamped too, and where
/// it is 0, as ostree has it.
#[test]
fn fontconfig_takes_the_clamped_cache_as_valid() {
    let golden = "fontconfig/cases/le64/out/usr/lib/fontconfig/cache";
    let root = Path::new("/tmp/reprofix-fontconfig");
    let fonts = root.join("fonts");
    std::fs::create_dir_all(&fonts).expect("a fixed path, which is in the cache");
    std::fs::create_dir_all(root.join("cache")).expect("writable");
    for found in std::fs::read_dir(folder(golden)).expect("golden") {
        let found = found.expect("an entry");
        std::fs::copy(found.path(), root.join("cache").join(found.file_name())).expect("copied");
    }
    let conf = root.join("fonts.conf");
    let (dir, cache) = (fonts.display(), root.join("cache"));
    let text = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE fontconfig SYSTEM \"fonts.dtd\"><fontconfig>\
         <dir>{dir}</dir><cachedir>{}</cachedir></fontconfig>",
        cache.display()
    );
    std::fs::write(&conf, text).expect("writable");
    let conf = format!("FONTCONFIG_FILE={}", conf.display());
    // The directory is empty: a font is listed only where the cache is believed.
    for (time, listed) in [("1600000000", 1), ("0", 1), ("1600000001", 0)] {
        run(&["touch", "-d", &format!("@{time}"), &fonts.to_string_lossy()]);
        if let Some(said) = run(&["env", &conf, "fc-list"]) {
            assert_eq!(said.lines().count(), listed, "directory time {time}: {said}");
        }
    }
    std::fs::remove_dir_all(root).expect("removed");
}
