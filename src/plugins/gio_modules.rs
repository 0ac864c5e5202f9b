//! `gio-modules`: the cache of GIO's loadable modules.

use super::kinds::rewriter::Rewriter;
use crate::format::Malformed;
use crate::normal::globs::Globs;
use crate::normal::{Page, Verdict};
use std::sync::LazyLock;

static PAGE: Page = Page {
    name: "gio-modules",
    summary: "sorts the lines of GIO's module cache",
    default: true,
    paths: "usr/lib*/**/gio/modules/giomodule.cache",
    varies: "The order of the lines, one per module.",
    why: "gio-querymodules writes modules in the order in which the disk lists them.",
    done: "The lines are sorted; GIO looks modules up by name. Lines that start with # come first, \
           in their present order.",
    lost: "Nothing.",
    upstream: "Open: gio-querymodules of GLib 2.74 does not sort. GIO ignores a cache that is \
               older than a module beside it; the plugin mtime never makes it older than packaged \
               ones.",
    payload: false,
    options: &[],
};

static PATHS: LazyLock<Globs> = LazyLock::new(|| {
    Globs::new(["usr/lib*/gio/modules/giomodule.cache", "usr/lib*/**/gio/modules/giomodule.cache"])
});

/// The plugin.
pub(super) static GIO_MODULES: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: false,
    named: |entry| {
        entry.name() == b"giomodule.cache" && PATHS.all(&entry.logical()).next().is_some()
    },
    is: |_| true,
    verdict: |file, _| Verdict::of(sorted(&file.bytes), &file.bytes),
    explain: compare,
};

fn compare(a: &[u8], b: &[u8]) -> Vec<String> {
    let lines = |bytes: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
    };
    let (left, right) = (lines(a), lines(b));
    let only = |x: &[String], y: &[String], side: &str| -> Vec<String> {
        let missing = x.iter().filter(|l| !y.contains(l));
        missing.map(|l| format!("only in the {side}: {l}")).collect()
    };
    let mut out = only(&left, &right, "first");
    out.extend(only(&right, &left, "second"));
    if out.is_empty() {
        out.push("the order of the modules differs".to_owned());
    }
    out
}

/// The lines sorted, comments first.
fn sorted(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let mut at = 0;
    for line in &lines {
        let module = line.starts_with(b"#") || line.windows(2).any(|w| w == b": ");
        if line.last() != Some(&b'\n') || !module {
            return Err(Malformed::at(at, "not a line MODULE: EXTENSION,…"));
        }
        at += line.len();
    }
    lines.sort_by_key(|line| (!line.starts_with(b"#")).then_some(*line));
    Ok(lines.concat())
}
