//! `jar`: Java archives, which are zip archives whose manifest comes first.

use std::io::{self, Read as _};

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
    paths: "*.jar, *.war, *.ear, *.rar, *.sar, *.jpi, *.hpi that are zip archives; *.jsa and *.aot \
            that a JVM made are reported",
    varies: "A time for each entry, in the local time of the build, and the order of entries.",
    why: "`jar` stores the time of each class file, which is that of its compilation, in the order \
          of the directory.",
    done: "The same as in the zip plugin. The order is: META-INF/, the manifest, its signatures, \
           the index, then everything else by name. No content changes, so signatures stay valid.",
    lost: "When classes were compiled. A class-data archive of an application (*.jsa) and an AOT \
           cache (*.aot) record size and time of each jar, so one that was made before no longer \
           matches: with -Xshare:on or -XX:AOTMode=on the JVM does not start, otherwise it starts \
           without it. Each is reported: make it after `fix`.",
    upstream: "`jar --date` since JDK 17, sorted since 11; Maven and Gradle have \
               outputTimestamp and preserveFileTimestamps.",
    payload: false,
    options: &[],
};

/// The magic numbers of the JVM's archives, in native byte order: static ones and AOT caches,
/// dynamic ones.
const MAGICS: [u32; 2] = [0xf00b_aba2, 0xf00b_aba8];

impl Plugin for Jar {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let ours = ends_with_any(entry.name(), &["jar", "war", "ear", "rar", "sar", "jpi", "hpi"]);
        match () {
            () if entry.kind != Kind::File => Want::No,
            () if ours => Want::Bytes,
            () if is_cache(entry) => Want::Stream,
            () => Want::No,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        if is_cache(file.entry) {
            return cache(file);
        }
        Ok(verdict(&file.bytes, cx, Order::Jar))
    }

    // The plugin does not ask for the bytes of a JVM's archive.
    fn judges_bytes_alone(&self) -> bool {
        true
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        explain(&a.bytes, &b.bytes)
    }
}

/// Whether it is named like a class-data archive of an application, or an AOT cache. Those of a JDK
/// describe only the JDK.
fn is_cache(entry: &Entry) -> bool {
    let of_jdk = || entry.path.starts_with("usr/lib/jvm") && entry.name().starts_with(b"classes");
    ends_with_any(entry.name(), &["jsa", "aot"]) && !of_jdk()
}

/// The verdict on such a file, if a JVM made it.
fn cache(file: &File<'_>) -> io::Result<Verdict> {
    let mut magic = [0; 4];
    let read = file.open()?.read_exact(&mut magic);
    let magic = u32::from_le_bytes(magic);
    Ok(match read {
        Ok(()) if MAGICS.contains(&magic) || MAGICS.contains(&magic.swap_bytes()) => {
            Verdict::Report(
                "records size and time of each jar on its class path, which change here: make it \
                 after `fix`"
                    .to_owned(),
            )
        }
        Ok(()) => Verdict::Keep,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Verdict::Keep,
        Err(e) => return Err(e),
    })
}
