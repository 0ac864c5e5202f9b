#!/bin/bash
# Keeps the image's own version out of the initramfs: a new version number alone would change all of
# it. ID, NAME and VERSION_ID, which programs read, stay.
check() { return 0; }

depends() { return 0; }

install() {
    # shellcheck disable=SC2154 # dracut sets it
    local release=$initdir/usr/lib/initrd-release
    [ -e "$release" ] || return 0
    sed -i -E '/^(VERSION|PRETTY_NAME|BUILD_ID|IMAGE_VERSION|OSTREE_VERSION)=/d' "$release"
}
