#!/bin/bash
# skopeo 1.9.3 (Debian 12): an image copied into container storage through a list of platforms.
#
# Guess:    storage holds one platform, so the record of the image has the digest of the manifest that was
#           stored, which `skopeo inspect` prints.
# Behaviour: the list is stored as well, and the record's digest is the list's; `skopeo inspect` prints the
#           manifest's. Two names for one image, each right for another question.
# Why here: an image that is embedded by its list and one embedded by its manifest are two trees.
# Seen:     record: the list's digest; inspect: the manifest's
set -euo pipefail
version=$(dpkg-query -W -f '${Version}' skopeo)
[[ $version == 1.9.3+ds1-1* ]] || { echo "skopeo $version, not Debian 12's" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
umoci init --layout layout
umoci new --image layout:one
python3 - >digests <<'END'
import hashlib, json

OCI = "application/vnd.oci.image.index.v1+json"
index = json.load(open("layout/index.json"))
manifest = index["manifests"][0]
del manifest["annotations"]
manifest["platform"] = {"os": "linux", "architecture": "amd64"}
data = json.dumps({"schemaVersion": 2, "mediaType": OCI, "manifests": [manifest]}).encode()
digest = hashlib.sha256(data).hexdigest()
open("layout/blobs/sha256/" + digest, "wb").write(data)
name = {"org.opencontainers.image.ref.name": "list"}
entry = {"mediaType": OCI, "digest": "sha256:" + digest, "size": len(data), "annotations": name}
json.dump({"schemaVersion": 2, "manifests": [entry]}, open("layout/index.json", "w"))
print("sha256:" + digest, manifest["digest"])
END
read -r list manifest <digests
stored="containers-storage:[vfs@$work/store+$work/run]localhost/image:1"
skopeo copy --quiet --override-arch amd64 oci:layout:list "$stored" >/dev/null
record=$(python3 -c 'import json; print(json.load(open("store/vfs-images/images.json"))[0]["digest"])')
inspect=$(skopeo inspect --format '{{.Digest}}' "$stored")
name() { case $1 in "$list") echo list ;; "$manifest") echo manifest ;; *) echo "$1" ;; esac; }
seen="record: $(name "$record"), inspect: $(name "$inspect")"
echo "$seen"
[ "$seen" = "record: list, inspect: manifest" ]
