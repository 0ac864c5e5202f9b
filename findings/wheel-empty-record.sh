#!/bin/bash
# pip 25.3 and uv 0.9.30 (PyPI): a wheel whose RECORD lists nothing.
#
# Guess:    an installer computes a digest for every file that it installs, or refuses the wheel.
# Behaviour: both install it without a word. pip writes a RECORD that lists the wheel's files without
#           digests; uv writes one that lists what uv itself made and none of them, so that
#           `uv pip uninstall` says that it uninstalled the package and leaves all of it.
# Why here: RECORD is what vouches for the files of an image's packages, and by it they are removed.
# Seen:     pip: m/__init__.py,, and gone; uv: not listed, and left
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p w/m w/m-1.dist-info
echo 'X = 1' >w/m/__init__.py
printf 'Metadata-Version: 2.1\nName: m\nVersion: 1\n' >w/m-1.dist-info/METADATA
printf 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n' >w/m-1.dist-info/WHEEL
: >w/m-1.dist-info/RECORD
(cd w && python3 -m zipfile -c ../m-1-py3-none-any.whl m m-1.dist-info)
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check pip==25.3 uv==0.9.30
export PYTHONDONTWRITEBYTECODE=1
seen() { # NAME INSTALL... -- UNINSTALL...: how RECORD lists the file, and whether it goes
    local name=$1 place
    python3 -m venv --without-pip "$name"
    place=$(echo "$name"/lib/python3.*/site-packages)
    "install_$name" "$place"
    listed=$(grep '^m/__init__.py' "$place/m-1.dist-info/RECORD" | tr -d '\r' || echo "not listed")
    "uninstall_$name"
    left=$(test -e "$place/m/__init__.py" && echo left || echo gone)
    echo "$name: $listed and $left"
}
install_pip() { tools/bin/pip --python pip/bin/python install --quiet --no-compile --no-index ./m-1-py3-none-any.whl; }
uninstall_pip() { tools/bin/pip --python pip/bin/python uninstall --quiet --yes m; }
install_uv() { tools/bin/uv pip install --quiet --no-index --python uv/bin/python ./m-1-py3-none-any.whl; }
uninstall_uv() { tools/bin/uv pip uninstall --quiet --python uv/bin/python m; }
said=$(seen pip; seen uv)
echo "$said"
[ "$said" = $'pip: m/__init__.py,, and gone\nuv: not listed and left' ]
