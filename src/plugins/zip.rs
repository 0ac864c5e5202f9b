//! `zip`: times and order in zip archives.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::DeflateDecoder;

use crate::format::pyc;
use crate::format::zip::{self, Archive, Order, Rules};
use crate::normal::Context;
use crate::normal::globs::{counted, ends_with_any};
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Zip;

static PAGE: Page = Page {
    name: "zip",
    summary: "clamps times in zip archives, removes owners, sorts .zip",
    default: true,
    paths: "*.zip, *.whl, *.egg, *.pyz, *.epub, *.xpi, *.oxt, *.odt, *.ods, *.odp, *.docx, *.xlsx, \
            *.pptx that are zip archives, and files of other names (*.pk3, *.apk, …) that begin \
            like one; the first four bytes of every file are read, except of programs without an \
            ending and of some ninety endings of other formats (*.py, *.png, *.so, …)",
    varies: "For each entry a modification time in the local time of the build; in extra \
             fields times of modification, access and creation, uid and gid. The order of entries.",
    why: "`zip` and the libraries that write zip archives store what `stat` says about each file, \
          in the order of the directory.",
    done: "Times later than SOURCE_DATE_EPOCH become SOURCE_DATE_EPOCH. A zip time has no time \
           zone: if no extra field gives it in UTC, one that could be later in the westernmost \
           zone (12 hours) counts as later. Times of access and creation become that of \
           modification, uid and gid 0. The entries of *.zip are sorted by name, if they are \
           contiguous and no name occurs twice; those of other kinds stay in their order. No \
           content is unpacked and no length changes. Archives with encrypted entries, whose key \
           is checked with the time, and those with bytecode that records the time of its source, \
           which Python would compile again on every import, are reported and left alone, as are \
           those with a signature over all bytes (APK, MSIX, NuGet). A Clojure source that was \
           older than the class compiled from it stays two seconds older.",
    lost: "Times of access, owners, and when entries were modified during the build.",
    upstream: "`zip -X` omits extra fields; for the times, touch every file first. Python's \
               zipfile does not honour SOURCE_DATE_EPOCH in any version, wheel and setuptools do.",
    payload: false,
    options: &[],
};

/// The granularity of time zones in seconds.
const ZONE: i64 = 15 * 60;
const EASTMOST: i64 = 14 * 3600;

const KINDS: &[&str] = &[
    "zip", "whl", "egg", "pyz", "epub", "xpi", "oxt", "odt", "ods", "odp", "docx", "xlsx", "pptx",
];

/// Endings of files that are not opened to check for archives: those of most files of a system, and
/// those of the plugin `jar`.
const OTHERS: &[&str] = &[
    // Programs and their parts.
    "a", "bc", "bin", "c", "cc", "cmake", "cpp", "debug", "efi", "elc", "exe", "fish", "go", "h",
    "hh", "hpp", "js", "ko", "la", "lua", "m4", "mjs", "mod", "o", "pc", "php", "pl", "pm", "ps1",
    "py", "pyc", "pyi", "rb", "rs", "sh", "so", "sql", "tcl", "vim",
    // Settings and data.
    "cfg", "conf", "css", "crt", "hwdb", "ini", "json", "list", "md5sums", "mo", "msg", "pem", "po",
    "policy", "rules", "service", "socket", "sqlite", "target", "timer", "toml", "xml", "yaml",
    "yml", // Documents, pictures, fonts.
    "adoc", "gif", "htm", "html", "jpg", "md", "otf", "pdf", "png", "pod", "ps", "rst", "svg",
    "ttf", "txt", "woff", "woff2", // Compressed.
    "bz2", "deb", "gz", "lz4", "rpm", "tgz", "xz", "zst", // The plugin `jar`.
    "ear", "hpi", "jar", "jpi", "rar", "sar", "war",
];

/// Whether a file may be an archive, judged by its name: not if it has one of the endings above or
/// a number (a manual page, a library's version), or is a program without an ending.
fn may_be(entry: &Entry) -> bool {
    let name = entry.name();
    match memchr::memrchr(b'.', name) {
        Some(dot) => {
            !name[dot + 1..].iter().all(u8::is_ascii_digit) && !ends_with_any(name, OTHERS)
        }
        None => entry.mode & 0o111 == 0,
    }
}

impl Plugin for Zip {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match () {
            () if entry.kind != Kind::File => Want::No,
            () if ends_with_any(entry.name(), KINDS) => Want::Bytes,
            () if may_be(entry) => Want::Magic(zip::MAGIC),
            () => Want::No,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let sorted = ends_with_any(file.entry.name(), &["zip"]);
        Ok(verdict(&file.bytes, cx, if sorted { Order::Sorted } else { Order::Kept }))
    }

    fn judges_bytes_alone(&self) -> bool {
        true
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        explain(&a.bytes, &b.bytes)
    }
}

