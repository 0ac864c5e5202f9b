//! `dnf-state`: what dnf remembers of the build.

use super::kinds::table::{ANY, Action, FILE, Row, Table};
use crate::normal::Page;

/// The plugin.
pub(super) static DNF_STATE: Table = Table::new(&PAGE, ROWS);

static PAGE: Page = Page {
    name: "dnf-state",
    summary: "removes the cookies of dnf and the histories of related tools",
    default: true,
    paths: "var/lib/dnf, var/lib/yum, var/lib/PackageKit",
    varies: "Times and transaction ids; countme cookies, which depend on the day.",
    why: "dnf and related tools write their state into the root that they install.",
    done: "Each path of the table is removed. dnf's own history stays: see dnf-history.",
    lost: "The history of yum and PackageKit.",
    upstream: "dnf5 honours SOURCE_DATE_EPOCH since 2026 (issue 2326); dnf 4 is open; rpm-ostree \
               wipes /var (bootc issue 1201 for other flows).",
    payload: false,
    options: &[],
};

static ROWS: &[Row] = &[
    Row::new(
        "var/lib/dnf/repos/**",
        ANY,
        Action::Remove,
        "countme cookies, named after the repositories' metalinks; created again on use",
    ),
    Row::new("var/lib/dnf/*_lock.pid", FILE, Action::Remove, "lock of a dnf that has exited"),
    Row::new(
        "var/lib/dnf/system-repo.lock",
        FILE,
        Action::Remove,
        "lock of a dnf 5 that has exited",
    ),
    Row::new("var/lib/yum/{history,repos}/**", ANY, Action::Remove, "yum's history and cookies"),
    Row::new(
        "var/lib/yum/uuid",
        FILE,
        Action::Remove,
        "a random id that yum creates if it is missing",
    ),
    Row::new(
        "var/lib/PackageKit/{transactions.db,offline-update-*}",
        FILE,
        Action::Remove,
        "PackageKit's history; it creates an empty one",
    ),
];
