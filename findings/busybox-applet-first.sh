#!/bin/bash
# busybox 1.35.0 (Debian 12's busybox-static): a program in PATH that has an applet's name.
#
# Guess:    in a script that busybox's shell runs, `gzip f` is the gzip that is first in PATH, as `type`
#           says.
# Behaviour: the applet runs, though /usr/bin/gzip 1.12 is first in PATH: the header holds no time and no
#           name, where the same line of bash writes both.
# Why here: a build step differs between two shells, not between two compressors; in a container with
#           busybox's sh, installing gzip changes nothing.
# Seen:     busybox sh: flags 00; bash: flags 08 (a name)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download --quiet=2 busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null
dpkg-deb -x busybox-static_*.deb .
busybox=$PWD/bin/busybox
"$busybox" | head -n 1
echo x >g
cp g h
"$busybox" sh -c 'gzip g'
bash -c 'gzip h'
flags() { od -An -tx1 -j3 -N1 "$1" | tr -d ' '; }
said="busybox sh: flags $(flags g.gz); bash: flags $(flags h.gz)"
echo "$said"
[ "$said" = "busybox sh: flags 00; bash: flags 08" ]
