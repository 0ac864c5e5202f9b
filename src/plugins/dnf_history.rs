//! The `dnf-history` plugin: the transactions that dnf remembers, without when and in which order
//! their packages came.

use std::io;
use std::path::Path;

use crate::disk;
use crate::format::rpmdb::history::{self, Cookies};
use crate::format::rpmdb::sqlite::Files;
use crate::format::{Failure, Malformed};
use crate::normal::Context;
use crate::normal::{File, Opt, Page, Plugin, Step, Verdict, Want};
use crate::packages::Database;
use crate::tree::{Entry, Kind, Tree};

/// The histories, in logical paths.
pub(super) const HISTORIES: [&str; 2] =
    ["usr/lib/sysimage/libdnf5/transaction_history.sqlite", "var/lib/dnf/history.sqlite"];
/// What dnf 5 knows of the system as a whole.
const STATE: &str = "usr/lib/sysimage/libdnf5/system.toml";
/// What SQLite keeps beside one.
const SIDES: [&str; 3] = ["-wal", "-journal", "-shm"];

/// The plugin.
pub(super) struct DnfHistory;

static PAGE: Page = Page {
    name: "dnf-history",
    summary: "gives dnf's transaction history one form for the same transactions",
    default: true,
    paths: "usr/lib/sysimage/libdnf5/transaction_history.sqlite (dnf 5), \
            var/lib/dnf/history.sqlite (dnf 4), and their -wal, -journal, -shm; \
            usr/lib/sysimage/libdnf5/system.toml",
    varies: "Times of transactions; the numbers of items, packages and repositories, in order of \
             appearance; cookies of the rpm database before and after each transaction, which \
             follow package numbers; SQLite's page layout, counters and unused bytes.",
    why: "dnf writes its history into the root that it installs, while it installs.",
    done: "Transactions keep their order. All else is sorted by what it says, numbered from 1 and \
           written to a new file, as the rpmdb plugin does. Times later than SOURCE_DATE_EPOCH \
           become SOURCE_DATE_EPOCH. The cookie of the rpm database as it is becomes that of its \
           canonical form, so that dnf does not take it for altered behind its back; other \
           cookies, of states that are gone, become placeholders: equal ones stay equal. The \
           --installroot of a command line becomes /; the rest of it, the user and the reasons \
           stay. A log or journal is applied first, and goes. The cookie in system.toml follows in \
           the same way; one of a state that is gone becomes zeros. mode=remove removes the history, \
           and leaves system.toml in that form.",
    lost: "When transactions ran. With mode=remove, `dnf history`; and dnf 4 keeps why a package \
           is installed only there: without it every package counts as asked for, so that \
           `dnf autoremove` removes nothing (dnf 5 keeps it in packages.toml).",
    upstream: "dnf5 honours SOURCE_DATE_EPOCH since 2026 (issue 2326); dnf 4 is open; rpm-ostree \
               wipes /var, so that only other flows meet dnf 4's.",
    payload: true,
    options: &[Opt {
        name: "mode",
        values: &["canonical", "remove"],
        default: "canonical",
        help: "what becomes of a history",
    }],
};

/// What a path is to this plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Side(&'static str),
    State,
}

fn role(entry: &Entry) -> Option<Role> {
    if entry.kind != Kind::File {
        return None;
    }
    let path = entry.logical();
    if *path == *STATE.as_bytes() {
        return Some(Role::State);
    }
    HISTORIES.iter().find_map(|history| match path.strip_prefix(history.as_bytes())? {
        b"" => Some(Role::Main),
        rest => SIDES.into_iter().find(|side| side.as_bytes() == rest).map(Role::Side),
    })
}

impl Plugin for DnfHistory {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, cx: &Context) -> Want {
        match role(entry) {
            Some(Role::Main) if !removes(cx) => Want::Bytes,
            Some(Role::State) => Want::Bytes,
            Some(_) => Want::Entry,
            None => Want::No,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        match role(file.entry) {
            Some(Role::State) => state(file, cx),
            Some(_) if removes(cx) => Ok(Verdict::Remove),
            Some(Role::Main) => main(file, cx),
            Some(Role::Side(suffix)) => side(file, suffix, cx),
            None => Ok(Verdict::Keep),
        }
    }

