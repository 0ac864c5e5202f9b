//! What shows that a plugin is right: its folder `tests/plugins/NAME`.

use std::path::{Path, PathBuf};

use crate::cases::names;

/// The folder of a plugin.
pub(crate) fn folder(plugin: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins").join(plugin)
}

/// The names of the plugins that have a folder, sorted.
pub(crate) fn plugins() -> Vec<String> {
    names(&folder(""))
}

/// The golden cases of a plugin.
pub(crate) fn cases(plugin: &str) -> Vec<PathBuf> {
    let dir = folder(plugin).join("cases");
    names(&dir).into_iter().map(|case| dir.join(case)).collect()
}

/// The plugins that have a pair made by the real tool, and where it is.
pub(crate) fn pairs() -> Vec<(String, PathBuf)> {
    let pair = |name: String| {
        let dir = folder(&name).join("pair");
        (name, dir)
    };
    plugins().into_iter().map(pair).filter(|(_, dir)| dir.exists()).collect()
}
