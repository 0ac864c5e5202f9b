//! Refs of a repository: names for commits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::commit;
use super::objects::{Metadata, Objects as _};
use super::repository::{Repository, list, small_file};
use crate::disk::is_absent;
use crate::format::ostree::Checksum;
use crate::tree::Tree as _;

/// The most directories within a ref's name.
const REF_DEPTH_MAX: usize = 64;

impl Repository {
    /// The refs and their commits: local ones by name, remote ones as `REMOTE:REF`, mirrored ones
    /// as `COLLECTION:REF`.
    pub fn refs(&self) -> anyhow::Result<BTreeMap<String, Checksum>> {
        let mut refs = BTreeMap::new();
        let root = self.path.join("refs");
        list_refs(&root.join("heads"), "", 0, &mut refs)?;
        for place in ["remotes", "mirrors"] {
            for name in names(&root.join(place))? {
                list_refs(&root.join(place).join(&name), &format!("{name}:"), 0, &mut refs)?;
            }
        }
        Ok(refs)
    }

    /// The commit that `rev` names: a ref, a commit, the start of one, or any of these with `^` for
    /// its parent commit. As in libostree, a ref without a remote may be found in a remote, and a
    /// parent repository may know what this one does not.
    ///
    /// Without `rev` it is the repository's only ref; if there are several or none, the error lists
    /// them.
    pub fn resolve(&self, rev: Option<&str>) -> anyhow::Result<Checksum> {
        let Some(rev) = rev else { return self.only_ref() };
        let Some(commit) = self.find(rev)? else {
            let refs = self.refs()?;
            let holds = if refs.is_empty() { "no refs".into() } else { list(refs.keys()) };
            bail!("{rev} in {}: no such ref; the repository has {holds}", self.path.display());
        };
        Ok(commit)
    }

    fn only_ref(&self) -> anyhow::Result<Checksum> {
        let (refs, path) = (self.refs()?, self.path.display());
        let mut commits = refs.values();
        match (commits.next(), commits.next()) {
            (Some(commit), None) => Ok(*commit),
            (None, _) => bail!("{path} has no ref; name a commit"),
            _ => bail!("{path} has {} refs, name one of them: {}", refs.len(), list(refs.keys())),
        }
    }

    fn find(&self, rev: &str) -> anyhow::Result<Option<Checksum>> {
        // A short ref such as `a` could also be the start of a commit: the ref wins.
        if let Some(commit) = self.exact(rev)? {
            return Ok(Some(commit));
        }
        if let Ok(commit) = rev.parse() {
            return Ok(Some(commit));
        }
        if let Some(commit) = self.abbreviated(rev)? {
            return Ok(Some(commit));
        }
        if let Some(child) = rev.strip_suffix('^') {
            let Some(child) = self.find(child)? else { return Ok(None) };
            let fields = commit::fields(&self.metadata(Metadata::Commit, &child)?)?;
            let parent = fields.get("(parent)").filter(|parent| !parent.is_empty());
            return Ok(Some(
                parent.with_context(|| format!("commit {child} has no parent"))?.parse()?,
            ));
        }
        if let Some(commit) = self.elsewhere(rev)? {
            return Ok(Some(commit));
        }
        self.parent.as_deref().map_or(Ok(None), |parent| parent.find(rev))
    }

    /// The commit of the ref with exactly this name.
    fn exact(&self, name: &str) -> anyhow::Result<Option<Checksum>> {
        let refs = self.path.join("refs");
        match name.split_once(':') {
            None if is_ref(name) => read_ref(&refs.join("heads").join(name)),
            Some((place, name)) if is_ref(place) && is_ref(name) => {
                let remote = read_ref(&refs.join("remotes").join(place).join(name))?;
                match remote {
                    Some(commit) => Ok(Some(commit)),
                    None => read_ref(&refs.join("mirrors").join(place).join(name)),
                }
            }
            _ => Ok(None),
        }
    }

    /// The commit of the ref with this name in any remote or mirror.
    fn elsewhere(&self, name: &str) -> anyhow::Result<Option<Checksum>> {
        if !is_ref(name) {
            return Ok(None);
        }
        for place in ["remotes", "mirrors"] {
            let place = self.path.join("refs").join(place);
            let read = |of: &String| read_ref(&place.join(of).join(name)).transpose();
            let found: BTreeSet<_> =
                names(&place)?.iter().filter_map(read).collect::<Result<_, _>>()?;
            if let Some(commit) = the_one(name, found)? {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    /// The commit whose checksum begins with `start`.
    fn abbreviated(&self, start: &str) -> anyhow::Result<Option<Checksum>> {
        if start.is_empty() || !start.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let mut found = BTreeSet::new();
        for repo in self.chain() {
            for dir in repo.objects.list(Path::new(""))? {
                let Some(dir) =
                    dir.to_str().filter(|d| d.starts_with(start) || start.starts_with(*d))
                else {
                    continue;
                };
                let names = repo.objects.list(Path::new(dir))?;
                let commit = |name: &std::ffi::OsString| -> Option<Checksum> {
                    let rest = name.to_str()?.strip_suffix(".commit")?;
                    format!("{dir}{rest}").parse().ok()
                };
                let commits = names.iter().filter_map(commit);
                found.extend(commits.filter(|commit| commit.to_string().starts_with(start)));
            }
        }
        the_one(start, found)
    }
}

/// The only commit in `found`, if there is one.
fn the_one(name: &str, found: BTreeSet<Checksum>) -> anyhow::Result<Option<Checksum>> {
    let all = || list(found.iter().map(ToString::to_string));
    ensure!(found.len() <= 1, "{name} is not unique, name one of {}", all());
    Ok(found.into_iter().next())
}

fn read_ref(path: &Path) -> anyhow::Result<Option<Checksum>> {
    let Some(text) = small_file(path)? else { return Ok(None) };
    let commit = text.trim_end().parse();
    commit.map(Some).with_context(|| format!("{} names no commit", path.display()))
}

/// The names in a directory, if it exists, that may be part of a ref's name, sorted.
pub(super) fn names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let reading = || format!("reading {}", dir.display());
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(reading),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.with_context(reading)?.file_name().into_string());
    }
    names.retain(|name| is_ref(name));
    names.sort();
    Ok(names)
}

/// Lists refs below `dir`; a symbolic link is an alias of another ref.
fn list_refs(
    dir: &Path,
    prefix: &str,
    depth: usize,
    refs: &mut BTreeMap<String, Checksum>,
) -> anyhow::Result<()> {
    ensure!(depth < REF_DEPTH_MAX, "{} is nested too deep for a ref", dir.display());
    for name in names(dir)? {
        let (path, full) = (dir.join(&name), format!("{prefix}{name}"));
        if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            list_refs(&path, &format!("{full}/"), depth + 1, refs)?;
        } else if let Some(commit) = read_ref(&path)? {
            refs.insert(full, commit);
        }
    }
    Ok(())
}

/// Whether libostree accepts `name` as a ref: parts of letters, digits and `-._`, none of which
/// begins with a punctuation mark.
fn is_ref(name: &str) -> bool {
    name.split('/').all(|part| {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        part.bytes().next().is_some_and(word) && part.bytes().all(|b| word(b) || b"-.".contains(&b))
    })
}
