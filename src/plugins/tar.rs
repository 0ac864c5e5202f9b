//! `tar`: archives that lie in the tree as files.

use std::io;

use crate::format::tar::clamp::{self as tar, Member};
use crate::normal::Context;
use crate::normal::globs::{counted, ends_with_any};
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Tar;

static PAGE: Page = Page {
    name: "tar",
    summary: "clamps times in tar archives that lie in the tree",
    default: false,
    paths: "*.tar that begin as archives do; compressed ones are left alone",
    varies: "A time of modification for each member; in extension headers times of access and \
             change, and the number of the process that made the archive.",
    why: "tar stores what `stat` says of each file.",
    done: "Times later than SOURCE_DATE_EPOCH become SOURCE_DATE_EPOCH, records of access and \
           change go, GNU tar's PaxHeaders.NUMBER becomes PaxHeaders. Content, order and owners \
           stay. Off by default: an archive in an image is a payload that somebody made on \
           purpose and may have signed, or whose digest is known elsewhere.",
    lost: "The archive's digest changes.",
    upstream: "GNU tar: --mtime, --clamp-mtime, --sort=name, --pax-option=delete=atime,delete=ctime.",
    payload: false,
    options: &[],
};

impl Plugin for Tar {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        let ours = ends_with_any(entry.name(), &["tar"]) && entry.kind == Kind::File;
        if ours { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        if !tar::is_tar(&file.bytes) {
            return Ok(Verdict::Keep);
        }
        Ok(Verdict::of_changed(tar::canonical(&file.bytes, cx.epoch.seconds().into())))
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        match (tar::parse(&a.bytes), tar::parse(&b.bytes)) {
            (Ok((a, _)), Ok((b, _))) => compare(&a, &b),
            _ => Vec::new(),
        }
    }
}

fn compare(a: &[Member<'_>], b: &[Member<'_>]) -> Vec<String> {
    if a.len() != b.len() {
        return vec![format!("{} and {} members", a.len(), b.len())];
    }
    let differ = |differs: fn(&Member<'_>, &Member<'_>) -> bool| {
        a.iter().zip(b).filter(move |(x, y)| differs(x, y)).map(|(x, _)| x.name())
    };
    [
        counted(differ(|x, y| x.name() != y.name()), "members differ in name or order"),
        counted(differ(|x, y| x.content != y.content), "members differ in content"),
        counted(differ(|x, y| x.mtime() != y.mtime()), "members differ in time"),
        counted(
            differ(|x, y| x.rest() != y.rest()),
            "members differ in mode, owner, size or target",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
