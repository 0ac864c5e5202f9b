#!/bin/bash
# backports.tarfile (PyPI) 1.2.0, the standard library's reader: a header with the old GNU magic that
# records access and change time.
#
# Guess:    the bytes from 345 on are a path's prefix only under ustar's magic; under GNU's they are
#           times, so the member is called what its name field says.
# Behaviour: they are taken for the prefix under both: the member of `d/a` is called
#           `00000030071/d/a`. GNU tar calls it `d/a`.
# Why here: an oracle of image layers that is built on it names files that no unpacker makes.
# Seen:     tarfile 00000030071/d/a, tar d/a
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check backports.tarfile==1.2.0
"$work/venv/bin/python" - "$work/a.tar" <<'END'
import sys

header = bytearray(512)


def put(at, text):
    header[at : at + len(text)] = text


put(0, b"d/a")
put(100, b"0000644\0")
put(108, b"0000000\0")
put(116, b"0000000\0")
put(124, b"00000000000\0")
put(136, b"00000000000\0")
put(156, b"0")
put(257, b"ustar  \0")
put(345, b"00000030071\0")
put(148, b"        ")
put(148, b"%06o\0 " % sum(header))
open(sys.argv[1], "wb").write(bytes(header) + bytes(1024))
END
theirs=$("$work/venv/bin/python" -c 'import sys
from backports import tarfile
print(*tarfile.open(sys.argv[1]).getnames())' "$work/a.tar")
gnu=$(tar -tf "$work/a.tar")
echo "tarfile $theirs, tar $gnu"
[ "$theirs" = 00000030071/d/a ] && [ "$gnu" = d/a ]
