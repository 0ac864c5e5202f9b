//! `modes`: permission bits of packaged files.

use std::io;
use std::path::Path;

use crate::normal::{CommonCause, Context, File, Page, Plugin, Verdict, Want};
use crate::tree::{Change, Difference, Entry, Kind, Umask};

/// The plugin.
pub(super) struct Modes;

static PAGE: Page = Page {
    name: "modes",
    summary: "gives packaged files and directories the permission bits that the rpmdb has for them",
    default: false,
    paths: "every file and directory that the rpm database of the tree knows",
    varies: "Permission bits of what the build itself wrote: a directory that is 0755 under umask \
             022 is 0700 under umask 077.",
    why: "rpm-ostree does not set a umask: that of the shell which started the compose applies, \
          and modes are part of the commit.",
    done: "A path that a package owns, and that has the type it has in the package, gets the \
           package's permission bits, including set-user-ID and sticky bits. If several packages \
           own a path and disagree, or no package owns it, nothing changes, since the intended \
           mode is not known. A file that is hard-linked outside the tree gets a new inode first.",
    lost: "A mode that a script changed on purpose (chmod of a packaged file). Paths that no \
           package owns still differ; `umask 022` before the compose fixes those.",
    upstream: "rpm-ostree v2025.1 does not set a umask; coreos-assembler does for its checkout of the \
               configuration (fedora-coreos-tracker issue 1003). Off by default, since it \
               overrules scripts: `--with modes`, or `[plugins.modes] enabled = true`.",
    payload: true,
    options: &[],
};

/// The effect on many paths if one build has another umask.
static UMASK: CommonCause = CommonCause {
    name: "another umask",
    changes: "mode",
    remedy: "run `umask 022` before either build",
    restored: "`reprofix fix --with modes` restores their modes",
};

impl Plugin for Modes {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn asks_packages(&self) -> bool {
        true
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        if matches!(entry.kind, Kind::File | Kind::Dir) { Want::Entry } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let Some(packages) = &cx.packages else { return Ok(Verdict::Keep) };
        let packaged = packages.mode(&file.entry.path).map(u32::from);
        Ok(match packaged.filter(|mode| Kind::of_mode(*mode) == file.entry.kind) {
            Some(mode) if (mode ^ file.entry.mode) & 0o7777 != 0 => Verdict::Mode(mode & 0o7777),
            _ => Verdict::Keep,
        })
    }

    fn common_cause(
        &self,
        all: &[&Difference],
        packaged: &dyn Fn(&Path) -> Option<u16>,
    ) -> Vec<Option<(&'static CommonCause, Vec<String>)>> {
        let Some(mask) = Umask::behind(all.iter().filter_map(|d| modes(d))) else {
            return Vec::new();
        };
        let lines = |difference: &&Difference| {
            modes(difference).filter(|(a, b)| mask.explains(*a, *b))?;
            let bits = packaged(&difference.path).map(|mode| u32::from(mode) & 0o7777);
            let remedy = bits.map(|bits| {
                format!("{bits:04o} as packaged: `reprofix fix --with modes` restores it")
            });
            Some((&UMASK, [mask.to_string()].into_iter().chain(remedy).collect()))
        };
        all.iter().map(lines).collect()
    }
}

/// The modes of a path with the same type in both builds, if they differ.
fn modes(difference: &Difference) -> Option<(u32, u32)> {
    let (a, b) = (difference.a.as_ref()?, difference.b.as_ref()?);
    let of_one_kind = a.kind() == b.kind() && difference.changes.contains(&Change::Mode);
    of_one_kind.then_some((a.attrs.mode, b.attrs.mode))
}
