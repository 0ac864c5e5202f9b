//! Repositories as they are found: bare-user-only beside others, in part, with tombstones, links and
//! parents that are gone, deltas only, bundles; made by `ostree` and `flatpak`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::programs;
use crate::check::Pair;
use crate::repo::{commit, commit_with, init, reprofix, run, shown_checksum};

/// Flags under which every mode of repository has the same commit.
const CANONICAL: [&str; 2] = ["--canonical-permissions", "--no-xattrs"];

fn ostree(repo: &Path, args: &[&str]) -> String {
    let repo = format!("--repo={}", repo.display());
    run("ostree", &[&[repo.as_str()], args].concat())
}

fn subject(repo: &Path, rev: &str) -> String {
    format!("ostree:{}:{rev}", repo.display())
}

/// What `check` says on its way to exit code 2.
fn refused(args: &[&str]) -> String {
    let (code, out, err) = reprofix(&[&["check"], args].concat());
    assert_eq!(code, 2, "{out}{err}");
    err
}

/// A pair with one commit, `left`, in an archive repository.
fn committed() -> (Pair, String) {
    let pair = Pair::new();
    let commit = commit_with(&pair.repo, "left", &pair.a, &CANONICAL);
    (pair, commit)
}

fn object(repo: &Path, commit: &str, ending: &str) -> PathBuf {
    repo.join("objects").join(&commit[..2]).join(format!("{}.{ending}", &commit[2..]))
}

#[test]
fn bare_user_only_compares_by_names_with_every_mode() {
    let (pair, _) = committed();
    let only = pair.path().join("only");
    init(&only, "bare-user-only");
    ostree(&only, &["pull-local", pair.repo.to_str().unwrap(), "left"]);
    let (a, b) = (pair.subject("left"), subject(&only, "left"));
    assert_eq!(reprofix(&["check", &a, &b]).1.lines().last(), Some("same"));
    fs::write(pair.b.join("usr/lib/lib01.so"), "changed\n").unwrap();
    fs::set_permissions(pair.b.join("usr/lib/lib02.so"), PermissionsExt::from_mode(0o755)).unwrap();
    commit_with(&only, "right", &pair.b, &CANONICAL);
    for mode in ["archive", "bare-user"] {
        let other = pair.path().join(mode);
        init(&other, mode);
        commit_with(&other, "left", &pair.a, &CANONICAL);
        let (code, out, err) =
            reprofix(&["check", &subject(&other, "left"), &subject(&only, "right")]);
        assert_eq!(code, 1, "{err}");
        for row in ["/usr/lib/lib01.so  [content]", "/usr/lib/lib02.so  [mode]", "2 paths differ"] {
            assert!(out.contains(row), "{row}: {out}");
        }
    }
}

/// An object whose owner the mode does not keep: only that one is refused, and named.
#[test]
fn bare_user_only_refuses_what_it_cannot_judge() {
    let (pair, _) = committed();
    let only = pair.path().join("only");
    init(&only, "bare-user-only");
    let owned = pair.b.join("usr/lib/lib01.so");
    fs::write(&owned, "changed\n").unwrap();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: owners need root");
        return;
    }
    chown(&owned, Some(5), Some(5)).unwrap();
    let flags = ["--no-xattrs"];
    commit_with(&pair.repo, "owned", &pair.a, &flags);
    commit_with(&pair.repo, "right", &pair.b, &flags);
    // What libostree does not do, a copy does: the object as another mode has it, without its owner.
    let sum = ostree(&pair.repo, &["ls", "-C", "right", "/usr/lib/lib01.so"]);
    let sum = sum.split_whitespace().find(|word| word.len() == 64).unwrap().to_owned();
    let right = ostree(&pair.repo, &["rev-parse", "right"]).trim().to_owned();
    for ending in ["commit", "dirtree", "dirmeta"] {
        let copy = "cd \"$0/objects\" && find . -name \"*.$2\" -exec cp -n --parents {} \"$1/objects\" \\;";
        run("sh", &["-c", copy, pair.repo.to_str().unwrap(), only.to_str().unwrap(), ending]);
    }
    let place = object(&only, &sum, "file");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, "changed\n").unwrap();
    fs::set_permissions(&place, PermissionsExt::from_mode(0o644)).unwrap();
    let err = refused(&[&pair.subject("owned"), &subject(&only, &right)]);
    assert!(err.contains(&sum) && err.contains("cannot be judged: mode bare-user-only"), "{err}");
    // Equal by name, it is never opened.
    assert_eq!(reprofix(&["check", &pair.subject("right"), &subject(&only, &right)]).0, 0);
}

