#!/bin/bash
# Postfix 3.10 (Debian 13): alias databases of the same aliases.
#
# Guess:    `postalias cdb:FILE` of one file gives one database: cdb and lmdb keep entries in the order in
#           which they come.
# Behaviour: two entries come from elsewhere: YP_LAST_MODIFIED, the seconds of the run, and YP_MASTER_NAME,
#           the machine's host name, for NIS. No option and no variable leaves them out; postmap, which
#           writes the same formats, adds neither.
# Why here: newaliases runs in scriptlets of mail servers, and leaves the builder's name and clock in etc.
# Seen:     postalias: differ, YP_LAST_MODIFIED YP_MASTER_NAME; postmap: equal
# shellcheck disable=SC2016 # expanded by another shell or by perl
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mmdebstrap --quiet --variant=minbase --include=postfix,postfix-cdb trixie "$work/root" 2>/dev/null
version=$(chroot "$work/root" postconf -h mail_version)
[[ $version == 3.10.* ]] || { echo "Postfix $version, not 3.10" >&2; exit 1; }
said=$(chroot "$work/root" sh -euc '
    postconf compatibility_level=3.6
    printf "bed: root\n" >/tmp/aliases
    printf "bed root\n" >/tmp/map
    for n in 1 2; do
        postalias cdb:/tmp/aliases
        postmap cdb:/tmp/map
        mv /tmp/aliases.cdb /tmp/aliases-$n
        mv /tmp/map.cdb /tmp/map-$n
        sleep 2
    done
    two() { cmp -s /tmp/$1-1 /tmp/$1-2 && echo equal || echo differ; }
    names=$(grep -ao "YP_LAST_MODIFIED\|YP_MASTER_NAME" /tmp/aliases-1 | paste -sd " ")
    echo "postalias: $(two aliases), $names; postmap: $(two map)"')
echo "$said"
[ "$said" = "postalias: differ, YP_LAST_MODIFIED YP_MASTER_NAME; postmap: equal" ]
