#!/bin/bash
# install-info and update-info-dir of texinfo 6.8 (Debian 12): sections of info/dir.
#
# Guess:    the directory of manuals comes out in one order: sections are sorted, and update-info-dir, which
#           makes it from nothing, takes pages by name.
# Behaviour: sections are sorted without regard to case, and "Tools" and "tools" stay in the order in which
#           they came, which in update-info-dir is the disk's. Two folders with the same pages, filled in
#           two orders, give two files. The same in 7.3 (Debian sid).
# Why here: the remedy that everybody knows for a file that scriptlets append to is to make it anew at the
#           end; here that varies as well.
# Seen:     differ
set -euo pipefail
# A tmpfs lists its newest name first.
work=$(mktemp -d -p /dev/shm)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download --quiet=2 install-info=6.8-6+b1 2>/dev/null && dpkg-deb -x install-info_*.deb .)
PATH=$work/usr/bin:$work/usr/sbin:$PATH
install-info --version | head -n 1
names=(Tools tools TOOLS)
for side in up down; do
    mkdir "$work/$side"
    for n in $(if [ "$side" = up ]; then echo 0 1 2; else echo 2 1 0; fi); do
        printf 'x\n\nINFO-DIR-SECTION %s\nSTART-INFO-DIR-ENTRY\n* P%s: (p%s).  A page.\nEND-INFO-DIR-ENTRY\n' \
            "${names[$n]}" "$n" "$n" >"$work/$side/p$n.info"
    done
    update-info-dir "$work/$side" >/dev/null
done
said=$(cmp -s "$work/up/dir" "$work/down/dir" && echo equal || echo differ)
echo "$said"
[ "$said" = differ ]
