//! What we read in repositories, libostree reads too: object by object, ref by ref, text by text.
#![cfg(feature = "ostree")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use gio::Cancellable;
use gio::glib::{self, Variant, VariantTy};
use gio::prelude::*;
use ostree::{ObjectType, Repo};
use proptest::prelude::*;
use reprofix::format::gvariant::Value;
use reprofix::format::ostree::{Checksum, Dirtree, parse_xattrs};
use reprofix::source::merkle::Merkle;
use reprofix::source::ostree::objects::{Metadata, Objects};
use reprofix::source::ostree::{Commit, Repository};
use reprofix::tree::Kind;

use crate::repo::{commit, init, output, run, scratch};

fn open(path: &Path) -> Repo {
    let repo = Repo::new_for_path(path);
    repo.open(Cancellable::NONE).unwrap();
    repo
}

/// Reads a commit whole in both ways: its own text, its content checksum, each object under it.
pub(crate) fn reads_alike(path: &Path, id: &str) {
    let (theirs, ours) = (open(path), Repository::open(path).unwrap());
    let variant = theirs.load_variant(ObjectType::Commit, id).unwrap();
    let commit = Commit::open(Repository::open(path).unwrap(), id.parse().unwrap()).unwrap();
    let root = commit.root();
    let sum = ostree::commit_get_content_checksum(&variant).unwrap();
    assert_eq!(root.content_checksum().to_string(), sum.as_str());
    assert_eq!(commit.info().fields, fields(&variant));
    let (mut trees, mut seen) = (vec![(root.dirtree, root.dirmeta)], BTreeSet::new());
    while let Some((tree, meta)) = trees.pop() {
        if !seen.insert((tree, meta)) {
            continue;
        }
        let dirtree = alike(&theirs, &ours, (Metadata::DirTree, ObjectType::DirTree), &tree);
        alike(&theirs, &ours, (Metadata::DirMeta, ObjectType::DirMeta), &meta);
        let dirtree = Dirtree::parse(dirtree).unwrap();
        dirtree.files().for_each(|(_, file)| file_alike(&theirs, &ours, &file));
        trees.extend(dirtree.dirs().map(|(_, tree, meta)| (tree, meta)));
    }
}

fn alike(
    theirs: &Repo,
    ours: &Repository,
    (kind, type_): (Metadata, ObjectType),
    sum: &Checksum,
) -> Vec<u8> {
    let bytes = ours.metadata(kind, sum).unwrap();
    let variant = theirs.load_variant(type_, &sum.to_string()).unwrap();
    assert_eq!(bytes, variant.data(), "{sum}.{}", kind.extension());
    bytes
}

fn file_alike(theirs: &Repo, ours: &Repository, sum: &Checksum) {
    let leaf = ours.leaf(sum).unwrap();
    let (stream, info, xattrs) = theirs.load_file(&sum.to_string(), Cancellable::NONE).unwrap();
    let number = |key: &str| info.attribute_uint32(&format!("unix::{key}"));
    let attrs = &leaf.attrs;
    assert_eq!((attrs.uid, attrs.gid, attrs.mode), (number("uid"), number("gid"), number("mode")));
    assert_eq!(attrs.xattrs, parse_xattrs(xattrs.data(), 0).unwrap());
    assert_eq!(leaf.target, info.symlink_target());
    let mut content = Vec::new();
    if let Some(stream) = stream {
        stream.into_read().read_to_end(&mut content).unwrap();
    }
    assert_eq!(ours.content(sum).unwrap(), content, "{sum}.file");
    if Kind::of_mode(attrs.mode) == Kind::File {
        assert_eq!(leaf.size, content.len() as u64);
    }
}

/// What a commit says, by GLib.
fn fields(commit: &Variant) -> BTreeMap<String, String> {
    let text = |i: usize| commit.child_value(i).str().unwrap().to_owned();
    let time = u64::from_be(commit.child_value(5).get().unwrap());
    let mut fields = BTreeMap::from([
        ("(subject)".to_owned(), text(3)),
        ("(body)".to_owned(), text(4)),
        ("(timestamp)".to_owned(), time.to_string()),
        ("(parent)".to_owned(), ostree::commit_get_parent(commit).unwrap_or_default().into()),
    ]);
    for item in commit.child_value(0).iter() {
        let key = item.child_value(0).str().unwrap().to_owned();
        fields.insert(key, item.child_value(1).child_value(0).print(true).into());
    }
    fields
}