#[test]
fn links_among_objects_are_followed() {
    for mode in ["archive", "bare", "bare-user"] {
        let pair = Pair::new();
        let repo = pair.path().join("linked");
        init(&repo, mode);
        commit(&repo, "left", &pair.a);
        fs::write(pair.b.join("usr/lib/lib01.so"), "changed\n").unwrap();
        commit(&repo, "right", &pair.b);
        // Directories of objects elsewhere, as a mirror that was moved has them.
        let away = pair.path().join("away");
        fs::create_dir(&away).unwrap();
        for (n, dir) in fs::read_dir(repo.join("objects")).unwrap().enumerate() {
            let dir = dir.unwrap().path();
            if n % 2 == 0 {
                let target = away.join(dir.file_name().unwrap());
                fs::rename(&dir, &target).unwrap();
                symlink(&target, &dir).unwrap();
            }
        }
        // Single metadata objects too.
        for commit in ["left", "right"] {
            let sum = ostree(&repo, &["rev-parse", commit]).trim().to_owned();
            let place = object(&repo, &sum, "commit");
            fs::rename(&place, away.join(&sum)).unwrap();
            symlink(away.join(&sum), &place).unwrap();
        }
        ostree(&repo, &["ls", "-R", "right"]);
        let (code, out, err) =
            reprofix(&["check", &subject(&repo, "left"), &subject(&repo, "right")]);
        assert_eq!(code, 1, "{mode}: {err}");
        assert!(out.contains("/usr/lib/lib01.so  [content]"), "{mode}: {out}");
        assert!(out.contains(&shown_checksum(&repo, "right")), "{mode}: {out}");
    }
}

#[test]
fn what_is_missing_is_said_with_its_reason() {
    let (pair, commit) = committed();
    let source = pair.repo.to_str().unwrap();
    // In part: one folder of the tree.
    let part = pair.path().join("part");
    init(&part, "archive");
    let url = format!("file://{source}");
    ostree(&part, &["remote", "add", "--no-gpg-verify", "origin", &url]);
    ostree(&part, &["pull", "--subpath=/usr/etc", "origin", "left"]);
    let err = refused(&[
        &subject(&part, "origin:left"),
        &format!("dir:{}", pair.b.join("usr").display()),
    ]);
    assert!(err.contains("only a part") && err.contains(&commit), "{err}");
    // The commit alone.
    let alone = pair.path().join("alone");
    init(&alone, "archive");
    ostree(&alone, &["remote", "add", "--no-gpg-verify", "origin", &url]);
    ostree(&alone, &["pull", "--commit-metadata-only", "origin", "left"]);
    let err = refused(&[&subject(&alone, "origin:left"), &format!("dir:{}", pair.b.display())]);
    assert!(err.contains("--commit-metadata-only"), "{err}");
    // Its history cut off: what is there is whole, what is not is named.
    let parent = commit;
    fs::write(pair.a.join("usr/lib/more"), "more").unwrap();
    let commit = commit_with(&pair.repo, "left", &pair.a, &CANONICAL);
    let shallow = pair.path().join("shallow");
    init(&shallow, "archive");
    ostree(&shallow, &["remote", "add", "--no-gpg-verify", "origin", &url]);
    ostree(&shallow, &["pull", "--depth=0", "origin", "left"]);
    let (code, out, err) =
        reprofix(&["check", &subject(&shallow, "origin:left"), &pair.subject("left")]);
    assert_eq!(code, 0, "{out}{err}");
    let err = refused(&[&subject(&shallow, "origin:left^"), &pair.subject("left")]);
    assert!(err.contains(&parent), "{err}");
    let err = refused(&[&subject(&shallow, &parent), &pair.subject("left")]);
    assert!(err.contains(&parent) && err.contains("--depth"), "{err}");
    // Deleted on purpose.
    let gone = pair.path().join("gone");
    init(&gone, "archive");
    ostree(&gone, &["config", "set", "core.tombstone-commits", "true"]);
    ostree(&gone, &["pull-local", source, &commit]);
    ostree(&gone, &["prune", "--refs-only", &format!("--delete-commit={commit}")]);
    let err = refused(&[&subject(&gone, &commit), &format!("dir:{}", pair.b.display())]);
    assert!(err.contains("deleted on purpose"), "{err}");
    // Static deltas only.
    let deltas = pair.path().join("deltas");
    init(&deltas, "archive");
    ostree(&pair.repo, &["static-delta", "generate", "--empty", "left"]);
    run("cp", &["-a", pair.repo.join("deltas").to_str().unwrap(), deltas.to_str().unwrap()]);
    fs::create_dir_all(deltas.join("refs/heads")).unwrap();
    fs::copy(pair.repo.join("refs/heads/left"), deltas.join("refs/heads/left")).unwrap();
    let err = refused(&[&subject(&deltas, "left"), &format!("dir:{}", pair.b.display())]);
    assert!(err.contains("static deltas") && err.contains("ostree pull"), "{err}");
}

