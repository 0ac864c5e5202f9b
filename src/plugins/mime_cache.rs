//! `mime-cache`: the cache of the shared MIME database.

use super::kinds::reader::Reader;
use crate::format::mimecache;
use crate::normal::Page;

/// The plugin.
pub(super) static MIME_CACHE: Reader =
    Reader::new(&PAGE, &["usr/share/mime/mime.cache"], mimecache::parse);

static PAGE: Page = Page {
    name: "mime-cache",
    summary: "explains differences of the MIME cache: types, globs, magic rules, icons",
    default: true,
    paths: "usr/share/mime/mime.cache",
    varies: "The set of types, globs, suffixes and magic rules; in old versions their order.",
    why: "update-mime-database merges the XML files of all packages. Old versions read directories \
          in the order of the disk and wrote hash tables in the order of addresses.",
    done: "Nothing: current versions sort. `check` names the entries, or says that only the order \
           differs.",
    lost: "Nothing.",
    upstream: "Not seen to vary with shared-mime-info 2.2 between the directory orders of a disk \
               and a tmpfs.",
    payload: false,
    options: &[],
};
