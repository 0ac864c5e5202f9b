//! The table of docs/limits.md against the constants in the code.

use std::path::Path;

/// The start of a row, what it says, the file, and the constant there.
const ROWS: &[[&str; 4]] = &[
    ["rewritten content kept", "64 MiB", "engine/plan.rs", "KEPT_BYTES: usize = 64 << 20"],
    ["a file of digests", "16 MiB", "vouchers/directory.rs", "SUMS_MAX: u64 = 16 << 20"],
    ["a wheel's RECORD", "64 MiB", "vouchers/directory.rs", "RECORD_MAX: u64 = 64 << 20"],
    ["pacman's mtree", "256 MiB", "packages/foreign.rs", "MTREE_MAX: u64 = 256 << 20"],
    ["gzip: content", "16 GiB", "format/gzip.rs", "INFLATED_MAX: u64 = 16 << 30"],
    ["javadoc: bytes", "4096", "format/javadoc.rs", "HEAD: usize = 4096"],
    ["Python bytecode: objects", "200 deep", "format/pyc/marshal.rs", "DEPTH_MAX: usize = 200"],
    [
        "Python bytecode: objects",
        "1,000,000",
        "format/pyc/marshal.rs",
        "OBJECTS_MAX: usize = 1_000_000",
    ],
    ["Python bytecode: elements", "4 MiB", "format/pyc/marshal.rs", "SORTED_MAX: usize = 4 << 20"],
    ["initramfs: bytes that", "64 MiB", "format/initramfs/plan.rs", "SPLIT_MAX: u64 = 64 << 20"],
    [
        "initramfs: a file inside",
        "16 MiB",
        "format/initramfs/canonical.rs",
        "INSIDE_MAX: u32 = 16 << 20",
    ],
    ["compressed streams", "128 MiB", "format/compress/mod.rs", "WINDOW_MAX: u32 = 1 << 27"],
    ["rpm headers", "65,535", "format/rpmdb/header.rs", "MAX_ENTRIES: usize = 65_535"],
    ["rpm headers", "256 MiB", "format/rpmdb/header.rs", "MAX_DATA: usize = 256 << 20"],
    ["GVDB, MIME cache", "64, 256, 4096", "format/hwdb.rs", "DEPTH: usize = 4096"],
    ["SELinux: a module", "64 MiB", "format/selinux.rs", "UNPACKED_MAX: u64 = 64 << 20"],
    [
        "OCI: manifest",
        "4 MiB, 1 MiB, 8, 512",
        "source/oci/limits.rs",
        "MANIFEST_BYTES: u64 = 4 << 20",
    ],
    [
        "OCI: manifest",
        "4 MiB, 1 MiB, 8, 512",
        "source/oci/limits.rs",
        "CONFIG_BYTES: u64 = 1 << 20",
    ],
    ["OCI: manifest", "4 MiB, 1 MiB, 8, 512", "source/oci/limits.rs", "LAYERS: usize = 512"],
    ["OCI: ratio", "300 to 1 beyond 256 MiB", "source/oci/limits.rs", "RATIO: u64 = 300"],
    ["container storage", "8 MiB", "format/tar/split.rs", "RECORD_BYTES: u64 = 8 << 20"],
    ["a registry's storage", "128, 256 bytes", "source/oci/registry.rs", "NAME_DEPTH: usize = 128"],
    ["paths of a tree", "4,000,000", "tree/digest.rs", "NAMES_MAX: usize = 4_000_000"],
    ["paths of a tree", "4096 bytes", "tree/digest.rs", "PATH_MAX: usize = 4096"],
    ["a message to a webhook", "16 MiB", "bin/reprofix-post.rs", "MOST: u64 = 16 << 20"],
    ["opm: YAML", "64 MiB, 128, 1 GiB", "image/opm/document.rs", "YAML_BYTES: u64 = 64 << 20"],
    ["opm: YAML", "64 MiB, 128, 1 GiB", "image/opm/pogreb.rs", "SEGMENT_BYTES: u64 = 1 << 30"],
];

#[test]
fn the_documented_limits_are_those_of_the_code() {
    let text = include_str!("../../docs/limits.md");
    for [row, says, file, constant] in ROWS {
        let line = text.lines().find(|line| line.starts_with(&format!("| {row}")));
        let line = line.unwrap_or_else(|| panic!("docs/limits.md has no row {row}"));
        assert!(line.contains(says), "{line}: not {says}");
        let code = std::fs::read_to_string(Path::new("src").join(file)).expect("reads");
        assert!(code.contains(&format!("const {constant};")), "{file}: {row}: not {constant}");
    }
}

/// The last column names places of the code that exist.
#[test]
fn the_places_of_limits_exist() {
    let text = include_str!("../../docs/limits.md");
    let table = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut count = 0;
    for line in table.take_while(|line| line.starts_with('|')) {
        let place = line.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        for name in place.split(',').map(|name| name.trim().trim_matches('`')) {
            let there = ["", ".rs"].map(|end| Path::new("src").join(format!("{name}{end}")));
            assert!(there.iter().any(|path| path.exists()), "{line}: {name} does not exist");
            count += 1;
        }
    }
    assert!(count > 25, "{count}");
}
