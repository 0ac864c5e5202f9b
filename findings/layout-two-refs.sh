#!/bin/bash
# skopeo 1.9.3 and umoci 0.4.7 (Debian 12): an OCI layout with two images of one reference name.
#
# Guess:    programs agree: all refuse it, or all take the newest, which writers append.
# Behaviour: skopeo takes the first entry of index.json without a message; umoci says that the tag is
#           ambiguous and stops.
# Why here: after a push into a layout that has the name already, what is compared depends on the reader.
# Seen:     skopeo: the first; umoci: tag is ambiguous
set -euo pipefail
versions=$(dpkg-query -W -f '${Version} ' skopeo umoci)
case $versions in
"1.9.3+ds1-1"*" 0.4.7+ds-3"*) ;;
*) echo "not Debian 12's skopeo and umoci: $versions" >&2; exit 1 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
umoci init --layout layout
umoci new --image layout:one
umoci new --image layout:two
umoci config --image layout:two --author other
python3 - >digests <<'END'
import json

index = json.load(open("layout/index.json"))
for manifest in index["manifests"]:
    manifest["annotations"]["org.opencontainers.image.ref.name"] = "same"
    print(manifest["digest"].removeprefix("sha256:"))
json.dump(index, open("layout/index.json", "w"))
END
taken=$(skopeo inspect --raw oci:layout:same | sha256sum | cut -d' ' -f1)
entry=$(grep -n "$taken" digests | cut -d: -f1)
umoci=$(umoci stat --image layout:same 2>&1 | grep -o 'tag is ambiguous' || true)
echo "skopeo: entry $entry of $(wc -l <digests); umoci: $umoci"
[ "$entry" = 1 ] && [ "$umoci" = "tag is ambiguous" ]
