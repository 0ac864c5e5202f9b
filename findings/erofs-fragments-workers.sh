#!/bin/bash
# erofs-utils 1.9.4 (Debian sid): workers and fragments.
#
# Guess:    the number of workers changes how long mkfs.erofs takes and no byte of the image, or every
#           option's image.
# Behaviour: with -zlz4hc alone or with -Ededupe the images of 0, 1, 2 and 4 workers are the same. With
#           -Efragments and -Eall-fragments that of 0 workers is another than the others', which agree; with
#           -Efragments,dedupe all agree again.
# Why here: an image of a build in a machine with one processor, or with --workers=0, has another digest.
# Seen:     -Ededupe: 1 image; -Efragments and -Eall-fragments: 2 images, 0 workers alone
# shellcheck disable=SC2016 # expanded by another shell or by perl
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include=erofs-utils=1.9.4-1 \
    --aptopt='Acquire::Check-Valid-Until "false"' sid "$work/root" 2>/dev/null
said=$(chroot "$work/root" sh -euc '
    mkdir -p /tmp/t
    cd /tmp
    for i in $(seq 1 60); do
        head -c $((i * 3000)) /dev/zero | tr "\0" a >t/a$i
        seq $i 4000 >t/s$i
    done
    for option in dedupe fragments all-fragments; do
        for workers in 0 1 2 4; do
            mkfs.erofs --quiet -U 11111111-2222-3333-4444-555555555555 -T 0 -zlz4hc -E$option \
                --workers=$workers $option-$workers t >/dev/null 2>&1
        done
        images=$(sha256sum $option-? | cut -c1-64 | sort -u | wc -l)
        others=$(sha256sum $option-[124] | cut -c1-64 | sort -u | wc -l)
        echo "-E$option: $images, $others of several workers"
    done')
echo "$said"
wanted="-Ededupe: 1, 1 of several workers
-Efragments: 2, 1 of several workers
-Eall-fragments: 2, 1 of several workers"
[ "$said" = "$wanted" ]
