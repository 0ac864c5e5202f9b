//! `bootupd`: what bootupd knows of the boot loader's files, in the tree and in `boot`.

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
    varies: "`timestamp` of EFI.json and what an installation copied from it into the state; the \
             time of static-configs in the state, which is the bootupd program's own modification \
             time. `version`, `versions` and the sizes and digests of `filetree` follow the \
             packages of grub2 and shim.",
    why: "`bootupctl backend generate-update-metadata` of 0.2.29 and later writes the clock's time \
          into EFI.json where the boot loader's files are in usr/lib/efi. Otherwise, and in \
          BIOS.json, it is the build time of the newest package.",
    done: "Nothing: before 0.2.30 bootupd compares the timestamp with the installed one, and with \
           an earlier one it would ignore an update as a downgrade; from 0.2.30 on it compares \
           versions, and only the program in the tree could tell which it is. The state says \
           what is in the EFI system partition. `check` names the fields.",
    lost: "Nothing.",
    upstream: "bootupd 0.2.34 takes SOURCE_DATE_EPOCH for EFI.json: issue 1075, pull request 1093. \
               Let it see the variable where the metadata are generated.",
    payload: false,
    options: &[],
};