    fn explain(&self, a: &File<'_>, _b: &File<'_>, _cx: &Context) -> Vec<String> {
        let words = match role(a.entry) {
            Some(Role::State) => {
                "dnf 5's state: its cookie is of other packages, or other keys differ"
            }
            Some(_) => {
                "other transactions: command lines, packages, reasons or repositories differ"
            }
            None => return Vec::new(),
        };
        vec![words.to_owned()]
    }
}

fn removes(cx: &Context) -> bool {
    cx.option(&PAGE, "mode") == "remove"
}

/// The path with a suffix behind it.
fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn main(file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
    let path = &file.entry.path;
    let new = match form(file.tree, path, &file.bytes, cx)? {
        Ok(new) => new,
        Err(why) => return Ok(Verdict::Unparsed(why)),
    };
    let mut logs = Vec::new();
    for suffix in SIDES {
        let side = beside(path, suffix);
        if file.tree.lookup(&side)?.is_some_and(|side| side.size > 0 && suffix != "-shm") {
            logs.push(side);
        }
    }
    if logs.is_empty() {
        let same = new.bytes == *file.bytes;
        return Ok(if same { Verdict::Keep } else { Verdict::Rewrite(new.bytes) });
    }
    // As the rpmdb plugin does: the log's contents come into the database, then it goes, then the
    // canonical file comes.
    let write = |bytes: Vec<u8>| Step::Write(path.clone(), bytes.into());
    let sides = SIDES.map(|suffix| Step::Remove(beside(path, suffix)));
    let steps = new.recovered.map(write).into_iter().chain(sides).chain([write(new.bytes)]);
    Ok(Verdict::Steps(steps.collect()))
}

/// A side file goes with the log that it is, once the history was understood.
fn side(file: &File<'_>, suffix: &str, cx: &Context) -> io::Result<Verdict> {
    let text = file.entry.path.to_string_lossy();
    let path = Path::new(text.strip_suffix(suffix).unwrap_or(&text));
    let Some(bytes) = file.tree.read(path)? else {
        let alone = "a log without its history; remove it";
        let report = Verdict::Report(alone.to_owned());
        let worthless = suffix == "-shm" || file.entry.size == 0;
        return Ok(if worthless { Verdict::Remove } else { report });
    };
    let understood = form(file.tree, path, &bytes, cx)?.is_ok();
    Ok(if understood { Verdict::Remove } else { Verdict::Keep })
}

/// The canonical form of the history at `path`. The outer error is the tree's.
fn form(
    tree: &dyn Tree,
    path: &Path,
    db: &[u8],
    cx: &Context,
) -> io::Result<Result<history::Canonical, Malformed>> {
    let side = |suffix| tree.read(&beside(path, suffix)).map(Option::unwrap_or_default);
    let (wal, journal) = (side("-wal")?, side("-journal")?);
    // Without a database that can be read there is no cookie that dnf could compare with.
    let cookies = cookies(tree, cx)?.unwrap_or_default();
    let files = Files { db, wal: &wal, journal: &journal };
    let epoch = cx.epoch.seconds();
    Failure::apart(history::canonical(&files, epoch, &cookies, &disk::PrivateDir))
}

/// The cookies of the rpm database; `None` if there is none that can be understood.
fn cookies(tree: &dyn Tree, cx: &Context) -> io::Result<Option<Cookies>> {
    let Some(database) = Database::of_tree(tree)? else { return Ok(None) };
    let database = Failure::apart(database.logical())?;
    Ok(database.and_then(|db| Cookies::of(&db, cx.epoch.seconds())).ok())
}

/// dnf 5's state follows the database that it quotes.
fn state(file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
    Ok(match cookies(file.tree, cx)? {
        Some(cookies) => Verdict::of(cookies.follow(&file.bytes), &file.bytes),
        None => Verdict::Keep,
    })
}
