#!/bin/bash
# bsdtar 3.6.2 (Debian 12's libarchive-tools): mkinitcpio's pipeline, `bsdtar -c … | bsdtar --format=newc @-`.
#
# Guess:    the second name of a hard link becomes what cpio writes: a regular file (0100644) with
#           the first one's inode number and two links.
# Behaviour: its header has no file type (mode 0000644), an inode number of its own and no links.
#           GNU cpio and the kernel drop such an entry, so the name is missing from the boot image.
#           The same in libarchive 3.7.4 (Debian 13) and 3.8.10 (sid).
# Why here: boot images of Arch's mkinitcpio are made this way; reordering entries must not hide it.
# Seen:     modes 000081a4 000001a4, links 00000000 00000000; cpio makes one of the two names
set -euo pipefail
version=$(bsdtar --version | cut -d' ' -f2)
[ "$version" = 3.6.2 ] || { echo "bsdtar $version, not 3.6.2" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir d
echo x >d/f
ln d/f d/g
printf 'd\nd/f\nd/g\n' | bsdtar -cnf - -T - | bsdtar -cf out.cpio --format=newc @-
fields() { # OFFSET: eight digits of the header of each file
    grep -abo '070701' out.cpio | cut -d: -f1 | while read -r at; do
        name=$(tail -c +$((at + 111)) out.cpio | head -c 3 | tr -d "\0")
        case $name in d/f | d/g) tail -c +$((at + 1 + $1)) out.cpio | head -c 8; echo ;; esac
    done | paste -sd ' '
}
modes=$(fields 14) links=$(fields 38)
mkdir made
(cd made && cpio -i --quiet <../out.cpio 2>/dev/null) || true
made=$(find made -type f | wc -l)
echo "modes $modes, links $links; cpio makes $made of the two names"
[ "$modes" = "000081a4 000001a4" ] && [ "$links" = "00000000 00000000" ] && [ "$made" = 1 ]
