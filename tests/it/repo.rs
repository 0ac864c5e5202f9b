//! Real repositories and trees for tests, made with the `ostree` command.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::fs::XattrFlags;

/// Runs a program to its end and gives its standard output; panics, with all it said, if it fails.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let out = output(program, args);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {err}");
    String::from_utf8(out.stdout).unwrap()
}

/// Runs a program to its end.
pub(crate) fn output(program: &str, args: &[&str]) -> Output {
    let out = Command::new(program).args(args).env_remove("SOURCE_DATE_EPOCH").output();
    out.unwrap_or_else(|e| panic!("{program}: {e}; install it"))
}

/// Runs reprofix: exit code, standard output, standard error.
pub(crate) fn reprofix(args: &[&str]) -> (i32, String, String) {
    let out = output(env!("CARGO_BIN_EXE_reprofix"), args);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// A new repository of this mode at `path`.
pub(crate) fn init(path: &Path, mode: &str) {
    run("ostree", &["init", &format!("--repo={}", path.display()), &format!("--mode={mode}")]);
}

/// Commits `tree` to `branch`; gives the commit.
pub(crate) fn commit(repo: &Path, branch: &str, tree: &Path) -> String {
    commit_with(repo, branch, tree, &[])
}

/// Commits `tree` to `branch` with more arguments to `ostree commit`.
///
/// Every commit that the tests make goes this way, and is then read by libostree and by us.
pub(crate) fn commit_with(path: &Path, branch: &str, tree: &Path, more: &[&str]) -> String {
    let repo = format!("--repo={}", path.display());
    let tree = format!("--tree=dir={}", tree.display());
    let time = "--timestamp=2024-01-01T00:00:00Z";
    let mut args = vec!["commit", &repo, "-b", branch, &tree, time, "--subject=s"];
    args.extend(more);
    let commit = run("ostree", &args).trim().to_owned();
    #[cfg(feature = "ostree")]
    crate::libostree::reads_alike(path, &commit);
    commit
}

/// The content checksum that libostree's own command shows for `rev`.
pub(crate) fn shown_checksum(repo: &Path, rev: &str) -> String {
    let text = run("ostree", &["show", &format!("--repo={}", repo.display()), rev]);
    let line = text.lines().find_map(|l| l.strip_prefix("ContentChecksum:"));
    line.unwrap_or_else(|| panic!("no content checksum: {text}")).trim().to_owned()
}

/// Files of every sort that a commit holds: owners, modes, set-user-ID, capabilities, labels, links
/// of both kinds, empty files and directories, long and odd names, content beyond one buffer.
pub(crate) fn furnish(root: &Path) {
    let dir = |p: &str| fs::create_dir_all(root.join(p)).unwrap();
    let file = |p: &str, content: &[u8]| fs::write(root.join(p), content).unwrap();
    for path in ["usr/bin", "usr/lib/modules/6.1", "usr/etc/empty", "usr/share/ä ö\n", "boot"] {
        dir(path);
    }
    file("usr/bin/tool", &fs::read("/bin/true").unwrap());
    file("usr/bin/su", b"#!/bin/sh\nexit 0\n");
    file("usr/etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n");
    file("usr/etc/empty-file", b"");
    file("usr/share/ä ö\n/ß.txt", "text\nsecond line\n".as_bytes());
    file("usr/lib/modules/6.1/vmlinuz", &noise(300_000));
    for i in 0..40 {
        file(&format!("usr/lib/lib{i:02}.so"), format!("library {i}\n").as_bytes());
    }
    file(&format!("usr/share/{}", "n".repeat(255)), b"long name\n");
    symlink("../usr/bin/tool", root.join("boot/link")).unwrap();
    symlink("/nowhere/at all", root.join("usr/dangling")).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/tool2")).unwrap();
    let mode =
        |p: &str, m| fs::set_permissions(root.join(p), PermissionsExt::from_mode(m)).unwrap();
    mode("usr/bin/tool", 0o755);
    mode("usr/etc/empty", 0o1777);
    if !rustix::process::geteuid().is_root() {
        println!("owners, set-user-ID bits and trusted xattrs not tested: not root");
        return;
    }
    chown(root.join("usr/etc/passwd"), Some(3), Some(70_000)).unwrap();
    lchown(root.join("boot/link"), Some(1000), Some(1)).unwrap();
    mode("usr/bin/su", 0o4755);
    // cap_net_raw+ep, revision 2: what setcap writes.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr(&root.join("usr/bin/tool"), "security.capability", &capability);
    xattr(&root.join("usr/etc/passwd"), "user.zz", b"last");
    xattr(&root.join("usr/etc/passwd"), "user.aa", &[0, 1, 255]);
    xattr(&root.join("usr/etc/empty"), "user.dir", &noise(700));
}

/// Sets an extended attribute.
pub(crate) fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|e| panic!("{name} on {}: {e}", path.display()));
}

/// Bytes that do not compress, the same every time.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A scratch directory on a file system with xattrs, with a furnished tree at `tree`.
pub(crate) fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::set_permissions(&tree, PermissionsExt::from_mode(0o755)).unwrap();
    furnish(&tree);
    (dir, tree)
}
