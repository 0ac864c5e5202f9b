//! The formats' own readers accept what the plugins write: every golden `out` goes through them.
//!
//! A reader that is not installed is named on standard error, and is an error where
//! REPROFIX_REQUIRE_TOOLS is set, as `.ci/run` does.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Plugin, the files of its cases (all that end so), the reader and its arguments (`{}` the file).
const READERS: &[(&str, &str, &[&str])] = &[
    ("cacerts/jks", "cacerts", &["keytool", "-list", "-storepass", "changeit", "-keystore", "{}"]),
    ("tar/tools", ".tar", &["tar", "tvf", "{}"]),
    ("gzip/tools", ".gz", &["gzip", "-t", "{}"]),
    ("zip/tools", ".zip", &["unzip", "-tq", "{}"]),
    ("jar/tools", ".jar", &["unzip", "-tq", "{}"]),
    ("jar/tools", ".jar", &["jar", "tf", "{}"]),
    ("ar/tools", "libtwo.a", &["nm", "-s", "{}"]),
    ("ar/tools", "libtwo.a", &["ar", "t", "{}"]),
];

/// Runs a command; `None` with a word on standard error if there is no such program.
fn run(command: &[&str]) -> Option<String> {
    let output = Command::new(command[0]).args(&command[1..]).env("LC_ALL", "C.UTF-8").output();
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

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

#[test]
fn the_real_readers_accept_every_golden_file() {
    for (case, ending, command) in READERS {
        let mut read = 0;
        for found in walkdir::WalkDir::new(cases().join(case)).sort_by_file_name() {
            let found = found.expect("a readable case");
            let path = found.path().to_str().expect("UTF-8");
            let is_out = path.contains("/out/") && path.ends_with(ending);
            if !found.file_type().is_file() || !is_out {
                continue;
            }
            let command: Vec<_> =
                command.iter().map(|a| if *a == "{}" { path } else { a }).collect();
            run(&command);
            read += 1;
        }
        assert!(read > 0, "{case}: nothing ends with {ending}");
    }
}

/// fontconfig takes a clamped cache as valid where the directory's time was clamped too, and where
/// it is 0, as ostree has it.
#[test]
fn fontconfig_takes_the_clamped_cache_as_valid() {
    let golden = "fontconfig/le64/out/usr/lib/fontconfig/cache";
    let root = Path::new("/tmp/reprofix-fontconfig");
    let fonts = root.join("fonts");
    std::fs::create_dir_all(&fonts).expect("a fixed path, which is in the cache");
    std::fs::create_dir_all(root.join("cache")).expect("writable");
    for found in std::fs::read_dir(cases().join(golden)).expect("golden") {
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
