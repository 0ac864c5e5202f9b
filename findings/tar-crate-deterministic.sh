#!/bin/bash
# tar (crates.io) 0.4.46: `HeaderMode::Deterministic` with `append_dir_all`.
#
# Guess:    the archive depends on names and contents alone: members sorted, time 0 or
#           SOURCE_DATE_EPOCH.
# Behaviour: every member has the time 1153704088 (2006-07-24), whatever SOURCE_DATE_EPOCH says, and
#           members come in the order in which the file system lists the directory: on a tmpfs, that
#           in which they were made. Two folders with equal files give two archives.
# Why here: layers and add-files archives are written with it (cargo's own packages too).
# Seen:     x/ 1153704088 | x/b 1153704088 | x/a 1153704088 | x/c 1153704088
#           and for the other order: x/ 1153704088 | x/c 1153704088 | x/a 1153704088 | x/b 1153704088
#           (a tmpfs of kernels before 6.6 lists the newest first: the two lines change places)
set -euo pipefail
work=$(mktemp -d)
shm=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work" "$shm"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.1.0"
edition = "2021"
[dependencies]
tar = "=0.4.46"
END
cat >"$work/src/main.rs" <<'END'
fn main() {
    let mut builder = tar::Builder::new(Vec::new());
    builder.mode(tar::HeaderMode::Deterministic);
    builder.append_dir_all("x", std::env::args().nth(1).unwrap()).unwrap();
    let archive = builder.into_inner().unwrap();
    let mut line = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        line.push(format!("{path} {}", entry.header().mtime().unwrap()));
    }
    println!("{}", line.join(" | "));
}
END
(cd "$work" && cargo build --quiet)
mkdir "$shm/one" "$shm/two"
for name in b a c; do echo "$name" >"$shm/one/$name"; done
for name in c a b; do echo "$name" >"$shm/two/$name"; done
export SOURCE_DATE_EPOCH=1700000000
one=$("$work/target/debug/finding" "$shm/one")
two=$("$work/target/debug/finding" "$shm/two")
printf '%s\n%s\n' "$one" "$two"
first="x/ 1153704088 | x/b 1153704088 | x/a 1153704088 | x/c 1153704088"
second="x/ 1153704088 | x/c 1153704088 | x/a 1153704088 | x/b 1153704088"
[ "$one$two" = "$first$second" ] || [ "$one$two" = "$second$first" ]
