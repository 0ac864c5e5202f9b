//! `modes`: permission bits as their package has them.

use std::io;

use crate::normal::Context;
use crate::normal::{File, Page, Plugin, Verdict, Want};
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Modes;

static PAGE: Page = Page {
    name: "modes",
    summary: "gives packaged files and directories the permission bits that the rpmdb has for them",
    default: false,
    paths: "every file and directory that the rpm database of the tree knows",
    varies: "Permission bits of what the build itself wrote: under umask 077 a directory is 0700 \
             that is 0755 under umask 022.",
    why: "rpm-ostree sets no umask of its own: that of the shell which started the compose \
          decides, and modes are content of the commit.",
    done: "A path that a package owns, and that is of the kind the package says, gets the \
           package's permission bits, set-user-ID and sticky bit among them. Where several \
           packages own a path and disagree, and where no package owns it, nothing changes: \
           nobody knows what was meant. A file that is hard-linked outside the tree gets a new \
           inode first.",
    lost: "A mode that a script changed on purpose (chmod of a packaged file). Paths that no \
           package owns still differ: `umask 022` before the compose is the remedy for those.",
    upstream: "rpm-ostree v2025.1 sets no umask; coreos-assembler does for its checkout of the \
               configuration (fedora-coreos-tracker issue 1003). Off by default, since it \
               overrules scripts: `--with modes`, or `[plugins.modes] enabled = true`.",
    payload: true,
    options: &[],
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
}
