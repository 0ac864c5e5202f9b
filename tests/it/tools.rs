//! The formats' own readers accept what the plugins write: every golden `out` goes through them.
//!
//! A reader that is not installed is named on standard error, and is an error where
//! REPROFIX_REQUIRE_TOOLS is set, as `.ci/run` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::evidence::{self, Evidence, ReadBy, Reader, folder};
use reprofix::tree::Node;

/// Whoever is named as a reader exists, and what is called unwritten is.
#[test]
fn readers_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in evidence::plugins() {
        match Evidence::of(&name).read_by {
            Some(ReadBy::Test(test)) => {
                let (file, test) = test.split_once("::").expect("FILE::NAME");
                let text = std::fs::read_to_string(root.join(format!("tests/it/{file}.rs")));
                let text = text.expect("a file of tests");
                assert!(text.contains(&format!("fn {test}()")), "{name}: no {file}::{test}");
            }
            Some(ReadBy::Bed(program)) => {
                assert!(root.join(&program).exists(), "{name}: no {program}");
            }
            // What never changes in a golden case and a pair is never written.
            Some(ReadBy::Unwritten) => {
                for case in evidence::cases(&name) {
                    let side = |side: &str| crate::cases::load(&case, side).0;
                    let (before, after) = (side("in"), side("out"));
                    let same = |path| before.get(path).map(|n: &Node| &n.data);
                    let written = after.iter().find(|(path, node)| same(*path) != Some(&node.data));
                    assert!(written.is_none(), "{name}: {} {written:?}", case.display());
                }
            }
            Some(ReadBy::Removed | ReadBy::Lines) | None => {}
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
    let of = |name: String| {
        Evidence::of(&name).reader.into_iter().map(move |reader| (folder(&name), reader))
    };
    for (folder, Reader { case, ending, command }) in evidence::plugins().into_iter().flat_map(of) {
        let mut read = 0;
        for found in walkdir::WalkDir::new(folder.join(&case)).sort_by_file_name() {
            let found = found.expect("a readable case");
            let path = found.path().to_str().expect("UTF-8");
            let is_out = path.contains("/out/") && path.ends_with(&ending);
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
