//! `bootupd`: what is installed as boot loader, and what it may be updated to.

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
    why: "bootupd takes the time of the youngest package that has boot loader files, and the \
          names of all of them; `static-configs` has the time of the bootupd program itself.",
    done: "Nothing: bootupd compares the time with that of what is installed, and would refuse or \
           repeat an update if it were another. `check` names the fields.",
    lost: "Nothing.",
    upstream: "By design. The same packages give the same metadata: lock their versions. \
               `static-configs` follows the program's time, which `mtime` clamps before \
               `bootupctl backend install` runs.",
    payload: false,
    options: &[],
};
