//! Who vouches for bytes, as a table.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::tree::show;

/// Who vouches: a row of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// A database of packages.
    Packages,
    /// An ostree repository.
    Ostree,
    /// What an ostree repository beside it deployed or installed.
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
    /// Who.
    pub who: Who,
    /// The name in JSON.
    pub name: &'static str,
    /// As a phrase: "an ostree repository in the tree".
    pub phrase: &'static str,
    /// What it is recognised by.
    pub known_by: &'static str,
    /// What would fail, had the bytes changed.
    pub fails: &'static str,
}

/// What holds for all rows: title and text.
pub const PAGE: &[(&str, &str)] = &[
    (
        "What it is",
        "Some bytes are described elsewhere: by a digest, a signature, a name. Were they rewritten or \
         removed, whoever checks that would fail. So before a change counts it is asked whether \
         somebody vouches for the file as it is now, and if so the file stays. Files that a digest \
         no longer fits are free.",
    ),
    (
        "What counts",
        "Bytes, presence and extended attributes. Times do not: none of these compares them. A hard \
         link of a file that somebody vouches for under another name gets a new inode. `fix` counts \
         what it left alone, `check` says which plugin would have removed a difference. The inside of \
         boot images is asked in the same way.",
    ),
    (
        "What you can do",
        "`vouched` in the configuration, or --vouched GLOB, adds paths. `overrule`, or --overrule GLOB, \
         changes files all the same, and each is named with what fails then; --deep does that for \
         packages alone. Better: make what describes the files (sums, signatures, repositories) after \
         `fix`.",
    ),
];

