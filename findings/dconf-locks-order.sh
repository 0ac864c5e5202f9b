#!/bin/bash
# dconf 0.40.0 (Debian 12's dconf-cli): databases compiled of the same files.
#
# Guess:    `dconf update` writes the same bytes wherever the same key files and locks are compiled: it
#           sorts the key files.
# Behaviour: the files of locks/ are read in the order of the disk, and locks whose hashes share a bucket
#           are stored in the order in which they came. dconf reads the same of both. 51.0 does the same
#           (Debian sid). With a handful of names that share no bucket nothing shows.
# Why here: two composes with one configuration and two orders on their disks.
# Seen:     differ
set -euo pipefail
version=$(dconf --version 2>/dev/null || dpkg-query -W -f '${Version}' dconf-cli)
[[ $version == *0.40.0* ]] || { echo "dconf $version, not 0.40.0" >&2; exit 1; }
# A tmpfs lists its newest name first.
work=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work"' EXIT
for side in up down; do
    mkdir -p "$work/$side/local.d/locks"
    for n in $(seq 12 | if [ "$side" = up ]; then cat; else tac; fi); do
        printf '/org/example/%s/key\n/org/example/%s/other\n' "$n" "$n" >"$work/$side/local.d/locks/$n"
    done
    dconf compile "$work/$side/local" "$work/$side/local.d"
done
said=$(cmp -s "$work/up/local" "$work/down/local" && echo equal || echo differ)
echo "$said"
[ "$said" = differ ]
