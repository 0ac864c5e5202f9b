#!/bin/bash
# zsh 5.9 (Debian 12): a compiled function (.zwc) that is older than its source, and one of the same time.
#
# Guess:    a reader that passes over a compiled file older than its source passes over it as well when all
#           times are set to one value: it was made of another source.
# Behaviour: as soon as both have one time the compiled file is taken, and the old function runs.
# Why here: clamping every time to SOURCE_DATE_EPOCH brings stale compiled files back to life.
# Seen:     older: new, equal: old
set -euo pipefail
if ! command -v zsh >/dev/null; then
    echo "zsh is not installed: apt-get install zsh" >&2
    exit 1
fi
version=$(zsh --version | cut -d' ' -f2)
[ "$version" = 5.9 ] || { echo "zsh $version, not 5.9" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo 'echo old' >run
zsh -fc 'zcompile run'
echo 'echo new' >run
result() {
    touch -d "@$1" run.zwc
    touch -d @2000 run
    zsh -fc 'fpath=(.); autoload -Uz run; run'
}
seen="older: $(result 1000), equal: $(result 2000)"
echo "$seen"
[ "$seen" = "older: new, equal: old" ]
