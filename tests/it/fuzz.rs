//! Every parser has a fuzz target: the plugin that imports it and has a file `fuzz`, or one that a row
//! of the table below names. A file that parses without one is noticed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Files and folders of `src` that turn bytes into something, and the targets of `fuzz/all` that try
/// them. The longest that a path starts with counts.
const TARGETS: &[(&str, &[&str])] = &[
    ("check/budget.rs", &[]), // one number with its unit
    ("check/expect.rs", &["expectations"]),
    ("check/describe", &["check-archive", "check-elf", "check-rpm", "check-sqlite", "check-text"]),
    ("config/mod.rs", &["config", "config-treefile"]),
    ("env.rs", &[]),                   // one number of the environment
    ("format/strictly_newer.rs", &[]), // no parser
    ("format/compress", &["compress"]),
    ("format/composefs", &[]), // it writes, and reads nothing
    ("format/cpio.rs", &["cpio"]),
    ("format/bytes.rs", &["pyc", "cacerts", "ld-cache", "hwdb"]),
    ("format/dos_time.rs", &["zip"]),
    ("format/facts.rs", &["ld-cache", "icon-cache", "mime-cache"]),
    ("format/filesystem", &["disk-image"]),
    ("format/gpt", &["gpt"]),
    ("format/gvariant.rs", &["ostree-commit"]),
    ("format/hashes.rs", &["sums"]),
    ("format/initramfs", &["initramfs"]),
    ("format/mod.rs", &[]), // no parser
    (
        "format/ostree",
        &["ostree-commit", "ostree-dirmeta", "ostree-dirtree", "ostree-filez", "ostree-xattrs"],
    ),
    ("format/pe.rs", &["pe"]),
    ("format/pyc", &["pyc"]),
    ("format/qcow2.rs", &["disk-image"]),
    ("format/rpmdb", &["rpmdb_sqlite", "rpmdb_ndb", "rpmdb_bdb", "rpm-header", "dnf_history"]),
    ("format/wheel_record.rs", &["sums"]),
    ("format/checksum_files.rs", &["sums"]),
    ("format/secret.rs", &["check-text", "check-archive"]),
    ("format/time.rs", &["zip", "image-words"]),
    ("format/verity.rs", &["gpt"]),
    ("disk/times.rs", &["fix-times"]),
    ("history", &[]), // our own database
    ("image/normalize", &["oci-archive", "oci-index", "oci-manifest", "oci-config"]),
    ("image/times.rs", &["image-words"]),
    ("nightly/config.rs", &["nightly-config"]),
    ("nightly/units.rs", &["nightly-config"]),
    ("nightly/feed.rs", &["nightly-recipe", "cosa-builds"]),
    ("nightly/manifest.rs", &["nightly-manifest"]),
    ("nightly/procs.rs", &[]), // what the kernel says
    ("nightly/rebuild.rs", &["nightly-recipe", "nightly-manifest"]), // and a note of our own
    ("image/opm/access.rs", &["image-words"]),
    ("image/opm/document.rs", &["opm-documents"]),
    ("image/opm/index.rs", &["opm-pogreb"]),
    ("image/opm/pogreb.rs", &["opm-pogreb"]),
    ("image/opm/verify", &["oci-config"]),
    ("plugins/initramfs/signed.rs", &["initramfs"]),
    ("plugins/os_release.rs", &["os-release"]),
    ("plugins/treefile.rs", &["treefile"]),
    ("record/meta.rs", &["meta-json"]),
    ("record/sidecar.rs", &["fix-report"]),
    ("run/composefs.rs", &[]), // words, as source/spec.rs
    ("source/cosa.rs", &["cosa-meta", "cosa-builds"]),
    ("source/ostree/objects.rs", &["ostree-filez"]),
    ("source/oci/containers.rs", &["oci-storage"]),
    ("source/oci/digest.rs", &["image-words"]),
    ("source/oci/docker.rs", &["oci-docker"]),
    ("run/composefs.rs", &[]),     // words, divided at signs
    ("source/oci/images.rs", &[]), // words, divided at signs
    ("source/oci/layout.rs", &["oci-index", "oci-manifest", "oci-config", "oci-archive"]),
    ("source/oci/platform.rs", &["image-words"]),
    ("source/oci/registry.rs", &["oci-storage"]),
    ("source/oci/store.rs", &["oci-archive"]),
    ("format/tar", &["tar", "oci-tar"]),
    ("source/ostree/encapsulated.rs", &["oci-config", "ostree-archive"]),
    ("source/ostree/refs.rs", &["ostree-ref"]),
    ("source/ostree/repository.rs", &["ostree-config", "ostree-ref"]),
    ("source/ostree/tarred.rs", &["ostree-archive"]),
    ("format/tar/split.rs", &["tar-split"]),
    ("source/spec.rs", &["image-words"]),
    ("image/programs.rs", &[]), // names of programs
    ("image/stacker/filesystem.rs", &["stacker-filesystem"]),
    ("image/stacker/fix.rs", &["stacker-metadata"]),
    ("image/stacker/metadata.rs", &["stacker-metadata"]),
];

