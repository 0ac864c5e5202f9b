//! Vouchers: what vouches for bytes, so that they must not change.
//!
//! A package database, an ostree repository, a file of digests, a signature: what each says about a
//! file must still hold after a run. [`TABLE`] is the complete list. The chain of plugins asks
//! [`Vouchers`] after a plugin wants a change and before it counts. Times are not vouched for: none
//! of these checks them.

mod directory;
mod repository;
mod table;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;

use self::directory::{DirectoryNames, Reader, Written};
use crate::disk::BOUND_TO_CONTENT;
use crate::format::hashes::{Algorithm, digests, unhex};
use crate::globs::Globs;
use crate::packages::Installed;
use crate::tree::{Entry, Kind, NOTHING, Tree};

pub(crate) use self::directory::listed;
pub use self::table::{PAGE, Row, TABLE, Voucher, VoucherKind};

/// What the configuration says about vouchers.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Paths that the configuration vouches for.
    vouched: Option<Arc<Globs>>,
    /// Paths that may change no matter what vouches for them.
    overruled: Option<Arc<Globs>>,
}

impl Rules {
    pub(crate) fn new(vouched: Option<Globs>, overruled: Option<Globs>) -> Self {
        Rules { vouched: vouched.map(Arc::new), overruled: overruled.map(Arc::new) }
    }

    /// Whether this path may change although a voucher needs it unchanged.
    pub fn overrules(&self, entry: &Entry) -> bool {
        self.overruled.as_ref().is_some_and(|globs| globs.holds(entry))
    }
}

/// What a change does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its content changes.
    Content,
    /// It is removed.
    Removal,
    /// It loses attributes.
    Attributes,
}

/// One question.
#[derive(Clone, Copy)]
pub struct Question<'q> {
    /// The path.
    pub entry: &'q Entry,
    /// What would be done to it.
    pub change: Change,
    /// Whether its package counts.
    pub packages: bool,
    /// Whether a wheel's RECORD counts.
    pub records: bool,
    /// Its content, from the beginning each time; `None` if it is not a regular file.
    pub content: &'q Reopen<'q>,
}

/// Opens the content of a file from its beginning.
pub type Reopen<'q> = dyn Fn() -> io::Result<Option<Box<dyn Read + 'q>>> + 'q;
/// Lists a directory of a tree.
type Listing<'a> = dyn Fn(&Path) -> io::Result<Vec<OsString>> + Sync + 'a;

/// All vouchers of one tree.
///
/// A directory is read when something in or below it is to change for the first time; the result is
/// kept for the run. Memory: that of the directories in which something changes, and of
/// [`Sums`](crate::format::checksum_files::Sums) and RECORDs there.
pub struct Vouchers<'a> {
    tree: &'a dyn Tree,
    installed: Option<&'a Installed<'a>>,
    names: Option<&'a Listing<'a>>,
    places: Mutex<HashMap<PathBuf, Arc<DirectoryNames>, RandomState>>,
}

impl<'a> Vouchers<'a> {
    /// The vouchers of `tree`, without its packages.
    pub fn of(tree: &'a dyn Tree) -> Self {
        Vouchers { tree, installed: None, names: None, places: Mutex::default() }
    }

