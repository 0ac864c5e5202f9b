#!/bin/bash
# dissect.extfs 3.15 (PyPI) and mke2fs 1.47.0 (Debian 12): an ext4 with the feature inline_data.
#
# Guess:    a reader that opens the file system lists what debugfs lists.
# Behaviour: a directory small enough to be kept in its inode is opened, a warning is logged, and the files
#           in it are not found; the same tree without the feature is read whole.
# Why here: a comparison by this reader takes two such images for equal that differ in those files.
# Seen:     plain: found; inline_data: not found
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' e2fsprogs)
[[ $version == 1.47.0-2* ]] || { echo "e2fsprogs $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip --quiet install dissect.extfs==3.15
mkdir -p tree/directory
echo x >tree/directory/file
look() {
    mke2fs -q -t ext4 -I 256 -O "$1" -d tree "$2" 20M >/dev/null
    debugfs -R 'ls directory' "$2" 2>/dev/null | grep -q file
    env/bin/python - "$2" 2>/dev/null <<'END'
import sys
from dissect.extfs import ExtFS

try:
    ExtFS(open(sys.argv[1], "rb")).get("/directory/file")
    print("found")
except FileNotFoundError:
    print("not found")
END
}
seen="plain: $(look ^inline_data plain.img); inline_data: $(look inline_data inline.img)"
echo "$seen"
[ "$seen" = "plain: found; inline_data: not found" ]
