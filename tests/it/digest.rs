//! Checksums recomputed in own code are libostree's, object for object.
#![cfg(feature = "ostree")]

use std::path::Path;

use reprofix::disk::Root;
use reprofix::source::merkle::{At, Merkle};
use reprofix::source::ostree::{Commit, Repository};
use reprofix::tree::Tree;
use reprofix::tree::digest::{digest, walk};

use crate::repo::{commit, commit_with, init, reprofix, run, scratch, shown_checksum};

fn open(repo: &Path, rev: &str) -> Commit {
    let repo = Repository::open(repo).unwrap();
    let id = repo.resolve(Some(rev)).unwrap();
    Commit::open(repo, id).unwrap()
}

#[test]
fn a_directory_has_the_content_checksum_of_its_commit() {
    let (dir, tree) = scratch();
    let repo = dir.path().join("repo");
    init(&repo, "archive");
    commit(&repo, "main", &tree);
    let digested = digest(&Root::open(&tree).unwrap(), &|| ()).unwrap();
    let commit = open(&repo, "main");
    assert_eq!(digested.root, commit.root());
    let sum = digested.root.content_checksum().to_string();
    assert_eq!(sum, shown_checksum(&repo, "main"));
    for (path, dirtree) in &digested.dirs {
        let object = reprofix::format::ostree::Checksum::of(dirtree.bytes());
        assert_eq!(*commit.children(At { path, object: &object }).unwrap(), **dirtree);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (_dir, tree) = scratch();
    let root = Root::open(&tree).unwrap();
    let with = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| digest(&root, &|| ()).unwrap())
    };
    assert_eq!(with(1), with(7));
}

/// Every mode that libostree writes; a bare-user-only repository keeps no owner and no xattrs, so
/// its commit is another one.
#[test]
fn every_mode_of_repository_reads_alike() {
    let (dir, tree) = scratch();
    let root = Root::open(&tree).unwrap();
    for mode in ["archive", "bare", "bare-user", "bare-user-only"] {
        let repo = dir.path().join(mode);
        init(&repo, mode);
        let more: &[&str] = match mode {
            "bare-user-only" => &["--canonical-permissions", "--no-xattrs"],
            _ => &[],
        };
        commit_with(&repo, "main", &tree, more);
        let commit = open(&repo, "main");
        assert_eq!(commit.repo().drops_owners(), mode == "bare-user-only");
        assert_eq!(commit.root().content_checksum().to_string(), shown_checksum(&repo, "main"));
        // Reading a commit as a tree and hashing what was read gives the commit again.
        let again = digest(&commit, &|| ()).unwrap();
        assert_eq!(again.root, commit.root(), "{mode}");
        if mode == "bare-user-only" {
            continue;
        }
        for entry in walk(&root).unwrap() {
            let stored = commit.lookup(&entry.path).unwrap().unwrap();
            let same = |t: &dyn Tree| {
                (
                    t.read(&entry.path).unwrap(),
                    t.readlink(&entry.path).unwrap(),
                    t.xattrs(&entry.path).unwrap(),
                )
            };
            assert_eq!((stored.mode, stored.uid, stored.gid), (entry.mode, entry.uid, entry.gid));
            assert_eq!(same(&root), same(&commit), "{mode} {}", entry.path.display());
        }
    }
}

#[test]
fn a_commit_has_no_path_through_a_link_or_a_file() {
    let (dir, tree) = scratch();
    let repo = dir.path().join("repo");
    init(&repo, "archive");
    commit(&repo, "main", &tree);
    let commit = open(&repo, "main");
    for path in ["boot/link/x", "usr/bin/tool/x", "nothing", "usr/../usr", "/usr"] {
        assert_eq!(commit.lookup(Path::new(path)).unwrap(), None, "{path}");
        assert!(commit.list(Path::new(path)).unwrap().is_empty());
    }
}

#[test]
fn fix_announces_the_checksum_that_ostree_then_gives() {
    let (dir, tree) = scratch();
    let repo = dir.path().join("repo");
    init(&repo, "bare-user");
    let exe = env!("CARGO_BIN_EXE_reprofix");
    let path = tree.to_str().unwrap();
    let text = run(exe, &["fix", path, "--report", "--source-date-epoch", "1700000000"]);
    let announced = text.lines().find_map(|l| l.strip_prefix("content checksum ")).unwrap();
    commit(&repo, "main", &tree);
    assert_eq!(announced, shown_checksum(&repo, "main"));
}

/// Every object of a kind with one bit changed: an error that names one. (Attributes of directories that
/// are equal on both sides are never opened.)
#[test]
fn a_corrupt_object_is_named() {
    for kind in ["dirtree", "commit"] {
        let (dir, tree) = scratch();
        let repo = dir.path().join("repo");
        init(&repo, "archive");
        commit(&repo, "a", &tree);
        std::fs::write(tree.join("usr/bin/more"), "more").unwrap();
        commit(&repo, "b", &tree);
        for entry in walkdir::WalkDir::new(repo.join("objects")).into_iter().map(|e| e.unwrap()) {
            if entry.path().extension().is_some_and(|e| e == kind) {
                let mut bytes = std::fs::read(entry.path()).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(entry.path(), bytes).unwrap();
            }
        }
        let subject = |branch: &str| format!("ostree:{}:{branch}", repo.display());
        let (code, _, err) = reprofix(&["check", &subject("a"), &subject("b"), "--quiet"]);
        assert_eq!(code, 2, "{kind}: {err}");
        assert!(err.contains(&format!(".{kind}")) && err.contains("corrupt"), "{kind}: {err}");
    }
}