    /// No vouchers at all.
    pub fn nobody() -> Vouchers<'static> {
        Vouchers::of(&NOTHING)
    }

    /// Adds the packages, which vouch for what they ship.
    pub fn and_packages(mut self, installed: Option<&'a Installed<'a>>) -> Self {
        self.installed = installed;
        self
    }

    /// Uses an existing listing of the directories.
    pub fn listed_by(mut self, names: &'a Listing<'a>) -> Self {
        self.names = Some(names);
        self
    }

    /// The first voucher in [`TABLE`] for what the question is about, according to `rules`.
    ///
    /// An error is one of reading the tree.
    pub fn who(&self, question: &Question<'_>, rules: &Rules) -> io::Result<Option<Voucher>> {
        let mut first = None;
        self.each(question, rules, &mut |voucher| {
            first = Some(voucher);
            false
        })?;
        Ok(first)
    }

    /// Every voucher for what the question is about, in the order of [`TABLE`].
    pub fn all(&self, question: &Question<'_>, rules: &Rules) -> io::Result<Vec<Voucher>> {
        let mut all = Vec::new();
        self.each(question, rules, &mut |voucher| {
            all.push(voucher);
            true
        })?;
        Ok(all)
    }

    /// Gives `take` each voucher, until it returns `false`.
    fn each(
        &self,
        question: &Question<'_>,
        rules: &Rules,
        take: &mut dyn FnMut(Voucher) -> bool,
    ) -> io::Result<()> {
        let entry = question.entry;
        if rules.vouched.as_ref().is_some_and(|globs| globs.holds(entry))
            && !take(Voucher::new(VoucherKind::Configuration, ""))
        {
            return Ok(());
        }
        let place = self.place(entry.path.parent().unwrap_or(Path::new("")))?;
        if let Some(whole) = place.by_name(&entry.path) {
            let whole_inode = !matches!(whole.who, VoucherKind::Signature | VoucherKind::Hmac);
            let counts = whole_inode || entry.kind == Kind::File;
            let asked = counts && (whole_inode || question.change != Change::Attributes);
            if asked && !take(whole) {
                return Ok(());
            }
        }
        if entry.kind != Kind::File {
            return Ok(());
        }
        // An attribute is removed with its file.
        if question.change != Change::Removal
            && self.has_integrity(&entry.path)?
            && !take(Voucher::new(VoucherKind::Attribute, &entry.path))
        {
            return Ok(());
        }
        if question.change == Change::Attributes {
            return Ok(());
        }
        self.by_content(&place, question, take)
    }

    /// The same of vouchers that have a digest of the content.
    fn by_content(
        &self,
        place: &DirectoryNames,
        question: &Question<'_>,
        take: &mut dyn FnMut(Voucher) -> bool,
    ) -> io::Result<()> {
        let mut content = Digests { question: *question, known: Vec::new() };
        if question.packages
            && let Some(voucher) = self.package_of(question)?
            && !take(voucher)
        {
            return Ok(());
        }
        if question.records
            && let Some(voucher) = self.by_record(place, &mut content)?
            && !take(voucher)
        {
            return Ok(());
        }
        for written in &place.sums {
            if speaks_of(written, &mut content)?
                && !take(Voucher::new(VoucherKind::Sums, &written.path))
            {
                return Ok(());
            }
        }
        if by_own_name(&mut content)? {
            take(Voucher::new(VoucherKind::Name, &question.entry.path));
        }
        Ok(())
    }

    /// The RECORD that lists this file, with a digest or without.
    pub(crate) fn record_of(&self, entry: &Entry) -> io::Result<Option<PathBuf>> {
        let place = self.place(entry.path.parent().unwrap_or(Path::new("")))?;
        let lists = place.records.iter().find(|record| record.digest(&entry.path).is_some());
        Ok(lists.map(|record| record.path.clone()))
    }

    /// The packages as a voucher, if the file is as one of them shipped it.
    pub fn package_of(&self, question: &Question<'_>) -> io::Result<Option<Voucher>> {
        let Some(installed) = self.installed else { return Ok(None) };
        let Some(mut content) = (question.content)()? else { return Ok(None) };
        let payload = installed.get()?.is_payload(&question.entry.path, &mut content)?;
        Ok(payload.then(|| Voucher::new(VoucherKind::Packages, "")))
    }

    fn has_integrity(&self, path: &Path) -> io::Result<bool> {
        let attributes = self.tree.xattrs(path)?;
        Ok(attributes.iter().any(|(name, _)| BOUND_TO_CONTENT.contains(&&name[..])))
    }

    fn by_record(
        &self,
        place: &DirectoryNames,
        content: &mut Digests<'_>,
    ) -> io::Result<Option<Voucher>> {
        let path = &content.question.entry.path;
        for record in &place.records {
            if let Some(Some((algorithm, start))) = record.digest(path)
                && content.of(algorithm)?.starts_with(&start)
            {
                return Ok(Some(Voucher::new(VoucherKind::Record, &record.path)));
            }
        }
        Ok(None)
    }

    /// The names in a directory, if the tree was walked.
    pub(crate) fn walked(&self, path: &Path) -> Option<io::Result<Vec<OsString>>> {
        self.names.map(|names| names(path))
    }

    fn place(&self, path: &Path) -> io::Result<Arc<DirectoryNames>> {
        let known = || self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known().get(path) {
            return Ok(Arc::clone(place));
        }
        // Not under the lock: two threads may compute the same.
        let above = path.parent().map(|above| self.place(above)).transpose()?;
        let names = |path: &Path| self.walked(path).unwrap_or_else(|| self.tree.list(path));
        let reader = Reader { tree: self.tree, names: &names };
        let place = Arc::new(reader.place(path, above.as_deref())?);
        known().insert(path.to_owned(), Arc::clone(&place));
        Ok(place)
    }
}

/// Whether a text has the digest of the content beside its name.
fn speaks_of(written: &Written, content: &mut Digests<'_>) -> io::Result<bool> {
    let Some(sums) = &written.sums else { return Ok(true) };
    if !sums.names(content.question.entry.name()) {
        return Ok(false);
    }
    for algorithm in sums.algorithms() {
        if sums.has(&content.of(algorithm)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the name contains the digest of the bytes, or that of its directory does, if a store
/// keeps nothing else there: alone, or with the one or two directories named after its first digits.
fn by_own_name(content: &mut Digests<'_>) -> io::Result<bool> {
    let path = &content.question.entry.path;
    let parts: Vec<&[u8]> = path.iter().rev().take(4).map(OsStrExt::as_bytes).collect();
    let own = in_name(&parts).into_iter();
    for candidate in own.chain(in_name(parts.get(1..).unwrap_or_default())) {
        for algorithm in Algorithm::of_len(candidate.len() / 2) {
            if let Some(digest) = unhex(&candidate)
                && *content.of(algorithm)? == *digest
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What may be a digest in a name, which comes first, and in those of the directories above it.
fn in_name(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let name = parts.first().copied().unwrap_or_default();
    let mut candidates: Vec<Vec<u8>> =
        name.split(|byte| !byte.is_ascii_alphanumeric()).map(<[u8]>::to_vec).collect();
    let first = candidates.first().cloned().unwrap_or_default();
    let short =
        |part: &&&[u8]| (1..=4).contains(&part.len()) && part.iter().all(u8::is_ascii_hexdigit);
    if let Some(dir) = parts.get(1).filter(short) {
        candidates.push([*dir, &first].concat());
        if let Some(above) = parts.get(2).filter(short) {
            candidates.push([*above, *dir, &first].concat());
        }
    }
    candidates
}

/// The digests of a file's content, each computed once.
struct Digests<'q> {
    question: Question<'q>,
    known: Vec<(Algorithm, Box<[u8]>)>,
}

impl Digests<'_> {
    /// The digest; empty if there is no content.
    fn of(&mut self, algorithm: Algorithm) -> io::Result<Box<[u8]>> {
        if let Some((_, known)) = self.known.iter().find(|(other, _)| *other == algorithm) {
            return Ok(known.clone());
        }
        let digest = match (self.question.content)()? {
            Some(mut content) => digests(&mut content, &[algorithm])?.remove(0),
            None => Box::default(),
        };
        self.known.push((algorithm, digest.clone()));
        Ok(digest)
    }
}
