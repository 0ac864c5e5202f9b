//! `accounts`: the order of accounts, the day of the last password change, and drifting numbers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::format::Malformed;
use crate::normal::Context;
use crate::normal::{Consequence, File, Follows, OtherDifferences, Page, Plugin, Verdict, Want};
use crate::tree::{Change, Difference, Entry, Kind, Tree};

/// The plugin.
pub(super) struct Accounts;

static PAGE: Page = Page {
    name: "accounts",
    summary: "orders accounts, clamps the days of password changes; explains drifting uids and gids",
    default: true,
    paths: "etc/passwd, etc/group, etc/shadow, etc/gshadow; usr/lib/passwd, usr/lib/group",
    varies: "The order of the lines, which is that in which scriptlets ran. The third field of each \
             line of etc/shadow: the day of the last change. The numbers that sysusers or useradd \
             picked, by the order in which scriptlets ran. The hash of a password, which is salted \
             at random, so that one password gives another hash each time.",
    why: "useradd appends a line and writes today's day; chpasswd and passwd take a new salt. A \
          number that is not fixed in a sysusers.d \
          file is the next free one.",
    done: "passwd and group are sorted by number, shadow and gshadow by name. Lines of one number \
           keep their order, since the first of them names it; a file with lines for name services \
           (+, -) or comments keeps its order, since there it means something. A day later than \
           that of SOURCE_DATE_EPOCH becomes that day, for every account; earlier days, 0 (change \
           at next login) and an empty field (no ageing) stay. Numbers are never changed, since \
           files in the tree carry them: what differs is named. Hashes stay, and are never shown: \
           set a password by a hash that is made once (`chpasswd -e`, `usermod -p`).",
    lost: "The order in which accounts were added; the day of the build: a password that expires \
           does so a little earlier.",
    upstream: "Locked accounts: fixed in rpm-ostree (issue 3174); shadow-utils honours \
               SOURCE_DATE_EPOCH where it is set in scriptlets. Drift: rpm-ostree issue 4792; fix \
               the numbers with sysusers.d, or with check-passwd and check-groups files.",
    payload: false,
    options: &[],
};

const SECONDS_A_DAY: u32 = 86_400;
/// The field of a password, or of `x` where it is in the shadow file.
const PASSWORD: usize = 1;

/// What a path is to this plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathRole {
    Shadow,
    GroupShadow,
    Numbered(&'static str),
}

impl PathRole {
    /// Fields of a line, by the manual pages passwd(5), group(5), shadow(5), gshadow(5).
    fn fields(self) -> usize {
        match self {
            PathRole::Shadow => 9,
            PathRole::GroupShadow | PathRole::Numbered("group") => 4,
            PathRole::Numbered(_) => 7,
        }
    }
}

fn kin(entry: &Entry) -> Option<PathRole> {
    match &*entry.logical() {
        _ if entry.kind != Kind::File => None,
        b"etc/shadow" => Some(PathRole::Shadow),
        b"etc/gshadow" => Some(PathRole::GroupShadow),
        b"etc/passwd" | b"usr/lib/passwd" => Some(PathRole::Numbered("user")),
        b"etc/group" | b"usr/lib/group" => Some(PathRole::Numbered("group")),
        _ => None,
    }
}

impl Plugin for Accounts {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn wants(&self, entry: &Entry, _cx: &Context) -> Want {
        if kin(entry).is_some() { Want::Bytes } else { Want::No }
    }

    fn canonical(&self, file: &File<'_>, cx: &Context) -> io::Result<Verdict> {
        let Some(kin) = kin(file.entry) else { return Ok(Verdict::Keep) };
        let latest = cx.epoch.seconds() / SECONDS_A_DAY;
        let normal = lines(&file.bytes, kin).and_then(|mut lines| {
            if kin == PathRole::Shadow {
                lines.iter_mut().try_for_each(|line| clamp(line, latest))?;
            }
            order(&mut lines, kin)?;
            Ok(joined(&lines))
        });
        Ok(Verdict::of(normal, &file.bytes))
    }

