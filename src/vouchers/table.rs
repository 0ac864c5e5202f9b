//! The table of vouchers.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::tree::show;

/// A kind of voucher: a row of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoucherKind {
    /// A database of packages.
    Packages,
    /// An ostree repository.
    Ostree,
    /// A deployment from an ostree repository beside it.
    Deployment,
    /// A git repository.
    Git,
    /// A composefs repository.
    Composefs,
    /// Storage of containers.
    Storage,
    /// An image in a directory.
    Layout,
    /// A content-addressed store of packages.
    Store,
    /// The file's own name.
    Name,
    /// A file of digests.
    Sums,
    /// A detached signature.
    Signature,
    /// A detached keyed digest.
    Hmac,
    /// A wheel's RECORD.
    Record,
    /// An attribute of the file.
    Attribute,
    /// The configuration.
    Configuration,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The kind.
    pub who: VoucherKind,
    /// The name in JSON.
    pub name: &'static str,
    /// As a phrase: "an ostree repository in the tree".
    pub phrase: &'static str,
    /// What it is recognised by.
    pub known_by: &'static str,
    /// What would fail if the bytes changed.
    pub fails: &'static str,
}

/// The introduction to the table: titles and texts.
pub const PAGE: &[(&str, &str)] = &[
    (
        "What it is",
        "Some bytes are described elsewhere: by a digest, a signature, a name. If they were rewritten \
         or removed, that check would fail. So before a change counts, reprofix looks for a voucher for the file as it is now, and if there is one, the file stays. Files that no longer match their digest may change.",
    ),
    (
        "What counts",
        "Bytes, presence and extended attributes. Times do not: none of these compares them. A hard \
         link of a file that is vouched for under another name gets a new inode. `fix` counts what it left alone, `check` says which plugin would have removed a difference. The inside of boot images is treated in the same way.",
    ),
    (
        "What you can do",
        "`vouched` in the configuration, or --vouched GLOB, adds paths. `overrule`, or --overrule GLOB, \
         changes files anyway, and the report names each with what will fail; --deep does that \
         for packages only. Better: make what describes the files (sums, signatures, repositories) after \
         `fix`.",
    ),
];

