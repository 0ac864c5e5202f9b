//! `build-traces`: temporary files and caches of the building process itself.

use super::kinds::table::{ANY, Action, FILE, Row, Table};
use crate::normal::Page;

/// The plugin.
pub(super) static BUILD_TRACES: Table = Table::new(&PAGE, ROWS);

static PAGE: Page = Page {
    name: "build-traces",
    summary: "removes temporary files, stamps and caches that only the build needed",
    default: true,
    paths: "tmp, var/tmp, .updated stamps, root's caches and histories, ldconfig's aux-cache, JVM \
            class-data archives, man-db's index, logs and earlier states that apt, dpkg, debconf, \
            doc-base, TeX, Emacs, Perl and PHP leave beside their files",
    varies: "Names with process numbers, inode numbers and change times, heap dumps whose layout \
             depends on the number of processors.",
    why: "Programs that scriptlets run leave their temporary and cache files in the root.",
    done: "Each path of the table is removed; a cache that a package ships stays as it is.",
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
         there if another postprocess-script ran instead (docs/flows.md)",
    ),
    Row::new(
        "{etc,var}/.updated",
        FILE,
        Action::Remove,
        "the time of an update, which an image that never booted does not have: systemd-update-done(8)",
    ),
    Row::new(
        "{root,var/roothome}/.cache/**",
        ANY,
        Action::Remove,
        "a cache of the building user: the XDG base directory specification",
    ),
    Row::new(
        "{root,var/roothome}/.{npm/{_cacache,_logs,_npx},cargo/{registry,git},m2/repository,gem/specs}/**",
        ANY,
        Action::Remove,
        "a cache of packages that a build downloaded; npm, cargo, Maven and gem download what they need",
    ),
    Row::new(
        "{root,var/roothome}/.{cargo/.global-cache,cargo/.package-cache*,gnupg/random_seed,gnupg/pubring.kbx~}",
        FILE,
        Action::Remove,
        "a cache, a seed or a backup that cargo or gpg creates again",
    ),
    Row::new(
        "{root,var/roothome}/.{bash_history,lesshst,python_history,rnd,wget-hsts,viminfo}",
        FILE,
        Action::Remove,
        "what was typed or downloaded during the build",
    ),
    Row::new(
        "var/cache/ldconfig/aux-cache",
        FILE,
        Action::Remove,
        "inode numbers and change times of libraries, which save the next ldconfig some work",
    ),
    Row::new(
        "usr/lib/jvm/**/classes*.jsa",
        FILE,
        Action::RemoveMade,
        "a heap dump whose size and layout depend on the number of processors; the JVM runs \
         without it, and `java -Xshare:dump` creates it again",
    ),
    Row::new(
        "var/cache/apt/{pkgcache,srcpkgcache}.bin",
        FILE,
        Action::Remove,
        "apt's index of its lists, with their times; apt creates it again: apt-cache(8), gencaches",
    ),
    Row::new(
        "var/cache/apt/archives/*.deb",
        FILE,
        Action::Remove,
        "a package that was downloaded for this build: apt-get(8), clean",
    ),
    Row::new(
        "var/cache/debconf/{config,passwords,templates}.dat-old",
        FILE,
        Action::Remove,
        "the state before the last question, which debconf keeps beside its database",
    ),
    Row::new(
        "var/lib/dpkg/{status,diversions,statoverride,available}-old",
        FILE,
        Action::Remove,
        "the state before the last package, which dpkg keeps beside its database",
    ),
    Row::new(
        "var/lib/doc-base/info/{files,status}-old.yml",
        FILE,
        Action::Remove,
        "the state before the last document, which doc-base keeps beside the present one",
    ),
    Row::new(
        "etc/{xml,sgml}/{,**/}*.old",
        FILE,
        Action::RemoveMade,
        "the state before the last entry, which xml-core and sgml-base keep beside a catalog",
    ),
    Row::new(
        "{etc,usr/lib}/{passwd,group,shadow,gshadow,subuid,subgid}.rpmostreesave",
        FILE,
        Action::Remove,
        "rpm-ostree's own copy of a file that it changes while scriptlets run",
    ),
    Row::new(
        "{var/lib,usr/share,usr/local/share}/tex{mf,mf-dist,live}/{,**/}web2c/**/*.log",
        FILE,
        Action::RemoveMade,
        "the log of a format that fmtutil made, with its time; TeX reads only the format",
    ),
    Row::new(
        "usr/share/emacs{,/**}/{Install.log,CompilationLog}{,.gz}",
        FILE,
        Action::RemoveMade,
        "the log of an add-on that was compiled when it was installed",
    ),
    Row::new(
        "usr{,/local}/lib{,64}/{,**/}perllocal.pod",
        FILE,
        Action::RemoveMade,
        "a log of modules and the times of their installation, which only perldoc shows",
    ),
    Row::new(
        "var/{cache,tmp,lib}/**/*.php.bin",
        FILE,
        Action::RemoveMade,
        "a script that PHP compiled, with addresses in memory and a checksum over them; PHP \
         compiles it again: opcache.file_cache",
    ),
    Row::new(
        "var/lib/{plocate/plocate,mlocate/mlocate}.db",
        FILE,
        Action::Remove,
        "every path of the building machine with its directory's time; a timer creates it again",
    )
    .needs(&[
        "usr/lib/systemd/system/plocate-updatedb.timer",
        "usr/lib/systemd/system/mlocate-updatedb.timer",
        "etc/cron.daily/plocate",
        "etc/cron.daily/mlocate",
        "etc/cron.daily/locate",
    ])
    .or_runs(&["updatedb"]),
    Row::new(
        "var/cache/man/**",
        FILE,
        Action::Remove,
        "times of the manual pages in a database with free blocks; the unit creates it again",
    )
    .needs(&[
        "usr/lib/systemd/system/man-db-cache-update.service",
        "usr/lib/systemd/system/man-db.timer",
    ]),
];
