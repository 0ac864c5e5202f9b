#!/bin/bash
# mke2fs 1.47.0 (Debian 12): `-d` with a symbolic link of 1,400 bytes.
#
# Guess:    what the source's file system holds, up to 4,095 bytes, goes into any ext4.
# Behaviour: a target as long as a block or longer is refused, and an image below 512 MB has blocks of 1 KiB:
#           the same tree fits into a large image and not into a small one, unless `-b 4096` is given.
# Seen:     48M: refused, 48M with -b 4096: made, 600M: made
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' e2fsprogs)
[[ $version == 1.47.0-2* ]] || { echo "e2fsprogs $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir tree
ln -s "$(printf 'a/%.0s' $(seq 700))" tree/link
make() {
    rm -f image
    truncate -s "$1" image
    if mke2fs -q -F -t ext4 "${@:2}" -d tree image >/dev/null 2>&1; then echo made; else echo refused; fi
}
seen="48M: $(make 48M), 48M with -b 4096: $(make 48M -b 4096), 600M: $(make 600M)"
echo "$seen"
[ "$seen" = "48M: refused, 48M with -b 4096: made, 600M: made" ]
