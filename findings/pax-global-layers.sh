#!/bin/bash
# buildah 1.28.2 and umoci 0.4.7 (Debian 12): an image layer with a PAX global header.
#
# Guess:    a global header's uid and gid hold for the members after it, as POSIX says and as GNU tar
#           and Python read it; unpackers of images agree.
# Behaviour: buildah ignores the global header: a member without an owner of its own (uid 0 in its
#           header) that GNU tar reads as 1000:1000 is unpacked as 0:0. umoci refuses the layer.
# Why here: who normalizes or squashes layers must write such owners into each member.
# Seen:     tar 1000/1000, buildah 0:0, umoci: unknown typeflag '\x67'
set -euo pipefail
versions() { dpkg-query -W -f '${Version} ' buildah umoci; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The packages are Debian 12's; another version is another finding.
case $(versions) in
"1.28.2+ds1-3"*" 0.4.7+ds-3"*) ;;
*) echo "not Debian 12's buildah and umoci: $(versions)" >&2; exit 1 ;;
esac
cd "$work"
python3 - layer.tar <<'END'
import io, sys, tarfile

with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT, pax_headers={"uid": "1000", "gid": "1000"}) as tar:
    member = tarfile.TarInfo("file")
    member.size = 1
    tar.addfile(member, io.BytesIO(b"x"))
END
tar=$(tar --numeric-owner -tvf layer.tar | awk '{ print $2 }')
umoci init --layout layout
umoci new --image layout:t
umoci raw add-layer --image layout:t layer.tar
umoci=$(umoci unpack --image layout:t "$work/bundle" 2>&1 | grep -o 'unknown typeflag .*' | head -1 || true)
store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs)
container=$(buildah "${store[@]}" from oci:layout:t)
buildah=$(stat -c %u:%g "$(buildah "${store[@]}" mount "$container")/file")
buildah "${store[@]}" rm "$container" >/dev/null
echo "tar $tar, buildah $buildah, umoci: $umoci"
[ "$tar" = 1000/1000 ] && [ "$buildah" = 0:0 ] && [[ $umoci == "unknown typeflag '\\x67'"* ]]
