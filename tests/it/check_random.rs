//! No false "same" and no false "explained": in a commit of this machine's own files one thing is
//! changed at random, a thousand times.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use reprofix::check::{Job, compare};
use reprofix::fsx::Root;
use reprofix::report::Progress;
use reprofix::report::check::Comparison;
use reprofix::tree::digest::digest;

use crate::check::copy;
use crate::repo::{init, noise, reprofix, run, xattr};

const ROUNDS: usize = 1000;
/// Changes on top of one another, before all begins anew with the files as they are.
const SERIES: usize = 50;
/// Bytes of a file that is taken, at most.
const SIZE_MAX: u64 = 100 << 10;

/// How a sort of file is told: from its path, what `lstat` says and its bytes.
type Is = fn(&Path, &fs::Metadata, &[u8]) -> bool;

/// Sorts of files: where they are taken from, how they are told, and how many.
const SORTS: [(&str, &[&str], Is, usize); 8] = [
    ("set-user-ID", &["usr/bin", "usr/sbin"], |_, m, _| m.mode() & 0o6000 != 0, 10),
    ("ELF", &["usr/bin", "usr/lib"], |_, _, bytes| bytes.starts_with(b"\x7fELF"), 60),
    ("script", &["usr/bin", "usr/sbin"], |_, _, bytes| bytes.starts_with(b"#!"), 50),
    ("symlink", &["usr/bin", "usr/lib", "etc"], |_, m, _| m.is_symlink(), 50),
    ("python", &["usr/lib"], |p, _, _| ends(p, "py"), 60),
    ("gzip", &["usr/share"], |_, _, bytes| bytes.starts_with(&[0x1f, 0x8b]), 60),
    ("bytecode", &["usr/lib", "usr/share"], |p, _, _| ends(p, "pyc"), 4),
    ("other", &["etc", "usr/share", "usr/lib"], |_, m, _| m.is_file(), 60),
];

fn ends(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e == extension)
}

/// Fills `tree` with files of this machine, at their paths, each with all that it has but its links:
/// a change of one would be a change of several paths.
fn furnish(tree: &Path) {
    let mut taken = BTreeSet::new();
    for (sort, places, is, wanted) in SORTS {
        let mut found = Vec::new();
        let walks = places.iter().map(|place| walkdir::WalkDir::new(Path::new("/").join(place)));
        for entry in walks.flat_map(|walk| walk.sort_by_file_name().max_depth(6)).flatten() {
            let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let small = meta.is_symlink() || meta.is_file() && meta.len() <= SIZE_MAX;
            let bytes = || fs::read(path).ok().filter(|_| meta.is_file()).unwrap_or_default();
            if small && !taken.contains(path) && is(path, &meta, &bytes()) {
                found.push(path.to_owned());
            }
            // Enough to choose from; the rest of a large place takes long to read.
            if found.len() >= wanted * 8 {
                break;
            }
        }
        let step = (found.len() / wanted).max(1);
        let some: Vec<_> = found.into_iter().step_by(step).take(wanted).collect();
        println!("{} files: {sort}", some.len());
        taken.extend(some);
    }
    assert!(taken.len() >= 200, "only {} files were found on this machine", taken.len());
    // Of absolute paths cp cannot find the directories again whose owners it is to keep.
    let list = taken.iter().filter_map(|path| path.strip_prefix("/").ok()?.to_str());
    let cp = ["-C", "/", "cp", "-a", "--no-preserve=links", "--parents"];
    let command = cp.into_iter().chain(list).chain([tree.to_str().unwrap()]);
    run("env", &command.collect::<Vec<_>>());
}

