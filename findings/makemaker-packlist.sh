#!/bin/bash
# ExtUtils::MakeMaker of perl 5.36 (Debian 12): what `make install DESTDIR=…` notes of itself.
#
# Guess:    .packlist has the paths of the installed system: DESTDIR is where files are staged, and no
#           file of them may hold it.
# Behaviour: every line of .packlist begins with DESTDIR, so that it names the build's folder and no file
#           that is there later.
# Why here: a path of the build in an image, in a file whose content nobody looks at.
# Seen:     STAGE/usr/local/share/perl/5.36.0/Bed.pm
# shellcheck disable=SC2016 # expanded by another shell or by perl
set -euo pipefail
perl=/usr/bin/perl
[[ $($perl -e 'print $^V') == v5.36.* ]] || { echo "perl $($perl -e 'print $^V'), not 5.36" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/dist/lib"
cd "$work/dist"
echo 'package Bed; our $VERSION = 1; 1;' >lib/Bed.pm
echo 'use ExtUtils::MakeMaker; WriteMakefile(NAME => "Bed", VERSION => 1);' >Makefile.PL
{ $perl Makefile.PL && make && make install DESTDIR="$work/STAGE"; } >/dev/null
said=$(find "$work/STAGE" -name .packlist -exec cat {} + | sed "s,^$work/,,")
echo "$said"
[[ $said == STAGE/usr/local/share/perl/5.36.*/Bed.pm ]]
