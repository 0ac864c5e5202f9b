#!/bin/bash
# mke2fs 1.47.0 (Debian 12; 1.47.2 and 1.47.4 do the same): `-O inline_data -d` with a file that ends in a hole.
#
# Guess:    `mke2fs -d` gives each file the size it has in the folder, whatever the features.
# Behaviour: with inline_data the file ends where its last data end; without, its size is right. `e2fsck -fn`
#           finds nothing wrong with either.
# Why here: two images of one tree, made with other features, do not have the same contents.
# Seen:     inline_data: 1049600 of 3145728, plain: 3145728
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' e2fsprogs)
[[ $version == 1.47.0-2* ]] || { echo "e2fsprogs $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir tree
truncate -s 3M tree/file
printf x | dd of=tree/file bs=1 seek=1048576 conv=notrunc status=none
size() {
    truncate -s 8M "$1.img"
    mke2fs -q -F -t ext4 -b 1024 -I 512 -O "$1" -d tree "$1.img" >/dev/null
    e2fsck -fn "$1.img" >/dev/null 2>&1
    debugfs -R 'stat file' "$1.img" 2>/dev/null | sed -n 's|^User.*Size: \([0-9]*\).*|\1|p'
}
seen="inline_data: $(size inline_data), plain: $(size ^inline_data)"
echo "$seen"
[ "$seen" = "inline_data: 1049600, plain: 3145728" ]
