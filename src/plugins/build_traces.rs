//! `build-traces`: temporary files and caches of the building process itself.

use super::table::{ANY, Action, FILE, Row, Table};
use crate::normal::Page;

/// The plugin.
pub(super) static BUILD_TRACES: Table = Table::new(&PAGE, ROWS);

static PAGE: Page = Page {
    name: "build-traces",
    summary: "removes temporary files, stamps and caches that only the build needed",
    default: true,
    paths: "tmp, var/tmp, .updated stamps, root's caches and histories, ldconfig's aux-cache, JVM \
            class-data archives, man-db's index",
    varies: "Names with process numbers, inode numbers and change times, heap dumps whose layout \
             depends on the number of processors.",
    why: "Programs that scriptlets run leave their temporary and cache files in the root.",
    done: "Each path of the table goes; a cache that a package ships stays as it is.",
    lost: "The first run of ldconfig, java and man after boot is slower: a JVM without its \
           class-data archive starts some tenths of a second later.",
    upstream: "aux-cache: mkosi issue 2958, apko issue 387, removed by rpm-ostree; the JVM's \
               archives: open; man-db's trigger is ignored by rpm-ostree.",
    payload: false,
    options: &[],
};

static ROWS: &[Row] = &[
    Row::new("{tmp,var/tmp}/**", ANY, Action::Remove, "temporary: hier(7), tmpfiles.d(5)"),
    Row::new(
        "usr/bin/reprofix-static",
        FILE,
        Action::Remove,
        "our own program, which treefiles/reprofix.yaml adds and hooks/postprocess removes: still \
         there if another postprocess-script ran in its place (docs/flows.md)",
    ),
    Row::new(
        "{etc,var}/.updated",
        FILE,
        Action::Remove,
        "the time of an update; an image that never booted has none: systemd-update-done(8)",
    ),
    Row::new(
        "{root,var/roothome}/.cache/**",
        ANY,
        Action::Remove,
        "a cache of the building user: the XDG base directory specification",
    ),
    Row::new(
        "{root,var/roothome}/.{bash_history,lesshst,python_history,rnd,wget-hsts,viminfo}",
        FILE,
        Action::Remove,
        "what was typed or fetched during the build",
    ),
    Row::new(
        "var/cache/ldconfig/aux-cache",
        FILE,
        Action::Remove,
        "inode numbers and change times of libraries, which spare the next ldconfig some work",
    ),
    Row::new(
        "usr/lib/jvm/**/classes*.jsa",
        FILE,
        Action::RemoveMade,
        "a heap dump whose size and layout depend on the number of processors; the JVM runs \
         without, and `java -Xshare:dump` makes it anew",
    ),
    Row::new(
        "var/cache/man/**",
        FILE,
        Action::Remove,
        "times of the manual pages in a database with free blocks; the unit makes it anew",
    )
    .needs(&[
        "usr/lib/systemd/system/man-db-cache-update.service",
        "usr/lib/systemd/system/man-db.timer",
    ]),
];
