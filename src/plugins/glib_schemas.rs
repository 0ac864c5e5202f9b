//! `glib-schemas` and `dconf`: compiled GSettings schemas, and dconf databases of the same format.

use super::kinds::reader::Reader;
use crate::format::gvdb;
use crate::normal::Page;

/// The plugin.
pub(super) static GLIB_SCHEMAS: Reader =
    Reader::new(&PAGE, &["usr/share/glib-2.0/schemas/gschemas.compiled"], gvdb::parse);

/// The plugin of dconf's databases.
pub(super) static DCONF: Reader =
    Reader::new(&DCONF_PAGE, &["etc/dconf/db/*"], gvdb::parse).rewritten(gvdb::sorted);

static PAGE: Page = Page {
    name: "glib-schemas",
    summary: "explains differences of compiled GSettings schemas, key by key",
    default: true,
    paths: "usr/share/glib-2.0/schemas/gschemas.compiled",
    varies: "The set of schemas and keys, and their defaults.",
    why: "glib-compile-schemas compiles the schemas of all packages; another package or an \
          override changes the file.",
    done: "Nothing: it writes the same file from the same input. `check` names the keys.",
    lost: "Nothing.",
    upstream: "Not seen to vary with GLib 2.74.",
    payload: false,
    options: &[],
};

static DCONF_PAGE: Page = Page {
    name: "dconf",
    summary: "sorts the keys and locks of dconf databases",
    default: true,
    paths: "etc/dconf/db/* (files)",
    varies: "The order of keys and locks that share a bucket of the database's hash table, and \
             therefore the offsets of everything after them.",
    why: "`dconf update` sorts the key files, but reads the files below `locks/` in the order of the \
          disk, and its table keeps the order in which colliding names were added.",
    done: "The database is written anew with its items sorted within their buckets and its lists \
           sorted by name; keys, values and locks stay the same for dconf and GSettings. `check` \
           names the keys if more than the order differs.",
    lost: "Nothing.",
    upstream: "Open: dconf 0.40 and 51.0 do not sort `locks/`.",
    payload: false,
    options: &[],
};