#[test]
fn a_thousand_random_changes_of_real_files_are_all_found() {
    if !rustix::process::geteuid().is_root() {
        println!("not tested: changes of owners need root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (origin, tree, repo) =
        (dir.path().join("origin"), dir.path().join("tree"), dir.path().join("repo"));
    fs::create_dir(&origin).unwrap();
    furnish(&origin);
    init(&repo, "archive");
    let repo_arg = format!("--repo={}", repo.display());
    run("ostree", &["config", &repo_arg, "set", "core.fsync", "false"]);
    // Committed without the helper that reads every commit twice: a thousand of them take long.
    let commit = || -> String {
        let tree = format!("--tree=dir={}", tree.display());
        let time = "--timestamp=2024-01-01T00:00:00Z";
        run("ostree", &["commit", &repo_arg, "--orphan", &tree, time]).trim().to_owned()
    };
    let subject = |commit: &str| format!("ostree:{}:{commit}", repo.display());

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut before, mut kinds, mut fixed) = (String::new(), BTreeMap::new(), 0);
    for round in 0..ROUNDS {
        if round % SERIES == 0 {
            run("rm", &["-rf", tree.to_str().unwrap()]);
            copy(&origin, &tree);
            before = commit();
        }
        let (what, wanted) = random.mutate(&tree, round);
        *kinds.entry(what).or_insert(0) += 1;
        let said = format!("round {round}: {what} {wanted:?}");
        let after = commit();
        let [a, b] = [&before, &after].map(|commit| subject(commit));
        let job = Job { a: OsString::from(&a), ..Job::default() };
        let report = compare(&job, &OsString::from(&b), &Progress::new(true)).unwrap();
        assert!(!report.same, "{said}");
        let found: BTreeSet<_> = report.differences.iter().map(|row| row.path.clone()).collect();
        assert_eq!(found, wanted, "{said}");
        assert_eq!(report.counts.cascade, 0, "{said}");
        if report.counts.fixed > 0 {
            fixed += 1;
            assert_eq!(
                is_fixed(dir.path(), &repo_arg, [&before, &after]),
                all_fixed(&report),
                "{said}"
            );
        }
        // The program itself, now and then: starting it each time would only take longer.
        if round % 100 == 0 {
            assert_eq!(reprofix(&["check", &a, &b, "--quiet"]).0, 1, "{said}");
        }
        before = after;
    }
    println!("{ROUNDS} changes: {kinds:?}; {fixed} of them explained, which fix confirmed");
    assert_eq!(kinds.len(), 12);
}

fn all_fixed(report: &Comparison) -> bool {
    report.counts.fixed == report.counts.paths
}

/// Whether `fix` of both commits' checkouts makes them one.
fn is_fixed(dir: &Path, repo: &str, commits: [&String; 2]) -> bool {
    let sums = commits.map(|commit| {
        let place = dir.join("checkout");
        let path = place.to_str().unwrap();
        run("ostree", &["checkout", repo, "--fsync=false", commit, path]);
        let (code, _, err) = reprofix(&["fix", path, "--source-date-epoch=0", "--quiet"]);
        assert_eq!(code, 0, "{err}");
        let root = digest(&Root::open(&place).unwrap(), &|| ()).unwrap().root;
        run("rm", &["-rf", path]);
        root
    });
    sums[0] == sums[1]
}

/// A small generator of random numbers, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    fn pick<'p>(&mut self, paths: &'p [PathBuf]) -> &'p Path {
        &paths[self.below(paths.len())]
    }

    /// Changes one thing in the tree at `root`: what, and the paths that differ then.
    fn mutate(&mut self, root: &Path, round: usize) -> (&'static str, BTreeSet<String>) {
        let all: Vec<_> = walkdir::WalkDir::new(root)
            .sort_by_file_name()
            .into_iter()
            .map(|entry| entry.unwrap().into_path())
            .collect();
        let of = |f: fn(&fs::Metadata) -> bool| -> Vec<PathBuf> {
            all.iter().filter(|p| f(&p.symlink_metadata().unwrap())).cloned().collect()
        };
        let (files, dirs, links) =
            (of(|m| m.is_file()), of(|m| m.is_dir()), of(|m| m.is_symlink()));
        let plain = [&files[..], &dirs].concat();
        let (mut path, mut moved) = (self.pick(&files).to_owned(), None);
        let number = u32::try_from(round).unwrap();
        let what = match self.below(12) {
            0 => {
                let mut bytes = fs::read(&path).unwrap();
                match bytes.len() {
                    0 => bytes.push(0),
                    n => bytes[self.below(n)] ^= 1 << self.below(8),
                }
                rewrite(&path, &bytes);
                "bit"
            }
            1 => {
                rewrite(&path, &[&fs::read(&path).unwrap()[..], &[0]].concat());
                "zero byte at the end"
            }
            2 => {
                path = self.pick(&plain).to_owned();
                let mode = path.metadata().unwrap().mode() & 0o7777;
                let mode = mode ^ (1 << self.below(9));
                fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
                "mode"
            }
            3 => {
                path = self.pick(&plain).to_owned();
                change_owner(&path, Some(4000 + number), None);
                "owner"
            }
            4 => {
                path = self.pick(&all).to_owned();
                change_owner(&path, None, Some(4000 + number));
                "group"
            }
            5 => {
                path = self.pick(&plain).to_owned();
                xattr(&path, &format!("user.m{round}"), &[self.below(256) as u8]);
                "xattr"
            }
            6 => {
                path = self.pick(&links).to_owned();
                let target = format!("{}x", path.read_link().unwrap().display());
                let owner = path.symlink_metadata().unwrap();
                fs::remove_file(&path).unwrap();
                symlink(target, &path).unwrap();
                lchown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
                "target"
            }
            7 => {
                fs::remove_file(&path).unwrap();
                "removed"
            }
            8 => {
                path = self.pick(&dirs).join(format!("new{round}"));
                fs::write(&path, noise(self.below(20))).unwrap();
                "added"
            }
            9 => {
                let new = path.with_file_name(format!("renamed{round}"));
                fs::rename(&path, &new).unwrap();
                moved = Some(new);
                "renamed"
            }
            10 => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                "file to directory"
            }
            _ => {
                path = self.pick(&dirs).join(format!("directory{round}"));
                fs::create_dir(&path).unwrap();
                "directory"
            }
        };
        let shown = |p: PathBuf| match p.strip_prefix(root).unwrap() {
            p if p == Path::new("") => ".".to_owned(),
            p => reprofix::tree::show(p),
        };
        (what, [Some(path), moved].into_iter().flatten().map(shown).collect())
    }
}

/// Gives a path to others, all else as it was.
fn change_owner(path: &Path, user: Option<u32>, group: Option<u32>) {
    let meta = path.symlink_metadata().unwrap();
    lchown(path, user, group).unwrap();
    // The kernel takes set-user-ID from a file that changes hands.
    if !meta.is_symlink() {
        fs::set_permissions(path, meta.permissions()).unwrap();
    }
}

/// New content in the same inode's metadata.
fn rewrite(path: &Path, bytes: &[u8]) {
    let mode = path.metadata().unwrap().permissions();
    // Writing takes set-user-ID and capabilities from a file.
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}
