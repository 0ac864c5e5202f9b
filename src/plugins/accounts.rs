//! `accounts`: the day of the last password change, and drifting user and group numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{File, Page, Plugin, Verdict, Want};
use crate::engine::Context;
use crate::format::Malformed;
use crate::tree::{Entry, Kind};

/// The plugin.
pub(super) struct Accounts;

static PAGE: Page = Page {
    name: "accounts",
    summary: "clamps the days of password changes; explains drifting uids and gids",
    default: true,
    paths: "etc/shadow; for explanation only etc/passwd and etc/group, also under usr/lib",
    varies: "The third field of each line of etc/shadow: the day of the last change. The numbers \
             that sysusers or useradd picked, by the order in which scriptlets ran.",
    why: "useradd writes today's day. A number that is not fixed in a sysusers.d file is the next \
          free one.",
    done: "A day later than that of SOURCE_DATE_EPOCH becomes that day, for every account; earlier \
           days, 0 (change at next login) and an empty field (no ageing) stay. Numbers are never \
           changed, since files in the tree carry them: what differs is named.",
    lost: "The day of the build; a password that expires does so a little earlier.",
    upstream: "Locked accounts: fixed in rpm-ostree (issue 3174); shadow-utils honours \
               SOURCE_DATE_EPOCH where it is set in scriptlets. Drift: rpm-ostree issue 4792; fix \
               the numbers with sysusers.d, or with check-passwd and check-groups files.",
    payload: false,
    options: &[],
};

const SECONDS_A_DAY: u32 = 86_400;

/// What a path is to this plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kin {
    Shadow,
    Numbered(&'static str),
}

fn kin(entry: &Entry) -> Option<Kin> {
    match &*entry.logical() {
        _ if entry.kind != Kind::File => None,
        b"etc/shadow" => Some(Kin::Shadow),
        b"etc/passwd" | b"usr/lib/passwd" => Some(Kin::Numbered("user")),
        b"etc/group" | b"usr/lib/group" => Some(Kin::Numbered("group")),
        _ => None,
    }
}

impl Plugin for Accounts {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        match kin(entry) {
            None => Want::No,
            Some(Kin::Shadow) => Want::Bytes,
            Some(Kin::Numbered(_)) => Want::Entry,
        }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> Verdict {
        if kin(file.entry) != Some(Kin::Shadow) {
            return Verdict::Keep;
        }
        match clamp_shadow(&file.bytes, cx.epoch.seconds() / SECONDS_A_DAY) {
            Ok(bytes) if bytes == *file.bytes => Verdict::Keep,
            Ok(bytes) => Verdict::Rewrite(bytes),
            Err(what) => Verdict::Unparsed(what),
        }
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        let (left, right) = (a.content(), b.content());
        let mut out = match kin(a.entry) {
            Some(Kin::Shadow) => compare(&left, &right, 2, "account", "last change on day"),
            Some(Kin::Numbered(what)) => compare(&left, &right, 2, what, "number"),
            None => Vec::new(),
        };
        if out.is_empty() && sorted(&left) == sorted(&right) {
            out.push("the order of the lines differs".to_owned());
        }
        out
    }
}

/// `shadow` with no day later than `latest`.
fn clamp_shadow(bytes: &[u8], latest: u32) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let start = out.len();
        if line.last() != Some(&b'\n') {
            return Err(Malformed::at(bytes.len(), "the last line is not ended"));
        }
        let mut fields: Vec<Cow<'_, [u8]>> =
            line.split(|b| *b == b':').map(Cow::Borrowed).collect();
        // A name-service line (`+name`) may be short; nothing in it is a day.
        if fields.len() != 9 && !matches!(line[0], b'+' | b'-' | b'#' | b'\n') {
            return Err(Malformed::at(start, "not the nine fields of shadow(5)"));
        }
        if let Some(day) = fields.get_mut(2).filter(|day| !day.is_empty()) {
            let number = std::str::from_utf8(day).ok().and_then(|d| d.parse::<u32>().ok());
            let number = number.ok_or_else(|| Malformed::at(start, "the day is not a number"))?;
            if number > latest {
                *day = Cow::Owned(latest.to_string().into_bytes());
            }
        }
        out.extend(fields.join(&b':'));
    }
    Ok(out)
}

fn sorted(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    lines.sort_unstable();
    lines
}

/// Lines by name, each as its fields.
fn by_name(bytes: &[u8]) -> BTreeMap<String, Vec<String>> {
    let text = String::from_utf8_lossy(bytes);
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .map(fields)
        .filter_map(|f| f.first().cloned().map(|name| (name, f)))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Names on one side only, and names whose `field` or anything else differs. Password hashes are
/// never shown.
fn compare(a: &[u8], b: &[u8], field: usize, what: &str, word: &str) -> Vec<String> {
    let (left, right) = (by_name(a), by_name(b));
    let only = |x: &BTreeMap<String, Vec<String>>, y: &BTreeMap<String, Vec<String>>, side| {
        let names: Vec<_> = x.keys().filter(|n| !y.contains_key(*n)).cloned().collect();
        let list = names.join(", ");
        (!names.is_empty()).then(|| format!("{what} only in the {side}: {list}"))
    };
    let mut out: Vec<String> = [only(&left, &right, "first"), only(&right, &left, "second")]
        .into_iter()
        .flatten()
        .collect();
    for (name, l) in &left {
        let Some(r) = right.get(name).filter(|r| *r != l) else { continue };
        match (l.get(field), r.get(field)) {
            (Some(x), Some(y)) if x != y => {
                out.push(format!("{what} {name}: {word} {x} and {y}"));
            }
            _ => out.push(format!("{what} {name}: other fields differ")),
        }
    }
    out
}
