//! `glib-schemas`: compiled GSettings schemas and dconf databases.

use super::known::Known;
use crate::format::gvdb;
use crate::normal::Page;

/// The plugin.
pub(super) static GLIB_SCHEMAS: Known = Known::new(
    &PAGE,
    &["usr/share/glib-2.0/schemas/gschemas.compiled", "etc/dconf/db/*"],
    gvdb::parse,
);

static PAGE: Page = Page {
    name: "glib-schemas",
    summary: "explains differences of compiled GSettings schemas and dconf databases, key by key",
    default: true,
    paths: "usr/share/glib-2.0/schemas/gschemas.compiled, etc/dconf/db/* (files)",
    varies: "The set of schemas and keys, and their defaults.",
    why: "glib-compile-schemas and dconf compile what all packages brought; a package more or an \
          override changes the file.",
    done: "Nothing: both write the same file from the same input. `check` names the keys.",
    lost: "Nothing.",
    upstream: "Not seen to vary with GLib 2.74.",
    payload: false,
    options: &[],
};
