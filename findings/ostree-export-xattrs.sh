#!/bin/bash
# ostree 2022.7 (Debian 12): a commit exported as tar and committed again.
#
# Guess:    `ostree export` and `ostree commit --tree=tar=` are each other's inverse: the second commit
#           has the first's content checksum.
# Behaviour: export leaves out every extended attribute, file capabilities too, without a message; import
#           does read them where GNU tar wrote them. So the way through tar gives another checksum.
# Why here: who compares or rebuilds a commit by its tar compares less than the commit holds.
# Seen:     in the first commit user.k, after export none, after GNU tar user.k
set -euo pipefail
version=$(ostree --version | sed -n "s/.*Version: '\(.*\)'/\1/p")
[ "$version" = 2022.7 ] || { echo "ostree $version, not 2022.7" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir tree
echo x >tree/file
python3 -c 'import os; os.setxattr("tree/file", "user.k", b"v")'
ostree --repo=repo init --mode=archive >/dev/null
attributes() { ostree --repo=repo ls -X "$1" /file | grep -c user.k || true; }
ostree --repo=repo commit -b tree --tree=dir=tree >/dev/null
ostree --repo=repo export tree >export.tar
ostree --repo=repo commit -b export --tree=tar=export.tar >/dev/null
tar --xattrs --xattrs-include='*' -C tree -cf gnu.tar .
ostree --repo=repo commit -b gnu --tree=tar=gnu.tar >/dev/null
seen="committed $(attributes tree), exported $(attributes export), GNU tar $(attributes gnu)"
echo "$seen"
[ "$seen" = "committed 1, exported 0, GNU tar 1" ]