/// Refs of every sort, aliases, names that are none, commits by their start, parents.
#[test]
fn revisions_are_resolved_as_by_libostree() {
    let (dir, tree) = scratch();
    let path = dir.path().join("repo");
    init(&path, "archive");
    let first = commit(&path, "main", &tree);
    fs::write(tree.join("more"), "more").unwrap();
    let second = commit(&path, "main", &tree);
    let repo = format!("--repo={}", path.display());
    run("ostree", &["refs", &repo, "--create=os/alias", "--alias", "main"]);
    run("ostree", &["refs", &repo, "--create=os/x86_64/base", "main^"]);
    run("ostree", &["refs", &repo, "--create=origin:os/remote", "main^"]);
    for name in [".hidden", "a b", "caf+", "x@y", "-minus"] {
        fs::write(path.join("refs/heads").join(name), format!("{first}\n")).unwrap();
    }
    let child = dir.path().join("child");
    init(&child, "archive");
    run(
        "ostree",
        &[
            "config",
            &format!("--repo={}", child.display()),
            "set",
            "core.parent",
            path.to_str().unwrap(),
        ],
    );

    let revs = [
        "main",
        "main^",
        "main^^",
        "os/alias",
        "os/x86_64/base",
        "os",
        "os/remote",
        "origin:os/remote",
        "origin:os/x86_64/base",
        "other:main",
        ".hidden",
        "a b",
        "caf+",
        "x@y",
        "-minus",
        "..",
        "heads/main",
        "../heads/main",
        "nothing",
        "f",
        "0",
        "00",
        "^",
        ":",
        "main:",
    ];
    let short = [&first[..1], &first[..2], &first[..7], &first, &second[..3], &second[..63]];
    for path in [&path, &child] {
        let (theirs, ours) = (open(path), Repository::open(path).unwrap());
        let by_libostree = |rev: &str| theirs.resolve_rev(rev, false).ok().flatten();
        for rev in revs.into_iter().chain(short) {
            let wanted = by_libostree(rev).map(String::from);
            let found = ours.resolve(Some(rev)).ok().map(|commit| commit.to_string());
            assert_eq!(found, wanted, "{rev} in {}", path.display());
        }
        let listed = theirs.list_refs(None, Cancellable::NONE).unwrap();
        let listed: BTreeMap<String, Checksum> =
            listed.into_iter().map(|(name, commit)| (name, commit.parse().unwrap())).collect();
        assert_eq!(ours.refs().unwrap(), listed);
    }
    // The child has no object of its own, and libostree opens it through its parent.
    reads_alike(&child, &second);
}

/// A mirror's refs, which libostree names by a collection and a ref, not by one name.
#[test]
fn a_mirrored_ref_is_found_by_its_name() {
    let (dir, tree) = scratch();
    let path = dir.path().join("repo");
    init(&path, "archive");
    let id = commit(&path, "main", &tree);
    let mirror = path.join("refs/mirrors/org.example.Os/os");
    fs::create_dir_all(&mirror).unwrap();
    fs::rename(path.join("refs/heads/main"), mirror.join("main")).unwrap();
    let repo = Repository::open(&path).unwrap();
    for rev in [None, Some("os/main"), Some("org.example.Os:os/main")] {
        assert_eq!(repo.resolve(rev).unwrap().to_string(), id, "{rev:?}");
    }
}

/// A parent that is itself, or missing: an error, not an endless search.
#[test]
fn parents_in_a_circle_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    init(&path, "archive");
    let set = |parent: &str| {
        let config = format!("[core]\nrepo_version=1\nmode=archive\nparent={parent}\n");
        fs::write(path.join("config"), config).unwrap();
        format!("{:#}", Repository::open(&path).unwrap_err())
    };
    let error = set(dir.path().join("nothing").to_str().unwrap());
    assert!(error.contains("parent repository") && error.contains("no file config"), "{error}");
    let error = set(path.to_str().unwrap());
    assert!(error.contains("a loop?"), "{error}");
}

