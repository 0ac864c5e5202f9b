//! What differs between two databases, in the words of packages.
//!
//! Differences that no normal form removes (FILESTATES, INSTALLCOLOR, other tags) are told by
//! package and file; those that one does remove (install times, order, unused bytes) by class.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::header::{self, Header, Value, tag};
use super::{INSTALLTID_INDEX, Logical, Package, SortKey};
use crate::format::Malformed;

/// Most files that a phrase names before it says how many more there are.
const SHOWN: usize = 5;

/// Everything that differs between database A and database B. Lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// NEVRAs that only A holds, and no other version of them in B.
    pub only_a: Vec<String>,
    /// NEVRAs that only B holds, and no other version of them in A.
    pub only_b: Vec<String>,
    /// Packages of which A and B hold different versions.
    pub changed_version: Vec<VersionChange>,
    /// Packages of one NEVRA whose headers differ in more than install times.
    pub changed_header: Vec<HeaderChange>,
    /// Packages that differ in their install times only.
    pub times_only: Vec<String>,
    /// Index tables whose rows differ between packages that are the same.
    pub indexes: Vec<String>,
    /// The same packages, numbered in another order.
    pub order: bool,
}

/// A kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Packages are missing, additional or of other versions.
    Packages,
    /// Headers of the same packages differ, in FILESTATES, INSTALLCOLOR or other tags.
    Headers,
    /// Index rows of the same packages differ.
    Indexes,
    /// INSTALLTIME or INSTALLTID differ.
    InstallTimes,
    /// Packages are numbered in another order.
    Order,
    /// Contents are the same; pages, counters or unused bytes differ.
    Layout,
    /// The databases are stored in different ways.
    Backend,
}

impl Class {
    /// The words in reports.
    pub fn word(self) -> &'static str {
        match self {
            Class::Packages => "packages",
            Class::Headers => "headers",
            Class::Indexes => "index rows",
            Class::InstallTimes => "install times",
            Class::Order => "order",
            Class::Layout => "page layout or unused bytes",
            Class::Backend => "backend",
        }
    }

    /// Whether it only tells of how the database came to be: the normal form removes it.
    pub fn is_of_history(self) -> bool {
        matches!(self, Class::InstallTimes | Class::Order | Class::Layout)
    }
}

/// Which of two versions is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// That of B.
    Upgraded,
    /// That of A.
    Downgraded,
    /// There are several, or they compare equal.
    Changed,
}

/// One package in two versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VersionChange {
    /// Name and architecture, as `bash.x86_64`.
    pub name: String,
    /// Which is the newer, as rpm compares versions.
    pub direction: Direction,
    /// The NEVRAs in A.
    pub a: Vec<String>,
    /// The NEVRAs in B.
    pub b: Vec<String>,
}

/// One package whose header differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HeaderChange {
    /// The package.
    pub nevra: String,
    /// The tags that differ, by name, install times left out.
    pub tags: Vec<String>,
    /// The files whose state differs (FILESTATES).
    pub files: Vec<FileState>,
    /// INSTALLCOLOR of A and B where it differs.
    pub color: Option<(u32, u32)>,
}

/// A file that was installed in one database and not so in the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FileState {
    /// The packaged path; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// Its state in A: `normal`, `replaced`, `not installed`, `net shared`, `wrong color`.
    pub a: &'static str,
    /// Its state in B.
    pub b: &'static str,
    /// What usually makes that difference.
    pub cause: &'static str,
}

/// What differs between `a` and `b`.
///
/// # Errors
///
/// On a header that cannot be parsed.
pub fn diff(a: &Logical<'_>, b: &Logical<'_>) -> Result<Diff, Malformed> {
    let (left, right) = (Side::of(a)?, Side::of(b)?);
    let mut diff = Diff::default();
    diff.packages(&left, &right)?;
    let same = diff.only_a.is_empty() && diff.only_b.is_empty() && diff.changed_version.is_empty();
    if same {
        diff.order = left.order() != right.order();
        if diff.changed_header.is_empty() {
            diff.indexes = indexes(&left, &right);
        }
    }
    Ok(diff)
}

impl Diff {
    /// Whether the databases hold the same; their bytes may still differ, by page layout or
    /// unused bytes.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }

    /// The classes of what differs, sorted; none if the contents are the same.
    pub fn classes(&self) -> Vec<Class> {
        let sets = [&self.only_a, &self.only_b].iter().all(|set| set.is_empty());
        let found = [
            (!sets || !self.changed_version.is_empty(), Class::Packages),
            (!self.changed_header.is_empty(), Class::Headers),
            (!self.indexes.is_empty(), Class::Indexes),
            (!self.times_only.is_empty(), Class::InstallTimes),
            (self.order, Class::Order),
        ];
        found.into_iter().filter_map(|(there, class)| there.then_some(class)).collect()
    }

