#!/bin/bash
# zstandard (PyPI) 0.25.0, which carries libzstd 1.5.7: compression "with one thread".
#
# Guess:    threads=1 gives the bytes of threads=0 (no threads), and only the number of several
#           threads might matter; or the difference shows on any input.
# Behaviour: threads=1, 2 and 3 all give the same bytes, which are not those of threads=0; and on
#           data that is one job (here 3 MB at level 3) all four agree, so that a small test says
#           that they are equal.
# Why here: image layers and boot images that one builder compresses with a worker and another
#           without unpack to the same and have two digests, from a certain size on.
# Seen:     3000000 bytes: 0 = 1 = 2 = 3; 39000000 bytes: 0 differs, 1 = 2 = 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check zstandard==0.25.0
"$work/venv/bin/python" - <<'END'
import hashlib
import zstandard

assert zstandard.ZSTD_VERSION == (1, 5, 7), zstandard.ZSTD_VERSION
piece = b"".join(hashlib.sha256(bytes([n % 251, n // 251])).hexdigest().encode() for n in range(46875))


def digests(data):
    out = []
    for threads in range(4):
        packed = zstandard.ZstdCompressor(level=3, threads=threads).compress(data)
        out.append(hashlib.sha256(packed).hexdigest()[:12])
    print(f"{len(data)} bytes:", *out)
    return out


small = digests(piece)
large = digests(piece * 13)
assert len(set(small)) == 1, "one job: all agree"
assert large[0] != large[1] and len(set(large[1:])) == 1, "several jobs: none differs from one or more"
END
