//! ndb and Berkeley DB: a package file and its indexes, which change together.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::names_of;
use crate::format::Malformed;
use crate::format::rpmdb::{bdb, ndb};
use crate::normal::Context;
use crate::normal::{File, Step, Verdict};
use crate::packages::{BDB_INDEXES, Backend, NDB_INDEX, in_file, sides};
use crate::tree::Tree;

/// The most bytes of slot pages to read for a remark: a million packages.
const MOST_SLOTS: usize = 16 << 20;

/// Files of one directory by name.
type Files = BTreeMap<String, Vec<u8>>;

/// The verdict on `Packages.db` or `Packages`.
pub(super) fn main(file: &File<'_>, backend: Backend, cx: &Context) -> io::Result<Verdict> {
    let names = names_of(file.tree, file.entry)?;
    if names.first() != Some(&file.entry.path) {
        return Ok(Verdict::Keep); // judged by its first name, which the others follow
    }
    let mut old: Option<Files> = None;
    for name in &names {
        if let Some(stranger) = stranger(file.tree, backend, name)? {
            return Ok(Verdict::Unparsed(stranger));
        }
        let beside = sides(file.tree, backend, name)?;
        if old.as_ref().is_some_and(|old| *old != beside) {
            let why = "names of one database have different indexes beside them; run \
                       `rpmdb --rebuilddb` on each first";
            return Ok(Verdict::Report(why.to_owned()));
        }
        old = Some(beside);
    }
    let old = old.unwrap_or_default();
    let new = match canonical(backend, &file.bytes, &old, cx.epoch.seconds()) {
        Ok(new) => new,
        Err(why) => return Ok(Verdict::Unparsed(why)),
    };
    Ok(verdict(file, &names, &old, new))
}

/// The steps from the old files to the new ones.
fn verdict(file: &File<'_>, names: &[PathBuf], old: &Files, (main, sides): New) -> Verdict {
    if main == *file.bytes && sides == *old {
        return Verdict::Keep;
    }
    let goes = |name: &&String| !sides.contains_key(*name);
    let gone: Vec<_> = old.keys().filter(goes).map(String::as_str).collect();
    let beside = |side: &str| names.iter().map(|n| n.with_file_name(side)).collect::<Vec<_>>();
    // An index is removed before the packages that it does not describe are written.
    let removals = gone.iter().flat_map(|side| beside(side)).map(Step::Remove);
    let mut steps: Vec<Step> = removals.collect();
    if sides.is_empty() && steps.is_empty() {
        return Verdict::Rewrite(main);
    }
    let mut unit = vec![(file.entry.path.clone(), main)];
    for (side, bytes) in sides {
        unit.extend(beside(&side).into_iter().map(|path| (path, bytes.clone())));
    }
    steps.push(Step::Unit(unit));
    Verdict::Steps(steps)
}

/// A package file and the files beside it.
type New = (Vec<u8>, Files);

fn canonical(backend: Backend, main: &[u8], sides: &Files, epoch: u32) -> Result<New, Malformed> {
    if backend == Backend::Ndb {
        let index = sides.get(NDB_INDEX).map(Vec::as_slice);
        let new = ndb::canonical(main, index, epoch).map_err(|e| in_file(e.file, e.why))?;
        let index = new.index.map(|bytes| (NDB_INDEX.to_owned(), bytes));
        return Ok((new.packages, index.into_iter().collect()));
    }
    let files = sides.iter().map(|(name, bytes)| (name.clone(), &bytes[..]));
    let files = files.chain([(bdb::PACKAGES.to_owned(), main)]).collect();
    let mut new = bdb::canonical(&files, epoch).map_err(|e| in_file(&e.file, e.why))?;
    let main = new.remove(bdb::PACKAGES).unwrap_or_default();
    Ok((main, new))
}

/// An index that rpm does not make: it would not be renumbered with the packages.
fn stranger(tree: &dyn Tree, backend: Backend, main: &Path) -> io::Result<Option<Malformed>> {
    if backend != Backend::Bdb {
        return Ok(None);
    }
    let dir = main.parent().unwrap_or(Path::new(""));
    for name in tree.list(dir)? {
        let text = name.to_string_lossy();
        if name == bdb::PACKAGES || BDB_INDEXES.contains(&&*text) || text.starts_with("__db.") {
            continue;
        }
        if tree.read(&dir.join(&name))?.is_some_and(|bytes| bdb::recognise(&bytes)) {
            let what = "is a Berkeley DB file of a kind that rpm does not make";
            return Ok(Some(Malformed::at(0, format!("{text} beside it {what}"))));
        }
    }
    Ok(None)
}

/// The verdict on an index: the steps of its package file write it, or remove it if rpm would not
/// trust it.
pub(super) fn index(file: &File<'_>, backend: Backend) -> io::Result<Verdict> {
    let main = file.entry.path.with_file_name(backend.file());
    if file.tree.lookup(&main)?.is_some() {
        return Ok(Verdict::With(main));
    }
    let alone = "an index without its packages, which rpm would use for another database; remove \
                 it";
    let told = backend == Backend::Ndb;
    Ok(if told { Verdict::Report(alone.to_owned()) } else { Verdict::Keep })
}

/// The remark on the ndb database in directory `dir`, if there is one.
pub(super) fn remark(tree: &dyn Tree, dir: &Path) -> io::Result<Option<String>> {
    // Only the slots of the package file are read: other code reads all of it.
    let Some(mut packages) = tree.open(&dir.join(Backend::Ndb.file()))? else { return Ok(None) };
    let mut head: Vec<u8> = Vec::new();
    loop {
        let wanted = ndb::packages::slot_bytes(&head).clamp(16, MOST_SLOTS);
        let more = wanted.saturating_sub(head.len()).next_multiple_of(4096);
        let before = head.len();
        (&mut packages).take(more as u64).read_to_end(&mut head)?;
        if head.len() == before {
            break;
        }
    }
    let index = tree.read(&dir.join(NDB_INDEX))?;
    Ok(ndb::index_trouble(&head, index.as_deref()))
}