    /// What differs under headings, as `rpm-ostree db diff` groups it; empty if nothing does.
    pub fn groups(&self) -> Vec<(String, Vec<String>)> {
        let versions = |direction| {
            let all = self.changed_version.iter().filter(move |c| c.direction == direction);
            all.map(VersionChange::arrow).collect::<Vec<_>>()
        };
        let headers: Vec<_> = self.changed_header.iter().flat_map(HeaderChange::phrases).collect();
        let order = if self.order { vec!["of installation".to_owned()] } else { Vec::new() };
        let groups = [
            ("Upgraded", versions(Direction::Upgraded)),
            ("Downgraded", versions(Direction::Downgraded)),
            ("Changed", versions(Direction::Changed)),
            ("Removed", self.only_a.clone()),
            ("Added", self.only_b.clone()),
            ("Same version, other header", headers),
            ("Index rows differ", self.indexes.clone()),
            ("Only INSTALLTIME or INSTALLTID differ", self.times_only.clone()),
            ("Order differs", order),
        ];
        let told = groups.into_iter().filter(|(_, lines)| !lines.is_empty());
        told.map(|(title, lines)| (format!("{title} ({}):", lines.len()), lines)).collect()
    }

    /// One lower-case phrase a finding, in a fixed order; at least one.
    pub fn phrases(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut list = |what: &str, names: &[String]| {
            if !names.is_empty() {
                out.push(format!("{}: {}", counted(names.len(), what), names.join(", ")));
            }
        };
        list("package only in A", &self.only_a);
        list("package only in B", &self.only_b);
        out.extend(self.changed_version.iter().map(VersionChange::phrase));
        out.extend(self.changed_header.iter().flat_map(HeaderChange::phrases));
        if !self.indexes.is_empty() {
            out.push(format!("index rows differ in {}", self.indexes.join(", ")));
        }
        if !self.times_only.is_empty() {
            let count = counted(self.times_only.len(), "package");
            out.push(format!("INSTALLTIME or INSTALLTID only: {count}"));
        }
        if self.order {
            out.push("packages are numbered in another order".to_owned());
        }
        if out.is_empty() {
            out.push("same packages and rows; only page layout or unused bytes differ".to_owned());
        }
        out
    }

    fn packages(&mut self, left: &Side<'_>, right: &Side<'_>) -> Result<(), Malformed> {
        let names: BTreeSet<&String> = left.by_name.keys().chain(right.by_name.keys()).collect();
        for name in names {
            let none = BTreeMap::new();
            let a = left.by_name.get(name).unwrap_or(&none);
            let b = right.by_name.get(name).unwrap_or(&none);
            let lacking = |x: &Versions<'_>, y: &Versions<'_>| -> Vec<String> {
                x.keys().filter(|nevra| !y.contains_key(*nevra)).cloned().collect()
            };
            match (lacking(a, b), lacking(b, a)) {
                (a, b) if !a.is_empty() && !b.is_empty() => {
                    let name = name.clone();
                    let direction = direction(&name, &a, &b);
                    self.changed_version.push(VersionChange { name, direction, a, b });
                }
                (a, b) => {
                    self.only_a.extend(a);
                    self.only_b.extend(b);
                }
            }
            for (nevra, copies) in a {
                if let Some(others) = b.get(nevra) {
                    self.copies(nevra, copies, others)?;
                }
            }
        }
        Ok(())
    }

    /// Packages of one NEVRA on both sides: usually one and one.
    fn copies(
        &mut self,
        nevra: &str,
        a: &[KeyedPackage<'_>],
        b: &[KeyedPackage<'_>],
    ) -> Result<(), Malformed> {
        for (x, y) in a.iter().zip(b) {
            if x.package.blob == y.package.blob {
                continue;
            }
            match x.key.content() == y.key.content() {
                true => self.times_only.push(nevra.to_owned()),
                false => self.changed_header.push(header_change(nevra, x, y)?),
            }
        }
        let more = |n: usize| std::iter::repeat_n(nevra.to_owned(), n);
        self.only_a.extend(more(a.len().saturating_sub(b.len())));
        self.only_b.extend(more(b.len().saturating_sub(a.len())));
        Ok(())
    }
}

impl VersionChange {
    fn phrase(&self) -> String {
        format!("{} is {} in A, {} in B", self.name, self.a.join(" and "), self.b.join(" and "))
    }

    fn arrow(&self) -> String {
        let evrs = |nevras: &[String]| {
            nevras.iter().map(|nevra| evr(&self.name, nevra)).collect::<Vec<_>>().join(", ")
        };
        format!("{} {} → {}", self.name, evrs(&self.a), evrs(&self.b))
    }
}

/// Which of two versions of a package is the newer.
fn direction(name: &str, a: &[String], b: &[String]) -> Direction {
    let ([a], [b]) = (a, b) else { return Direction::Changed };
    match rpm_version::rpm_evr_compare(evr(name, a), evr(name, b)) {
        Ordering::Less => Direction::Upgraded,
        Ordering::Greater => Direction::Downgraded,
        Ordering::Equal => Direction::Changed,
    }
}

/// `[epoch:]version-release` of a NEVRA of the package `name.arch`.
fn evr<'n>(name: &str, nevra: &'n str) -> &'n str {
    let both = name.rsplit_once('.').filter(|(_, arch)| nevra.ends_with(&format!(".{arch}")));
    let (name, arch) = both.map_or((name, 0), |(name, arch)| (name, arch.len() + 1));
    let end = nevra.len() - arch;
    nevra.get(name.len() + 1..end).unwrap_or(nevra)
}

