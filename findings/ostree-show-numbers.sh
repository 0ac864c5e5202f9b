#!/bin/bash
# ostree 2022.7 (Debian 12): a number in a commit's metadata, written and shown by the same program.
#
# Guess:    `ostree commit --add-metadata=k='uint64 5'`, then `ostree show --print-metadata-key=k`, prints
#           5: metadata are kept in the byte order of the machine, as they were given.
# Behaviour: the stored bytes are 05 00 …, and what is shown is 360287970189639680, the same with its bytes
#           swapped: whoever shows commits takes every number in them for big-endian.
# Why here: flatpak stores its sizes big-endian so that they show right; which order a number has is known
#           by the name of its key alone.
# Seen:     uint64 360287970189639680
set -euo pipefail
version=$(ostree --version | sed -n "s/.*Version: '\(.*\)'/\1/p")
[ "$version" = 2022.7 ] || { echo "ostree $version, not 2022.7" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir tree
ostree --repo=repo init --mode=archive >/dev/null
ostree --repo=repo commit -b ref --tree=dir=tree --add-metadata=k='uint64 5' >/dev/null
said=$(ostree --repo=repo show --print-metadata-key=k ref)
echo "$said"
[ "$said" = "uint64 360287970189639680" ]
