//! `reprofix check` on real commits and directories.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::repo::{
    commit, commit_with, init, noise, reprofix, run, scratch, shown_checksum, xattr,
};

/// Two trees that start out equal, and a repository for them.
pub(crate) struct Pair {
    dir: tempfile::TempDir,
    pub(crate) a: PathBuf,
    pub(crate) b: PathBuf,
    pub(crate) repo: PathBuf,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let (dir, a) = scratch();
        let (b, repo) = (dir.path().join("b"), dir.path().join("repo"));
        copy(&a, &b);
        init(&repo, "archive");
        let repo_arg = format!("--repo={}", repo.display());
        run("ostree", &["config", &repo_arg, "set", "core.fsync", "false"]);
        Pair { dir, a, b, repo }
    }

    pub(crate) fn subject(&self, rev: &str) -> String {
        format!("ostree:{}:{rev}", self.repo.display())
    }

    /// Commits both trees, checks them; exit code and report.
    fn check(&self, more: &[&str]) -> (i32, Value) {
        commit(&self.repo, "left", &self.a);
        commit(&self.repo, "right", &self.b);
        let (a, b) = (self.subject("left"), self.subject("right"));
        let (code, out, err) = reprofix(&[&["check", &a, &b, "--json=-"], more].concat());
        assert!(code < 2, "{err}");
        (code, serde_json::from_str(&out).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    run("cp", &["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
}

/// The rows of a report as (path, changes, kind of cause).
fn rows(report: &Value) -> Vec<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let row = |row: &Value| {
        let changes: Vec<_> = row["changes"].as_array().unwrap().iter().map(text).collect();
        (text(&row["path"]), changes.join(","), text(&row["cause"]["kind"]))
    };
    report["differences"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn equal_builds_are_the_same_whatever_their_subjects() {
    let pair = Pair::new();
    let (code, report) = pair.check(&[]);
    assert_eq!((code, &report["same"]), (0, &Value::Bool(true)));
    assert_eq!(report["schema"], "reprofix-check-1");
    assert_eq!(report["a"]["content_checksum"], shown_checksum(&pair.repo, "left").as_str());
    let dir = format!("dir:{}", pair.a.display());
    let (code, out, err) = reprofix(&["check", &dir, &pair.subject("right")]);
    assert_eq!((code, out.lines().last()), (0, Some("same")), "{err}");
}

/// Every sort of change is named with its kind, and nothing else is.
#[test]
fn every_change_is_named_with_its_kind() {
    let pair = Pair::new();
    let b = |p: &str| pair.b.join(p);
    let mode = |p: &str, m| fs::set_permissions(b(p), PermissionsExt::from_mode(m)).unwrap();
    mode("", 0o700);
    mode("usr/lib/lib00.so", 0o755);
    mode("usr/share", 0o2755);
    fs::write(b("usr/lib/lib01.so"), "library 1!\n").unwrap();
    fs::write(b("usr/etc/empty-file"), "x").unwrap();
    fs::remove_file(b("boot/link")).unwrap();
    symlink("../usr/bin/su", b("boot/link")).unwrap();
    fs::remove_file(b("usr/lib/lib02.so")).unwrap();
    fs::write(b("usr/lib/lib99.so"), "new").unwrap();
    fs::create_dir_all(b("usr/new/deep")).unwrap();
    fs::write(b("usr/new/deep/file"), "").unwrap();
    fs::remove_file(b("usr/lib/lib03.so")).unwrap();
    symlink("lib04.so", b("usr/lib/lib03.so")).unwrap();
    fs::remove_file(b("usr/lib/lib05.so")).unwrap();
    fs::create_dir(b("usr/lib/lib05.so")).unwrap();
    chown(b("usr/lib/lib06.so"), Some(5), None).unwrap();
    xattr(&b("usr/lib/lib07.so"), "user.x", b"1");
    let mut tool = fs::read(b("usr/bin/tool")).unwrap();
    let last = tool.len() - 1;
    tool[last] ^= 1;
    fs::remove_file(b("usr/bin/tool2")).unwrap();
    fs::write(b("usr/bin/tool2"), &tool).unwrap();
    fs::set_permissions(b("usr/bin/tool2"), PermissionsExt::from_mode(0o755)).unwrap();

    let (code, report) = pair.check(&["--limit=0"]);
    assert_eq!((code, &report["same"]), (1, &Value::Bool(false)));
    let found = rows(&report);
    let found: Vec<_> =
        found.iter().map(|(p, c, k)| (p.as_str(), c.as_str(), k.as_str())).collect();
    let wanted = [
        (".", "mode"),
        ("boot/link", "target,owner"),
        ("usr/bin/tool2", "content,xattr"),
        ("usr/etc/empty-file", "content"),
        ("usr/lib/lib00.so", "mode"),
        ("usr/lib/lib01.so", "content"),
        ("usr/lib/lib02.so", "only-a"),
        ("usr/lib/lib03.so", "type,mode"),
        ("usr/lib/lib05.so", "type,mode"),
        ("usr/lib/lib06.so", "owner"),
        ("usr/lib/lib07.so", "xattr"),
        ("usr/lib/lib99.so", "only-b"),
        ("usr/new", "only-b"),
        ("usr/new/deep", "only-b"),
        ("usr/new/deep/file", "only-b"),
        ("usr/share", "mode"),
    ];
    let wanted: Vec<_> = wanted.iter().map(|(p, c)| (*p, *c, "unexplained")).collect();
    assert_eq!(found, wanted);
    let details: Vec<String> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r["details"].as_array().unwrap().clone())
        .map(|d| d.as_str().unwrap().to_owned())
        .collect();
    for line in [
        "mode: 0755 → 0700 (-group read, -group execute, -others read, -others execute)",
        "target: ../usr/bin/tool → ../usr/bin/su",
        "first difference at byte 9: 10 → 11 bytes, 1 of the first 10 differ",
        "-library 1",
        "+library 1!",
        "type: file → symbolic link",
        "type: file → directory",
        "owner: uid 0 → 5",
        "xattr user.x: absent → 1",
        "capability: cap_net_raw=ep → absent",
    ] {
        assert!(details.iter().any(|d| d == line), "{line} in {details:#?}");
    }
}

#[test]
fn what_fix_removes_is_explained_by_its_plugin() {
    let pair = Pair::new();
    let cache = "usr/lib/python3/__pycache__";
    fs::create_dir_all(pair.a.join("usr/lib/python3")).unwrap();
    fs::write(pair.a.join("usr/lib/python3/m.py"), "x = 1\n").unwrap();
    fs::remove_dir_all(&pair.b).unwrap();
    copy(&pair.a, &pair.b);
    fs::create_dir(pair.a.join(cache)).unwrap();
    fs::create_dir(pair.b.join(cache)).unwrap();
    fs::write(pair.a.join(cache).join("m.cpython-311.pyc"), noise(100)).unwrap();
    fs::write(pair.b.join(cache).join("m.cpython-311.pyc"), noise(101)).unwrap();
    fs::write(pair.b.join(cache).join("n.cpython-311.pyc"), noise(50)).unwrap();
    let (code, report) = pair.check(&[]);
    assert_eq!(code, 1);
    for row in report["differences"].as_array().unwrap() {
        assert_eq!(row["cause"]["kind"], "fixed", "{row}");
        assert_eq!(row["cause"]["plugins"], serde_json::json!(["pycache"]));
    }
    assert_eq!(report["counts"]["fixed"], 2);
    // With the plugin off, nothing explains them.
    let (_, report) = pair.check(&["--skip=pycache"]);
    assert_eq!(
        (&report["counts"]["fixed"], &report["counts"]["unexplained"]),
        (&0.into(), &2.into())
    );

    // What is explained is what fix removes: after it, the two are the same.
    for tree in [&pair.a, &pair.b] {
        let path = tree.to_str().unwrap();
        let (code, _, err) = reprofix(&["fix", path, "--source-date-epoch=1700000000", "--quiet"]);
        assert_eq!(code, 0, "{err}");
    }
    assert_eq!(pair.check(&[]).0, 0);
}

/// What a plugin says of a file's content is no cause of the file's absence.
#[test]
fn a_file_that_one_build_lacks_is_not_explained_by_who_reads_it() {
    let pair = Pair::new();
    let read =
        [("usr/lib/issue", "os-release"), ("usr/lib/locale/locale-archive", "locale-archive")];
    for (path, _) in read {
        fs::create_dir_all(pair.a.join(path).parent().unwrap()).unwrap();
        fs::write(pair.a.join(path), "v1\n").unwrap();
    }
    let (code, report) = pair.check(&["--limit=0"]);
    assert_eq!(code, 1);
    let found = rows(&report);
    for (path, plugin) in read {
        let row = found.iter().find(|(p, ..)| p == path).unwrap();
        assert_eq!((row.1.as_str(), row.2.as_str()), ("only-a", "unexplained"), "{plugin}");
    }
}

/// A directory that fix cannot remove, since something in it stays, is not explained.
#[test]
fn a_directory_that_stays_is_not_explained() {
    let pair = Pair::new();
    let cache = pair.b.join("usr/lib/__pycache__");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("m.cpython-311.pyc"), noise(9)).unwrap();
    fs::write(cache.join("README"), "stays\n").unwrap();
    let (_, report) = pair.check(&[]);
    let kinds: Vec<_> = rows(&report).into_iter().map(|(_, _, kind)| kind).collect();
    let fixed = report["counts"]["fixed"].as_u64().unwrap();
    let (code, _, _) =
        reprofix(&["fix", pair.b.to_str().unwrap(), "--source-date-epoch=1", "--quiet"]);
    assert_eq!(code, 0);
    let gone = |p: &Path| u64::from(!p.exists());
    let removed =
        gone(&cache) + gone(&cache.join("README")) + gone(&cache.join("m.cpython-311.pyc"));
    assert_eq!(fixed, removed, "{kinds:?}");
}

#[test]
fn copies_of_one_difference_are_a_cascade() {
    let pair = Pair::new();
    for (tree, seed) in [(&pair.a, 1), (&pair.b, 2)] {
        for name in ["usr/lib/z1", "usr/lib/z2"] {
            fs::write(tree.join(name), [&noise(500)[..], &[seed]].concat()).unwrap();
        }
    }
    let (_, report) = pair.check(&[]);
    let kinds: Vec<_> = rows(&report).into_iter().map(|(path, _, kind)| (path, kind)).collect();
    let row = |p: &str, k: &str| (p.to_owned(), k.to_owned());
    assert_eq!(kinds, [row("usr/lib/z1", "unexplained"), row("usr/lib/z2", "cascade")]);
    assert_eq!(report["differences"][1]["cause"]["of"], "usr/lib/z1");
}

#[test]
fn commit_metadata_is_compared_apart() {
    let pair = Pair::new();
    commit_with(&pair.repo, "left", &pair.a, &["--add-metadata-string=version=39.1"]);
    let other = ["--add-metadata-string=version=39.2"];
    commit_with(&pair.repo, "right", &pair.a, &other);
    let strange = [&other[..], &["--add-metadata-string=odd.key=1"]].concat();
    commit_with(&pair.repo, "strange", &pair.a, &strange);
    let check = |b: &str, more: &[&str]| {
        let (a, b) = (pair.subject("left"), pair.subject(b));
        let (code, out, err) = reprofix(&[&["check", &a, &b], more].concat());
        assert!(code < 2, "{err}");
        (code, out)
    };
    let (code, out) = check("right", &[]);
    assert_eq!(code, 0);
    assert!(out.contains("version: '39.1' → '39.2' (the build's own version)"), "{out}");
    assert_eq!(check("right", &["--strict-metadata"]).0, 1);
    let (code, out) = check("strange", &[]);
    assert_eq!(code, 1);
    assert!(out.contains("odd.key: absent → '1' (not known to vary)"), "{out}");
}

#[test]
fn a_bare_repository_needs_one_ref() {
    let pair = Pair::new();
    commit(&pair.repo, "only", &pair.a);
    let (repo, dir) = (pair.repo.to_str().unwrap(), pair.a.to_str().unwrap());
    assert_eq!(reprofix(&["check", repo, dir]).0, 0);
    commit(&pair.repo, "second", &pair.a);
    let (code, _, err) = reprofix(&["check", repo, dir]);
    assert_eq!(code, 2);
    assert!(err.contains("has 2 refs, name one of them: only, second"), "{err}");
    assert_eq!(reprofix(&["check", &format!("{repo}:second"), dir]).0, 0);
    let (code, _, err) = reprofix(&["check", &format!("{repo}:third"), dir]);
    assert_eq!(code, 2);
    assert!(err.contains("third") && err.contains("has only, second"), "{err}");
}

/// Repositories of different modes hold one commit.
#[test]
fn modes_compare_with_one_another() {
    let pair = Pair::new();
    fs::write(pair.b.join("usr/lib/lib01.so"), "changed").unwrap();
    commit(&pair.repo, "left", &pair.a);
    for mode in ["bare", "bare-user", "archive"] {
        let other = pair.path().join(mode);
        init(&other, mode);
        commit(&other, "right", &pair.b);
        let (code, out, err) =
            reprofix(&["check", &pair.subject("left"), other.to_str().unwrap(), "--json=-"]);
        assert_eq!(code, 1, "{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let wanted = ("usr/lib/lib01.so".into(), "content".into(), "unexplained".into());
        assert_eq!(rows(&report), [wanted], "{mode}");
    }
}

#[test]
fn the_report_does_not_depend_on_threads_and_says_what_was_asked() {
    let pair = Pair::new();
    for i in 0..30 {
        fs::write(pair.b.join(format!("usr/lib/lib{i:02}.so")), "changed").unwrap();
    }
    pair.check(&[]);
    let (a, b) = (pair.subject("left"), pair.subject("right"));
    let json = |jobs: &str| reprofix(&["check", &a, &b, "--json=-", jobs]);
    assert!(json("-j1") == json("-j5"), "the report depends on the number of threads");
    let (code, out, err) = reprofix(&["check", &a, &b, "--quiet"]);
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", ""));
    let (_, out, _) = reprofix(&["check", &a, &b, "--limit=3"]);
    assert!(out.contains("… and 27 more; --limit 0 lists all"), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours into a pipe");
}

#[test]
fn one_subject_is_audited() {
    let pair = Pair::new();
    let cache = pair.a.join("usr/lib/__pycache__");
    commit(&pair.repo, "clean", &pair.a);
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("m.cpython-311.pyc"), noise(9)).unwrap();
    commit(&pair.repo, "dirty", &pair.a);
    let (code, out, err) = reprofix(&["check", &pair.subject("dirty"), "--json=-"]);
    assert_eq!(code, 1, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["schema"], "reprofix-audit-1");
    assert_eq!(report["source_date_epoch"], 1_704_067_200, "the commit's time");
    let paths: Vec<_> =
        report["changes"].as_array().unwrap().iter().map(|c| c["path"].clone()).collect();
    assert_eq!(paths, ["usr/lib/__pycache__", "usr/lib/__pycache__/m.cpython-311.pyc"]);
    let (code, out, err) = reprofix(&["check", &pair.subject("clean")]);
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with("in normal form\n"), "{out}");
    let (code, _, err) = reprofix(&["check", pair.a.to_str().unwrap()]);
    assert_eq!(code, 2, "a directory has no time of its own");
    assert!(err.contains("no SOURCE_DATE_EPOCH"), "{err}");
}

#[test]
fn a_recorded_checksum_is_compared() {
    let pair = Pair::new();
    let id = commit(&pair.repo, "left", &pair.a);
    let meta = pair.path().join("meta.json");
    let write = |sum: &str| {
        fs::write(
            &meta,
            format!(r#"{{"ostree-content-checksum": "{sum}", "ostree-commit": "{id}"}}"#),
        )
        .unwrap()
    };
    let subject = pair.subject("left");
    let args = ["check", &subject, "--meta", meta.to_str().unwrap()];
    write(&shown_checksum(&pair.repo, "left"));
    let (code, out, err) = reprofix(&args);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("as recorded in"), "{out}");
    write(&"0".repeat(64));
    let (code, out, _) = reprofix(&args);
    assert_eq!(code, 1);
    assert!(out.contains("the build is not the one that was recorded"), "{out}");
    fs::write(&meta, "{}").unwrap();
    let (code, _, err) = reprofix(&args);
    assert_eq!(code, 2);
    assert!(err.contains("records no ostree-content-checksum"), "{err}");
}
