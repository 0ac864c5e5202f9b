//! `catalog`: systemd's message catalog.

use super::kinds::reader::Reader;
use crate::format::catalog;
use crate::normal::Page;

/// The plugin.
pub(super) static CATALOG: Reader =
    Reader::new(&PAGE, &["{var,usr}/lib/systemd/catalog/database"], catalog::parse);

static PAGE: Page = Page {
    name: "catalog",
    summary: "explains differences of systemd's message catalog, message by message",
    default: true,
    paths: "var/lib/systemd/catalog/database, usr/lib/systemd/catalog/database",
    varies: "The set of messages; in old versions the order of their texts.",
    why: "`journalctl --update-catalog` compiles the catalogs of all packages.",
    done: "Nothing: current versions sort files and messages. `check` names the messages by id and \
           language, or says that only the layout differs.",
    lost: "Nothing.",
    upstream: "Not seen to vary with systemd 252; rpm-ostree wipes /var, and \
               systemd-journal-catalog-update.service creates the file if it is missing.",
    payload: false,
    options: &[],
};
