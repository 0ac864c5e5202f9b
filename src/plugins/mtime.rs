//! `mtime`: no modification time later than SOURCE_DATE_EPOCH.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use crate::format::strictly_newer;
use crate::normal::Context;
use crate::normal::{File, Opt, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind, Time};

/// The plugin.
pub(super) struct Mtime;

static PAGE: Page = Page {
    name: "mtime",
    summary: "clamps modification times later than SOURCE_DATE_EPOCH",
    default: true,
    paths: "every file, symbolic link and directory, including the root itself",
    varies: "The modification times of everything that the build itself made or touched.",
    why: "Scriptlets, generators and the package manager's own directories are written at the time \
          of the build; packaged files keep the time in the package.",
    done: "A time later than SOURCE_DATE_EPOCH becomes SOURCE_DATE_EPOCH, with no nanoseconds; \
           earlier times stay. With set=all every time becomes SOURCE_DATE_EPOCH, those of device \
           nodes, FIFOs and sockets too, as a composefs digest wants it (`--profile composefs`). A Clojure \
           source that was older than the class compiled from it stays two seconds older, since \
           Clojure takes only a newer class; a compiled file that was older than its source, so that \
           its reader did not take it, stays two seconds older (zsh, Emacs, Racket, Guile, ASDF, Chez \
           Scheme, SWI-Prolog, SELinux's file_contexts.bin, GTK's icon-theme.cache: docs/times.md); a Python source keeps the time that its bytecode \
           records, where that bytecode stays with it (pycache is off, its option keep or the \
           configuration keeps it, or somebody vouches for it). Directories come last, deepest first, the root after all of them.",
    lost: "The time of the build. With set=all also the times of packaged files: `rpm -V` then \
           reports T for them, and bytecode that records the time of its source is stale. An \
           ostree commit has no modification times, and a checkout sets 0, so this plugin never \
           changes a content checksum. Times do matter in OCI layers, cpio archives, composefs \
           images of bootc's native storage, and for `compose build-chunked-oci --rootfs DIR`, \
           which dates the commit by the time of DIR itself.",
    upstream: "OCI layers: rpm-ostree issue 5544, chunkah issue 160; composefs: bootc issue 2194; \
               ostree's zero: issue 1469.",
    payload: true,
    options: &[Opt {
        name: "set",
        values: &["later", "all"],
        default: "later",
        help: "which times become SOURCE_DATE_EPOCH: those later than it, or all",
    }],
};

impl Plugin for Mtime {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn changes_content(&self) -> bool {
        false
    }

    /// No: the initramfs plugin clamps the times in the entries' headers itself.
    fn acts_inside_images(&self) -> bool {
        false
    }

    fn wants(&self, entry: &Entry, cx: &Context) -> Want {
        match normal(entry, cx) {
            Some(time) if Some(time) != entry.mtime => Want::Entry,
            Some(_) if may_tie(entry, cx) => Want::Entry,
            _ => Want::No,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let (Some(mut time), Some(now)) = (normal(file.entry, cx), file.entry.mtime) else {
            return Ok(Verdict::Keep);
        };
        if file.entry.kind == Kind::File
            && let Some(newer) = newer(file)?
        {
            time = apart(time, now, normal(&newer, cx));
        }
        Ok(if time == now { Verdict::Keep } else { Verdict::Mtime(time) })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        match (a.entry.mtime, b.entry.mtime) {
            (Some(a), Some(b)) if a != b => vec![format!(
                "modification times {}.{:09} and {}.{:09}, both allowed by SOURCE_DATE_EPOCH",
                { a.sec },
                a.nsec,
                { b.sec },
                b.nsec
            )],
            _ => Vec::new(),
        }
    }
}

/// Whether it could become as old as what it has to stay older than.
fn may_tie(entry: &Entry, cx: &Context) -> bool {
    let nearly = i64::from(cx.epoch.seconds()) - strictly_newer::APART;
    entry.kind == Kind::File
        && entry.mtime.is_some_and(|time| time.sec >= nearly)
        && (strictly_newer::of_source(entry.name()).is_some()
            || !strictly_newer::sources_of(&entry.path).is_empty())
}

/// What the file has to stay older than, if it is: what was compiled from it, where its reader wants
/// that newer, or the source of a compiled file that is stale. Files that are copied in any order
/// within one second are not.
fn newer(file: &File<'_>) -> io::Result<Option<Entry>> {
    let (path, now) = (&file.entry.path, file.entry.mtime);
    if let Some(name) = strictly_newer::of_source(file.entry.name()) {
        let compiled = file.tree.lookup(&path.with_file_name(OsStr::from_bytes(&name)))?;
        return Ok(compiled.filter(|compiled| compiled.mtime > now));
    }
    let seconds = |time: Option<Time>| time.map(|time| time.sec);
    for source in strictly_newer::sources_of(path) {
        let source = file.tree.lookup(&source)?;
        if let Some(source) = source.filter(|source| seconds(source.mtime) > seconds(now)) {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

/// The time of a file, older than that of `newer`.
fn apart(time: Time, now: Time, newer: Option<Time>) -> Time {
    match newer {
        Some(newer) if time >= newer => {
            now.min(Time { sec: newer.sec - strictly_newer::APART, nsec: 0 })
        }
        _ => time,
    }
}

/// The time that `entry` should have; `None` if it has no time or must not be touched.
fn normal(entry: &Entry, cx: &Context) -> Option<Time> {
    let epoch = Time { sec: i64::from(cx.epoch.seconds()), nsec: 0 };
    let all = cx.option(&PAGE, "set") == "all";
    // No commit, archive or cpio of a compose contains a device, but a composefs image does.
    if entry.kind == Kind::Other && !all {
        return None;
    }
    entry.mtime.map(|time| if all { epoch } else { time.min(epoch) })
}
