//! The version of the image, which dracut copies from os-release.

/// Whether this is that copy, `usr/lib/initrd-release` (the other names are links to it).
pub(super) fn wants(name: &[u8]) -> bool {
    [&b"usr/lib/initrd-release"[..], b"etc/initrd-release"].contains(&name)
}

/// The fields that change with each build of an image; VERSION_ID is its distribution's release.
const FIELDS: &[&[u8]] =
    &[b"VERSION=", b"PRETTY_NAME=", b"BUILD_ID=", b"IMAGE_VERSION=", b"OSTREE_VERSION="];

/// Removes [`FIELDS`] from the copy. All of them are optional in os-release(5).
pub(super) fn without_version(release: &[u8]) -> Vec<u8> {
    let stays = |line: &&[u8]| !FIELDS.iter().any(|field| line.starts_with(field));
    release.split_inclusive(|b| *b == b'\n').filter(stays).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn version_fields_go_and_everything_else_stays() {
        let release = b"NAME=\"Fedora Linux\"\nVERSION=\"41.20241109\"\nID=fedora\nVERSION_ID=41\n\
            PRETTY_NAME=\"Fedora CoreOS 41.20241109\"\nOSTREE_VERSION='41.20241109'\nX_VERSION=1";
        let stays = b"NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=41\nX_VERSION=1";
        assert_eq!(super::without_version(release), stays);
        assert_eq!(super::without_version(stays), stays);
    }
}
