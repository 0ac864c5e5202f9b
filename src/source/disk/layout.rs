//! Where each partition's root is in the tree of a disk, as the Discoverable Partitions Specification
//! and the makers of CoreOS images mount them.

use std::io;
use std::path::{Path, PathBuf};

use super::Part;
use crate::format::filesystem::FileSystem;

/// Types, by how their names begin, and where they are mounted.
const PLACES: [(&str, &str); 8] = [
    ("root", ""),
    ("usr", "usr"),
    ("xbootldr", "boot"),
    ("home", "home"),
    ("srv", "srv"),
    ("var", "var"),
    ("tmp", "var/tmp"),
    ("esp", "efi"),
];
/// Partitions of the general type, by their labels.
const LABELS: [(&str, &str); 2] = [("root", ""), ("boot", "boot")];

/// Gives each file system its place. A second one of a place is called by its number.
pub(super) fn settle(parts: &mut [Part]) -> io::Result<()> {
    let mut taken: Vec<PathBuf> = Vec::new();
    for part in parts.iter_mut().filter(|part| part.filesystem.is_some()) {
        let place = by_table(part).map(PathBuf::from);
        part.place = place.filter(|place| !taken.contains(place));
        taken.extend(part.place.clone());
    }
    if !taken.iter().any(|place| place.as_os_str().is_empty()) {
        // Where no type and no label says so, what looks like a root is one.
        let open = |part: &&mut Part| part.place.is_none();
        let root = parts.iter_mut().filter(open).find(|part| {
            let has = |name| has_name(part, Path::new(name)).unwrap_or(false);
            part.filesystem.is_some() && ["usr", "etc", "ostree"].into_iter().any(has)
        });
        root.into_iter().for_each(|part| part.place = Some(PathBuf::new()));
    }
    place_esp(parts)?;
    for (n, part) in (1..).zip(parts).filter(|(_, part)| part.filesystem.is_some()) {
        let number = part.partition.as_ref().map_or(n, |partition| partition.number);
        part.place.get_or_insert_with(|| PathBuf::from(format!("partition-{number}")));
    }
    Ok(())
}

fn by_table(part: &Part) -> Option<&'static str> {
    let Some(partition) = &part.partition else { return Some("") };
    let kind = partition.kind.type_name()?;
    let row = match kind {
        "linux-generic" => LABELS.iter().find(|(label, _)| partition.label == *label),
        kind => PLACES.iter().find(|(start, _)| {
            kind.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        }),
    };
    row.map(|(_, place)| *place)
}

/// Where the root has a directory for it, the EFI system partition is there.
fn place_esp(parts: &mut [Part]) -> io::Result<()> {
    let is_at = |part: &Part, place: &str| part.place.as_deref() == Some(Path::new(place));
    let has = |at: &str, name: &str| match parts.iter().find(|part| is_at(part, at)) {
        Some(part) => has_name(part, Path::new(name)),
        None => Ok(false),
    };
    let place = match () {
        () if has("", "efi")? => "efi",
        () if has("boot", "efi")? || has("", "boot/efi")? => "boot/efi",
        () if has("", "boot")? && !parts.iter().any(|part| is_at(part, "boot")) => "boot",
        () => "efi",
    };
    if let Some(esp) = parts.iter_mut().find(|part| is_at(part, "efi")) {
        esp.place = Some(place.into());
    }
    Ok(())
}

/// Whether there is a directory at `path` of a file system.
fn has_name(part: &Part, path: &Path) -> io::Result<bool> {
    let Some(filesystem) = part.filesystem.as_deref() else { return Ok(false) };
    let mut handle = filesystem.root();
    for name in path {
        match find(filesystem, handle, name.as_encoded_bytes())? {
            Some(found) => handle = found,
            None => return Ok(false),
        }
    }
    filesystem.inode(handle).map(|inode| inode.is_dir())
}

fn find(filesystem: &dyn FileSystem, dir: u64, name: &[u8]) -> io::Result<Option<u64>> {
    if !filesystem.inode(dir)?.is_dir() {
        return Ok(None);
    }
    let found = filesystem.entries(dir)?.into_iter().find(|(known, _)| known == name);
    Ok(found.map(|(_, handle)| handle))
}
