//! `dnf-state`: what dnf remembers of the build.

use super::Page;
use super::table::{ANY, Action, FILE, Row, Table};

/// The plugin.
pub(super) static DNF_STATE: Table = Table::new(&PAGE, ROWS);

static PAGE: Page = Page {
    name: "dnf-state",
    summary: "removes the transaction history and cookies of dnf and its relatives",
    default: true,
    paths: "usr/lib/sysimage/libdnf5/transaction_history.sqlite*, var/lib/dnf, var/lib/yum, \
            var/lib/PackageKit",
    varies: "Times, transaction ids, the command line, row order; countme cookies with a window \
             that depends on the day.",
    why: "dnf writes its history and cookies into the root that it installs.",
    done: "Each path of the table goes. dnf5's packages.toml, which holds why each package is \
           installed, stays.",
    lost: "`dnf history`. dnf 4 keeps why a package is installed only in its history: without it \
           every package counts as asked for, so `dnf autoremove` removes nothing.",
    upstream: "dnf5 honours SOURCE_DATE_EPOCH since 2026 (issue 2326); dnf 4 is open; rpm-ostree \
               wipes /var (bootc issue 1201 for other flows).",
    payload: false,
    options: &[],
};

static ROWS: &[Row] = &[
    Row::new(
        "usr/lib/sysimage/libdnf5/transaction_history.sqlite{,-wal,-shm,-journal}",
        FILE,
        Action::Remove,
        "dnf5's history: times and command lines; dnf5 makes an empty one",
    ),
    Row::new(
        "var/lib/dnf/history.sqlite{,-wal,-shm,-journal}",
        FILE,
        Action::Remove,
        "dnf 4's history: times and command lines; dnf makes an empty one",
    ),
    Row::new(
        "var/lib/dnf/repos/**",
        ANY,
        Action::Remove,
        "countme cookies, named after the repositories' metalinks; made anew when they are used",
    ),
    Row::new("var/lib/dnf/*_lock.pid", FILE, Action::Remove, "lock of a dnf that has ended"),
    Row::new("var/lib/yum/{history,repos}/**", ANY, Action::Remove, "yum's history and cookies"),
    Row::new(
        "var/lib/yum/uuid",
        FILE,
        Action::Remove,
        "a random id that yum makes where it is missing",
    ),
    Row::new(
        "var/lib/PackageKit/{transactions.db,offline-update-*}",
        FILE,
        Action::Remove,
        "PackageKit's history; it makes an empty one",
    ),
];
