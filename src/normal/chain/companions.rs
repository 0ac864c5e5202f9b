//! Files that describe others: a wheel's RECORD lists what is installed, bytecode records its
//! source's time.
//!
//! If a plugin changes one of two such files, the other must match afterwards, whichever plugins
//! handle them.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::state::State;
use super::{Chain, Form, Normal};
use crate::format::{pyc, wheel_record};
use crate::tree::{Entry, Kind, Time, Tree};
use crate::vouchers::listed;

impl Chain<'_> {
    /// Keeps a source's time if remaining bytecode records it: another would make the bytecode
    /// stale.
    pub(super) fn keep_recorded_time(
        &self,
        tree: &dyn Tree,
        state: &mut State<'_>,
    ) -> io::Result<()> {
        if let (Some((plugin, _)), Some(now)) = (state.normal.mtime, state.entry.mtime)
            && state.normal.form == Form::Kept
            && state.entry.kind == Kind::File
            && self.is_recorded(tree, state.entry, now)?
        {
            state.normal.mtime = None;
            state.normal.by.retain(|by| *by != plugin);
        }
        Ok(())
    }

    fn is_recorded(&self, tree: &dyn Tree, entry: &Entry, now: Time) -> io::Result<bool> {
        let Some((cache, start)) = pyc::of_source(entry.name()) else { return Ok(false) };
        let cache = entry.path.with_file_name(cache);
        for name in self.vouchers.walked(&cache).unwrap_or_else(|| tree.list(&cache))? {
            if !name.as_bytes().starts_with(&start) {
                continue;
            }
            let Some(found) = tree.lookup(&cache.join(&name))? else { continue };
            let normal = self.normal_form(tree, &found)?;
            let stays = !normal.is_removed(&found);
            if stays && recorded(tree, &found, &normal)? == Some(now.sec as u32) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the lines of removed files from a wheel's RECORD.
    pub(super) fn follow_removals(&self, tree: &dyn Tree, state: &mut State<'_>) -> io::Result<()> {
        let entry = state.entry;
        if !self.may_amend(tree, entry)? {
            return Ok(());
        }
        state.read(tree)?;
        state.normal.read = true;
        let text = state.normal.original.take().unwrap_or_default();
        let mut gone: Vec<Vec<u8>> = Vec::new();
        for line in wheel_record::lines(&text) {
            let Some(path) = listed(&entry.path, &line.path).filter(|path| *path != entry.path)
            else {
                continue;
            };
            // The name is checked first: plugins hardly ever want a file of a wheel.
            let guess = Entry { path, mtime: None, inode: None, ..entry.clone() };
            if !self.wants(&guess) {
                continue;
            }
            let Some(found) = tree.lookup(&guess.path)? else { continue };
            let normal = self.normal_form(tree, &found)?;
            if normal.is_removed(&found) {
                gone.push(line.path.to_vec());
                let new = normal.by.iter().filter(|by| !state.normal.by.contains(by));
                let new: Vec<_> = new.copied().collect();
                state.normal.by.extend(new);
            }
        }
        let without =
            wheel_record::without(&text, &mut |path| gone.iter().any(|gone| gone == path));
        state.normal.original = Some(text);
        if let Some(without) = without {
            state.rewrite(without.into());
        }
        Ok(())
    }

    /// Whether lines of the RECORD `entry` may be removed. Its package does not matter: what it
    /// says about bytecode does not count either.
    pub(super) fn may_amend(&self, tree: &dyn Tree, entry: &Entry) -> io::Result<bool> {
        let overruled = self.cx.vouching.overrules(entry);
        Ok(!self.cx.keeps(entry) && (overruled || !self.is_vouched(tree, entry, false)?))
    }
}

/// The source time that the normal form of bytecode records, modulo 2³².
fn recorded(tree: &dyn Tree, entry: &Entry, normal: &Normal) -> io::Result<Option<u32>> {
    let mut head = Vec::new();
    match normal.content(entry)? {
        Some(content) => head.extend(content.iter().take(pyc::HEADER)),
        None => {
            if let Some(file) = tree.open(&entry.path)? {
                file.take(pyc::HEADER as u64).read_to_end(&mut head)?;
            }
        }
    }
    Ok(pyc::source_time(&head))
}

/// Whether it is the file list of an installed wheel.
pub(super) fn is_record(entry: &Entry) -> bool {
    let dir = || entry.path.parent().and_then(Path::file_name).map(OsStrExt::as_bytes);
    entry.name() == b"RECORD"
        && entry.kind == Kind::File
        && dir().is_some_and(|dir| dir.ends_with(b".dist-info"))
}
