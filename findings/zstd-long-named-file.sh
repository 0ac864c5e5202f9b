#!/bin/bash
# zstd 1.5.4 (Debian 12): `--long=27` on a file that is named and on the same file as standard input.
#
# Guess:    the frame has one header, with the window that --long=27 asks for.
# Behaviour: a named file is a single segment: its header has the size and no window at all. From standard
#           input it has a window of 128 MiB and no size.
# Why here: the level that a frame was written with cannot be guessed from its window, and a program that
#           pipes writes other bytes than one that names the file.
# Seen:     named: single segment; piped: window descriptor 88
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' zstd)
[[ $version == 1.5.4+dfsg2-5* ]] || { echo "zstd $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
head -c 8000000 /dev/urandom >file
header() { od -An -tx1 -j4 -N2 "$1" | tr -d ' '; }
zstd -q -3 --long=27 file -o named.zst
zstd -q -3 --long=27 <file >piped.zst
named=$(header named.zst)
piped=$(header piped.zst)
echo "named: $named; piped: $piped"
# The bit 0x20 of the frame header's descriptor is the single segment; 0x88 is 2^27 bytes.
(((0x${named:0:2} & 0x20) != 0)) && [ "$piped" = 0488 ]
