#!/bin/bash
# Python 3.11 (Debian 12's python3-minimal): gzip.compress with a time that is set.
#
# Guess:    of `gzip.compress(data, mtime=T)` only the four bytes of the time depend on T.
# Behaviour: mtime=0, and no other, goes another way through zlib, which writes operating system 3 (Unix)
#           into the header; every other time comes with 255 (unknown), as GzipFile writes for 0 too. 3.14
#           (Debian sid) writes 255 for all.
# Why here: two builders that both clear the time, one with compress and one with GzipFile, or with two
#           versions of Python, differ in a byte that no time explains.
# Seen:     compress 0: 3, compress 1: 255, GzipFile 0: 255
set -euo pipefail
python=/usr/bin/python3
[[ $($python -V) == "Python 3.11."* ]] || { echo "$($python -V), not 3.11" >&2; exit 1; }
said=$($python - <<'END'
import gzip
import io

file = io.BytesIO()
with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packer:
    packer.write(b"x")
zero, one = (gzip.compress(b"x", mtime=time)[9] for time in (0, 1))
print(f"compress 0: {zero}, compress 1: {one}, GzipFile 0: {file.getvalue()[9]}")
END
)
echo "$said"
[ "$said" = "compress 0: 3, compress 1: 255, GzipFile 0: 255" ]
