#!/bin/bash
# Python 3.11 (Debian 12's python3-minimal): zipimport and the time of a module in an egg or zip.
#
# Guess:    bytecode in a zip is as good on every machine as on the one that packed it.
# Behaviour: the zip's time of m.py is taken for local time of whoever imports it, and compared with
#           the time in the header of m.pyc: packed in UTC, the bytecode counts where TZ is UTC and is
#           left aside, without a word, in any zone with another offset. An extra field with the time in
#           UTC is not read.
# Why here: an image whose zone differs from its builder's compiles every such module at each import,
#           and clamped times in zips decide whether bytecode in them counts.
# Seen:     UTC: bytecode; Asia/Kolkata: source
set -euo pipefail
python=/usr/bin/python3
[[ $($python -V) == "Python 3.11."* ]] || { echo "$($python -V), not 3.11" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
$python - <<'END'
import importlib.util
import marshal
import struct
import zipfile
from datetime import datetime, timezone

made = datetime(2027, 1, 15, 8, 0, 0, tzinfo=timezone.utc)
source = b'x = "source"\n'
code = compile('x = "bytecode"\n', "m.py", "exec")
head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(made.timestamp()), len(source))
with zipfile.ZipFile("m.egg", "w") as egg:
    for name, content in ("m.py", source), ("m.pyc", head + marshal.dumps(code)):
        egg.writestr(zipfile.ZipInfo(name, made.timetuple()[:6]), content)
END
imported() { TZ=$1 $python -c 'import sys; sys.path.insert(0, "m.egg"); import m; print(m.x)'; }
said="UTC: $(imported UTC); Asia/Kolkata: $(imported Asia/Kolkata)"
echo "$said"
[ "$said" = "UTC: bytecode; Asia/Kolkata: source" ]