/// The formats that plugins with a file `fuzz` import: their targets are the plugins.
fn of_plugins() -> BTreeSet<String> {
    let import = Regex::new(r"\bformat::(?:\{([^}]*)\}|([a-z0-9_]+))").expect("a pattern");
    let mut formats = BTreeSet::new();
    for (path, text) in sources() {
        let Some(path) = path.strip_prefix("plugins/") else { continue };
        let name = path.split(['/', '.']).next().unwrap_or_default().replace('_', "-");
        if !crate::evidence::folder(&name).join("fuzz").exists() {
            continue;
        }
        for found in import.captures_iter(&text) {
            let names = found.get(1).or(found.get(2)).map_or("", |names| names.as_str());
            formats.extend(names.split([',', ':']).map(|name| name.trim().to_owned()));
        }
    }
    formats
}

/// What a file that parses has in it, tests aside.
const PARSES: &str = r"(?x)
    serde_json::from_(slice|str|reader) | toml::from_str | deserialize_read
    | fn\ (parse|from_str)\b | fn\ read(_[a-z]+)?\((head|text|bytes):\ ";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file below `src`, from there, and its text up to its tests.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let files = walkdir::WalkDir::new(&src).sort_by_file_name().into_iter();
    files
        .map(|found| found.expect("readable").into_path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            let name = path.strip_prefix(&src).expect("below").to_str().expect("UTF-8");
            (name.to_owned(), text)
        })
        .collect()
}

/// The names of targets as `fuzz/all` finds them: rows of its tables, programs, plugins.
fn targets() -> BTreeSet<String> {
    let dir = root().join("fuzz/fuzz_targets");
    let row = Regex::new(r#"(?m)^    \("([a-z-]+)", "#).expect("a pattern");
    let mut names = BTreeSet::new();
    for table in ["parsers.rs", "parsers/documents.rs"] {
        let text = fs::read_to_string(dir.join(table)).expect("readable");
        names.extend(row.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    for program in crate::cases::names(&dir) {
        names.extend(program.strip_suffix(".rs").map(str::to_owned));
    }
    names.extend(reprofix::plugins::REGISTRY.iter().map(|p| p.page().name.to_owned()));
    names
}

#[test]
fn every_parser_has_a_fuzz_target() {
    let parses = Regex::new(PARSES).expect("a pattern");
    let covers = |path: &str, row: &str| Path::new(path).starts_with(row);
    let formats = of_plugins();
    let of_plugin = |path: &str| {
        let name = path.strip_prefix("format/").and_then(|rest| rest.split(['/', '.']).next());
        name.is_some_and(|name| formats.contains(name))
    };
    let without: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| path.starts_with("format/") || parses.is_match(text))
        .filter(|(path, _)| !of_plugin(path) && !TARGETS.iter().any(|(row, _)| covers(path, row)))
        .map(|(path, _)| path)
        .collect();
    assert!(
        without.is_empty(),
        "give the plugin a file `fuzz`, or add a row to PARSERS of fuzz/ and here: {without:?}"
    );
}

#[test]
fn every_row_names_what_there_is() {
    let known = targets();
    let paths: Vec<String> = sources().into_iter().map(|(path, _)| path).collect();
    for (row, names) in TARGETS {
        assert!(paths.iter().any(|path| Path::new(path).starts_with(row)), "no src/{row}");
        for name in *names {
            assert!(known.contains(*name), "src/{row}: no fuzz target {name}");
        }
    }
}

/// A target whose file cannot be started from anything finds little.
#[test]
fn every_target_has_seeds() {
    let all = fs::read_to_string(root().join("fuzz/all")).expect("readable");
    let row = Regex::new(r#"(?m)^    \("([a-z-]+)", "#).expect("a pattern");
    for table in ["parsers.rs", "parsers/documents.rs"] {
        let path = root().join("fuzz/fuzz_targets").join(table);
        let text = fs::read_to_string(path).expect("readable");
        for found in row.captures_iter(&text) {
            let named = all.contains(&format!("\n    \"{}\": ", &found[1]));
            assert!(named, "{}: no row in SEEDS or TEXTS of fuzz/all", &found[1]);
        }
    }
}