/// Everything that vouches. Where several do, the first row that does is named.
pub const TABLE: &[Row] = &[
    Row {
        who: Who::Configuration,
        name: "configuration",
        phrase: "the configuration",
        known_by: "a glob of `vouched` in the configuration, or --vouched GLOB",
        fails: "whatever the glob was written for",
    },
    Row {
        who: Who::Ostree,
        name: "ostree-repository",
        phrase: "an ostree repository in the tree",
        known_by: "a directory with `objects` and a `config` that has a [core] section, anywhere and \
                   in every mode: all below it. Names of a hard-linked checkout elsewhere get a new \
                   inode where they change",
        fails: "ostree fsck",
    },
    Row {
        who: Who::Deployment,
        name: "deployment",
        phrase: "the ostree repository beside it, which deployed it",
        known_by: "`deploy`, `app` and `runtime` beside an ostree repository called `repo`: all \
                   below them",
        fails: "ostree admin, flatpak repair",
    },
    Row {
        who: Who::Git,
        name: "git-repository",
        phrase: "a git repository in the tree",
        known_by: "a directory with `objects` and a `config` that has a [core] section with \
                   repositoryformatversion: all below it; a work tree is not vouched for",
        fails: "git fsck",
    },
    Row {
        who: Who::Composefs,
        name: "composefs-repository",
        phrase: "a composefs repository in the tree",
        known_by: "a directory with `objects`, `images` and `streams` or `meta.json`: all below it",
        fails: "cfsctl fsck, and every mount with verity",
    },
    Row {
        who: Who::Storage,
        name: "container-storage",
        phrase: "container storage in the tree",
        known_by: "its layout: `DRIVER-images` and `DRIVER-layers` (podman, buildah, bootc, additional \
                   stores), `image/DRIVER` and `DRIVER` (Docker), `io.containerd.content.v1.content` \
                   (containerd): all below it",
        fails: "podman push, buildah push",
    },
    Row {
        who: Who::Layout,
        name: "image-layout",
        phrase: "an image in a directory",
        known_by: "`oci-layout` with `index.json` or `blobs`, or a `version` that begins \"Directory \
                   Transport Version\": all below it",
        fails: "skopeo copy",
    },
    Row {
        who: Who::Store,
        name: "package-store",
        phrase: "a content-addressed store of packages",
        known_by: "what has a name of 32 characters of Nix's base 32, a dash and more, in a directory \
                   called `store` (/nix/store, /gnu/store): all below it",
        fails: "nix-store --verify --check-contents, guix gc --verify=contents",
    },
    Row {
        who: Who::Signature,
        name: "signature",
        phrase: "a detached signature",
        known_by: "the same name with .asc, .sig, .sign, .gpg, .minisig, .p7s, .p7m, .sigstore or \
                   .sigstore.json after it, in the same directory",
        fails: "gpg --verify, minisign -V, cosign verify-blob",
    },
    Row {
        who: Who::Hmac,
        name: "hmac",
        phrase: "a keyed digest for FIPS",
        known_by: ".NAME.hmac or NAME.hmac beside the file or in `fipscheck` or `hmaccalc`, and .chk \
                   beside a library of NSS",
        fails: "the self-test of the library or kernel",
    },
    Row {
        who: Who::Attribute,
        name: "integrity-attribute",
        phrase: "an attribute of integrity",
        known_by: "security.ima, user.ima or security.evm on the file, which may go with them",
        fails: "evmctl verify, ima_verify, and opening the file where a policy appraises it",
    },
    Row {
        who: Who::Packages,
        name: "package",
        phrase: "its package",
        known_by: "a digest that fits, in the database of rpm, dpkg (*.md5sums, and conffiles in \
                   `status`), apk (lib/apk/db/installed) or pacman (mtree); dpkg's diversions are followed. Plugins that judge by \
                   name alone, and --deep, do not ask; a plugin's page says so",
        fails: "rpm -V, dpkg --verify, apk audit, pacman -Qkk",
    },
    Row {
        who: Who::Record,
        name: "wheel-record",
        phrase: "a wheel's RECORD",
        known_by: "a line with a digest that fits, in a *.dist-info/RECORD of the directory, one \
                   above, or lib/python*/{site,dist-packages} of one above. Where a plugin removes a \
                   file that is listed, its line goes too",
        fails: "the check of digests that RECORD is for (pip install --force-reinstall mends it)",
    },
    Row {
        who: Who::Sums,
        name: "sums-file",
        phrase: "a file of digests",
        known_by: "a digest of the file's bytes and the last component of its name, in a text in its \
                   directory or one above that is called like one: *sums, *.sha256 and relatives, \
                   CHECKSUM, Release, repomd.xml, Manifest, *.dsc, *.changes, Packages, Sources and \
                   *primary.xml (compressed too), Python's simple index in HTML and JSON, \
                   repodata.json, *.lock, … Those in `repodata`, `dists` and `simple` count beside \
                   that directory too, and below. Hexadecimal or base64; GNU's text and binary mark, \
                   BSD's form. A text of more than 16 MiB vouches for all below it",
        fails: "sha256sum -c and relatives",
    },
    Row {
        who: Who::Name,
        name: "digest-name",
        phrase: "its name, which holds the digest of its bytes",
        known_by: "a name, its own or its directory's, or one with the directories of its first \
                   digits, that holds the digest as hexadecimal digits, and fits",
        fails: "whoever looks it up by that digest",
    },
];

impl Who {
    /// Its row.
    pub fn row(self) -> &'static Row {
        let own = TABLE.iter().find(|row| row.who == self);
        own.unwrap_or(&TABLE[0])
    }
}

/// A voucher of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voucher {
    /// Who.
    pub who: Who,
    /// What says so: a directory, a file, or the file itself. Empty for packages and the
    /// configuration.
    pub at: PathBuf,
}

impl Voucher {
    pub(super) fn new(who: Who, at: impl AsRef<Path>) -> Self {
        Voucher { who, at: at.as_ref().to_owned() }
    }
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phrase = self.who.row().phrase;
        match self.who {
            Who::Packages | Who::Configuration | Who::Name => f.write_str(phrase),
            // The root of a tree that is one, or a file that has an attribute.
            _ if self.at.as_os_str().is_empty() => f.write_str(phrase),
            _ => write!(f, "{phrase} ({})", show(&self.at)),
        }
    }
}
