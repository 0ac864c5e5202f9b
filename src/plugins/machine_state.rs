//! `machine-state`: state of the machine that ran the build.

use super::kinds::table::{ANY, Action, DIR, FILE, LEAF, Row, Table};
use crate::normal::Page;

/// The plugin.
pub(super) static MACHINE_STATE: Table = Table::new(&PAGE, ROWS);

static PAGE: Page = Page {
    name: "machine-state",
    summary: "removes locks, backups, seeds, logs and caches that the build left behind",
    default: true,
    paths: "machine-id, random seeds, lock files, backups of account files, var/log, dnf's caches",
    varies: "Random identities and seeds, logs with times and process numbers, backups and locks \
             whose presence depends on the order of scriptlets.",
    why: "Scriptlets, the package manager and the account tools run on the building machine as if \
          it were the installed system.",
    done: "Each path of the table is removed, except etc/machine-id, which is emptied (the literal \
           `uninitialized` stays). In var/log files are removed and directories stay, since \
           services expect theirs; journald's directory named after the machine is removed. \
           `reprofix explain machine-state` prints the table with the reason of each row.",
    lost: "The logs of the build, and dnf's metadata cache.",
    upstream: "rpm-ostree does the same for /etc and wipes /var (issues 4792, 1211, 3174); other \
               flows do not: bootc issue 1201 (logs), mkosi (seeds).",
    payload: false,
    options: &[],
};

/// The places of an rpm database.
macro_rules! rpmdb {
    ($file:literal) => {
        concat!(
            "{usr/share/rpm,usr/lib/sysimage/rpm,usr/lib/sysimage/rpm-ostree-base-db,var/lib/rpm}/",
            $file
        )
    };
}

static ROWS: &[Row] = &[
    // Identities and seeds.
    Row::new(
        "etc/machine-id",
        FILE,
        Action::Empty(b"uninitialized\n"),
        "systemd creates a new machine-id if the file is empty: machine-id(5)",
    ),
    Row::new(
        "var/lib/dbus/machine-id",
        FILE,
        Action::Remove,
        "dbus reads etc/machine-id if this file is missing: dbus-uuidgen(1)",
    ),
    Row::new(
        "var/lib/systemd/random-seed",
        FILE,
        Action::Remove,
        "created again at shutdown, and a shared seed is a weakness: \
                 systemd-random-seed.service(8)",
    ),
    Row::new(
        "var/lib/systemd/credential.secret",
        FILE,
        Action::Remove,
        "created again when first needed, and a shared secret is not secret: systemd-creds(1)",
    ),
    Row::new(
        "{boot,boot/efi,efi}/loader/random-seed",
        FILE,
        Action::Remove,
        "a seed shared by every copy of an image is a weakness: bootctl(1), random-seed",
    ),
    // Locks and backups.
    Row::new(
        rpmdb!("{.rpm.lock,.dbenv.lock,.keyring.lock,.migratedb,__db.[0-9]*}"),
        FILE,
        Action::Remove,
        "lock or environment of a database that no process has open; rpm creates it again",
    ),
    Row::new(
        "{etc/selinux,var/lib/selinux}/*/semanage.{read,trans}.LOCK",
        FILE,
        Action::Remove,
        "lock of the policy store; libsemanage creates it again",
    ),
    Row::new(
        "etc/{.pwd,passwd,group,shadow,gshadow,subuid,subgid}.lock",
        FILE,
        Action::Remove,
        "lock of an account tool; the next one creates it again",
    ),
    Row::new(
        "etc/{passwd,group,shadow,gshadow,subuid,subgid}-",
        FILE,
        Action::Remove,
        "backup whose content depends on which scriptlet added the last account",
    ),
    // Logs.
    Row::new(
        "var/log/journal/[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]*",
        DIR,
        Action::Remove,
        "journald's directory of the building machine's id",
    ),
    Row::new(
        "var/log/**",
        FILE,
        Action::Remove,
        "a log of the build; services create theirs again, and directories stay for them",
    ),
    // Caches of package managers.
    Row::new(
        "var/cache/{dnf,libdnf5,yum,PackageKit,zypp}/**",
        ANY,
        Action::Remove,
        "repository metadata and packages; dnf downloads what it needs",
    ),
    Row::new(
        "var/lib/systemd/timers/stamp-*",
        LEAF,
        Action::Remove,
        "the last run of a timer, as modification time: systemd.timer(5), Persistent",
    ),
];
