#!/bin/bash
# OpenJDK 17 (Debian 12's openjdk-17-jdk-headless): class-data archives and the times of what is in them.
#
# Guess:    an archive is taken as long as the classes are the same; or, if times count, those of the
#           JDK's own lib/modules count as a jar's do.
# Behaviour: another time of the application's jar, with the same bytes, and the archive is refused
#           (-Xshare:on ends with exit 1, -Xshare:auto goes on without it and without a word). 25 does
#           the same, for AOT caches too, and does not mind the time of lib/modules.
# Why here: times that are clamped, or that ostree sets to zero at a checkout, disable every archive of
#           an application in an image.
# Seen:     before: 0, after touch: 1
set -euo pipefail
java=$(find /usr/lib/jvm -path '*17*/bin/java' | head -n 1)
[ -x "$java" ] || { echo "OpenJDK 17 is not installed" >&2; exit 1; }
"$java" -version 2>&1 | head -n 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo 'class A { public static void main(String[] a) { System.out.println("a"); } }' >A.java
"${java}c" A.java
"${java%java}jar" -c -f a.jar A.class
"$java" -XX:ArchiveClassesAtExit=a.jsa -cp a.jar A >/dev/null 2>&1
run() { "$java" -Xshare:on -XX:SharedArchiveFile=a.jsa -cp a.jar A >/dev/null 2>&1 && echo 0 || echo $?; }
before=$(run)
touch -d 2020-01-01 a.jar
said="before: $before, after touch: $(run)"
echo "$said"
[ "$said" = "before: 0, after touch: 1" ]
