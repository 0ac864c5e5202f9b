//! The page of the plugin `rpmdb`.

use crate::normal::Page;

pub(super) static PAGE: Page = Page {
    name: "rpmdb",
    summary: "gives the rpm database the same form for the same set of packages",
    default: true,
    paths: "rpmdb.sqlite (and its -wal, -journal, -shm), Packages.db and Index.db, Packages and \
            its indexes, each in /usr/share/rpm, /usr/lib/sysimage/rpm, /var/lib/rpm and \
            /usr/lib/sysimage/rpm-ostree-base-db; rebuilddb.PID and old.PID beside those \
            directories. Symbolic links are not followed: a database is found in its real directory.",
    varies: "INSTALLTIME and INSTALLTID of every package; the numbers that packages get in the \
             order of installation (hnum) and therefore every index row; row order, sequence \
             counters, query statistics, page layout, free pages and deleted headers in them; the \
             log's salts; the library version in the header.",
    why: "The database is written while packages are installed: it records when, in which order \
          and through which transactions that happened. The order follows dependency loops, \
          weak dependencies and the depsolver.",
    done: "Packages are sorted bytewise by name, epoch, version, release, architecture and \
           digests, and numbered from 1. INSTALLTIME and INSTALLTID later than SOURCE_DATE_EPOCH \
           become SOURCE_DATE_EPOCH, in place; signatures and digests cover neither. Then every \
           file is written again from its records, and the result is compared with the source: \
           rows may differ only in those times and numbers. sqlite: tables in rpm's order, rows by \
           package, no statistics, no log, header counters fixed, pages filled from left to right \
           by our own writer, every unused byte zero; SQLite reads the source, and checks the \
           result. A log or journal is applied first and then removed. ndb: slots and blobs \
           without gaps, generations that follow from the number of packages, Index.db with 4 KiB \
           pages on every build host. An Index.db of another generation, or one that lacks a \
           package, is removed: users without write access would get wrong answers from it. A \
           missing one is not created. Both are reported. Berkeley DB (format 9, hash and btree, \
           either byte order, which stays): written by our own writer, so db_load is not needed. \
           Packages and indexes change together: a run killed at any instant leaves the old or the \
           new ones, never an index beside packages that it does not describe, and the next run \
           finishes. What rpm would not have made (other tables, rows without a package, damage, \
           big-endian ndb) is refused and left alone. Several backends side by side are all \
           rewritten, with a warning. A hard-linked copy stays linked, an interrupted rebuild's \
           directories are removed. FILESTATES and INSTALLCOLOR are never changed: if they differ, \
           so did the inputs, and `check` says in which packages and files.",
    lost: "The real times of installation, and their order: `rpm -qa --last` has nothing to sort \
           by. hnum are also in dnf's history (rpmdb_version_begin and _end: see dnf-history) and \
           in libsolv's caches (removed by machine-state).",
    upstream: "Open: rpm issue 2219 and rpm-ostree issues 5468 and 4305. rpm 4.18 and later take \
               INSTALLTID from SOURCE_DATE_EPOCH and count INSTALLTIME up from it, so the order \
               still shows; rpm-ostree rewrites times. Neither changes the order.",
    payload: true,
    options: &[],
};
