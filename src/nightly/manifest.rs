//! A tree as one small text: what is published for an independent rebuilder to compare with.
//!
//! A commit's bytes may differ between two builds of one content (its time, its metadata); the
//! manifest's do not. It is UTF-8 with one line an object, sorted bytewise by path component:
//!
//! ```text
//! reprofix-manifest-1
//! content-checksum 64 hexadecimal digits: ostree's, of the whole tree
//! . directory 040755 0 0 - 64 digits: the dirmeta object
//! ./usr/bin/sh file 100755 0 0 - 64 digits: the file object
//! ```
//!
//! Fields are separated by one tab: path, type (`file`, `directory`, `symlink`), mode in octal,
//! uid, gid, SHA-256 of the xattrs as ostree encodes them (`-` for none), and the object's
//! checksum, which covers all of these and the content. In a path, bytes that are not UTF-8,
//! control characters and the backslash come as `\xNN`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::format::ostree::{Attrs, Checksum, Node};
use crate::source::Subject;
use crate::source::merkle::{At, Merkle};
use crate::tree::digest::PathBudget;
use crate::tree::show;

/// The first line.
const HEAD: &str = "reprofix-manifest-1";

/// The manifest of a subject.
///
/// # Errors
///
/// If an object of it cannot be read or is corrupt, and as [`PathBudget::add`] does.
pub fn of(subject: &Subject) -> Result<String> {
    let root = subject.merkle.root();
    let mut out = format!("{HEAD}\ncontent-checksum\t{}\n", root.content_checksum());
    lines(&*subject.merkle, &mut out).with_context(|| format!("reading {}", subject.name))?;
    Ok(out)
}

fn lines(merkle: &dyn Merkle, out: &mut String) -> Result<()> {
    let root = merkle.root();
    let mut todo = vec![(PathBuf::new(), Node::Dir(root.dirtree, root.dirmeta))];
    let mut paths = PathBudget::default();
    while let Some((path, node)) = todo.pop() {
        let at = |object| At { path: &path, object };
        match &node {
            Node::Dir(tree, meta) => {
                line(out, &path, "directory", &merkle.dirmeta(at(meta))?, meta);
                let from = todo.len();
                let children = merkle.children(at(tree))?;
                for (name, node) in children.names() {
                    let below = path.join(OsStr::from_bytes(name));
                    paths.add(&below)?;
                    todo.push((below, node));
                }
                // The last is taken first.
                todo[from..].reverse();
            }
            Node::Leaf(object) => {
                let leaf = merkle.leaf(at(object))?;
                let kind = if leaf.target.is_some() { "symlink" } else { "file" };
                line(out, &path, kind, &leaf.attrs, object);
            }
        }
    }
    Ok(())
}

fn line(out: &mut String, path: &Path, kind: &str, attrs: &Attrs, object: &Checksum) {
    let slash = if path.as_os_str().is_empty() { "" } else { "/" };
    let xattrs = match attrs.xattrs.is_empty() {
        true => "-".to_owned(),
        // The dirmeta encoding without its three numbers is that of the xattrs.
        false => Checksum::of(&attrs.encode_dirmeta()[12..]).to_string(),
    };
    let _ = writeln!(
        out,
        ".{slash}{}\t{kind}\t{:06o}\t{}\t{}\t{xattrs}\t{object}",
        show(path),
        attrs.mode,
        attrs.uid,
        attrs.gid
    );
}

/// One line's fields after the path.
type Fields<'a> = [&'a str; 6];

/// What the fields are called, in reports.
const FIELDS: [&str; 6] = ["type", "mode", "uid", "gid", "xattrs", "content"];

/// What differs between two manifests, as text for people: one line a path. Empty if nothing does.
///
/// # Errors
///
/// If one is no manifest.
pub fn diff(a: &str, b: &str) -> Result<String> {
    let (a, b) = (parse(a).context("the first")?, parse(b).context("the second")?);
    let paths: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let mut out = String::new();
    for path in paths {
        let what = match (a.get(path), b.get(path)) {
            (Some(x), Some(y)) if x == y => continue,
            (Some(x), Some(y)) => changed(x, y),
            (Some(_), None) => "only in the published build".to_owned(),
            (None, _) => "only in the rebuild".to_owned(),
        };
        let _ = writeln!(out, "{}\t{what}", path.strip_prefix('.').unwrap_or(path));
    }
    Ok(out)
}

fn changed(x: &Fields<'_>, y: &Fields<'_>) -> String {
    let all = FIELDS.iter().zip(x.iter().zip(y));
    let differing: Vec<_> = all.filter(|(_, (x, y))| x != y).collect();
    let other: Vec<_> = differing.iter().filter(|(name, _)| **name != "content").collect();
    // The object's checksum covers the rest: only alone does it speak of the content.
    match other.is_empty() {
        true => "content".to_owned(),
        false => {
            let say = |(name, (x, y)): &&(&&str, (&&str, &&str))| match **name {
                "xattrs" => "xattrs".to_owned(),
                name => format!("{name} {x} → {y}"),
            };
            other.iter().map(say).collect::<Vec<_>>().join(", ")
        }
    }
}

fn parse(text: &str) -> Result<BTreeMap<&str, Fields<'_>>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        bail!("its first line is not {HEAD}: it is no manifest, or a newer reprofix wrote it");
    }
    let sum = lines.next().and_then(|line| line.strip_prefix("content-checksum\t"));
    sum.context("it has no content-checksum")?;
    let mut found = BTreeMap::new();
    for (number, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let fields =
            fields.split_first().and_then(|(path, rest)| Some((*path, rest.try_into().ok()?)));
        let (path, fields) =
            fields.with_context(|| format!("line {} has not seven fields", number + 3))?;
        found.insert(path, fields);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Spec;

    fn manifest(dir: &Path) -> String {
        of(&Subject::open(&Spec::Dir(dir.to_owned()), &|| ()).unwrap()).unwrap()
    }

    #[test]
    fn equal_trees_have_equal_manifests_and_others_are_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        for dir in [&a, &b] {
            std::fs::create_dir_all(dir.join("usr/b")).unwrap();
            std::fs::write(dir.join("usr/b.c"), "same").unwrap();
            std::fs::write(dir.join("usr/b/x"), "same").unwrap();
            std::fs::write(dir.join("tab\there"), "same").unwrap();
        }
        let before = manifest(&a);
        assert_eq!(before, manifest(&b));
        assert!(before.contains(r"./tab\x09here"), "{before}");
        assert_eq!(diff(&before, &before).unwrap(), "");
        std::fs::write(b.join("usr/b/x"), "other").unwrap();
        std::fs::write(b.join("usr/new"), "").unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(b.join("usr/b.c"), mode).unwrap();
        let said = diff(&before, &manifest(&b)).unwrap();
        assert_eq!(
            said,
            "/usr/b.c\tmode 100644 → 100600\n/usr/b/x\tcontent\n/usr/new\tonly in the rebuild\n"
        );
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let good = "reprofix-manifest-1\ncontent-checksum\tx\n";
        for bad in ["", "x", "reprofix-manifest-1\n", &format!("{good}.\tfile\n")] {
            assert!(diff(good, bad).is_err(), "{bad:?}");
        }
    }
}
