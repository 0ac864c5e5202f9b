#!/bin/bash
# createrepo_c 1.2.5 (PyPI): metadata of one package, made twice.
#
# Guess:    as rpm-md's own tool it takes revision and times from SOURCE_DATE_EPOCH, as rpm and rpmbuild do.
# Behaviour: the variable is not read: revision and each timestamp in repomd.xml are the clock. With
#           --revision=SECONDS --set-timestamp-to-revision two runs are the same files.
# Seen:     variable: differ, options: same
set -euo pipefail
export SOURCE_DATE_EPOCH=1700000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip --quiet install createrepo-c==1.2.5
mkdir repo
metadata() {
    rm -rf repo/repodata
    env/bin/createrepo_c --quiet "$@" repo
    (cd repo/repodata && sha256sum ./*)
}
twice() {
    metadata "$@" >first
    sleep 2
    metadata "$@" >second
    if cmp -s first second; then echo same; else echo differ; fi
}
seen="variable: $(twice), options: $(twice --revision=1700000000 --set-timestamp-to-revision)"
echo "$seen"
[ "$seen" = "variable: differ, options: same" ]
