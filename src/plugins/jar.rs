//! `jar`: Java archives, which are zip archives whose manifest comes first.

use std::io;

use super::zip::{explain, verdict};
use crate::format::zip::Order;
use crate::normal::Context;
use crate::normal::globs::ends_with_any;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Jar;

static PAGE: Page = Page {
    name: "jar",
    summary: "clamps times in Java archives and sorts their entries",
    default: true,
    paths: "*.jar, *.war, *.ear, *.rar, *.sar, *.jpi, *.hpi that are zip archives",
    varies: "A time for each entry, in the local time of the build, and the order of entries.",
    why: "`jar` stores the time of each class file, which is the time of its compilation, in the \
          order in which a directory lists them.",
    done: "As the zip plugin does it. The order is: META-INF/, the manifest, what signs it, the \
           index, then all by name. No content changes, so signatures stay valid.",
    lost: "When classes were compiled. A class-data archive that was made for the jar before does \
           not fit it afterwards.",
    upstream: "`jar --date` since JDK 17, sorted since 11; Maven and Gradle have \
               outputTimestamp and preserveFileTimestamps.",
    payload: false,
    options: &[],
};

impl Plugin for Jar {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let ours = ends_with_any(entry.name(), &["jar", "war", "ear", "rar", "sar", "jpi", "hpi"]);
        if ours && entry.kind == Kind::File { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        Ok(verdict(&file.bytes, cx, Order::Jar))
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        explain(&a.bytes, &b.bytes)
    }
}