impl HeaderChange {
    fn phrases(&self) -> Vec<String> {
        let nevra = &self.nevra;
        let mut out = Vec::new();
        for (state, files) in self.states() {
            let (a, b, cause) = state;
            let shown: Vec<&str> = files.iter().take(SHOWN).copied().collect();
            let more = files.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let files = shown.join(", ");
            out.push(format!("{nevra}: {files}{more}: {a} in A, {b} in B ({cause})"));
        }
        if let Some((a, b)) = self.color {
            out.push(format!("{nevra}: INSTALLCOLOR is {a} in A, {b} in B (multilib policy)"));
        }
        let told = |t: &&String| !matches!(t.as_str(), "FILESTATES" | "INSTALLCOLOR");
        let tags: Vec<&str> = self.tags.iter().filter(told).map(String::as_str).collect();
        if !tags.is_empty() {
            out.push(format!("{nevra}: headers differ in {}", tags.join(", ")));
        }
        if tags.iter().any(|tag| tag.starts_with("PACKAGEDIGEST")) {
            out.push(format!(
                "{nevra}: rpm 6 stores the digests of the package file that %_pkgverify_digests names, \
                 and none with --nodigest --nosignature: install with one value, and from files \
                 that were signed once"
            ));
        }
        out
    }

    /// Files by what happened to them.
    fn states(&self) -> BTreeMap<(&str, &str, &str), Vec<&str>> {
        let mut states: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for file in &self.files {
            states.entry((file.a, file.b, file.cause)).or_default().push(&file.path);
        }
        states
    }
}

/// "1 package only in A", "2 packages only in A".
fn counted(n: usize, what: &str) -> String {
    let what = if n == 1 { what.to_owned() } else { what.replacen("package", "packages", 1) };
    format!("{n} {what}")
}

/// A package, its key with install times blanked, its rows' place.
struct KeyedPackage<'a> {
    package: &'a Package<'a>,
    key: SortKey,
}

/// Packages by NEVRA.
type Versions<'a> = BTreeMap<String, Vec<KeyedPackage<'a>>>;

/// One database, sorted for comparison.
struct Side<'a> {
    logical: &'a Logical<'a>,
    by_name: BTreeMap<String, Versions<'a>>,
}

impl<'a> Side<'a> {
    fn of(logical: &'a Logical<'a>) -> Result<Self, Malformed> {
        let mut by_name: BTreeMap<String, Versions<'a>> = BTreeMap::new();
        for package in &logical.packages {
            let blob = package.blob.whole();
            let header = Header::parse(&blob)?;
            let text = |tag| String::from_utf8_lossy(header.string(tag)).into_owned();
            let name = format!("{}.{}", text(tag::NAME), text(tag::ARCH));
            let key = SortKey::of(&blob, 0)?;
            let versions = by_name.entry(name.trim_end_matches('.').to_owned()).or_default();
            versions.entry(header.nevra()).or_default().push(KeyedPackage { package, key });
        }
        for copies in by_name.values_mut().flat_map(BTreeMap::values_mut) {
            copies.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(Side { logical, by_name })
    }

    /// The packages' NEVRAs by hnum.
    fn order(&self) -> Vec<&str> {
        let all = self.by_name.values().flatten();
        let mut order: Vec<_> = all
            .flat_map(|(nevra, copies)| copies.iter().map(move |k| (k.package.hnum, nevra)))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, nevra)| nevra.as_str()).collect()
    }

    /// The rows of an index by package, install times left out.
    fn rows(&self, index: &str) -> Vec<(&[u8; 32], u32, &[u8])> {
        let all = self.by_name.values().flat_map(BTreeMap::values).flatten();
        let content: BTreeMap<u32, &[u8; 32]> =
            all.map(|k| (k.package.hnum, k.key.content())).collect();
        let rows = self.logical.indexes.get(index).map_or(&[][..], Vec::as_slice);
        let blank = index == INSTALLTID_INDEX;
        let mut rows: Vec<_> = rows
            .iter()
            .filter_map(|row| {
                let key: &[u8] = if blank { &[] } else { &row.key };
                Some((*content.get(&row.hnum)?, row.idx, key))
            })
            .collect();
        rows.sort_unstable();
        rows
    }
}

