//! `hwdb`: udev's compiled hardware database.

use std::io;

use super::kinds::reader;
use crate::format::hwdb;
use crate::normal::Context;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Hwdb;

static PAGE: Page = Page {
    name: "hwdb",
    summary: "takes the path of the build's root out of udev's hardware database",
    default: true,
    paths: "usr/lib/udev/hwdb.bin, etc/udev/hwdb.bin",
    varies: "The path of each source file, with the folder of the target root before it.",
    why: "`systemd-hwdb --root=DIR` and `udevadm hwdb --root` record the files as DIR/usr/lib/….",
    done: "The part before usr/lib/udev/hwdb.d, etc/udev/hwdb.d and their like goes, and later \
           strings move up: the bytes that the same version writes at the root /.",
    lost: "Nothing: the names are for messages, priorities are stored beside them.",
    upstream: "systemd issue 43062: systemd 262 no longer records the root's path.",
    payload: false,
    options: &[],
};

impl Plugin for Hwdb {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let path = entry.logical();
        let ours = matches!(&*path, b"usr/lib/udev/hwdb.bin" | b"etc/udev/hwdb.bin");
        if ours && entry.kind == Kind::File { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, _cx: &Context) -> io::Result<Verdict> {
        let parsed = hwdb::parse(&file.bytes);
        Ok(Verdict::of_changed(parsed.and_then(|hwdb| hwdb.without_root())))
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        reader::compare(|bytes, facts| hwdb::parse(bytes)?.facts(facts), &a.content(), &b.content())
    }
}
