#!/bin/bash
# mke2fs 1.47.4 (Debian sid): SOURCE_DATE_EPOCH and -U.
#
# Guess:    with the time from SOURCE_DATE_EPOCH and the UUID from -U, `mke2fs -d TREE` makes the same image
#           twice: nothing else of it is random.
# Behaviour: the seed of the directories' hashes is random as well, unless -E hash_seed=UUID is given; with
#           it two images are equal, of two copies of the tree too.
# Why here: root and boot images of bootc and of image builders that are made with a fixed UUID.
# Seen:     -U: differ; -U and hash_seed: equal
# shellcheck disable=SC2016 # expanded by another shell or by perl
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include=e2fsprogs \
    --aptopt='Acquire::Check-Valid-Until "false"' sid "$work/root" 2>/dev/null
version=$(chroot "$work/root" dpkg-query -W -f '${Version}' e2fsprogs)
[[ $version == 1.47.4-* ]] || { echo "e2fsprogs $version, not 1.47.4" >&2; exit 1; }
said=$(chroot "$work/root" sh -euc '
    cd /tmp
    mkdir -p t/d
    seq 100 >t/d/a
    export SOURCE_DATE_EPOCH=1700000000
    id=11111111-2222-3333-4444-555555555555
    for n in 1 2; do
        mke2fs -q -F -t ext4 -d t -U $id plain-$n 16M
        mke2fs -q -F -t ext4 -d t -U $id -E hash_seed=$id seed-$n 16M
        sleep 2
    done
    two() { cmp -s $1-1 $1-2 && echo equal || echo differ; }
    echo "-U: $(two plain); -U and hash_seed: $(two seed)"')
echo "$said"
[ "$said" = "-U: differ; -U and hash_seed: equal" ]