/// The verdict on an archive whose entries may be sorted as `order` says.
pub(super) fn verdict(bytes: &[u8], cx: &Context, order: Order) -> Verdict {
    if !zip::is_zip(bytes) {
        return Verdict::Keep;
    }
    let rules = Rules { epoch: cx.epoch.seconds().into(), order };
    match zip::canonical(bytes, &rules) {
        Ok(None) => Verdict::Keep,
        Ok(Some(_)) if has_encrypted(bytes) => Verdict::Report(
            "contains encrypted entries, whose key is checked with the time: create it with fixed \
             times"
                .to_owned(),
        ),
        Ok(Some(_)) if zip::is_sealed(bytes) => Verdict::Report(
            "is signed including its times: sign it after its times are fixed".to_owned(),
        ),
        Ok(Some(new)) if bytecode_goes_stale(bytes, &new) => Verdict::Report(
            "contains bytecode that records the times of its sources, so these stay: build it with \
             SOURCE_DATE_EPOCH set, or without bytecode"
                .to_owned(),
        ),
        Ok(Some(bytes)) => Verdict::Rewrite(bytes),
        Err(what) => Verdict::Unparsed(what),
    }
}

fn has_encrypted(bytes: &[u8]) -> bool {
    zip::parse(bytes).is_ok_and(|a| a.entries.iter().any(zip::Entry::is_encrypted))
}

/// Whether bytecode matches the time of its source before, but not afterwards.
fn bytecode_goes_stale(before: &[u8], after: &[u8]) -> bool {
    let (Ok(before), Ok(after)) = (zip::parse(before), zip::parse(after)) else { return false };
    let (sources, clamped) = (by_name(&before), by_name(&after));
    before.entries.iter().any(|bytecode| {
        let source = bytecode.name.strip_suffix(b"c").filter(|name| name.ends_with(b".py"));
        let times = source
            .and_then(|name| Some((sources.get(name)?.modified, clamped.get(name)?.modified)));
        let Some((then, _)) = times.filter(|(then, now)| then != now) else { return false };
        // Python reads the zip time in its local time zone, and tolerates a second.
        let recorded = pyc::source_time(&head(bytecode)).map(i64::from);
        recorded
            .map(|time| time - then.to_unix())
            .is_some_and(|apart| apart.abs() <= EASTMOST + 1 && (apart + 1).rem_euclid(ZONE) <= 2)
    })
}

/// The beginning of an entry's content, as long as a header of bytecode.
fn head(entry: &zip::Entry<'_>) -> Vec<u8> {
    let mut head = Vec::new();
    let content: Box<dyn Read> = match entry.method {
        8 => Box::new(DeflateDecoder::new(entry.packed)),
        _ => Box::new(entry.packed),
    };
    // What cannot be unpacked is not loadable bytecode.
    let _ = content.take(pyc::HEADER as u64).read_to_end(&mut head);
    head
}

/// What differs between two archives, by entry.
pub(super) fn explain(a: &[u8], b: &[u8]) -> Vec<String> {
    match (zip::parse(a), zip::parse(b)) {
        (Ok(a), Ok(b)) => compare(&a, &b),
        _ => Vec::new(),
    }
}

fn compare(a: &Archive<'_>, b: &Archive<'_>) -> Vec<String> {
    type Entry<'e> = zip::Entry<'e>;
    let (left, right) = (by_name(a), by_name(b));
    let differ = |differs: fn(&Entry<'_>, &Entry<'_>) -> bool| {
        let both = left.iter().filter_map(|(k, l)| Some((*k, *l, *right.get(k)?)));
        both.filter(move |(_, x, y)| differs(x, y)).map(|(name, ..)| name)
    };
    let packing =
        |x: &Entry<'_>, y: &Entry<'_>| (x.crc, x.size) == (y.crc, y.size) && x.packed != y.packed;
    let order = |archive: &Archive<'_>| -> Vec<Vec<u8>> {
        archive.entries.iter().map(|e| e.name.to_vec()).collect()
    };
    let moved = left.keys().eq(right.keys()) && order(a) != order(b);
    [
        counted(only(&left, &right), "entries only in the first"),
        counted(only(&right, &left), "entries only in the second"),
        counted(differ(|x, y| (x.crc, x.size) != (y.crc, y.size)), "entries differ in content"),
        counted(differ(packing), "entries are compressed by another program or level"),
        counted(differ(|x, y| x.modified != y.modified), "entries differ in time"),
        counted(differ(|x, y| x.attributes != y.attributes), "entries differ in mode"),
        counted(
            differ(|x, y| x.extras() != y.extras()),
            "entries differ in extra fields (times, owners)",
        ),
        moved.then(|| "order of entries differs".to_owned()),
        (a.comment != b.comment).then(|| "the archive's comment differs".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn only<'n, E>(
    these: &'n BTreeMap<&'n [u8], E>,
    those: &'n BTreeMap<&'n [u8], E>,
) -> impl Iterator<Item = &'n [u8]> {
    these.keys().filter(|k| !those.contains_key(*k)).copied()
}

fn by_name<'e>(archive: &'e Archive<'_>) -> BTreeMap<&'e [u8], &'e zip::Entry<'e>> {
    archive.entries.iter().map(|e| (e.name, e)).collect()
}
