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
           earlier times stay. With set=all every time becomes SOURCE_DATE_EPOCH, including those \
           of device nodes, FIFOs and sockets, as a composefs digest needs it (`--profile \
           composefs`). A Clojure source that was older than the class compiled from it stays two \
           seconds older, since Clojure uses only a newer class; a Python source keeps the time \
           that its bytecode records, if that bytecode stays (pycache is off, its option keep or \
           the configuration keeps it, or something vouches for it). Directories come last, \
           deepest first, the root after all others.",
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
            && let Some(compiled) = newer(file)?
        {
            time = apart(time, now, normal(&compiled, cx));
        }
        Ok(if time == now { Verdict::Keep } else { Verdict::Mtime(time) })
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        match (a.entry.mtime, b.entry.mtime) {
            (Some(a), Some(b)) if a != b => vec![format!(
                "modification times {}.{:09} and {}.{:09}, neither later than SOURCE_DATE_EPOCH",
                a.sec, a.nsec, b.sec, b.nsec
            )],
            _ => Vec::new(),
        }
    }
}

/// Whether a source could get the same time as its compiled file, which a reader needs to be newer.
fn may_tie(entry: &Entry, cx: &Context) -> bool {
    let nearly = i64::from(cx.epoch.seconds()) - strictly_newer::APART;
    entry.kind == Kind::File
        && entry.mtime.is_some_and(|time| time.sec >= nearly)
        && strictly_newer::of_source(entry.name()).is_some()
}

/// The file that was compiled from this source, if its reader needs it to be newer and it is.
fn newer(file: &File<'_>) -> io::Result<Option<Entry>> {
    let Some(name) = strictly_newer::of_source(file.entry.name()) else { return Ok(None) };
    let path = file.entry.path.with_file_name(OsStr::from_bytes(&name));
    let compiled = file.tree.lookup(&path)?;
    Ok(compiled.filter(|compiled| compiled.mtime > file.entry.mtime))
}

/// The time of a source, kept older than its compiled file.
fn apart(time: Time, now: Time, compiled: Option<Time>) -> Time {
    match compiled {
        Some(compiled) if time >= compiled => {
            now.min(Time { sec: compiled.sec - strictly_newer::APART, nsec: 0 })
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
