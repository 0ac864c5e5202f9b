#!/bin/bash
# backhand 0.25.5 (crates.io) and mksquashfs 4.5.1 (Debian 12): a squashfs read and written again by the crate.
#
# Guess:    what the crate reads it writes: FilesystemWriter::from_fs_reader, then write, gives an image
#           that unpacks to the same tree.
# Behaviour: extended attributes are gone, file capabilities with them, and each name of a hard link is a
#           file of its own; no error, and neither is in what FilesystemReader shows, so a comparison by
#           the crate calls two images equal that differ in them.
# Seen:     mksquashfs: 1 attribute id, 2 names of one file; backhand: 0, 1
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' squashfs-tools)
[[ $version == 1:4.5.1-1* ]] || { echo "squashfs-tools $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir tree
echo x >tree/one
ln tree/one tree/two
python3 -c 'import os; os.setxattr("tree/one", "user.k", b"v")'
mksquashfs tree first.squashfs -quiet -comp gzip >/dev/null
mkdir -p again/src
cat >again/Cargo.toml <<'END'
[package]
name = "again"
version = "0.1.0"
edition = "2021"

[dependencies]
backhand = { version = "=0.25.5", default-features = false, features = ["gzip"] }
END
cat >again/src/main.rs <<'END'
use backhand::{FilesystemReader, FilesystemWriter};
use std::{fs::File, io::BufReader};

fn main() {
    let image = BufReader::new(File::open("first.squashfs").unwrap());
    let read = FilesystemReader::from_reader(image).unwrap();
    let mut writer = FilesystemWriter::from_fs_reader(&read).unwrap();
    writer.write(&mut File::create("second.squashfs").unwrap()).unwrap();
}
END
cargo build --quiet --manifest-path again/Cargo.toml
again/target/debug/again
describe() {
    unsquashfs -s "$1" | sed -n 's/^Number of xattr ids //p'
    unsquashfs -q -n -d "$1.tree" "$1" >/dev/null
    stat -c %h "$1.tree/one"
}
seen="mksquashfs: $(describe first.squashfs | xargs); backhand: $(describe second.squashfs | xargs)"
echo "$seen"
[ "$seen" = "mksquashfs: 1 2; backhand: 0 1" ]
