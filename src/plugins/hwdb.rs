//! `hwdb`: udev's compiled hardware database.

use super::kinds::reader;
use super::kinds::rewriter::Rewriter;
use crate::format::hwdb;
use crate::normal::{Page, Verdict};

static PAGE: Page = Page {
    name: "hwdb",
    summary: "removes the path of the build's root from udev's hardware database",
    default: true,
    paths: "usr/lib/udev/hwdb.bin, etc/udev/hwdb.bin",
    varies: "The path of each source file, prefixed with that of the target root.",
    why: "`systemd-hwdb --root=DIR` and `udevadm hwdb --root` record the files as DIR/usr/lib/….",
    done: "The part before usr/lib/udev/hwdb.d, etc/udev/hwdb.d and the like is removed, and later \
           strings move up: the bytes that the same version writes for the root /.",
    lost: "Nothing: the names are for messages, priorities are stored separately.",
    upstream: "systemd issue 43062: systemd 262 no longer records the root's path.",
    payload: false,
    options: &[],
};

/// The plugin.
pub(super) static HWDB: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: false,
    named: |entry| matches!(&*entry.logical(), b"usr/lib/udev/hwdb.bin" | b"etc/udev/hwdb.bin"),
    is: |_| true,
    verdict: |file, _| {
        let parsed = hwdb::parse(&file.bytes);
        Verdict::of_changed(parsed.and_then(|hwdb| hwdb.without_root()))
    },
    explain: |a, b| reader::compare(|bytes, facts| hwdb::parse(bytes)?.facts(facts), a, b),
};
