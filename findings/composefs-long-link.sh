#!/bin/bash
# composefs (crates.io) 0.9.4: a symbolic link whose target is longer than 1024 bytes.
#
# Guess:    a target is taken up to what Linux allows, 4095 bytes.
# Behaviour: `dumpfile_to_filesystem` refuses 1025 bytes, naming the line; 1024 are taken. C
#           mkcomposefs 1.0.8 makes an image of either.
# Why here: a tree whose digest one implementation computes cannot be explained by a dump in the
#           other.
# Seen:     1024 taken, 1025 refused
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
use composefs::fsverity::Sha512HashValue;
use composefs::tree::FileSystem;

fn main() {
    for length in [1024, 1025] {
        let target = "t".repeat(length);
        let dump = format!(
            "/ 0 40755 2 0 0 0 0.0 - - -\n/l {length} 120777 1 0 0 0 0.0 {target} - -\n"
        );
        let read: Result<FileSystem<Sha512HashValue>, _> = dumpfile_to_filesystem(&dump);
        println!("{length} {}", if read.is_ok() { "taken" } else { "refused" });
    }
}
END
(cd "$work" && cargo build --quiet)
said=$("$work/target/debug/finding" | paste -sd , | sed 's/,/, /')
echo "$said"
[ "$said" = "1024 taken, 1025 refused" ]
