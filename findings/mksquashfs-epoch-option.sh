#!/bin/bash
# mksquashfs 4.5.1 (Debian 12; 4.6.1 and 4.7.5 do the same): SOURCE_DATE_EPOCH and a time option together.
#
# Guess:    an option on the command line overrides the variable, as in mkfs.erofs the variable overrides
#           the option.
# Behaviour: neither: it stops with an error, so a build that sets the variable for all its programs fails
#           once one of them gives a time of its own.
# Seen:     can't be used at the same time
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' squashfs-tools)
[[ $version == 1:4.5.1-1* ]] || { echo "squashfs-tools $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir tree
mksquashfs tree option.squashfs -quiet -mkfs-time 5 >/dev/null
SOURCE_DATE_EPOCH=1700000000 mksquashfs tree variable.squashfs -quiet >/dev/null
said=$(SOURCE_DATE_EPOCH=1700000000 mksquashfs tree both.squashfs -quiet -mkfs-time 5 2>&1 || true)
echo "$said"
[[ $said == *"can't be used at the same time"* ]] && [ ! -e both.squashfs ]