    fn explain(&self, a: &File<'_>, b: &File<'_>, _cx: &Context) -> Vec<String> {
        let (left, right) = (a.content(), b.content());
        let mut out = match kin(a.entry) {
            Some(PathRole::Shadow) => compare(&left, &right, 2, "account", "last change on day"),
            // No field is shown: the second may be a password's hash.
            Some(PathRole::GroupShadow) => compare(&left, &right, usize::MAX, "group", ""),
            Some(PathRole::Numbered(what)) => compare(&left, &right, 2, what, "number"),
            None => Vec::new(),
        };
        if out.is_empty() && sorted(&left) == sorted(&right) {
            out.push("the order of the lines differs".to_owned());
        }
        out
    }

    fn followers(
        &self,
        open: &[&Difference],
        around: &OtherDifferences<'_>,
    ) -> Vec<Option<Follows>> {
        let first = |name: &str| around.own.iter().find(|path| path.ends_with(name));
        let drifted = AccountDrift { users: first("passwd"), groups: first("group") };
        let is_owner = |difference: &Difference| difference.changes == [Change::Owner];
        let any = drifted.users.is_some() || drifted.groups.is_some();
        if !any || !open.iter().any(|difference| is_owner(difference)) {
            return Vec::new();
        }
        let names = around.trees.map(Names::of);
        let follower = |difference: &&Difference| {
            if is_owner(difference) { drifted.follower(difference, &names) } else { None }
        };
        open.iter().map(follower).collect()
    }
}

/// Names of users and groups by their numbers.
#[derive(Debug)]
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    fn of(tree: &dyn Tree) -> Self {
        let read = |file: &str| {
            let mut map = BTreeMap::new();
            for folder in ["etc", "usr/etc", "usr/lib"] {
                // A file that cannot be read names nobody.
                let bytes = tree.read(&Path::new(folder).join(file)).ok().flatten();
                for line in String::from_utf8_lossy(&bytes.unwrap_or_default()).lines() {
                    let fields: Vec<&str> = line.split(':').collect();
                    if let Some(number) = fields.get(2).and_then(|n| n.parse().ok()) {
                        map.entry(number).or_insert_with(|| fields[0].to_owned());
                    }
                }
            }
            map
        };
        Names { users: read("passwd"), groups: read("group") }
    }
}

/// The files that give accounts other numbers, where they differ.
struct AccountDrift<'a> {
    users: Option<&'a PathBuf>,
    groups: Option<&'a PathBuf>,
}

impl AccountDrift<'_> {
    /// An owner that has one name and two numbers, where nothing else differs.
    fn follower(&self, difference: &Difference, names: &[Names; 2]) -> Option<Follows> {
        let (a, b) = (difference.a.as_ref()?, difference.b.as_ref()?);
        let drifted = |x: u32, y: u32, of: fn(&Names) -> &BTreeMap<u32, String>| {
            if x == y {
                return Some(None);
            }
            let (left, right) = (of(&names[0]).get(&x)?, of(&names[1]).get(&y)?);
            (left == right).then(|| Some(format!("{left} is {x} and {y}")))
        };
        let user = drifted(a.attrs.uid, b.attrs.uid, |n| &n.users)?;
        let group = drifted(a.attrs.gid, b.attrs.gid, |n| &n.groups)?;
        match (user, group) {
            (Some(user), _) => Some(Follows {
                how: Consequence::Account,
                of: self.users?.clone(),
                why: format!("user {user}"),
            }),
            (None, Some(group)) => Some(Follows {
                how: Consequence::Account,
                of: self.groups?.clone(),
                why: format!("group {group}"),
            }),
            (None, None) => None,
        }
    }
}

/// One line: where it starts, and its fields.
struct Line<'a> {
    start: usize,
    fields: Vec<Cow<'a, [u8]>>,
}

