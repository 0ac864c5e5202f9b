#!/bin/bash
# GNU objcopy 2.40 and systemd's EFI stub (Debian 12): a section added to the stub, as for a unified kernel image.
#
# Guess:    objcopy copies headers; with SOURCE_DATE_EPOCH set nothing in the result can have the clock.
# Behaviour: TimeDateStamp of the COFF header is the time of day, SOURCE_DATE_EPOCH or not, and the PE
#           checksum follows. `--preserve-dates`, which is documented for the times of files, keeps the
#           stub's own stamp: with it two runs are one file.
# Seen:     plain: differ, -p: same
set -euo pipefail
versions=$(dpkg-query -W -f '${Version} ' binutils systemd-boot-efi)
case $versions in
"2.40-"*" 252."*) ;;
*) echo "not Debian 12's binutils and systemd-boot-efi: $versions" >&2; exit 1 ;;
esac
export SOURCE_DATE_EPOCH=1700000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo quiet >options
stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub
add() { objcopy "$@" --add-section .cmdline=options --change-section-vma .cmdline=0x30000 "$stub" out.efi; }
twice() {
    add "$@" && mv out.efi first
    sleep 2
    add "$@" && if cmp -s first out.efi; then echo same; else echo differ; fi
}
seen="plain: $(twice), -p: $(twice -p)"
echo "$seen"
[ "$seen" = "plain: differ, -p: same" ]
