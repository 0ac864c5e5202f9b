#!/bin/bash
# composefs (crates.io) 0.9.4: a directory that has an attribute which its whiteouts also need.
#
# Guess:    an inode has each extended attribute once, as C mkcomposefs 1.0.8 writes it (it replaces
#           the value).
# Behaviour: a directory with `user.overlay.opaque=A` of its own that holds a whiteout (a character
#           device 0:0) gets `user.overlay.opaque` a second time, with the value `x`: the inode in
#           the EROFS image has two attributes of one name. So the image and its fs-verity digest are
#           not those of C mkcomposefs for the same tree; without the attribute they are equal.
# Why here: the digest is what a sealed image carries; two implementations that disagree refuse each
#           other's images.
# Seen:     opaqueA 1, opaquex 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.1.0"
edition = "2021"
[dependencies]
composefs = { version = "=0.9.4", default-features = false }
END
cat >"$work/src/main.rs" <<'END'
use composefs::dumpfile::dumpfile_to_filesystem;
use composefs::erofs::format::FormatVersion;
use composefs::fsverity::Sha512HashValue;
use composefs::tree::FileSystem;

const DUMP: &str = "\
/ 0 40755 3 0 0 0 0.0 - - -
/d 0 40755 2 0 0 0 0.0 - - - user.overlay.opaque=A
/d/w 0 20000 1 0 0 0 0.0 - - -
";

fn main() {
    let tree: FileSystem<Sha512HashValue> = dumpfile_to_filesystem(DUMP).unwrap();
    let (image, _) = tree.compute_image_bytes(FormatVersion::V1);
    // An attribute of the prefix `user.` (number 1): lengths, then the rest of the name, then the value.
    let count = |value: u8| {
        let entry = [&[14, 1, 1, 0], &b"overlay.opaque"[..], &[value]].concat();
        image.windows(entry.len()).filter(|bytes| **bytes == entry[..]).count()
    };
    println!("opaqueA {}, opaquex {}", count(b'A'), count(b'x'));
}
END
(cd "$work" && cargo build --quiet)
said=$("$work/target/debug/finding")
echo "$said"
[ "$said" = "opaqueA 1, opaquex 1" ]
