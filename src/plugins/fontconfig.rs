//! `fontconfig`: caches of scanned font directories.

use super::kinds::rewriter::Rewriter;
use crate::format::fontconfig::{self, Cache};
use crate::normal::{Page, Verdict};
use crate::tree::Time;

static PAGE: Page = Page {
    name: "fontconfig",
    summary: "clamps the directory time in fontconfig's caches",
    default: true,
    paths: "usr/lib/fontconfig/cache/ and var/cache/fontconfig/: *.cache-7 to *.cache-11",
    varies: "The modification time of the font directory, in seconds and nanoseconds.",
    why: "fc-cache records it to notice a changed directory; a directory that the build itself \
          made or changed has the time of the build.",
    done: "A time later than SOURCE_DATE_EPOCH becomes SOURCE_DATE_EPOCH, with no nanoseconds, \
           like the directory itself in the plugin mtime, so the cache stays valid. After an \
           ostree checkout the directory's time is 0, which fontconfig accepts whatever the cache \
           records.",
    lost: "Nothing if the plugin mtime is on too. Without it fontconfig scans such a directory \
           again, except under ostree.",
    upstream: "Open. Do not set SOURCE_DATE_EPOCH for fc-cache itself: 2.14.1 then clamps the \
               seconds, finds its new cache invalid for the nanoseconds, and removes it.",
    payload: false,
    options: &[],
};

/// The plugin.
pub(super) static FONTCONFIG: Rewriter = Rewriter {
    page: &PAGE,
    by_ending: false,
    // 32 hexadecimal digits of MD5, the architecture, the version.
    named: |entry| {
        let name = entry.name().get(32..).unwrap_or_default();
        name.starts_with(b"-") && name.windows(7).any(|w| w == b".cache-")
    },
    is: |_| true,
    verdict: |file, cx| {
        let epoch = Time { sec: i64::from(cx.epoch.seconds()), nsec: 0 };
        let clamped = fontconfig::parse(&file.bytes)
            .map(|cache| cache.with_scanned(&file.bytes, cache.scanned.min(epoch)));
        Verdict::of(clamped, &file.bytes)
    },
    explain: |a, b| match (fontconfig::parse(a), fontconfig::parse(b)) {
        (Ok(left), Ok(right)) => compare(&left, &right, a.len() != b.len()),
        _ => Vec::new(),
    },
};

fn compare(a: &Cache<'_>, b: &Cache<'_>, sizes: bool) -> Vec<String> {
    let mut out = Vec::new();
    if a.version != b.version {
        out.push(format!("cache versions {} and {}", a.version, b.version));
    }
    if a.dir != b.dir {
        let (a, b) = (String::from_utf8_lossy(a.dir), String::from_utf8_lossy(b.dir));
        out.push(format!("scanned directories {a} and {b}"));
    }
    if a.subdirs != b.subdirs {
        out.push(format!("{} and {} sub-directories", a.subdirs, b.subdirs));
    }
    if a.scanned != b.scanned {
        out.push("the directory's modification time differs".to_owned());
    }
    if sizes {
        out.push("the set of fonts differs".to_owned());
    }
    out
}