#[test]
fn a_parent_that_is_gone_is_named() {
    let (pair, _) = committed();
    let child = pair.path().join("child");
    init(&child, "archive");
    ostree(&child, &["config", "set", "core.parent", "/nowhere/parent"]);
    let err = refused(&[&subject(&child, "left"), &pair.subject("left")]);
    assert!(err.contains("/nowhere/parent (core.parent in config)"), "{err}");
}

#[test]
fn a_repository_of_somebody_else_asks_for_its_owner() {
    let (pair, commit) = committed();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: another user needs root");
        return;
    }
    for path in [pair.path(), pair.repo.as_path()] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let place = object(&pair.repo, &commit, "commit");
    let ask = || {
        let a = pair.subject("left");
        // The program may be where no other user looks.
        let copy = programs::copy_in(pair.path());
        let args = ["--reuid=65534", "--clear-groups", copy.to_str().unwrap(), "check", &a, &a];
        let out = crate::repo::output("setpriv", &args);
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    fs::set_permissions(&place, PermissionsExt::from_mode(0o600)).unwrap();
    let (code, err) = ask();
    assert!(code == Some(2) && err.contains("run as the owner of the repository"), "{err}");
    fs::set_permissions(pair.repo.join("objects"), PermissionsExt::from_mode(0o700)).unwrap();
    let (code, err) = ask();
    assert!(code == Some(2) && err.contains("run as its owner"), "{err}");
}

#[test]
fn repositories_are_named_as_their_tools_name_them() {
    let (pair, _) = committed();
    let url = format!("file://{}", pair.repo.display());
    let (code, _, err) =
        reprofix(&["check", &format!("{url}:left"), &format!("ostree:{url}:left")]);
    assert_eq!(code, 0, "{err}");
    // A sysroot.
    let sysroot = pair.path().join("sysroot");
    fs::create_dir(&sysroot).unwrap();
    run("ostree", &["admin", "init-fs", sysroot.to_str().unwrap()]);
    ostree(&sysroot.join("ostree/repo"), &["pull-local", pair.repo.to_str().unwrap(), "left"]);
    let (code, _, err) = reprofix(&["check", &subject(&sysroot, "left"), &pair.subject("left")]);
    assert_eq!(code, 0, "{err}");
    if !Path::new("/ostree/repo").exists() && !Path::new("/sysroot/ostree/repo").exists() {
        let err = refused(&["sys:left", &pair.subject("left")]);
        assert!(err.contains("this system has no /ostree/repo"), "{err}");
    }
}

/// A checkout whose files are a repository's own objects holds their attribute.
#[test]
fn a_linked_checkout_is_named_with_its_remedy() {
    let pair = Pair::new();
    let repo = pair.path().join("user");
    init(&repo, "bare-user");
    commit(&repo, "left", &pair.a);
    let place = pair.path().join("checkout");
    ostree(&repo, &["checkout", "-U", "-H", "left", place.to_str().unwrap()]);
    let (code, out, err) =
        reprofix(&["check", &subject(&repo, "left"), &format!("dir:{}", place.display())]);
    assert_eq!(code, 1, "{err}");
    assert!(out.contains("--devino-canonical"), "{out}");
}

