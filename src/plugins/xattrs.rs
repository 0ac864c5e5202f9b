//! `xattrs`: extended attributes that build tools left behind.

use std::io;
use std::sync::LazyLock;

use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Xattrs;

static PAGE: Page = Page {
    name: "xattrs",
    summary: "removes attributes that overlayfs and download tools left on files",
    default: false,
    paths: "every file, directory and symbolic link, except in container storage and ostree's directories",
    varies: "user.overlay.* and trusted.overlay.* (origin, redirect, opaque, impure, uuid: handles \
             and inode numbers of the building machine's file system); user.Librepo.checksum.* \
             (times and digests); user.xdg.origin.url and user.xdg.referrer.url.",
    why: "A rootless or layered build works on an overlay and copies its attributes with the \
          files. librepo and download tools record what they downloaded.",
    done: "Attributes with these names are removed, all others stay: ACLs, capabilities, labels, IMA. A file \
           that is hard-linked outside the tree gets a new inode first.",
    lost: "Nothing that a finished tree uses. In storage of container layers overlay attributes \
           have a meaning: paths below containers/storage, docker and ostree are left alone.",
    upstream: "rpm-ostree's commit drops them itself; other flows do not. Off by default, since it \
               queries the file system once for each path: turn it on for OCI and bootc builds.",
    payload: true,
    options: &[],
};

/// Prefixes of the names to remove.
const NAMES: [&[u8]; 5] = [
    b"user.overlay.",
    b"trusted.overlay.",
    b"user.Librepo.",
    b"user.xdg.origin.url",
    b"user.xdg.referrer.url",
];

/// Whether an attribute of this name was left by overlayfs or by a download.
pub(super) fn is_left_over(name: &[u8]) -> bool {
    NAMES.iter().any(|start| name.starts_with(start))
}

static STORAGE: LazyLock<Globs> = LazyLock::new(|| {
    Globs::new(["**containers/storage/**", "{usr/lib,var/lib}/docker/**", "{sysroot/,}ostree/**"])
});

impl Plugin for Xattrs {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let storage = || STORAGE.all(&entry.logical()).next().is_some();
        if entry.kind == Kind::Other || storage() { Want::No } else { Want::Entry }
    }

    fn canonical(&self, file: &File<'_>, _cx: &Context) -> io::Result<Verdict> {
        let list = file.tree.xattrs(&file.entry.path)?;
        let goes = |name: &Vec<u8>| is_left_over(name);
        let names: Vec<_> = list.into_iter().map(|(name, _)| name).filter(goes).collect();
        Ok(if names.is_empty() { Verdict::Keep } else { Verdict::Xattrs(names) })
    }
}
