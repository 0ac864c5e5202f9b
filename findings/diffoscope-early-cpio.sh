#!/bin/bash
# diffoscope 332 (PyPI), two boot images with an early archive, as dracut writes them for microcode.
#
# Guess:    diffoscope knows initramfs images: it names the file inside that differs.
# Behaviour: it reads the first of the archives that an image is made of. Where that is equal, it says that
#           there are no file-specific differences and prints the bytes; the file is never named, compressed
#           or not. With one archive it is.
# Seen:     one archive: etc/file named; two: not named
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip --quiet install diffoscope==332
archive() { (cd "$1" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc); }
mkdir -p early/kernel/x86/microcode a/etc b/etc
echo microcode >early/kernel/x86/microcode/GenuineIntel.bin
echo 1 >a/etc/file
echo 2 >b/etc/file
touch -d @0 a/etc/file b/etc/file a/etc b/etc a b
for build in a b; do
    archive "$build" >"$build.one"
    { archive early && archive "$build"; } >"$build.two"
done
named() {
    env/bin/diffoscope --text report "$1" "$2" 2>/dev/null || true
    if grep -q '── etc/file$' report; then echo named; else echo "not named"; fi
}
seen="one archive: $(named a.one b.one); two: $(named a.two b.two)"
echo "$seen"
[ "$seen" = "one archive: named; two: not named" ]