/// The index tables whose rows differ.
fn indexes(a: &Side<'_>, b: &Side<'_>) -> Vec<String> {
    let names: BTreeSet<&String> =
        a.logical.indexes.keys().chain(b.logical.indexes.keys()).collect();
    names.into_iter().filter(|name| a.rows(name) != b.rows(name)).cloned().collect()
}

fn header_change(
    nevra: &str,
    a: &KeyedPackage<'_>,
    b: &KeyedPackage<'_>,
) -> Result<HeaderChange, Malformed> {
    let blobs = [a, b].map(|known| known.package.blob.whole());
    let (a, b) = (Header::parse(&blobs[0])?, Header::parse(&blobs[1])?);
    let numbers: BTreeSet<u32> = a.entries().iter().chain(b.entries()).map(|e| e.tag).collect();
    let regions = tag::HEADERIMAGE..=tag::HEADERIMMUTABLE;
    let differs = |&n: &u32| !header::is_time(n) && !regions.contains(&n) && a.get(n) != b.get(n);
    let name = |n| header::tag_name(n).unwrap_or_else(|| format!("TAG{n}"));
    let color = |h: &Header<'_>| h.get(tag::INSTALLCOLOR).and_then(Value::u32).unwrap_or(0);
    let colors = (color(&a), color(&b));
    Ok(HeaderChange {
        nevra: nevra.to_owned(),
        tags: numbers.into_iter().filter(differs).map(name).collect(),
        files: file_states(&a, &b),
        color: (colors.0 != colors.1).then_some(colors),
    })
}

/// The files whose FILESTATES differ.
fn file_states(a: &Header<'_>, b: &Header<'_>) -> Vec<FileState> {
    let states = |h: &Header<'_>| -> Vec<u64> {
        h.get(tag::FILESTATES).into_iter().flat_map(Value::integers).collect()
    };
    let (left, right) = (states(a), states(b));
    let flags: Vec<u64> = a.get(tag::FILEFLAGS).into_iter().flat_map(Value::integers).collect();
    let langs: Vec<&[u8]> = a.get(tag::FILELANGS).into_iter().flat_map(Value::strings).collect();
    let mut out = Vec::new();
    for (n, path) in paths(a).into_iter().enumerate() {
        let (x, y) = (left.get(n).copied(), right.get(n).copied());
        if x != y {
            let doc = flags.get(n).is_some_and(|f| f & 2 != 0);
            let lang = langs.get(n).is_some_and(|l| !l.is_empty());
            let (a, b) = (state_name(x), state_name(y));
            out.push(FileState { path, a, b, cause: cause([a, b], doc, lang) });
        }
    }
    out.sort();
    out
}

/// The packaged paths of a header, in its order.
fn paths(header: &Header<'_>) -> Vec<String> {
    let strings = |n| header.get(n).into_iter().flat_map(Value::strings);
    let dirs: Vec<&[u8]> = strings(tag::DIRNAMES).collect();
    let indexes = header.get(tag::DIRINDEXES).into_iter().flat_map(Value::integers);
    let path = |(index, base): (u64, &[u8])| {
        let dir = dirs.get(index as usize).copied().unwrap_or_default();
        String::from_utf8_lossy(&[dir, base].concat()).into_owned()
    };
    indexes.zip(strings(tag::BASENAMES)).map(path).collect()
}

/// What a value of FILESTATES means.
fn state_name(state: Option<u64>) -> &'static str {
    match state {
        Some(0) => "normal",
        Some(1) => "replaced",
        Some(2) => "not installed",
        Some(3) => "net shared",
        Some(4) => "wrong color",
        Some(255) => "missing",
        Some(_) => "in an unknown state",
        None => "without a state",
    }
}

/// What usually makes a file's state differ.
fn cause(states: [&str; 2], doc: bool, lang: bool) -> &'static str {
    match states {
        s if s.contains(&"not installed") && doc => "documentation: excludedocs",
        s if s.contains(&"not installed") && lang => "translation: %_install_langs",
        s if s.contains(&"not installed") => "skipped path: excludepath or %_netsharedpath",
        s if s.contains(&"replaced") => "two packages hold it: order of installation",
        s if s.contains(&"wrong color") => "two architectures hold it: colors",
        _ => "install options",
    }
}