/// Starting libostree's libraries costs more than a comparison: only the program of `record` does.
#[test]
fn only_one_program_is_linked_with_libostree() {
    let needed = |program: &str| run("readelf", &["--wide", "--dynamic", program]);
    let (main, helper) =
        (env!("CARGO_BIN_EXE_reprofix"), env!("CARGO_BIN_EXE_reprofix-content-checksum"));
    let mut libraries = needed(main);
    libraries.retain(|c| !c.is_whitespace());
    assert!(libraries.contains("[libc.so.6]"), "{libraries}");
    for name in ["ostree", "glib", "gio", "gobject"] {
        assert!(!libraries.contains(&format!("[lib{name}")), "{libraries}");
    }
    assert!(needed(helper).contains("[libostree-1.so"));
    let out = output(helper, &["/nowhere", "x"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&out.stderr).lines().count(), 1);
}

/// A value of any type, as GLib makes it, reads and prints alike.
#[test]
fn values_print_as_by_glib() {
    let texts = [
        "'plain'",
        "\"it's\"",
        r"'tab\t nul-free \\ \u0007 ä'",
        "byte 0x07",
        "int16 -5",
        "uint16 65535",
        "-7",
        "uint32 7",
        "handle 3",
        "int64 -9",
        "uint64 18446744073709551615",
        "true",
        "b'bytes\\n'",
        "b\"it's \\\"\"",
        "[byte 0x00, 0x01]",
        "@ay []",
        "@as []",
        "['a', 'b']",
        "@a{sv} {}",
        "{'a': <1>, 'b': <[uint64 1, 2]>, 'c': <@a(yv) []>}",
        "(1,)",
        "()",
        "(1, 'two', uint64 3, byte 0x04, 'x')",
        "@ms nothing",
        "@ms 'x'",
        "@mms just nothing",
        "@mmi 5",
        "@mi nothing",
        "<<'deep'>>",
        "objectpath '/a/b'",
        "signature 'a{sv}'",
        "[(1, 'a'), (2, 'bb')]",
        "[[1, 2], [], [3]]",
        "{uint32 1: 'one', 2: 'two'}",
        "{'k': ({'in': [int16 1]}, true)}",
        "[@mx 1, nothing]",
        "(byte 0x01, uint64 2, byte 0x03)",
        "[('x', byte 0x01, int64 5), ('yy', 0x02, 6)]",
    ];
    for text in texts {
        print_alike(&Variant::parse(None, text).unwrap_or_else(|e| panic!("{text}: {e}")));
    }
}

fn print_alike(variant: &Variant) {
    let bytes = variant.data_as_bytes();
    let value = Value::new(variant.type_().as_str(), &bytes).unwrap();
    assert_eq!(value.text().unwrap(), variant.print(true).as_str());
}

/// A type, of any nesting.
fn kinds() -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(vec!["b", "y", "n", "q", "i", "u", "x", "t", "h", "s", "v", "()"]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|kind| format!("a{kind}")),
            inner.clone().prop_map(|kind| format!("m{kind}")),
            inner.clone().prop_map(|kind| format!("a{{s{kind}}}")),
            prop::collection::vec(inner, 1..4).prop_map(|kinds| format!("({})", kinds.concat())),
        ]
    })
}

proptest! {
    /// Any bytes as any type: GLib makes a value of them, whose normal form is ours too; bytes that
    /// are not in normal form are an error or are read as GLib reads them, and never a panic.
    #[test]
    fn any_bytes_are_read_as_by_glib(kind in kinds(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let glib_bytes = glib::Bytes::from(&bytes);
        let variant = Variant::from_bytes_with_type(&glib_bytes, VariantTy::new(&kind).unwrap());
        print_alike(&variant.normal_form());
        if let Ok(text) = Value::new(&kind, &bytes).unwrap().text()
            && variant.is_normal_form()
        {
            prop_assert_eq!(text, variant.print(true).to_string());
        }
    }
}

/// Opening a FIFO waits for a writer, who may never come.
#[test]
fn a_fifo_in_place_of_a_ref_holds_nobody_up() {
    let (_dir, dir) = scratch();
    let (tree, repo) = (dir.join("tree"), dir.join("repo"));
    fs::create_dir(&tree).unwrap();
    init(&repo, "archive");
    let id = commit(&repo, "main", &tree);
    run("mkfifo", &[repo.join("refs/heads/fifo").to_str().unwrap()]);
    let ours = Repository::open(&repo).unwrap();
    assert_eq!(ours.resolve(None).unwrap().to_string(), id);
    fs::remove_file(repo.join("config")).unwrap();
    run("mkfifo", &[repo.join("config").to_str().unwrap()]);
    assert!(Repository::open(&repo).is_err());
}
