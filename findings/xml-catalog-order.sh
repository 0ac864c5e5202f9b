#!/bin/bash
# xml-core 0.19 (Debian 13): update-xmlcatalog on a catalog that has the entry already.
#
# Guess:    adding what is there leaves the file as it was.
# Behaviour: the whole catalog is written anew from a Perl hash, in another order at each run.
# Why here: /etc/xml/catalog differs between two composes that installed the same packages in one order.
# Seen:     8 runs, more than one order of the same lines
# shellcheck disable=SC2016 # expanded by another shell or by perl
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include=xml-core=0.19 trixie "$work/root" 2>/dev/null
chroot "$work/root" sh -euc '
    add() {
        update-xmlcatalog --add --type public --id "-//Bed//$1" --package bed --local /tmp/catalog.xml
        update-xmlcatalog --add --type public --id "-//Bed//$1" --root --package bed
    }
    echo "<catalog xmlns=\"urn:oasis:names:tc:entity:xmlns:xml:catalog\"/>" >/tmp/catalog.xml
    for n in 1 2 3 4 5 6; do add $n; done
    for n in 1 2 3 4 5 6 7 8; do
        add 6
        cp /etc/xml/catalog /tmp/after-$n
    done' >/dev/null
orders=$(sha256sum "$work"/root/tmp/after-* | cut -c1-64 | sort -u | wc -l)
contents=$(for file in "$work"/root/tmp/after-*; do sort "$file" | sha256sum; done | sort -u | wc -l)
echo "8 runs, $orders orders of $contents content"
[ "$orders" -gt 1 ] && [ "$contents" = 1 ]