/// Everything that vouches. Where several do, the first row that does is named.
pub const TABLE: &[Row] = &[
    Row {
        who: VoucherKind::Configuration,
        name: "configuration",
        phrase: "the configuration",
        known_by: "a glob of `vouched` in the configuration, or --vouched GLOB",
        fails: "whatever the glob was written for",
    },
    Row {
        who: VoucherKind::Ostree,
        name: "ostree-repository",
        phrase: "an ostree repository in the tree",
        known_by: "a directory with `objects` and a `config` that has a [core] section, anywhere and \
                   in every mode: all below it. Names of a hard-linked checkout elsewhere get a new inode if they change",
        fails: "ostree fsck",
    },
    Row {
        who: VoucherKind::Deployment,
        name: "deployment",
        phrase: "the ostree repository beside it, which deployed it",
        known_by: "`deploy`, `app` and `runtime` beside an ostree repository called `repo`: all \
                   below them",
        fails: "ostree admin, flatpak repair",
    },
    Row {
        who: VoucherKind::Git,
        name: "git-repository",
        phrase: "a git repository in the tree",
        known_by: "a directory with `objects` and a `config` that has a [core] section with \
                   repositoryformatversion: all below it; a work tree is not vouched for",
        fails: "git fsck",
    },
    Row {
        who: VoucherKind::Composefs,
        name: "composefs-repository",
        phrase: "a composefs repository in the tree",
        known_by: "a directory with `objects`, `images` and `streams` or `meta.json`: all below it",
        fails: "cfsctl fsck, and every mount with verity",
    },
    Row {
        who: VoucherKind::Storage,
        name: "container-storage",
        phrase: "container storage in the tree",
        known_by: "its layout: `DRIVER-images` and `DRIVER-layers` (podman, buildah, bootc, additional \
                   stores), `image/DRIVER` and `DRIVER` (Docker), `io.containerd.content.v1.content` \
                   (containerd): all below it",
        fails: "podman push, buildah push",
    },
    Row {
        who: VoucherKind::Layout,
        name: "image-layout",
        phrase: "an image in a directory",
        known_by: "`oci-layout` with `index.json` or `blobs`, or a `version` that begins \"Directory \
                   Transport Version\": all below it",
        fails: "skopeo copy",
    },
    Row {
        who: VoucherKind::Store,
        name: "package-store",
        phrase: "a content-addressed store of packages",
        known_by: "a name of 32 characters of Nix's base 32, a dash and more, in a directory called \
                   `store` (/nix/store, /gnu/store): all below it",
        fails: "nix-store --verify --check-contents, guix gc --verify=contents",
    },
    Row {
        who: VoucherKind::Signature,
        name: "signature",
        phrase: "a detached signature",
        known_by: "the same name with .asc, .sig, .sign, .gpg, .minisig, .p7s, .p7m, .sigstore or \
                   .sigstore.json after it, in the same directory",
        fails: "gpg --verify, minisign -V, cosign verify-blob",
    },
    Row {
        who: VoucherKind::Hmac,
        name: "hmac",
        phrase: "a keyed digest for FIPS",
        known_by: ".NAME.hmac or NAME.hmac beside the file or in `fipscheck` or `hmaccalc`, and .chk \
                   beside a library of NSS",
        fails: "the self-test of the library or kernel",
    },
    Row {
        who: VoucherKind::Attribute,
        name: "integrity-attribute",
        phrase: "an attribute of integrity",
        known_by: "security.ima, user.ima or security.evm on the file, which may be removed with them",
        fails: "evmctl verify, ima_verify, and opening the file if a policy appraises it",
    },
    Row {
        who: VoucherKind::Packages,
        name: "package",
        phrase: "its package",
        known_by: "a matching digest in the database of rpm, dpkg (*.md5sums, and conffiles in \
                   `status`; its diversions are followed), apk (lib/apk/db/installed) or pacman \
                   (mtree). Plugins that judge by name alone, and --deep, do not check this; a \
                   plugin's page says so",
        fails: "rpm -V, dpkg --verify, apk audit, pacman -Qkk",
    },
    Row {
        who: VoucherKind::Record,
        name: "wheel-record",
        phrase: "a wheel's RECORD",
        known_by: "a line with a matching digest in a *.dist-info/RECORD of the directory, one \
                   above, or lib/python*/{site,dist-packages} of one above. If a plugin removes a listed file, its line is removed too",
        fails: "the check of digests that RECORD is for (pip install --force-reinstall repairs it)",
    },
    Row {
        who: VoucherKind::Sums,
        name: "sums-file",
        phrase: "a file of digests",
        known_by: "a digest of the file's bytes and the last component of its name, in a text in its \
                   directory or one above with a usual name: *sums, *.sha256 and similar, \
                   CHECKSUM, Release, repomd.xml, Manifest, *.dsc, *.changes, Packages, Sources and \
                   *primary.xml (compressed too), Python's simple index in HTML and JSON, \
                   repodata.json, *.lock, … Those in `repodata`, `dists` and `simple` count beside \
                   that directory too, and below. Hexadecimal or base64; GNU's text and binary mark, \
                   BSD's form. A text of more than 16 MiB vouches for all below it",
        fails: "sha256sum -c and relatives",
    },
    Row {
        who: VoucherKind::Name,
        name: "digest-name",
        phrase: "its name, which holds the digest of its bytes",
        known_by: "a name, its own or its directory's, or one with the directories of its first \
                   digits, that holds the digest as hexadecimal digits, and fits",
        fails: "a program that looks it up by that digest",
    },
];

impl VoucherKind {
    /// The row of this kind.
    pub fn row(self) -> &'static Row {
        let own = TABLE.iter().find(|row| row.who == self);
        own.unwrap_or(&TABLE[0])
    }
}

/// A voucher for a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voucher {
    /// The kind.
    pub who: VoucherKind,
    /// Where it is: a directory, a file, or the file itself. Empty for packages and the
    /// configuration.
    pub at: PathBuf,
}

impl Voucher {
    pub(super) fn new(who: VoucherKind, at: impl AsRef<Path>) -> Self {
        Voucher { who, at: at.as_ref().to_owned() }
    }
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phrase = self.who.row().phrase;
        match self.who {
            VoucherKind::Packages | VoucherKind::Configuration | VoucherKind::Name => {
                f.write_str(phrase)
            }
            // The root of a tree that is one itself, or a file with an attribute.
            _ if self.at.as_os_str().is_empty() => f.write_str(phrase),
            _ => write!(f, "{phrase} ({})", show(&self.at)),
        }
    }
}