impl Line<'_> {
    /// A line for a name service (`+name`) or a comment: it may be short, and its place matters.
    fn is_special(&self) -> bool {
        matches!(self.fields[0].first(), None | Some(b'+' | b'-' | b'#'))
    }

    /// The third field as a number; `None` where it is empty.
    fn number(&self, what: &'static str) -> Result<Option<u32>, Malformed> {
        let Some(field) = self.fields.get(2).filter(|field| !field.is_empty()) else {
            return Ok(None);
        };
        let number = std::str::from_utf8(field).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| Malformed::at(self.start, what))
    }
}

fn lines(bytes: &[u8], kin: PathRole) -> Result<Vec<Line<'_>>, Malformed> {
    let mut out = Vec::new();
    let mut start = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(Malformed::at(bytes.len(), "the last line is not ended"));
        };
        let fields = text.split(|b| *b == b':').map(Cow::Borrowed).collect();
        let line = Line { start, fields };
        if line.fields.len() != kin.fields() && !line.is_special() {
            return Err(Malformed::at(
                start,
                match kin {
                    PathRole::Shadow => "not the nine fields of shadow(5)",
                    PathRole::GroupShadow => "not the four fields of gshadow(5)",
                    PathRole::Numbered("group") => "not the four fields of group(5)",
                    PathRole::Numbered(_) => "not the seven fields of passwd(5)",
                },
            ));
        }
        start += text.len() + 1;
        out.push(line);
    }
    Ok(out)
}

/// No day later than `latest`.
fn clamp(line: &mut Line<'_>, latest: u32) -> Result<(), Malformed> {
    if line.number("the day is not a number")?.is_some_and(|day| day > latest) {
        line.fields[2] = Cow::Owned(latest.to_string().into_bytes());
    }
    Ok(())
}

/// By number or by name; what is equal keeps its order, and so does all where one is special.
fn order(lines: &mut [Line<'_>], kin: PathRole) -> Result<(), Malformed> {
    if let PathRole::Numbered(_) = kin {
        let numbers = lines.iter().filter(|line| !line.is_special());
        numbers.map(|line| line.number("not a number")).collect::<Result<Vec<_>, _>>()?;
    }
    if lines.iter().any(Line::is_special) {
        return Ok(());
    }
    match kin {
        PathRole::Numbered(_) => lines.sort_by_key(|line| line.number("").ok().flatten()),
        PathRole::Shadow | PathRole::GroupShadow => {
            lines.sort_by(|a, b| a.fields[0].cmp(&b.fields[0]))
        }
    }
    Ok(())
}

fn joined(lines: &[Line<'_>]) -> Vec<u8> {
    let line = |line: &Line<'_>| [line.fields.join(&b':'), b"\n".to_vec()].concat();
    lines.iter().flat_map(line).collect()
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
        let mut said = Vec::new();
        if l.get(PASSWORD) != r.get(PASSWORD) {
            said.push(passwords(l, r).to_owned());
        }
        if let (Some(x), Some(y)) = (l.get(field), r.get(field))
            && x != y
        {
            said.push(format!("{word} {x} and {y}"));
        }
        let other = |n: &usize| l.get(*n) != r.get(*n) && ![PASSWORD, field].contains(n);
        if (0..l.len().max(r.len())).any(|n| other(&n)) {
            said.push("other fields differ".to_owned());
        }
        out.push(format!("{what} {name}: {}", said.join(", ")));
    }
    out
}

/// How the passwords of two lines differ, without showing them.
fn passwords(a: &[String], b: &[String]) -> &'static str {
    let method = |line: &[String]| -> Option<String> {
        let hash = line.get(PASSWORD)?.trim_start_matches('!').strip_prefix('$')?;
        hash.split_once('$').map(|(method, _)| method.to_owned())
    };
    let locked = |line: &[String]| line.get(PASSWORD).is_none_or(|p| p.starts_with(['!', '*']));
    match (method(a), method(b)) {
        _ if locked(a) != locked(b) => "password locked on one side only",
        (Some(x), Some(y)) if x == y => "password hash (salted)",
        _ => "password hash",
    }
}