#[test]
fn names_that_no_commit_can_hold_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let pair = Pair::new();
    let name = std::ffi::OsStr::from_bytes(b"usr/caf\xe9");
    fs::write(pair.b.join(name), "").unwrap();
    let b = pair.b.to_str().unwrap();
    let said = crate::repo::output(
        "ostree",
        &[
            &format!("--repo={}", pair.repo.display()),
            "commit",
            "-b",
            "x",
            &format!("--tree=dir={b}"),
        ],
    );
    assert!(!said.status.success(), "libostree takes it now: so should we");
    commit(&pair.repo, "left", &pair.a);
    let err = refused(&[&pair.subject("left"), &format!("dir:{b}")]);
    assert!(err.contains(r"/usr/caf\xe9: a name that is not UTF-8"), "{err}");
    let (code, _, err) = reprofix(&["fix", b, "--report", "--source-date-epoch=1700000000"]);
    assert!(code == 2 && err.contains("not UTF-8"), "{err}");
    assert_eq!(reprofix(&["fix", b, "--source-date-epoch=1700000000"]).0, 0);
}

/// What flatpak writes beside a tree, and its bundle.
#[test]
fn flatpaks_metadata_and_bundles() {
    let pair = Pair::new();
    let app = |name: &str| {
        let dir = pair.path().join(name);
        fs::create_dir_all(dir.join("files/bin")).unwrap();
        fs::create_dir_all(dir.join("export")).unwrap();
        fs::write(dir.join("files/bin/hello"), "#!/bin/sh\necho hello\n").unwrap();
        let metadata = "[Application]\nname=org.example.Hello\nruntime=org.example.R/x86_64/1\n";
        fs::write(dir.join("metadata"), metadata).unwrap();
        dir.display().to_string()
    };
    let repos = [("a", "1"), ("b", "9")].map(|(name, level)| {
        let repo = pair.path().join(format!("repo-{name}"));
        init(&repo, "archive");
        ostree(&repo, &["config", "set", "archive.zlib-level", level]);
        let (place, app) = (repo.display().to_string(), app(name));
        let noise = "x".repeat(100_000) + &"0123456789abcdef".repeat(5000);
        fs::write(Path::new(&app).join("files/data"), noise).unwrap();
        run(
            "flatpak",
            &[
                "build-export",
                "--disable-sandbox",
                "--timestamp=2024-01-01T00:00:00Z",
                &place,
                &app,
            ],
        );
        repo
    });
    let rev = "app/org.example.Hello/x86_64/master";
    let (code, out, err) = reprofix(&["check", &subject(&repos[0], rev), &subject(&repos[1], rev)]);
    assert_eq!(code, 0, "{out}{err}");
    let line =
        out.lines().find(|line| line.contains("xa.download-size")).expect("two levels, two sizes");
    let small = |word: &str| word.parse::<u64>().is_ok_and(|n| n > 100 && n < 1_000_000);
    assert_eq!(line.split([' ', ',']).filter(|word| small(word)).count(), 2, "{line}");
    assert!(line.contains("compressor"), "{line}");
    let bundle = pair.path().join("hello.bundle");
    run(
        "flatpak",
        &[
            "build-bundle",
            repos[0].to_str().unwrap(),
            bundle.to_str().unwrap(),
            "org.example.Hello",
        ],
    );
    let err = refused(&[bundle.to_str().unwrap(), &subject(&repos[1], rev)]);
    assert!(err.contains("flatpak build-import-bundle"), "{err}");
}

#[test]
fn a_factory_tree_is_judged_as_etc_and_var() {
    let dir = tempfile::tempdir().unwrap();
    for place in ["usr/share/factory/etc", "usr/share/factory/var/log"] {
        fs::create_dir_all(dir.path().join(place)).unwrap();
    }
    fs::write(dir.path().join("usr/share/factory/etc/passwd-"), "x").unwrap();
    fs::write(dir.path().join("usr/share/factory/var/log/dpkg.log"), "x").unwrap();
    fs::write(dir.path().join("usr/share/factory/other"), "x").unwrap();
    let (code, _, err) =
        reprofix(&["fix", dir.path().to_str().unwrap(), "--source-date-epoch=1700000000"]);
    assert_eq!(code, 0, "{err}");
    let is = |path: &str| dir.path().join(path).exists();
    assert!(!is("usr/share/factory/etc/passwd-") && !is("usr/share/factory/var/log/dpkg.log"));
    assert!(is("usr/share/factory/other"));
}
