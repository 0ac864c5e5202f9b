//! `locale-archive`: glibc's locales in one file.

use super::kinds::reader::Reader;
use crate::format::localearchive;
use crate::normal::Page;

/// The plugin.
pub(super) static LOCALE_ARCHIVE: Reader =
    Reader::new(&PAGE, &["usr/lib/locale/locale-archive{,.real}"], localearchive::parse).unread();

static PAGE: Page = Page {
    name: "locale-archive",
    summary: "explains differences of the locale archive, locale by locale",
    default: true,
    paths: "usr/lib/locale/locale-archive",
    varies: "The order in which locales were added, and with it every offset in the file.",
    why: "localedef appends locales; scriptlets that add several do so in the order of a directory \
          or of their installation.",
    done: "Nothing: the archive is mapped by every program, and only localedef knows what else \
           depends on an offset. `check` names the locales, or says that only the order differs. \
           Create it in one run with a sorted list, or install locales as directories. The archive \
           is read only if two builds differ, so `fix` does not notice a damaged one.",
    lost: "Nothing.",
    upstream: "Open in glibc; Fedora packages the archive ready-made, Debian's locales-all too.",
    payload: false,
    options: &[],
};
