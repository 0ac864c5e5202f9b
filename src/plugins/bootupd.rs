//! `bootupd`: the installed boot loader, and its available updates.

use super::kinds::reader::Reader;
use super::treefile::leaves;
use crate::normal::Page;

/// The plugin.
pub(super) static BOOTUPD: Reader =
    Reader::new(&PAGE, &["usr/lib/bootupd/updates/*.json", "boot/bootupd-state.json"], leaves);

static PAGE: Page = Page {
    name: "bootupd",
    summary: "names the fields of bootupd's state and of its updates that differ",
    default: true,
    paths: "usr/lib/bootupd/updates/*.json, boot/bootupd-state.json",
    varies: "`timestamp` and `version` of a component (EFI, BIOS), and the digests of its files.",
    why: "bootupd records the time of the newest package with boot loader files, and the names of \
          all of them; `static-configs` has the time of the bootupd program itself.",
    done: "Nothing: bootupd compares the time with the installed one, and would refuse or repeat \
           an update if it were changed. `check` names the fields.",
    lost: "Nothing.",
    upstream: "By design. The same packages give the same metadata: lock their versions. \
               `static-configs` follows the program's time, which `mtime` clamps before \
               `bootupctl backend install` runs.",
    payload: false,
    options: &[],
};
