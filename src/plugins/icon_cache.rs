//! `icon-cache`: caches of icon themes.

use super::kinds::reader::Reader;
use crate::format::iconcache;
use crate::normal::Page;

/// The plugin.
pub(super) static ICON_CACHE: Reader =
    Reader::new(&PAGE, &["usr/share/icons/*/icon-theme.cache"], iconcache::parse);

static PAGE: Page = Page {
    name: "icon-cache",
    summary: "explains differences of icon-theme caches: folders and icons",
    default: true,
    paths: "usr/share/icons/*/icon-theme.cache",
    varies: "The set of icons; in old versions the order of folders, by which icons are numbered.",
    why: "gtk-update-icon-cache walks the theme, before GTK 3.22 in the order of the disk.",
    done: "Nothing: current versions sort. `check` names the icons, or says that only the order of \
           folders or icons differs.",
    lost: "Nothing.",
    upstream: "Not seen to vary with GTK 3.24 between the directory orders of a disk and a tmpfs. \
               GTK considers a cache stale that is older than its folder, which the plugin mtime \
               does not cause.",
    payload: false,
    options: &[],
};
