#!/bin/bash
# rpm 4.18.0 (Debian 12): a query of a database that nothing else has open.
#
# Guess:    `rpm -qa` reads, and leaves the directory of the database as it was.
# Behaviour: it leaves rpmdb.sqlite-shm and an empty rpmdb.sqlite-wal, as the database is in WAL mode and
#           the last one to close it does not tidy up.
# Why here: one query between the last step of a compose and the commit adds two paths to the image.
# Seen:     rpmdb.sqlite, then rpmdb.sqlite rpmdb.sqlite-shm rpmdb.sqlite-wal
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' rpm)
[[ $version == 4.18.0+dfsg-1* ]] || { echo "rpm $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rpm --dbpath "$work/db" --define '_db_backend sqlite' --initdb
cd "$work/db"
rm -f rpmdb.sqlite-shm rpmdb.sqlite-wal .rpm.lock
rpm --dbpath "$work/db" --define '_db_backend sqlite' -qa
seen=$(printf '%s ' *)
echo "$seen"
[ "$seen" = "rpmdb.sqlite rpmdb.sqlite-shm rpmdb.sqlite-wal " ]
