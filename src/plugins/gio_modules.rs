//! `gio-modules`: the cache of GIO's loadable modules.

use std::io;

use crate::format::Malformed;
use crate::normal::Context;
use crate::normal::globs::Globs;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};
use std::sync::LazyLock;

/// The plugin.
pub(super) struct GioModules;

static PAGE: Page = Page {
    name: "gio-modules",
    summary: "sorts the lines of GIO's module cache",
    default: true,
    paths: "usr/lib*/**/gio/modules/giomodule.cache",
    varies: "The order of the lines, one a module.",
    why: "gio-querymodules writes modules in the order of the disk's folder.",
    done: "The lines are sorted; GIO looks modules up by name. Lines that start with # come first, \
           in their order.",
    lost: "Nothing.",
    upstream: "Open: gio-querymodules of GLib 2.74 does not sort. GIO ignores a cache older than a \
               module beside it; plugin mtime never makes it older than those that packages carry.",
    payload: false,
    options: &[],
};

static PATHS: LazyLock<Globs> = LazyLock::new(|| {
    Globs::new(["usr/lib*/gio/modules/giomodule.cache", "usr/lib*/**/gio/modules/giomodule.cache"])
});

impl Plugin for GioModules {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let named = entry.kind == Kind::File && entry.name() == b"giomodule.cache";
        let ours = named && PATHS.all(&entry.logical()).next().is_some();
        if ours { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, _cx: &Context) -> io::Result<Verdict> {
        Ok(Verdict::of(sorted(&file.bytes), &file.bytes))
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        let lines = |file: &File<'_>| -> Vec<String> {
            String::from_utf8_lossy(&file.bytes).lines().map(str::to_owned).collect()
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
